//! This node as a host: one task for each stream that a requester opened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_model::{AccountId, Invocation, Signed, Task, TaskCid};
use adit_net::{JobStream, NetEvent, NetEvents};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;

use super::evaluate;
use super::execute::{Execution, execute};
use super::keeper;
use super::shared::Shared;
use super::submit::sign_acceptance;
use crate::clock::unix_seconds;
use crate::enclave::Place;
use crate::host::{LostBid, Refusal, RefusalKind};
use crate::jobs::{Record, follow};
use crate::placement::Bid;
use crate::protocol::{
    FromHost, FromRequester, HostAction, HostSide, InlineBlock, MAX_INLINE_BLOCKS, MAX_INLINE_BYTES, MAX_LOG,
    RunOrder,
};
use crate::view::{Failure, Fault, JobEvent, JobState, Role};

/// How long a requester's stream may be silent between jobs.
const IDLE: Duration = Duration::from_secs(90);

/// Takes in streams until the node stops.
pub(crate) async fn accept(shared: Arc<Shared>, mut events: NetEvents) {
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = shared.stop.cancelled() => return,
        };
        match event {
            Some(NetEvent::Job(stream)) => {
                let shared_too = Arc::clone(&shared);
                shared.tasks.spawn(async move { Host::new(shared_too, stream).converse().await });
            }
            Some(NetEvent::Keep(stream)) => {
                shared.tasks.spawn(keeper::converse(Arc::clone(&shared), stream));
            }
            Some(NetEvent::Failed { reason }) => {
                shared.failed.send_replace(Some(format!("the network failed: {reason}")));
                return;
            }
            None => return,
        }
    }
}

struct Host {
    shared: Arc<Shared>,
    stream: JobStream,
    side: HostSide,
    /// The job that runs because of this stream, and what it does.
    job: Option<Running>,
    open: bool,
}

struct Running {
    record: Arc<Record>,
    events: BoxStream<'static, JobEvent>,
    live_logs: bool,
    started: bool,
}

impl Host {
    fn new(shared: Arc<Shared>, mut stream: JobStream) -> Self {
        stream.set_idle(IDLE);
        Host { shared, stream, side: HostSide::default(), job: None, open: true }
    }

    async fn converse(mut self) {
        let far = Duration::from_secs(3600);
        while !self.side.is_closed() && (self.open || self.side.has_job()) {
            let now = self.shared.clock.now();
            let wake = self.side.next_wake().map(|at| self.shared.clock.instant(at));
            let actions = tokio::select! {
                biased;
                received = self.stream.recv(), if self.open => match received {
                    Ok(Some(bytes)) => match FromRequester::decode(&bytes).map_err(|e| e.to_string())
                        .and_then(|message| self.side.on_message(message).map_err(|e| e.to_string()))
                    {
                        Ok(actions) => actions,
                        Err(reason) => {
                            tracing::debug!(peer = %self.stream.peer(), %reason, "a requester broke the protocol");
                            self.closed()
                        }
                    },
                    Ok(None) | Err(_) => self.closed(),
                },
                event = next(&mut self.job) => self.on_job(event),
                () = tokio::time::sleep_until(wake.unwrap_or_else(|| tokio::time::Instant::now() + far)) => {
                    self.side.poll(now.max(self.shared.clock.now())).into_iter().collect()
                }
                () = self.shared.stop.cancelled() => return self.cancel(),
            };
            for action in actions {
                self.perform(action).await;
            }
        }
        let _ = self.stream.finish().await;
    }

    /// The requester is gone; the job, if there is one, gets its grace.
    fn closed(&mut self) -> Vec<HostAction> {
        self.open = false;
        self.side.on_closed(self.shared.clock.now()).into_iter().collect()
    }

