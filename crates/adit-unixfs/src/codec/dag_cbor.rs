//! DAG-CBOR (<https://ipld.io/specs/codecs/dag-cbor/spec/>): CBOR with one encoding for each value.
//!
//! Refused: indefinite lengths, integers and lengths longer than needed, floats other than 64 bits, NaN
//! and infinities, tags other than 42, simple values other than false, true and null, map keys that are
//! not strings, keys unsorted or repeated, and bytes after the value.

use std::collections::BTreeMap;

use cid::Cid;
use ipld_core::ipld::Ipld;

use crate::block::cid_from_bytes;
use crate::limits;

/// Why bytes are not dag-cbor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// The bytes end inside a value.
    #[error("the bytes end inside a value")]
    Truncated,
    /// Bytes follow the value.
    #[error("bytes follow the value")]
    TrailingBytes,
    /// A length or integer is longer than needed, of indefinite length, or a float is not 64 bits.
    #[error("a value is not in its canonical encoding")]
    NotCanonical,
    /// NaN and infinities have no place in the data model.
    #[error("a float is NaN or infinite")]
    NotANumber,
    /// A tag other than 42, or a simple value other than false, true, null.
    #[error("a CBOR type that dag-cbor does not have")]
    Unsupported,
    /// Tag 42 without a valid binary CID behind a zero byte.
    #[error("a link is not a valid CID")]
    BadLink,
    /// A string that is not UTF-8.
    #[error("a string is not UTF-8")]
    NotText,
    /// Keys must be strings.
    #[error("a map key is not a string")]
    KeyNotText,
    /// Keys must be sorted by length, then bytes, and unique.
    #[error("map keys are repeated or not sorted")]
    KeyOrder,
    /// Nested deeper than [`limits::VALUE_DEPTH`].
    #[error("nested deeper than {} levels", limits::VALUE_DEPTH)]
    TooDeep,
    /// More values than [`limits::VALUES_PER_BLOCK`] or links than [`limits::LINKS_PER_BLOCK`].
    #[error("too many values or links in one block")]
    TooMany,
    /// Encoding only: integers outside -2^64 ..= 2^64-1.
    #[error("an integer does not fit into 64 bits and a sign")]
    IntegerRange,
}

/// What is made of each value: a tree for [`decode`], nothing but links for [`links`]. One strict
/// parser serves both.
trait Sink {
    type Value;
    fn scalar(&mut self, value: Scalar<'_>) -> Result<Self::Value, CborError>;
    fn list(&mut self, items: Vec<Self::Value>) -> Self::Value;
    fn map(&mut self, entries: Vec<(&str, Self::Value)>) -> Self::Value;
}

enum Scalar<'a> {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Link(Cid),
}

struct Tree {
    values: usize,
}

impl Sink for Tree {
    type Value = Ipld;

    fn scalar(&mut self, value: Scalar<'_>) -> Result<Ipld, CborError> {
        self.values += 1;
        if self.values > limits::VALUES_PER_BLOCK {
            return Err(CborError::TooMany);
        }
        Ok(match value {
            Scalar::Null => Ipld::Null,
            Scalar::Bool(value) => Ipld::Bool(value),
            Scalar::Integer(value) => Ipld::Integer(value),
            Scalar::Float(value) => Ipld::Float(value),
            Scalar::Text(value) => Ipld::String(value.to_owned()),
            Scalar::Bytes(value) => Ipld::Bytes(value.to_vec()),
            Scalar::Link(cid) => Ipld::Link(cid),
        })
    }

    fn list(&mut self, items: Vec<Ipld>) -> Ipld {
        Ipld::List(items)
    }

    fn map(&mut self, entries: Vec<(&str, Ipld)>) -> Ipld {
        Ipld::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }
}

struct Links(Vec<Cid>);

impl Sink for Links {
    type Value = ();

    fn scalar(&mut self, value: Scalar<'_>) -> Result<(), CborError> {
        if let Scalar::Link(cid) = value {
            if self.0.len() == limits::LINKS_PER_BLOCK {
                return Err(CborError::TooMany);
            }
            self.0.push(cid);
        }
        Ok(())
    }

