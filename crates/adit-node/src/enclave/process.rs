//! Starting the enclave's program with its control channel as descriptor 3.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use adit_wire::{AsyncChannel, Channel};
use tokio::process::{Child, Command};

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
    /// No channel could be made.
    #[error("cannot make a channel to the enclave")]
    Channel(#[source] std::io::Error),
}

/// The configured program, or `adit-enclave` beside this one.
pub fn program(configured: &Path) -> Result<PathBuf, SpawnError> {
    let path = if configured.as_os_str().is_empty() {
        std::env::current_exe().map_err(SpawnError::NoSelf)?.with_file_name("adit-enclave")
    } else {
        configured.to_owned()
    };
    if path.is_file() { Ok(path) } else { Err(SpawnError::NoProgram(path)) }
}

/// A running enclave. Dropping it kills the process, whose workers end with it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) child: Child,
    pub(super) control: AsyncChannel,
}

/// Starts the program with an empty environment and nothing of ours open but the control channel.
pub(super) fn spawn(program: &Path) -> Result<Process, SpawnError> {
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
    Ok(Process { child, control })
}
