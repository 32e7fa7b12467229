//! What a worker costs, measured with a stand-in for the enclave that only copies. Ratios hold, absolute figures
//! depend on the machine.

use crate::{
    content::Content,
    enclave::{Worker, code, compile, guest, job_on, pushed},
};
use adit_exec::engine::Profile;
use std::time::{Duration, Instant};

pub fn print() {
    let tiny = guest("tiny");
    let start = Instant::now();
    let compiled = code(&tiny);
    println!("compile tiny ({} bytes): {:.1?}", tiny.len(), start.elapsed());
    for name in ["lines", "echo", "audit"] {
        let wasm = guest(name);
        let best = (0..3).map(|_| {
            let start = Instant::now();
            compile(Profile::Deterministic, &wasm).unwrap();
            start.elapsed()
        });
        println!("compile {name} ({} bytes): {:.1?}", wasm.len(), best.min().unwrap());
    }
    let start = Instant::now();
    let mut worker = Worker::loaded(&compiled);
    println!("start a worker and load: {:.1?}", start.elapsed());
    let mut content = Content::default();
    let data = content.file(vec![1; 1024]);
    let mut times: Vec<Duration> = (0..5000)
        .map(|_| {
            let mut job = job_on(data.cid, &["tiny"]);
            job.pushed = pushed(&content, &[data.cid]);
            let start = Instant::now();
            assert_eq!(worker.run(job, &content).exit(), 0);
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("warm job: p50 {:.1?}, p99 {:.1?}", times[2500], times[4950]);
    scan();
}

/// Lines of 256 MiB that come through slots; the stand-in copies each block once, as the enclave's pread does.
fn scan() {
    let size = 256 << 20;
    let mut content = Content::default();
    let data = content.file("a line of text that is neither long nor short\n".repeat(size / 46));
    for profile in [Profile::Deterministic, Profile::Fast] {
        let code = compile(profile, &guest("lines")).unwrap();
        let mut worker = Worker::loaded(&code);
        let best = (0..3).map(|_| {
            let start = Instant::now();
            assert_eq!(worker.run(job_on(data.cid, &["lines"]), &content).exit(), 0);
            start.elapsed()
        });
        let best = best.min().unwrap();
        println!("line count, {profile}: {:.0} MB/s", size as f64 / 1e6 / best.as_secs_f64());
    }
}