    // Vectors of `()` take no memory, so the walk allocates for links only (and map keys in flight).
    fn list(&mut self, _: Vec<()>) {}

    fn map(&mut self, _: Vec<(&str, ())>) {}
}

/// Decodes a whole block.
pub fn decode(bytes: &[u8]) -> Result<Ipld, CborError> {
    run(bytes, &mut Tree { values: 0 })
}

/// The links of a block in order of appearance, repeats included. Checks the whole block.
pub fn links(bytes: &[u8]) -> Result<Vec<Cid>, CborError> {
    let mut links = Links(Vec::new());
    run(bytes, &mut links)?;
    Ok(links.0)
}

fn run<S: Sink>(bytes: &[u8], sink: &mut S) -> Result<S::Value, CborError> {
    let mut rest = bytes;
    let value = value(&mut rest, sink, 0)?;
    if rest.is_empty() { Ok(value) } else { Err(CborError::TrailingBytes) }
}

fn value<'a, S: Sink>(rest: &mut &'a [u8], sink: &mut S, depth: usize) -> Result<S::Value, CborError> {
    if depth > limits::VALUE_DEPTH {
        return Err(CborError::TooDeep);
    }
    let (major, argument) = head(rest)?;
    match major {
        0 => sink.scalar(Scalar::Integer(argument.number()?.into())),
        1 => sink.scalar(Scalar::Integer(-1 - i128::from(argument.number()?))),
        2 => sink.scalar(Scalar::Bytes(take(rest, argument.number()?)?)),
        3 => sink.scalar(Scalar::Text(text(rest, argument.number()?)?)),
        4 => {
            let count = count(rest, argument.number()?)?;
            let mut items = Vec::new();
            for _ in 0..count {
                items.push(value(rest, sink, depth + 1)?);
            }
            // A container counts as a value too.
            sink.scalar(Scalar::Null)?;
            Ok(sink.list(items))
        }
        5 => {
            let count = count(rest, argument.number()?)?;
            let mut entries: Vec<(&'a str, S::Value)> = Vec::new();
            for _ in 0..count {
                let (major, argument) = head(rest)?;
                if major != 3 {
                    return Err(CborError::KeyNotText);
                }
                let key = text(rest, argument.number()?)?;
                if let Some((last, _)) = entries.last()
                    && (last.len(), last.as_bytes()) >= (key.len(), key.as_bytes())
                {
                    return Err(CborError::KeyOrder);
                }
                entries.push((key, value(rest, sink, depth + 1)?));
            }
            sink.scalar(Scalar::Null)?;
            Ok(sink.map(entries))
        }
        6 => {
            if argument.number()? != 42 {
                return Err(CborError::Unsupported);
            }
            let (major, argument) = head(rest)?;
            if major != 2 {
                return Err(CborError::BadLink);
            }
            let bytes = take(rest, argument.number()?)?;
            let bytes = bytes.strip_prefix(&[0]).ok_or(CborError::BadLink)?;
            sink.scalar(Scalar::Link(cid_from_bytes(bytes).ok_or(CborError::BadLink)?))
        }
        _ => match argument {
            Argument::Number(20) => sink.scalar(Scalar::Bool(false)),
            Argument::Number(21) => sink.scalar(Scalar::Bool(true)),
            Argument::Number(22) => sink.scalar(Scalar::Null),
            Argument::Float(float) if float.is_finite() => sink.scalar(Scalar::Float(float)),
            Argument::Float(_) => Err(CborError::NotANumber),
            Argument::Number(_) => Err(CborError::Unsupported),
        },
    }
}

enum Argument {
    Number(u64),
    Float(f64),
}

impl Argument {
    fn number(self) -> Result<u64, CborError> {
        match self {
            Argument::Number(number) => Ok(number),
            Argument::Float(_) => Err(CborError::Unsupported),
        }
    }
}

/// Reads a major type and its argument, which must be as short as possible.
fn head(rest: &mut &[u8]) -> Result<(u8, Argument), CborError> {
    let first = take(rest, 1)?[0];
    let (major, info) = (first >> 5, first & 0x1f);
    let number = match info {
        0..=23 => return Ok((major, Argument::Number(info.into()))),
        24..=27 => {
            let bytes = take(rest, 1 << (info - 24))?;
            bytes.iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte))
        }
        _ => return Err(CborError::NotCanonical),
    };
    if major == 7 {
        return match info {
            27 => Ok((major, Argument::Float(f64::from_bits(number)))),
            24 => Err(CborError::Unsupported),
            _ => Err(CborError::NotCanonical),
        };
    }
    let shorter_would_do = match info {
        24 => number < 24,
        25 => number <= 0xff,
        26 => number <= 0xffff,
        _ => number <= 0xffff_ffff,
    };
    if shorter_would_do { Err(CborError::NotCanonical) } else { Ok((major, Argument::Number(number))) }
}

