//! The checks that all kinds of evidence share.

use std::collections::BTreeMap;

use crate::x509::{self, Certificate, RevocationList};
use crate::{Kind, Policy, Reason, ReferenceValues, Step, appraisal::Ledger, policy::Software};

/// Clocks of attesters and verifiers may differ by this much, in seconds.
const CLOCK_SKEW: u64 = 120;

/// `actual` must be what the policy asks for, followed by zeros.
pub(crate) fn report_data(ledger: &mut Ledger, policy: &Policy, actual: &[u8]) {
    ledger.fact("report-data", hex::encode(actual));
    let Some(wanted) = &policy.report_data else {
        return ledger
            .not_asked(Step::ReportData, "which key or job the evidence is for, and whether it is fresh");
    };
    let holds = actual
        .split_at_checked(wanted.len())
        .is_some_and(|(head, padding)| head == wanted && padding.iter().all(|byte| *byte == 0));
    ledger.require(Step::ReportData, holds, Reason::ReportData);
}

/// For kinds whose only challenge is the report data.
pub(crate) fn no_nonce(ledger: &mut Ledger, policy: &Policy) {
    if policy.nonce.is_some() {
        let kind = ledger.kind();
        ledger.check::<()>(Step::Nonce, Err(Reason::NoNonceField(kind)));
    }
}

/// For kinds that say when they were made.
pub(crate) fn freshness(ledger: &mut Ledger, policy: &Policy, made: u64) {
    let now = ledger.time();
    ledger.fact("time", made.to_string());
    if made > now.saturating_add(CLOCK_SKEW) {
        ledger.check::<()>(Step::Freshness, Err(Reason::FromTheFuture));
    } else if let Some(max_age) = policy.max_age {
        let age = now.saturating_sub(made);
        ledger.require(Step::Freshness, age <= max_age, Reason::Stale(age));
    } else {
        ledger.not_asked(Step::Freshness, "whether the evidence is young enough");
    }
}

/// The registers must be those of a reference value.
pub(crate) fn measurement(
    ledger: &mut Ledger,
    policy: &Policy,
    references: &ReferenceValues,
    measured: &BTreeMap<String, Vec<u8>>,
) {
    let kind: Kind = ledger.kind();
    match policy.software {
        Software::Any => ledger.not_asked(Step::Measurement, "what software runs inside"),
        Software::Known => {
            let found = references.find(kind, measured);
            if let Some(value) = ledger.check(Step::Measurement, found) {
                ledger.reference(&value.name);
            }
        }
    }
}

/// None of the chain's certificates may have been revoked. `required`: the first place in the chain whose issuer
/// publishes lists.
pub(crate) fn revocation(
    ledger: &mut Ledger,
    policy: &Policy,
    chain: &[&Certificate],
    lists: &[RevocationList],
    required: usize,
) {
    match x509::check_revocation(chain, lists, required, policy.revocation, ledger.time()) {
        Ok(false) => ledger.not_asked(Step::Revocation, "whether one of the certificates was revoked"),
        other => drop(ledger.check(Step::Revocation, other)),
    }
}
