//! Driving a worker through one job: what it wants, what it says, how it ends.
//!
//! The worker is jailed but not trusted: it holds a stranger's program. Every number that it sends is checked, every
//! block that it wants must be one that the job may see, and the first thing that makes no sense ends it.

use super::{
    codes::Code,
    job::{Job, micros, too_many},
    link::{FOREVER, FromNode, SessionError, Stop},
    outputs,
    pool::{Purpose, SLOTS, Worker},
    program::{asked, delivered_length},
    rights::Standing,
    wait,
};
use crate::{
    fault::{CodeFault, FaultKind, LimitKind},
    worker_wire::{
        Content, Done, End, FromWorker, JobLimits, LogStream, MAX_OUTPUT_NODES, MAX_PUSHED, OutputNode,
        Refusal, ToWorker, Want,
    },
};
use adit_model::{ErrorKind, Profile};
use adit_unixfs::block;
use adit_wire::{
    Channel, Message,
    session::{Delivered, Delivery, Failure, FromEnclave, Stream, Wanted},
};
use bytes::Bytes;
use cid::Cid;
use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

/// What a program finds as its own name, `argv[0]`: the same for all, as a Task has none to give.
const PROGRAM_NAME: &str = "program";

/// Bytes of frames that may describe what is below `/out`.
const MAX_DESCRIPTION: usize = 32 << 20;

/// What a worker reported about a job that it ran to its end.
pub(super) struct Ran {
    pub(super) end: RanToEnd,
    pub(super) done: Done,
    pub(super) nodes: Vec<OutputNode>,
}

/// The ends that go into an Outcome.
pub(super) enum RanToEnd {
    Exit(u8),
    Fault(ErrorKind, String),
}

impl Ran {
    /// Whether the output file was used, and has to be empty again for the next job.
    pub(super) fn leaves_output_pages(&self) -> bool {
        let streams = [&self.done.stdout, &self.done.stderr].into_iter();
        let mut contents = streams.chain(self.nodes.iter().filter_map(outputs::content_of));
        contents.any(|content| matches!(content, Content::Pages { .. }))
    }
}

/// The state of the conversation about one job.
#[derive(Default)]
struct Run {
    /// By ticket: what is on its way, and into which slot.
    wanted: HashMap<u64, Want>,
    /// Why a block did not come, for the case that the job cannot do without.
    failed: HashMap<Cid, (Failure, String)>,
    nodes: Vec<OutputNode>,
    description: usize,
    logged: u64,
}

