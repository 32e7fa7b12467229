//! A devnet's root, from the devnet that started this process, and from nowhere else.
//!
//! Simulated evidence counts in a devnet only. Its root comes over a socket pair at standard input whose other end was made
//! by this process's parent, as the kernel tells. A file, a pipe, a shell or a flag is no such thing. When the devnet ends, the
//! socket closes and the holder ends too.

use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use adit_trust::DevnetRoot;
use anyhow::{Context as _, Result, bail};

/// How long the parent may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The devnet's end of the socket, and its root.
pub struct Devnet {
    pub root: DevnetRoot,
    /// Closes when the devnet ends.
    pub socket: UnixStream,
}

/// Takes the root (32 bytes) from the parent process.
///
/// # Errors
/// Standard input is no socket of the parent's, or nothing comes over it.
pub fn devnet() -> Result<Devnet> {
    const WANTED: &str = "only a devnet can start a holder that accepts simulated evidence";
    let stdin = std::io::stdin();
    let credentials = rustix::net::sockopt::socket_peercred(stdin.as_fd()).context(WANTED)?;
    if Some(credentials.pid) != rustix::process::getppid() {
        bail!("{WANTED}: standard input is not a socket of the process that started this one");
    }
    let mut socket = UnixStream::from(stdin.as_fd().try_clone_to_owned()?);
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut root = [0; 32];
    socket.read_exact(&mut root).context("the devnet did not say its root")?;
    socket.set_read_timeout(None)?;
    Ok(Devnet { root: DevnetRoot::of_this_devnet(root), socket })
}
