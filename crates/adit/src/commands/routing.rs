//! `adit routing`: who has content, where peers are, and telling others what is here.

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Table;
use crate::output::escape::one_line;

/// Subcommands of `adit routing`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Routing {
    /// Find peers that announced content
    Findprovs {
        /// A CID, or a path below one
        path: String,
        /// Stop after this many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        num: u32,
    },
    /// Announce content that is here, now and every 22 hours from now on
    Provide {
        /// A CID, or a path below one
        path: String,
    },
    /// Find out where a peer is
    Findpeer {
        /// A peer id
        peer: String,
    },
}

/// Asks or tells the DHT.
pub(crate) async fn routing(context: &Context, command: Routing) -> Result<(), Failure> {
    let client = context.client()?;
    let out = &context.out;
    match command {
        Routing::Findprovs { path, num } => {
            let cid = context.resolve(&client, &path).await?;
            let found = client.find_providers(&cid, Some(num)).await?;
            if found.is_empty() {
                return Err(Failure::new(Exit::NotFound, format!("nobody announced {cid}"))
                    .hint("whoever has it may not have announced it: `adit routing provide` does"));
            }
            if out.json() {
                return Ok(out.document(&found)?);
            }
            let mut table = Table::new(["peer", "address", "runs jobs"], "Nobody announced it.");
            for provider in found {
                let jobs = match provider.nodes.first().map(ToString::to_string) {
                    None => "no".to_owned(),
                    Some(node) if node == provider.peer => "yes".to_owned(),
                    Some(node) => format!("at {node}, beside it"),
                };
                table.row([provider.peer, provider.addresses.into_iter().next().unwrap_or_default(), jobs]);
            }
            table.print(out)?;
        }
        Routing::Provide { path } => {
            let cid = context.resolve(&client, &path).await?;
            let provided = client.provide(&cid).await?;
            out.either(&provided, |out, provided| out.line(&provided.cid))?;
            if !provided.heard {
                out.note("no other node was there to hear it; it is announced as soon as there is one");
            }
        }
        Routing::Findpeer { peer } => {
            let found = client.find_peer(&peer).await?;
            out.either(&found, |out, found| {
                found.addresses.iter().try_for_each(|address| out.line(one_line(address)))
            })?;
        }
    }
    Ok(())
}
