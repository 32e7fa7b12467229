//! Shares of a sealed object's key.
//!
//! The owner [`split`]s the file key of an object among its holders: any `k` of the shares give it back, fewer tell nothing of
//! it. Each share lies at its holder sealed to the holder's key ([`Share::keep`]), bound to grant, nonce, epoch and index. A
//! holder that lets a use happen opens its share, checks it against the commitment in the signed grant ([`Share::open`]), and
//! seals it to the enclave's key for this one job, bound to that use ([`Share::release`]). The enclave opens what it
//! gets ([`Share::receive`]), so that a wrong share shows whose it is, and puts `k` of them together ([`combine`]).
//!
//! The forms of the bytes, and test vectors, are in `docs/spec/key-shares.md`. No I/O; randomness is passed in.

mod secret;
mod split;
mod wrap;

pub use secret::SealSecret;
pub use split::{CombineError, Place, SEALED_BYTES, Share, ShareError, Use, combine, split};
