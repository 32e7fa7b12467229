//! DAG-JSON (<https://ipld.io/specs/codecs/dag-json/spec/>): JSON in which `{"/": "CID"}` is a link and
//! `{"/": {"bytes": "base64"}}` is bytes.
//!
//! Decoding takes white space and keys in any order, as people write them; repeated keys, other uses of
//! the reserved key `/`, and numbers that the data model cannot hold exactly are refused. Encoding is
//! canonical: no white space, keys sorted by bytes.

use std::collections::BTreeMap;
use std::str::FromStr;

use cid::Cid;
use data_encoding::BASE64_NOPAD;
use ipld_core::ipld::Ipld;

use crate::limits;

/// Why a text is not dag-json. Positions are byte offsets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotText,
    /// Not JSON.
    #[error("unexpected character or end at byte {0}")]
    Syntax(usize),
    /// A number outside what the data model holds.
    #[error("the number at byte {0} is out of range")]
    Number(usize),
    /// The same key twice in one map.
    #[error("repeated map key {0:?}")]
    RepeatedKey(String),
    /// `/` is reserved for links and bytes.
    #[error("the reserved key \"/\" is used for neither a link nor bytes at byte {0}")]
    ReservedKey(usize),
    /// Nested deeper than [`limits::VALUE_DEPTH`].
    #[error("nested deeper than {} levels", limits::VALUE_DEPTH)]
    TooDeep,
    /// More values than [`limits::VALUES_PER_BLOCK`].
    #[error("more than {} values", limits::VALUES_PER_BLOCK)]
    TooMany,
    /// Encoding only: NaN and infinities.
    #[error("a float is NaN or infinite")]
    NotANumber,
}

/// Decodes a whole block.
pub fn decode(bytes: &[u8]) -> Result<Ipld, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|_| JsonError::NotText)?;
    let mut parser = Parser { text, at: 0, values: 0 };
    let value = parser.value(0)?;
    parser.space();
    if parser.at == text.len() { Ok(value) } else { Err(JsonError::Syntax(parser.at)) }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    values: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, literal: &str) -> Result<(), JsonError> {
        if self.text.as_bytes()[self.at..].starts_with(literal.as_bytes()) {
            self.at += literal.len();
            Ok(())
        } else {
            Err(JsonError::Syntax(self.at))
        }
    }

    fn value(&mut self, depth: usize) -> Result<Ipld, JsonError> {
        self.values += 1;
        if self.values > limits::VALUES_PER_BLOCK {
            return Err(JsonError::TooMany);
        }
        if depth > limits::VALUE_DEPTH {
            return Err(JsonError::TooDeep);
        }
        self.space();
        match self.peek() {
            Some(b'n') => self.expect("null").map(|()| Ipld::Null),
            Some(b't') => self.expect("true").map(|()| Ipld::Bool(true)),
            Some(b'f') => self.expect("false").map(|()| Ipld::Bool(false)),
            Some(b'"') => self.string().map(Ipld::String),
            Some(b'[') => self.list(depth),
            Some(b'{') => self.map(depth),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(JsonError::Syntax(self.at)),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Ipld, JsonError> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Ipld::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(JsonError::Syntax(self.at)),
            }
        }
        self.at += 1;
        Ok(Ipld::List(items))
    }

    fn map(&mut self, depth: usize) -> Result<Ipld, JsonError> {
        let start = self.at;
        self.at += 1;
        let mut map = BTreeMap::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Ipld::Map(map));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(JsonError::Syntax(self.at));
            }
            let key = self.string()?;
            self.space();
            self.expect(":")?;
            let value = self.value(depth + 1)?;
            if map.insert(key.clone(), value).is_some() {
                return Err(JsonError::RepeatedKey(key));
            }
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(JsonError::Syntax(self.at)),
            }
        }
        self.at += 1;
        // Bytes arrive here as the map {"/": {"bytes": …}}, whose inner map is an ordinary one.
        if map.contains_key("/") {
            reserved(&map).ok_or(JsonError::ReservedKey(start))
        } else {
            Ok(Ipld::Map(map))
        }
    }

    fn string(&mut self) -> Result<String, JsonError> {
        let start = self.at;
        self.at += 1;
        let mut out = String::new();
        loop {
            let plain = self.text[self.at..]
                .bytes()
                .position(|byte| byte == b'"' || byte == b'\\' || byte < 0x20)
                .ok_or(JsonError::Syntax(start))?;
            out.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                _ => return Err(JsonError::Syntax(self.at)),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let at = self.at;
        self.at += 1;
        Ok(match self.text.as_bytes().get(at) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.hex4()?;
                let code = if (0xd800..0xdc00).contains(&first) {
                    self.expect("\\u")?;
                    let second = self.hex4()?;
                    if !(0xdc00..0xe000).contains(&second) {
                        return Err(JsonError::Syntax(at));
                    }
                    0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                } else {
                    first
                };
                char::from_u32(code).ok_or(JsonError::Syntax(at))?
            }
            _ => return Err(JsonError::Syntax(at)),
        })
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or(JsonError::Syntax(self.at))?;
        let mut code = 0;
        for &digit in digits {
            code = code << 4 | (digit as char).to_digit(16).ok_or(JsonError::Syntax(self.at))?;
        }
        self.at += 4;
        Ok(code)
    }

    fn number(&mut self) -> Result<Ipld, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let whole = self.digits()?;
        if whole.len() > 1 && whole.starts_with('0') {
            return Err(JsonError::Syntax(start));
        }
        let mut float = false;
        if self.peek() == Some(b'.') {
            float = true;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            float = true;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        if float {
            let value = f64::from_str(text).map_err(|_| JsonError::Syntax(start))?;
            return if value.is_finite() { Ok(Ipld::Float(value)) } else { Err(JsonError::Number(start)) };
        }
        let value = i128::from_str(text).map_err(|_| JsonError::Number(start))?;
        if (-(1i128 << 64)..1i128 << 64).contains(&value) {
            Ok(Ipld::Integer(value))
        } else {
            Err(JsonError::Number(start))
        }
    }

    fn digits(&mut self) -> Result<String, JsonError> {
        let rest = &self.text[self.at..];
        let len = rest.bytes().take_while(u8::is_ascii_digit).count();
        if len == 0 {
            return Err(JsonError::Syntax(self.at));
        }
        self.at += len;
        Ok(rest[..len].to_owned())
    }
}

