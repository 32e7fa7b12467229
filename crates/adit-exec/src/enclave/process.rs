//! Starting and ending processes.
//!
//! Every process is started by one thread, the *keeper*, which lives as long as the enclave. That is not
//! tidiness: the signal that ends a worker when its parent dies (`PR_SET_PDEATHSIG`) follows the *thread* that
//! forked it, so a worker started by a session's thread would die with that session.
//!
//! A process is held by a pidfd, which never means another process, even after its number is used again.

use super::wait;
use adit_model::Profile;
use adit_wire::{Channel, channel::check};
use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError, Sender, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

/// The descriptor that a started process finds its channel at.
const CHANNEL: i32 = 3;

/// How long to wait before looking again for children that were killed and are not yet gone.
const REAP_AGAIN: Duration = Duration::from_millis(20);

/// What to start as worker and as compiler.
#[derive(Debug, Clone)]
pub struct Programs {
    pub worker: Program,
    pub compiler: Program,
}

/// A program and its arguments, to which `--profile P --parent PID` are added; the environment is always empty.
#[derive(Debug, Clone)]
pub struct Program {
    pub path: PathBuf,
    pub words: Vec<String>,
}

impl Programs {
    /// This very binary, as `adit-enclave worker` and `adit-enclave compile`. Through `/proc`, so that it is the
    /// same build even after the file on disk has been replaced.
    pub fn of_this_binary() -> Self {
        let this = |word: &str| Program { path: "/proc/self/exe".into(), words: vec![word.into()] };
        Programs { worker: this("worker"), compiler: this("compile") }
    }
}

/// A running child. Dropping it kills it, whatever it is doing.
pub(super) struct Process {
    pidfd: OwnedFd,
    /// Taken out when dropped, for the keeper to reap.
    child: Option<Child>,
    keeper: Keeper,
}

impl Process {
    /// Whether it was ended by its system call filter: by a mistake of ours, since whoever runs into a limit dies
    /// otherwise. To be asked when it has hung up, and so is about to end.
    pub(super) fn was_ended_by_its_jail(&self) -> bool {
        let soon = Instant::now() + Duration::from_secs(1);
        if !matches!(wait::readable([self.pidfd.as_fd()], soon), Ok([true])) {
            return false;
        }
        // SAFETY: an all-zero siginfo is valid, and outlives the call. It stays for the keeper to reap.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let how = libc::WEXITED | libc::WNOWAIT | libc::WNOHANG;
            let known = libc::waitid(libc::P_PIDFD, self.pidfd.as_raw_fd() as _, &raw mut info, how) == 0;
            known && info.si_code != libc::CLD_EXITED && info.si_status() == libc::SIGSYS
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SAFETY: integers and a null pointer. It can only fail when the process has ended already.
        unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.pidfd.as_raw_fd(), libc::SIGKILL, 0, 0);
        }
        self.keeper.counts.held.fetch_sub(1, Ordering::Relaxed);
        self.keeper.counts.ended.fetch_add(1, Ordering::Relaxed);
        if let Some(child) = self.child.take() {
            // The keeper is gone only when the whole process is ending, and then init reaps.
            let _ = self.keeper.requests.send(Request::Reap(child));
        }
    }
}

/// Handle to the keeper's thread.
#[derive(Clone)]
pub(super) struct Keeper {
    requests: Sender<Request>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    held: AtomicU64,
    ended: AtomicU64,
}

enum Request {
    Start {
        program: Program,
        profile: Profile,
        theirs: Channel,
        answer: SyncSender<io::Result<(Child, OwnedFd)>>,
    },
    Reap(Child),
    Look,
}

/// What the keeper does besides: called when asked to look, and whenever the time that it returned has come.
pub(super) type Chore = Box<dyn FnMut(Instant, &Starter) -> Option<Instant> + Send>;

/// Starts processes on the keeper's own thread.
pub(super) struct Starter(Keeper);

impl Starter {
    pub(super) fn launch(&self, program: &Program, profile: Profile) -> io::Result<(Process, Channel)> {
        let (ours, theirs) = Channel::pair()?;
        let started = start(program, profile, theirs)?;
        Ok((self.0.hold(started), ours))
    }
}

