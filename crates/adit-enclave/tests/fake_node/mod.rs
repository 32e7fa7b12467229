//! A fake node: the other end of an enclave's channels, for tests and benchmarks.
//!
//! It keeps blocks in memory or points into files, answers wants as a test tells it to (honestly by default), keeps
//! everything that the enclave says about a job, and checks receipts as a requester would.

// Each program that includes this uses a part of it.
#![allow(dead_code, reason = "shared by several test programs")]

use adit_model::{
    Abi, AccountId, AccountSecret, Endorsement, Envelope, Expected, Input, Invocation, JobKey, Limits,
    NodeSecret, Nonce, Outcome, OutcomeResult, Profile, Signed, Task, Verified, verify_job,
};
use adit_unixfs::{
    Block,
    build::{DirectoryBuilder, FileBuilder},
    data::Metadata,
};
use adit_wire::{
    Channel, Inbox, Message,
    channel::check,
    control::{self, Hello, Stats, VERSION},
    memory,
    session::{
        CancelReason, Delivered, Delivery, Failure, Fault, Finished, FromEnclave, Start, Stream, ToEnclave,
        Wanted,
    },
};
use bytes::Bytes;
use cid::Cid;
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const UNIXFS: adit_unixfs::Profile = adit_unixfs::Profile::UnixfsV1_2025;

/// Longer than anything in a test takes, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where the node keeps its blocks.
#[derive(Default, Clone)]
pub struct Blocks {
    pub memory: HashMap<Cid, Bytes>,
    pub files: HashMap<Cid, (Arc<File>, u64, u32)>,
}

impl Blocks {
    fn keep(&mut self, blocks: Vec<Block>) {
        self.memory.extend(blocks.into_iter().map(|block| (block.cid, block.data)));
    }

    pub fn add_file(&mut self, content: &[u8]) -> Cid {
        let mut out = Vec::new();
        let mut builder = FileBuilder::new(UNIXFS, Metadata::NONE);
        builder.push(Bytes::copy_from_slice(content), &mut out);
        let root = builder.finish(&mut out).cid;
        self.keep(out);
        root
    }

    /// A directory of files.
    pub fn add_directory(&mut self, files: &[(&str, &[u8])]) -> Cid {
        let mut directory = DirectoryBuilder::new(UNIXFS, Metadata::NONE);
        let mut out = Vec::new();
        for (name, content) in files {
            let mut builder = FileBuilder::new(UNIXFS, Metadata::NONE);
            builder.push(Bytes::copy_from_slice(content), &mut out);
            let built = builder.finish(&mut out);
            directory.add(*name, &built).expect("a new name");
        }
        let root = directory.finish(&mut out).expect("few entries").cid;
        self.keep(out);
        root
    }

    /// Adds a file's content where it lies; only its inner nodes are kept in memory.
    pub fn add_path(&mut self, path: &Path) -> io::Result<Cid> {
        let file = Arc::new(File::open(path)?);
        let size = file.metadata()?.len();
        let mut builder = FileBuilder::new(UNIXFS, Metadata::NONE);
        let mut out = Vec::new();
        let chunk = UNIXFS.chunk_size() as u64;
        for offset in (0..size).step_by(chunk as usize) {
            let length = (size - offset).min(chunk) as usize;
            let bytes = memory::copy_out(file.as_fd(), offset, length)?;
            builder.push(bytes.into(), &mut out);
            for block in out.drain(..) {
                if block.cid.codec() == adit_unixfs::block::RAW {
                    self.files.insert(block.cid, (file.clone(), offset, block.data.len() as u32));
                } else {
                    self.memory.insert(block.cid, block.data);
                }
            }
        }
        let root = builder.finish(&mut out).cid;
        for block in out.drain(..) {
            if block.cid.codec() == adit_unixfs::block::RAW {
                self.files.insert(block.cid, (file.clone(), size / chunk * chunk, block.data.len() as u32));
            } else {
                self.memory.insert(block.cid, block.data);
            }
        }
        Ok(root)
    }

