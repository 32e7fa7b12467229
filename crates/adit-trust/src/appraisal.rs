//! The verifier's answer: what was checked, what came of it, and what may be claimed.

use serde::Serialize;

use crate::{Adversary, Claims, Kind, Reason};

/// One thing that the verifier looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The bytes have the form of evidence, and nothing is left over.
    Form,
    /// The policy accepts this kind.
    Kind,
    /// The key's certificates lead to a pinned root, each valid at the time of appraisal.
    CertificateChain,
    /// None of the certificates was revoked.
    Revocation,
    /// What the maker says of the platform's state is signed, in force and about this platform.
    Collateral,
    /// The program that made the quote is the maker's own.
    QuotingEnclave,
    /// The key that signed lives in the certified TPM.
    AttestationKey,
    /// The evidence is signed by the certified key.
    Signature,
    /// The platform's firmware versions are what the key was made for, and not too old.
    Tcb,
    /// The certificate is this very processor's.
    HardwareId,
    /// The host may not look inside for debugging.
    Debug,
    /// The guest may not be moved to another machine.
    Migration,
    /// The report was asked for at the expected privilege level.
    PrivilegeLevel,
    /// The guest's launch policy or attributes are as asked for.
    GuestPolicy,
    /// The evidence is bound to what the relying party asked it to be bound to.
    ReportData,
    /// The evidence answers the relying party's nonce.
    Nonce,
    /// The evidence is young enough.
    Freshness,
    /// The TPM's counters never went back.
    Clock,
    /// The values that were sent are the quoted ones.
    Registers,
    /// The log leads to these values.
    EventLog,
    /// What runs inside is one of the reference values.
    Measurement,
}

impl Step {
    /// What it asks, in words.
    pub fn words(self) -> &'static str {
        match self {
            Step::Form => "the bytes are evidence of this kind, and nothing is left over",
            Step::Kind => "this kind is accepted",
            Step::CertificateChain => "the key's certificates lead to a pinned root",
            Step::Revocation => "none of them was revoked",
            Step::Collateral => "the maker's word on the platform is signed, in force and about this one",
            Step::QuotingEnclave => "the quote was made by the maker's own program",
            Step::Signature => "the evidence is signed by that key",
            Step::Tcb => "firmware is of the versions that the maker names, and they are accepted",
            Step::HardwareId => "the key is this very processor's, or its provider's",
            Step::Debug => "the host may not look inside",
            Step::Migration => "the guest may not be moved",
            Step::PrivilegeLevel => "the report was asked for at the expected level",
            Step::GuestPolicy => "the guest's policy or attributes are as asked for",
            Step::ReportData => "it is bound to what it must be bound to",
            Step::Nonce => "it answers the nonce",
            Step::Freshness => "it is young enough",
            Step::AttestationKey => "the key that signed lives in the certified TPM",
            Step::Clock => "the TPM's counters never went back",
            Step::Registers => "the registers' values are the quoted ones",
            Step::EventLog => "the log leads to these values",
            Step::Measurement => "what runs inside is known",
        }
    }
}

/// What came of one [`Step`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum Finding {
    /// It holds.
    Pass,
    /// It does not hold; the evidence is refused.
    Fail { reason: Reason },
    /// Nobody asked for it. Says what is therefore not known.
    NotAsked { unknown: &'static str },
}

/// A step and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub step: Step,
    /// What came of it.
    #[serde(flatten)]
    pub finding: Finding,
}

/// Something that the evidence says, as text: versions, measurements, identities. Believe it only if accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What it is.
    pub name: &'static str,
    /// What the evidence says of it.
    pub value: String,
}

/// The result of [`appraise`](crate::appraise()).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Appraisal {
    /// The kind of evidence.
    pub kind: Kind,
    /// The time of appraisal, Unix seconds.
    pub time: u64,
    /// Whose root the chain ends in.
    pub vouched_by: Option<String>,
    /// The name of the reference value that matched.
    pub reference: Option<String>,
    /// What was checked, in order.
    pub checks: Vec<Check>,
    /// What the evidence says.
    pub facts: Vec<Fact>,
    claims: Option<Claims>,
}

impl Appraisal {
    /// Whether no check failed.
    pub fn accepted(&self) -> bool {
        self.claims.is_some()
    }

    /// What is claimed; nothing if the evidence was refused.
    pub fn claims(&self) -> Option<&Claims> {
        self.claims.as_ref()
    }

    /// Why the evidence was refused.
    pub fn reasons(&self) -> impl Iterator<Item = &Reason> {
        self.checks.iter().filter_map(|check| match &check.finding {
            Finding::Fail { reason } => Some(reason),
            _ => None,
        })
    }

    /// What a step came to, if it was reached.
    pub fn finding(&self, step: Step) -> Option<&Finding> {
        self.checks.iter().find(|check| check.step == step).map(|check| &check.finding)
    }
}

/// An appraisal that is being made.
pub(crate) struct Ledger {
    appraisal: Appraisal,
    /// The kind whose ceiling counts.
    ceiling: Kind,
}

impl Ledger {
    pub(crate) fn new(kind: Kind, time: u64) -> Self {
        Ledger {
            appraisal: Appraisal {
                kind,
                time,
                vouched_by: None,
                reference: None,
                checks: Vec::new(),
                facts: Vec::new(),
                claims: None,
            },
            ceiling: kind,
        }
    }

    pub(crate) fn time(&self) -> u64 {
        self.appraisal.time
    }

    pub(crate) fn kind(&self) -> Kind {
        self.appraisal.kind
    }

    /// Books a step's result; the value where it passed.
    pub(crate) fn check<T>(&mut self, step: Step, result: Result<T, Reason>) -> Option<T> {
        let (finding, value) = match result {
            Ok(value) => (Finding::Pass, Some(value)),
            Err(reason) => (Finding::Fail { reason }, None),
        };
        self.appraisal.checks.push(Check { step, finding });
        value
    }

    /// Books a condition.
    pub(crate) fn require(&mut self, step: Step, holds: bool, otherwise: Reason) {
        self.check(step, if holds { Ok(()) } else { Err(otherwise) });
    }

    pub(crate) fn not_asked(&mut self, step: Step, unknown: &'static str) {
        self.appraisal.checks.push(Check { step, finding: Finding::NotAsked { unknown } });
    }

    pub(crate) fn fact(&mut self, name: &'static str, value: impl Into<String>) {
        self.appraisal.facts.push(Fact { name, value: value.into() });
    }

    pub(crate) fn vouched_by(&mut self, who: impl Into<String>) {
        self.appraisal.vouched_by = Some(who.into());
    }

    pub(crate) fn reference(&mut self, name: &str) {
        self.appraisal.reference = Some(name.to_owned());
    }

    /// For evidence that is worth no more than evidence of another kind.
    pub(crate) fn claim_at_most(&mut self, kind: Kind) {
        self.ceiling = kind;
    }

    /// Ends the appraisal. Claims are made only if nothing failed, and confidentiality only if it is known what runs.
    pub(crate) fn conclude(mut self) -> Appraisal {
        if self.appraisal.checks.is_empty() || self.appraisal.reasons().next().is_some() {
            return self.appraisal;
        }
        let known = self.appraisal.finding(Step::Measurement) == Some(&Finding::Pass);
        let wanted = Adversary::ALL.into_iter().filter(|_| known);
        self.appraisal.claims = Some(Claims::at_most(self.ceiling, wanted));
        self.appraisal
    }
}
