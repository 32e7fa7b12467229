//! `adit pin`: what garbage collection leaves alone, here and elsewhere.

use adit_api::types::{KeeperState, PinView, ReplicasView};

use crate::context::Context;
use crate::exit::{Exit, Failure, OutputError};
use crate::output::{Output, Table, bytes, count, time};

/// Subcommands of `adit pin`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Pin {
    /// Keep content, fetching what is not here yet
    #[command(after_help = "\
With --replicas N there are N copies in all: this node's own, and N-1 on other Adit nodes, the near and roomy ones first.
They are kept at that number when one goes away, until the content is unpinned. The command fails when fewer could be
placed; the node keeps trying all the same, and `adit pin show` tells how far it is.")]
    Add {
        /// A CID, or a path below one
        path: String,
        /// A name to remember it by
        #[arg(long)]
        name: Option<String>,
        /// Copies in all, this node's own included, each on another node (1-32)
        #[arg(long, value_name = "N")]
        replicas: Option<u32>,
    },
    /// Let content go at the next garbage collection
    Rm {
        /// A CID, or a path below one
        path: String,
        /// Remove only the pin of this name; all pins of the content if not given
        #[arg(long)]
        name: Option<String>,
    },
    /// List what is kept
    Ls,
    /// Tell how one content is kept, and where its copies are
    Show {
        /// A CID, or a path below one
        path: String,
    },
}

/// Pins, unpins, or lists pins.
pub(crate) async fn pin(context: &Context, command: Pin) -> Result<(), Failure> {
    let client = context.client()?;
    let out = &context.out;
    match command {
        Pin::Add { path, name, replicas } => {
            let cid = context.resolve(&client, &path).await?;
            let pinned = client.pin(&cid, name.as_deref(), replicas).await?;
            out.either(&pinned, |out, pinned| out.line(pinned.cid))?;
            let (blocks, fetched) = (count(pinned.blocks), count(pinned.fetched));
            out.note(format!("{blocks} blocks, {fetched} of them fetched ({})", bytes(pinned.bytes_fetched)));
            if let Some(replicas) = pinned.replicas {
                told(out, &replicas)?;
            }
        }
        Pin::Rm { path, name } => {
            let cid = context.resolve(&client, &path).await?;
            let removed = client.unpin(&cid, name.as_deref()).await?;
            if removed == 0 {
                return Err(Failure::new(Exit::NotFound, format!("{cid} is not pinned"))
                    .hint("`adit pin ls` lists what is"));
            }
            out.either(&serde_json::json!({ "cid": cid.to_string(), "removed": removed }), |out, _| {
                out.line(cid)
            })?;
        }
        Pin::Ls => {
            let pins = client.pins().await?;
            if out.json() {
                return Ok(out.document(&pins)?);
            }
            let mut table = Table::new(["cid", "name", "kept until", "copies"], "Nothing is pinned.");
            for pin in pins {
                let copies = pin.replicas.map(|r| format!("{} of {}", r.placed, r.wanted));
                let until = pin.expires.map(time).unwrap_or_default();
                table.row([pin.cid.to_string(), pin.name, until, copies.unwrap_or_default()]);
            }
            table.print(out)?;
        }
        Pin::Show { path } => {
            let cid = context.resolve(&client, &path).await?;
            let pins = client.pins_of(&cid).await?;
            out.either(&pins, |out, pins| show(out, pins))?;
        }
    }
    Ok(())
}

/// Says where the copies are; fails when there are too few.
fn told(out: &Output, replicas: &ReplicasView) -> Result<(), Failure> {
    for keeper in replicas.keepers.iter().filter(|keeper| keeper.state != KeeperState::Gone) {
        out.note(format!("a copy is on {}", keeper.node));
    }
    if replicas.placed >= replicas.wanted {
        out.note(format!("{} of {} copies, this node's included", replicas.placed, replicas.wanted));
        return Ok(());
    }
    let mut message = format!("{} of {} copies are placed", replicas.placed, replicas.wanted);
    for refused in &replicas.refused {
        message.push_str(&format!("\n  {}: {}", refused.node, printable(&refused.reason)));
    }
    if replicas.refused.is_empty() {
        message.push_str(": no other node is known that could be asked");
    }
    let hint = "it is pinned here, and the node keeps trying: `adit pin show` tells how far it is";
    Err(Failure::new(Exit::Failed, message).hint(hint))
}

fn show(out: &Output, pins: &[PinView]) -> Result<(), OutputError> {
    for pin in pins {
        let what = match (&pin.kept_for, pin.name.as_str()) {
            (Some(node), _) => format!("kept for {node}"),
            (None, "") => "pinned".to_owned(),
            (None, name) => format!("pinned as {}", printable(name)),
        };
        let until = pin.expires.map(|until| format!(" until {}", time(until))).unwrap_or_default();
        let only = if pin.direct { ", the block alone" } else { "" };
        out.line(format!("{} {what}{until}{only}", pin.cid))?;
    }
    let Some(replicas) = pins.iter().find_map(|pin| pin.replicas.as_ref()) else { return Ok(()) };
    let (placed, wanted) = (replicas.placed, replicas.wanted);
    out.line(format!("{placed} of {wanted} copies of {}, this node's included", bytes(replicas.bytes)))?;
    let mut table =
        Table::new(["node", "state", "seen", "kept until", "reason"], "No other node has a copy.");
    for keeper in &replicas.keepers {
        let state = match keeper.state {
            KeeperState::Keeping => "keeping",
            KeeperState::Silent => "silent",
            KeeperState::Gone => "gone",
        };
        let reason = printable(keeper.reason.as_deref().unwrap_or_default());
        table.row([keeper.node.to_string(), state.into(), time(keeper.seen), time(keeper.until), reason]);
    }
    for refused in &replicas.refused {
        let none = String::new;
        table.row([refused.node.to_string(), "none".into(), none(), none(), printable(&refused.reason)]);
    }
    table.print(out)
}

/// What another node says, without what a terminal would act on.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
