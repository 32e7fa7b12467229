//! Limits: each is reached by a program made for it, and the worker lives on.

use crate::{
    content::Content,
    enclave::{CompileError, Ran, Worker, code, code_as, compile, guest, job, run},
};
use adit_exec::{
    engine::Profile,
    fault::{CodeFaultKind, FaultKind, LimitKind},
    worker_wire::{End, Job, JobLimits},
};
use std::time::{Duration, Instant};

crate::tests![
    fuel_ends_an_endless_loop_at_the_same_count_everywhere,
    host_work_is_paid_like_operators,
    the_fast_profile_counts_no_operators_but_host_work,
    memory_is_refused_at_the_limit_and_before_the_start,
    a_stack_overflow_is_indeterminate,
    a_compile_bomb_takes_only_its_compiler_with_it,
    an_output_over_the_quota_is_refused_to_the_guest,
    randomness_is_seeded_and_limited,
    more_instances_than_the_pool_has_are_the_codes_fault,
];

/// A module with these imports and this `_start`.
fn module(imports: &str, start: &str) -> String {
    format!(
        r#"(module {imports} (memory (export "memory") 1) (func (export "_start") (local $i i32) {start}))"#
    )
}

fn with(limits: impl FnOnce(&mut JobLimits)) -> Job {
    let mut job = job(&[]);
    limits(&mut job.limits);
    job
}

fn ran(code: &str, job: Job) -> Ran {
    run(&self::code(code), job, &Content::default())
}

fn fuel_ends_an_endless_loop_at_the_same_count_everywhere() {
    let forever = module("", "(loop (br 0))");
    let ends: Vec<_> = (0..2).map(|_| ran(&forever, with(|limits| limits.fuel = 10_000_000))).collect();
    assert_eq!(ends[0].kind(), FaultKind::Limit(LimitKind::Fuel));
    assert_eq!(ends[0].done.fuel, 10_000_000);
    assert_eq!(ends[0].done.end, ends[1].done.end);
    assert_eq!(ran(&forever, with(|limits| limits.fuel = 0)).kind(), FaultKind::Limit(LimitKind::Fuel));
}

fn host_work_is_paid_like_operators() {
    let random = r#"(import "wasi_snapshot_preview1" "random_get" (func $r (param i32 i32) (result i32)))"#;
    let storm = module(random, "(loop (drop (call $r (i32.const 0) (i32.const 60000))) (br 0))");
    let start = Instant::now();
    let ended = ran(&storm, with(|limits| limits.fuel = 1_000_000_000));
    assert_eq!(ended.kind(), FaultKind::Limit(LimitKind::Fuel));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    // The sum counts: 60,000 units for each call besides some operators.
    let once = module(random, "(drop (call $r (i32.const 0) (i32.const 60000)))");
    let ended = ran(&once, job(&[]));
    assert!(ended.done.fuel > 60_000 && ended.done.fuel < 90_000, "{}", ended.done.fuel);
    let enough = ended.done.fuel;
    assert_eq!(ran(&once, with(|limits| limits.fuel = enough)).exit(), 0);
    let short = ran(&once, with(|limits| limits.fuel = enough - 1));
    assert_eq!(short.kind(), FaultKind::Limit(LimitKind::Fuel));
}

fn the_fast_profile_counts_no_operators_but_host_work() {
    let random = r#"(import "wasi_snapshot_preview1" "random_get" (func $r (param i32 i32) (result i32)))"#;
    let count = "(loop (local.set $i (i32.add (local.get $i) (i32.const 1)))
                       (br_if 0 (i32.lt_u (local.get $i) (i32.const 1000000))))";
    let code = code_as(Profile::Fast, module("", count));
    let ended = run(&code, with(|limits| limits.fuel = 100_000), &Content::default());
    assert_eq!(ended.exit(), 0);
    assert!(ended.done.fuel < 100_000);
    let storm = module(random, "(loop (drop (call $r (i32.const 0) (i32.const 60000))) (br 0))");
    let ended =
        run(&code_as(Profile::Fast, storm), with(|limits| limits.fuel = 10_000_000), &Content::default());
    assert_eq!(ended.kind(), FaultKind::Limit(LimitKind::Fuel));
}

fn memory_is_refused_at_the_limit_and_before_the_start() {
    // Grows page by page until that fails, and exits with how far it came.
    let exit = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;
    let grow = module(
        exit,
        "(loop (br_if 0 (i32.ne (i32.const -1) (memory.grow (i32.const 1)))))
         (call $exit (memory.size))",
    );
    let ended = ran(&grow, with(|limits| limits.memory = 100 << 16));
    assert!((90..=100).contains(&ended.exit()), "{}", ended.exit());
    let large = r#"(module (memory (export "memory") 1000) (func (export "_start")))"#;
    let ended = ran(large, with(|limits| limits.memory = 10 << 20));
    assert_eq!(ended.kind(), FaultKind::Limit(LimitKind::Memory));
}

