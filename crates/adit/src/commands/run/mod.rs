//! `adit run`: places a program, streams what it prints, and ends with its exit code.

mod file;
mod follow;
mod request;
mod summary;

pub(crate) use request::content;

use std::path::PathBuf;

use adit_api::types::Started;
use adit_model::{NodeId, Profile};
use adit_node::config::{ByteSize, Span};

use crate::context::Context;
use crate::exit::Failure;

/// Arguments of `adit run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
CODE is a CID, a path below one, or a local .wasm file, which is added first.

  adit run count.wasm --in /in/data=bafy… -- --top 10
  adit run count.wasm --in /in/data=./logs -o result/
  echo 'select 1' | adit run sqlite.wasm --stdin -

The program's stdout and exit code become those of this command. A line on stderr tells where
it ran, why there, for how long, what it read and what had to move, and names the receipt.")]
pub(crate) struct Args {
    /// The program; may be left out when -f names it
    #[arg(value_name = "CODE")]
    code: Option<String>,
    /// Give the program content at a path below /in (repeatable): a CID, a path below one, or a local path
    #[arg(long = "in", value_name = "PATH=CONTENT")]
    inputs: Vec<String>,
    /// Standard input of the program: a CID, a local path, or - for ours
    #[arg(long, value_name = "CONTENT")]
    stdin: Option<String>,
    /// Environment of the program (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Bring the program's /out here; the directory must be absent or empty
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Give up, and have the host kill the program, after this time [default: 60s]
    #[arg(long, value_name = "TIME")]
    timeout: Option<Span>,
    /// Most fuel, about one unit an instruction
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Most memory, such as 256MiB
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// Most bytes the program may write, such as 64MiB
    #[arg(long, value_name = "SIZE")]
    max_output: Option<ByteSize>,
    /// deterministic (the same result everywhere) or fast [default: deterministic]
    #[arg(long, value_name = "NAME")]
    profile: Option<Profile>,
    /// Run at this node only
    #[arg(long, value_name = "PEER", conflicts_with_all = ["near", "local"])]
    at: Option<NodeId>,
    /// Run at the node with the lowest round-trip time, even if the data must go there
    #[arg(long, conflicts_with = "local")]
    near: bool,
    /// Run at the node that is asked
    #[arg(long)]
    local: bool,
    /// Keep asking until a candidate accepts
    #[arg(long)]
    wait: bool,
    /// Compute again even if the outcome is remembered
    #[arg(long)]
    fresh: bool,
    /// Start the job, print its id, and return
    #[arg(long, conflicts_with_all = ["output", "dry_run"])]
    detach: bool,
    /// Only tell where the job would go
    #[arg(long)]
    dry_run: bool,
    /// Make the job once, however often this is repeated with the same key
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Read the job from a file (job.toml); options given here win
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Arguments of the program
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
}

/// Runs the job; gives the exit code.
pub(crate) async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let client = context.client()?;
    let request = request::prepare(context, &client, &args).await?;
    if args.dry_run {
        let plan = client.plan(&request).await?;
        summary::plan(&context.out, &plan)?;
        return Ok(0);
    }
    if args.detach {
        let started = Started { job: client.start(&request).await? };
        context.out.either(&started, |out, started| out.line(started.job))?;
        return Ok(0);
    }
    if context.out.json() {
        return follow::reply(context, &client, &request, args.output.as_deref()).await;
    }
    follow::follow(context, &client, &request, args.output.as_deref()).await
}