    async fn perform(&mut self, action: HostAction) {
        let now = unix_seconds();
        let follow_up = match action {
            HostAction::Evaluate { task, issuer, wall_ms, fresh } => {
                self.shared.counters.asked(now);
                let offer = evaluate_ask(&self.shared, &task, &issuer, wall_ms, fresh).await;
                match &offer {
                    Ok(_) => self.shared.counters.bid(now),
                    Err(refusal) => self.shared.counters.refused(now, refusal.kind),
                }
                self.side.decided(offer, self.shared.clock.now())
            }
            HostAction::Start { task, order, fresh } => match self.start(task, order, fresh) {
                Ok(acceptance) => self.side.accepted(acceptance, self.shared.clock.now()),
                Err(refusal) => {
                    self.shared.counters.refused(now, refusal.kind);
                    self.side.refused(refusal)
                }
            },
            HostAction::Send(message) => {
                self.send(message).await;
                None
            }
            HostAction::Cancel => {
                self.shared.counters.lost(now, LostBid::Withdrawn);
                self.cancel();
                None
            }
            HostAction::OfferLost => {
                self.shared.counters.lost(now, LostBid::Outbid);
                None
            }
            HostAction::Acknowledged => None,
        };
        if let Some(HostAction::Send(message)) = follow_up {
            self.send(message).await;
        }
    }

    async fn send(&mut self, message: FromHost) {
        if self.open && self.stream.send(&message.encode()).await.is_err() {
            self.open = false;
            if let Some(HostAction::OfferLost) = self.side.on_closed(self.shared.clock.now()) {
                self.shared.counters.lost(unix_seconds(), LostBid::Outbid);
            }
        }
    }

    fn cancel(&mut self) {
        if let Some(job) = self.job.take() {
            job.record.cancel.cancel();
        }
    }

    /// Checks the order and starts the job; gives the signed Acceptance's block.
    fn start(&mut self, task_block: Bytes, order: RunOrder, fresh: bool) -> Result<Bytes, Refusal> {
        let shared = &self.shared;
        let refuse = |kind, detail: &str| Refusal::new(kind, detail);
        if shared.draining.is_cancelled() {
            return Err(refuse(RefusalKind::Draining, "this node is stopping"));
        }
        let malformed = |e: String| Refusal::new(RefusalKind::Malformed, e);
        let invocation =
            Signed::<Invocation>::decode(&order.invocation).map_err(|e| malformed(e.to_string()))?;
        let invocation = invocation.verify().map_err(|e| malformed(e.to_string()))?;
        let task_cid = TaskCid::of_block(&task_block);
        if invocation.body().task != task_cid {
            return Err(refuse(
                RefusalKind::Malformed,
                "the invocation is for another task than was asked about",
            ));
        }
        let task = Task::decode(&task_block).map_err(|e| malformed(e.to_string()))?;
        evaluate::permitted(shared, &task)?;
        let now = unix_seconds();
        let left = invocation.body().expiry.saturating_sub(now);
        if left == 0 {
            return Err(refuse(RefusalKind::Expired, "the invocation has expired (are both clocks right?)"));
        }
        // The expiry was rounded up to a second, so it does not count against the longest time.
        let place = shared.slots.admit(&invocation.body().issuer, &task, (left - 1) * 1000, now)?;
        let acceptance =
            sign_acceptance(shared, &invocation).map_err(|e| Refusal::new(RefusalKind::EnclaveDown, e))?;
        if !shared.replays.is_new(invocation.body(), now) {
            return Err(refuse(RefusalKind::Replayed, "this invocation was given to this host before"));
        }
        let issuer = invocation.body().issuer;
        let record = Record::new(invocation.cid(), Role::Host, Arc::new(task), task_cid, issuer);
        if !shared.jobs.add(&record) {
            return Err(refuse(RefusalKind::Replayed, "this invocation is known to this host already"));
        }
        record.change(|now| now.host = Some(shared.me()));
        self.job = Some(Running {
            record: Arc::clone(&record),
            events: follow(Arc::clone(&record)).boxed(),
            live_logs: order.live_logs,
            started: false,
        });
        let execution = Execution {
            record,
            task: task_block,
            invocation: invocation.block().clone(),
            place,
            deadline: Instant::now() + Duration::from_secs(left),
            fresh,
            live_logs: order.live_logs,
            hints: vec![self.stream.peer()],
        };
        shared.tasks.spawn(run(Arc::clone(shared), execution));
        Ok(acceptance.block().clone())
    }

