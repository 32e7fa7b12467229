//! A job that is placed by the market: candidates are found, asked, and one of them runs it.
//!
//! The thin shell around [`Placer`]: it talks to candidates ([`super::talk`]), finds more of them
//! ([`super::discovery`]), checks what they deliver, and writes the story into the job's record.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use adit_model::{Acceptance, Envelope, Expected, NodeId, Outcome, Signed, verify_job};
use adit_unixfs::Block;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::discovery::{self, Found};
use super::shared::Shared;
use super::submit::{Prepared, run_here};
use super::talk::{self, Heard, Talk, Tell};
use super::{evaluate, records};
use crate::jobs::JobResult;
use crate::placement::{Action, Assumptions, Limits, Placer, Strategy};
use crate::protocol::{Delivery, FromRequester, RequesterEvent, RunOrder};
use crate::request::Placement;
use crate::view::{Failure, Fault, JobState, LogStream, Plan, PlannedCandidate};

/// Places the job and sees it through to its end.
pub(crate) async fn place(shared: &Arc<Shared>, job: &Prepared) {
    let mut market = Market::new(shared, job);
    let end = market.trade().await;
    market.tell_story();
    market.leave().await;
    if let Err((state, failure)) = end {
        job.record.fail(state, failure);
    }
}

/// Whom the job would be given to, without giving it.
pub(crate) async fn plan(shared: &Arc<Shared>, job: &Prepared) -> Plan {
    let mut market = Market::new(shared, job);
    let placed = tokio::time::timeout_at(job.deadline.into(), market.look()).await;
    let why = match placed {
        Ok(Ok(why)) => why,
        Ok(Err(failure)) => failure.reason,
        Err(_) => "nobody answered before the timeout".into(),
    };
    let candidates = market
        .placer
        .ranking()
        .into_iter()
        .map(|ranked| PlannedCandidate {
            node: ranked.candidate.node,
            local: ranked.local,
            bid: ranked.bid.cloned(),
            refused: ranked.reason.map(str::to_owned),
            rtt_us: ranked.candidate.rtt_us.unwrap_or_default(),
            cost_us: ranked.cost_us,
        })
        .collect();
    Plan { task: job.record.task_cid, candidates, why }
}

fn strategy(placement: Placement) -> Strategy {
    match placement {
        Placement::Cost | Placement::Local => Strategy::Cost,
        Placement::Near => Strategy::Near,
        Placement::At(node) => Strategy::At(node),
    }
}

type End = Result<(), (JobState, Failure)>;

struct Market<'a> {
    shared: &'a Arc<Shared>,
    job: &'a Prepared,
    placer: Placer,
    talks: HashMap<NodeId, Talk>,
    heard: talk::Reports,
    heard_by: mpsc::Sender<(NodeId, Heard)>,
    found: mpsc::Receiver<Found>,
    searching: bool,
    acceptance: Option<Signed<Acceptance>>,
    /// Log bytes already passed on: a second host of a deterministic task repeats the first's.
    logged: [u64; 2],
}

impl<'a> Market<'a> {
    fn new(shared: &'a Arc<Shared>, job: &'a Prepared) -> Self {
        let strategy = strategy(job.placement);
        let (heard_by, heard) = talk::queue();
        Market {
            shared,
            job,
            placer: Placer::new(strategy, job.wait, Limits::default(), Assumptions::default()),
            talks: HashMap::new(),
            heard,
            heard_by,
            found: discovery::start(shared, &job.record.task, strategy),
            searching: true,
            acceptance: None,
            logged: [0; 2],
        }
    }

    /// Goes on until the job has ended.
    async fn trade(&mut self) -> End {
        self.offer_of_this_node().await;
        loop {
            let actions = self.placer.poll(self.shared.clock.now());
            if actions.is_empty() {
                self.tell_story();
                if self.placer.is_resting() {
                    self.job.record.set_state(JobState::Waiting);
                }
                if self.step().await? {
                    return Ok(());
                }
            }
            for action in actions {
                if self.perform(action).await? {
                    return Ok(());
                }
            }
        }
    }