fn a_stack_overflow_is_indeterminate() {
    let deep = r#"(module (memory (export "memory") 1)
        (func $f (param i32) (result i32) (i32.add (local.get 0) (call $f (i32.add (local.get 0) (i32.const 1)))))
        (func (export "_start") (drop (call $f (i32.const 0)))))"#;
    let code = code(deep);
    let mut worker = Worker::loaded(&code);
    for _ in 0..2 {
        let ended = worker.run(job(&[]), &Content::default());
        assert_eq!((ended.kind(), ended.done.fuel), (FaultKind::Indeterminate, 0));
    }
}

fn a_compile_bomb_takes_only_its_compiler_with_it() {
    // One function of half a million additions, all of them live at once.
    let body = "(i32.add (local.get 0) ".repeat(20_000) + "(i32.const 1)" + &")".repeat(20_000);
    let functions = format!("(func (param i32) (result i32) {body})").repeat(10);
    let bomb = format!(r#"(module (memory (export "memory") 1) (func (export "_start")) {functions})"#);
    let start = Instant::now();
    match compile(Profile::Deterministic, &wat::parse_str(bomb).unwrap()) {
        Ok(_) | Err(CompileError::Refused(_) | CompileError::Died(_)) => {}
    }
    assert!(start.elapsed() < Duration::from_secs(90));
    let many = format!(
        r#"(module (memory (export "memory") 1) (func (export "_start")) {})"#,
        "(func)".repeat(250_001)
    );
    match compile(Profile::Deterministic, &wat::parse_str(many).unwrap()) {
        Err(CompileError::Refused(fault)) => assert_eq!(fault.kind, CodeFaultKind::TooMuch),
        other => panic!("{:?}", other.err()),
    }
    assert_eq!(ran(&module("", ""), job(&[])).exit(), 0, "others are not disturbed");
}

fn an_output_over_the_quota_is_refused_to_the_guest() {
    let mut content = Content::default();
    let stdin = content.file(vec![b'x'; 3 << 20]);
    let code = code(guest("echo"));
    let mut worker = Worker::loaded(&code);
    let job = |output: u64| {
        let mut job = with(|limits| limits.output = output);
        job.args = vec!["echo".into(), "out=copy".into()];
        job.stdin = Some(stdin.cid);
        job
    };
    let full = worker.run(job(1 << 20), &content);
    assert_eq!(full.exit(), 99, "{}", full.errors());
    let fits = worker.run(job(4 << 20), &content);
    assert_eq!((fits.exit(), fits.file("copy").unwrap().len()), (0, 3 << 20));
    let none = worker.run(job(0), &content);
    assert_eq!((none.exit(), none.stdout.len()), (99, 0));
    // More than the worker's output file holds is this host's fault, not the task's.
    let ended = worker.run(job(1 << 40), &content);
    assert!(matches!(ended.done.end, End::Host(_)));
}

fn randomness_is_seeded_and_limited() {
    let random = r#"(import "wasi_snapshot_preview1" "random_get" (func $r (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))"#;
    let show = module(
        random,
        "(drop (call $r (i32.const 100) (i32.const 32)))
         (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 32))
         (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))",
    );
    let code = code(&show);
    let mut worker = Worker::loaded(&code);
    let mut with_seed = |seed: u8| {
        let job = Job { seed: [seed; 32], ..job(&[]) };
        worker.run(job, &Content::default()).stdout
    };
    let first = with_seed(1);
    assert_eq!(first.len(), 32);
    assert_eq!(first, with_seed(1));
    assert_ne!(first, with_seed(2));
    assert_eq!(first, run(&code, Job { seed: [1; 32], ..job(&[]) }, &Content::default()).stdout);
}

fn more_instances_than_the_pool_has_are_the_codes_fault() {
    let instances = "(core instance (instantiate $m))".repeat(150);
    let bomb = format!(
        r#"(component (core module $m) {instances}
            (core module $run (func (export "run") (result i32) (i32.const 0)))
            (core instance $i (instantiate $run))
            (func $f (result (result)) (canon lift (core func $i "run")))
            (component $c (import "f" (func $f (result (result)))) (export "run" (func $f)))
            (instance $e (instantiate $c (with "f" (func $f))))
            (export "wasi:cli/run@0.2.12" (instance $e)))"#
    );
    let code = code(&bomb);
    let mut worker = Worker::start(Profile::Deterministic);
    match worker.load(&code) {
        Some(adit_exec::worker_wire::FromWorker::Refused(fault)) => {
            assert_eq!(fault.kind, CodeFaultKind::TooMuch, "{fault}");
        }
        other => panic!("{other:?}"),
    }
    let few = bomb.replacen("(core instance (instantiate $m))", "", 100);
    assert_eq!(run(&self::code(&few), job(&[]), &Content::default()).exit(), 0);
}
