//! The host's end of one stream.

use std::time::Duration;

use adit_model::AccountId;
use bytes::Bytes;

use super::message::RunOrder;
use super::{FromHost, FromRequester, Violation};
use crate::clock::{Micros, micros};
use crate::host::Refusal;
use crate::placement::Bid;

/// How long an offer waits to be taken up before it counts as lost.
pub(super) const OFFER_LIFE: Duration = Duration::from_secs(30);
/// How often a running job says that it lives.
pub(super) const ALIVE_EVERY: Duration = Duration::from_secs(3);
/// How long a job runs on after its requester's stream broke, before it is cancelled.
pub(super) const ORPHAN_GRACE: Duration = Duration::from_secs(5);

/// What the host's shell has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum HostAction {
    /// Work out a bid; the answer comes as [`HostSide::decided`].
    Evaluate {
        /// Canonical bytes of the Task.
        task: Bytes,
        /// Who is said to ask.
        issuer: AccountId,
        /// Longest wall time.
        wall_ms: u64,
        /// Not from memory.
        fresh: bool,
    },
    /// Check the Invocation and start; the answer comes as [`HostSide::accepted`] or
    /// [`HostSide::refused`].
    Start {
        /// The task that was asked about on this stream.
        task: Bytes,
        /// The order.
        order: RunOrder,
        /// As it was asked.
        fresh: bool,
    },
    /// Send this.
    Send(FromHost),
    /// Stop the running job: nobody wants it any more.
    Cancel,
    /// The requester has the receipt.
    Acknowledged,
    /// The offer came to nothing.
    OfferLost,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Idle,
    Evaluating { task: Bytes, fresh: bool },
    Offered { task: Bytes, fresh: bool, until: Micros },
    Starting,
    Running { alive_at: Micros, started: bool },
    Orphaned { until: Micros },
    Delivered,
    Closed,
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            State::Idle => "nothing was asked",
            State::Evaluating { .. } => "a bid is being made",
            State::Offered { .. } => "an offer stands",
            State::Starting => "an order is being checked",
            State::Running { .. } | State::Orphaned { .. } => "the job is running",
            State::Delivered => "the receipt is not acknowledged",
            State::Closed => "the stream is closed",
        }
    }
}

/// Keeps the requester to its turns, says when to show signs of life, and sees to it that a
/// requester who goes away leaves no job behind.
#[derive(Debug)]
pub struct HostSide {
    state: State,
}

impl Default for HostSide {
    fn default() -> Self {
        HostSide { state: State::Idle }
    }
}

impl HostSide {
    /// What the requester said.
    pub fn on_message(&mut self, message: FromRequester) -> Result<Vec<HostAction>, Violation> {
        let violation = Violation { message: message.name(), state: self.state.name() };
        let mut actions = Vec::new();
        match (std::mem::replace(&mut self.state, State::Closed), message) {
            (
                state @ (State::Idle | State::Offered { .. }),
                FromRequester::Ask { task, issuer, wall_ms, fresh },
            ) => {
                if matches!(state, State::Offered { .. }) {
                    actions.push(HostAction::OfferLost);
                }
                self.state = State::Evaluating { task: task.clone(), fresh };
                actions.push(HostAction::Evaluate { task, issuer, wall_ms, fresh });
            }
            (State::Offered { task, fresh, .. }, FromRequester::Run(order)) => {
                self.state = State::Starting;
                actions.push(HostAction::Start { task, order, fresh });
            }
            (State::Starting | State::Running { .. }, FromRequester::Cancel) => {
                actions.push(HostAction::Cancel);
            }
            (State::Offered { .. }, FromRequester::Cancel) => {
                self.state = State::Idle;
                actions.push(HostAction::OfferLost);
            }
            // The result and the cancellation crossed on the way; there is nothing left to stop.
            (State::Delivered, FromRequester::Cancel) => {}
            (State::Idle, FromRequester::Cancel) => self.state = State::Idle,
            (State::Delivered, FromRequester::Ack) => {
                self.state = State::Idle;
                actions.push(HostAction::Acknowledged);
            }
            (state, _) => {
                self.state = state;
                return Err(violation);
            }
        }
        Ok(actions)
    }

