//! One job, from `Start` to its last word.
//!
//! [`Job::run`] is the story. Its longer chapters: `program.rs` gets the machine code, `serve.rs` drives the worker,
//! `outputs.rs` makes blocks of what came out.

use super::{
    Enclave,
    codes::CodeKey,
    link::{FromNode, Link, Stop, Wanted},
    outputs::Results,
    pool::{Purpose, Worker},
    program::Program,
    remember::Remembered,
    rights::{Rights, TooManyBlocks},
    serve::{Ran, RanToEnd},
    wait,
};
use adit_model::{
    Abi, AccountId, DecodeError, ErrorKind, Invocation, InvocationCid, Limits, Outcome, OutcomeCid,
    OutcomeResult, Profile, Signed, Task, TaskCid, limits,
};
use adit_wire::session::{Failure, Finished, FromEnclave, JobStats, MAX_PUSHED, Start};
use bytes::Bytes;
use cid::Cid;
use std::{
    collections::{BTreeMap, HashMap},
    os::fd::AsFd,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// Longest that a node may let a job run.
const MAX_DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// How long the node may take to store a job's output.
const STORE_TIME: Duration = Duration::from_secs(600);

pub(super) struct Job<'a> {
    pub(super) enclave: &'a Enclave,
    pub(super) link: &'a mut Link,
    /// The node's number for it.
    pub(super) number: u32,
    began: Instant,
    pub(super) deadline: Instant,
    fresh: bool,
    /// Not a job but an HTTP function.
    pub(super) function: bool,
    pub(super) live_logs: bool,
    pub(super) task: Task,
    pub(super) task_cid: TaskCid,
    invocation: InvocationCid,
    issuer: AccountId,
    pub(super) rights: Rights,
    /// Blocks that came along with the job, unverified.
    pub(super) pushed: HashMap<Cid, Bytes>,
    /// In the order in which they came.
    pub(super) pushed_order: Vec<Cid>,
    pub(super) stats: JobStats,
}

impl<'a> Job<'a> {
    /// Reads what the job is. What is not implemented is refused by its name.
    pub(super) fn new(enclave: &'a Enclave, link: &'a mut Link, start: Start) -> Result<Self, Stop> {
        let began = Instant::now();
        let task = Task::decode(&start.task).map_err(|error| refuse("task", error))?;
        let task_cid = TaskCid::of_block(&start.task);
        let invocation = Signed::<Invocation>::decode(&start.invocation);
        let invocation = invocation.map_err(|error| refuse("invocation", error))?;
        if invocation.body().task != task_cid {
            return Stop::failed(Failure::Refused, "the invocation is for another task");
        }
        if invocation.body().reply_key.is_some() {
            return Stop::failed(
                Failure::NotImplemented,
                "sealed output, which the invocation names a key for",
            );
        }
        Ok(Job {
            enclave,
            link,
            number: start.job,
            began,
            deadline: began + Duration::from_millis(start.deadline_ms).min(MAX_DEADLINE),
            fresh: start.fresh,
            function: false,
            live_logs: start.live_logs,
            task,
            task_cid,
            // The signature is inside the block that this names, so whoever reads the receipt checks it. What the
            // enclave itself uses of the invocation (whose workers may be shared) only the node could fake.
            invocation: invocation.cid(),
            issuer: invocation.body().issuer,
            rights: Rights::default(),
            pushed_order: start.blocks.iter().map(|(cid, _)| *cid).collect(),
            pushed: start.blocks.into_iter().collect(),
            stats: JobStats::default(),
        })
    }