/// Every item takes at least a byte, so a count above what is left is a lie.
fn count(rest: &[u8], claimed: u64) -> Result<usize, CborError> {
    match usize::try_from(claimed) {
        Ok(count) if count <= rest.len() => Ok(count),
        _ => Err(CborError::Truncated),
    }
}

fn text<'a>(rest: &mut &'a [u8], len: u64) -> Result<&'a str, CborError> {
    std::str::from_utf8(take(rest, len)?).map_err(|_| CborError::NotText)
}

fn take<'a>(rest: &mut &'a [u8], len: u64) -> Result<&'a [u8], CborError> {
    let len = usize::try_from(len).map_err(|_| CborError::Truncated)?;
    let (taken, after) = rest.split_at_checked(len).ok_or(CborError::Truncated)?;
    *rest = after;
    Ok(taken)
}

/// Encodes a value canonically.
pub fn encode(value: &Ipld) -> Result<Vec<u8>, CborError> {
    let mut out = Vec::new();
    write(&mut out, value, 0)?;
    Ok(out)
}

fn write(out: &mut Vec<u8>, value: &Ipld, depth: usize) -> Result<(), CborError> {
    if depth > limits::VALUE_DEPTH {
        return Err(CborError::TooDeep);
    }
    match value {
        Ipld::Null => out.push(0xf6),
        Ipld::Bool(value) => out.push(0xf4 + u8::from(*value)),
        Ipld::Integer(value) => {
            let (major, number) = if *value < 0 { (1, -1 - *value) } else { (0, *value) };
            write_head(out, major, u64::try_from(number).map_err(|_| CborError::IntegerRange)?);
        }
        Ipld::Float(value) if value.is_finite() => {
            out.push(0xfb);
            out.extend_from_slice(&value.to_bits().to_be_bytes());
        }
        Ipld::Float(_) => return Err(CborError::NotANumber),
        Ipld::String(text) => write_text(out, text),
        Ipld::Bytes(bytes) => {
            write_head(out, 2, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
        Ipld::List(items) => {
            write_head(out, 4, items.len() as u64);
            items.iter().try_for_each(|item| write(out, item, depth + 1))?;
        }
        Ipld::Map(map) => write_map(out, map, depth)?,
        Ipld::Link(cid) => {
            out.extend_from_slice(&[0xd8, 42]);
            write_head(out, 2, cid.encoded_len() as u64 + 1);
            out.push(0);
            cid.write_bytes(out).expect("writing to memory does not fail");
        }
    }
    Ok(())
}

fn write_map(out: &mut Vec<u8>, map: &BTreeMap<String, Ipld>, depth: usize) -> Result<(), CborError> {
    let mut entries: Vec<_> = map.iter().collect();
    // The map is sorted by bytes already, so a stable sort by length gives length-first order.
    entries.sort_by_key(|(key, _)| key.len());
    write_head(out, 5, entries.len() as u64);
    for (key, value) in entries {
        write_text(out, key);
        write(out, value, depth + 1)?;
    }
    Ok(())
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_head(out, 3, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn write_head(out: &mut Vec<u8>, major: u8, number: u64) {
    let major = major << 5;
    match number {
        0..=23 => out.push(major | number as u8),
        24..=0xff => out.extend_from_slice(&[major | 24, number as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}
