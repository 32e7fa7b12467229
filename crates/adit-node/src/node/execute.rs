//! An accepted job on an enclave session, whoever asked for it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_model::{Outcome, OutcomeResult};
use adit_store::BlockStore;
use adit_wire::session::{MAX_INLINE, MAX_PUSHED, Start};
use bytes::Bytes;
use cid::Cid;

use super::fetch::Fetch;
use super::records;
use super::shared::Shared;
use crate::clock::unix_seconds;
use crate::config::Span;
use crate::deny::Guarded;
use crate::enclave::{Ended, JobEnd, Order, Place, Surroundings};
use crate::jobs::{JobResult, Record};
use crate::view::{Failure, Fault, JobState, JobStats, Role};

/// Blocks up to this size are pushed with the order instead of being asked for: one round trip to
/// the enclave saved for each small input.
const PUSH_UP_TO: u64 = 16 << 10;
/// How long a job that has its slot waits for an enclave that is being started again.
const ENCLAVE_PATIENCE: Duration = Duration::from_secs(15);

/// A job that has its place, and what it needs to run.
pub(crate) struct Execution {
    pub(crate) record: Arc<Record>,
    /// Canonical bytes of the Task.
    pub(crate) task: Bytes,
    /// The signed Invocation's block.
    pub(crate) invocation: Bytes,
    pub(crate) place: Place,
    /// When the job's time is up.
    pub(crate) deadline: Instant,
    pub(crate) fresh: bool,
    pub(crate) live_logs: bool,
    /// Who is likely to have what is missing here.
    pub(crate) hints: Vec<adit_net::PeerId>,
}

/// What an execution delivered.
pub(crate) struct Executed {
    pub(crate) result: JobResult,
    pub(crate) stats: JobStats,
    pub(crate) kept_until: u64,
}

/// Why an execution delivered nothing.
#[derive(Debug)]
pub(crate) struct NotExecuted {
    pub(crate) state: JobState,
    pub(crate) failure: Failure,
    /// Whether trying once more here might help: the enclave died under it.
    pub(crate) again: bool,
}

impl NotExecuted {
    fn failed(failure: Failure) -> Self {
        NotExecuted { state: JobState::Failed, failure, again: false }
    }

    fn expired() -> Self {
        let failure = Failure::new(Fault::Requester, "the job's time (--timeout) ran out");
        NotExecuted { state: JobState::Expired, failure, again: false }
    }

    fn cancelled() -> Self {
        let failure = Failure::new(Fault::Requester, "cancelled");
        NotExecuted { state: JobState::Cancelled, failure, again: false }
    }
}

/// The enclave counts the job's time in whole milliseconds, rounded down, and from its own start: it may end a job a
/// moment before our clock says that its time is up. That is still the time running out, and no failure.
const ENCLAVE_EARLY: Duration = Duration::from_millis(20);

/// Runs the job when its turn comes.
pub(crate) async fn execute(shared: &Shared, job: &mut Execution) -> Result<Executed, NotExecuted> {
    let begun = Instant::now();
    let record = Arc::clone(&job.record);
    let cancel = &record.cancel;
    if !job.place.is_ready() {
        record.set_state(JobState::Queued);
        tokio::select! {
            () = job.place.turn() => {}
            () = cancel.cancelled() => return Err(NotExecuted::cancelled()),
            () = tokio::time::sleep_until(job.deadline.into()) => return Err(NotExecuted::expired()),
        }
    }
    let mut session = shared
        .enclave
        .session(ENCLAVE_PATIENCE)
        .await
        .map_err(|down| NotExecuted::failed(Failure::new(Fault::Host, down.to_string())))?;
    // Until the result stands in the index of jobs, which collection asks, this keeps what the job
    // reads and writes.
    let lease = shared.repo.lease("job");
    record.task.roots().for_each(|root| lease.protect(*root));
    let store = lease.store();
    record.change(|now| now.lease = Some(lease));
    let push = small_inputs(shared, &record).await;
    let wall = job.deadline.saturating_duration_since(Instant::now());
    if wall.is_zero() {
        session.give_back();
        return Err(NotExecuted::expired());
    }
    record.set_state(JobState::Running);
    let order = Order {
        task: job.task.clone(),
        invocation: job.invocation.clone(),
        wall,
        fresh: job.fresh || !has_remembered_result(shared, &*store, &record).await,
        live_logs: job.live_logs,
        push,
    };
    let hints = std::mem::take(&mut job.hints);
    let fetch = Fetch::new(&shared.net, hints, &shared.bandwidth, shared.denials.clone());
    let started = session.session().start(order).await.map_err(|failure| NotExecuted {
        state: JobState::Failed,
        failure,
        again: true,
    })?;
    let log = |stream, bytes| record.log(stream, bytes);
    let Span(fetch_timeout) = shared.config().jobs.fetch_timeout;
    // What is denied deeper down is absent, here as in the network.
    let store: Arc<dyn BlockStore> = match shared.denials.now().is_empty() {
        true => store,
        false => Arc::new(Guarded::new(store, shared.denials.clone())),
    };
    let around = Surroundings { store: &*store, fetch: Some(&fetch), fetch_timeout, log: &log, cancel };
    let end = session.session().finish(started, &around).await;
    let moved = fetch.received();
    match end {
        JobEnd::Ended(last) => {
            session.give_back();
            match last {
                Ok(ended) => conclude(shared, &*store, job, *ended, moved, begun).await,
                Err(_) if cancel.is_cancelled() => Err(NotExecuted::cancelled()),
                Err(_) if Instant::now() + ENCLAVE_EARLY >= job.deadline => Err(NotExecuted::expired()),
                Err(failure) => Err(NotExecuted::failed(failure)),
            }
        }
        JobEnd::Broken(failure) => {
            if cancel.is_cancelled() {
                return Err(NotExecuted::cancelled());
            }
            Err(NotExecuted { state: JobState::Failed, failure, again: true })
        }
    }
}

