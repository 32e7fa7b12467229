//! `adit pin`: what garbage collection leaves alone.

use crate::context::Context;
use crate::exit::Failure;
use crate::output::Table;

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
            let pin = client.pin(&cid, name.as_deref()).await?;
            out.either(&pin, |out, pin| out.line(pin.cid))?;
        }
        Pin::Rm { path } => {
            let cid = context.resolve(&client, &path).await?;
            client.unpin(&cid).await?;
            out.either(&cid.to_string(), |out, cid| out.line(cid))?;
        }
        Pin::Ls => {
            let pins = client.pins().await?;
            if out.json() {
                return Ok(out.document(&pins)?);
            }
            let mut table = Table::new(["cid", "name"], "Nothing is pinned.");
            pins.into_iter().for_each(|pin| table.row([pin.cid.to_string(), pin.name.unwrap_or_default()]));
            table.print(out)?;
        }
    }
    Ok(())
}
