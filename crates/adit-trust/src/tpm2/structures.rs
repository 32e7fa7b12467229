//! TPM 2.0 structures that a quote is made of: TPM 2.0 Library, Part 2 "Structures". Big-endian, as in the TPM's
//! answers.

use sha2::{Digest as _, Sha256};

use crate::Reason;
use crate::crypto::{Hash, PublicKey, RsaKey};
use crate::reader::Reader;

const RSA: u16 = 0x0001;
const SHA256: u16 = 0x000b;
const NULL: u16 = 0x0010;
const RSASSA: u16 = 0x0014;
const RSAPSS: u16 = 0x0016;
const ECDSA: u16 = 0x0018;
const ECC: u16 = 0x0023;
const NIST_P256: u16 = 3;
const NIST_P384: u16 = 4;
const MAGIC: u32 = 0xff54_4347;
const QUOTE: u16 = 0x8018;

/// Object attributes that a key must have to be believed: made in this TPM, never to leave it, and signing nothing but
/// what the TPM itself composed.
const NEEDED: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 18;
const DECRYPT: u32 = 1 << 17;

/// An attestation key whose attributes hold.
#[derive(Debug)]
pub(super) struct AttestationKey {
    /// What the TPM calls it: its name algorithm and the hash of its public area.
    pub(super) name: Vec<u8>,
    key: PublicKey,
    scheme: u16,
}

impl AttestationKey {
    /// Reads a TPMT_PUBLIC.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Reason> {
        const WHAT: &str = "the attestation key";
        let mut from = Reader::new(bytes, WHAT);
        let kind = from.u16_be()?;
        if from.u16_be()? != SHA256 {
            return Err(Reason::Algorithm);
        }
        let attributes = from.u32_be()?;
        if attributes & NEEDED != NEEDED || attributes & DECRYPT != 0 {
            return Err(Reason::AttestationKey);
        }
        from.sized(64)?; // its policy binds who may use it, not what it signs
        if from.u16_be()? != NULL {
            return Err(Reason::AttestationKey);
        }
        let scheme = from.u16_be()?;
        if from.u16_be()? != SHA256 {
            return Err(Reason::Algorithm);
        }
        let key = match (kind, scheme) {
            (ECC, ECDSA) => {
                let curve = from.u16_be()?;
                if from.u16_be()? != NULL {
                    return Err(Reason::Algorithm);
                }
                let size = match curve {
                    NIST_P256 => 32,
                    NIST_P384 => 48,
                    _ => return Err(Reason::Algorithm),
                };
                let point = [padded(from.sized(size)?, size)?, padded(from.sized(size)?, size)?].concat();
                PublicKey::point(&point)
            }
            (RSA, RSASSA | RSAPSS) => {
                from.take(2)?; // the modulus' own size says as much
                let exponent = match from.u32_be()? {
                    0 => 65537,
                    other => other,
                };
                RsaKey::new(from.sized(512)?, &exponent.to_be_bytes()).map(PublicKey::Rsa)
            }
            _ => return Err(Reason::Algorithm),
        };
        from.end()?;
        let name = [&SHA256.to_be_bytes()[..], &Sha256::digest(bytes)].concat();
        Ok(Self { name, key: key.ok_or(Reason::Algorithm)?, scheme })
    }

    /// Whether a TPMT_SIGNATURE is this key's, by its scheme, over these bytes.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Reason> {
        let mut from = Reader::new(signature, "the signature");
        if (from.u16_be()?, from.u16_be()?) != (self.scheme, SHA256) {
            return Err(Reason::Algorithm);
        }
        let holds = match &self.key {
            PublicKey::Rsa(key) => {
                let signature = from.sized(512)?;
                if self.scheme == RSASSA {
                    key.verify_pkcs1(Hash::Sha256, message, signature)
                } else {
                    key.verify_pss(Hash::Sha256, message, signature)
                }
            }
            PublicKey::P256(_) => {
                let both = [padded(from.sized(32)?, 32)?, padded(from.sized(32)?, 32)?].concat();
                self.key.verify_fixed(Hash::Sha256, message, &both)
            }
            PublicKey::P384(_) => {
                let both = [padded(from.sized(48)?, 48)?, padded(from.sized(48)?, 48)?].concat();
                self.key.verify_fixed(Hash::Sha256, message, &both)
            }
        };
        from.end()?;
        if holds { Ok(()) } else { Err(Reason::Signature) }
    }
}

/// A number without its leading zeros, as TPMs may write it, brought to its full size.
fn padded(number: &[u8], size: usize) -> Result<Vec<u8>, Reason> {
    let missing = size.checked_sub(number.len()).ok_or(Reason::Malformed("a coordinate"))?;
    Ok([vec![0; missing], number.to_vec()].concat())
}

/// A TPMS_ATTEST over PCRs.
#[derive(Debug)]
pub(super) struct Quote {
    pub(super) extra_data: Vec<u8>,
    /// Milliseconds that the TPM was powered.
    pub(super) clock: u64,
    pub(super) resets: u32,
    pub(super) restarts: u32,
    /// Whether the clock is known not to have gone back.
    pub(super) safe: bool,
    pub(super) firmware: u64,
    /// The selected registers of the SHA-256 bank, in order.
    pub(super) selected: Vec<u8>,
    pub(super) digest: [u8; 32],
}

impl Quote {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Reason> {
        const WHAT: &str = "the quote";
        let mut from = Reader::new(bytes, WHAT);
        if (from.u32_be()?, from.u16_be()?) != (MAGIC, QUOTE) {
            return Err(Reason::NotAQuote);
        }
        from.sized(66)?; // the signer's qualified name; which key signed is known from the signature
        let extra_data = from.sized(64)?.to_vec();
        let (clock, resets, restarts) = (from.u64_be()?, from.u32_be()?, from.u32_be()?);
        let safe = match from.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Reason::Malformed(WHAT)),
        };
        let firmware = from.u64_be()?;
        if from.u32_be()? != 1 || from.u16_be()? != SHA256 {
            return Err(Reason::PcrBank);
        }
        let size = from.u8()?.into();
        let bits = from.take(size)?;
        if !(3..=4).contains(&size) {
            return Err(Reason::Malformed(WHAT));
        }
        let selected = (0..24u8).filter(|pcr| bits[usize::from(pcr / 8)] >> (pcr % 8) & 1 == 1).collect();
        if bits.get(3).is_some_and(|beyond| *beyond != 0) {
            return Err(Reason::Malformed(WHAT));
        }
        let digest = from.sized(32)?.try_into().map_err(|_| Reason::Malformed(WHAT))?;
        from.end()?;
        Ok(Self { extra_data, clock, resets, restarts, safe, firmware, selected, digest })
    }
}