    /// Does what the placer wants. `true`: the job is delivered.
    async fn perform(&mut self, action: Action) -> Result<bool, (JobState, Failure)> {
        match action {
            Action::Ask(node) => self.ask(node),
            Action::Run { node, why } if node == self.shared.me() => {
                match run_here(self.shared, self.job, why.into()).await {
                    Ok(()) => {
                        self.placer.delivered(node);
                        return Ok(true);
                    }
                    Err(not) if not.state != JobState::Failed => return Err((not.state, not.failure)),
                    Err(not) => self.placer.failed(node, not.failure),
                }
            }
            Action::Run { node, why } => self.give(node, why).await,
            Action::Drop(node) => self.drop_talk(node).await,
            Action::Discover => {
                self.job.record.set_state(JobState::Placing);
                self.found =
                    discovery::start(self.shared, &self.job.record.task, strategy(self.job.placement));
                self.searching = true;
                self.offer_of_this_node().await;
            }
            Action::GiveUp(failure) => return Err((JobState::Failed, failure)),
        }
        Ok(false)
    }

    /// Asks around and says who would get the job.
    async fn look(&mut self) -> Result<String, Failure> {
        self.offer_of_this_node().await;
        loop {
            let actions = self.placer.poll(self.shared.clock.now());
            if self.placer.is_resting() {
                return Err(Failure::new(Fault::Network, "nobody would take it now"));
            }
            if actions.is_empty() {
                self.step().await.map_err(|(_, failure)| failure)?;
            }
            for action in actions {
                match action {
                    Action::Ask(node) => self.ask(node),
                    Action::Run { why, .. } => return Ok(why),
                    Action::Drop(node) => self.drop_talk(node).await,
                    Action::Discover => return Err(Failure::new(Fault::Network, "nobody would take it now")),
                    Action::GiveUp(failure) => return Err(failure),
                }
            }
        }
    }

    /// Waits for one thing to happen and hands it to the placer. `true`: the job is delivered.
    async fn step(&mut self) -> Result<bool, (JobState, Failure)> {
        let wake = self.placer.next_wake().map(|at| self.shared.clock.instant(at));
        let far = tokio::time::Instant::now() + std::time::Duration::from_secs(3600);
        tokio::select! {
            biased;
            Some((node, heard)) = self.heard.recv() => return self.on_heard(node, heard).await,
            found = self.found.recv(), if self.searching => match found {
                Some(Found(candidates)) => self.placer.candidates(candidates),
                None => {
                    self.searching = false;
                    self.placer.discovery_ended();
                }
            },
            () = self.job.record.cancel.cancelled() => {
                return Err((JobState::Cancelled, Failure::new(Fault::Requester, "cancelled")));
            }
            () = tokio::time::sleep_until(self.job.deadline.into()) => {
                let late = "the job's time (--timeout) ran out before it had an outcome";
                return Err((JobState::Expired, Failure::new(Fault::Requester, late)));
            }
            () = tokio::time::sleep_until(wake.unwrap_or(far)) => {}
        }
        Ok(false)
    }