impl Job<'_> {
    /// A worker with the code loaded: one that ran it before, if there is one. The inner error is the code's: it
    /// compiled, but cannot be linked.
    pub(super) fn ready_worker(
        &mut self,
        purpose: &Purpose,
        code: &Code,
    ) -> Result<Result<Worker, CodeFault>, Stop> {
        let starting = |error| Stop::host("starting a worker", error);
        let mut worker = self.enclave.pool.acquire(purpose).map_err(starting)?;
        self.stats.warm = worker.purpose.is_some();
        if worker.purpose.is_some() {
            return Ok(Ok(worker));
        }
        if !worker.ready {
            match self.next_word(&mut worker)? {
                FromWorker::Ready => worker.ready = true,
                other => return Err(unexpected(&other)),
            }
        }
        ToWorker::Load { length: code.length, function: purpose.function }.encode(&mut worker.frame);
        worker.channel.send(&worker.frame, &[code.file.as_fd()]).map_err(gone)?;
        match self.next_word(&mut worker)? {
            FromWorker::Loaded => worker.purpose = Some(*purpose),
            FromWorker::Refused(fault) => return Ok(Err(fault)),
            other => return Err(unexpected(&other)),
        }
        Ok(Ok(worker))
    }

    /// Waits for the worker's next message, listening to the node meanwhile.
    fn next_word(&mut self, worker: &mut Worker) -> Result<FromWorker, Stop> {
        loop {
            match wait::readable([worker.channel.as_fd(), self.link.as_fd()], self.deadline)? {
                [true, _] => return Ok(receive(worker)?.0),
                [false, true] => match self.link.receive(self.number)? {
                    FromNode::Blocks(deliveries, _) => {
                        deliveries.iter().try_for_each(|delivery| asked(self.link, delivery.ticket))?;
                    }
                    FromNode::Late => {}
                    FromNode::Stored => return Err(stored_too_early()),
                },
                [false, false] => return Err(Stop::deadline()),
            }
        }
    }

    /// Brings worker and node together, and watches until either goes away. The worker ends with this.
    pub(super) fn connect(&mut self, worker: &mut Worker) -> Result<(), Stop> {
        let connecting = |error| Stop::host("connecting a worker", error);
        let (nodes, workers) = Channel::pair().map_err(connecting)?;
        ToWorker::Serve.encode(&mut worker.frame);
        worker.channel.send(&worker.frame, &[workers.as_fd()]).map_err(gone)?;
        drop(workers);
        self.link.send(&FromEnclave::Serving, &[nodes.as_fd()], self.deadline)?;
        drop(nodes);
        self.deadline = Instant::now() + FOREVER;
        // It has nothing more to say to us than that it ends.
        Err(match self.next_word(worker) {
            Ok(word) => unexpected(&word),
            Err(stop) => stop,
        })
    }

    /// Runs the job in a worker that is ready for it. On any error the worker must not be used again.
    pub(super) fn drive(&mut self, worker: &mut Worker) -> Result<Ran, Stop> {
        let began = Instant::now();
        let mut run = Run::default();
        ToWorker::Run(Box::new(self.work_order()?)).encode(&mut worker.frame);
        worker.channel.send(&worker.frame, &[]).map_err(gone)?;
        let done = loop {
            let ready = wait::readable([worker.channel.as_fd(), self.link.as_fd()], self.deadline)?;
            // Also while both have something to say all the time.
            if ready == [false, false] || Instant::now() >= self.deadline {
                return Err(Stop::deadline());
            }
            if ready[1] {
                match self.link.receive(self.number)? {
                    FromNode::Blocks(deliveries, files) => {
                        self.deliver(worker, &mut run, &deliveries, &files)?
                    }
                    FromNode::Late => {}
                    FromNode::Stored => return Err(stored_too_early()),
                }
            }
            if ready[0]
                && let Some(done) = self.hear(worker, &mut run)?
            {
                break done;
            }
        };
        self.stats.run_us = micros(began);
        let nodes = std::mem::take(&mut run.nodes);
        let end = match &done.end {
            End::Exit(code) => RanToEnd::Exit(*code),
            End::Fault(fault) => RanToEnd::Fault(kind_of(fault.kind), fault.detail.clone()),
            End::Unserved(cid) => {
                let Some((kind, detail)) = run.failed.remove(cid) else {
                    return Err(Stop::distrust("it misses a block that was not refused"));
                };
                return Stop::failed(kind, detail);
            }
            End::Host(detail) => return Err(Stop::host("running the program", detail)),
        };
        Ok(Ran { end, done, nodes })
    }

    /// What the worker is told, with as many of the blocks that came along as a frame takes.
    fn work_order(&mut self) -> Result<crate::worker_wire::Job, Stop> {
        let task = &self.task;
        let mut args = Vec::with_capacity(task.args.len() + 1);
        args.push(PROGRAM_NAME.to_owned());
        args.extend(task.args.iter().cloned());
        let mut job = crate::worker_wire::Job {
            limits: JobLimits {
                fuel: task.limits.fuel,
                memory: task.limits.memory,
                output: task.limits.output,
            },
            args,
            env: task.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            inputs: task.inputs.iter().map(|(path, input)| (path.clone(), *input.root())).collect(),
            stdin: task.stdin,
            seed: match task.profile {
                Profile::Deterministic => *self.task_cid.digest(),
                Profile::Fast => random_seed()?,
            },
            live_logs: self.live_logs,
            pushed: Vec::new(),
        };
        if !job.fits() {
            return Stop::failed(
                Failure::Refused,
                "the task's arguments, environment and paths are too long",
            );
        }
        let mut room = MAX_PUSHED;
        for cid in std::mem::take(&mut self.pushed_order) {
            let Some(bytes) = self.pushed.get(&cid) else { continue };
            if self.rights.standing(&cid) == Standing::Unknown || bytes.len() > room {
                continue;
            }
            let bytes = bytes.clone();
            self.check(&cid, &bytes).map_err(|detail| Stop::Failed(Failure::Host, detail))?;
            self.rights.serve(&cid, &bytes).map_err(too_many)?;
            self.pushed.remove(&cid);
            room -= bytes.len();
            job.pushed.push((cid, bytes));
        }
        Ok(job)
    }

    /// One message of the worker; its last word, if that is what it is.
    fn hear(&mut self, worker: &mut Worker, run: &mut Run) -> Result<Option<Done>, Stop> {
        let (message, length) = receive(worker)?;
        match message {
            FromWorker::Want(wants) => self.want(worker, run, &wants)?,
            FromWorker::Log { stream, bytes } => self.log(run, stream, bytes)?,
            FromWorker::Output(nodes) => {
                run.description += length;
                run.nodes.extend(nodes);
                if run.description > MAX_DESCRIPTION || run.nodes.len() > MAX_OUTPUT_NODES {
                    return Err(Stop::distrust("more output nodes than a job may have"));
                }
            }
            FromWorker::Done(_) if !run.wanted.is_empty() => {
                return Err(Stop::distrust("it is done, and still wants blocks"));
            }
            FromWorker::Done(done) => return Ok(Some(*done)),
            other @ (FromWorker::Ready | FromWorker::Loaded | FromWorker::Refused(_)) => {
                return Err(unexpected(&other));
            }
        }
        Ok(None)
    }

    /// Serves what is at hand and asks the node for the rest, in one message.
    fn want(&mut self, worker: &mut Worker, run: &mut Run, wants: &[Want]) -> Result<(), Stop> {
        let mut ask = Vec::with_capacity(wants.len());
        for want in wants {
            if want.slot as usize >= SLOTS || run.wanted.len() >= SLOTS {
                return Err(Stop::distrust("it wants more blocks than it has slots"));
            }
            if self.rights.standing(&want.cid) == Standing::Unknown {
                refuse(worker, want.slot, Refusal::NotLinked)?;
                continue;
            }
            let at_hand = match block::identity_data(&want.cid) {
                Some(data) => Some(Bytes::copy_from_slice(data)),
                None => self.pushed.remove(&want.cid),
            };
            match at_hand {
                Some(bytes) => self.fill(worker, run, want, &Delivered::Inline(bytes), &[])?,
                None => {
                    let ticket = self.link.ticket();
                    run.wanted.insert(ticket, *want);
                    ask.push(Wanted { ticket, cid: want.cid });
                }
            }
        }
        if ask.is_empty() { Ok(()) } else { self.link.send(&FromEnclave::Want(ask), &[], self.deadline) }
    }

    fn deliver(
        &mut self,
        worker: &mut Worker,
        run: &mut Run,
        deliveries: &[Delivery],
        files: &[OwnedFd],
    ) -> Result<(), Stop> {
        for delivery in deliveries {
            match run.wanted.remove(&delivery.ticket) {
                Some(want) => self.fill(worker, run, &want, &delivery.block, files)?,
                None => asked(self.link, delivery.ticket)?,
            }
        }
        Ok(())
    }

    /// Brings a block into its slot, verifies it there, and tells the worker.
    fn fill(
        &mut self,
        worker: &mut Worker,
        run: &mut Run,
        want: &Want,
        delivered: &Delivered,
        files: &[OwnedFd],
    ) -> Result<(), Stop> {
        let length = delivered_length(delivered);
        let slot = worker.slots.slot(want.slot as usize).and_then(|slot| slot.get_mut(..length));
        let Some(place) = slot else { return refuse(worker, want.slot, Refusal::TooBig) };
        match self.take(&want.cid, delivered, files, place) {
            Ok(()) => {
                self.rights.serve(&want.cid, place).map_err(too_many)?;
                answer(worker, &ToWorker::Have { slot: want.slot, length: length as u32 })
            }
            Err(why) => {
                // It may have been read ahead for nothing: only if the worker cannot go on does the job fail.
                run.failed.insert(want.cid, why);
                refuse(worker, want.slot, Refusal::Missing)
            }
        }
    }

    fn log(&mut self, run: &mut Run, stream: LogStream, bytes: Bytes) -> Result<(), Stop> {
        run.logged += bytes.len() as u64;
        if !self.live_logs || run.logged > self.task.limits.output {
            return Err(Stop::distrust("logs that nobody asked for, or more than the task allows"));
        }
        let stream = match stream {
            LogStream::Stdout => Stream::Stdout,
            LogStream::Stderr => Stream::Stderr,
        };
        self.link.send(&FromEnclave::Log { stream, bytes }, &[], self.deadline)
    }
}

