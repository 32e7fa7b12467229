//! What the records cost on the path of one warm job: `cargo run --release -p adit-model --example speed`.

#[path = "../tests/sample/mod.rs"]
mod sample;

use adit_model::*;
use std::hint::black_box;
use std::time::Instant;

fn measure<T>(what: &str, mut run: impl FnMut() -> T) {
    const ROUNDS: u32 = 2000;
    for _ in 0..ROUNDS / 10 {
        black_box(run());
    }
    let start = Instant::now();
    for _ in 0..ROUNDS {
        black_box(run());
    }
    println!("{:>9.2} µs  {what}", start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
}

fn main() {
    let s = sample::Samples::new();
    let (task, envelope) = (s.task.encode(), s.envelope.encode());
    measure("encode a task", || s.task.encode());
    measure("decode a task", || Task::decode(&task).unwrap());
    measure("name a task (encode, hash)", || s.task.cid());
    measure("sign an invocation", || Signed::sign(s.invocation.body().clone(), &s.requester).unwrap());
    measure("decode and verify an invocation", || {
        Signed::<Invocation>::decode(s.invocation.block()).unwrap().verify().unwrap()
    });
    measure("sign an acceptance", || Signed::sign(s.acceptance.body().clone(), &s.operator).unwrap());
    measure("sign a receipt, twice", || Envelope::sign(&s.receipt, &s.job).unwrap());
    measure("encode an envelope", || s.envelope.encode());
    measure("decode and verify an envelope", || Envelope::decode(&envelope).unwrap().verify().unwrap());
    measure("verify a whole job", || {
        verify_job(&s.envelope, &s.invocation, &s.outcome, Expected::default()).unwrap()
    });
}
