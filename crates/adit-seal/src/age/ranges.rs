//! Any part of a payload without the rest.

use super::PayloadError;
use super::keys::FileKey;
use super::payload::{CHUNK, PayloadNonce, SEALED_CHUNK, chunk_nonce, payload_key};
use crate::aead;
use std::ops::Range;

const NONCE: u64 = PayloadNonce::LEN as u64;

/// Bytes of nonce and payload for so much plaintext.
pub fn payload_len(plain: u64) -> u64 {
    let chunks = plain.div_ceil(CHUNK as u64).max(1);
    NONCE + plain + chunks * aead::TAG as u64
}

/// Where the last chunk of a payload of `len` bytes lies; the payload begins with its nonce.
pub fn last_chunk(len: u64) -> Result<Range<u64>, PayloadError> {
    let sealed = len.checked_sub(NONCE).ok_or(PayloadError::Truncated)?;
    let before = sealed.saturating_sub(1) / SEALED_CHUNK as u64;
    let size = sealed - before * SEALED_CHUNK as u64;
    match size.checked_sub(aead::TAG as u64) {
        None => Err(PayloadError::Truncated),
        Some(0) if before > 0 => Err(PayloadError::EmptyLast),
        Some(_) => Ok(len - size..len),
    }
}

/// A payload of which any part can be opened. Offsets of ciphertext count from the payload's nonce, which stands
/// behind the header.
pub struct Ranges {
    key: aead::Key,
    len: u64,
}

/// A part of the content, and the ciphertext that it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Which bytes of the content.
    pub plain: Range<u64>,
    /// Which bytes of the payload must be there to open it: whole chunks.
    pub sealed: Range<u64>,
}

impl Ranges {
    /// A payload whose length somebody claims, `sealed_len` bytes with its nonce. Its last chunk, which lies at
    /// [`last_chunk`], proves the claim: no other length has that chunk as its last.
    pub fn new(
        key: &FileKey,
        nonce: PayloadNonce,
        sealed_len: u64,
        last: &[u8],
    ) -> Result<Self, PayloadError> {
        let place = last_chunk(sealed_len)?;
        let key = payload_key(key, nonce);
        let index = (place.start - NONCE) / SEALED_CHUNK as u64;
        let wanted = place.end - place.start;
        if last.len() as u64 != wanted {
            return Err(PayloadError::WrongLength { got: last.len(), wanted });
        }
        let mut copy = zeroize::Zeroizing::new(last.to_vec());
        key.open(chunk_nonce(index, true), &mut copy).map_err(|_| PayloadError::Chunk(index))?;
        Ok(Self { key, len: sealed_len - NONCE - (index + 1) * aead::TAG as u64 })
    }

    /// Bytes of the content. Proven, not claimed.
    pub fn content_len(&self) -> u64 {
        self.len
    }

    /// Which ciphertext a part of the content needs: at most 128 KiB more than the part is long.
    pub fn window(&self, plain: Range<u64>) -> Result<Window, PayloadError> {
        if plain.end > self.len || plain.start > plain.end {
            return Err(PayloadError::OutOfRange { end: plain.end.max(plain.start), len: self.len });
        }
        if plain.is_empty() {
            return Ok(Window { plain, sealed: NONCE..NONCE });
        }
        let (first, last) = (plain.start / CHUNK as u64, (plain.end - 1) / CHUNK as u64);
        let end = (NONCE + (last + 1) * SEALED_CHUNK as u64).min(payload_len(self.len));
        Ok(Window { plain, sealed: NONCE + first * SEALED_CHUNK as u64..end })
    }

    /// Opens a window in place: `sealed` is its ciphertext and becomes its content. Cleared after an error.
    pub fn open(&self, window: &Window, sealed: &mut Vec<u8>) -> Result<(), PayloadError> {
        let opened = self.open_chunks(window, sealed);
        if opened.is_err() {
            sealed.clear();
        }
        opened
    }

