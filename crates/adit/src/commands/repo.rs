//! `adit repo`: how full the block store is, making room, checking every block.

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{bytes, count};

/// Subcommands of `adit repo`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Repo {
    /// How full it is
    Stat,
    /// Remove everything that no pin, job or add needs
    Gc,
    /// Read every block and compare it with its CID
    Verify,
}

/// Looks after the store. `verify` ends with 1 when something is wrong.
pub(crate) async fn repo(context: &Context, command: Repo) -> Result<u8, Failure> {
    let client = context.client()?;
    let out = &context.out;
    match command {
        Repo::Stat => {
            let stat = client.repo().await?;
            out.either(&stat, |out, stat| {
                out.line(format!("blocks  {}, {}", count(stat.blocks), bytes(stat.bytes)))?;
                out.line(format!("on disk {}, {} free", bytes(stat.disk), bytes(stat.free)))?;
                if let Some(limit) = stat.limit {
                    out.line(format!("limit   {}", bytes(limit)))?;
                }
                out.line(format!("pins    {}", count(stat.pins)))
            })?;
        }
        Repo::Gc => {
            let collected = client.gc().await?;
            out.either(&collected, |out, collected| {
                out.line(format!("removed {} blocks, {}", count(collected.blocks), bytes(collected.bytes)))
            })?;
        }
        Repo::Verify => {
            let verified = client.repo_verify().await?;
            out.either(&verified, |out, verified| {
                out.line(format!("checked {} blocks", count(verified.checked)))?;
                verified.corrupt.iter().try_for_each(|cid| out.line(format!("corrupt {}", cid.0)))?;
                verified.missing.iter().try_for_each(|cid| out.line(format!("missing {}", cid.0)))
            })?;
            if !(verified.corrupt.is_empty() && verified.missing.is_empty()) {
                out.note("Corrupt and missing blocks are fetched again when something needs them and a peer has them.");
                return Ok(Exit::Failed as u8);
            }
        }
    }
    Ok(0)
}
