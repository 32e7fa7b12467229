//! Simulated evidence of a devnet.

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::{Policy, Reason, ReferenceValues, Step, appraisal::Ledger, common};

const TAG: &[u8] = b"adit/dev-evidence/1\0";

/// What a devnet's attester signs: `SHA-256(tag ‖ time ‖ measurement ‖ report data)`, time as big-endian seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevEvidence {
    /// SHA-256 of the program.
    pub measurement: [u8; 32],
    /// What the evidence is bound to.
    pub report_data: [u8; 64],
    /// Unix seconds.
    pub time: u64,
    /// Ed25519, by the devnet's root.
    pub signature: [u8; 64],
}

impl DevEvidence {
    /// The bytes that the devnet's root signs.
    pub fn signed_bytes(&self) -> [u8; 32] {
        Sha256::new()
            .chain_update(TAG)
            .chain_update(self.time.to_be_bytes())
            .chain_update(self.measurement)
            .chain_update(self.report_data)
            .finalize()
            .into()
    }

    /// As it travels: time, measurement, report data, signature.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.time.to_be_bytes()[..], &self.measurement, &self.report_data, &self.signature].concat()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// Any other number of bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Reason> {
        let parts = || {
            let (time, rest) = bytes.split_first_chunk()?;
            let (measurement, rest) = rest.split_first_chunk()?;
            let (report_data, rest) = rest.split_first_chunk()?;
            let signature = rest.try_into().ok()?;
            let time = u64::from_be_bytes(*time);
            Some(Self { measurement: *measurement, report_data: *report_data, time, signature })
        };
        parts().ok_or(Reason::Malformed("the evidence"))
    }
}

pub(crate) fn appraise(
    evidence: &DevEvidence,
    references: &ReferenceValues,
    policy: &Policy,
    ledger: &mut Ledger,
) {
    let signature = || {
        let root = policy.devnet.as_ref().ok_or(Reason::NoDevnet)?;
        let root = VerifyingKey::from_bytes(&root.0).map_err(|_| Reason::NoDevnet)?;
        root.verify_strict(&evidence.signed_bytes(), &Signature::from_bytes(&evidence.signature))
            .map_err(|_| Reason::NoDevnet)
    };
    if ledger.check(Step::Signature, signature()).is_none() {
        return;
    }
    ledger.vouched_by("this devnet's simulated attester");
    common::report_data(ledger, policy, &evidence.report_data);
    common::no_nonce(ledger, policy);
    common::freshness(ledger, policy, evidence.time);
    let measured = [("measurement".to_owned(), evidence.measurement.to_vec())].into();
    common::measurement(ledger, policy, references, &measured);
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;
    use crate::{Appraisal, DevnetRoot, Endorsements, Evidence, Kind, appraise};

    fn evidence(root: &SigningKey) -> DevEvidence {
        let mut evidence =
            DevEvidence { measurement: [3; 32], report_data: [4; 64], time: 1000, signature: [0; 64] };
        evidence.signature = root.sign(&evidence.signed_bytes()).to_bytes();
        evidence
    }

    fn appraised(evidence: DevEvidence, policy: &Policy) -> Appraisal {
        let json = format!(
            r#"{{"values": [{{"name": "x", "kind": "dev", "registers": {{"measurement": "{}"}}}}]}}"#,
            "03".repeat(32)
        );
        let references = ReferenceValues::from_json(json.as_bytes()).unwrap();
        appraise(&Evidence::Dev(evidence), &Endorsements::default(), &references, policy, 1100)
    }

    fn names(appraisal: &Appraisal) -> Vec<&'static str> {
        appraisal.reasons().map(Reason::name).collect()
    }

    #[test]
    fn simulated_evidence_counts_in_its_own_devnet_only_and_claims_nothing() {
        let root = SigningKey::from_bytes(&[7; 32]);
        let mut policy = Policy { report_data: Some(vec![4; 64]), ..Policy::default() };
        policy.devnet = Some(DevnetRoot::of_this_devnet(root.verifying_key().to_bytes()));
        assert_eq!(names(&appraised(evidence(&root), &policy)), ["kind-not-accepted"]);
        policy.kinds.insert(Kind::Dev);
        let appraisal = appraised(evidence(&root), &policy);
        assert_eq!(appraisal.claims(), Some(&Kind::Dev.ceiling()), "{:?}", appraisal.checks);

        let other = SigningKey::from_bytes(&[8; 32]);
        assert_eq!(names(&appraised(evidence(&other), &policy)), ["no-devnet"]);
        for change in [
            |evidence: &mut DevEvidence| evidence.measurement[0] ^= 1,
            |evidence: &mut DevEvidence| evidence.report_data[63] ^= 1,
            |evidence: &mut DevEvidence| evidence.time ^= 1,
            |evidence: &mut DevEvidence| evidence.signature[0] ^= 1,
        ] {
            let mut changed = evidence(&root);
            change(&mut changed);
            assert_eq!(names(&appraised(changed, &policy)), ["no-devnet"]);
        }
        policy.max_age = Some(99);
        assert_eq!(names(&appraised(evidence(&root), &policy)), ["stale"]);
        policy.devnet = None;
        assert_eq!(names(&appraised(evidence(&root), &policy)), ["no-devnet"]);
    }

    #[test]
    fn it_reads_back_from_its_bytes_and_from_no_others() {
        let evidence = evidence(&SigningKey::from_bytes(&[7; 32]));
        let bytes = evidence.to_bytes();
        assert_eq!(Evidence::of_kind(Kind::Dev, &bytes), Ok(Evidence::Dev(evidence)));
        for len in 0..bytes.len() {
            assert!(DevEvidence::from_bytes(&bytes[..len]).is_err(), "{len} bytes");
        }
        assert!(DevEvidence::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        assert_eq!(Evidence::of_kind(Kind::None, &[]), Err(Reason::UnknownEvidence));
    }

    #[test]
    fn a_promise_is_accepted_only_where_asked_for_and_claims_nothing() {
        let none = |policy: &Policy| {
            appraise(&Evidence::None, &Endorsements::default(), &ReferenceValues::default(), policy, 0)
        };
        assert_eq!(names(&none(&Policy::default())), ["kind-not-accepted"]);
        let policy = Policy { kinds: [Kind::None].into(), ..Policy::default() };
        assert!(none(&policy).claims().unwrap().confidential_from().is_empty());
    }
}