fn receive(worker: &mut Worker) -> Result<(FromWorker, usize), Stop> {
    let frame = worker.channel.receive(&mut worker.inbox).map_err(Stop::distrust)?;
    let frame = frame.ok_or_else(|| Stop::host("running the program", "the worker's process ended"))?;
    let message = FromWorker::decode(frame.bytes, frame.descriptors.len()).map_err(Stop::distrust)?;
    Ok((message, frame.bytes.len()))
}

/// Answers never wait: a worker has room for one answer for each of its slots, or does not read at all.
fn answer(worker: &mut Worker, message: &ToWorker) -> Result<(), Stop> {
    message.encode(&mut worker.frame);
    match worker.channel.try_send(&worker.frame, &[]) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Stop::distrust("it does not read what it asked for")),
        Err(error) => Err(gone(error)),
    }
}

fn refuse(worker: &mut Worker, slot: u32, why: Refusal) -> Result<(), Stop> {
    answer(worker, &ToWorker::Refused { slot, why })
}

fn gone(error: std::io::Error) -> Stop {
    Stop::host("talking to the worker", error)
}

fn unexpected(message: &FromWorker) -> Stop {
    let name = match message {
        FromWorker::Ready => "Ready",
        FromWorker::Loaded => "Loaded",
        FromWorker::Refused(_) => "Refused",
        FromWorker::Want(_) => "Want",
        FromWorker::Log { .. } => "Log",
        FromWorker::Output(_) => "Output",
        FromWorker::Done(_) => "Done",
    };
    Stop::distrust(format_args!("`{name}` at this point"))
}

fn stored_too_early() -> Stop {
    SessionError::Violation("`Stored` before the job finished").into()
}

fn random_seed() -> Result<[u8; 32], Stop> {
    let mut seed = [0; 32];
    // SAFETY: the pointer and length describe `seed`.
    let got = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) };
    if got == seed.len() as isize { Ok(seed) } else { Err(Stop::host("randomness", "getrandom failed")) }
}

fn kind_of(kind: FaultKind) -> ErrorKind {
    match kind {
        FaultKind::Malformed => ErrorKind::Malformed,
        FaultKind::Trap => ErrorKind::Trap,
        FaultKind::Indeterminate => ErrorKind::Indeterminate,
        FaultKind::Limit(LimitKind::Fuel) => ErrorKind::LimitFuel,
        FaultKind::Limit(LimitKind::Memory) => ErrorKind::LimitMemory,
        FaultKind::Limit(LimitKind::Output) => ErrorKind::LimitOutput,
        FaultKind::Limit(LimitKind::Resources) => ErrorKind::LimitResources,
    }
}
