//! The age format, version 1 (<https://c2sp.org/age>): reading and writing, for X25519 recipients.
//!
//! A file is a [`Header`], which wraps the [`FileKey`] for each recipient, a [`PayloadNonce`], and the payload: chunks of
//! 64 KiB, each sealed by itself under its number and whether it is the last. So a chunk opens without the others
//! ([`Ranges`]), and nothing can be cut off, moved or added unnoticed. What [`Sealer`] writes, age's own programs
//! open, and the other way round.
//!
//! Not read: files sealed with a passphrase, and the armoured (textual) form.

mod bech32;
mod header;
mod keys;
mod payload;
mod ranges;

pub use header::{Header, MAX_HEADER, MAX_STANZAS};
pub use keys::{FileKey, Identity, KeyError, Recipient};
pub use payload::{CHUNK, Opener, PayloadNonce, SEALED_CHUNK, Sealer};
pub use ranges::{Ranges, Window, last_chunk, payload_len};

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use keys::derive;

/// What is wrong with a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The bytes do not begin as age files of version 1 do.
    #[error("this is not in the age format, version 1")]
    NotAge,
    /// No end within [`MAX_HEADER`].
    #[error("the age header has no end within {MAX_HEADER} bytes")]
    TooLong,
    /// More than [`MAX_STANZAS`].
    #[error("the age header has more than {MAX_STANZAS} recipients")]
    TooManyStanzas,
    /// Not what the format says.
    #[error("the age header is malformed: {0}")]
    Malformed(&'static str),
    /// None of the identities opens it.
    #[error("this was sealed to somebody else")]
    NotForUs,
    /// Only a passphrase opens it.
    #[error("this is sealed with a passphrase, which only age's own programs open")]
    Passphrase,
    /// Somebody changed the header.
    #[error("the age header was changed after it was sealed")]
    Mac,
    /// Sealing for nobody.
    #[error("nobody is named who could open it")]
    NoRecipients,
    /// A recipient whose key shares the same secret with everybody.
    #[error("one of the recipients' keys is not a safe one")]
    LowOrder,
}

/// What is wrong with a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// A chunk is not what was sealed, or not at this place, or not under this key.
    #[error("chunk {0} of the sealed content is damaged, moved, or the content was cut short")]
    Chunk(u64),
    /// The bytes end where no payload can end.
    #[error("the sealed content is cut short")]
    Truncated,
    /// An empty chunk behind others.
    #[error("the sealed content ends in an empty chunk")]
    EmptyLast,
    /// A range that reaches beyond the end.
    #[error("the range ends at {end}, and the content has {len} bytes")]
    OutOfRange { end: u64, len: u64 },
    /// Ciphertext of another length than was asked for.
    #[error("{got} bytes of ciphertext where {wanted} were asked for")]
    WrongLength { got: usize, wanted: u64 },
}
