//! The jailed process that runs guests, one at a time, all of one issuer and of one program: jobs, or the requests of
//! one HTTP function.
//!
//! It has one thread and one socket. While a guest runs, the only thing that it ever waits for is a block.

use crate::{
    engine,
    entry::{self, ProcessError},
    fault::{CodeFault, CodeFaultKind, FaultKind, LimitKind},
    guest::{
        Host, Kept, MAX_HOST_CALL,
        blocks::Blocks,
        http::{self, Request},
        pages::Pages,
        program::{Code, Linkers, Program},
        stop::Stop,
        tree::Tree,
    },
    jail::{Filter, Role, Stage},
    worker_wire::{Content, Done, End, FromWorker, Job, JobLimits, OUTPUT_FRAME, OutputNode, ToWorker},
};
use adit_wire::{
    Channel, Inbox, Message,
    memory::{Mapping, length, require_sealed},
};
use bytes::Bytes;
use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};
use wasmtime::{Engine, Store};

/// Runs a worker until the enclave hangs up. `args` are those after the program's and the role's name.
pub fn main(args: &[String]) -> Result<(), ProcessError> {
    let entered = entry::enter(Role::Worker, args)?;
    let engine = engine::running(entered.profile).map_err(ProcessError::Engine)?;
    Engine::tls_eager_initialize();
    let linkers = Linkers::new(&engine).map_err(ProcessError::Engine)?;
    let running = Filter::new(Role::Worker, Stage::Running)?;
    Filter::new(Role::Worker, Stage::Loading)?.apply()?;

    let mut worker = Worker {
        metered: entered.profile == engine::Profile::Deterministic,
        engine,
        linkers,
        channel: Arc::new(entered.channel),
        inbox: Inbox::new(),
        frame: Vec::new(),
    };
    let Some(kept) = worker.open()? else { return Ok(()) };
    let Some(program) = worker.load()? else { return Ok(()) };
    running.apply()?;
    worker.send(&FromWorker::Loaded)?;
    worker.serve(&program, kept)
}

struct Worker {
    /// Whether the engine counts operators.
    metered: bool,
    engine: Engine,
    linkers: Linkers,
    channel: Arc<Channel>,
    inbox: Inbox,
    frame: Vec<u8>,
}

/// What has been measured and kept when a job ends.
struct Ended {
    end: End,
    fuel: u64,
    kept: Kept,
    nodes: Vec<OutputNode>,
    stdout: Content,
    stderr: Content,
}

impl Worker {
    fn send(&mut self, message: &FromWorker) -> Result<(), ProcessError> {
        message.encode(&mut self.frame);
        self.channel.send(&self.frame, &[]).map_err(ProcessError::Enclave)
    }

    /// The next frame; `None` when the enclave has hung up.
    fn receive(&mut self) -> Result<Option<(ToWorker, Vec<OwnedFd>)>, ProcessError> {
        let Some(frame) = self.channel.receive(&mut self.inbox).map_err(ProcessError::Enclave)? else {
            return Ok(None);
        };
        let message = ToWorker::decode(frame.bytes, frame.descriptors.len());
        let message =
            message.map_err(|error| ProcessError::Protocol(format!("a malformed frame: {error}")))?;
        Ok(Some((message, frame.descriptors)))
    }

    /// Maps the slots and the output file.
    fn open(&mut self) -> Result<Option<Kept>, ProcessError> {
        let Some((message, descriptors)) = self.receive()? else { return Ok(None) };
        let (ToWorker::Open { slots, slot_size, output }, Ok([blocks, out])) =
            (message, <[OwnedFd; 2]>::try_from(descriptors))
        else {
            return Err(ProcessError::Protocol("something else than slots first".into()));
        };
        let size = slots as usize * slot_size as usize;
        let fits = |file: &OwnedFd, size: u64| length(file.as_fd()).is_ok_and(|length| length >= size);
        if size == 0 || !fits(&blocks, size as u64) || !fits(&out, output) {
            return Err(ProcessError::Protocol("memory files shorter than announced".into()));
        }
        let memory = Mapping::read_only(blocks.as_fd(), size).map_err(ProcessError::Memory)?;
        let blocks = Blocks::new(self.channel.clone(), memory, slot_size as usize);
        let tree = Tree::new(Pages::new(out.as_fd(), output).map_err(ProcessError::Memory)?);
        self.send(&FromWorker::Ready)?;
        Ok(Some(Kept { blocks, tree }))
    }

