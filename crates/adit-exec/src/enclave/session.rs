//! One session: a thread that runs one job after another and drives the job's worker itself.
//!
//! A thread for each slot, because everything that a job waits for is one of two descriptors, and because a
//! job then costs two context switches: to the worker and back.

use super::{
    Enclave,
    job::Job,
    link::{Link, SessionError, Stop},
};
use adit_wire::{
    Channel,
    session::{FromEnclave, Start},
};
use std::sync::atomic::Ordering;

/// Serves jobs until the node closes the session or breaks its protocol.
pub(super) fn serve(enclave: &Enclave, channel: Channel) {
    let mut link = Link::new(channel);
    enclave.counters.sessions.fetch_add(1, Ordering::Relaxed);
    loop {
        let served = link.next_job().and_then(|start| run(enclave, &mut link, start));
        match served {
            Ok(()) => {}
            Err(SessionError::Closed) => return,
            Err(error) => {
                enclave.complain("a session ended", &error);
                return;
            }
        }
    }
}

/// Runs one job and says the last word about it.
fn run(enclave: &Enclave, link: &mut Link, start: Start) -> Result<(), SessionError> {
    enclave.counters.jobs.fetch_add(1, Ordering::Relaxed);
    let ended = Job::new(enclave, link, start).and_then(Job::run);
    let (kind, detail) = match ended {
        Ok(()) => return Ok(()),
        Err(Stop::Over(error)) => return Err(error),
        Err(Stop::Failed(kind, detail)) => (kind, detail),
    };
    enclave.counters.failed.fetch_add(1, Ordering::Relaxed);
    link.send_last(&FromEnclave::Failed { kind, detail })
}
