//! `adit drain`: a node that is to be stopped finishes its jobs first.

use std::time::Duration;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use adit_node::config::Span;

/// Arguments of `adit drain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The node goes on serving blocks and answers; it takes jobs again when it is started anew. Before maintenance:

  adit drain && systemctl stop adit")]
pub(crate) struct Args {
    /// How long to wait for running jobs
    #[arg(long, value_name = "TIME", default_value = "10m")]
    timeout: Span,
}

/// How often the node is asked how many jobs are left.
const EVERY: Duration = Duration::from_millis(200);

/// Has the node take no new jobs, and waits until those that it has are done.
pub(crate) async fn drain(context: &Context, args: Args) -> Result<(), Failure> {
    let client = context.client()?;
    let deadline = tokio::time::Instant::now() + args.timeout.0;
    let mut told = usize::MAX;
    loop {
        let left = client.drain().await?;
        if left.jobs == 0 {
            context.out.either(&left, |out, _| out.line("no job is left; the node takes no new ones"))?;
            return Ok(());
        }
        if left.jobs != told {
            told = left.jobs;
            context.out.note(format!("{told} jobs have not ended"));
        }
        if tokio::time::Instant::now() + EVERY > deadline {
            return Err(Failure::new(Exit::Timeout, format!("{told} jobs have not ended"))
                .hint("`adit job ls` shows them; the node still takes no new ones"));
        }
        tokio::time::sleep(EVERY).await;
    }
}