impl Keeper {
    /// Starts the thread. The chore runs on it, between requests.
    pub(super) fn start(make_chore: impl FnOnce(&Keeper) -> Chore) -> io::Result<Keeper> {
        let (requests, inbox) = mpsc::channel();
        let keeper = Keeper { requests, counts: Arc::default() };
        let mut chore = make_chore(&keeper);
        let starter = Starter(keeper.clone());
        thread::Builder::new().name("keeper".into()).spawn(move || {
            // Without this thread nothing can be started any more and every worker is dead: end as a whole.
            let _guard = AbortOnPanic;
            let mut dead: Vec<Child> = Vec::new();
            let mut next_look = None;
            loop {
                dead.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
                let now = Instant::now();
                let again = (!dead.is_empty()).then(|| now + REAP_AGAIN);
                let request = match [next_look, again].into_iter().flatten().min() {
                    Some(time) => inbox.recv_timeout(time.saturating_duration_since(now)),
                    None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                };
                match request {
                    Ok(Request::Start { program, profile, theirs, answer }) => {
                        // Whoever asked may have stopped waiting; then the child ends with its channel.
                        let _ = answer.send(start(&program, profile, theirs));
                    }
                    Ok(Request::Reap(child)) => dead.push(child),
                    Ok(Request::Look) => next_look = chore(Instant::now(), &starter),
                    Err(RecvTimeoutError::Timeout) => {
                        if next_look.is_some_and(|time| time <= Instant::now()) {
                            next_look = chore(Instant::now(), &starter);
                        }
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(keeper)
    }

    /// Starts a program with the other end of the returned channel as descriptor 3.
    pub(super) fn launch(&self, program: &Program, profile: Profile) -> io::Result<(Process, Channel)> {
        let (ours, theirs) = Channel::pair()?;
        let (answer, started) = mpsc::sync_channel(1);
        let gone = || io::Error::other("the keeper is gone");
        let request = Request::Start { program: program.clone(), profile, theirs, answer };
        self.requests.send(request).map_err(|_| gone())?;
        Ok((self.hold(started.recv().map_err(|_| gone())??), ours))
    }

    fn hold(&self, (child, pidfd): (Child, OwnedFd)) -> Process {
        self.counts.held.fetch_add(1, Ordering::Relaxed);
        Process { pidfd, child: Some(child), keeper: self.clone() }
    }

    /// Has the chore done soon, on the keeper's thread.
    pub(super) fn look(&self) {
        let _ = self.requests.send(Request::Look);
    }

    /// How many processes are held.
    pub(super) fn alive(&self) -> u64 {
        self.counts.held.load(Ordering::Relaxed)
    }

    /// How many were ended, or had ended by themselves, and were let go.
    pub(super) fn ended(&self) -> u64 {
        self.counts.ended.load(Ordering::Relaxed)
    }
}

/// Ends the process when the thread that owns it panics.
pub(super) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

/// The channel becomes descriptor 3, 0 and 1 are /dev/null, 2 stays ours, the environment is empty.
fn start(program: &Program, profile: Profile, theirs: Channel) -> io::Result<(Child, OwnedFd)> {
    let socket = theirs.into_socket();
    let number = socket.as_raw_fd();
    let mut command = Command::new(&program.path);
    command
        .args(&program.words)
        .args(["--profile", profile.as_str(), "--parent", &std::process::id().to_string()])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    // SAFETY: only async-signal-safe calls on integers between fork and exec.
    unsafe {
        command.pre_exec(move || match number {
            // Already in its place, but closed on exec.
            CHANNEL => check(libc::fcntl(CHANNEL, libc::F_SETFD, 0)).map(drop),
            _ => check(libc::dup2(number, CHANNEL)).map(drop),
        });
    }
    let child = command.spawn()?;
    // SAFETY: a successful call returns a descriptor that nobody else owns. The child has not been waited for, so
    // its number cannot mean another process yet.
    let pidfd = unsafe {
        OwnedFd::from_raw_fd(check(libc::syscall(libc::SYS_pidfd_open, child.id() as libc::pid_t, 0) as _)?)
    };
    Ok((child, pidfd))
}