    fn on_job(&mut self, event: Option<JobEvent>) -> Vec<HostAction> {
        let now = self.shared.clock.now();
        let Some(job) = &mut self.job else { return Vec::new() };
        match event {
            Some(JobEvent::State(JobState::Running)) if !job.started => {
                job.started = true;
                let told = self.side.started(now);
                // Only whoever watches is told at once; others hear it with the next sign of life.
                if job.live_logs { told.into_iter().collect() } else { Vec::new() }
            }
            Some(JobEvent::Log { stream, offset, bytes }) if job.live_logs => {
                let mut actions = Vec::new();
                for (index, start) in (0..bytes.len()).step_by(MAX_LOG).enumerate() {
                    let piece = bytes.slice(start..bytes.len().min(start + MAX_LOG));
                    let offset = offset + (index * MAX_LOG) as u64;
                    actions.extend(self.side.from_job(FromHost::Log { stream, offset, bytes: piece }, now));
                }
                actions
            }
            // A requester too slow for the guest gets no more of it live: a gap would make what it
            // shows a lie. The whole stream is content of the result.
            Some(JobEvent::Skipped { .. }) => {
                job.live_logs = false;
                Vec::new()
            }
            Some(JobEvent::Done(_)) | None => {
                let message = last_word(&job.record);
                self.job = None;
                self.side.from_job(message, now).into_iter().collect()
            }
            Some(_) => Vec::new(),
        }
    }
}

async fn evaluate_ask(
    shared: &Shared,
    task: &[u8],
    issuer: &AccountId,
    wall_ms: u64,
    fresh: bool,
) -> Result<Bid, Refusal> {
    let cid = TaskCid::of_block(task);
    let task = Task::decode(task).map_err(|e| Refusal::new(RefusalKind::Malformed, e.to_string()))?;
    evaluate::offer(shared, &task, cid, issuer, wall_ms, fresh).await
}

async fn next(job: &mut Option<Running>) -> Option<JobEvent> {
    match job {
        Some(job) => job.events.next().await,
        None => std::future::pending().await,
    }
}

/// Runs a hosted job to its end, whatever becomes of the stream.
async fn run(shared: Arc<Shared>, mut execution: Execution) {
    let record = Arc::clone(&execution.record);
    let ended = execute(&shared, &mut execution).await;
    drop::<Place>(execution.place);
    match ended {
        Ok(done) => {
            shared.counters.run(unix_seconds());
            record.finish(done.result, done.stats, Some(done.kept_until));
        }
        Err(not) => {
            if not.state == JobState::Failed {
                shared.counters.lost(unix_seconds(), LostBid::Failed);
            }
            record.fail(not.state, not.failure);
        }
    }
}

fn last_word(record: &Record) -> FromHost {
    let now = record.now();
    match &now.result {
        Some(result) => {
            let mut bytes = 0;
            let blocks = result
                .inline
                .iter()
                .take(MAX_INLINE_BLOCKS)
                .take_while(|(_, data)| {
                    bytes += data.len();
                    bytes <= MAX_INLINE_BYTES
                })
                .map(|(cid, data)| InlineBlock { cid: *cid, data: data.clone() })
                .collect();
            FromHost::Finished {
                outcome: result.outcome_block.clone(),
                envelope: result.envelope.clone(),
                blocks,
                stats: now.stats,
                kept_until: now.kept_until.unwrap_or_default(),
            }
        }
        None => {
            let lost = || Failure::new(Fault::Host, "the job ended without a reason");
            let mut failure = now.failure.clone().unwrap_or_else(lost);
            crate::protocol::shorten(&mut failure.reason);
            FromHost::Failed(failure)
        }
    }
}
