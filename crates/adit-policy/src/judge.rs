//! The rule itself.

use std::collections::BTreeSet;

use adit_model::{
    Amount, EvidenceKind, Grant, Inputs, Invocation, Policy, PolicyCid, PolicyHead, Programs, Rule, Task,
    TextPattern, Verified,
};
use adit_trust::{Appraisal, Finding, Kind, Step};
use cid::Cid;

use crate::Refusal;

/// How far two honest clocks may differ, in seconds.
const SKEW: u64 = 120;

/// The owner's word on one object.
#[derive(Debug, Clone, Copy)]
pub struct Law<'a> {
    /// What is governed.
    pub grant: &'a Verified<Grant>,
    /// The newest head that is known.
    pub head: &'a Verified<PolicyHead>,
    /// The policy that it names.
    pub policy: &'a Verified<Policy>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The work.
    pub task: &'a Task,
    /// Who wants it done.
    pub invocation: &'a Verified<Invocation>,
    /// Everything among the Task's code and inputs whose own owner has to allow it too, as the enclave says.
    pub sealed: &'a BTreeSet<Cid>,
    /// What the owner is paid for it.
    pub pays: Amount,
}

/// What is known of the environment that wants the key.
#[derive(Debug, Clone, Copy)]
pub struct Proven<'a> {
    /// What came of its evidence. It was asked to be bound to the key that the share will be sealed to.
    pub appraisal: &'a Appraisal,
    /// When the quote was made, in Unix seconds: not after the nonce in it was sent out, by the clock of who sent it.
    pub quoted: u64,
    /// Whether the quote itself is over this job, not over a session key that signed it.
    pub for_this_job: bool,
    /// The manifest that named the reference value.
    pub manifest: Option<Cid>,
}

/// What is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// Under which policy.
    pub policy: PolicyCid,
    /// By which of its rules, from 0.
    pub rule: usize,
    /// Uses that the owner's head allows in all: the slot must be below.
    pub uses: u32,
    /// Whether the data is to be brought whole before the program starts.
    pub prefetch: bool,
}

/// Whether one owner allows it. Where several objects are sealed, each owner's holders judge by their own law, and the key
/// that the output is sealed to must be one that all allow.
///
/// # Errors
/// Everything that stands against it: of the environment and the owner's word all, of the rules those of the one that
/// came nearest.
pub fn judge(law: Law<'_>, wish: Wish<'_>, proven: Proven<'_>, now: u64) -> Result<Permit, Vec<Refusal>> {
    let (policy, head) = (law.policy.body(), law.head.body());
    let mut against = Vec::new();
    in_force(law, now, &mut against);
    asked_for(policy, wish, now, &mut against);
    environment(policy, proven, now, &mut against);

    let task = wish.task;
    let object = law.grant.body().object;
    if !task.roots().any(|root| *root == object) {
        against.push(Refusal::NotAnInput);
    }
    let misfits = |rule: &Rule| misfits(rule, wish, &object);
    let nearest = policy.rules.iter().map(misfits).enumerate().min_by_key(|(_, misfits)| misfits.len());
    let rule = match nearest {
        Some((rule, misfits)) => {
            against.extend(misfits);
            rule
        }
        // A signed policy has rules.
        None => return Err(vec![Refusal::OtherPolicy]),
    };
    match against.is_empty() {
        true => Ok(Permit { policy: law.policy.cid(), rule, uses: head.uses, prefetch: policy.prefetch }),
        false => Err(against),
    }
}

/// The owner's word: one owner's, of this grant, and of now.
fn in_force(law: Law<'_>, now: u64, against: &mut Vec<Refusal>) {
    let (grant, head, policy) = (law.grant.body(), law.head.body(), law.policy.body());
    if head.grant != law.grant.cid() {
        against.push(Refusal::OtherGrant);
    }
    if head.owner != grant.owner || policy.owner != grant.owner {
        against.push(Refusal::NotByOwner);
    }
    match head.policy {
        None => against.push(Refusal::Revoked),
        Some(named) if named != law.policy.cid() => against.push(Refusal::OtherPolicy),
        Some(_) if head.uses == 0 => against.push(Refusal::NoUses),
        Some(_) => {}
    }
    if now > head.expiry {
        against.push(Refusal::HeadExpired { expiry: head.expiry });
    }
    if let Some(from) = policy.not_before.filter(|from| now < *from) {
        against.push(Refusal::NotYet { from });
    }
    if let Some(expiry) = policy.expiry.filter(|expiry| now > *expiry) {
        against.push(Refusal::PolicyExpired { expiry });
    }
}

/// Who asks, for what, and who is to read it.
fn asked_for(policy: &Policy, wish: Wish<'_>, now: u64, against: &mut Vec<Refusal>) {
    let invocation = wish.invocation.body();
    if invocation.task != wish.task.cid() {
        against.push(Refusal::OtherTask);
    }
    if now > invocation.expiry {
        against.push(Refusal::InvocationExpired { expiry: invocation.expiry });
    }
    match invocation.reply_key {
        None => against.push(Refusal::NoReplyKey),
        Some(key) if policy.recipients.requester || policy.recipients.keys.contains(&key) => {}
        Some(_) => against.push(Refusal::Recipient),
    }
    if wish.pays < policy.fee {
        against.push(Refusal::Fee { least: policy.fee.0, offered: wish.pays.0 });
    }
}

