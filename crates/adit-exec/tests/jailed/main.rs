//! Jailed processes as they really are: started by exec, in the full jail, with real guests.
//!
//! The program is its own test runner, because it is also what it tests: called as `jailed worker …` or `jailed
//! compile …` it becomes that process, as `adit-enclave` does.
//!
//!     cargo test --release -p adit-exec --test jailed [WORDS]     # tests whose name contains one of them
//!     cargo test --release -p adit-exec --test jailed -- --figures

// One program: what its parts share is public among them.
#![expect(unreachable_pub)]

mod content;
mod enclave;
mod figures;
mod files;
mod hostile;
mod jail;
mod limits;
mod preview1;
mod programs;
mod protocol;

use std::{process::ExitCode, time::Instant};

/// A test and its name.
type Test = (&'static str, fn());

#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub const TESTS: &[$crate::Test] =
            &[$((concat!(module_path!(), "::", stringify!($name)).split_at("jailed::".len()).1, $name)),*];
    };
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let role = match args.first().map(String::as_str) {
        Some("worker") => adit_exec::worker::main(&args[1..]),
        Some("compile") => adit_exec::compile::main(&args[1..]),
        Some("probe") => return jail::probe(&args[1..]),
        _ => return run(&args),
    };
    match role {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", args[0]);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> ExitCode {
    if args.iter().any(|arg| arg == "--figures") {
        figures::print();
        return ExitCode::SUCCESS;
    }
    let words: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let all = [
        jail::TESTS,
        protocol::TESTS,
        files::TESTS,
        limits::TESTS,
        preview1::TESTS,
        programs::TESTS,
        hostile::TESTS,
    ]
    .concat();
    let chosen: Vec<Test> = all
        .into_iter()
        .filter(|(name, _)| words.is_empty() || words.iter().any(|word| name.contains(*word)))
        .collect();
    if args.iter().any(|arg| arg == "--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = Vec::new();
    for (name, test) in &chosen {
        let start = Instant::now();
        let passed = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {} ({:.2?})", if passed { "ok" } else { "FAILED" }, start.elapsed());
        if !passed {
            failed.push(name);
        }
    }
    println!("{} passed, {} failed {failed:?}", chosen.len() - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