    async fn on_heard(&mut self, node: NodeId, heard: Heard) -> Result<bool, (JobState, Failure)> {
        // What a conversation still says after it was given up is nobody's business any more.
        if !self.talks.contains_key(&node) {
            return Ok(false);
        }
        let now = self.shared.clock.now();
        match heard {
            Heard::Lost(reason) => self.lose(node, reason),
            Heard::Violation(reason) => {
                self.talks.remove(&node);
                self.shared.directory.distrust(node, &reason);
                self.placer.forged(node, reason);
            }
            Heard::Said(event) => match event {
                RequesterEvent::Bid(bid) => self.placer.bid(node, bid, now),
                RequesterEvent::Refused(refusal) => {
                    self.talks.remove(&node);
                    self.placer.refused(node, refusal.detail, refusal.kind.is_for_good());
                }
                RequesterEvent::Accepted(acceptance) => self.on_accepted(node, &acceptance, now),
                RequesterEvent::Log(stream, offset, bytes) => {
                    self.placer.alive(node, now);
                    self.on_log(stream, offset, bytes);
                }
                RequesterEvent::Alive(running) => {
                    self.placer.alive(node, now);
                    if running {
                        self.job.record.set_state(JobState::Running);
                    }
                }
                RequesterEvent::Failed(failure) => {
                    self.talks.remove(&node);
                    self.placer.failed(node, failure);
                }
                RequesterEvent::Finished(delivery) => return Ok(self.on_finished(node, *delivery).await),
                RequesterEvent::Stale => {}
            },
        }
        Ok(false)
    }

    fn on_accepted(&mut self, node: NodeId, block: &Bytes, now: u64) {
        let checked = Signed::<Acceptance>::decode(block)
            .map_err(|e| e.to_string())
            .and_then(|signed| signed.verify().map_err(|e| e.to_string()))
            .and_then(|verified| {
                let promise = verified.body();
                let fits = promise.invocation == self.job.invocation.cid() && promise.node == node;
                if fits {
                    Ok(verified.into_signed())
                } else {
                    Err("it is about another job or node".to_owned())
                }
            });
        match checked {
            Ok(acceptance) => {
                self.acceptance = Some(acceptance);
                self.placer.accepted(node, now);
                self.job.record.set_state(JobState::Queued);
            }
            Err(e) => self.catch(node, format!("its acceptance does not hold: {e}")),
        }
    }

    fn on_log(&mut self, stream: LogStream, offset: u64, bytes: Bytes) {
        self.job.record.set_state(JobState::Running);
        let logged = &mut self.logged[stream as usize];
        let known = logged.saturating_sub(offset).min(bytes.len() as u64);
        let new = bytes.slice(known as usize..);
        *logged += new.len() as u64;
        self.job.record.log(stream, new);
    }

    /// `true`: everything holds and the job is done.
    async fn on_finished(&mut self, node: NodeId, delivery: Delivery) -> bool {
        let verified = self.verify(node, &delivery);
        let (outcome, blocks) = match verified {
            Ok(verified) => verified,
            Err(reason) => {
                self.catch(node, reason);
                return false;
            }
        };
        let mut moved: u64 = blocks.iter().map(|b| b.data.len() as u64).sum();
        let inline = blocks.iter().map(|b| (b.cid, b.data.clone())).collect();
        if let Err(e) = self.shared.store.put(blocks).await {
            tracing::warn!(job = %self.job.record.id, error = %e, "small result blocks could not be stored here");
        }
        if let Some(talk) = self.talks.remove(&node) {
            talk.tell(Tell::Ack).await;
        }
        if self.job.fetch_result {
            let fetch = super::results::fetch(self.shared, &outcome, node);
            match tokio::time::timeout_at(self.job.deadline.into(), fetch).await {
                Ok(Ok(bytes)) => moved += bytes,
                Ok(Err(e)) => {
                    tracing::warn!(job = %self.job.record.id, error = %e, "the result could not be fetched");
                }
                Err(_) => tracing::warn!(job = %self.job.record.id, "the result did not arrive in time"),
            }
        }
        self.placer.delivered(node);
        self.tell_story();
        let mut stats = delivery.stats;
        stats.bytes_moved = stats.bytes_moved.saturating_add(moved);
        let result = JobResult {
            outcome: Arc::new(outcome),
            outcome_block: delivery.outcome,
            envelope: delivery.envelope,
            inline,
        };
        let invocation = self.job.invocation.block();
        records::keep(self.shared, &self.job.task, invocation, &result.outcome_block, &result.envelope).await;
        stats.total_us = self.job.begun.elapsed().as_micros() as u64;
        self.job.record.finish(result, stats, Some(delivery.kept_until));
        true
    }

