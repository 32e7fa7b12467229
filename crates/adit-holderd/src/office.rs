//! The thread that owns the desk.

use std::collections::HashMap;

use adit_holder::protocol::Welcome;
use adit_holder::{Answer, Ask, Desk, HolderError, Id, Objection, Ticket};
use adit_model::{Grant, JobKey, PolicyHead, Verified};
use tokio::sync::{mpsc, oneshot};

use crate::peers::Outbox;
use crate::{Held, Status, now};

/// Questions that may wait. Each connection has one at a time, so this is never the limit that is met.
const QUEUE: usize = 1024;
/// Questions that are taken in one turn, and synced together.
const MOST_AT_ONCE: usize = 256;

/// What wishes for one grant's key are weighed on.
pub type Grounds = Result<(Verified<Grant>, Verified<PolicyHead>), Objection>;

enum Question {
    Ask(Ask, Option<oneshot::Sender<Answer>>),
    Welcome(JobKey, Id, oneshot::Sender<Result<Welcome, Objection>>),
    Grounds(Id, oneshot::Sender<Grounds>),
    Status(oneshot::Sender<Status>),
}

/// Asks the desk. Cheap to clone; when the last one is gone the desk closes.
#[derive(Clone)]
pub struct Office(mpsc::Sender<Question>);

/// The desk is closed: its disk failed, or the holder ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the holder ends")]
pub struct Closed;

impl Office {
    /// Opens the desk's thread. What it returns at the end says whether the disk failed.
    pub fn open(desk: Desk, outbox: Outbox) -> (Self, std::thread::JoinHandle<Result<(), HolderError>>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new().name("desk".into());
        let thread = thread.spawn(move || run(desk, &outbox, receiver)).expect("a thread can be started");
        (Self(sender), thread)
    }

    async fn question<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, Closed> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(make(sender)).await.map_err(|_| Closed)?;
        receiver.await.map_err(|_| Closed)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// The holder ends.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, Closed> {
        self.question(|answer| Question::Ask(ask, Some(answer))).await
    }

    /// Says something that has no answer.
    ///
    /// # Errors
    /// The holder ends.
    pub async fn tell(&self, ask: Ask) -> Result<(), Closed> {
        self.0.send(Question::Ask(ask, None)).await.map_err(|_| Closed)
    }

    /// A nonce, and how a grant stands.
    ///
    /// # Errors
    /// The holder ends.
    pub async fn welcome(&self, session: JobKey, grant: Id) -> Result<Result<Welcome, Objection>, Closed> {
        self.question(|answer| Question::Welcome(session, grant, answer)).await
    }

    /// What wishes for a grant's key are weighed on.
    ///
    /// # Errors
    /// The holder ends.
    pub async fn grounds(&self, grant: Id) -> Result<Grounds, Closed> {
        self.question(|answer| Question::Grounds(grant, answer)).await
    }

    /// How everything stands.
    ///
    /// # Errors
    /// The holder ends.
    pub async fn status(&self) -> Result<Status, Closed> {
        self.question(Question::Status).await
    }
}

fn run(mut desk: Desk, outbox: &Outbox, mut questions: mpsc::Receiver<Question>) -> Result<(), HolderError> {
    let mut waiting: HashMap<Ticket, oneshot::Sender<Answer>> = HashMap::new();
    let mut last: Ticket = 0;
    let mut batch = Vec::new();
    while questions.blocking_recv_many(&mut batch, MOST_AT_ONCE) > 0 {
        let now = now();
        let mut asks = Vec::new();
        for question in batch.drain(..) {
            match question {
                Question::Ask(ask, answer) => {
                    last += 1;
                    asks.push((last, ask));
                    if let Some(answer) = answer {
                        waiting.insert(last, answer);
                    }
                }
                // Whoever went away meanwhile needs no answer.
                Question::Welcome(session, grant, answer) => {
                    let _ = answer.send(desk.welcome(&session, &grant, now));
                }
                Question::Grounds(grant, answer) => drop(answer.send(desk.grounds(&grant))),
                Question::Status(answer) => drop(answer.send(status(&desk))),
            }
        }
        if asks.is_empty() {
            continue;
        }
        let turn = desk.turn(asks, now)?;
        for (ticket, answer) in turn.answers {
            if let Some(waiting) = waiting.remove(&ticket) {
                let _ = waiting.send(answer);
            }
        }
        for (to, packet) in turn.send {
            outbox.send(to, packet);
        }
        waiting.retain(|_, answer| !answer.is_closed());
    }
    Ok(())
}

fn status(desk: &Desk) -> Status {
    let objects = desk.standing().map(|one| Held {
        grant: one.grant,
        owner: one.owner,
        serving: one.serving,
        head: one.head,
        entries: one.entries,
    });
    Status { account: desk.account(), key: desk.key(), objects: objects.collect() }
}