    /// The bid, or why there is none.
    pub fn decided(&mut self, offer: Result<Bid, Refusal>, now: Micros) -> Option<HostAction> {
        let (task, fresh) = match &mut self.state {
            State::Evaluating { task, fresh } => (std::mem::take(task), *fresh),
            _ => return None,
        };
        Some(HostAction::Send(match offer {
            Ok(bid) => {
                self.state = State::Offered { task, fresh, until: now + micros(OFFER_LIFE) };
                FromHost::Bid(bid)
            }
            Err(refusal) => {
                self.state = State::Idle;
                FromHost::Refuse(refusal)
            }
        }))
    }

    /// The order was checked and the job is queued or running.
    pub fn accepted(&mut self, acceptance: Bytes, now: Micros) -> Option<HostAction> {
        if self.state != State::Starting {
            return None;
        }
        self.state = State::Running { alive_at: now + micros(ALIVE_EVERY), started: false };
        Some(HostAction::Send(FromHost::Accept { acceptance }))
    }

    /// The order was refused after all.
    pub fn refused(&mut self, refusal: Refusal) -> Option<HostAction> {
        if self.state != State::Starting {
            return None;
        }
        self.state = State::Idle;
        Some(HostAction::Send(FromHost::Refuse(refusal)))
    }

    /// The guest has started.
    pub fn started(&mut self, now: Micros) -> Option<HostAction> {
        let State::Running { alive_at, started } = &mut self.state else { return None };
        *started = true;
        *alive_at = now + micros(ALIVE_EVERY);
        Some(HostAction::Send(FromHost::Alive { running: true }))
    }

    /// The guest wrote, or the job ended with this message.
    pub fn from_job(&mut self, message: FromHost, now: Micros) -> Option<HostAction> {
        match (&mut self.state, &message) {
            (State::Running { alive_at, .. }, FromHost::Log { .. }) => *alive_at = now + micros(ALIVE_EVERY),
            (State::Running { .. }, FromHost::Finished { .. }) => self.state = State::Delivered,
            (State::Running { .. }, FromHost::Failed(_)) => self.state = State::Idle,
            _ => {
                if matches!(message, FromHost::Finished { .. } | FromHost::Failed(_)) {
                    self.state = State::Closed;
                }
                return None;
            }
        }
        Some(HostAction::Send(message))
    }

    /// The stream broke or was closed by the requester.
    pub fn on_closed(&mut self, now: Micros) -> Option<HostAction> {
        match self.state {
            State::Running { .. } | State::Starting => {
                self.state = State::Orphaned { until: now + micros(ORPHAN_GRACE) };
                None
            }
            State::Offered { .. } | State::Evaluating { .. } => {
                self.state = State::Closed;
                Some(HostAction::OfferLost)
            }
            State::Orphaned { .. } => None,
            State::Idle | State::Delivered | State::Closed => {
                self.state = State::Closed;
                None
            }
        }
    }

    /// What is due now.
    pub fn poll(&mut self, now: Micros) -> Option<HostAction> {
        match &mut self.state {
            State::Running { alive_at, started } if now >= *alive_at => {
                *alive_at = now + micros(ALIVE_EVERY);
                Some(HostAction::Send(FromHost::Alive { running: *started }))
            }
            State::Orphaned { until } if now >= *until => {
                self.state = State::Closed;
                Some(HostAction::Cancel)
            }
            State::Offered { until, .. } if now >= *until => {
                self.state = State::Idle;
                Some(HostAction::OfferLost)
            }
            _ => None,
        }
    }

    /// When [`HostSide::poll`] must be called again if nothing else happens.
    pub fn next_wake(&self) -> Option<Micros> {
        match self.state {
            State::Running { alive_at, .. } => Some(alive_at),
            State::Orphaned { until } | State::Offered { until, .. } => Some(until),
            _ => None,
        }
    }

    /// Whether a job is being started or runs because of this stream.
    pub fn has_job(&self) -> bool {
        matches!(self.state, State::Starting | State::Running { .. } | State::Orphaned { .. })
    }

    /// Whether nothing more will come of this stream.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }
}
