//! The task that owns the enclave's process.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adit_model::{Endorsement, JobKey, NodeSecret, Signed, TaskCid};
use adit_wire::codec::Message as _;
use adit_wire::control::{FromEnclave, Hello, Stats, ToEnclave, VERSION};
use adit_wire::{AsyncChannel, Channel, Inbox};
use bytes::Bytes;
use cid::Cid;
use parking_lot::Mutex;
use std::os::fd::AsFd as _;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::process::{self, Origin, Process};
use super::session::{Purpose, Session};
use crate::clock::unix_seconds;
use crate::view::EnclaveStatus;

/// How long a started enclave may take to say that it is ready.
const READY_PATIENCE: Duration = Duration::from_secs(20);
/// How long an endorsement holds. Short enough that a stolen job key is soon worth nothing.
const ENDORSEMENT_LIFE: u64 = 24 * 3600;
/// Clocks of requesters may be behind ours by this much, in seconds.
const CLOCK_SKEW: u64 = 300;
/// Pause before the first restart; doubles with every early death up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// An enclave that lived this long did not die early.
const LONG_LIFE: Duration = Duration::from_secs(60);
/// How often the enclave's counters are asked for.
const STATS_EVERY: Duration = Duration::from_secs(10);
/// How long an enclave that was told to end may take before it is killed.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(2);

/// Outcomes noted as remembered. What is not noted is computed again.
const OUTCOMES_NOTED: usize = 16_384;

/// How the enclave is started.
#[derive(Clone, Debug)]
pub struct EnclaveOptions {
    /// Where it comes from.
    pub origin: Origin,
    /// Operator's account, named as host in receipts.
    pub host: adit_model::AccountId,
    /// Job slots.
    pub slots: usize,
    /// Workers for HTTP functions.
    pub functions: usize,
    /// Most memory for one job.
    pub memory: u64,
    /// Most output for one job.
    pub output: u64,
    /// Outcomes to remember; 0 for none.
    pub remembered: u32,
    /// Memory for compiled code.
    pub code_cache: u64,
    /// Idle time after which workers are let go.
    pub idle: Duration,
}

/// What the rest of the node holds.
#[derive(Clone)]
pub(crate) struct Enclave {
    shared: Arc<Shared>,
}

struct Shared {
    status: watch::Sender<EnclaveStatus>,
    live: Mutex<Option<Live>>,
    /// Woken whenever a session or the whole enclave comes back.
    back: tokio::sync::Notify,
    spoilt: mpsc::UnboundedSender<(u64, Purpose)>,
    restarts: AtomicU64,
    generation: AtomicU64,
    stats: Mutex<Stats>,
}

struct Live {
    generation: u64,
    job_key: JobKey,
    runtime: Arc<str>,
    sessions: Vec<Session>,
    /// Those for functions.
    functions: Vec<Session>,
    codes: HashSet<Cid>,
    /// Tasks whose outcome this enclave has told us and so may remember, with the outcome's roots.
    outcomes: HashMap<TaskCid, Arc<[Cid]>>,
}

impl Live {
    fn free(&mut self, purpose: Purpose) -> &mut Vec<Session> {
        match purpose {
            Purpose::Jobs => &mut self.sessions,
            Purpose::Functions => &mut self.functions,
        }
    }
}

/// A session that a job has for itself. Unless it is given back, which takes a job's last word, it is
/// given up when dropped and another is opened in its place: also when the job's task is aborted.
pub(crate) struct Borrowed {
    session: Option<Session>,
    enclave: Enclave,
}

impl Borrowed {
    /// Gives the session back for the next job.
    pub(crate) fn give_back(mut self) {
        if let Some(session) = self.session.take() {
            self.enclave.give_back(session);
        }
    }

    /// The session itself.
    pub(crate) fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("a session is only taken out at the end")
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.enclave.give_up(session);
        }
    }
}

/// There is no enclave to run on.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the enclave is not running: {0}")]
pub(crate) struct EnclaveDown(pub(crate) String);

