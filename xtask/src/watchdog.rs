//! Ends what hangs, so that a run says which test it was instead of being cut off without a word.

use adit_tests::processes_below;
use std::{
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

/// While it lives, a time limit applies to all processes that this one has started, and that those have.
pub(crate) struct Watchdog {
    _over: Sender<()>,
}

impl Watchdog {
    pub(crate) fn start(what: &'static str, limit: Duration) -> Self {
        Self::below(std::process::id(), what, limit)
    }

    fn below(root: u32, what: &'static str, limit: Duration) -> Self {
        let (over, ended) = mpsc::channel();
        thread::spawn(move || {
            if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("xtask: {what} has not ended after {} min: it is killed.", limit.as_secs() / 60);
                eprintln!(
                    "xtask: a test that hangs is named above: \"has been running for over 60 seconds\""
                );
                kill_all_below(root);
            }
        });
        Watchdog { _over: over }
    }
}

/// Kills until nobody is left: what is forked while the list is read stands in the next one.
fn kill_all_below(root: u32) {
    loop {
        let found = processes_below(root);
        if found.is_empty() {
            return;
        }
        for (pid, _) in found {
            // SAFETY: integers only. The worst that a number used again could do is end another child of ours.
            unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Read,
        process::{Command, Stdio},
    };

    #[test]
    fn what_hangs_is_killed_with_all_that_it_started() {
        // Below a process of its own: other tests of this one have children too.
        let script = "sh -c 'sleep 600 & sleep 600'; echo $?";
        let mut shell = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let watchdog = Watchdog::below(shell.id(), "a test of the watchdog", Duration::from_millis(200));
        // All of them hold the other end.
        let mut said = String::new();
        shell.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, format!("{}\n", 128 + libc::SIGKILL));
        assert!(shell.wait().unwrap().success());
        drop(watchdog);
    }
}
