//! Where the enclave comes from: this node starts its program with the control channel as descriptor 3; or the service
//! manager does so, as another user, for each connection to a socket.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use adit_wire::{AsyncChannel, Channel};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::process::{Child, Command};

use crate::config::EnclaveConfig;

/// The descriptor under which the enclave finds its control channel.
const CONTROL_FD: i32 = 3;

/// Why the enclave's program could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The program is not there.
    #[error(
        "the enclave's program {0} is not there: build it (`cargo build --release -p adit-enclave --locked`), \
         or set enclave.program"
    )]
    NoProgram(PathBuf),
    /// The path of this program is not known, so nothing can be beside it.
    #[error("cannot tell where this program lies, to find adit-enclave beside it: set enclave.program")]
    NoSelf(#[source] std::io::Error),
    /// The system refused to start it.
    #[error("cannot start {program}")]
    Spawn {
        /// What was to be started.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Nobody answers at the socket.
    #[error("no enclave at {socket}: is its service there (`systemctl status adit-enclave.socket`)?")]
    Connect {
        /// Where it should be.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// No channel could be made.
    #[error("cannot make a channel to the enclave")]
    Channel(#[source] std::io::Error),
}

/// Where the enclave comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// This program, started by the node, as the node's user.
    Program(PathBuf),
    /// Whatever answers at this socket: started by the service manager, as a user of its own.
    Socket(PathBuf),
}

impl Origin {
    /// What the settings say: a socket, a program, or `adit-enclave` beside this program.
    pub fn of(config: &EnclaveConfig) -> Result<Self, SpawnError> {
        if !config.socket.as_os_str().is_empty() {
            return Ok(Origin::Socket(config.socket.clone()));
        }
        let path = if config.program.as_os_str().is_empty() {
            std::env::current_exe().map_err(SpawnError::NoSelf)?.with_file_name("adit-enclave")
        } else {
            config.program.clone()
        };
        if path.is_file() { Ok(Origin::Program(path)) } else { Err(SpawnError::NoProgram(path)) }
    }

    /// A new enclave.
    pub(super) fn begin(&self) -> Result<Process, SpawnError> {
        match self {
            Origin::Program(program) => spawn(program),
            Origin::Socket(socket) => connect(socket),
        }
    }
}

/// A running enclave. Dropping it ends the process: a child is killed, and another user's enclave ends when its
/// channel is closed. Workers end with it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) control: AsyncChannel,
    child: Option<Child>,
}

impl Process {
    /// `None`: the service manager started it.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref()?.id()
    }

    /// Waits for a child's end; gives what is known of it, in words.
    pub(super) async fn ended(&mut self, patience: Duration) -> String {
        let Some(child) = &mut self.child else { return "its service's log says why".into() };
        match tokio::time::timeout(patience, child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(e)) => e.to_string(),
            Err(_) => "it still runs and is killed".into(),
        }
    }

    /// Leaves no zombie behind.
    pub(super) async fn kill(mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill().await;
        }
    }
}

fn connect(socket: &Path) -> Result<Process, SpawnError> {
    let connected = || -> std::io::Result<AsyncChannel> {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let ours = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
        rustix::net::connect(&ours, &SocketAddrUnix::new(socket)?)?;
        AsyncChannel::new(Channel::from_socket(ours)?)
    };
    match connected() {
        Ok(control) => Ok(Process { control, child: None }),
        Err(source) => Err(SpawnError::Connect { socket: socket.to_owned(), source }),
    }
}

/// Starts the program with an empty environment and nothing of ours open but the control channel.
fn spawn(program: &Path) -> Result<Process, SpawnError> {
    let (ours, theirs) = Channel::pair().map_err(SpawnError::Channel)?;
    let theirs: OwnedFd = theirs.into_socket();
    let theirs_raw = theirs.as_raw_fd();
    let mut command = Command::new(program);
    command
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    // A log filter is the one thing of our environment that the enclave may see.
    if let Some(filter) = std::env::var_os("ADIT_LOG") {
        command.env("ADIT_LOG", filter);
    }
    // SAFETY: the closure runs in the child between fork and exec and makes only async-signal-safe
    // system calls; it allocates nothing and takes no lock. `theirs_raw` stays open until after
    // `spawn` because `theirs` is dropped below it.
    unsafe {
        command.pre_exec(move || {
            if theirs_raw == CONTROL_FD {
                let flags = libc::fcntl(CONTROL_FD, libc::F_GETFD);
                if flags < 0 || libc::fcntl(CONTROL_FD, libc::F_SETFD, flags & !libc::FD_CLOEXEC) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            } else if libc::dup2(theirs_raw, CONTROL_FD) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let child =
        command.spawn().map_err(|source| SpawnError::Spawn { program: program.to_owned(), source })?;
    drop(theirs);
    let control = AsyncChannel::new(ours).map_err(SpawnError::Channel)?;
    Ok(Process { control, child: Some(child) })
}