    /// An honest answer.
    pub fn answer(&self, cid: &Cid) -> Answer {
        if let Some((file, offset, length)) = self.files.get(cid) {
            return Answer::File(file.clone(), *offset, *length);
        }
        match self.memory.get(cid) {
            Some(bytes) if bytes.len() <= adit_wire::session::MAX_INLINE => Answer::Inline(bytes.clone()),
            Some(bytes) => {
                let file = memory::sealed(c"block", bytes).expect("a memory file");
                Answer::File(Arc::new(file.into()), 0, bytes.len() as u32)
            }
            None => Answer::Missing(Fault::Network, "nobody has it".into()),
        }
    }

    /// The content of a file or, with `/`, of a file in a tree.
    pub fn read(&self, root: &Cid, path: &str) -> Vec<u8> {
        use adit_unixfs::node::Node;
        let mut cid = *root;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Node::Directory(directory) = Node::parse(&cid, &self.memory[&cid]).expect("UnixFS") else {
                panic!("{name} is looked for in something that is no directory");
            };
            let entry = directory.entries.iter().find(|entry| entry.name == name);
            cid = entry.unwrap_or_else(|| panic!("no {name} in {:?}", directory.entries)).cid;
        }
        let Node::File(file) = Node::parse(&cid, &self.memory[&cid]).expect("UnixFS") else {
            panic!("{path} is not a file");
        };
        let mut content = file.content.to_vec();
        file.children.iter().for_each(|child| content.extend(self.read(&child.cid, "")));
        content
    }

    /// The names in a directory.
    pub fn list(&self, root: &Cid) -> Vec<String> {
        use adit_unixfs::node::Node;
        match Node::parse(root, &self.memory[root]).expect("UnixFS") {
            Node::Directory(directory) => directory.entries.iter().map(|entry| entry.name.into()).collect(),
            other => panic!("{other:?} is not a directory"),
        }
    }
}

/// What the node says to a want.
pub enum Answer {
    Inline(Bytes),
    File(Arc<File>, u64, u32),
    Missing(Fault, String),
    /// Nothing, ever.
    Silence,
}

pub struct FakeNode {
    pub child: Child,
    pub control: Channel,
    inbox: Inbox,
    frame: Vec<u8>,
    identity: NodeSecret,
    pub requester: AccountSecret,
    pub job_key: JobKey,
    pub runtime: String,
    /// What `Code` notices said, in order.
    pub codes: Vec<(Cid, bool)>,
}

