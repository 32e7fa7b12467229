//! `adit dag`: blocks in CAR files.

use std::path::{Path, PathBuf};

use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

use super::files::broke_off;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{bytes, count};

/// Subcommands of `adit dag`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Dag {
    /// Take in the blocks of a CAR (version 1) and pin its roots
    Import {
        /// The file; - for standard input
        file: PathBuf,
        /// Do not pin the roots
        #[arg(long)]
        no_pin: bool,
    },
    /// Write everything below a root as a CAR
    Export {
        /// A CID, or a path below one
        path: String,
        /// The file, which must not exist; standard output if not given
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// How much of a CAR is read at once.
const PIECE: usize = 1 << 20;

/// Imports or exports.
pub(crate) async fn dag(context: &Context, command: Dag) -> Result<(), Failure> {
    let client = context.client()?;
    match command {
        Dag::Import { file, no_pin } => {
            let imported = if file == Path::new("-") {
                client.import(ReaderStream::with_capacity(tokio::io::stdin(), PIECE), !no_pin).await?
            } else {
                let opened = tokio::fs::File::open(&file).await.map_err(|error| {
                    let missing = error.kind() == std::io::ErrorKind::NotFound;
                    let exit = if missing { Exit::NotFound } else { Exit::Failed };
                    Failure::because(exit, format!("cannot read {}", file.display()), &error)
                })?;
                client.import(ReaderStream::with_capacity(opened, PIECE), !no_pin).await?
            };
            context.out.either(&imported, |out, imported| {
                imported.roots.iter().try_for_each(|root| out.line(root.0))
            })?;
            context.out.note(format!("{} blocks, {}", count(imported.blocks), bytes(imported.bytes)));
        }
        Dag::Export { path, output } => {
            let root = context.resolve(&client, &path).await?;
            let mut car = client.export(&root).await?;
            let Some(output) = output else {
                if context.out.stdout_is_terminal() {
                    return Err(
                        Failure::new(Exit::Usage, "a CAR is not text").hint("write it to a file with -o")
                    );
                }
                while let Some(piece) = car.next().await {
                    context.out.raw(&piece.map_err(broke_off)?)?;
                }
                return Ok(());
            };
            let cannot_write = |error: std::io::Error| {
                Failure::because(Exit::Failed, format!("cannot write {}", output.display()), &error)
            };
            let mut file = tokio::fs::File::create_new(&output).await.map_err(cannot_write)?;
            while let Some(piece) = car.next().await {
                file.write_all(&piece.map_err(broke_off)?).await.map_err(cannot_write)?;
            }
            file.flush().await.map_err(cannot_write)?;
        }
    }
    Ok(())
}
