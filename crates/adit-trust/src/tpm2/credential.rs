//! Whether an attestation key lives in the TPM of an endorsement key: TPM2_MakeCredential without a TPM (TPM 2.0 Library,
//! Part 1, section 24). Whoever activates the credential has both keys in one TPM.

use aes::cipher::{BlockEncrypt as _, KeyInit as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use p256::elliptic_curve::sec1::ToSec1Point as _;
use sha2::{Digest as _, Sha256, Sha384};

use super::structures::AttestationKey;
use crate::Reason;
use crate::crypto::PublicKey;
use crate::roots::Fingerprint;
use crate::x509::Certificate;

/// What an attester's TPM is asked to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The content of a TPM2B_ID_OBJECT.
    pub blob: Vec<u8>,
    /// The content of a TPM2B_ENCRYPTED_SECRET.
    pub secret: Vec<u8>,
}

/// A question that only one TPM can answer. Keeps the answer.
pub struct Challenge {
    answer: [u8; 32],
    key: ActivatedKey,
}

/// An attestation key that a TPM with this endorsement key was seen to hold. Made by [`Challenge::answered`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivatedKey {
    pub(super) name: Vec<u8>,
    pub(super) endorsement: Fingerprint,
}

impl Challenge {
    /// Asks whether the key with the public area `ak_public` (TPMT_PUBLIC) is in the TPM that `ek_certificate` (DER) is
    /// of. `answer` and `seed` are fresh randomness; the seed is not kept.
    ///
    /// # Errors
    /// A certificate or key that is malformed, not restricted, or of a kind that TPMs do not offer as endorsement keys.
    pub fn new(
        ek_certificate: &[u8],
        ak_public: &[u8],
        answer: [u8; 32],
        seed: &[u8; 48],
    ) -> Result<(Credential, Self), Reason> {
        let certificate = Certificate::parse(ek_certificate)?;
        let name = AttestationKey::parse(ak_public)?.name;
        let credential = make(certificate.key()?, &name, &answer, seed)?;
        let key = ActivatedKey { name, endorsement: certificate.fingerprint() };
        Ok((credential, Self { answer, key }))
    }

    /// The proof, if this is what the TPM was to find.
    ///
    /// # Errors
    /// [`Reason::NotActivated`].
    pub fn answered(self, answer: &[u8]) -> Result<ActivatedKey, Reason> {
        // Hashes are compared, so that time tells nothing of the answer.
        let same = Sha256::digest(answer) == Sha256::digest(self.answer);
        if same { Ok(self.key) } else { Err(Reason::NotActivated) }
    }
}

/// The hash and AES key that go with an endorsement key: TCG EK Credential Profile, templates L-1, L-2 and H-3.
#[derive(Clone, Copy)]
enum Suite {
    Sha256Aes128,
    Sha384Aes256,
}

pub(super) fn make(
    ek: &PublicKey,
    name: &[u8],
    answer: &[u8; 32],
    seed: &[u8; 48],
) -> Result<Credential, Reason> {
    let (suite, secret, seed) = match ek {
        // Longer keys go with other hashes (templates H-6 and H-7).
        PublicKey::Rsa(key) if key.bits() != 2048 => return Err(Reason::Algorithm),
        PublicKey::Rsa(key) => {
            let encrypted = key.encrypt_oaep_sha256(b"IDENTITY\0", &seed[..32], &Sha256::digest(seed).into());
            (Suite::Sha256Aes128, encrypted.ok_or(Reason::Algorithm)?, seed[..32].to_vec())
        }
        PublicKey::P256(key) => {
            let own = p256::SecretKey::from_slice(&seed[..32]).map_err(|_| Reason::Algorithm)?;
            let shared = p256::ecdh::diffie_hellman(own.to_nonzero_scalar(), key.as_affine());
            let (own, key) = (own.public_key().to_sec1_point(false), key.to_sec1_point(false));
            ecdh(Suite::Sha256Aes128, shared.raw_secret_bytes(), &own.as_bytes()[1..], &key.as_bytes()[1..])
        }
        PublicKey::P384(key) => {
            let own = p384::SecretKey::from_slice(seed).map_err(|_| Reason::Algorithm)?;
            let shared = p384::ecdh::diffie_hellman(own.to_nonzero_scalar(), key.as_affine());
            let (own, key) = (own.public_key().to_sec1_point(false), key.to_sec1_point(false));
            ecdh(Suite::Sha384Aes256, shared.raw_secret_bytes(), &own.as_bytes()[1..], &key.as_bytes()[1..])
        }
    };
    let mut identity = sized(answer);
    let (storage, digest) = match suite {
        Suite::Sha256Aes128 => (16, 32),
        Suite::Sha384Aes256 => (32, 48),
    };
    suite.encrypt(&suite.kdfa(&seed, b"STORAGE", name, storage), &mut identity);
    let integrity = suite.kdfa(&seed, b"INTEGRITY", &[], digest);
    let mac = suite.hmac(&integrity, &[&identity, name]);
    Ok(Credential { blob: [sized(&mac), identity].concat(), secret })
}

/// The point for the TPM and the seed that both sides derive. Points are `x ‖ y`.
fn ecdh(suite: Suite, shared: &[u8], own: &[u8], key: &[u8]) -> (Suite, Vec<u8>, Vec<u8>) {
    let (x, y) = own.split_at(own.len() / 2);
    let point = [sized(x), sized(y)].concat();
    // KDFe.
    let parts = [&1u32.to_be_bytes()[..], shared, b"IDENTITY\0", x, &key[..key.len() / 2]].concat();
    let seed = match suite {
        Suite::Sha256Aes128 => Sha256::digest(parts).to_vec(),
        Suite::Sha384Aes256 => Sha384::digest(parts).to_vec(),
    };
    (suite, point, seed)
}

impl Suite {
    fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Suite::Sha256Aes128 => {
                let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
                parts.iter().for_each(|part| mac.update(part));
                mac.finalize().into_bytes().to_vec()
            }
            Suite::Sha384Aes256 => {
                let mut mac = Hmac::<Sha384>::new_from_slice(key).expect("HMAC takes any key");
                parts.iter().for_each(|part| mac.update(part));
                mac.finalize().into_bytes().to_vec()
            }
        }
    }

    /// KDFa; no key here is longer than the hash, so one block is enough.
    fn kdfa(self, key: &[u8], label: &[u8], context: &[u8], size: usize) -> Vec<u8> {
        let bits = (size as u32 * 8).to_be_bytes();
        let mut out = self.hmac(key, &[&1u32.to_be_bytes(), label, &[0], context, &bits]);
        out.truncate(size);
        out
    }

    /// AES in CFB mode from a zero vector, as TPMs wrap identities.
    fn encrypt(self, key: &[u8], data: &mut [u8]) {
        let mut stream = [0u8; 16];
        for chunk in data.chunks_mut(16) {
            let mut block: aes::Block = stream.into();
            match self {
                Suite::Sha256Aes128 => {
                    aes::Aes128::new_from_slice(key).expect("16 bytes").encrypt_block(&mut block);
                }
                Suite::Sha384Aes256 => {
                    aes::Aes256::new_from_slice(key).expect("32 bytes").encrypt_block(&mut block);
                }
            }
            chunk.iter_mut().zip(block).for_each(|(byte, key)| *byte ^= key);
            stream[..chunk.len()].copy_from_slice(chunk);
        }
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}