async fn conclude(
    shared: &Shared,
    store: &dyn BlockStore,
    job: &Execution,
    ended: Ended,
    moved: u64,
    begun: Instant,
) -> Result<Executed, NotExecuted> {
    let Ended { mut finished, envelope } = ended;
    let wrong = |what: &str| {
        let reason = format!("the enclave delivered {what}");
        NotExecuted { state: JobState::Failed, failure: Failure::new(Fault::Host, reason), again: true }
    };
    let outcome = Outcome::decode(&finished.outcome).map_err(|e| wrong(&format!("no outcome: {e}")))?;
    if outcome.task != job.record.task_cid {
        return Err(wrong("another task's outcome"));
    }
    if shared.config().jobs.remember && matches!(outcome.out, OutcomeResult::Ok { .. }) {
        shared.enclave.note_outcome(outcome.task, outcome.roots());
    }
    if finished.stats.remembered {
        finished.blocks = small_results(store, &outcome).await;
    }
    let keep = match job.record.role {
        Role::Host => shared.config().host.keep_results,
        Role::Local | Role::Requester => shared.config().jobs.keep_results,
    };
    let kept_until = unix_seconds() + keep.0.as_secs();
    let s = &finished.stats;
    shared.note_duration(s.total_us);
    let stats = JobStats {
        fuel: s.fuel,
        bytes_read: s.bytes_read,
        bytes_moved: moved,
        compile_us: s.compile_us,
        run_us: s.run_us,
        total_us: begun.elapsed().as_micros() as u64,
        remembered: s.remembered,
    };
    records::keep(shared, &job.task, &job.invocation, &finished.outcome, &envelope).await;
    let result = JobResult {
        outcome: Arc::new(outcome),
        outcome_block: finished.outcome,
        envelope,
        inline: finished.blocks,
    };
    Ok(Executed { result, stats, kept_until })
}

/// Whether the enclave may answer from memory: only if everything that the remembered outcome names
/// is still here, because then it sends nothing but the outcome's name and a new receipt.
async fn has_remembered_result(shared: &Shared, store: &dyn BlockStore, record: &Record) -> bool {
    if !shared.config().jobs.remember {
        return false;
    }
    let Some(roots) = shared.enclave.remembered(&record.task_cid) else { return false };
    for root in roots.iter() {
        // Looked for through the job's lease: what is here now stays.
        if !matches!(shared.surveyor.survey(store, root).await, Ok(presence) if presence.is_complete()) {
            return false;
        }
    }
    true
}

/// The roots of a remembered outcome that are small enough to be handed on at once.
async fn small_results(store: &dyn BlockStore, outcome: &Outcome) -> Vec<(Cid, Bytes)> {
    let mut blocks: Vec<(Cid, Bytes)> = Vec::new();
    for root in outcome.roots() {
        let known = blocks.iter().any(|(cid, _)| *cid == root);
        let small = matches!(store.size(&root).await, Ok(Some(size)) if size <= MAX_INLINE as u64);
        if small
            && !known
            && let Ok(Some(bytes)) = store.get(&root).await
        {
            blocks.push((root, bytes));
        }
    }
    blocks
}

/// Inputs small enough to come along with the order.
async fn small_inputs(shared: &Shared, record: &Record) -> Vec<(Cid, Bytes)> {
    let mut pushed = Vec::new();
    let mut room = MAX_PUSHED;
    let code = (!shared.enclave.has_code(&record.task.code)).then_some(&record.task.code);
    let inputs = record.task.inputs.values().map(|input| input.root()).chain(&record.task.stdin).chain(code);
    for root in inputs {
        if pushed.iter().any(|(cid, _)| cid == root) {
            continue;
        }
        let small = matches!(shared.store.size(root).await, Ok(Some(size)) if size <= PUSH_UP_TO);
        if !small {
            continue;
        }
        // A block that cannot be read now will be asked for, and the trouble told, later.
        let Ok(Some(bytes)) = shared.store.get(root).await else { continue };
        let size = Start::pushed_size(&bytes);
        if size > room {
            break;
        }
        room -= size;
        pushed.push((*root, bytes));
    }
    pushed
}

/// The one-line reason for jobs that were not placed by the market.
pub(crate) type Why = Cow<'static, str>;
