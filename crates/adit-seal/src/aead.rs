//! ChaCha20-Poly1305 (RFC 8439), in place.
//!
//! Native builds use ring, whose assembly is half as fast again as the pure Rust crate; wasm32 uses the pure Rust
//! crate. A test compares the two. See decision 0180.

/// Bytes of a tag.
pub(crate) const TAG: usize = 16;

/// The ciphertext and its tag do not belong together, or not to this key and nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mismatch;

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use super::{Mismatch, TAG};
    use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
    use std::mem::{ManuallyDrop, MaybeUninit};
    use zeroize::Zeroize;

    /// A key. Boxed, so that moving it leaves no copies behind.
    pub(crate) struct Key(Box<ManuallyDrop<LessSafeKey>>);

    impl Key {
        pub(crate) fn new(key: &[u8; 32]) -> Self {
            let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the algorithm takes 32 bytes");
            Self(Box::new(ManuallyDrop::new(LessSafeKey::new(key))))
        }

        /// Encrypts in place. A nonce must never be used twice with one key.
        pub(crate) fn seal(&self, nonce: [u8; 12], data: &mut [u8]) -> [u8; TAG] {
            let nonce = Nonce::assume_unique_for_key(nonce);
            let tag = self.0.seal_in_place_separate_tag(nonce, Aad::empty(), data);
            let tag = tag.expect("a chunk is far shorter than the cipher's limit");
            tag.as_ref().try_into().expect("tags have 16 bytes")
        }

        /// Checks, then decrypts in place: `data` is ciphertext and tag, and its first bytes become the plaintext.
        /// After an error nothing in `data` is to be used.
        pub(crate) fn open(&self, nonce: [u8; 12], data: &mut [u8]) -> Result<(), Mismatch> {
            let nonce = Nonce::assume_unique_for_key(nonce);
            self.0.open_in_place(nonce, Aad::empty(), data).map(|_| ()).map_err(|_| Mismatch)
        }
    }

    impl Drop for Key {
        fn drop(&mut self) {
            let start = (&raw mut *self.0).cast::<MaybeUninit<u8>>();
            // SAFETY: the box holds this many bytes, and nobody else has it. `LessSafeKey` owns nothing beside them
            // and has no destructor, and `ManuallyDrop` sees to it that nobody looks at them again.
            let bytes = unsafe { std::slice::from_raw_parts_mut(start, size_of::<LessSafeKey>()) };
            bytes.zeroize();
        }
    }
}

#[cfg(any(target_arch = "wasm32", test))]
mod portable {
    use super::{Mismatch, TAG};
    use chacha20poly1305::{AeadInPlace, ChaCha20Poly1305, KeyInit};

    /// A key, which the library clears when it is dropped.
    pub(crate) struct Key(ChaCha20Poly1305);

    impl Key {
        pub(crate) fn new(key: &[u8; 32]) -> Self {
            Self(ChaCha20Poly1305::new(key.into()))
        }

        /// Encrypts in place. A nonce must never be used twice with one key.
        pub(crate) fn seal(&self, nonce: [u8; 12], data: &mut [u8]) -> [u8; TAG] {
            let tag = self.0.encrypt_in_place_detached(&nonce.into(), &[], data);
            tag.expect("a chunk is far shorter than the cipher's limit").into()
        }

        /// Checks, then decrypts in place: `data` is ciphertext and tag, and its first bytes become the plaintext.
        pub(crate) fn open(&self, nonce: [u8; 12], data: &mut [u8]) -> Result<(), Mismatch> {
            let at = data.len().checked_sub(TAG).ok_or(Mismatch)?;
            let (data, tag) = data.split_at_mut(at);
            let tag: [u8; TAG] = (&*tag).try_into().map_err(|_| Mismatch)?;
            self.0.decrypt_in_place_detached(&nonce.into(), &[], data, &tag.into()).map_err(|_| Mismatch)
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::Key;
#[cfg(target_arch = "wasm32")]
pub(crate) use portable::Key;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_libraries_agree() {
        for len in [0, 1, 15, 16, 17, 64, 65, 1000, 65536] {
            let (native, portable) = (native::Key::new(&[9; 32]), portable::Key::new(&[9; 32]));
            let plain: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let (mut a, mut b) = (plain.clone(), plain.clone());
            let tag = native.seal([3; 12], &mut a);
            assert_eq!((tag, &a), (portable.seal([3; 12], &mut b), &b), "{len} bytes");
            a.extend_from_slice(&tag);
            let mut again = a.clone();
            portable.open([3; 12], &mut again).unwrap();
            assert_eq!(again[..len], plain);
            native.open([3; 12], &mut a).unwrap();
            assert_eq!(a[..len], plain);
            assert_eq!(native.open([4; 12], &mut a), Err(Mismatch));
        }
        assert_eq!(native::Key::new(&[9; 32]).open([3; 12], &mut [0; 15]), Err(Mismatch));
        assert_eq!(portable::Key::new(&[9; 32]).open([3; 12], &mut [0; 15]), Err(Mismatch));
    }
}