    /// What it takes to serve an HTTP function, as a job whose Task nobody signs or ever sees: getting the program and
    /// a worker is the same.
    pub(super) fn function(enclave: &'a Enclave, link: &'a mut Link, wanted: &Wanted) -> Result<Self, Stop> {
        let began = Instant::now();
        let task = Task {
            code: wanted.code,
            abi: Abi::WasiCliCommand,
            args: Vec::new(),
            env: BTreeMap::new(),
            inputs: BTreeMap::new(),
            stdin: None,
            limits: Limits { fuel: 1, memory: 1, output: 1 },
            profile: Profile::Deterministic,
        };
        Ok(Job {
            enclave,
            link,
            number: wanted.job,
            began,
            deadline: began + wanted.patience.min(MAX_DEADLINE),
            fresh: true,
            function: true,
            live_logs: false,
            task_cid: TaskCid::of_block(&[]),
            task,
            invocation: InvocationCid::of_block(&[]),
            issuer: AccountId(enclave.hello.host),
            rights: Rights::default(),
            pushed: HashMap::new(),
            pushed_order: Vec::new(),
            stats: JobStats::default(),
        })
    }

    /// Gets a worker ready and leaves it to the node.
    pub(super) fn serve(mut self) -> Result<(), Stop> {
        let code = CodeKey { code: self.task.code, profile: self.task.profile };
        let machine_code = match self.program(&code)? {
            Program::Code(machine_code) => machine_code,
            Program::Faulty(detail) => return Stop::failed(Failure::Refused, detail),
        };
        let purpose = Purpose { code, issuer: self.issuer, function: self.function };
        // What cannot be linked as a function may be a fine command, so the code is not marked as faulty.
        match self.ready_worker(&purpose, &machine_code)? {
            Ok(mut worker) => {
                // The next one should not wait for a process to start.
                self.enclave.pool.prepare();
                self.connect(&mut worker)
            }
            Err(fault) => Stop::failed(Failure::Refused, fault.detail),
        }
    }

    pub(super) fn run(mut self) -> Result<(), Stop> {
        self.check_limits()?;
        if self.may_remember()
            && !self.fresh
            && let Some(known) = self.enclave.memory.recall(&self.task_cid)
        {
            self.enclave.counters.remembered.fetch_add(1, Ordering::Relaxed);
            self.stats.remembered = true;
            self.stats.fuel = known.fuel;
            return self.finish(known.outcome.clone(), known.cid, Results::default());
        }
        for root in self.task.inputs.values().map(adit_model::Input::root).chain(&self.task.stdin) {
            self.rights.allow(root).map_err(too_many)?;
        }
        let code = CodeKey { code: self.task.code, profile: self.task.profile };
        let (outcome, results) = match self.program(&code)? {
            Program::Code(machine_code) => {
                let purpose = Purpose { code, issuer: self.issuer, function: self.function };
                match self.ready_worker(&purpose, &machine_code)? {
                    Ok(worker) => self.run_in(worker)?,
                    Err(fault) => {
                        let detail = fault.detail.clone();
                        self.enclave.codes.refuse(&code, fault);
                        (error_outcome(ErrorKind::Malformed, &detail), Results::default())
                    }
                }
            }
            Program::Faulty(detail) => (error_outcome(ErrorKind::Malformed, &detail), Results::default()),
        };
        let outcome = Outcome {
            task: self.task_cid,
            out: outcome,
            fuel: self.stats.fuel,
            runtime: self.enclave.signer.runtime().to_owned(),
        };
        let block = Bytes::from(outcome.encode());
        let cid = OutcomeCid::of_block(&block);
        if self.may_remember() && matches!(outcome.out, OutcomeResult::Ok { .. }) {
            let known = Remembered { outcome: block.clone(), cid, fuel: outcome.fuel };
            self.enclave.memory.remember(self.task_cid, known);
        }
        self.finish(block, cid, results)
    }

    /// Runs the job, makes blocks of its output, and gives the worker back.
    fn run_in(&mut self, mut worker: Worker) -> Result<(OutcomeResult, Results), Stop> {
        let ran = self.drive(&mut worker)?;
        let (out, results) = self.outcome_of(&ran, &worker)?;
        if ran.leaves_output_pages() {
            worker.clear_output().map_err(|error| Stop::host("clearing the output file", error))?;
        }
        self.enclave.pool.release(worker);
        self.stats.fuel = ran.done.fuel.min(self.task.limits.fuel);
        Ok((out, results))
    }

