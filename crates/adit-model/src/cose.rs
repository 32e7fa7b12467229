//! COSE_Sign1 with ES256K (RFC 9052, RFC 8812), for the one shape that receipts have.
//!
//! Tag 18, protected header `{1: -47 (ES256K), 16 (typ, RFC 9596): "application/adit-receipt+cose"}`, empty
//! unprotected header, attached payload. Written and read by hand because the frame around the payload is
//! constant: anything else is not a receipt. A test checks it against the `coset` crate.

use sha2::{Digest, Sha256};

/// `[18([` and the protected header as a byte string, and the empty unprotected header.
const FRAME: &[u8] = b"\xd2\x84\x58\x24\xa2\x01\x38\x2e\x10\x78\x1dapplication/adit-receipt+cose\xa0";
/// The protected header as it stands in the frame: a byte string of 36 bytes with its two-byte head.
const PROTECTED: std::ops::Range<usize> = 2..FRAME.len() - 1;
/// `["Signature1", protected, h'' (external data), payload]` up to the payload.
const SIGNATURE1: &[u8] = b"\x84\x6aSignature1";

/// The head of a byte string whose length fits in 32 bits.
fn bytes_head(len: usize, out: &mut Vec<u8>) {
    match len {
        0..=23 => out.push(0x40 | len as u8),
        24..=0xff => out.extend([0x58, len as u8]),
        0x100..=0xffff => {
            out.push(0x59);
            out.extend((len as u16).to_be_bytes());
        }
        _ => {
            out.push(0x5a);
            out.extend((len as u32).to_be_bytes());
        }
    }
}

/// The SHA-256 digest that ES256K signs for this payload.
pub(crate) fn digest(payload: &[u8]) -> [u8; 32] {
    let mut head = Vec::with_capacity(5);
    bytes_head(payload.len(), &mut head);
    Sha256::new()
        .chain_update(SIGNATURE1)
        .chain_update(&FRAME[PROTECTED])
        .chain_update([0x40])
        .chain_update(&head)
        .chain_update(payload)
        .finalize()
        .into()
}

/// The tagged COSE_Sign1 of a payload and its signature.
pub(crate) fn join(payload: &[u8], signature: &[u8; 64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FRAME.len() + payload.len() + 72);
    out.extend(FRAME);
    bytes_head(payload.len(), &mut out);
    out.extend(payload);
    bytes_head(signature.len(), &mut out);
    out.extend(signature);
    out
}

/// The payload and signature of a COSE_Sign1 in exactly the form that [`join`] gives.
pub(crate) fn split(cose: &[u8]) -> Option<(&[u8], &[u8; 64])> {
    let rest = cose.strip_prefix(FRAME)?;
    let (rest, signature) = rest.split_last_chunk::<64>()?;
    let rest = rest.strip_suffix(&[0x58, 0x40])?;
    // The head depends on the payload's length, which is what remains: at most three sizes of head fit.
    [1, 2, 3, 5].into_iter().find_map(|head_len| {
        let (head, payload) = rest.split_at_checked(head_len)?;
        let mut expected = Vec::with_capacity(5);
        bytes_head(payload.len(), &mut expected);
        (head == expected).then_some((payload, signature))
    })
}
