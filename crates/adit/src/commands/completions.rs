//! `adit completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::context::Context;
use crate::exit::Failure;

/// Arguments of `adit completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For which shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn completions(context: &Context, args: Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::cli::Cli::command(), "adit", &mut script);
    Ok(context.out.raw(&script)?)
}
