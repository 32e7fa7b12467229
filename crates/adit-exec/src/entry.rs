//! How a jailed process begins: its arguments and its one descriptor.
//!
//! The enclave starts `adit-enclave worker --profile P --parent PID` (or `compile`), with an empty environment, the
//! channel as descriptor 3, `/dev/null` as 0 and 1, and 2 wherever the enclave's own messages go.

use crate::{
    engine::Profile,
    jail::{self, JailError, Role},
};
use adit_wire::Channel;
use std::os::fd::{FromRawFd, OwnedFd};

/// Why a jailed process ends before it has done anything, or in the middle.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("usage: --profile deterministic|fast --parent PID")]
    Usage,
    #[error("the jail cannot be shut: {0}")]
    Jail(#[from] JailError),
    #[error("descriptor 3 is not the channel: {0}")]
    Channel(std::io::Error),
    #[error("the engine cannot be made: {0:#}")]
    Engine(wasmtime::Error),
    #[error("its threads cannot be started: {0}")]
    Threads(String),
    #[error("the enclave sent {0}")]
    Protocol(String),
    #[error("memory that the enclave shared: {0}")]
    Memory(std::io::Error),
    #[error("the enclave cannot be reached: {0}")]
    Enclave(std::io::Error),
    #[error("machine code from our own compiler does not load: {0:#}")]
    Code(wasmtime::Error),
}

/// What a jailed process starts from.
pub(crate) struct Entered {
    pub(crate) profile: Profile,
    pub(crate) channel: Channel,
}

/// Reads the arguments, shuts the jail, takes the channel. Call once, first, with one thread.
pub(crate) fn enter(role: Role, args: &[String]) -> Result<Entered, ProcessError> {
    let [profile_flag, profile, parent_flag, parent] = args else { return Err(ProcessError::Usage) };
    if (profile_flag.as_str(), parent_flag.as_str()) != ("--profile", "--parent") {
        return Err(ProcessError::Usage);
    }
    let profile: Profile = profile.parse().map_err(|_| ProcessError::Usage)?;
    let parent = parent.parse().map_err(|_| ProcessError::Usage)?;
    jail::enter(role, parent)?;
    // SAFETY: the enclave starts us with the channel as descriptor 3; this function runs once, before anything
    // else could have claimed it. Were it not open, `from_socket` would say so.
    let socket = unsafe { OwnedFd::from_raw_fd(3) };
    let channel = Channel::from_socket(socket).map_err(ProcessError::Channel)?;
    Ok(Entered { profile, channel })
}
