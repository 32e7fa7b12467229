//! The reading half: a cursor that accepts canonical DAG-CBOR and nothing else.

use super::value::{MAX_DEPTH, MAX_ITEMS};
use super::write::{ARRAY, BYTES, LINK_TAG, MAP, NEGATIVE, TAG, TEXT, TRUTH, UINT};
use cid::Cid;

/// Why bytes are not the record they were said to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The record is larger than any record may be.
    #[error("{len} bytes are more than the {max} a record may have")]
    TooLong { len: usize, max: usize },
    /// The bytes end in the middle of a value, or a length reaches past their end.
    #[error("the bytes end too early")]
    Truncated,
    /// Bytes follow the record.
    #[error("{0} bytes follow the record")]
    TrailingBytes(usize),
    /// Valid CBOR perhaps, but not the one encoding that DAG-CBOR allows.
    #[error("not canonical DAG-CBOR: {0}")]
    NotCanonical(&'static str),
    /// Another kind of value was expected here.
    #[error("expected {expected}, found {found}")]
    WrongKind { expected: &'static str, found: &'static str },
    /// Text that is not UTF-8.
    #[error("a text string is not UTF-8")]
    NotUtf8,
    /// Values are nested too deeply.
    #[error("values are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// A link that does not hold a CID, or holds one of the wrong sort.
    #[error("bad link: {0}")]
    BadLink(&'static str),
    /// The record's version is not one that this release reads.
    #[error("this release reads version 1 of a {record}, not version {found}")]
    Version { record: &'static str, found: u64 },
    /// A field that this version of the record does not have.
    #[error("a {record} has no field `{field}`")]
    UnknownField { record: &'static str, field: String },
    /// A word that is not one of the values that the field may take.
    #[error("`{word}` is not a known {what}")]
    UnknownWord { what: &'static str, word: String },
    /// A required field is not there.
    #[error("a {record} needs the field `{field}`")]
    MissingField { record: &'static str, field: &'static str },
    /// Something that version 1 of the record names and this release does not implement.
    #[error("{what} is not implemented yet")]
    NotImplemented { what: &'static str },
    /// A value outside of its range.
    #[error("{what} is out of range")]
    OutOfRange { what: &'static str },
    /// Well-formed, but breaks a rule of the record.
    #[error(transparent)]
    Invalid(#[from] crate::Invalid),
}

/// Names from outside are shortened before they enter an error, so that an error stays printable.
fn shortened(text: &str) -> String {
    let short: String = text.chars().take(40).collect();
    short.escape_debug().collect()
}

impl DecodeError {
    pub(crate) fn unknown_field(record: &'static str, field: &str) -> Self {
        Self::UnknownField { record, field: shortened(field) }
    }

    pub(crate) fn unknown_word(what: &'static str, word: &str) -> Self {
        Self::UnknownWord { what, word: shortened(word) }
    }
}

const FALSE: u8 = TRUTH << 5 | 20;
const TRUE: u8 = TRUTH << 5 | 21;

/// A cursor over bytes from outside.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    depth: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, depth: 0 }
    }

    /// Succeeds when everything has been read.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes(self.rest.len())) }
    }

    /// What has not been read yet; with a later call, the encoded bytes of what lies between.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads a head: the major type and its argument, which must be in the shortest form.
    fn head(&mut self) -> Result<(u8, u64), DecodeError> {
        let initial = self.take(1)?[0];
        let (major, info) = (initial >> 5, initial & 0x1f);
        if major == 7 {
            return Err(match info {
                25..=27 => DecodeError::WrongKind { expected: "no float", found: "float" },
                20..=22 => DecodeError::WrongKind { expected: "no simple value", found: "simple value" },
                _ => DecodeError::NotCanonical("simple value or break that DAG-CBOR does not have"),
            });
        }
        let (argument, least) = match info {
            0..=23 => (u64::from(info), 0),
            24 => (u64::from(self.take(1)?[0]), 24),
            25 => (u64::from(u16::from_be_bytes(self.fixed()?)), 0x100),
            26 => (u64::from(u32::from_be_bytes(self.fixed()?)), 0x1_0000),
            27 => (u64::from_be_bytes(self.fixed()?), 0x1_0000_0000),
            31 => return Err(DecodeError::NotCanonical("indefinite length")),
            _ => return Err(DecodeError::NotCanonical("reserved additional information")),
        };
        if argument < least {
            return Err(DecodeError::NotCanonical("number not in its shortest form"));
        }
        Ok((major, argument))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.take(N)?.try_into().expect("take returns exactly N bytes"))
    }

    fn expect(&mut self, wanted: u8, expected: &'static str) -> Result<u64, DecodeError> {
        let (major, argument) = self.head()?;
        if major == wanted {
            return Ok(argument);
        }
        let found = match major {
            UINT => "integer",
            NEGATIVE => "negative integer",
            BYTES => "byte string",
            TEXT => "text",
            ARRAY => "list",
            MAP => "map",
            _ => "link or tag",
        };
        Err(DecodeError::WrongKind { expected, found })
    }

    fn length(&mut self, wanted: u8, expected: &'static str) -> Result<usize, DecodeError> {
        let argument = self.expect(wanted, expected)?;
        usize::try_from(argument).ok().filter(|len| *len <= self.rest.len()).ok_or(DecodeError::Truncated)
    }

    fn count(&mut self, wanted: u8, expected: &'static str) -> Result<usize, DecodeError> {
        // Every item takes at least one byte, so the length check bounds the count by what has arrived.
        let count = self.length(wanted, expected)?;
        if count > MAX_ITEMS {
            return Err(DecodeError::OutOfRange { what: "the number of entries in a list or map" });
        }
        Ok(count)
    }

    /// An unsigned integer.
    pub(crate) fn uint(&mut self) -> Result<u64, DecodeError> {
        self.expect(UINT, "unsigned integer")
    }

    /// A byte string.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.length(BYTES, "byte string")?;
        self.take(len)
    }

    /// A truth value.
    pub(crate) fn bool(&mut self) -> Result<bool, DecodeError> {
        let (truth, rest) = match self.rest {
            [FALSE, rest @ ..] => (false, rest),
            [TRUE, rest @ ..] => (true, rest),
            // Whatever else it is, it is named by what it is.
            _ => return self.expect(TRUTH, "true or false").map(|_| false),
        };
        self.rest = rest;
        Ok(truth)
    }

    /// A text string.
    pub(crate) fn str(&mut self) -> Result<&'a str, DecodeError> {
        let len = self.length(TEXT, "text")?;
        std::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::NotUtf8)
    }

    /// A link.
    pub(crate) fn link(&mut self) -> Result<Cid, DecodeError> {
        if self.expect(TAG, "link")? != LINK_TAG {
            return Err(DecodeError::NotCanonical("tag other than 42"));
        }
        let bytes = self.bytes()?;
        let [0, binary @ ..] = bytes else { return Err(DecodeError::BadLink("no leading zero")) };
        let cid = Cid::try_from(binary).map_err(|_| DecodeError::BadLink("not a CID"))?;
        // Variable-length integers inside a CID could be padded; the library's own form is the shortest.
        if cid.to_bytes() != binary {
            return Err(DecodeError::BadLink("CID not in its shortest form"));
        }
        Ok(cid)
    }

    /// Whether a map comes next.
    pub(crate) fn is_map(&self) -> bool {
        self.rest.first().is_some_and(|initial| initial >> 5 == MAP)
    }

    /// A list: calls `item` once per entry.
    pub(crate) fn array(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let len = self.count(ARRAY, "list")?;
        self.nested(|r| (0..len).try_for_each(|_| item(r)))
    }

    /// A map: calls `entry` with each key, to read its value. Keys come in canonical order, each once.
    pub(crate) fn map(
        &mut self,
        mut entry: impl FnMut(&'a str, &mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let len = self.count(MAP, "map")?;
        self.nested(|r| {
            let mut previous: Option<&str> = None;
            for _ in 0..len {
                let key = r.str()?;
                match previous.map(|previous| canonical_order(previous, key)) {
                    Some(std::cmp::Ordering::Equal) => {
                        return Err(DecodeError::NotCanonical("repeated map key"));
                    }
                    Some(std::cmp::Ordering::Greater) => {
                        return Err(DecodeError::NotCanonical("map keys out of order"));
                    }
                    _ => previous = Some(key),
                }
                entry(key, r)?;
            }
            Ok(())
        })
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Result<(), DecodeError>) -> Result<(), DecodeError> {
        if self.depth == MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        self.depth += 1;
        read(self)?;
        self.depth -= 1;
        Ok(())
    }
}

/// DAG-CBOR's order of map keys: shorter ones first, then bytewise.
pub(super) fn canonical_order(a: &str, b: &str) -> std::cmp::Ordering {
    a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b.as_bytes()))
}
