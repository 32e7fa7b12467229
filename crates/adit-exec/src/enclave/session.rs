//! One session: a thread that runs one job after another and drives the job's worker itself; or that watches over one
//! worker which serves an HTTP function.
//!
//! A thread for each slot, because everything that a job waits for is one of two descriptors, and because a
//! job then costs two context switches: to the worker and back.

use super::{
    Enclave,
    job::Job,
    link::{Link, Order, SessionError, Stop, Wanted},
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
        let served = link.next_job().and_then(|order| match order {
            Order::Start(start) => run(enclave, &mut link, *start),
            Order::Serve(wanted) => watch(enclave, &mut link, wanted),
        });
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
    last_word(enclave, link, ended)
}

/// Has a worker serve a function, for as long as the node wants it.
fn watch(enclave: &Enclave, link: &mut Link, wanted: Wanted) -> Result<(), SessionError> {
    let ended = Job::function(enclave, link, &wanted).and_then(Job::serve);
    last_word(enclave, link, ended)
}

fn last_word(enclave: &Enclave, link: &mut Link, ended: Result<(), Stop>) -> Result<(), SessionError> {
    let (kind, detail) = match ended {
        Ok(()) => return Ok(()),
        Err(Stop::Over(error)) => return Err(error),
        Err(Stop::Failed(kind, detail)) => (kind, detail),
    };
    enclave.counters.failed.fetch_add(1, Ordering::Relaxed);
    link.send_last(&FromEnclave::Failed { kind, detail })
}
