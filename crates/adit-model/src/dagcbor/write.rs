//! The writing half: a byte buffer with one method per DAG-CBOR kind.

use cid::Cid;

pub(super) const UINT: u8 = 0;
pub(super) const NEGATIVE: u8 = 1;
pub(super) const BYTES: u8 = 2;
pub(super) const TEXT: u8 = 3;
pub(super) const ARRAY: u8 = 4;
pub(super) const MAP: u8 = 5;
pub(super) const TAG: u8 = 6;
/// With the arguments 20 and 21: false and true.
pub(super) const TRUTH: u8 = 7;
/// The one tag of DAG-CBOR: a link, written as a byte string of 0x00 and the binary CID.
pub(super) const LINK_TAG: u64 = 42;

/// Appends canonical DAG-CBOR to a buffer. Whoever writes a map writes its keys in canonical order.
#[derive(Default)]
pub(crate) struct Writer {
    buffer: Vec<u8>,
}

impl Writer {
    /// An empty writer with room for a typical record.
    pub(crate) fn new() -> Self {
        Self { buffer: Vec::with_capacity(512) }
    }

    /// What has been written.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.buffer
    }

    fn head(&mut self, major: u8, argument: u64) {
        let major = major << 5;
        let wide = argument.to_be_bytes();
        match argument {
            0..=23 => self.buffer.push(major | wide[7]),
            24..=0xff => self.buffer.extend([major | 24, wide[7]]),
            0x100..=0xffff => self.buffer.extend([major | 25, wide[6], wide[7]]),
            0x1_0000..=0xffff_ffff => {
                self.buffer.push(major | 26);
                self.buffer.extend(&wide[4..]);
            }
            _ => {
                self.buffer.push(major | 27);
                self.buffer.extend(wide);
            }
        }
    }

    /// An unsigned integer.
    pub(crate) fn uint(&mut self, value: u64) {
        self.head(UINT, value);
    }

    /// A truth value.
    pub(crate) fn bool(&mut self, value: bool) {
        self.head(TRUTH, 20 + u64::from(value));
    }

    /// A byte string.
    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.head(BYTES, value.len() as u64);
        self.buffer.extend(value);
    }

    /// A text string.
    pub(crate) fn str(&mut self, value: &str) {
        self.head(TEXT, value.len() as u64);
        self.buffer.extend(value.as_bytes());
    }

    /// The head of an array; `len` items follow.
    pub(crate) fn array(&mut self, len: u64) {
        self.head(ARRAY, len);
    }

    /// The head of a map; `len` keys, each with its value, follow in canonical order.
    pub(crate) fn map(&mut self, len: u64) {
        self.head(MAP, len);
    }

    /// A link.
    pub(crate) fn link(&mut self, cid: &Cid) {
        self.head(TAG, LINK_TAG);
        self.head(BYTES, 1 + cid.encoded_len() as u64);
        self.buffer.push(0);
        cid.write_bytes(&mut self.buffer).expect("writing to a Vec cannot fail");
    }

    /// Bytes that already are canonical DAG-CBOR.
    pub(crate) fn raw(&mut self, encoded: &[u8]) {
        self.buffer.extend(encoded);
    }
}
