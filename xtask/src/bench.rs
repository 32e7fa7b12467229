//! Benchmarks: each is an example program that prints what it measured beside what was to be reached, and compares
//! with its peer in the same run.

use crate::build::{self, cargo, check};
use anyhow::{Result, bail};

struct Bench {
    name: &'static str,
    measures: &'static str,
    package: &'static str,
    example: &'static str,
    /// Whether it compares with the programs of `adit-peers`, which build a wasmtime of their own: minutes.
    needs_peers: bool,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "store",
        measures: "durable add, reading, collecting a million blocks",
        package: "adit-store",
        example: "store_bench",
        needs_peers: false,
    },
    Bench {
        name: "net",
        measures: "200 MB from node to node over TCP and QUIC",
        package: "adit-net",
        example: "bitswap_bench",
        needs_peers: false,
    },
    Bench {
        name: "enclave",
        measures: "what a job costs in the enclave; scans; compiling",
        package: "adit-enclave",
        example: "enclave_bench",
        needs_peers: true,
    },
    Bench {
        name: "jobs",
        measures: "jobs over HTTP, here and at a neighbour; an idle node",
        package: "adit-tests",
        example: "jobs_bench",
        needs_peers: false,
    },
    Bench {
        name: "http",
        measures: "HTTP functions against wasmtime serving the same component",
        package: "adit-tests",
        example: "http_bench",
        needs_peers: true,
    },
    Bench {
        name: "gateway",
        measures: "the gateway against Kubo's: a hot file, a large file, a thousand clients",
        package: "adit-tests",
        example: "gateway_bench",
        needs_peers: false,
    },
    Bench {
        name: "ipfs",
        measures: "adding, transfers, memory, collecting a million blocks and finding, beside the real Kubo",
        package: "adit-tests",
        example: "ipfs_bench",
        needs_peers: false,
    },
    Bench {
        name: "trust",
        measures: "sealing and unsealing beside the cipher alone, and the memory that it takes",
        package: "adit-seal",
        example: "trust_bench",
        needs_peers: false,
    },
    Bench {
        name: "shares",
        measures: "key shares: what one costs its owner, its holder and an enclave",
        package: "adit-shares",
        example: "share_times",
        needs_peers: false,
    },
];

pub(crate) fn run(names: &[&str]) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| BENCHES.iter().all(|bench| bench.name != **name)) {
        let known: Vec<_> = BENCHES.iter().map(|bench| bench.name).collect();
        bail!("no benchmark is called {unknown}; there are {}", known.join(", "));
    }
    let programs = build::all_programs()?;
    for bench in BENCHES.iter().filter(|bench| names.is_empty() || names.contains(&bench.name)) {
        if bench.needs_peers {
            check(&mut cargo("build", &["adit-peers"]))?;
        }
        println!("\n== {}: {}", bench.name, bench.measures);
        let mut run = cargo("run", &[bench.package]);
        run.args(["--example", bench.example]);
        run.env("ADIT_ENCLAVE", programs.join("adit-enclave")).env("ADIT_BIN", programs.join("adit"));
        if ["gateway", "ipfs"].contains(&bench.name) {
            crate::peers::install()?.tell(&mut run);
        }
        run.env("ADIT_SERVE_COMPONENT", programs.join("serve-component"));
        check(run.env("ADIT_PLAIN_WASMTIME", programs.join("plain-wasmtime")))?;
    }
    Ok(())
}