    fn open_chunks(&self, window: &Window, sealed: &mut Vec<u8>) -> Result<(), PayloadError> {
        if *window != self.window(window.plain.clone())?
            || sealed.len() as u64 != window.sealed.end - window.sealed.start
        {
            let wanted = window.sealed.end - window.sealed.start;
            return Err(PayloadError::WrongLength { got: sealed.len(), wanted });
        }
        if window.plain.is_empty() {
            return Ok(());
        }
        let first = window.plain.start / CHUNK as u64;
        let last = self.len.saturating_sub(1) / CHUNK as u64;
        let mut filled = 0;
        for (at, start) in (0..sealed.len()).step_by(SEALED_CHUNK).enumerate() {
            let end = sealed.len().min(start + SEALED_CHUNK);
            let index = first + at as u64;
            let opened = self.key.open(chunk_nonce(index, index == last), &mut sealed[start..end]);
            opened.map_err(|_| PayloadError::Chunk(index))?;
            sealed.copy_within(start..end - aead::TAG, filled);
            filled += end - aead::TAG - start;
        }
        let skip = (window.plain.start - first * CHUNK as u64) as usize;
        let len = (window.plain.end - window.plain.start) as usize;
        sealed.copy_within(skip..skip + len, 0);
        sealed.truncate(len);
        Ok(())
    }
}

impl std::fmt::Debug for Ranges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ranges({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::age::Sealer;
    use proptest::prelude::*;

    const NONCE: PayloadNonce = PayloadNonce([3; 16]);

    fn key() -> FileKey {
        FileKey::from_bytes([5; 16])
    }

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect()
    }

    fn sealed(plain: &[u8]) -> Vec<u8> {
        let mut out = NONCE.0.to_vec();
        let mut sealer = Sealer::new(&key(), NONCE);
        sealer.update(plain, &mut out);
        sealer.finish(&mut out);
        assert_eq!(out.len() as u64, payload_len(plain.len() as u64));
        out
    }

    fn ranges(sealed: &[u8]) -> Result<Ranges, PayloadError> {
        let last = last_chunk(sealed.len() as u64)?;
        Ranges::new(&key(), NONCE, sealed.len() as u64, &sealed[last.start as usize..])
    }

    fn read(ranges: &Ranges, sealed: &[u8], plain: Range<u64>) -> Result<Vec<u8>, PayloadError> {
        let window = ranges.window(plain)?;
        let mut bytes = sealed[window.sealed.start as usize..window.sealed.end as usize].to_vec();
        ranges.open(&window, &mut bytes).map(|()| bytes)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_range_is_what_was_sealed(
            len in prop_oneof![0..300_000usize, Just(CHUNK), Just(2 * CHUNK), Just(CHUNK + 1), Just(CHUNK - 1)],
            (a, b) in (0.0..=1.0f64, 0.0..=1.0f64),
        ) {
            let plain = content(len);
            let sealed = sealed(&plain);
            let ranges = ranges(&sealed).unwrap();
            prop_assert_eq!(ranges.content_len(), len as u64);
            let (a, b) = ((a.min(b) * len as f64) as usize, (a.max(b) * len as f64) as usize);
            prop_assert_eq!(&read(&ranges, &sealed, a as u64..b as u64).unwrap(), &plain[a..b]);
            prop_assert!(read(&ranges, &sealed, a as u64..len as u64 + 1).is_err());
        }
    }

    #[test]
    fn no_other_length_is_believed() {
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5] {
            let sealed = sealed(&content(len));
            assert!(ranges(&sealed).is_ok());
            let cuts = (0..sealed.len()).filter(|cut| cut % 4096 < 20 || cut % SEALED_CHUNK < 40);
            for cut in cuts {
                assert!(ranges(&sealed[..cut]).is_err(), "{cut} of {} bytes", sealed.len());
            }
            let longer = [&sealed[..], &[0; 40]].concat();
            assert!(ranges(&longer).is_err());
        }
    }

    #[test]
    fn a_changed_or_moved_chunk_fails_only_where_it_is_needed() {
        let plain = content(4 * CHUNK);
        let good = sealed(&plain);
        let start = |chunk: usize| 16 + chunk * SEALED_CHUNK;
        let mut bad = good.clone();
        bad[start(1) + 7] ^= 1;
        bad.copy_within(start(0)..start(1), start(2));
        let ranges = ranges(&bad).unwrap();
        let chunk = |chunk: u64| chunk * CHUNK as u64..(chunk + 1) * CHUNK as u64;
        assert_eq!(read(&ranges, &bad, chunk(0)).unwrap(), plain[..CHUNK]);
        assert_eq!(read(&ranges, &bad, chunk(1)), Err(PayloadError::Chunk(1)));
        assert_eq!(read(&ranges, &bad, chunk(2)), Err(PayloadError::Chunk(2)));
        assert_eq!(read(&ranges, &bad, chunk(3)).unwrap(), plain[3 * CHUNK..]);
        let window = ranges.window(0..10).unwrap();
        let mut short = good[16..start(1) - 1].to_vec();
        assert!(ranges.open(&window, &mut short).is_err() && short.is_empty());
    }
}