/// The link or the bytes that a map with the key `/` stands for.
fn reserved(map: &BTreeMap<String, Ipld>) -> Option<Ipld> {
    if map.len() != 1 {
        return None;
    }
    match map.get("/")? {
        Ipld::String(text) => Cid::from_str(text).ok().map(Ipld::Link),
        Ipld::Map(inner) if inner.len() == 1 => match inner.get("bytes")? {
            Ipld::String(text) => BASE64_NOPAD.decode(text.as_bytes()).ok().map(Ipld::Bytes),
            _ => None,
        },
        _ => None,
    }
}

/// Encodes a value canonically.
pub fn encode(value: &Ipld) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::new();
    write(&mut out, value, 0)?;
    Ok(out)
}

fn write(out: &mut Vec<u8>, value: &Ipld, depth: usize) -> Result<(), JsonError> {
    if depth > limits::VALUE_DEPTH {
        return Err(JsonError::TooDeep);
    }
    match value {
        Ipld::Null => out.extend_from_slice(b"null"),
        Ipld::Bool(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Ipld::Integer(value) => out.extend_from_slice(value.to_string().as_bytes()),
        // `{:?}` is the shortest text that reads back as the same float, and always has a `.` or an `e`.
        Ipld::Float(value) if value.is_finite() => out.extend_from_slice(format!("{value:?}").as_bytes()),
        Ipld::Float(_) => return Err(JsonError::NotANumber),
        Ipld::String(text) => write_string(out, text),
        Ipld::Bytes(bytes) => {
            out.extend_from_slice(b"{\"/\":{\"bytes\":\"");
            out.extend_from_slice(BASE64_NOPAD.encode(bytes).as_bytes());
            out.extend_from_slice(b"\"}}");
        }
        Ipld::List(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(out, item, depth + 1)?;
            }
            out.push(b']');
        }
        Ipld::Map(map) => {
            // Written as a plain map it would read back as something else.
            if map.contains_key("/") {
                return Err(JsonError::ReservedKey(out.len()));
            }
            out.push(b'{');
            for (i, (key, item)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_string(out, key);
                out.push(b':');
                write(out, item, depth + 1)?;
            }
            out.push(b'}');
        }
        Ipld::Link(cid) => {
            out.extend_from_slice(b"{\"/\":\"");
            out.extend_from_slice(cid.to_string().as_bytes());
            out.extend_from_slice(b"\"}");
        }
    }
    Ok(())
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
