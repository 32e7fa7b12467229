//! From a request to a signed, recorded job, and its way to an end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_model::{Acceptance, Amount, Invocation, Nonce, Signed, Verified};
use bytes::Bytes;

use super::execute::{Execution, NotExecuted, Why, execute};
use super::shared::Shared;
use super::{RunError, remote};
use crate::clock::unix_seconds;
use crate::content::ProgramError;
use crate::deny;
use crate::jobs::{Keyed, Record};
use crate::request::{InvalidRequest, Placement, RunRequest};
use crate::view::{Failure, Fault, JobState, Role};

/// How long the enclave's supervisor may take to notice that the whole process died, not one session: until
/// then the pool still holds sessions that are dead as well.
const NOTICE_DEATH: Duration = Duration::from_millis(200);

/// A queue that is shorter than asking others takes, in microseconds.
const SHORT_QUEUE_US: u64 = 20_000;

/// A job that is signed and known, and not yet placed.
pub(crate) struct Prepared {
    pub(crate) record: Arc<Record>,
    /// Canonical bytes of the Task.
    pub(crate) task: Bytes,
    pub(crate) invocation: Verified<Invocation>,
    pub(crate) begun: Instant,
    pub(crate) deadline: Instant,
    pub(crate) placement: Placement,
    pub(crate) wait: bool,
    pub(crate) fresh: bool,
    pub(crate) live_logs: bool,
    pub(crate) fetch_result: bool,
}

/// A new job, or the one that was asked for with the same key.
pub(crate) enum Submitted {
    New(Box<Prepared>),
    Known(crate::view::JobId),
}

/// Checks the request, signs its Invocation and takes the job into the index.
pub(crate) async fn prepare(shared: &Arc<Shared>, request: RunRequest) -> Result<Submitted, RunError> {
    if shared.draining.is_cancelled() {
        return Err(RunError::Stopping);
    }
    request.check()?;
    let Some(key) = request.idempotency_key.clone() else {
        let job = build(shared, request).await?;
        shared.jobs.add(&job.record);
        return Ok(Submitted::New(Box::new(job)));
    };
    let work = request.fingerprint()?;
    let same = |known: Keyed| {
        if known.work == work { Ok(Submitted::Known(known.job)) } else { Err(RunError::KeyReused(known.job)) }
    };
    if let Some(known) = shared.jobs.by_key(&key) {
        return same(known);
    }
    let job = build(shared, request).await?;
    match shared.jobs.add_with_key(&job.record, &key, work) {
        Ok(()) => Ok(Submitted::New(Box::new(job))),
        Err(known) => same(known),
    }
}

/// The signed job of a request, known to nobody yet.
pub(crate) async fn build(shared: &Arc<Shared>, request: RunRequest) -> Result<Prepared, RunError> {
    let begun = Instant::now();
    if shared.denials.now().denies_block(&request.code) {
        return Err(RunError::Denied(request.code));
    }
    let abi = match request.abi {
        Some(abi) => abi,
        None => abi_of(shared, &request).await?,
    };
    let task = request.task(abi)?;
    if let Some(cid) = deny::denied(&shared.denials, &task) {
        return Err(RunError::Denied(cid));
    }
    let task_block = Bytes::from(task.encode());
    let task_cid = adit_model::TaskCid::of_block(&task_block);
    let issuer = shared.account();
    let invocation = Invocation {
        task: task_cid,
        issuer,
        nonce: Nonce(rand::random()),
        // Rounded up: an expiry in whole seconds must not cut a short job's time.
        expiry: unix_seconds() + request.timeout.as_secs() + 1,
        reply_key: None,
    };
    let signed = Signed::sign(invocation, &shared.identity.account);
    let invocation = signed.map_err(|e| RunError::Node(e.to_string()))?;
    let record = Record::new(invocation.cid(), Role::Requester, Arc::new(task), task_cid, issuer);
    Ok(Prepared {
        record,
        task: task_block,
        invocation,
        begun,
        deadline: begun + request.timeout,
        placement: request.placement,
        wait: request.wait,
        fresh: request.fresh,
        live_logs: request.live_logs,
        fetch_result: request.fetch_result,
    })
}

async fn abi_of(shared: &Shared, request: &RunRequest) -> Result<adit_model::Abi, RunError> {
    let cid = request.code;
    if let Some(abi) = shared.programs.known(&cid) {
        return Ok(abi);
    }
    let source = shared.net.session(Vec::new());
    let patience = request.timeout.min(shared.config().jobs.fetch_timeout.0);
    match tokio::time::timeout(patience, shared.programs.abi(&source, &cid)).await {
        Ok(Ok(abi)) => Ok(abi),
        Ok(Err(ProgramError::NotWasm)) => Err(InvalidRequest::NotWasm(cid).into()),
        Ok(Err(ProgramError::Source(e))) => Err(RunError::Unavailable { cid, reason: e.to_string() }),
        Err(_) => {
            let reason = format!("the program was not found within {} s", patience.as_secs_f32());
            Err(RunError::Unavailable { cid, reason })
        }
    }
}

