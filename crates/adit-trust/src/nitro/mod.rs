//! `nitro`: attestation documents of AWS Nitro Enclaves: a COSE_Sign1 (RFC 9052) over a CBOR map, as Amazon's "Nitro
//! Enclaves attestation process" describes it.

mod cbor;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::appraisal::Ledger;
use crate::crypto::Hash;
use crate::evidence::MAX_CERTIFICATE;
use crate::policy::{Policy, Revocation};
use crate::roots::Anchors;
use crate::x509::{self, Certificate, RevocationList};
use crate::{Reason, ReferenceValues, Step, common};
use cbor::{Cbor, bytes_head};

const WHAT: &str = "the attestation document";
const MALFORMED: Reason = Reason::Malformed(WHAT);
/// COSE's ES384.
const ES384: i64 = -35;
/// The largest document, and the largest field of the enclave's own.
const MAX_DOCUMENT: usize = 64 << 10;
const MAX_FIELD: usize = 4 << 10;
const MAX_BUNDLE: u64 = 8;

/// Whether these bytes begin as such a document does: an array of four, tagged or not, with a protected header.
pub(crate) fn is_document(bytes: &[u8]) -> bool {
    matches!(bytes.strip_prefix(&[0xd2]).unwrap_or(bytes), [0x84, 0x44, 0xa1, 0x01, ..])
}

struct Document<'a> {
    protected: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
    module: String,
    milliseconds: u64,
    pcrs: BTreeMap<u64, &'a [u8]>,
    certificate: &'a [u8],
    bundle: Vec<&'a [u8]>,
    user_data: Option<&'a [u8]>,
    nonce: Option<&'a [u8]>,
    public_key: Option<&'a [u8]>,
}