impl Enclave {
    /// Starts supervising. The returned future is the supervisor's task and ends after `stop`.
    pub(crate) fn start(
        options: EnclaveOptions,
        identity: NodeSecret,
        stop: CancellationToken,
    ) -> (Enclave, impl Future<Output = ()> + Send + 'static) {
        let (spoilt, lost_sessions) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            status: watch::Sender::new(EnclaveStatus::Starting { reason: None }),
            live: Mutex::new(None),
            back: tokio::sync::Notify::new(),
            spoilt,
            restarts: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            stats: Mutex::new(Stats::default()),
        });
        let supervisor = Supervisor { options, identity, shared: Arc::clone(&shared), lost_sessions, stop };
        (Enclave { shared }, supervisor.run())
    }

    /// A free session, waiting for one if need be: a job that has its slot finds one at once
    /// unless the enclave is being started.
    pub(crate) async fn session(&self, patience: Duration) -> Result<Borrowed, EnclaveDown> {
        self.session_for(Purpose::Jobs, patience).await
    }

    /// A free session for a function.
    pub(crate) async fn session_for(
        &self,
        purpose: Purpose,
        patience: Duration,
    ) -> Result<Borrowed, EnclaveDown> {
        let lend = |session| Borrowed { session: Some(session), enclave: self.clone() };
        if let Some(session) = self.try_session(purpose) {
            return Ok(lend(session));
        }
        let wait = async {
            loop {
                // Enabled before looking: a session that comes back between the two is not missed.
                let mut back = std::pin::pin!(self.shared.back.notified());
                back.as_mut().enable();
                if let Some(session) = self.try_session(purpose) {
                    return session;
                }
                back.await;
            }
        };
        let session = tokio::time::timeout(patience, wait).await;
        session.map(lend).map_err(|_| EnclaveDown(self.why_down()))
    }

    fn try_session(&self, purpose: Purpose) -> Option<Session> {
        self.shared.live.lock().as_mut()?.free(purpose).pop()
    }

    fn give_back(&self, session: Session) {
        let mut live = self.shared.live.lock();
        if let Some(live) = live.as_mut().filter(|live| live.generation == session.generation) {
            live.free(session.purpose).push(session);
            self.shared.back.notify_waiters();
        }
    }

    fn give_up(&self, session: Session) {
        let lost = (session.generation, session.purpose);
        drop(session);
        // The supervisor is gone only when the node is stopping.
        let _ = self.shared.spoilt.send(lost);
    }

    /// The key that signs receipts now, and the runtime they name.
    pub(crate) fn job_key(&self) -> Option<(JobKey, Arc<str>)> {
        self.shared.live.lock().as_ref().map(|live| (live.job_key, Arc::clone(&live.runtime)))
    }

    /// Whether this program is compiled.
    pub(crate) fn has_code(&self, code: &Cid) -> bool {
        self.shared.live.lock().as_ref().is_some_and(|live| live.codes.contains(code))
    }

    /// Notes that this enclave has computed, and may remember, the task's outcome with these roots.
    pub(crate) fn note_outcome(&self, task: TaskCid, roots: Vec<Cid>) {
        if let Some(live) = self.shared.live.lock().as_mut() {
            if live.outcomes.len() >= OUTCOMES_NOTED {
                live.outcomes.clear();
            }
            live.outcomes.insert(task, roots.into());
        }
    }

    /// The roots of the task's outcome, if the enclave is likely to remember it.
    pub(crate) fn remembered(&self, task: &TaskCid) -> Option<Arc<[Cid]>> {
        self.shared.live.lock().as_ref()?.outcomes.get(task).cloned()
    }

    /// How it is.
    pub(crate) fn status(&self) -> EnclaveStatus {
        self.shared.status.borrow().clone()
    }

    /// Waits until the enclave is up or known not to come up.
    pub(crate) async fn settled(&self, patience: Duration) -> EnclaveStatus {
        let mut status = self.shared.status.subscribe();
        let settled = status.wait_for(|s| !matches!(s, EnclaveStatus::Starting { reason: None }));
        let _ = tokio::time::timeout(patience, settled).await;
        self.status()
    }

    /// Its counters, as last told.
    pub(crate) fn stats(&self) -> Stats {
        *self.shared.stats.lock()
    }

    fn why_down(&self) -> String {
        match self.status() {
            EnclaveStatus::Up { .. } => "all its sessions are busy".into(),
            EnclaveStatus::Starting { reason: Some(reason) } | EnclaveStatus::Down { reason } => reason,
            EnclaveStatus::Starting { reason: None } => "it is still starting".into(),
        }
    }
}

