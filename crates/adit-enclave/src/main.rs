//! The attested process of a node, and the jailed processes that it starts.
//!
//! `adit-enclave` (or `adit-enclave serve`) is started by `adit daemon` with its control channel as descriptor 3.
//! `adit-enclave worker …` and `adit-enclave compile …` are started by that process alone, each with a channel of
//! its own as descriptor 3. Everything is in `adit-exec`; this file only chooses, and shuts what can be
//! shut before anything else happens.

use adit_exec::{
    compile,
    enclave::{self, Programs},
    worker,
};
use adit_wire::{Channel, channel::check};
use anyhow::{Context, bail};
use std::os::fd::{FromRawFd, OwnedFd};

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        None | Some("serve") if words.len() <= 1 => serve(),
        Some("worker") => Ok(worker::main(&words[1..])?),
        Some("compile") => Ok(compile::main(&words[1..])?),
        Some("--version") => {
            println!("adit-enclave {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        _ => bail!("adit-enclave is started by `adit daemon`, not by hand; it takes no arguments"),
    }
}

fn serve() -> anyhow::Result<()> {
    harden().context("hardening the process")?;
    // SAFETY: whoever starts us passes the control channel as descriptor 3, and nothing else in here claims it.
    let control = Channel::from_socket(unsafe { OwnedFd::from_raw_fd(3) }).context(
        "descriptor 3 is not a control channel; adit-enclave is started by `adit daemon`, not by hand",
    )?;
    enclave::serve(control, Programs::of_this_binary())?;
    // Not a return: threads of sessions may still run, and end with the process. So do the workers, which asked the
    // kernel to be killed when the thread that started them ends.
    std::process::exit(0);
}

/// The job key lives in this process's memory: no other process of the user may look into it, and it never gets
/// into a core file. Nothing that was inherited by mistake stays open.
fn harden() -> std::io::Result<()> {
    let nothing = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain system calls on integers, and one pointer to a local; nothing else runs yet.
    unsafe {
        check(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0))?;
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        check(libc::setrlimit(libc::RLIMIT_CORE, &raw const nothing))?;
        check(libc::close_range(4, libc::c_uint::MAX, 0))?;
    }
    Ok(())
}