/// Brings a job to its end and writes that into its record.
pub(crate) async fn drive(shared: Arc<Shared>, job: Box<Prepared>) {
    let here = match job.placement {
        Placement::Local => Some("you asked for this node"),
        Placement::At(node) if node == shared.me() => Some("you named this node"),
        Placement::Cost if is_cheapest_here(&shared, &job).await => {
            Some("this node itself holds the input and the code")
        }
        _ => None,
    };
    match here {
        Some(why) => run_here_to_the_end(&shared, &job, why.into()).await,
        None => remote::place(&shared, &job).await,
    }
}

/// Whether this node can run the job without fetching anything, and soon: then nobody needs to be
/// asked, because asking alone would cost more.
async fn is_cheapest_here(shared: &Shared, job: &Prepared) -> bool {
    if shared.enclave.job_key().is_none() {
        return false;
    }
    let record = &job.record;
    let wall_ms = job.deadline.saturating_duration_since(Instant::now()).as_millis() as u64;
    let queue = shared.slots.would_admit(&shared.account(), &record.task, wall_ms, unix_seconds());
    if !queue.is_ok_and(|ahead| shared.queue_us(ahead) <= SHORT_QUEUE_US) {
        return false;
    }
    for root in record.task.roots() {
        if *root == record.task.code && shared.enclave.has_code(root) {
            continue;
        }
        match shared.surveyor.survey(&*shared.store, root).await {
            Ok(presence) if presence.is_complete() => {}
            _ => return false,
        }
    }
    true
}

/// Runs the job on this node and writes its end into the record.
async fn run_here_to_the_end(shared: &Arc<Shared>, job: &Prepared, why: Why) {
    if let Err(not) = run_here(shared, job, why).await {
        job.record.fail(not.state, not.failure);
    }
}

/// Runs the job on this node, once more if the enclave dies under it.
pub(crate) async fn run_here(shared: &Arc<Shared>, job: &Prepared, why: Why) -> Result<(), NotExecuted> {
    job.record.change(|now| {
        now.host = Some(shared.me());
        now.here = true;
        now.why = Some(why);
    });
    match run_here_once(shared, job).await {
        Err(not) if not.again && !shared.stop.is_cancelled() => {
            tracing::warn!(job = %job.record.id, reason = %not.failure, "a local job is run once more");
            tokio::time::sleep(NOTICE_DEATH).await;
            run_here_once(shared, job).await
        }
        ended => ended,
    }
}

async fn run_here_once(shared: &Arc<Shared>, job: &Prepared) -> Result<(), NotExecuted> {
    let wall = job.deadline.saturating_duration_since(Instant::now());
    let wall_ms = wall.as_millis() as u64;
    let admitted = shared.slots.admit(&shared.account(), &job.record.task, wall_ms, unix_seconds());
    let place = admitted.map_err(|refusal| NotExecuted {
        state: JobState::Failed,
        failure: Failure::new(Fault::Node, format!("this node did not take its own job: {refusal}")),
        again: false,
    })?;
    let mut execution = Execution {
        record: Arc::clone(&job.record),
        task: job.task.clone(),
        invocation: job.invocation.block().clone(),
        place,
        deadline: job.deadline,
        fresh: job.fresh,
        live_logs: job.live_logs,
        hints: Vec::new(),
    };
    let done = execute(shared, &mut execution).await?;
    drop(execution);
    shared.counters.run(unix_seconds());
    job.record.finish(done.result, done.stats, Some(done.kept_until));
    Ok(())
}

/// This host's promise to run the invocation. Only other people's jobs are promised: for a job of
/// its own, host and requester are one account, and a promise to oneself proves nothing to anybody.
pub(crate) fn sign_acceptance(
    shared: &Shared,
    invocation: &Signed<Invocation>,
) -> Result<Verified<Acceptance>, String> {
    let Some((job_key, _)) = shared.enclave.job_key() else {
        return Err("the enclave is not running".into());
    };
    let acceptance = Acceptance {
        invocation: invocation.cid(),
        host: shared.account(),
        node: shared.me(),
        job_key,
        price: Amount(0),
    };
    Signed::sign(acceptance, &shared.identity.account).map_err(|e| e.to_string())
}