struct Supervisor {
    options: EnclaveOptions,
    identity: NodeSecret,
    shared: Arc<Shared>,
    lost_sessions: mpsc::UnboundedReceiver<(u64, Purpose)>,
    stop: CancellationToken,
}

/// Why one life of the enclave ended.
#[derive(Debug, thiserror::Error)]
enum EndOfLife {
    #[error(transparent)]
    Spawn(#[from] process::SpawnError),
    #[error("it did not become ready within {} s", READY_PATIENCE.as_secs())]
    NotReady,
    #[error("it refused: {0}")]
    Refused(String),
    #[error("it closed its control channel ({0})")]
    Closed(String),
    #[error("its control channel failed")]
    Channel(#[from] std::io::Error),
    #[error("it broke the control protocol: {0}")]
    Protocol(String),
    #[error("its key could not be endorsed")]
    Endorse(#[from] adit_model::SignatureError),
    #[error("the node is stopping")]
    Stopped,
}

impl Supervisor {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let born = Instant::now();
            let end = self.life().await;
            *self.shared.live.lock() = None;
            if matches!(end, EndOfLife::Stopped) {
                self.shared.status.send_replace(EnclaveStatus::Down { reason: end.to_string() });
                self.shared.back.notify_waiters();
                return;
            }
            if born.elapsed() > LONG_LIFE {
                pause = FIRST_PAUSE;
            }
            let reason = sentence(&end);
            tracing::warn!(%reason, pause_ms = pause.as_millis() as u64, "the enclave ended; starting it again");
            // A program that is not there does not come by waiting, but it may be installed.
            let status = match end {
                EndOfLife::Spawn(_) | EndOfLife::Refused(_) => EnclaveStatus::Down { reason },
                _ => EnclaveStatus::Starting { reason: Some(reason) },
            };
            self.shared.status.send_replace(status);
            self.shared.restarts.fetch_add(1, Ordering::Relaxed);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Starts the enclave and attends to it until it ends.
    async fn life(&mut self) -> EndOfLife {
        if self.stop.is_cancelled() {
            return EndOfLife::Stopped;
        }
        let mut process = match self.options.origin.begin() {
            Ok(process) => process,
            Err(e) => return e.into(),
        };
        let end = match self.attend(&mut process).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        if matches!(end, EndOfLife::Stopped) {
            let _ = send(&process.control, &ToEnclave::Shutdown).await;
            process.ended(SHUTDOWN_PATIENCE).await;
        }
        process.kill().await;
        end
    }

    async fn attend(&mut self, process: &mut Process) -> Result<std::convert::Infallible, EndOfLife> {
        let generation = self.shared.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let mut inbox = Inbox::new();
        send(&process.control, &ToEnclave::Hello(self.hello())).await?;
        let stop = self.stop.clone();
        let ready = tokio::select! {
            ready = tokio::time::timeout(READY_PATIENCE, receive(&process.control, &mut inbox)) => {
                ready.map_err(|_| EndOfLife::NotReady)??
            }
            () = stop.cancelled() => return Err(EndOfLife::Stopped),
        };
        let (job_key, runtime) = match ready {
            Some(FromEnclave::Ready { job_key, runtime }) => (JobKey(job_key), runtime),
            Some(FromEnclave::Refused { detail }) => return Err(EndOfLife::Refused(detail)),
            Some(other) => return Err(EndOfLife::Protocol(format!("{other:?} before Ready"))),
            None => return Err(EndOfLife::Closed(process.ended(SHUTDOWN_PATIENCE).await)),
        };
        self.endorse(&process.control, job_key, &runtime).await?;
        let mut sessions = Vec::with_capacity(self.options.slots);
        for _ in 0..self.options.slots {
            sessions.push(open_session(&process.control, generation, Purpose::Jobs).await?);
        }
        let mut functions = Vec::with_capacity(self.options.functions);
        for _ in 0..self.options.functions {
            functions.push(open_session(&process.control, generation, Purpose::Functions).await?);
        }
        let pid = process.pid();
        *self.shared.live.lock() = Some(Live {
            generation,
            job_key,
            runtime: runtime.as_str().into(),
            sessions,
            functions,
            codes: HashSet::new(),
            outcomes: HashMap::new(),
        });
        let restarts = self.shared.restarts.load(Ordering::Relaxed);
        self.shared.status.send_replace(EnclaveStatus::Up { pid, runtime: runtime.clone(), restarts });
        self.shared.back.notify_waiters();
        tracing::info!(pid, runtime, "the enclave is up");

        let mut renew = tokio::time::interval(Duration::from_secs(ENDORSEMENT_LIFE / 2));
        renew.tick().await;
        let mut ask_stats = tokio::time::interval(STATS_EVERY);
        loop {
            tokio::select! {
                message = receive(&process.control, &mut inbox) => match message? {
                    Some(FromEnclave::Code { code, cached }) => self.note_code(code, cached),
                    Some(FromEnclave::Stats(stats)) => *self.shared.stats.lock() = stats,
                    Some(other) => return Err(EndOfLife::Protocol(format!("{other:?} after Ready"))),
                    None => return Err(EndOfLife::Closed(process.ended(SHUTDOWN_PATIENCE).await)),
                },
                Some((lost, purpose)) = self.lost_sessions.recv() => if lost == generation {
                    let session = open_session(&process.control, generation, purpose).await?;
                    if let Some(live) = self.shared.live.lock().as_mut() {
                        live.free(purpose).push(session);
                    }
                    self.shared.back.notify_waiters();
                },
                _ = renew.tick() => self.endorse(&process.control, job_key, &runtime).await?,
                _ = ask_stats.tick() => send(&process.control, &ToEnclave::GetStats).await?,
                () = stop.cancelled() => return Err(EndOfLife::Stopped),
            }
        }
    }

    fn hello(&self) -> Hello {
        let options = &self.options;
        Hello {
            version: VERSION,
            host: options.host.0,
            node: Bytes::copy_from_slice(&self.identity.node().to_bytes()),
            workers: (options.slots + options.functions) as u32,
            memory: options.memory,
            output: options.output,
            code_cache: options.code_cache,
            remembered: options.remembered,
            idle_ms: options.idle.as_millis() as u64,
        }
    }

    async fn endorse(&self, control: &AsyncChannel, job_key: JobKey, runtime: &str) -> Result<(), EndOfLife> {
        let now = unix_seconds();
        let endorsement = Endorsement {
            job_key,
            node: self.identity.node(),
            runtime: runtime.to_owned(),
            issued: now.saturating_sub(CLOCK_SKEW),
            expires: now + ENDORSEMENT_LIFE,
        };
        let signed = Signed::sign(endorsement, &self.identity)?;
        send(control, &ToEnclave::Endorse { endorsement: signed.block().clone() }).await?;
        Ok(())
    }

    fn note_code(&self, code: Cid, cached: bool) {
        if let Some(live) = self.shared.live.lock().as_mut() {
            if cached {
                live.codes.insert(code);
            } else {
                live.codes.remove(&code);
            }
        }
    }
}

async fn open_session(control: &AsyncChannel, generation: u64, purpose: Purpose) -> std::io::Result<Session> {
    let (ours, theirs) = Channel::pair()?;
    let mut frame = Vec::new();
    ToEnclave::OpenSession.encode(&mut frame);
    control.send(&frame, &[theirs.as_fd()]).await?;
    Ok(Session::new(AsyncChannel::new(ours)?, generation, purpose))
}

async fn send(control: &AsyncChannel, message: &ToEnclave) -> std::io::Result<()> {
    let mut frame = Vec::new();
    message.encode(&mut frame);
    control.send(&frame, &[]).await
}

async fn receive(control: &AsyncChannel, inbox: &mut Inbox) -> Result<Option<FromEnclave>, EndOfLife> {
    let Some(frame) = control.receive(inbox).await? else { return Ok(None) };
    FromEnclave::decode(frame.bytes, frame.descriptors.len())
        .map(Some)
        .map_err(|e| EndOfLife::Protocol(e.to_string()))
}

/// An error with its sources, in one line.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text += ": ";
        text += &inner.to_string();
        source = inner.source();
    }
    text
}
