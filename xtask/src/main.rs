//! `cargo xtask …`: everything that is done more than once in this repository.
//!
//! Start reading at [`build`], which says what is built with what: the enclave always alone.

mod bench;
mod build;
mod debian;
mod demo;
mod dist;
mod guests;
mod licences;
mod peers;
mod reach;
mod test;
mod watchdog;

use anyhow::{Result, bail};

const HELP: &str = "\
usage: cargo xtask <command>

  demo [--data DIR]     build the programs and run the main job on real data, on a network of three nodes
  test [SUITE…]         run all tests (or the named suites), each beside its time budget
  soak                  the long runs: generated schedules, crash loops, big files; minutes to hours
  bench [NAME…]         measure, and print what was measured beside what was to be reached
  peers                 install the programs that tests talk to (Kubo, Helia) into the user's cache
  guests [--check]      rebuild the Wasm programs under guests/; --check compares with what is checked in
  dist                  pack a tarball, a Debian package and a container's recipe into target/dist
  ci                    what CI runs: formatting, lints, then the tests
";

fn main() {
    if let Err(error) = run() {
        eprintln!("xtask: {error:#}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["demo"] => demo::run(None),
        ["demo", "--data", folder] => demo::run(Some(folder.as_ref())),
        ["test", suites @ ..] => test::run(suites),
        ["soak"] => test::soak(),
        ["bench", names @ ..] => bench::run(names),
        ["peers"] => peers::install().map(drop),
        ["guests"] => guests::run(false),
        ["guests", "--check"] => guests::run(true),
        ["dist"] => dist::run(),
        ["ci"] => test::ci(),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => {
            eprint!("{HELP}");
            bail!("unknown command: {}", words.join(" "))
        }
    }
}
