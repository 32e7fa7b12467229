//! `tpm2`: quotes over the registers that a measured boot left in a TPM 2.0.

mod credential;
mod log;
mod structures;
#[cfg(test)]
mod tests;

pub use credential::{ActivatedKey, Challenge, Credential};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::appraisal::Ledger;
use crate::evidence::MAX_EVIDENCE;
use crate::policy::Policy;
use crate::x509::{self, Certificate, RevocationList};
use crate::{Kind, Reason, ReferenceValues, Step, common};
use structures::{AttestationKey, Quote};

/// The extended key usage and the attribute "model" of endorsement keys' certificates, as DER has them.
const EK_USAGE: &[u8] = &[6, 5, 0x67, 0x81, 5, 8, 1];
const MODEL: &[u8] = &[6, 5, 0x67, 0x81, 5, 2, 2];
/// IMA's register: what the kernel adds there is not in the firmware's log.
const IMA: u8 = 10;

/// A TPM's quote and what is needed to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TpmEvidence {
    /// The endorsement key's X.509 certificate, DER.
    #[serde(with = "hex_bytes")]
    pub ek_certificate: Vec<u8>,
    /// The attestation key's public area, TPMT_PUBLIC.
    #[serde(with = "hex_bytes")]
    pub ak_public: Vec<u8>,
    /// TPMS_ATTEST, as the TPM answered it.
    #[serde(with = "hex_bytes")]
    pub quote: Vec<u8>,
    /// TPMT_SIGNATURE over it.
    #[serde(with = "hex_bytes")]
    pub signature: Vec<u8>,
    /// The values of the quoted registers, SHA-256 bank, 32 bytes each, in ascending order.
    #[serde(with = "hex_bytes")]
    pub pcrs: Vec<u8>,
    /// The firmware's event log, or nothing.
    #[serde(with = "hex_bytes", default)]
    pub event_log: Vec<u8>,
}

impl TpmEvidence {
    /// Reads `{"ek-certificate", "ak-public", "quote", "signature", "pcrs", "event-log"}`, all hexadecimal.
    ///
    /// # Errors
    /// Too large, or malformed.
    pub fn from_json(json: &[u8]) -> Result<Self, Reason> {
        if json.len() > MAX_EVIDENCE {
            return Err(Reason::TooLarge("the evidence"));
        }
        serde_json::from_slice(json).map_err(|_| Reason::Malformed("the evidence"))
    }
}

/// What a relying party saw of a TPM before, by one attestation key: to keys outside the endorsement hierarchy the
/// TPM tells its counters with a secret offset, which differs from key to key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastSeen {
    /// The attestation key's name: its algorithm and hash.
    pub key: Vec<u8>,
    /// How often the TPM had been reset.
    pub resets: u32,
    /// How often it had been resumed since.
    pub restarts: u32,
    /// Milliseconds of its clock.
    pub clock: u64,
}

impl LastSeen {
    /// What this evidence says, to be kept for the next time. Believe it only if the evidence was accepted.
    ///
    /// # Errors
    /// Evidence that is malformed.
    pub fn of(evidence: &TpmEvidence) -> Result<Self, Reason> {
        let key = AttestationKey::parse(&evidence.ak_public)?.name;
        let quote = Quote::parse(&evidence.quote)?;
        Ok(Self { key, resets: quote.resets, restarts: quote.restarts, clock: quote.clock })
    }

    /// Whether a quote can have been made after this was seen. The offset may carry a counter over its end.
    fn before(&self, quote: &Quote) -> bool {
        let ahead = |now: u32, then: u32| now.wrapping_sub(then).cast_signed();
        let (resets, restarts) = (ahead(quote.resets, self.resets), ahead(quote.restarts, self.restarts));
        resets > 0 || resets == 0 && restarts >= 0 && quote.clock >= self.clock
    }
}

