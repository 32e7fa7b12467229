//! The little CBOR (RFC 8949) that attestation documents use: definite byte and text strings, unsigned and negative
//! integers, null, arrays and maps. Nothing here recurses, and nothing is allocated by a length that was read.

use crate::Reason;
use crate::reader::Reader;

const WHAT: &str = "the attestation document";
const MALFORMED: Reason = Reason::Malformed(WHAT);
/// The most entries of one array or map.
const MAX_COUNT: u64 = 64;

pub(super) struct Cbor<'a>(pub(super) Reader<'a>);

impl<'a> Cbor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Cbor(Reader::new(bytes, WHAT))
    }

    /// Major type and argument; no argument where the length is indefinite.
    fn head(&mut self) -> Result<(u8, Option<u64>), Reason> {
        let first = self.0.u8()?;
        let argument = match first & 0x1f {
            small @ 0..=23 => Some(small.into()),
            24 => Some(self.0.u8()?.into()),
            25 => Some(u16::from_be_bytes(self.0.array()?).into()),
            26 => Some(u32::from_be_bytes(self.0.array()?).into()),
            27 => Some(u64::from_be_bytes(self.0.array()?)),
            31 => None,
            _ => return Err(MALFORMED),
        };
        Ok((first >> 5, argument))
    }

    fn definite(&mut self, major: u8) -> Result<u64, Reason> {
        match self.head()? {
            (found, Some(argument)) if found == major => Ok(argument),
            _ => Err(MALFORMED),
        }
    }

    pub(super) fn unsigned(&mut self) -> Result<u64, Reason> {
        self.definite(0)
    }

    /// An integer of either sign that fits.
    pub(super) fn integer(&mut self) -> Result<i64, Reason> {
        let (major, argument) = self.head()?;
        let argument = argument.and_then(|argument| i64::try_from(argument).ok()).ok_or(MALFORMED)?;
        match major {
            0 => Ok(argument),
            1 => Ok(-1 - argument),
            _ => Err(MALFORMED),
        }
    }

    pub(super) fn bytes(&mut self, most: usize) -> Result<&'a [u8], Reason> {
        let size = self.definite(2)?;
        self.string(size, most)
    }

    pub(super) fn text(&mut self, most: usize) -> Result<&'a str, Reason> {
        let size = self.definite(3)?;
        std::str::from_utf8(self.string(size, most)?).map_err(|_| MALFORMED)
    }

    fn string(&mut self, size: u64, most: usize) -> Result<&'a [u8], Reason> {
        let size = usize::try_from(size).ok().filter(|size| *size <= most).ok_or(Reason::TooLarge(WHAT))?;
        self.0.take(size)
    }

    /// A byte string, or null.
    pub(super) fn optional_bytes(&mut self, most: usize) -> Result<Option<&'a [u8]>, Reason> {
        match self.head()? {
            (2, Some(size)) => self.string(size, most).map(Some),
            (7, Some(22)) => Ok(None),
            _ => Err(MALFORMED),
        }
    }

    pub(super) fn array(&mut self) -> Result<u64, Reason> {
        count(self.definite(4)?)
    }

    /// Calls `entry` at each key of a map, whose length may be indefinite.
    pub(super) fn map(
        &mut self,
        mut entry: impl FnMut(&mut Self) -> Result<(), Reason>,
    ) -> Result<(), Reason> {
        match self.head()? {
            (5, Some(entries)) => (0..count(entries)?).try_for_each(|_| entry(self)),
            (5, None) => {
                for _ in 0..=MAX_COUNT {
                    if self.0.rest().first() == Some(&0xff) {
                        return self.0.take(1).map(drop);
                    }
                    entry(self)?;
                }
                Err(Reason::TooLarge(WHAT))
            }
            _ => Err(MALFORMED),
        }
    }
}

fn count(entries: u64) -> Result<u64, Reason> {
    if entries <= MAX_COUNT { Ok(entries) } else { Err(Reason::TooLarge(WHAT)) }
}

/// The head of a byte string.
pub(super) fn bytes_head(size: usize) -> Vec<u8> {
    match size {
        0..24 => vec![0x40 | size as u8],
        24..0x100 => vec![0x58, size as u8],
        0x100..0x1_0000 => vec![0x59, (size >> 8) as u8, size as u8],
        _ => [&[0x5a][..], &(size as u32).to_be_bytes()].concat(),
    }
}