    /// Loads the code. `None` when the enclave hung up, or was told that the code cannot be linked.
    fn load(&mut self) -> Result<Option<Program>, ProcessError> {
        let Some((message, descriptors)) = self.receive()? else { return Ok(None) };
        let (ToWorker::Load { length, function }, Ok([code])) =
            (message, <[OwnedFd; 1]>::try_from(descriptors))
        else {
            return Err(ProcessError::Protocol("something else than code second".into()));
        };
        require_sealed(code.as_fd(), length).map_err(ProcessError::Memory)?;
        let code = Mapping::read_only(code.as_fd(), length as usize).map_err(ProcessError::Memory)?;
        // SAFETY: the enclave sends only what its own compiler process made, and the file is sealed.
        let loaded = match unsafe { Code::load(&self.engine, code.bytes()) } {
            Ok(loaded) => loaded,
            // It was compiled by this build for this engine, so what does not fit is the pool.
            Err(error) => return self.refuse(CodeFaultKind::TooMuch, &error),
        };
        // Otherwise the first instantiation would make a memory file, which the last filter forbids.
        loaded.prepare().map_err(ProcessError::Code)?;
        let linked = if function { self.linkers.link_function(&loaded) } else { self.linkers.link(&loaded) };
        match linked {
            Ok(program) => Ok(Some(program)),
            Err(error) => self.refuse(CodeFaultKind::NotACommand, &error),
        }
    }

    fn refuse<T>(&mut self, kind: CodeFaultKind, why: &wasmtime::Error) -> Result<Option<T>, ProcessError> {
        self.send(&FromWorker::Refused(CodeFault::new(kind, format!("{why:#}"))))?;
        Ok(None)
    }

    fn serve(&mut self, program: &Program, mut kept: Kept) -> Result<(), ProcessError> {
        while let Some((message, descriptors)) = self.receive()? {
            let job = match (message, <[OwnedFd; 1]>::try_from(descriptors)) {
                (ToWorker::Run(job), _) => job,
                (ToWorker::Serve, Ok([channel])) => {
                    return self.serve_requests(program, kept, Arc::new(Channel::from_pair(channel)));
                }
                _ => return Err(ProcessError::Protocol("something else than a job".into())),
            };
            let mut ended = self.run(program, *job, kept);
            if let Err(stop) = ended.kept.blocks.settle() {
                // Whatever is still to come would be taken for part of the next job.
                return Err(ProcessError::Protocol(stop.to_string()));
            }
            self.describe(ended.nodes)?;
            let done = Done {
                end: ended.end,
                fuel: ended.fuel,
                stdout: ended.stdout,
                stderr: ended.stderr,
                blocks_read: ended.kept.blocks.blocks_read,
                bytes_read: ended.kept.blocks.bytes_read,
            };
            self.send(&FromWorker::Done(Box::new(done)))?;
            kept = ended.kept;
        }
        Ok(())
    }

    /// Answers requests, each in an instance of its own, until the node hangs up.
    fn serve_requests(
        &self,
        program: &Program,
        mut kept: Kept,
        channel: Arc<Channel>,
    ) -> Result<(), ProcessError> {
        let mut inbox = Inbox::new();
        while let Some(request) = http::next_request(&channel, &mut inbox).map_err(ProcessError::Enclave)? {
            let Request { now, seed, allowance, head, body } = request;
            let limits = JobLimits { fuel: allowance.fuel, memory: allowance.memory, output: 0 };
            let job = Job { limits, args: vec!["function".into()], seed, ..Job::default() };
            let mut host = match Host::new(kept, job, &self.channel) {
                Ok(host) => host,
                Err((_, stop)) => return Err(ProcessError::Protocol(stop.to_string())),
            };
            host.function = Some(Box::new(http::Function::new(channel.clone(), now, body)));
            let mut store = Store::new(&self.engine, host);
            store.limiter(Host::limiter);
            store.set_hostcall_fuel(MAX_HOST_CALL);
            if self.metered {
                store.set_fuel(limits.fuel).map_err(ProcessError::Engine)?;
            }
            let ran = program.answer(&mut store, head);
            let operators = if self.metered { limits.fuel - store.get_fuel().unwrap_or(0) } else { 0 };
            let mut host = store.into_data();
            let fuel = operators.saturating_add(host.meter.spent());
            let memory = host.memory_used();
            let Some(mut function) = host.function.take() else { return Ok(()) };
            let end = match ran.map_err(|error| Stop::of(&error)) {
                Ok(()) if function.has_answered() => http::End::Returned,
                Ok(()) => http::End::Fault("the function returned without a response".into()),
                Err(Stop::Fault(fault)) if fault.kind == FaultKind::Limit(LimitKind::Fuel) => {
                    http::End::OutOfFuel
                }
                Err(Stop::Exit(code)) => http::End::Fault(format!("the function exited with {code}")),
                Err(Stop::Host(detail)) => http::End::Host(detail),
                Err(stop) => http::End::Fault(stop.to_string()),
            };
            let done = http::Done { end, fuel, memory, notes: Bytes::new() };
            if let Err(stop) = function.finish(done) {
                // The node hung up: the same as between two requests.
                return Err(ProcessError::Protocol(stop.to_string()));
            }
            kept = host.into_kept();
        }
        Ok(())
    }

