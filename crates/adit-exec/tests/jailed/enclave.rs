//! A stand-in for the enclave: starts processes, serves blocks from memory, and tells what happened.

use crate::content::Content;
use adit_exec::{
    engine::Profile,
    fault::{CodeFault, Fault, FaultKind},
    worker_wire::{
        Content as Bytes_, Done, End, FromCompiler, FromWorker, Job, JobLimits, LogStream, OutputKind,
        OutputNode, PAGE, Refusal, ToCompiler, ToWorker,
    },
};
use adit_wire::{
    Channel, Inbox, Message,
    memory::{self, Slots},
};
use bytes::Bytes;
use cid::Cid;
use std::{
    collections::HashSet,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, Stdio},
};

pub const SLOT: usize = 2 << 20;
pub const SLOTS: usize = 32;
pub const ROOM: u64 = 64 << 20;

/// Starts this program in a role, with the channel as descriptor 3.
pub fn start(words: &[&str], quiet: bool) -> (Child, Channel) {
    let (ours, theirs) = Channel::pair().unwrap();
    let socket = theirs.into_socket();
    let number = socket.as_raw_fd();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(words).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    if quiet {
        command.stderr(Stdio::null());
    }
    // SAFETY: only async-signal-safe calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let result = if number == 3 { libc::fcntl(3, libc::F_SETFD, 0) } else { libc::dup2(number, 3) };
            if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        });
    }
    (command.spawn().unwrap(), ours)
}

pub fn role(role: &str, profile: Profile) -> (Child, Channel) {
    let parent = std::process::id().to_string();
    start(&[role, "--profile", &profile.to_string(), "--parent", &parent], false)
}

/// Machine code, sealed.
pub struct Code {
    pub file: OwnedFd,
    pub length: u64,
    pub profile: Profile,
}

#[derive(Debug)]
pub enum CompileError {
    Refused(CodeFault),
    /// The process ended without an answer.
    Died(String),
}

pub fn compile(profile: Profile, wasm: &[u8]) -> Result<Code, CompileError> {
    let (mut child, channel) = role("compile", profile);
    let module = memory::sealed(c"module", wasm).unwrap();
    let mut frame = Vec::new();
    ToCompiler { length: wasm.len() as u64 }.encode(&mut frame);
    channel.send(&frame, &[module.as_fd()]).unwrap();
    let mut inbox = Inbox::new();
    let answer = channel.receive(&mut inbox).unwrap();
    let Some(frame) = answer else {
        return Err(CompileError::Died(child.wait().unwrap().to_string()));
    };
    let answer = FromCompiler::decode(frame.bytes, frame.descriptors.len()).unwrap();
    let mut descriptors = frame.descriptors;
    assert!(child.wait().unwrap().success());
    match answer {
        FromCompiler::Compiled { length } => {
            let file = descriptors.pop().unwrap();
            memory::require_sealed(file.as_fd(), length).unwrap();
            Ok(Code { file, length, profile })
        }
        FromCompiler::Refused(fault) => Err(CompileError::Refused(fault)),
        FromCompiler::Host(detail) => Err(CompileError::Died(detail)),
    }
}

/// WebAssembly text or binary, compiled.
pub fn code(wasm: impl AsRef<[u8]>) -> Code {
    code_as(Profile::Deterministic, wasm)
}

pub fn code_as(profile: Profile, wasm: impl AsRef<[u8]>) -> Code {
    compile(profile, &wat::parse_bytes(wasm.as_ref()).unwrap()).unwrap()
}

/// A guest from the project's `guests/bin`.
pub fn guest(name: &str) -> Vec<u8> {
    let path = format!("{}/../../guests/bin/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub struct Worker {
    pub child: Child,
    pub channel: Channel,
    inbox: Inbox,
    pub slots: Slots,
    output: OwnedFd,
}

/// A job that has ended.
#[derive(Debug)]
pub struct Ran {
    pub done: Done,
    pub nodes: Vec<OutputNode>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// stdout and stderr as they were sent while the job ran.
    pub live: [Vec<u8>; 2],
    pub live_frames: usize,
    /// Blocks that were asked for, in order, and in how many frames.
    pub wanted: Vec<Cid>,
    pub want_frames: usize,
    contents: Vec<(String, Vec<u8>)>,
}

impl Ran {
    #[track_caller]
    pub fn exit(&self) -> u8 {
        match &self.done.end {
            End::Exit(code) => *code,
            other => panic!("{other:?}, stderr {:?}", String::from_utf8_lossy(&self.stderr)),
        }
    }

    #[track_caller]
    pub fn fault(&self) -> &Fault {
        match &self.done.end {
            End::Fault(fault) => fault,
            other => panic!("{other:?} where a fault was expected"),
        }
    }

    #[track_caller]
    pub fn kind(&self) -> FaultKind {
        self.fault().kind
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    pub fn errors(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.stderr)
    }

    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.contents.iter().find(|(name, _)| name == path).map(|(_, bytes)| &bytes[..])
    }

    pub fn paths(&self) -> Vec<&str> {
        self.nodes.iter().map(|node| node.path.as_str()).collect()
    }
}

/// A job with ample limits.
pub fn job(args: &[&str]) -> Job {
    Job {
        limits: JobLimits { fuel: 20_000_000_000, memory: 256 << 20, output: 16 << 20 },
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        seed: [42; 32],
        ..Job::default()
    }
}

