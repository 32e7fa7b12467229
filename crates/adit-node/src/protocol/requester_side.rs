//! The requester's end of one stream.

use bytes::Bytes;

use super::message::InlineBlock;
use super::{FromHost, Violation};
use crate::host::Refusal;
use crate::placement::Bid;
use crate::view::{Failure, JobStats, LogStream};

/// What a host's message means to the job.
#[derive(Clone, Debug, PartialEq)]
pub enum RequesterEvent {
    /// It offers.
    Bid(Bid),
    /// It does not want the job.
    Refused(Refusal),
    /// It promised. Holds the signed Acceptance's block, not yet verified.
    Accepted(Bytes),
    /// The guest wrote.
    Log(LogStream, u64, Bytes),
    /// It lives; `true` once the guest has started.
    Alive(bool),
    /// It delivered. Nothing of this is verified yet.
    Finished(Box<Delivery>),
    /// It could not.
    Failed(Failure),
    /// Something that was still under way when we cancelled; to be ignored.
    Stale,
}

/// What a host delivered, unverified.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The Outcome's block.
    pub outcome: Bytes,
    /// The Envelope's block.
    pub envelope: Bytes,
    /// Small blocks of the result.
    pub blocks: Vec<InlineBlock>,
    /// Figures.
    pub stats: JobStats,
    /// Until when the host keeps the result.
    pub kept_until: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Asking,
    Offered,
    Ordered,
    Running,
    Delivered,
    Cancelled,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Idle => "nothing was asked",
            State::Asking => "waiting for a bid",
            State::Offered => "holding an offer",
            State::Ordered => "waiting for an acceptance",
            State::Running => "waiting for the result",
            State::Delivered => "checking the result",
            State::Cancelled => "the job is cancelled",
        }
    }
}

/// Keeps the host to its turns. Says nothing about whether what it says is true.
#[derive(Debug)]
pub struct RequesterSide {
    state: State,
    /// Where the next log byte of each stream belongs: gaps and repeats are violations, so that
    /// what a follower prints is what the guest wrote.
    next: [u64; 2],
}

impl Default for RequesterSide {
    fn default() -> Self {
        RequesterSide { state: State::Idle, next: [0; 2] }
    }
}

impl RequesterSide {
    /// We sent Ask. Only on a fresh stream, or when [`RequesterSide::can_ask`].
    pub fn asked(&mut self) {
        debug_assert!(self.can_ask());
        self.state = State::Asking;
        self.next = [0; 2];
    }

    /// We sent Run.
    pub fn ordered(&mut self) {
        debug_assert_eq!(self.state, State::Offered);
        self.state = State::Ordered;
    }

    /// We sent Cancel. The stream is of no further use: messages still under way may be anything.
    pub fn cancelled(&mut self) {
        self.state = State::Cancelled;
    }

    /// We sent Ack.
    pub fn acknowledged(&mut self) {
        debug_assert_eq!(self.state, State::Delivered);
        self.state = State::Idle;
    }

    /// Whether another Ask may be sent on this stream.
    pub fn can_ask(&self) -> bool {
        matches!(self.state, State::Idle | State::Offered)
    }

    /// What the host said.
    pub fn on_message(&mut self, message: FromHost) -> Result<RequesterEvent, Violation> {
        if self.state == State::Cancelled {
            return Ok(RequesterEvent::Stale);
        }
        let violation = Violation { message: message.name(), state: self.state.name() };
        match (self.state, message) {
            (State::Asking, FromHost::Bid(bid)) => {
                self.state = State::Offered;
                Ok(RequesterEvent::Bid(bid))
            }
            (State::Asking | State::Ordered, FromHost::Refuse(refusal)) => {
                self.state = State::Idle;
                Ok(RequesterEvent::Refused(refusal))
            }
            (State::Ordered, FromHost::Accept { acceptance }) => {
                self.state = State::Running;
                Ok(RequesterEvent::Accepted(acceptance))
            }
            (State::Running, FromHost::Log { stream, offset, bytes }) => {
                let next = &mut self.next[stream as usize];
                if offset != *next {
                    return Err(violation);
                }
                *next += bytes.len() as u64;
                Ok(RequesterEvent::Log(stream, offset, bytes))
            }
            (State::Running, FromHost::Alive { running }) => Ok(RequesterEvent::Alive(running)),
            (State::Running, FromHost::Finished { outcome, envelope, blocks, stats, kept_until }) => {
                self.state = State::Delivered;
                Ok(RequesterEvent::Finished(Box::new(Delivery {
                    outcome,
                    envelope,
                    blocks,
                    stats,
                    kept_until,
                })))
            }
            (State::Running, FromHost::Failed(failure)) => {
                self.state = State::Idle;
                Ok(RequesterEvent::Failed(failure))
            }
            _ => Err(violation),
        }
    }
}
