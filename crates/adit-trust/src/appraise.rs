//! The verifier: evidence in, appraisal out.

use crate::appraisal::Ledger;
use crate::evidence::MAX_CERTIFICATES;
use crate::roots::Anchors;
use crate::x509::{Certificate, RevocationList};
use crate::{
    Appraisal, Endorsements, Evidence, Policy, Reason, ReferenceValues, Step, dcap, dev, nitro, snp, tpm2,
};

/// Appraises evidence as of `now` (Unix seconds): a pure function of what it is given and of the makers' pinned roots.
///
/// Evidence that is malformed, or that nobody vouches for, is refused in the appraisal; there is no other error.
pub fn appraise(
    evidence: &Evidence,
    endorsements: &Endorsements,
    references: &ReferenceValues,
    policy: &Policy,
    now: u64,
) -> Appraisal {
    appraise_under(&Anchors::makers(), evidence, endorsements, references, policy, now)
}

/// The same under other roots: for tests, which play the maker.
pub(crate) fn appraise_under(
    anchors: &Anchors,
    evidence: &Evidence,
    endorsements: &Endorsements,
    references: &ReferenceValues,
    policy: &Policy,
    now: u64,
) -> Appraisal {
    let kind = evidence.kind();
    let mut ledger = Ledger::new(kind, now);
    ledger.require(Step::Kind, policy.kinds.contains(&kind), Reason::KindNotAccepted(kind));
    let (certificates, lists) = match parse(endorsements, anchors) {
        Ok(both) => both,
        Err(reason) => {
            ledger.check::<()>(Step::CertificateChain, Err(reason));
            return ledger.conclude();
        }
    };
    match evidence {
        // A promise: there is nothing to check, and nothing is claimed.
        Evidence::None => {}
        Evidence::Dev(evidence) => dev::appraise(evidence, references, policy, &mut ledger),
        Evidence::SevSnp { report } => {
            snp::appraise(report, &certificates, &lists, references, policy, anchors, &mut ledger);
        }
        Evidence::Tdx { quote } | Evidence::Sgx { quote } => {
            dcap::appraise(quote, endorsements, references, policy, anchors, &mut ledger);
        }
        Evidence::Tpm2(evidence) => {
            tpm2::appraise(evidence, &certificates, &lists, references, policy, &mut ledger);
        }
        Evidence::Nitro { document } => {
            nitro::appraise(document, &certificates, &lists, references, policy, anchors, &mut ledger);
        }
    }
    ledger.conclude()
}

fn parse(
    endorsements: &Endorsements,
    anchors: &Anchors,
) -> Result<(Vec<Certificate>, Vec<RevocationList>), Reason> {
    if endorsements.certificates.len().max(endorsements.revocation_lists.len()) > MAX_CERTIFICATES {
        return Err(Reason::TooLarge("the list of endorsements"));
    }
    let given = endorsements.certificates.iter().chain(&anchors.known);
    let certificates = given.map(|der| Certificate::parse(der)).collect::<Result<_, _>>()?;
    let lists = endorsements
        .revocation_lists
        .iter()
        .map(|der| RevocationList::parse(der))
        .collect::<Result<_, _>>()?;
    Ok((certificates, lists))
}