/// The same with an input at `/in/data`.
pub fn job_on(data: Cid, args: &[&str]) -> Job {
    Job { inputs: vec![("/in/data".into(), data)], ..job(args) }
}

impl Worker {
    pub fn start(profile: Profile) -> Self {
        Worker::with_room(profile, ROOM, SLOTS)
    }

    pub fn with_room(profile: Profile, room: u64, count: usize) -> Self {
        let (child, channel) = role("worker", profile);
        let slots = Slots::create(count, SLOT).unwrap();
        let output = memory::scratch(c"output", room).unwrap();
        let mut worker = Worker { child, channel, inbox: Inbox::new(), slots, output };
        let open = ToWorker::Open { slots: count as u32, slot_size: SLOT as u32, output: room };
        let mut frame = Vec::new();
        open.encode(&mut frame);
        worker.channel.send(&frame, &[worker.slots.file(), worker.output.as_fd()]).unwrap();
        assert_eq!(worker.receive(), Some(FromWorker::Ready));
        worker
    }

    pub fn loaded(code: &Code) -> Self {
        let mut worker = Worker::start(code.profile);
        let answer = worker.load(code);
        assert_eq!(answer, Some(FromWorker::Loaded));
        worker
    }

    pub fn load(&mut self, code: &Code) -> Option<FromWorker> {
        let mut frame = Vec::new();
        ToWorker::Load { length: code.length, function: false }.encode(&mut frame);
        self.channel.send(&frame, &[code.file.as_fd()]).unwrap();
        self.receive()
    }

    pub fn send(&self, message: &ToWorker) {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        self.channel.send(&frame, &[]).unwrap();
    }

    pub fn receive(&mut self) -> Option<FromWorker> {
        let frame = self.channel.receive(&mut self.inbox).unwrap()?;
        Some(FromWorker::decode(frame.bytes, frame.descriptors.len()).unwrap())
    }

    pub fn run(&mut self, job: Job, content: &Content) -> Ran {
        self.run_if_alive(job, content).expect("the worker died")
    }

    /// `None` when the worker ends instead.
    pub fn run_if_alive(&mut self, job: Job, content: &Content) -> Option<Ran> {
        self.send(&ToWorker::Run(Box::new(job)));
        let mut nodes = Vec::new();
        let mut live = [Vec::new(), Vec::new()];
        let (mut wanted, mut want_frames, mut live_frames) = (Vec::new(), 0, 0);
        let done = loop {
            match self.receive()? {
                FromWorker::Want(wants) => {
                    want_frames += 1;
                    for want in wants {
                        wanted.push(want.cid);
                        self.answer(want.cid, want.slot, content);
                    }
                }
                FromWorker::Log { stream, bytes } => {
                    live_frames += 1;
                    live[usize::from(stream == LogStream::Stderr)].extend_from_slice(&bytes);
                }
                FromWorker::Output(more) => nodes.extend(more),
                FromWorker::Done(done) => break *done,
                other => panic!("{other:?} in a job"),
            }
        };
        let files = nodes.iter().filter_map(|node: &OutputNode| match &node.kind {
            OutputKind::File(content) => Some((node.path.clone(), self.bytes(content))),
            _ => None,
        });
        let contents = files.collect();
        let (stdout, stderr) = (self.bytes(&done.stdout), self.bytes(&done.stderr));
        Some(Ran { done, nodes, stdout, stderr, live, live_frames, wanted, want_frames, contents })
    }

    fn answer(&mut self, cid: Cid, slot: u32, content: &Content) {
        let answer = match content.blocks.get(&cid) {
            None => ToWorker::Refused { slot, why: Refusal::Missing },
            Some(block) if block.len() > SLOT => ToWorker::Refused { slot, why: Refusal::TooBig },
            Some(block) => {
                self.slots.slot(slot as usize).expect("such a slot exists")[..block.len()]
                    .copy_from_slice(block);
                ToWorker::Have { slot, length: block.len() as u32 }
            }
        };
        self.send(&answer);
    }

    fn bytes(&self, content: &Bytes_) -> Vec<u8> {
        match content {
            Bytes_::Inline(bytes) => bytes.to_vec(),
            Bytes_::Pages { length, runs } => {
                let mut bytes = Vec::new();
                for run in runs {
                    let (offset, count) = (u64::from(run.first) * PAGE, u64::from(run.count) * PAGE);
                    bytes.extend(memory::copy_out(self.output.as_fd(), offset, count as usize).unwrap());
                }
                assert!(bytes.len() as u64 >= *length && (bytes.len() as u64 - length) < PAGE);
                bytes.truncate(*length as usize);
                bytes
            }
        }
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// How it ended by itself.
    pub fn ended(mut self) -> String {
        drop(std::mem::replace(&mut self.channel, Channel::pair().unwrap().0));
        describe(self.child.wait().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn describe(status: std::process::ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (_, Some(libc::SIGSYS)) => "killed by the filter".into(),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "unknown".into(),
    }
}

/// Runs once, in a worker of its own.
pub fn run(code: &Code, job: Job, content: &Content) -> Ran {
    Worker::loaded(code).run(job, content)
}

/// Blocks that were asked for, each once.
pub fn distinct(ran: &Ran) -> usize {
    ran.wanted.iter().collect::<HashSet<_>>().len()
}

pub fn pushed(content: &Content, cids: &[Cid]) -> Vec<(Cid, Bytes)> {
    cids.iter().map(|cid| (*cid, content.blocks[cid].clone())).collect()
}