/// Where it would run.
fn environment(policy: &Policy, proven: Proven<'_>, now: u64, against: &mut Vec<Refusal>) {
    let (terms, appraisal) = (&policy.evidence, proven.appraisal);
    let kind = kind_of(appraisal.kind);
    if !terms.kinds.contains(&kind) {
        against.push(Refusal::Kind { kind });
    }
    match appraisal.claims() {
        None => {
            let why = appraisal.reasons().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            against.push(Refusal::Evidence { why });
        }
        Some(claims) if !appraisal.kind.ceiling().within(claims) => against.push(Refusal::Claims),
        Some(_) => {}
    }
    // Claims of some kinds are the same whoever runs inside. A key is given to known programs only.
    if appraisal.accepted() && appraisal.finding(Step::Measurement) != Some(&Finding::Pass) {
        against.push(Refusal::Unmeasured);
    }
    match now.checked_sub(proven.quoted) {
        None if proven.quoted - now > SKEW => against.push(Refusal::FromTheFuture),
        Some(age) if age > u64::from(terms.max_age) => {
            against.push(Refusal::Stale { age, most: u64::from(terms.max_age) });
        }
        None | Some(_) => {}
    }
    if terms.per_job && !proven.for_this_job {
        against.push(Refusal::NotForThisJob);
    }
    let named = proven.manifest.is_some_and(|manifest| terms.references.contains(&manifest));
    if !terms.references.is_empty() && !named {
        against.push(Refusal::Reference);
    }
}

/// The same kind, in the words of records.
fn kind_of(kind: Kind) -> EvidenceKind {
    match kind {
        Kind::None => EvidenceKind::None,
        Kind::Dev => EvidenceKind::Dev,
        Kind::Tpm2 => EvidenceKind::Tpm2,
        Kind::SevSnp => EvidenceKind::SevSnp,
        Kind::Tdx => EvidenceKind::Tdx,
        Kind::Sgx => EvidenceKind::Sgx,
        Kind::Nitro => EvidenceKind::Nitro,
    }
}

/// Everything in which a Task is not what one rule allows.
fn misfits(rule: &Rule, wish: Wish<'_>, object: &Cid) -> Vec<Refusal> {
    let task = wish.task;
    let mut against = Vec::new();
    let mut require = |holds: bool, otherwise: Refusal| {
        if !holds {
            against.push(otherwise);
        }
    };
    let allowed = |input: &Inputs, cid: &Cid| match input {
        Inputs::This => cid == object,
        Inputs::Of(list) => list.contains(cid),
        Inputs::Sealed => cid != object && wish.sealed.contains(cid),
        Inputs::Any => true,
    };
    let code = match &rule.code {
        Programs::This => task.code == *object,
        Programs::Of(list) => list.contains(&task.code),
    };
    require(code, Refusal::Code);
    require(task.abi == rule.abi, Refusal::Abi);
    require(task.profile == rule.profile, Refusal::Profile);
    require(rule.requesters.include(&wish.invocation.body().issuer), Refusal::Requester);

    let (given, listed) = (task.args.len(), rule.args.len());
    let count = given == listed || (given > listed && rule.more_args.is_some());
    require(count, Refusal::ArgumentCount { given, allowed: listed });
    let patterns = rule.args.iter().chain(std::iter::repeat_n(&rule.more_args, given).flatten());
    for (at, (arg, pattern)) in task.args.iter().zip(patterns).enumerate() {
        require(pattern.fits(arg), Refusal::Argument { at: at + 1 });
    }

    for (name, value) in &task.env {
        match rule.env.get(name).map(|pattern: &TextPattern| pattern.fits(value)) {
            None => require(false, Refusal::VariableUnknown { name: name.clone() }),
            Some(fits) => require(fits, Refusal::Variable { name: name.clone() }),
        }
    }
    for name in rule.env.keys().filter(|name| !task.env.contains_key(*name)) {
        require(false, Refusal::VariableMissing { name: name.clone() });
    }

    for (path, input) in &task.inputs {
        match rule.inputs.get(path).or(rule.more_inputs.as_ref()) {
            None => require(false, Refusal::InputUnknown { path: path.clone() }),
            Some(pattern) => {
                require(allowed(pattern, input.root()), Refusal::Input { path: path.clone() });
            }
        }
    }
    for path in rule.inputs.keys().filter(|path| !task.inputs.contains_key(*path)) {
        require(false, Refusal::InputMissing { path: path.clone() });
    }
    match (&rule.stdin, &task.stdin) {
        (None, None) => {}
        (None, Some(_)) => require(false, Refusal::StdinUnknown),
        (Some(_), None) => require(false, Refusal::StdinMissing),
        (Some(pattern), Some(cid)) => require(allowed(pattern, cid), Refusal::Stdin),
    }

    let (asked, most) = (task.limits, rule.limits);
    for (what, asked, most) in [
        ("fuel", asked.fuel, most.fuel),
        ("memory", asked.memory, most.memory),
        ("output", asked.output, most.output),
    ] {
        require(asked <= most, Refusal::Limit { what, asked, most });
    }
    against
}
