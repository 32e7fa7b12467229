//! What a requester checks before believing a result.

use crate::envelope::{Envelope, ReceiptError, VerifiedReceipt};
use crate::ids::{AccountId, NodeId};
use crate::invocation::{Acceptance, Invocation};
use crate::names::{InvocationCid, OutcomeCid, TaskCid};
use crate::outcome::Outcome;
use crate::sign::SignatureError;
use crate::signed::Signed;
use crate::task::Task;

/// How far a host's clock may be ahead of an invocation's expiry, in seconds, before its receipt is refused.
const CLOCK_SKEW: u64 = 300;

/// What is known about a job before its receipt comes. Everything that is `Some` must match.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected<'a> {
    /// The requester: whose invocation it must be.
    pub issuer: Option<AccountId>,
    /// The node that the job was given to.
    pub node: Option<NodeId>,
    /// The task, for checking that the outcome kept to its limits.
    pub task: Option<&'a Task>,
    /// The operator's promise; host, node and job key must be those it names.
    pub acceptance: Option<&'a Signed<Acceptance>>,
}

/// A receipt, an invocation and an outcome that belong together, with every signature checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobProof {
    /// The receipt.
    pub receipt: VerifiedReceipt,
    /// The node whose identity endorsed the job key.
    pub node: NodeId,
    /// Who asked.
    pub issuer: AccountId,
}

/// Why a receipt does not prove that this job had this outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("the receipt does not hold")]
    Receipt(#[from] ReceiptError),
    #[error("the receipt is for invocation {found}, not for {expected}")]
    OtherInvocation { expected: InvocationCid, found: InvocationCid },
    #[error("the receipt is for outcome {found}, not for {expected}")]
    OtherOutcome { expected: OutcomeCid, found: OutcomeCid },
    #[error("the {what} is about task {found}, not about {expected}")]
    OtherTask { what: &'static str, expected: TaskCid, found: TaskCid },
    #[error("the invocation's signature does not hold")]
    Invocation(#[source] SignatureError),
    #[error("the invocation is by {found}, not by {expected}")]
    OtherIssuer { expected: AccountId, found: AccountId },
    #[error("the job key is endorsed by node {found}, not by {expected}")]
    OtherNode { expected: NodeId, found: NodeId },
    #[error("the acceptance's signature does not hold")]
    Acceptance(#[source] SignatureError),
    #[error("the receipt's {0} is not the one that the host promised")]
    BrokenPromise(&'static str),
    #[error("the outcome used {used} fuel, more than the {limit} allowed")]
    OverLimit { used: u64, limit: u64 },
    #[error("the receipt is from {late} s after the invocation's expiry")]
    Late { late: u64 },
    #[error("the outcome was computed by `{found}`, the endorsement is for `{expected}`")]
    OtherRuntime { expected: String, found: String },
}

fn same<T: PartialEq, E>(expected: T, found: T, error: impl FnOnce(T, T) -> E) -> Result<(), E> {
    if expected == found { Ok(()) } else { Err(error(expected, found)) }
}

/// Checks that `envelope` proves `outcome` to be what came of `invocation`.
///
/// Both signatures of the receipt, the endorsement of its job key, the invocation's signature, that the three name
/// each other and one task, and whatever the caller expects. What it does not and cannot show, as long as evidence
/// is `none`, is that the host computed honestly: the receipt says who answers for the outcome.
pub fn verify_job(
    envelope: &Envelope,
    invocation: &Signed<Invocation>,
    outcome: &Outcome,
    expected: Expected<'_>,
) -> Result<JobProof, VerifyError> {
    let receipt = envelope.verify()?;
    same(invocation.cid(), receipt.invocation, |expected, found| VerifyError::OtherInvocation {
        expected,
        found,
    })?;
    same(outcome.cid(), receipt.outcome, |expected, found| VerifyError::OtherOutcome { expected, found })?;
    let task = invocation.body().task;
    let other_task = |what| move |expected, found| VerifyError::OtherTask { what, expected, found };
    same(task, receipt.task, other_task("receipt"))?;
    same(task, outcome.task, other_task("outcome"))?;

    let issuer = invocation.body().issuer;
    if let Some(me) = expected.issuer {
        same(me, issuer, |expected, found| VerifyError::OtherIssuer { expected, found })?;
    }
    invocation.clone().verify().map_err(VerifyError::Invocation)?;
    let latest = invocation.body().expiry.saturating_add(CLOCK_SKEW);
    if receipt.time > latest {
        return Err(VerifyError::Late { late: receipt.time - invocation.body().expiry });
    }

    let endorsement = receipt.evidence.endorsement().body();
    let node = endorsement.node;
    if endorsement.runtime != outcome.runtime {
        return Err(VerifyError::OtherRuntime {
            expected: endorsement.runtime.clone(),
            found: outcome.runtime.clone(),
        });
    }
    if let Some(wanted) = expected.node {
        same(wanted, node, |expected, found| VerifyError::OtherNode { expected, found })?;
    }
    if let Some(acceptance) = expected.acceptance {
        let promise = acceptance.clone().verify().map_err(VerifyError::Acceptance)?.into_body();
        let kept = |what, kept: bool| if kept { Ok(()) } else { Err(VerifyError::BrokenPromise(what)) };
        kept("invocation", promise.invocation == receipt.invocation)?;
        kept("host", promise.host == receipt.host)?;
        kept("node", promise.node == node)?;
        kept("job key", promise.job_key == endorsement.job_key)?;
    }
    if let Some(wanted) = expected.task {
        same(wanted.cid(), task, other_task("invocation"))?;
        if outcome.fuel > wanted.limits.fuel {
            return Err(VerifyError::OverLimit { used: outcome.fuel, limit: wanted.limits.fuel });
        }
    }
    Ok(JobProof { receipt, node, issuer })
}
