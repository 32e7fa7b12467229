//! `adit`: the command line, and the node itself (`adit daemon`).
//!
//! A command parses its arguments, asks the daemon over the HTTP API (the same one that anybody may use), and
//! shows the answer. Only `init`, `daemon`, `devnet`, `config`, `key`, sealing, `policy`, `trust` and the offline part of
//! `receipt verify` touch files of their own. Guests never run in this process: the daemon starts `adit-enclave` beside it.
//!
//! Start reading at `cli.rs` for the list of commands, `commands/` for one file per family, `exit.rs` for
//! how a command ends, `output/` for what it may print.

mod cli;
mod commands;
mod context;
mod exit;
mod output;
mod own_grants;
mod own_keys;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use context::Context;
use exit::{Exit, Failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let is_run = matches!(cli.command, Command::Run(_));
    let context = Context::new(cli.global);
    match commands::dispatch(&context, cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => ExitCode::from(report(&context, &failure, is_run)),
    }
}

/// Help and version are answers, on stdout; anything else is a wrong command line.
fn usage(error: &clap::Error) -> ExitCode {
    // When even this cannot be printed, nobody is listening.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let names_run =
        std::env::args().skip(1).find(|arg| !arg.starts_with('-')).is_some_and(|arg| arg == "run");
    ExitCode::from(if names_run { Exit::Usage.of_run() } else { Exit::Usage as u8 })
}

/// Says what failed and what to do, and gives the exit code.
fn report(context: &Context, failure: &Failure, is_run: bool) -> u8 {
    let code = if is_run { failure.exit.of_run() } else { failure.exit as u8 };
    if failure.exit == Exit::BrokenPipe {
        return code;
    }
    let message = output::escape::one_line(failure.message());
    if context.out.json() {
        let error = serde_json::json!({
            "error": { "message": failure.message(), "hint": failure.advice(), "source": "adit", "exit": code }
        });
        let _ = context.out.document(&error);
    }
    eprintln!("error: {message}");
    if let Some(advice) = failure.advice() {
        eprintln!("  try: {}", output::escape::one_line(advice));
    }
    code
}
