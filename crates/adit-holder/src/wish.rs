//! Whether a wish is good: everything that one holder checks by itself before it gives a slot.

use std::collections::BTreeSet;

use adit_model::{
    Acceptance, Amount, DecodeError, EvidenceKind, Grant, Invocation, KeyRequest, Policy, PolicyHead,
    SealKey, SessionQuote, Signable, Signed, Task, Verified,
};
use adit_policy::{Law, Proven, judge};
use adit_release::{Id, Use};
use adit_trust::{
    DevnetRoot, Endorsements, Evidence, Kind, Policy as Conditions, Reason, ReferenceValues, appraise,
};
use cid::Cid;
use multihash::Multihash;
use sha2::{Digest, Sha256};

use crate::protocol::{Refused, Unreadable, Why, Wish};
use crate::{Nonces, Refusal};

/// Longest explanation of one reason.
const MOST_WORDS: usize = 2000;

/// What stands against a wish, or against anything else that a holder is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    #[error(transparent)]
    Policy(#[from] adit_policy::Refusal),
    #[error(transparent)]
    Message(#[from] Unreadable),
    #[error("the {what} can't be read: {why}")]
    Record { what: &'static str, why: DecodeError },
    #[error("the {what} is not signed by whom it names")]
    Signature { what: &'static str },
    #[error("the quote has no nonce that this holder gave to its session within the last ten minutes")]
    Nonce,
    #[error("the key request is not signed by the session that the quote is of")]
    OtherSession,
    #[error("the quote is for another key request")]
    OtherRequest,
    #[error("the key request is for another invocation or task")]
    OtherJob,
    #[error("the key request does not ask for this grant's key")]
    NotRequested,
    #[error("the host's acceptance is of another invocation, or promises another session")]
    OtherAcceptance,
    #[error("the host is a holder of what it would run")]
    HostHolds,
    #[error("the evidence can't be read: {0}")]
    Evidence(Reason),
    #[error("the endorsements can't be read: {0}")]
    Endorsements(Reason),
    #[error("the manifest of reference values can't be read: {0}")]
    Manifest(Reason),
    #[error("the owner's word is not known here")]
    NoWord,
    #[error("the enclave was told of the owner's word number {told}, and number {known} is known here")]
    OldWord { told: u64, known: u64 },
    #[error("nothing is reserved here for this use, or not any more: wish for it again")]
    NotReserved,
    #[error("too few other holders have answered yet: ask again")]
    NoWitnesses,
    #[error("as many wishes as fit are under way: ask again")]
    Busy,
    #[error("this holder keeps no shares for this owner")]
    OwnerUnknown,
    #[error("the share is not the one that the grant commits to, or not sealed to this holder")]
    Share,
    #[error("only the owner and the holders may read the log")]
    NotYours,
    #[error(transparent)]
    Rule(#[from] Refusal),
}

impl Objection {
    /// The number that stands for it in a log; below 100 it is the policy's
    /// ([`adit_policy::Refusal::number`]). Numbers are never given again.
    pub fn number(&self) -> u8 {
        use adit_release::Refusal as Slot;
        match self {
            Self::Policy(refusal) => refusal.number(),
            Self::Message(_) => 100,
            Self::Record { .. } => 101,
            Self::Signature { .. } => 102,
            Self::Nonce => 103,
            Self::OtherSession => 104,
            Self::OtherRequest => 105,
            Self::OtherJob => 106,
            Self::NotRequested => 107,
            Self::OtherAcceptance => 108,
            Self::HostHolds => 109,
            Self::Evidence(_) => 110,
            Self::Endorsements(_) => 111,
            Self::Manifest(_) => 112,
            Self::NoWord => 113,
            Self::OldWord { .. } => 114,
            Self::NotReserved => 120,
            Self::NoWitnesses => 121,
            Self::Busy => 122,
            Self::OwnerUnknown => 123,
            Self::Share => 124,
            Self::NotYours => 125,
            Self::Rule(Refusal::UnknownObject) => 140,
            Self::Rule(Refusal::NotByOwner) => 141,
            Self::Rule(Refusal::LogFull) => 142,
            Self::Rule(Refusal::ForgedReservation) => 143,
            Self::Rule(Refusal::Rule(rule)) => match rule {
                Slot::Starting => 150,
                Slot::Revoked => 151,
                Slot::OtherPolicy => 152,
                Slot::NoSuchSlot { .. } => 153,
                Slot::Taken => 154,
                Slot::Reserved { .. } => 155,
                Slot::TooFewReserved { .. } => 156,
                Slot::OldHead { .. } => 157,
                Slot::TwoHeads(_) => 158,
            },
        }
    }
}

impl Refused {
    /// The answer for these reasons.
    pub fn because(against: &[Objection]) -> Self {
        let why = against.iter().map(|one| {
            let words = one.to_string().chars().take(MOST_WORDS).collect();
            Why { number: one.number(), words }
        });
        Self { why: why.collect() }
    }
}

/// What a holder knows that a wish can't tell it.
#[derive(Debug, Clone, Copy)]
pub struct Grounds<'a> {
    /// What is held here.
    pub grant: &'a Verified<Grant>,
    /// The owner's newest word that is known here.
    pub head: &'a Verified<PolicyHead>,
    /// Which nonces are this holder's.
    pub nonces: &'a Nonces,
    /// Software that this holder's operator knows: what counts where a policy names no manifest.
    pub references: &'a ReferenceValues,
    /// The devnet that this process belongs to, if it does.
    pub devnet: Option<&'a DevnetRoot>,
}

/// A wish that everything speaks for. What is left is its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Good {
    /// Of which grant.
    pub grant: Id,
    /// What it is to be written down as.
    pub used: Use,
    /// What the share is to be sealed to.
    pub key: SealKey,
    /// Unix seconds after which nobody wants it any more.
    pub expiry: u64,
}

/// Judges a wish at a time (Unix milliseconds). A pure function: it takes a few milliseconds, most of them for the evidence.
///
/// # Errors
/// All that the policy has against it, or the first thing that keeps it from being held against the policy.
pub fn weigh(wish: &Wish, grounds: Grounds<'_>, now: u64) -> Result<Good, Vec<Objection>> {
    let read = read(wish, grounds, now).map_err(|objection| vec![objection])?;
    let Read { task, invocation, request, policy, quote, quoted, .. } = &read;
    let terms = &policy.body().evidence;

    // A manifest counts by its name in the policy. Where the policy names none, what a wish brings along counts for nothing.
    let (references, manifest) = match (&wish.manifest, terms.references.is_empty()) {
        (Some(bytes), false) => {
            let values = ReferenceValues::from_json(bytes).map_err(|why| vec![Objection::Manifest(why)])?;
            (values, Some(manifest_cid(bytes)))
        }
        (None, false) => (ReferenceValues::default(), None),
        (_, true) => (grounds.references.clone(), None),
    };
    let named = manifest.is_none_or(|manifest| terms.references.contains(&manifest));
    let references = if named { references } else { ReferenceValues::default() };
    let conditions = Conditions {
        kinds: terms.kinds.iter().copied().filter_map(kind).collect(),
        report_data: Some(quote.report_data()),
        max_age: Some(u64::from(terms.max_age)),
        devnet: grounds.devnet.cloned(),
        ..Conditions::default()
    };
    let appraisal = appraise(&read.evidence, &read.endorsements, &references, &conditions, now / 1000);

    let sealed: BTreeSet<Cid> = request.body().sealed.iter().copied().collect();
    let law = Law { grant: grounds.grant, head: grounds.head, policy };
    // There is no payment yet, so nothing is paid, and a policy that asks for a fee allows nothing.
    let asked = adit_policy::Wish { task, invocation, sealed: &sealed, pays: Amount(0) };
    let for_this_job = quote.request == Some(request.cid());
    let proven = Proven { appraisal: &appraisal, quoted: quoted / 1000, for_this_job, manifest };
    judge(law, asked, proven, now / 1000)
        .map_err(|against| against.into_iter().map(Objection::Policy).collect::<Vec<_>>())?;
    Ok(Good { grant: wish.grant, used: read.used, key: request.body().key, expiry: invocation.body().expiry })
}

/// The name by which a policy means a manifest: CIDv1, raw, SHA2-256, of its bytes.
pub fn manifest_cid(manifest: &[u8]) -> Cid {
    let digest: [u8; 32] = Sha256::digest(manifest).into();
    Cid::new_v1(0x55, Multihash::wrap(0x12, &digest).expect("32 bytes fit in a multihash of 64"))
}

/// The records of a wish, of which the signatures hold and which speak of each other.
struct Read {
    quote: SessionQuote,
    quoted: u64,
    evidence: Evidence,
    endorsements: Endorsements,
    task: Task,
    invocation: Verified<Invocation>,
    request: Verified<KeyRequest>,
    policy: Verified<Policy>,
    used: Use,
}

fn read(wish: &Wish, grounds: Grounds<'_>, now: u64) -> Result<Read, Objection> {
    let quote = SessionQuote::decode(&wish.quote).map_err(record("session quote"))?;
    // First what costs a stranger something to have, and us nothing to check.
    let quoted = grounds.nonces.given(&quote.nonces, &quote.key, now).ok_or(Objection::Nonce)?;
    let task = Task::decode(&wish.task).map_err(record("task"))?;
    let invocation: Verified<Invocation> = signed("invocation", &wish.invocation)?;
    let request: Verified<KeyRequest> = signed("key request", &wish.request)?;
    let acceptance: Verified<Acceptance> = signed("acceptance", &wish.acceptance)?;
    let policy: Verified<Policy> = signed("policy", &wish.policy)?;

    let asked = request.body();
    if asked.session != quote.key {
        return Err(Objection::OtherSession);
    }
    if quote.request.is_some_and(|meant| meant != request.cid()) {
        return Err(Objection::OtherRequest);
    }
    if asked.invocation != invocation.cid() || asked.task != task.cid() {
        return Err(Objection::OtherJob);
    }
    let grant = grounds.grant.cid();
    let wanted =
        *asked.of_grant(&grant).filter(|_| wish.grant == id(&grant)).ok_or(Objection::NotRequested)?;
    let known = grounds.head.body().number;
    if wanted.head > known {
        return Err(Objection::OldWord { told: wanted.head, known });
    }
    if wanted.policy != policy.cid() {
        return Err(Objection::Policy(adit_policy::Refusal::OtherPolicy));
    }
    let promise = acceptance.body();
    if promise.invocation != invocation.cid() || promise.job_key != asked.session {
        return Err(Objection::OtherAcceptance);
    }
    let holds = |holder: &adit_model::Holder| holder.account == promise.host || holder.node == promise.node;
    if grounds.grant.body().holders.iter().any(holds) {
        return Err(Objection::HostHolds);
    }

    let evidence = kind(quote.kind).ok_or(Reason::UnknownEvidence);
    let evidence = evidence.and_then(|kind| Evidence::of_kind(kind, &quote.evidence));
    let evidence = evidence.map_err(Objection::Evidence)?;
    let mut endorsements = Endorsements::default();
    for file in &wish.endorsements {
        endorsements.add(file).map_err(Objection::Endorsements)?;
    }
    let policy_id = Id(*wanted.policy.digest());
    let used = Use { policy: policy_id, slot: wanted.slot, invocation: Id(*invocation.cid().digest()) };
    Ok(Read { quote, quoted, evidence, endorsements, task, invocation, request, policy, used })
}

fn id(grant: &adit_model::GrantCid) -> Id {
    Id(*grant.digest())
}

fn record(what: &'static str) -> impl FnOnce(DecodeError) -> Objection {
    move |why| Objection::Record { what, why }
}

/// A signed record whose signature holds.
pub(crate) fn signed<T: Signable>(what: &'static str, block: &[u8]) -> Result<Verified<T>, Objection> {
    let signed = Signed::<T>::decode(block).map_err(record(what))?;
    signed.verify().map_err(|_| Objection::Signature { what })
}

/// The same kind, in the verifier's words.
fn kind(kind: EvidenceKind) -> Option<Kind> {
    Kind::ALL.into_iter().find(|one| one.name() == kind.as_str())
}
