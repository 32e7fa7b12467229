//! Templates of keys, and the certificates that makers leave in the TPM: TCG EK Credential Profile 2.6, section 2.2 and
//! annex B.

use tpm2_protocol::basic::{TpmBuffer, TpmUint16, TpmUint32};
use tpm2_protocol::data::{
    Tpm2bDigest, TpmAlgId, TpmEccCurve, TpmaObject, TpmsEccParms, TpmsEccPoint, TpmsRsaParms, TpmsSchemeHash,
    TpmtEccScheme, TpmtKdfScheme, TpmtPublic, TpmtRsaScheme, TpmtSymDefObject, TpmuAsymScheme, TpmuPublicId,
    TpmuPublicParms, TpmuSymKeyBits, TpmuSymMode,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::device::{Tpm, TpmError};

/// Where certificates of those who issued the endorsement keys' certificates are kept, if they are.
const CHAIN: (u32, u32) = (0x01c0_0100, 0x01c0_0200);
/// The most of these indices that are read.
const MAX_CHAIN: u32 = 16;

/// The endorsement keys of the profile that the verifier knows, in the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Template {
    /// L-2: P-256, SHA-256, AES-128.
    P256,
    /// L-1: RSA 2048, SHA-256, AES-128.
    Rsa2048,
    /// H-3: P-384, SHA-384, AES-256.
    P384,
}

/// PolicyA: TPM2_PolicySecret(TPM_RH_ENDORSEMENT).
const POLICY_A_SHA256: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd,
    0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];
const POLICY_A_SHA384: [u8; 48] = [
    0x8b, 0xbf, 0x22, 0x66, 0x53, 0x7c, 0x17, 0x1c, 0xb5, 0x6e, 0x40, 0x3c, 0x4d, 0xc1, 0xd4, 0xb6, 0x4f,
    0x43, 0x26, 0x11, 0xdc, 0x38, 0x6e, 0x6f, 0x53, 0x20, 0x50, 0xc3, 0x27, 0x8c, 0x93, 0x0e, 0x14, 0x3e,
    0x8b, 0xb1, 0x13, 0x38, 0x24, 0xcc, 0xb4, 0x31, 0x05, 0x38, 0x71, 0xc6, 0xdb, 0x53,
];
/// PolicyC: TPM2_PolicyAuthorizeNV.
const POLICY_C_SHA384: [u8; 48] = [
    0xd6, 0x03, 0x2c, 0xe6, 0x1f, 0x2f, 0xb3, 0xc2, 0x40, 0xeb, 0x3c, 0xf6, 0xa3, 0x32, 0x37, 0xef, 0x2b,
    0x6a, 0x16, 0xf4, 0x29, 0x3c, 0x22, 0xb4, 0x55, 0xe2, 0x61, 0xcf, 0xfd, 0x21, 0x7a, 0xd5, 0xb4, 0x94,
    0x7c, 0x2d, 0x73, 0xe6, 0x30, 0x05, 0xee, 0xd2, 0xdc, 0x2b, 0x35, 0x93, 0xd1, 0x65,
];
/// PolicyB: TPM2_PolicyOR(PolicyA, PolicyC).
const POLICY_B_SHA384: [u8; 48] = [
    0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a, 0x07,
    0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca, 0xcb, 0x47,
    0xba, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
];

impl Template {
    pub(super) const ALL: [Template; 3] = [Template::P256, Template::Rsa2048, Template::P384];

    /// The NV index of the certificate.
    fn certificate_index(self) -> u32 {
        match self {
            Template::Rsa2048 => 0x01c0_0002,
            Template::P256 => 0x01c0_000a,
            Template::P384 => 0x01c0_0016,
        }
    }

    pub(super) fn hash(self) -> TpmAlgId {
        match self {
            Template::Rsa2048 | Template::P256 => TpmAlgId::Sha256,
            Template::P384 => TpmAlgId::Sha384,
        }
    }

    /// Where the policy is an alternative: its branches, the one that is taken first.
    pub(super) fn branches(self) -> Option<[&'static [u8]; 2]> {
        match self {
            Template::Rsa2048 | Template::P256 => None,
            Template::P384 => Some([&POLICY_A_SHA384, &POLICY_C_SHA384]),
        }
    }

    pub(super) fn public(self) -> TpmtPublic {
        let mut object_attributes = TpmaObject::FIXED_TPM
            | TpmaObject::FIXED_PARENT
            | TpmaObject::SENSITIVE_DATA_ORIGIN
            | TpmaObject::ADMIN_WITH_POLICY
            | TpmaObject::RESTRICTED
            | TpmaObject::DECRYPT;
        let (policy, (parameters, unique)) = match self {
            Template::Rsa2048 => {
                let parameters = TpmuPublicParms::Rsa(TpmsRsaParms {
                    symmetric: aes_cfb(128),
                    scheme: TpmtRsaScheme::default(),
                    key_bits: TpmUint16::from(2048),
                    exponent: TpmUint32::from(0),
                });
                (&POLICY_A_SHA256[..], (parameters, TpmuPublicId::Rsa(fixed(&[0; 256]))))
            }
            Template::P256 => {
                let scheme = TpmtEccScheme::default();
                (&POLICY_A_SHA256[..], ecc(TpmEccCurve::NistP256, aes_cfb(128), scheme, &[0; 32]))
            }
            Template::P384 => {
                object_attributes |= TpmaObject::USER_WITH_AUTH;
                let scheme = TpmtEccScheme::default();
                (&POLICY_B_SHA384[..], ecc(TpmEccCurve::NistP384, aes_cfb(256), scheme, &[]))
            }
        };
        TpmtPublic {
            object_type: parameters_kind(&parameters),
            name_alg: self.hash(),
            object_attributes,
            auth_policy: fixed(policy),
            parameters,
            unique,
        }
    }