    /// Everything that a requester checks before believing a result.
    fn verify(&self, node: NodeId, delivery: &Delivery) -> Result<(Outcome, Vec<Block>), String> {
        let envelope =
            Envelope::decode(&delivery.envelope).map_err(|e| format!("its receipt is none: {e}"))?;
        let outcome = Outcome::decode(&delivery.outcome).map_err(|e| format!("its outcome is none: {e}"))?;
        let expected = Expected {
            issuer: Some(self.shared.account()),
            node: Some(node),
            task: Some(&self.job.record.task),
            acceptance: self.acceptance.as_ref(),
        };
        verify_job(&envelope, &self.job.invocation, &outcome, expected)
            .map_err(|e| format!("its receipt does not hold: {e}"))?;
        let blocks = delivery
            .blocks
            .iter()
            .map(|b| Block::verified(b.cid, b.data.clone()))
            .collect::<Result<_, _>>()
            .map_err(|e| format!("a block of its result is not what its CID says: {e}"))?;
        Ok((outcome, blocks))
    }

    fn ask(&mut self, node: NodeId) {
        let wall = self.job.deadline.saturating_duration_since(Instant::now());
        let ask = FromRequester::Ask {
            task: self.job.task.clone(),
            issuer: self.shared.account(),
            wall_ms: wall.as_millis() as u64,
            fresh: self.job.fresh,
        };
        let streams = self.shared.streams.clone();
        let talk = talk::ask(self.shared.net.clone(), streams, node, ask, self.heard_by.clone());
        self.talks.insert(node, talk);
    }

    async fn give(&mut self, node: NodeId, why: String) {
        self.acceptance = None;
        self.job.record.change(|now| {
            now.host = Some(node);
            now.why = Some(why.into());
        });
        let invocation = self.job.invocation.block().clone();
        let order = RunOrder { invocation, live_logs: self.job.live_logs };
        match self.talks.get(&node) {
            Some(talk) => talk.tell(Tell::Run(order)).await,
            None => self.placer.lost(node, "it hung up after its offer".into()),
        }
    }

    fn lose(&mut self, node: NodeId, reason: String) {
        self.talks.remove(&node);
        self.placer.lost(node, reason);
    }

    /// It delivered what does not hold: it is not asked again, by this job or soon by another.
    fn catch(&mut self, node: NodeId, reason: String) {
        tracing::warn!(%node, %reason, "a host is not believed");
        self.talks.remove(&node);
        self.shared.directory.distrust(node, &reason);
        self.placer.forged(node, reason);
    }

    async fn drop_talk(&mut self, node: NodeId) {
        if let Some(talk) = self.talks.remove(&node) {
            talk.tell(Tell::Cancel).await;
        }
    }

    /// Ends every conversation.
    async fn leave(&mut self) {
        for (_, talk) in self.talks.drain() {
            talk.tell(Tell::Cancel).await;
        }
    }

    async fn offer_of_this_node(&mut self) {
        if matches!(self.job.placement, Placement::Cost) {
            let wall_ms = self.job.deadline.saturating_duration_since(Instant::now()).as_millis() as u64;
            let account = self.shared.account();
            let offer = evaluate::offer(
                self.shared,
                &self.job.record.task,
                self.job.record.task_cid,
                &account,
                wall_ms,
                self.job.fresh,
            );
            let offer = offer.await.map_err(|refusal| refusal.detail);
            self.placer.local(self.shared.me(), offer, self.shared.clock.now());
        }
    }

    fn tell_story(&self) {
        let attempts = self.placer.attempts();
        let differs = self.job.record.now().attempts != attempts;
        if differs {
            self.job.record.change(|now| now.attempts = attempts.to_vec());
        }
    }
}
