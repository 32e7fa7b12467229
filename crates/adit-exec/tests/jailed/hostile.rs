//! Every program of the project's hostile set, in a worker: each ends as its first line says it may, in bounded time.

use crate::{
    content::Content,
    enclave::{CompileError, Ran, Worker, compile, job_on},
};
use adit_exec::{
    engine::Profile,
    fault::{FaultKind, LimitKind},
    worker_wire::{End, FromWorker},
};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

crate::tests![all_of_them];

/// No program here may keep a worker busy for longer, with the fuel that it gets.
const LONGEST: Duration = Duration::from_secs(30);

fn all_of_them() {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests");
    let mut sources: Vec<PathBuf> =
        std::fs::read_dir(guests.join("hostile")).unwrap().map(|entry| entry.unwrap().path()).collect();
    sources.sort();
    assert!(sources.len() >= 60, "{} programs", sources.len());
    let mut wrong = Vec::new();
    for source in &sources {
        let name = source.file_stem().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(source).unwrap();
        let expected = text.lines().next().unwrap().split_once("expect:").expect("a line of expectations").1;
        let wasm = if source.extension().is_some_and(|extension| extension == "wat") {
            wat::parse_str(&text).unwrap()
        } else {
            std::fs::read(guests.join(format!("bin/hostile-{name}.wasm"))).unwrap()
        };
        let start = Instant::now();
        let end = end_of(&wasm);
        let took = start.elapsed();
        if !expected.split_whitespace().any(|word| word == end) || took > LONGEST {
            wrong.push(format!("{name}: {end} after {took:.1?}, where{expected} was expected"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// How a program ends, in the set's words.
fn end_of(wasm: &[u8]) -> String {
    let code = match compile(Profile::Deterministic, wasm) {
        Ok(code) => code,
        Err(CompileError::Refused(_)) => return "malformed".into(),
        Err(CompileError::Died(how)) => return format!("compiler died: {how}"),
    };
    let mut content = Content::default();
    let data = content.file("some data\n".repeat(1000));
    let mut worker = Worker::start(Profile::Deterministic);
    match worker.load(&code) {
        Some(FromWorker::Loaded) => {}
        Some(FromWorker::Refused(_)) => return "malformed".into(),
        other => return format!("loading: {other:?}"),
    }
    let mut job = job_on(data.cid, &["hostile"]);
    job.limits.fuel = 500_000_000;
    job.limits.memory = 64 << 20;
    job.limits.output = 4 << 20;
    match worker.run_if_alive(job, &content) {
        None => format!("worker died: {}", worker.ended()),
        Some(ran) => word(&ran),
    }
}

fn word(ran: &Ran) -> String {
    match &ran.done.end {
        End::Exit(code) => format!("exit:{code}"),
        End::Fault(fault) => match fault.kind {
            FaultKind::Malformed => "malformed".into(),
            FaultKind::Trap => "trap".into(),
            FaultKind::Indeterminate => "indeterminate".into(),
            FaultKind::Limit(LimitKind::Fuel) => "limit-fuel".into(),
            FaultKind::Limit(LimitKind::Memory) => "limit-memory".into(),
            FaultKind::Limit(LimitKind::Output) => "limit-output".into(),
            FaultKind::Limit(LimitKind::Resources) => "limit-resources".into(),
        },
        other => format!("{other:?}"),
    }
}