    /// The certificate of this TPM's key, DER without the padding that some makers add, or nothing.
    ///
    /// # Errors
    /// What is kept there is no certificate.
    pub(super) fn certificate(self, tpm: &mut Tpm) -> Result<Option<Vec<u8>>, TpmError> {
        let Some(mut content) = tpm.nv_read(self.certificate_index())? else { return Ok(None) };
        let (rest, _) = X509Certificate::from_der(&content).map_err(|_| TpmError::Answer("TPM2_NV_Read"))?;
        let size = content.len() - rest.len();
        content.truncate(size);
        Ok(Some(content))
    }
}

/// A P-256 key that signs what the TPM itself composed, and nothing else, and never leaves it.
pub(super) fn attestation_key() -> TpmtPublic {
    let hash = TpmuAsymScheme::Hash(TpmsSchemeHash { hash_alg: TpmAlgId::Sha256 });
    let scheme = TpmtEccScheme { scheme: TpmAlgId::Ecdsa, details: hash };
    let none = TpmtSymDefObject { algorithm: TpmAlgId::Null, ..Default::default() };
    let (parameters, unique) = ecc(TpmEccCurve::NistP256, none, scheme, &[]);
    TpmtPublic {
        object_type: TpmAlgId::Ecc,
        name_alg: TpmAlgId::Sha256,
        object_attributes: TpmaObject::FIXED_TPM
            | TpmaObject::FIXED_PARENT
            | TpmaObject::SENSITIVE_DATA_ORIGIN
            | TpmaObject::USER_WITH_AUTH
            | TpmaObject::NO_DA
            | TpmaObject::RESTRICTED
            | TpmaObject::SIGN_ENCRYPT,
        auth_policy: Tpm2bDigest::default(),
        parameters,
        unique,
    }
}

/// Whether a certificate is for the key that a TPM made. A mistake here misleads nobody but the attester: verifiers
/// take the certificate's key and ask the TPM.
pub(super) fn certifies(certificate: &[u8], public: &TpmtPublic) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let named = &certificate.public_key().subject_public_key.data;
    match &public.unique {
        // The modulus stands inside a sequence with the exponent.
        TpmuPublicId::Rsa(modulus) => {
            !modulus.is_empty() && named.windows(modulus.len()).any(|part| part == &**modulus)
        }
        TpmuPublicId::Ecc(point) => {
            let size = named.len() / 2;
            let padded =
                |number: &[u8]| [vec![0; size.saturating_sub(number.len())], number.to_vec()].concat();
            **named == *[vec![4], padded(&point.x), padded(&point.y)].concat()
        }
        _ => false,
    }
}

/// Certificates of those above the endorsement keys' issuer, DER, where the TPM keeps them. What cannot be read as a
/// certificate ends the list: it is only a help to verifiers who do not have them.
pub(super) fn chain(tpm: &mut Tpm) -> Result<Vec<Vec<u8>>, TpmError> {
    let mut content = Vec::new();
    for index in tpm.nv_indices(CHAIN.0, CHAIN.1, MAX_CHAIN)? {
        // One chain may go on in the next index.
        content.extend(tpm.nv_read(index)?.unwrap_or_default());
    }
    let mut certificates = Vec::new();
    let mut rest = &content[..];
    while certificates.len() < adit_trust::MAX_CERTIFICATES
        && let Ok((after, _)) = X509Certificate::from_der(rest)
    {
        certificates.push(rest[..rest.len() - after.len()].to_vec());
        rest = after;
    }
    Ok(certificates)
}

fn parameters_kind(parameters: &TpmuPublicParms) -> TpmAlgId {
    match parameters {
        TpmuPublicParms::Rsa(_) => TpmAlgId::Rsa,
        _ => TpmAlgId::Ecc,
    }
}

fn aes_cfb(bits: u16) -> TpmtSymDefObject {
    TpmtSymDefObject {
        algorithm: TpmAlgId::Aes,
        key_bits: TpmuSymKeyBits::Aes(TpmUint16::from(bits)),
        mode: TpmuSymMode::Aes(TpmAlgId::Cfb),
    }
}

fn ecc(
    curve_id: TpmEccCurve,
    symmetric: TpmtSymDefObject,
    scheme: TpmtEccScheme,
    unique: &[u8],
) -> (TpmuPublicParms, TpmuPublicId) {
    let kdf = TpmtKdfScheme::default();
    let parameters = TpmuPublicParms::Ecc(TpmsEccParms { symmetric, scheme, curve_id, kdf });
    (parameters, TpmuPublicId::Ecc(TpmsEccPoint { x: fixed(unique), y: fixed(unique) }))
}

/// A constant of this file as a buffer.
fn fixed<const N: usize>(bytes: &[u8]) -> TpmBuffer<N> {
    TpmBuffer::try_from(bytes).expect("the constant fits")
}
