//! The EIP-712 form of a receipt, so that contracts can check it with `ecrecover`.
//!
//! The domain has a name and a version only: a receipt is worth the same on every chain. The struct carries what
//! contracts act on, and `receipt`, the SHA2-256 of the canonical record, which ties in everything else:
//!
//! ```text
//! EIP712Domain(string name,string version)                          name "Adit", version "1"
//! Receipt(bytes32 receipt,bytes32 task,bytes32 invocation,bytes32 outcome,address host,uint64 time,string evidence)
//! ```
//!
//! CIDs stand as their SHA2-256 digests; `evidence` is the kind's word.

use crate::receipt::{Evidence, Receipt};
use sha3::{Digest, Keccak256};

/// keccak256 of the struct's type string.
const RECEIPT_TYPE: [u8; 32] = [
    0x5b, 0x33, 0xa0, 0xfe, 0x7f, 0x88, 0x23, 0x0b, 0xb7, 0xfc, 0x7c, 0x00, 0x94, 0x07, 0x09, 0xd0, 0x66,
    0x8e, 0x91, 0x13, 0xf5, 0x4d, 0x79, 0xf6, 0x13, 0x71, 0x34, 0x30, 0x63, 0xa2, 0x06, 0x37,
];
/// The domain's separator.
const DOMAIN: [u8; 32] = [
    0x06, 0x95, 0xb2, 0x3d, 0x45, 0xa4, 0x88, 0x6b, 0x07, 0xd0, 0x20, 0x41, 0x01, 0xe7, 0x2e, 0x32, 0x61,
    0xf9, 0x1c, 0x51, 0xed, 0x8a, 0x83, 0x19, 0x89, 0xc4, 0xfc, 0x38, 0x64, 0x19, 0x88, 0x38,
];
/// keccak256("none").
const EVIDENCE_NONE: [u8; 32] = [
    0xf4, 0x91, 0x51, 0x22, 0xcc, 0x2b, 0x3d, 0x2d, 0xae, 0x9e, 0x7d, 0x77, 0xa7, 0x8c, 0x2e, 0xb0, 0xce,
    0xf7, 0xb5, 0x5d, 0xe5, 0xc7, 0x25, 0xee, 0xa5, 0x6e, 0x20, 0x27, 0x33, 0x24, 0x89, 0xe1,
];

/// The Keccak-256 digest that is signed. `receipt_digest` is the SHA2-256 of the canonical record.
pub(crate) fn digest(receipt: &Receipt, receipt_digest: &[u8; 32]) -> [u8; 32] {
    let evidence = match receipt.evidence {
        Evidence::None { .. } => EVIDENCE_NONE,
    };
    let mut words = [0u8; 8 * 32];
    words[..32].copy_from_slice(&RECEIPT_TYPE);
    words[32..64].copy_from_slice(receipt_digest);
    words[64..96].copy_from_slice(receipt.task.digest());
    words[96..128].copy_from_slice(receipt.invocation.digest());
    words[128..160].copy_from_slice(receipt.outcome.digest());
    words[172..192].copy_from_slice(&receipt.host.0);
    words[216..224].copy_from_slice(&receipt.time.to_be_bytes());
    words[224..].copy_from_slice(&evidence);
    Keccak256::new()
        .chain_update([0x19, 0x01])
        .chain_update(DOMAIN)
        .chain_update(Keccak256::digest(words))
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keccak(bytes: &[u8]) -> [u8; 32] {
        Keccak256::digest(bytes).into()
    }

    #[test]
    fn the_constants_are_the_hashes_of_the_documented_strings() {
        let receipt = "Receipt(bytes32 receipt,bytes32 task,bytes32 invocation,bytes32 outcome,\
                       address host,uint64 time,string evidence)";
        assert_eq!(hex::encode(RECEIPT_TYPE), hex::encode(keccak(receipt.as_bytes())));
        let mut domain = Vec::new();
        domain.extend(keccak(b"EIP712Domain(string name,string version)"));
        domain.extend(keccak(b"Adit"));
        domain.extend(keccak(b"1"));
        assert_eq!(hex::encode(DOMAIN), hex::encode(keccak(&domain)));
        assert_eq!(hex::encode(EVIDENCE_NONE), hex::encode(keccak(b"none")));
    }
}
