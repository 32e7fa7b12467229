//! One candidate, talked to over one stream, in a task of its own.
//!
//! The task keeps the host to the protocol and passes on what it says; it decides nothing. When
//! the conversation ends in good order its stream goes back to the pool for the next job.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_model::NodeId;
use adit_net::{JobStream, Net, peer_of};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::protocol::{FromHost, FromRequester, RequesterEvent, RequesterSide, RunOrder};

/// Streams kept open to one node between jobs.
const KEPT_PER_NODE: usize = 8;
/// How long an unused stream is kept. Hosts keep theirs longer, so that it is ours that closes.
const KEPT_FOR: Duration = Duration::from_secs(20);
/// Messages that may wait between a conversation and the job's driver. Bounded so that a host
/// that floods logs is held up by the stream's own back-pressure.
const QUEUE: usize = 32;

/// What the driver tells a conversation.
#[derive(Debug)]
pub(crate) enum Tell {
    /// Give it the job.
    Run(RunOrder),
    /// The receipt holds; the conversation is over.
    Ack,
    /// Stop the job; the conversation is over.
    Cancel,
}

/// What a conversation reports.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The host said.
    Said(RequesterEvent),
    /// The stream could not be opened or broke.
    Lost(String),
    /// The host broke the protocol.
    Violation(String),
}

/// A stream, what may be said on it, and since when nobody uses it.
type Kept = (JobStream, RequesterSide, Instant);

/// What conversations report, with whose it is.
pub(crate) type Reports = mpsc::Receiver<(NodeId, Heard)>;

/// Open streams between jobs. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams {
    kept: Arc<Mutex<HashMap<NodeId, Vec<Kept>>>>,
}

impl Streams {
    fn take(&self, node: &NodeId) -> Option<(JobStream, RequesterSide)> {
        let mut kept = self.kept.lock();
        let streams = kept.get_mut(node)?;
        let found = loop {
            match streams.pop() {
                Some((stream, side, since)) if since.elapsed() < KEPT_FOR => break Some((stream, side)),
                Some(_) => {}
                None => break None,
            }
        };
        if streams.is_empty() {
            kept.remove(node);
        }
        found
    }

    fn put(&self, node: NodeId, stream: JobStream, side: RequesterSide) {
        let mut kept = self.kept.lock();
        let streams = kept.entry(node).or_default();
        streams.retain(|(.., since)| since.elapsed() < KEPT_FOR);
        if streams.len() < KEPT_PER_NODE {
            streams.push((stream, side, Instant::now()));
        }
    }

    /// Closes what nobody has used for a while.
    pub(crate) fn tidy(&self) {
        self.kept.lock().retain(|_, streams| {
            streams.retain(|(.., since)| since.elapsed() < KEPT_FOR);
            !streams.is_empty()
        });
    }
}

/// The driver's end of a conversation. Dropping it ends the conversation: with Cancel if a job was
/// given, otherwise quietly.
#[derive(Debug)]
pub(crate) struct Talk {
    tell: mpsc::Sender<Tell>,
}

impl Talk {
    /// Says something to the host, through the conversation's task.
    pub(crate) async fn tell(&self, what: Tell) {
        // A conversation that has ended has reported why, or will.
        let _ = self.tell.send(what).await;
    }
}

/// Begins a conversation by asking. What is heard goes to `heard` with the node's name.
pub(crate) fn ask(
    net: Net,
    streams: Streams,
    node: NodeId,
    ask: FromRequester,
    heard: mpsc::Sender<(NodeId, Heard)>,
) -> Talk {
    let (tell, told) = mpsc::channel(4);
    tokio::spawn(async move {
        let conversation = Conversation { net, streams, node, told };
        if let Err(end) = conversation.run(ask, &heard).await {
            let _ = heard.send((node, end)).await;
        }
    });
    Talk { tell }
}

/// A queue of the right size for [`ask`].
pub(crate) fn queue() -> (mpsc::Sender<(NodeId, Heard)>, Reports) {
    mpsc::channel(QUEUE)
}

struct Conversation {
    net: Net,
    streams: Streams,
    node: NodeId,
    told: mpsc::Receiver<Tell>,
}

impl Conversation {
    async fn run(mut self, ask: FromRequester, heard: &mpsc::Sender<(NodeId, Heard)>) -> Result<(), Heard> {
        let ask = ask.encode();
        let (mut stream, mut side) = self.open(&ask).await?;
        let mut given = false;
        loop {
            tokio::select! {
                biased;
                received = stream.recv() => {
                    let event = read(&mut side, received.map_err(|e| Heard::Lost(e.to_string()))?)?;
                    if matches!(event, RequesterEvent::Stale) {
                        continue;
                    }
                    let over = matches!(event, RequesterEvent::Refused(_) | RequesterEvent::Failed(_));
                    let dropped = heard.send((self.node, Heard::Said(event))).await.is_err();
                    if over {
                        self.streams.put(self.node, stream, side);
                        return Ok(());
                    }
                    if dropped && given {
                        let _ = stream.send(&FromRequester::Cancel.encode()).await;
                        return Ok(());
                    }
                }
                told = self.told.recv() => match told {
                    Some(Tell::Run(order)) => {
                        side.ordered();
                        given = true;
                        send(&mut stream, &FromRequester::Run(order)).await?;
                    }
                    Some(Tell::Ack) => {
                        send(&mut stream, &FromRequester::Ack).await?;
                        side.acknowledged();
                        self.streams.put(self.node, stream, side);
                        return Ok(());
                    }
                    Some(Tell::Cancel) | None if given => {
                        side.cancelled();
                        send(&mut stream, &FromRequester::Cancel).await?;
                        let _ = stream.finish().await;
                        return Ok(());
                    }
                    Some(Tell::Cancel) | None => {
                        if side.can_ask() {
                            self.streams.put(self.node, stream, side);
                        }
                        return Ok(());
                    }
                },
            }
        }
    }

    /// A stream that has been asked on: a kept one if it still works, else a new one.
    async fn open(&self, ask: &Bytes) -> Result<(JobStream, RequesterSide), Heard> {
        while let Some((mut stream, mut side)) = self.streams.take(&self.node) {
            if stream.send(ask).await.is_ok() {
                side.asked();
                return Ok((stream, side));
            }
        }
        let peer = peer_of(&self.node);
        let mut stream = self.net.open(peer).await.map_err(|e| Heard::Lost(e.to_string()))?;
        stream.send(ask).await.map_err(|e| Heard::Lost(e.to_string()))?;
        let mut side = RequesterSide::default();
        side.asked();
        Ok((stream, side))
    }
}

fn read(side: &mut RequesterSide, received: Option<Bytes>) -> Result<RequesterEvent, Heard> {
    let Some(bytes) = received else { return Err(Heard::Lost("it closed the conversation".into())) };
    let message = FromHost::decode(&bytes).map_err(|e| Heard::Violation(e.to_string()))?;
    side.on_message(message).map_err(|e| Heard::Violation(e.to_string()))
}

async fn send(stream: &mut JobStream, message: &FromRequester) -> Result<(), Heard> {
    stream.send(&message.encode()).await.map_err(|e| Heard::Lost(e.to_string()))
}
