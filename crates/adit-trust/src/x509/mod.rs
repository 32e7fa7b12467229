//! X.509 certificates and revocation lists, as far as attestation uses them. Parsing is x509-parser's; what counts as
//! a valid chain is decided here.

mod chain;
mod list;

pub(crate) use chain::{build, check_revocation};
pub(crate) use list::{RevocationList, is_revocation_list};

use sha2::{Digest as _, Sha256};
use x509_parser::prelude::*;

use crate::Reason;
use crate::crypto::{Hash, PublicKey, RsaKey, Scheme};
use crate::evidence::MAX_CERTIFICATE;
use crate::roots::Fingerprint;

/// More extensions than this no certificate of a platform has.
const MAX_EXTENSIONS: usize = 64;
/// Critical extensions that are understood: key usage, alternative name, basic constraints, distribution points,
/// policies, extended key usage.
const UNDERSTOOD: [&str; 6] = ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.31", "2.5.29.32", "2.5.29.37"];

/// A parsed certificate. Nothing about it is believed before it is part of a chain.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    fingerprint: Fingerprint,
    signed: Vec<u8>,
    scheme: Option<Scheme>,
    signature: Vec<u8>,
    serial: Vec<u8>,
    issuer: Vec<u8>,
    subject: Vec<u8>,
    issuer_text: String,
    subject_text: String,
    not_before: i64,
    not_after: i64,
    key: Option<PublicKey>,
    /// Whether it may issue certificates, and how many more may follow below the next.
    authority: Option<Option<u32>>,
    extensions: Vec<(String, Vec<u8>)>,
    unknown_critical: bool,
}

impl Certificate {
    /// Parses one DER certificate with nothing after it.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, Reason> {
        if der.len() > MAX_CERTIFICATE {
            return Err(Reason::TooLarge("a certificate"));
        }
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| Reason::CertificateMalformed)?;
        let tbs = &parsed.tbs_certificate;
        // The parser does not mind a sequence that is not marked as constructed.
        let sane = rest.is_empty()
            && der[0] == 0x30
            && tbs.signature == parsed.signature_algorithm
            && parsed.signature_value.unused_bits == 0
            && tbs.extensions().len() <= MAX_EXTENSIONS;
        if !sane || tbs.extensions_map().is_err() {
            return Err(Reason::CertificateMalformed);
        }
        let constraints = tbs.basic_constraints().map_err(|_| Reason::CertificateMalformed)?;
        let usage = tbs.key_usage().map_err(|_| Reason::CertificateMalformed)?;
        let may_sign = usage.is_none_or(|usage| usage.value.key_cert_sign());
        let authority = constraints
            .filter(|constraints| constraints.value.ca && may_sign)
            .map(|constraints| constraints.value.path_len_constraint);
        let unknown_critical = tbs
            .extensions()
            .iter()
            .any(|one| one.critical && !UNDERSTOOD.contains(&one.oid.to_id_string().as_str()));
        Ok(Certificate {
            fingerprint: Sha256::digest(der).into(),
            signed: tbs.as_ref().to_vec(),
            scheme: scheme(&parsed.signature_algorithm),
            signature: parsed.signature_value.data.to_vec(),
            serial: tbs.raw_serial().to_vec(),
            issuer: tbs.issuer().as_raw().to_vec(),
            subject: tbs.subject().as_raw().to_vec(),
            issuer_text: name_text(tbs.issuer()),
            subject_text: name_text(tbs.subject()),
            not_before: tbs.validity().not_before.timestamp(),
            not_after: tbs.validity().not_after.timestamp(),
            key: public_key(tbs.public_key()),
            authority,
            extensions: tbs
                .extensions()
                .iter()
                .map(|one| (one.oid.to_id_string(), one.value.to_vec()))
                .collect(),
            unknown_critical,
        })
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(crate) fn subject_text(&self) -> &str {
        &self.subject_text
    }

    pub(crate) fn key(&self) -> Result<&PublicKey, Reason> {
        self.key.as_ref().ok_or(Reason::Algorithm)
    }

    /// The value of an extension, by its dotted OID: what the OCTET STRING holds.
    pub(crate) fn extension(&self, oid: &str) -> Option<&[u8]> {
        self.extensions.iter().find(|(id, _)| id == oid).map(|(_, value)| value.as_slice())
    }

    /// Whether the signature on it is by the key of `issuer`, whatever the names say.
    pub(crate) fn signed_by(&self, issuer: &Certificate) -> bool {
        match (&issuer.key, self.scheme) {
            (Some(key), Some(scheme)) => key.verify(scheme, &self.signed, &self.signature),
            _ => false,
        }
    }
}

/// A name for people: short, and free of anything that could write over a terminal.
fn name_text(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().find_map(|one| one.as_str().ok().map(str::to_owned));
    let text = common.unwrap_or_else(|| name.to_string());
    let clean = text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' });
    let clean: String = clean.take(96).collect();
    if clean.is_empty() { "without a name".into() } else { clean }
}

fn scheme(algorithm: &AlgorithmIdentifier<'_>) -> Option<Scheme> {
    Some(match algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.10045.4.3.2" => Scheme::Ecdsa(Hash::Sha256),
        "1.2.840.10045.4.3.3" => Scheme::Ecdsa(Hash::Sha384),
        "1.2.840.10045.4.3.4" => Scheme::Ecdsa(Hash::Sha512),
        "1.2.840.113549.1.1.11" => Scheme::RsaPkcs1(Hash::Sha256),
        "1.2.840.113549.1.1.12" => Scheme::RsaPkcs1(Hash::Sha384),
        "1.2.840.113549.1.1.13" => Scheme::RsaPkcs1(Hash::Sha512),
        "1.2.840.113549.1.1.10" => {
            let any = algorithm.parameters()?;
            let params = x509_parser::signature_algorithm::RsaSsaPssParams::try_from(any).ok()?;
            let hash = sha2_by_oid(&params.hash_algorithm_oid().to_id_string())?;
            let mask = params.mask_gen_algorithm().ok()?;
            let plain = mask.mgf.to_id_string() == "1.2.840.113549.1.1.8"
                && sha2_by_oid(&mask.hash.to_id_string()) == Some(hash)
                && params.salt_length() as usize == hash.size()
                && params.trailer_field() == 1;
            plain.then_some(Scheme::RsaPss(hash))?
        }
        _ => return None,
    })
}

fn sha2_by_oid(oid: &str) -> Option<Hash> {
    match oid {
        "2.16.840.1.101.3.4.2.1" => Some(Hash::Sha256),
        "2.16.840.1.101.3.4.2.2" => Some(Hash::Sha384),
        "2.16.840.1.101.3.4.2.3" => Some(Hash::Sha512),
        _ => None,
    }
}

fn public_key(info: &SubjectPublicKeyInfo<'_>) -> Option<PublicKey> {
    match info.algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.10045.2.1" => {
            let curve = info.algorithm.parameters()?.as_oid().ok()?.to_id_string();
            let point = &info.subject_public_key.data;
            match curve.as_str() {
                "1.2.840.10045.3.1.7" => {
                    p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok().map(PublicKey::P256)
                }
                "1.3.132.0.34" => p384::ecdsa::VerifyingKey::from_sec1_bytes(point).ok().map(PublicKey::P384),
                _ => None,
            }
        }
        "1.2.840.113549.1.1.1" => match info.parsed().ok()? {
            x509_parser::public_key::PublicKey::RSA(key) => {
                RsaKey::new(key.modulus, key.exponent).map(PublicKey::Rsa)
            }
            _ => None,
        },
        _ => None,
    }
}