pub(crate) fn appraise(
    evidence: &TpmEvidence,
    given: &[Certificate],
    lists: &[RevocationList],
    references: &ReferenceValues,
    policy: &Policy,
    ledger: &mut Ledger,
) {
    let parsed = || {
        let ek = Certificate::parse(&evidence.ek_certificate)?;
        let ak = AttestationKey::parse(&evidence.ak_public)?;
        let quote = Quote::parse(&evidence.quote)?;
        let pcrs = registers(&evidence.pcrs, &quote.selected)?;
        Ok((ek, ak, quote, pcrs))
    };
    let Some((ek, ak, quote, pcrs)) = ledger.check(Step::Form, parsed()) else { return };

    let Some(chain) = ledger.check(Step::CertificateChain, chain(&ek, given, policy, ledger.time())) else {
        return;
    };
    let root = *chain.last().expect("a chain has a root");
    let of_devnet = policy.devnet.as_ref().is_some_and(|devnet| devnet.1 == Some(root.fingerprint()));
    if of_devnet {
        // A TPM of software, made for this devnet: simulated evidence by another way.
        ledger.claim_at_most(Kind::Dev);
        ledger.require(Step::Kind, policy.kinds.contains(&Kind::Dev), Reason::KindNotAccepted(Kind::Dev));
    }
    ledger.vouched_by(format!("{} (a root that the policy names)", root.subject_text()));
    common::revocation(ledger, policy, &chain, lists, 0);

    let activated = policy.tpm.activated.iter();
    let lives_there =
        activated.filter(|one| one.name == ak.name).any(|one| one.endorsement == ek.fingerprint());
    ledger.require(Step::AttestationKey, lives_there, Reason::NotActivated);
    ledger.check(Step::Signature, ak.verify(&evidence.quote, &evidence.signature));
    common::report_data(ledger, policy, &quote.extra_data);
    common::no_nonce(ledger, policy);
    clock(ledger, &ak, &quote, policy);

    let digest: [u8; 32] = Sha256::digest(&evidence.pcrs).into();
    ledger.require(Step::Registers, digest == quote.digest, Reason::Registers);
    if evidence.event_log.is_empty() {
        ledger.not_asked(Step::EventLog, "step by step, how the registers came to their values");
    } else {
        ledger.check(Step::EventLog, explained(&evidence.event_log, &pcrs));
    }
    // What any process can reset and extend again proves nothing: it is no measurement.
    let fixed = pcrs.iter().filter(|(pcr, _)| **pcr < log::STATIC);
    let measured: BTreeMap<_, _> = fixed.map(|(pcr, value)| (format!("pcr{pcr}"), value.to_vec())).collect();
    for (pcr, value) in &pcrs {
        ledger.fact("pcr", format!("{pcr} {}", hex::encode(value)));
    }
    common::measurement(ledger, policy, references, &measured);
}

/// The values that were sent, by the registers that the quote selects.
fn registers(values: &[u8], selected: &[u8]) -> Result<BTreeMap<u8, [u8; 32]>, Reason> {
    let (values, rest) = values.as_chunks::<32>();
    if values.len() != selected.len() || !rest.is_empty() || values.is_empty() {
        return Err(Reason::Registers);
    }
    Ok(selected.iter().copied().zip(values.iter().copied()).collect())
}

fn chain<'a>(
    ek: &'a Certificate,
    given: &'a [Certificate],
    policy: &Policy,
    now: u64,
) -> Result<Vec<&'a Certificate>, Reason> {
    let contains = |oid, wanted: &[u8]| {
        ek.extension(oid).is_some_and(|value| value.windows(wanted.len()).any(|part| part == wanted))
    };
    if !contains("2.5.29.37", EK_USAGE) {
        return Err(Reason::NotAnEndorsementKey);
    }
    let devnet = policy.devnet.as_ref().and_then(|devnet| devnet.1);
    let roots: Vec<_> = policy.tpm.roots.iter().copied().chain(devnet).collect();
    let chain = x509::build(ek, given, &roots, now)?;
    // Software that says so in its certificate is taken at its word, whoever put its root into a policy.
    let software = contains("2.5.29.17", MODEL)
        && ek
            .extension("2.5.29.17")
            .is_some_and(|value| value.windows(5).any(|part| part.eq_ignore_ascii_case(b"swtpm")));
    let root = chain.last().map(|root| root.fingerprint());
    if software && (devnet.is_none() || root != devnet) { Err(Reason::SoftwareTpm) } else { Ok(chain) }
}

/// A TPM whose counters are behind what was seen is a copy, or was put back.
fn clock(ledger: &mut Ledger, ak: &AttestationKey, quote: &Quote, policy: &Policy) {
    ledger.fact("resets", quote.resets.to_string());
    ledger.fact("restarts", quote.restarts.to_string());
    ledger.fact("clock-ms", format!("{}{}", quote.clock, if quote.safe { "" } else { " (not safe)" }));
    ledger.fact("firmware", format!("{:#x}", quote.firmware));
    match policy.tpm.last_seen.iter().find(|seen| seen.key == ak.name) {
        None => ledger.not_asked(Step::Clock, "whether this TPM's state is a copy of an older one"),
        Some(seen) => ledger.require(Step::Clock, seen.before(quote), Reason::ClockBehind),
    }
}

/// Every register that firmware and boot loaders measure into must be what the log leads to.
fn explained(log: &[u8], pcrs: &BTreeMap<u8, [u8; 32]>) -> Result<(), Reason> {
    let replayed = log::replay(log)?;
    for (pcr, value) in pcrs.iter().filter(|(pcr, _)| **pcr < log::STATIC && **pcr != IMA) {
        if replayed.get(pcr).unwrap_or(&[0; 32]) != value {
            return Err(Reason::EventLog(*pcr));
        }
    }
    Ok(())
}

mod hex_bytes {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        hex::decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}
