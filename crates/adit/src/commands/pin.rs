//! `adit pin`: what garbage collection leaves alone.

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Table, bytes, count, time};

/// Subcommands of `adit pin`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Pin {
    /// Keep content, fetching what is not here yet
    Add {
        /// A CID, or a path below one
        path: String,
        /// A name to remember it by
        #[arg(long)]
        name: Option<String>,
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
}

/// Pins, unpins, or lists pins.
pub(crate) async fn pin(context: &Context, command: Pin) -> Result<(), Failure> {
    let client = context.client()?;
    let out = &context.out;
    match command {
        Pin::Add { path, name } => {
            let cid = context.resolve(&client, &path).await?;
            let pinned = client.pin(&cid, name.as_deref()).await?;
            out.either(&pinned, |out, pinned| out.line(pinned.cid))?;
            let (blocks, fetched) = (count(pinned.blocks), count(pinned.fetched));
            out.note(format!("{blocks} blocks, {fetched} of them fetched ({})", bytes(pinned.bytes_fetched)));
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
            let mut table = Table::new(["cid", "name", "kept until"], "Nothing is pinned.");
            for pin in pins {
                table.row([pin.cid.to_string(), pin.name, pin.expires.map(time).unwrap_or_default()]);
            }
            table.print(out)?;
        }
    }
    Ok(())
}
