//! Benchmarks: each is an example program that prints what it measured beside what was to be reached, and compares
//! with its peer in the same run.

use crate::build::{self, cargo, check};
use anyhow::{Result, bail};

struct Bench {
    name: &'static str,
    measures: &'static str,
    package: &'static str,
    example: &'static str,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "store",
        measures: "durable add, reading, collecting a million blocks",
        package: "adit-store",
        example: "store_bench",
    },
    Bench {
        name: "net",
        measures: "200 MB from node to node over TCP and QUIC",
        package: "adit-net",
        example: "bitswap_bench",
    },
    Bench {
        name: "enclave",
        measures: "what a job costs in the enclave; scans; compiling",
        package: "adit-enclave",
        example: "enclave_bench",
    },
    Bench {
        name: "jobs",
        measures: "jobs over HTTP, here and at a neighbour; an idle node",
        package: "adit-tests",
        example: "jobs_bench",
    },
];

pub(crate) fn run(names: &[&str]) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| BENCHES.iter().all(|bench| bench.name != **name)) {
        let known: Vec<_> = BENCHES.iter().map(|bench| bench.name).collect();
        bail!("no benchmark is called {unknown}; there are {}", known.join(", "));
    }
    let programs = build::all_programs()?;
    check(&mut cargo("build", &["adit-peers"]))?;
    for bench in BENCHES.iter().filter(|bench| names.is_empty() || names.contains(&bench.name)) {
        println!("\n== {}: {}", bench.name, bench.measures);
        let mut run = cargo("run", &[bench.package]);
        run.args(["--example", bench.example]);
        run.env("ADIT_ENCLAVE", programs.join("adit-enclave")).env("ADIT_BIN", programs.join("adit"));
        check(run.env("ADIT_PLAIN_WASMTIME", programs.join("plain-wasmtime")))?;
    }
    Ok(())
}
