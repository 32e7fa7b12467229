//! `adit repo`: how full the block store is, making room, checking every block.

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::escape::one_line;
use crate::output::{bytes, count};

/// Subcommands of `adit repo`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Repo {
    /// How full it is
    Stat,
    /// Remove everything that no pin, job or add needs
    Gc,
    /// Read every block and compare it with its CID
    Verify {
        /// Delete corrupt blocks, so that they can be fetched again
        #[arg(long)]
        drop_corrupt: bool,
    },
}

/// Looks after the store. `verify` ends with 1 when something is wrong.
pub(crate) async fn repo(context: &Context, command: Repo) -> Result<u8, Failure> {
    let client = context.client()?;
    let out = &context.out;
    match command {
        Repo::Stat => {
            let stat = client.repo().await?;
            out.either(&stat, |out, stat| {
                out.line(format!("blocks  {}", count(stat.blocks)))?;
                out.line(format!("on disk {}, {} free", bytes(stat.used), bytes(stat.free)))?;
                if let Some(limit) = stat.limit {
                    out.line(format!("limit   {}", bytes(limit)))?;
                }
                out.line(format!("pins    {}", count(stat.pins)))?;
                if let Some(below) = &stat.backend {
                    out.line(format!("below   {}", one_line(&below.name)))?;
                    match (&below.error, below.blocks, below.used, below.pins) {
                        (Some(error), ..) => out.line(format!("        {}", one_line(error)))?,
                        (None, Some(blocks), Some(used), Some(pins)) => out.line(format!(
                            "        {} blocks, {}, {} pins",
                            count(blocks),
                            bytes(used),
                            count(pins)
                        ))?,
                        _ => {}
                    }
                }
                stat.leases.iter().try_for_each(|lease| out.line(format!("busy    {}", one_line(lease))))
            })?;
        }
        Repo::Gc => {
            let collected = client.gc().await?;
            out.either(&collected, |out, collected| {
                out.line(format!(
                    "removed {} blocks, {} free again; {} blocks kept",
                    count(collected.blocks_deleted),
                    bytes(collected.bytes_freed),
                    count(collected.blocks_kept)
                ))
            })?;
        }
        Repo::Verify { drop_corrupt } => {
            let verified = client.repo_verify(drop_corrupt).await?;
            out.either(&verified, |out, verified| {
                out.line(format!("checked    {} blocks, {}", count(verified.blocks), bytes(verified.bytes)))?;
                verified.corrupt.iter().try_for_each(|cid| out.line(format!("corrupt    {}", cid.0)))?;
                verified.incomplete.iter().try_for_each(|pin| {
                    out.line(format!("incomplete pin {}: {}", pin.cid, one_line(&pin.reason)))
                })
            })?;
            if !verified.corrupt.is_empty() && !drop_corrupt {
                out.note("`adit repo verify --drop-corrupt` deletes corrupt blocks, so that they can be fetched again.");
            }
            if !verified.incomplete.is_empty() {
                out.note("`adit pin add` fetches what is missing, where a peer has it.");
            }
            let sound = verified.corrupt.is_empty() && verified.incomplete.is_empty();
            return Ok(if sound { 0 } else { Exit::Failed as u8 });
        }
    }
    Ok(0)
}