    /// Sends the nodes in as many frames as they take.
    fn describe(&mut self, nodes: Vec<OutputNode>) -> Result<(), ProcessError> {
        let mut batch = Vec::new();
        let mut size = 0;
        for node in nodes {
            size += node.encoded_size();
            batch.push(node);
            if size >= OUTPUT_FRAME {
                self.send(&FromWorker::Output(std::mem::take(&mut batch)))?;
                size = 0;
            }
        }
        if batch.is_empty() { Ok(()) } else { self.send(&FromWorker::Output(batch)) }
    }

    fn run(&self, program: &Program, job: Job, kept: Kept) -> Ended {
        let limits = job.limits;
        let host = match Host::new(kept, job, &self.channel) {
            Ok(host) => host,
            Err((kept, stop)) => {
                let (stdout, stderr) = (Content::Inline(Bytes::new()), Content::Inline(Bytes::new()));
                return Ended { end: stop.into(), fuel: 0, kept, nodes: Vec::new(), stdout, stderr };
            }
        };
        let mut store = Store::new(&self.engine, host);
        store.limiter(Host::limiter);
        store.set_hostcall_fuel(MAX_HOST_CALL);
        let ran = self.call(program, &mut store, limits);
        let operators = if self.metered { limits.fuel - store.get_fuel().unwrap_or(0) } else { 0 };
        let mut host = store.into_data();
        let fuel = operators.saturating_add(host.meter.spent());
        let mut end: End = match ran {
            Ok(code) => End::Exit(code),
            Err(error) => Stop::of(&error).into(),
        };
        if let (End::Exit(_), true) = (&end, fuel > limits.fuel) {
            end = Stop::fuel().into();
        }
        for log in [&mut host.stdout, &mut host.stderr] {
            if let Err(stop) = log.flush() {
                end = stop.into();
            }
        }
        finish(host, end, fuel.min(limits.fuel))
    }

    fn call(&self, program: &Program, store: &mut Store<Host>, limits: JobLimits) -> wasmtime::Result<u8> {
        if self.metered {
            store.set_fuel(limits.fuel)?;
        }
        program.run(store)
    }
}

/// Describes what the guest left.
fn finish(mut host: Host, mut end: End, fuel: u64) -> Ended {
    let inline = host.output_is_small();
    let mut stdout = std::mem::take(&mut host.stdout.data);
    let mut stderr = std::mem::take(&mut host.stderr.data);
    let described = host.tree.describe(&mut [&mut stdout, &mut stderr], inline);
    let (mut nodes, contents) = described.unwrap_or_else(|_| {
        let detail = format!("a path under /out is longer than {} bytes", crate::worker_wire::MAX_PATH);
        end = Stop::limit(LimitKind::Output, &detail).into();
        (Vec::new(), Vec::new())
    });
    if !matches!(end, End::Exit(_)) {
        nodes.clear();
    }
    let mut contents = contents.into_iter();
    let mut next = || contents.next().unwrap_or(Content::Inline(Bytes::new()));
    let (stdout, stderr) = (next(), next());
    if let End::Fault(fault) = &end
        && fault.kind == FaultKind::Indeterminate
    {
        // How much was metered before the stack overflowed depends on the host's frames.
        return Ended { end, fuel: 0, kept: host.into_kept(), nodes, stdout, stderr };
    }
    Ended { end, fuel, kept: host.into_kept(), nodes, stdout, stderr }
}