impl<'a> Document<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Reason> {
        if bytes.len() > MAX_DOCUMENT {
            return Err(Reason::TooLarge(WHAT));
        }
        let mut cose = Cbor::new(bytes.strip_prefix(&[0xd2]).unwrap_or(bytes));
        if cose.array()? != 4 {
            return Err(MALFORMED);
        }
        let protected = cose.bytes(16)?;
        cose.map(|_| Err(MALFORMED))?;
        let payload = cose.bytes(MAX_DOCUMENT)?;
        let signature = cose.bytes(96)?;
        cose.0.end()?;

        let mut header = Cbor::new(protected);
        let mut algorithm = None;
        header.map(|header| match header.integer()? {
            1 if algorithm.is_none() => {
                algorithm = Some(header.integer()?);
                Ok(())
            }
            _ => Err(MALFORMED),
        })?;
        header.0.end()?;
        if algorithm != Some(ES384) {
            return Err(Reason::Algorithm);
        }
        Self::payload(protected, payload, signature)
    }

    fn payload(protected: &'a [u8], payload: &'a [u8], signature: &'a [u8]) -> Result<Self, Reason> {
        let (mut module, mut digest, mut milliseconds, mut pcrs) = (None, None, None, None);
        let (mut certificate, mut bundle) = (None, None);
        let (mut user_data, mut nonce, mut public_key) = (None, None, None);
        let mut from = Cbor::new(payload);
        from.map(|from| match from.text(32)? {
            "module_id" => once(&mut module, from.text(256)?),
            "digest" => once(&mut digest, from.text(16)?),
            "timestamp" => once(&mut milliseconds, from.unsigned()?),
            "pcrs" => {
                let mut all = BTreeMap::new();
                from.map(|from| {
                    let (index, value) = (from.unsigned()?, from.bytes(64)?);
                    let fits = index < 32 && value.len() == 48 && all.insert(index, value).is_none();
                    if fits { Ok(()) } else { Err(MALFORMED) }
                })?;
                once(&mut pcrs, all)
            }
            "certificate" => once(&mut certificate, from.bytes(MAX_CERTIFICATE)?),
            "cabundle" => {
                let count = from.array()?;
                if count > MAX_BUNDLE {
                    return Err(Reason::TooLarge(WHAT));
                }
                once(&mut bundle, (0..count).map(|_| from.bytes(MAX_CERTIFICATE)).collect::<Result<_, _>>()?)
            }
            "user_data" => once(&mut user_data, from.optional_bytes(MAX_FIELD)?),
            "nonce" => once(&mut nonce, from.optional_bytes(MAX_FIELD)?),
            "public_key" => once(&mut public_key, from.optional_bytes(MAX_FIELD)?),
            _ => Err(MALFORMED),
        })?;
        from.0.end()?;
        if digest != Some("SHA384") {
            return Err(Reason::Algorithm);
        }
        let clean = |c: char| if c.is_ascii_graphic() { c } else { '?' };
        Ok(Document {
            protected,
            payload,
            signature,
            module: module.ok_or(MALFORMED)?.chars().map(clean).collect(),
            milliseconds: milliseconds.ok_or(MALFORMED)?,
            pcrs: pcrs.ok_or(MALFORMED)?,
            certificate: certificate.ok_or(MALFORMED)?,
            bundle: bundle.ok_or(MALFORMED)?,
            user_data: user_data.flatten(),
            nonce: nonce.flatten(),
            public_key: public_key.flatten(),
        })
    }

    /// RFC 9052's `Sig_structure`, without external data.
    fn signed(&self) -> Vec<u8> {
        let mut out = b"\x84\x6aSignature1".to_vec();
        for part in [self.protected, &[], self.payload] {
            out.extend(bytes_head(part.len()));
            out.extend(part);
        }
        out
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Reason> {
    if slot.replace(value).is_none() { Ok(()) } else { Err(MALFORMED) }
}

pub(crate) fn appraise(
    bytes: &[u8],
    given: &[Certificate],
    lists: &[RevocationList],
    references: &ReferenceValues,
    policy: &Policy,
    anchors: &Anchors,
    ledger: &mut Ledger,
) {
    let Some(document) = ledger.check(Step::Form, Document::parse(bytes)) else { return };
    let leaf = Certificate::parse(document.certificate);
    let pool: Result<Vec<_>, _> = document.bundle.iter().map(|der| Certificate::parse(der)).collect();
    let chain = match (&leaf, pool) {
        (Ok(leaf), Ok(mut pool)) => {
            pool.extend(given.iter().cloned());
            let chain = x509::build(leaf, &pool, &anchors.amazon, ledger.time());
            chain.map(|chain| chain.into_iter().cloned().collect::<Vec<_>>())
        }
        (Err(reason), _) => Err(reason.clone()),
        (_, Err(reason)) => Err(reason),
    };
    let Some(chain) = ledger.check(Step::CertificateChain, chain) else { return };
    ledger.vouched_by(format!("Amazon ({})", chain.last().expect("a chain has a root").subject_text()));
    if lists.is_empty() {
        // Amazon tells verifiers to do without: the leaf lives for hours.
        ledger.not_asked(Step::Revocation, "whether one of the certificates was revoked");
    } else {
        let chain: Vec<_> = chain.iter().collect();
        let checked = x509::check_revocation(&chain, lists, 0, Revocation::IfGiven, ledger.time());
        ledger.check(Step::Revocation, checked);
    }
    let signed = chain[0]
        .key()
        .is_ok_and(|key| key.verify_fixed(Hash::Sha384, &document.signed(), document.signature));
    ledger.require(Step::Signature, signed, Reason::Signature);
    ledger.fact("module", &document.module);
    for (index, value) in &document.pcrs {
        if value.iter().any(|byte| *byte != 0) {
            ledger.fact(PCRS[*index as usize], hex::encode(value));
        }
    }
    if let Some(key) = document.public_key {
        ledger.fact("public-key", hex::encode(key));
    }

    // An enclave that was started for debugging measures as zeros.
    let measured = document.pcrs.get(&0).is_some_and(|value| value.iter().any(|byte| *byte != 0));
    ledger.require(Step::Debug, measured, Reason::Debug);
    common::report_data(ledger, policy, document.user_data.unwrap_or_default());
    match &policy.nonce {
        Some(nonce) => ledger.require(Step::Nonce, document.nonce == Some(nonce), Reason::Nonce),
        None => ledger.not_asked(Step::Nonce, "whether the document was made for this occasion"),
    }
    common::freshness(ledger, policy, document.milliseconds / 1000);
    let registers =
        document.pcrs.iter().map(|(index, value)| (PCRS[*index as usize].to_owned(), value.to_vec()));
    common::measurement(ledger, policy, references, &registers.collect());
}

/// The registers' names.
const PCRS: [&str; 32] = [
    "pcr0", "pcr1", "pcr2", "pcr3", "pcr4", "pcr5", "pcr6", "pcr7", "pcr8", "pcr9", "pcr10", "pcr11",
    "pcr12", "pcr13", "pcr14", "pcr15", "pcr16", "pcr17", "pcr18", "pcr19", "pcr20", "pcr21", "pcr22",
    "pcr23", "pcr24", "pcr25", "pcr26", "pcr27", "pcr28", "pcr29", "pcr30", "pcr31",
];
