//! Tests, in suites with a time budget each. A suite that outgrows its budget belongs into `soak`; one that takes
//! half as long again is ended: something hangs.

use crate::{
    build::{self, ENCLAVE, NODE, PURE, REAL, cargo, check},
    debian, peers,
    watchdog::Watchdog,
};
use anyhow::{Context, Result, bail};
use std::{
    process::Command,
    time::{Duration, Instant},
};

struct Suite {
    name: &'static str,
    proves: &'static str,
    /// Minutes on two cores, with nothing built before.
    budget: u64,
    run: fn() -> Result<()>,
}

const SUITES: &[Suite] = &[
    Suite { name: "pure", proves: "records, codecs and frames", budget: 4, run: pure },
    Suite { name: "enclave", proves: "enclave, workers, jail, compiler", budget: 14, run: enclave },
    Suite {
        name: "node",
        proves: "store, network, placement, gateway, API, command line",
        budget: 20,
        run: || tests(NODE),
    },
    Suite { name: "real", proves: "the real programs: jobs, crashes, hostile guests", budget: 16, run: real },
    Suite { name: "ipfs", proves: "transfers and CIDs with the real Kubo and Helia", budget: 14, run: ipfs },
    Suite {
        name: "guests",
        proves: "guest sources build to what is checked in",
        budget: 6,
        run: crate::guests::check,
    },
];

pub(crate) fn run(names: &[&str]) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| SUITES.iter().all(|suite| suite.name != **name)) {
        let known: Vec<_> = SUITES.iter().map(|suite| suite.name).collect();
        bail!("no suite is called {unknown}; there are {}", known.join(", "));
    }
    let mut table = Vec::new();
    for suite in SUITES.iter().filter(|suite| names.is_empty() || names.contains(&suite.name)) {
        println!("\n== {}: {} (budget {} min)", suite.name, suite.proves, suite.budget);
        let start = Instant::now();
        let watchdog = Watchdog::start(suite.name, Duration::from_secs(90 * suite.budget));
        (suite.run)().with_context(|| format!("the suite {} failed", suite.name))?;
        drop(watchdog);
        table.push((suite, start.elapsed()));
    }
    println!("\nsuite      took      budget");
    for (suite, took) in &table {
        let over = if *took > Duration::from_secs(60 * suite.budget) { "  over" } else { "" };
        println!("{:<9} {:>5.1} min {:>5} min{over}", suite.name, took.as_secs_f64() / 60.0, suite.budget);
    }
    Ok(())
}

fn tests(packages: &[&str]) -> Result<()> {
    check(&mut cargo("test", packages))
}

fn pure() -> Result<()> {
    install(debian::SEALING)?;
    tests(PURE)?;
    tests(&["xtask"])
}

/// The enclave's tests drive its real program, which is built first, with the same features.
fn enclave() -> Result<()> {
    check(&mut cargo("build", &["adit-enclave"]))?;
    check(with_programs(&mut cargo("test", ENCLAVE)))
}

/// Peers are told of in both suites: beside transfers there are tests that use `ipfs` as a tool.
fn real() -> Result<()> {
    let peers = programs_and_peers()?;
    check(peers.tell(with_programs(cargo("test", REAL).args(["--", "--skip", "ipfs::"]))))
}

fn ipfs() -> Result<()> {
    let peers = programs_and_peers()?;
    check(peers.tell(with_programs(cargo("test", REAL).args(["--test", "real", "--", "ipfs::"]))))
}

/// Builds the programs under test, and installs what the tests use beside them.
fn programs_and_peers() -> Result<peers::Peers> {
    build::all_programs()?;
    install(debian::TESTS)?;
    install(debian::SEALING)?;
    peers::install()
}

/// Missing programs are an error in CI; elsewhere the tests that want them say so and are skipped.
fn install(tools: &[debian::Tool]) -> Result<()> {
    match debian::install(tools) {
        Err(error) if std::env::var_os("CI").is_none() => {
            println!("some tests will be SKIPPED: {error:#}");
            Ok(())
        }
        result => result,
    }
}

/// Tells the tests where the programs under test are; they never build them.
fn with_programs(command: &mut Command) -> &mut Command {
    let programs = build::programs();
    command.env("ADIT_ENCLAVE", programs.join("adit-enclave")).env("ADIT_BIN", programs.join("adit"))
}

/// Runs the tests that take long: those that are ignored and called `soak_…`, each in a run of its own. What is ignored for
/// other reasons stays so.
pub(crate) fn soak() -> Result<()> {
    let peers = programs_and_peers()?;
    install(debian::SOAK)?;
    let mut table = Vec::new();
    for packages in [PURE, ENCLAVE, NODE, REAL] {
        for name in soak_tests(packages)? {
            println!("\n== {name}");
            let start = Instant::now();
            let words = ["--", "--ignored", "--exact", "--nocapture", &name];
            let ended = check(peers.tell(with_programs(cargo("test", packages).args(words))));
            if let Err(error) = &ended {
                eprintln!("xtask: {error:#}");
            }
            table.push((name, start.elapsed(), ended.is_ok()));
        }
    }
    println!("\n     took  test");
    for (name, took, passed) in &table {
        let failed = if *passed { "" } else { "  FAILED" };
        println!("{:>5.1} min  {name}{failed}", took.as_secs_f64() / 60.0);
    }
    match table.iter().filter(|(_, _, passed)| !passed).count() {
        0 => Ok(()),
        failed => bail!("{failed} of {} soak tests failed", table.len()),
    }
}

/// The tests of these packages that are ignored because they take long. A test's runner lists names but no reasons, so
/// their names say it: the last part begins with `soak_`.
fn soak_tests(packages: &[&str]) -> Result<Vec<String>> {
    let mut list = cargo("test", packages);
    let output = list.args(["--", "--ignored", "--list", "--format", "terse"]).output()?;
    if !output.status.success() {
        bail!("cannot list tests:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(soak_test).map(str::to_owned).collect())
}

/// The name in a line of a list, if it is a soak test's.
fn soak_test(line: &str) -> Option<&str> {
    let name = line.strip_suffix(": test")?;
    let last = name.rsplit("::").next()?;
    last.starts_with("soak_").then_some(name)
}

pub(crate) fn ci() -> Result<()> {
    let mut format = Command::new("cargo");
    check(format.current_dir(build::root()).args(["fmt", "--all", "--check"]))?;
    if Command::new("cargo")
        .args(["clippy", "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        let mut clippy = Command::new("cargo");
        clippy.current_dir(build::root()).args(["clippy", "--workspace", "--all-targets", "--locked"]);
        check(clippy.args(["--", "-D", "warnings"]))?;
    } else {
        println!("clippy is not installed: lints not checked");
    }
    crate::licences::check()?;
    crate::reach::check()?;
    run(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soak_tests_are_known_by_their_names() {
        assert_eq!(soak_test("soak::soak_ten_gib: test"), Some("soak::soak_ten_gib"));
        assert_eq!(soak_test("soak_alone: test"), Some("soak_alone"));
        assert_eq!(soak_test("soak::another: test"), None);
        assert_eq!(soak_test("soak_bench: benchmark"), None);
        assert_eq!(soak_test(""), None);
    }
}
