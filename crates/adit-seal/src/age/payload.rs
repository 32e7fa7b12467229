//! The payload from beginning to end: sealing and opening as bytes come.

use super::PayloadError;
use super::keys::{FileKey, derive};
use crate::aead;
use crate::random::Random;
use zeroize::Zeroizing;

/// Bytes of plaintext in a chunk; the last one has fewer, or as many.
pub const CHUNK: usize = 64 << 10;
/// Bytes of a full chunk when sealed.
pub const SEALED_CHUNK: usize = CHUNK + aead::TAG;

/// Sixteen bytes between header and payload that make the payload's key another one each time. Not a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PayloadNonce(pub [u8; 16]);

impl PayloadNonce {
    /// Bytes of one.
    pub const LEN: usize = 16;

    /// A new one.
    pub fn generate(random: &mut impl Random) -> Self {
        let mut nonce = Self([0; Self::LEN]);
        random.fill(&mut nonce.0);
        nonce
    }
}

/// The key that the chunks of one payload are sealed under.
pub(super) fn payload_key(key: &FileKey, nonce: PayloadNonce) -> aead::Key {
    aead::Key::new(&derive(key.expose(), &nonce.0, b"payload"))
}

/// Eleven bytes of the chunk's number, and one that says whether it is the last.
pub(super) fn chunk_nonce(index: u64, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&index.to_be_bytes());
    nonce[11] = last.into();
    nonce
}

/// Seals a payload: plaintext is pushed, ciphertext comes out. Holds one chunk at most.
pub struct Sealer {
    key: aead::Key,
    index: u64,
    /// Not sealed yet: it may be the last.
    held: Zeroizing<Vec<u8>>,
}

impl Sealer {
    /// For the payload with this nonce, which stands before it. A nonce must never be used twice with one key.
    pub fn new(key: &FileKey, nonce: PayloadNonce) -> Self {
        Self { key: payload_key(key, nonce), index: 0, held: Zeroizing::new(Vec::with_capacity(CHUNK)) }
    }

    /// Takes plaintext, and appends the chunks that it completes to `out`.
    pub fn update(&mut self, mut plain: &[u8], out: &mut Vec<u8>) {
        while !plain.is_empty() {
            if self.held.len() == CHUNK {
                let start = out.len();
                out.extend_from_slice(&self.held);
                self.held.clear();
                self.seal(start, false, out);
            }
            while self.held.is_empty() && plain.len() > CHUNK {
                let start = out.len();
                out.extend_from_slice(&plain[..CHUNK]);
                plain = &plain[CHUNK..];
                self.seal(start, false, out);
            }
            let part = plain.len().min(CHUNK - self.held.len());
            self.held.extend_from_slice(&plain[..part]);
            plain = &plain[part..];
        }
    }

    /// Appends the last chunk, which may be empty if all of the content is.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.held);
        self.seal(start, true, out);
    }

    fn seal(&mut self, start: usize, last: bool, out: &mut Vec<u8>) {
        let tag = self.key.seal(chunk_nonce(self.index, last), &mut out[start..]);
        out.extend_from_slice(&tag);
        self.index += 1;
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer(chunk {})", self.index)
    }
}

/// Opens a payload from its beginning: ciphertext is pushed, plaintext comes out, each chunk after it was checked.
/// Holds one chunk at most. Only [`finish`](Self::finish) says that nothing is missing at the end.
pub struct Opener {
    key: aead::Key,
    index: u64,
    /// Not opened yet: it may be the last.
    held: Vec<u8>,
}

impl Opener {
    /// For the payload behind this nonce.
    pub fn new(key: &FileKey, nonce: PayloadNonce) -> Self {
        Self { key: payload_key(key, nonce), index: 0, held: Vec::with_capacity(SEALED_CHUNK) }
    }

    /// Takes ciphertext, and appends the plaintext of the chunks that it completes to `out`. After an error the
    /// content so far is the true beginning, and nothing more will come.
    pub fn update(&mut self, mut sealed: &[u8], out: &mut Vec<u8>) -> Result<(), PayloadError> {
        while !sealed.is_empty() {
            if self.held.len() == SEALED_CHUNK {
                let start = out.len();
                out.extend_from_slice(&self.held);
                self.held.clear();
                self.open(start, false, out)?;
            }
            while self.held.is_empty() && sealed.len() > SEALED_CHUNK {
                let start = out.len();
                out.extend_from_slice(&sealed[..SEALED_CHUNK]);
                sealed = &sealed[SEALED_CHUNK..];
                self.open(start, false, out)?;
            }
            let part = sealed.len().min(SEALED_CHUNK - self.held.len());
            self.held.extend_from_slice(&sealed[..part]);
            sealed = &sealed[part..];
        }
        Ok(())
    }

    /// Opens the last chunk, and so proves that the content is whole.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), PayloadError> {
        if self.held.len() < aead::TAG {
            return Err(PayloadError::Truncated);
        }
        if self.held.len() == aead::TAG && self.index > 0 {
            return Err(PayloadError::EmptyLast);
        }
        let start = out.len();
        out.append(&mut self.held);
        self.open(start, true, out)
    }

    fn open(&mut self, start: usize, last: bool, out: &mut Vec<u8>) -> Result<(), PayloadError> {
        let opened = self.key.open(chunk_nonce(self.index, last), &mut out[start..]);
        // What could not be checked must not be seen.
        out.truncate(if opened.is_ok() { out.len() - aead::TAG } else { start });
        opened.map_err(|_| PayloadError::Chunk(self.index))?;
        self.index += 1;
        Ok(())
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opener(chunk {})", self.index)
    }
}
