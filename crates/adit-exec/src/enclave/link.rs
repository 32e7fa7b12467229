//! A session's channel to the node, and how a job ends early.

use super::wait;
use adit_wire::{
    Channel, DecodeError, Inbox, Message,
    session::{CancelReason, Delivery, Failure, FromEnclave, Start, ToEnclave},
};
use cid::Cid;
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

/// Anything that ends a job before its regular end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The job ends without an Outcome; the session goes on.
    Failed(Failure, String),
    /// The session ends.
    Over(SessionError),
}

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error("the node closed the session")]
    Closed,
    #[error("the session's channel failed")]
    Io(#[from] io::Error),
    #[error("the node sent a malformed message")]
    Malformed(#[from] DecodeError),
    #[error("the node broke the protocol: {0}")]
    Violation(&'static str),
}

impl<E: Into<SessionError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Over(error.into())
    }
}

impl Stop {
    pub(super) fn failed<T>(kind: Failure, detail: impl Into<String>) -> Result<T, Stop> {
        Err(Stop::Failed(kind, detail.into()))
    }

    pub(super) fn deadline() -> Stop {
        Stop::Failed(Failure::Deadline, "the job was not done in the time it was given".into())
    }

    /// Something that this machine should have been able to do.
    pub(super) fn host(what: &str, error: impl std::fmt::Display) -> Stop {
        Stop::Failed(Failure::Worker, format!("{what}: {error}"))
    }

    /// A worker or compiler said something that no correct one says.
    pub(super) fn distrust(what: impl std::fmt::Display) -> Stop {
        Stop::Failed(Failure::Worker, format!("the worker was ended because it broke its protocol: {what}"))
    }
}

/// What the node says while a job runs.
pub(super) enum FromNode {
    Blocks(Vec<Delivery>, Vec<OwnedFd>),
    Stored,
    /// Something about a job that is over.
    Late,
}

/// What a session is for next.
pub(super) enum Order {
    Start(Box<Start>),
    Serve(Wanted),
}

/// A function that is to be served.
pub(super) struct Wanted {
    pub(super) job: u32,
    pub(super) code: Cid,
    /// How long it may take until it is.
    pub(super) patience: Duration,
}

pub(super) struct Link {
    channel: Channel,
    inbox: Inbox,
    frame: Vec<u8>,
    next_ticket: u64,
}

/// Without a job there is no deadline: wait for the node as long as it lives.
pub(super) const FOREVER: Duration = Duration::from_secs(1 << 32);

impl Link {
    pub(super) fn new(channel: Channel) -> Self {
        Link { channel, inbox: Inbox::new(), frame: Vec::new(), next_ticket: 0 }
    }

    /// A number for a want, never given before.
    pub(super) fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Whether this number was given to some want, perhaps of an earlier job.
    pub(super) fn is_past(&self, ticket: u64) -> bool {
        (1..=self.next_ticket).contains(&ticket)
    }

    /// Waits for the next job, passing over what is said about earlier ones.
    pub(super) fn next_job(&mut self) -> Result<Order, SessionError> {
        loop {
            match self.receive_message()?.0 {
                ToEnclave::Start(start) => return Ok(Order::Start(start)),
                ToEnclave::Serve { job, code, deadline_ms } => {
                    let patience = Duration::from_millis(deadline_ms);
                    return Ok(Order::Serve(Wanted { job, code, patience }));
                }
                ToEnclave::Blocks(_) | ToEnclave::Stored { .. } | ToEnclave::Cancel { .. } => {}
            }
        }
    }

    /// Takes the message that is there, or the next.
    pub(super) fn receive(&mut self, job: u32) -> Result<FromNode, Stop> {
        let (message, descriptors) = self.receive_message()?;
        match message {
            ToEnclave::Start(_) | ToEnclave::Serve { .. } => {
                Err(SessionError::Violation("a job before the last one ended").into())
            }
            ToEnclave::Blocks(deliveries) => Ok(FromNode::Blocks(deliveries, descriptors)),
            ToEnclave::Stored { job: named } if named == job => Ok(FromNode::Stored),
            ToEnclave::Cancel { job: named, reason } if named == job => Stop::failed(
                Failure::Cancelled,
                match reason {
                    CancelReason::Requester => "cancelled by the requester",
                    CancelReason::Shutdown => "cancelled because the node is shutting down",
                },
            ),
            ToEnclave::Stored { .. } | ToEnclave::Cancel { .. } => Ok(FromNode::Late),
        }
    }

    fn receive_message(&mut self) -> Result<(ToEnclave, Vec<OwnedFd>), SessionError> {
        let frame = self.channel.receive(&mut self.inbox)?.ok_or(SessionError::Closed)?;
        let message = ToEnclave::decode(frame.bytes, frame.descriptors.len())?;
        Ok((message, frame.descriptors))
    }

    /// Sends a message; waits until `deadline` while the node does not read.
    pub(super) fn send(
        &mut self,
        message: &FromEnclave,
        descriptors: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> Result<(), Stop> {
        message.encode(&mut self.frame);
        while !self.channel.try_send(&self.frame, descriptors)? {
            if !wait::writable(self.channel.as_fd(), deadline)? {
                return Err(Stop::deadline());
            }
        }
        Ok(())
    }

    /// Sends the last word about a job: no deadline applies to that.
    pub(super) fn send_last(&mut self, message: &FromEnclave) -> Result<(), SessionError> {
        match self.send(message, &[], Instant::now() + FOREVER) {
            Ok(()) => Ok(()),
            Err(Stop::Over(error)) => Err(error),
            Err(Stop::Failed(..)) => Err(SessionError::Violation("it reads nothing")),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