pub fn hello() -> Hello {
    Hello {
        version: VERSION,
        host: [7; 20],
        node: Bytes::new(),
        workers: 2,
        memory: 256 << 20,
        output: 64 << 20,
        code_cache: 64 << 20,
        remembered: 1000,
        idle_ms: 60_000,
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Starts a program with one end of a channel as descriptor 3.
pub fn spawn(program: &Path, words: &[&str]) -> (Child, Channel) {
    let (ours, theirs) = Channel::pair().expect("a channel");
    let socket = theirs.into_socket();
    let number = socket.as_raw_fd();
    let mut command = Command::new(program);
    command.args(words).env_clear().stdin(Stdio::null());
    // SAFETY: only async-signal-safe calls on integers between fork and exec.
    unsafe {
        command.pre_exec(move || match number {
            3 => check(libc::fcntl(3, libc::F_SETFD, 0)).map(drop),
            _ => check(libc::dup2(number, 3)).map(drop),
        });
    }
    (command.spawn().expect("the program starts"), ours)
}

impl FakeNode {
    pub fn start(program: &Path, words: &[&str], hello: Hello) -> FakeNode {
        let (child, control) = spawn(program, words);
        let identity = NodeSecret::generate().expect("a key");
        let mut node = FakeNode {
            child,
            control,
            inbox: Inbox::new(),
            frame: Vec::new(),
            requester: AccountSecret::generate().expect("a key"),
            job_key: JobKey([2; 33]),
            runtime: String::new(),
            codes: Vec::new(),
            identity,
        };
        let id = Bytes::copy_from_slice(&node.identity.node().to_bytes());
        node.send(&control::ToEnclave::Hello(Hello { node: id, ..hello }));
        match node.receive() {
            Some(control::FromEnclave::Ready { job_key, runtime }) => {
                node.job_key = JobKey(job_key);
                node.runtime = runtime;
            }
            other => panic!("{other:?} instead of Ready"),
        }
        node.endorse(now() + 3600);
        node
    }

    pub fn endorse(&mut self, expires: u64) {
        let body = Endorsement {
            job_key: self.job_key,
            node: self.identity.node(),
            runtime: self.runtime.clone(),
            issued: now() - 60,
            expires,
        };
        let endorsement = Signed::sign(body, &self.identity).expect("it is valid").block().clone();
        self.send(&control::ToEnclave::Endorse { endorsement });
    }

    pub fn send(&mut self, message: &control::ToEnclave) {
        message.encode(&mut self.frame);
        self.control.send(&self.frame, &[]).expect("the enclave reads");
    }

    /// The next message that is not about code.
    pub fn receive(&mut self) -> Option<control::FromEnclave> {
        loop {
            wait_until_readable(&self.control);
            let frame = self.control.receive(&mut self.inbox).expect("a channel")?;
            match control::FromEnclave::decode(frame.bytes, frame.descriptors.len()).expect("a message") {
                control::FromEnclave::Code { code, cached } => self.codes.push((code, cached)),
                other => return Some(other),
            }
        }
    }

    pub fn session(&mut self) -> Session {
        let (ours, theirs) = Channel::pair().expect("a channel");
        control::ToEnclave::OpenSession.encode(&mut self.frame);
        self.control.send(&self.frame, &[theirs.as_fd()]).expect("the enclave reads");
        Session { channel: ours, inbox: Inbox::new(), frame: Vec::new(), job: 0 }
    }

    pub fn stats(&mut self) -> Stats {
        self.send(&control::ToEnclave::GetStats);
        match self.receive() {
            Some(control::FromEnclave::Stats(stats)) => stats,
            other => panic!("{other:?} instead of Stats"),
        }
    }

    /// Waits until the statistics are as they should be.
    pub fn wait_for_stats(&mut self, what: &str, fits: impl Fn(&Stats) -> bool) -> Stats {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stats = self.stats();
            if fits(&stats) {
                return stats;
            }
            assert!(Instant::now() < deadline, "{what} did not happen: {stats:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A signed wish for a task that nobody wished for before.
    pub fn invoke(&self, task: &Task) -> Verified<Invocation> {
        invoke(&self.requester, task)
    }

    /// Checks a receipt as the requester would.
    pub fn verify(&self, invocation: &Signed<Invocation>, ended: &Success) {
        let expected = Expected {
            issuer: Some(self.requester.account()),
            node: Some(self.identity.node()),
            ..Expected::default()
        };
        let proof =
            verify_job(&ended.envelope, invocation, &ended.outcome, expected).expect("the receipt proves it");
        assert_eq!(proof.receipt.host, AccountId([7; 20]));
    }

    /// Waits for the enclave to end by itself.
    pub fn end(mut self) -> ExitStatus {
        drop(self.control);
        wait_for(&mut self.child)
    }
}

pub fn wait_for(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("our child") {
            return status;
        }
        assert!(Instant::now() < deadline, "the process does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn invoke(requester: &AccountSecret, task: &Task) -> Verified<Invocation> {
    static NONCE: AtomicU64 = AtomicU64::new(1);
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&NONCE.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    let body = Invocation {
        task: task.cid(),
        issuer: requester.account(),
        nonce: Nonce(nonce),
        expiry: now() + 3600,
        reply_key: None,
    };
    Signed::sign(body, requester).expect("it is valid")
}

/// A task without inputs.
pub fn task(code: Cid) -> Task {
    Task {
        code,
        abi: Abi::Wasip1,
        args: Vec::new(),
        env: BTreeMap::new(),
        inputs: BTreeMap::new(),
        stdin: None,
        limits: Limits { fuel: 1 << 50, memory: 64 << 20, output: 16 << 20 },
        profile: Profile::Deterministic,
    }
}

/// The same with one input at `/in/data`.
pub fn task_on(code: Cid, input: Cid) -> Task {
    Task { inputs: BTreeMap::from([("/in/data".to_owned(), Input::Cid(input))]), ..task(code) }
}

/// A task that differs from all others made by this process, so that nothing is remembered.
pub fn unique(mut task: Task) -> Task {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    task.env.insert("UNIQUE".into(), COUNT.fetch_add(1, Ordering::Relaxed).to_string());
    task
}

/// Fails the test, instead of hanging it, when the enclave owes a word and says nothing.
pub fn wait_until_readable(channel: &Channel) {
    let mut entry = libc::pollfd { fd: channel.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: `entry` is one entry that outlives the call.
    let count = unsafe { libc::poll(&raw mut entry, 1, PATIENCE.as_millis() as libc::c_int) };
    assert!(count != 0, "the enclave has said nothing for {PATIENCE:?}");
}

pub struct Session {
    pub channel: Channel,
    inbox: Inbox,
    frame: Vec<u8>,
    pub job: u32,
}

/// How a job is started, beside what it is.
#[derive(Clone, Default)]
pub struct How {
    pub deadline: Option<Duration>,
    pub fresh: bool,
    pub live_logs: bool,
    pub push: Vec<(Cid, Bytes)>,
}

/// What was heard about a job.
#[derive(Default)]
pub struct Heard {
    pub wants: Vec<Cid>,
    pub logs: Vec<(Stream, Bytes)>,
    pub results: Blocks,
    /// Frames from the enclave.
    pub frames: usize,
}

#[derive(Debug)]
pub struct Success {
    pub finished: Finished,
    pub outcome: Outcome,
    pub envelope: Envelope,
}

#[derive(Debug)]
pub enum Ended {
    Finished(Box<Success>),
    Failed(Failure, String),
    /// The enclave closed the session.
    Closed,
}

impl Ended {
    pub fn success(self) -> Box<Success> {
        match self {
            Ended::Finished(success) => success,
            other => panic!("{other:?} instead of an Outcome"),
        }
    }

    pub fn failure(self) -> (Failure, String) {
        match self {
            Ended::Failed(kind, detail) => (kind, detail),
            other => panic!("{other:?} instead of a failure"),
        }
    }
}

impl Success {
    pub fn exit(&self) -> u8 {
        match self.outcome.out {
            OutcomeResult::Ok { exit, .. } => exit,
            ref other => panic!("{other:?} instead of an exit"),
        }
    }

    pub fn root(&self) -> Cid {
        match self.outcome.out {
            OutcomeResult::Ok { root, .. } => root,
            ref other => panic!("{other:?} instead of a root"),
        }
    }

    /// Standard output and standard error.
    pub fn streams(&self) -> (Cid, Cid) {
        match self.outcome.out {
            OutcomeResult::Ok { stdout, stderr, .. } => (stdout, stderr),
            OutcomeResult::Error { stdout, stderr, .. } => {
                (stdout.expect("it had been started"), stderr.expect("it had been started"))
            }
        }
    }
}

impl Session {
    pub fn send(&mut self, message: &ToEnclave, descriptors: &[BorrowedFd<'_>]) {
        message.encode(&mut self.frame);
        self.channel.send(&self.frame, descriptors).expect("the enclave reads");
    }

    pub fn start(&mut self, task: &Task, invocation: &Signed<Invocation>, how: &How) {
        self.job += 1;
        let start = Start {
            job: self.job,
            task: task.encode().into(),
            invocation: invocation.block().clone(),
            deadline_ms: how.deadline.unwrap_or(PATIENCE).as_millis() as u64,
            fresh: how.fresh,
            live_logs: how.live_logs,
            blocks: how.push.clone(),
        };
        self.send(&ToEnclave::Start(Box::new(start)), &[]);
    }

    pub fn cancel(&mut self) {
        self.send(&ToEnclave::Cancel { job: self.job, reason: CancelReason::Requester }, &[]);
    }

    /// The next message and its descriptors; `None` when the enclave closed the session.
    pub fn receive(&mut self) -> Option<(FromEnclave, Vec<OwnedFd>)> {
        wait_until_readable(&self.channel);
        let frame = self.channel.receive(&mut self.inbox).expect("a channel")?;
        let message = FromEnclave::decode(frame.bytes, frame.descriptors.len()).expect("a message");
        Some((message, frame.descriptors))
    }

    /// Runs a job with an honest node behind it.
    pub fn run(&mut self, node: &FakeNode, blocks: &Blocks, task: &Task, how: &How) -> (Ended, Heard) {
        let invocation = node.invoke(task);
        self.start(task, &invocation, how);
        let (ended, heard) = self.serve(|cid| blocks.answer(cid));
        if let Ended::Finished(success) = &ended {
            node.verify(&invocation, success);
        }
        (ended, heard)
    }

    /// Answers wants until the last word about the job.
    pub fn serve(&mut self, answer: impl FnMut(&Cid) -> Answer) -> (Ended, Heard) {
        let mut heard = Heard::default();
        (self.serve_into(&mut heard, answer), heard)
    }

    pub fn serve_into(&mut self, heard: &mut Heard, mut answer: impl FnMut(&Cid) -> Answer) -> Ended {
        let mut unsigned = None;
        loop {
            let Some((message, descriptors)) = self.receive() else { return Ended::Closed };
            heard.frames += 1;
            match message {
                FromEnclave::Want(wants) => {
                    heard.wants.extend(wants.iter().map(|want| want.cid));
                    self.answer(&wants, &mut answer);
                }
                FromEnclave::Log { stream, bytes } => heard.logs.push((stream, bytes)),
                FromEnclave::Output(blocks) => {
                    for block in blocks {
                        let bytes =
                            memory::copy_out(descriptors[0].as_fd(), block.offset, block.length as usize);
                        keep_result(heard, block.cid, bytes.expect("it is there").into());
                    }
                }
                FromEnclave::Finished(mut finished) => {
                    for (cid, bytes) in std::mem::take(&mut finished.blocks) {
                        keep_result(heard, cid, bytes);
                    }
                    match finished.receipt.clone() {
                        Some(receipt) => return success(*finished, &receipt),
                        None => {
                            self.send(&ToEnclave::Stored { job: self.job }, &[]);
                            unsigned = Some(finished);
                        }
                    }
                }
                FromEnclave::Receipt { envelope } => {
                    return success(*unsigned.expect("Finished comes first"), &envelope);
                }
                FromEnclave::Failed { kind, detail } => return Ended::Failed(kind, detail),
                FromEnclave::Serving => panic!("a function was served where a job was to run"),
            }
        }
    }

    /// Answers some wants, each frame with as many as fit.
    pub fn answer(&mut self, wants: &[Wanted], answer: &mut impl FnMut(&Cid) -> Answer) {
        let mut deliveries = Vec::new();
        let mut files: Vec<Arc<File>> = Vec::new();
        let mut bytes = 0;
        for want in wants {
            let block = match answer(&want.cid) {
                Answer::Inline(block) => {
                    bytes += block.len();
                    Delivered::Inline(block)
                }
                Answer::File(file, offset, length) => {
                    files.push(file);
                    Delivered::File { file: files.len() as u8 - 1, offset, length }
                }
                Answer::Missing(fault, detail) => Delivered::Missing { fault, detail },
                Answer::Silence => continue,
            };
            deliveries.push(Delivery { ticket: want.ticket, block });
            if bytes > 32 << 10 || files.len() == adit_wire::MAX_DESCRIPTORS {
                self.deliver(&mut deliveries, &mut files);
                bytes = 0;
            }
        }
        self.deliver(&mut deliveries, &mut files);
    }

    fn deliver(&mut self, deliveries: &mut Vec<Delivery>, files: &mut Vec<Arc<File>>) {
        if !deliveries.is_empty() {
            let descriptors: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
            self.send(&ToEnclave::Blocks(std::mem::take(deliveries)), &descriptors);
        }
        files.clear();
    }
}

fn keep_result(heard: &mut Heard, cid: Cid, bytes: Bytes) {
    adit_unixfs::block::verify(&cid, &bytes).expect("results are what their CIDs say");
    heard.results.memory.insert(cid, bytes);
}

fn success(finished: Finished, receipt: &[u8]) -> Ended {
    let outcome = Outcome::decode(&finished.outcome).expect("an Outcome");
    let envelope = Envelope::decode(receipt).expect("an Envelope");
    Ended::Finished(Box::new(Success { finished, outcome, envelope }))
}