    /// Tasks are public as long as `private` is refused, so determinism is all that is left to ask for.
    fn may_remember(&self) -> bool {
        self.task.profile == Profile::Deterministic
    }

    fn check_limits(&self) -> Result<(), Stop> {
        let limits = &self.task.limits;
        for (what, wanted, most) in [
            ("memory", limits.memory, self.enclave.hello.memory),
            ("output", limits.output, self.enclave.hello.output),
        ] {
            if wanted > most {
                let detail = format!("the task asks for {wanted} bytes of {what}; this host gives {most}");
                return Stop::failed(Failure::Refused, detail);
            }
        }
        Ok(())
    }

    /// Turns what the worker reported into a result, its output made into blocks.
    fn outcome_of(&mut self, ran: &Ran, worker: &Worker) -> Result<(OutcomeResult, Results), Stop> {
        let mut results = Results::default();
        let (stdout, stderr) = results.streams(self, ran, worker)?;
        let out = match &ran.end {
            RanToEnd::Exit(exit) => {
                let root = results.tree(self, ran, worker)?;
                OutcomeResult::Ok { root, exit: *exit, stdout, stderr }
            }
            RanToEnd::Fault(kind, detail) => OutcomeResult::Error {
                kind: *kind,
                detail: short(detail),
                stdout: Some(stdout),
                stderr: Some(stderr),
            },
        };
        self.stats.bytes_written = results.content;
        Ok((out, results))
    }

    /// Sends outcome, what is left of the output, and the receipt, which comes last in any case.
    fn finish(mut self, outcome: Bytes, cid: OutcomeCid, results: Results) -> Result<(), Stop> {
        let (blocks, all_inline) = results.deliver(&mut self)?;
        let receipt = |job: &Self| {
            let receipt = job.enclave.signer.receipt(cid, job.invocation, job.task_cid);
            receipt.map_err(|error| Stop::Failed(Failure::Host, error.to_string()))
        };
        let envelope = if all_inline { Some(receipt(&self)?) } else { None };
        self.stats.bytes_read = self.rights.bytes;
        self.stats.blocks_read = self.rights.served;
        self.stats.total_us = micros(self.began);
        let finished = Finished { outcome, stats: self.stats, blocks, receipt: envelope };
        self.link.send(&FromEnclave::Finished(Box::new(finished)), &[], Instant::now() + STORE_TIME)?;
        if all_inline {
            return Ok(());
        }
        let patience = Instant::now() + STORE_TIME;
        loop {
            if wait::readable([self.link.as_fd()], patience)? == [false] {
                return Stop::failed(Failure::Host, "the node did not store the output");
            }
            if let FromNode::Stored = self.link.receive(self.number)? {
                let envelope = receipt(&self)?;
                return self.link.send(&FromEnclave::Receipt { envelope }, &[], patience);
            }
        }
    }

    /// Whether a job's blocks of this many bytes in all may go into `Finished`.
    pub(super) const fn fits_inline(bytes: usize) -> bool {
        bytes <= MAX_PUSHED
    }
}

pub(super) fn too_many(_: TooManyBlocks) -> Stop {
    let detail = format!("the job reaches more than {} blocks", super::rights::MAX_KNOWN);
    Stop::Failed(Failure::Refused, detail)
}

pub(super) fn micros(since: Instant) -> u64 {
    since.elapsed().as_micros() as u64
}

fn error_outcome(kind: ErrorKind, detail: &str) -> OutcomeResult {
    OutcomeResult::Error { kind, detail: short(detail), stdout: None, stderr: None }
}

/// As long as an Outcome's explanation may be; cut at a character, so the same on every host.
fn short(detail: &str) -> String {
    detail[..detail.floor_char_boundary(limits::DETAIL_BYTES)].to_owned()
}

fn refuse(what: &str, error: DecodeError) -> Stop {
    let kind = match error {
        DecodeError::NotImplemented { .. } => Failure::NotImplemented,
        _ => Failure::Refused,
    };
    Stop::Failed(kind, format!("{what}: {error}"))
}
