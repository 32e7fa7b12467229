//! Header lines and trailers.

// As in `mod.rs`.
#![expect(unreachable_pub)]

use super::super::{Host, function_bindings::wasi::http::types, stop::Stop};
use crate::fault::LimitKind;
use adit_wire::http::{Lines, MAX_HEAD, MAX_LINES};
use bytes::Bytes;
use types::HeaderError;
use wasmtime::{Result, component::Resource};

/// Names in lower case, in the order of adding.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    pub(super) lines: Lines,
    /// A message's own; a guest changes copies.
    pub(super) fixed: bool,
}

/// About the connection, which is the node's business, or about the host, which the authority says.
const FORBIDDEN: [&str; 10] = [
    "connection",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

impl Fields {
    pub(super) fn fixed(lines: Lines) -> Self {
        Fields { lines, fixed: true }
    }

    fn remove(&mut self, name: &str) {
        self.lines.retain(|(other, _)| other != name);
    }

    fn add(&mut self, name: &str, value: Vec<u8>) -> Result<(), Stop> {
        let length: usize = self.lines.iter().map(|(name, value)| name.len() + value.len()).sum();
        if self.lines.len() >= MAX_LINES || length + name.len() + value.len() > MAX_HEAD {
            return Err(Stop::limit(LimitKind::Resources, "more header lines than a message may have"));
        }
        self.lines.push((name.to_owned(), value.into()));
        Ok(())
    }
}

/// The name as it is kept, if it is one.
fn checked_name(name: &str) -> Result<String, HeaderError> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(HeaderError::InvalidSyntax);
    }
    let name = name.to_ascii_lowercase();
    if FORBIDDEN.contains(&name.as_str()) { Err(HeaderError::Forbidden) } else { Ok(name) }
}

fn checked_value(value: &[u8]) -> Result<(), HeaderError> {
    let wrong = |byte: &u8| matches!(byte, 0..=8 | 10..=31 | 127);
    if value.iter().any(wrong) { Err(HeaderError::InvalidSyntax) } else { Ok(()) }
}

impl Host {
    fn changeable(&mut self, fields: &Resource<Fields>) -> Result<Result<&mut Fields, HeaderError>> {
        let fields = self.table.get_mut(fields)?;
        Ok(if fields.fixed { Err(HeaderError::Immutable) } else { Ok(fields) })
    }
}

impl types::HostFields for Host {
    fn new(&mut self) -> Result<Resource<Fields>> {
        self.charge(0)?;
        self.handle(Fields::default())
    }

    fn from_list(
        &mut self,
        entries: Vec<(String, Vec<u8>)>,
    ) -> Result<Result<Resource<Fields>, HeaderError>> {
        self.charge(entries.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum())?;
        let mut fields = Fields::default();
        for (name, value) in entries {
            let name = match checked_name(&name).and_then(|name| checked_value(&value).map(|()| name)) {
                Ok(name) => name,
                Err(error) => return Ok(Err(error)),
            };
            fields.add(&name, value)?;
        }
        Ok(Ok(self.handle(fields)?))
    }

    fn get(&mut self, fields: Resource<Fields>, name: String) -> Result<Vec<Vec<u8>>> {
        self.charge(MAX_LINES as u64)?;
        let name = name.to_ascii_lowercase();
        let lines = &self.table.get(&fields)?.lines;
        Ok(lines.iter().filter(|(other, _)| *other == name).map(|(_, value)| value.to_vec()).collect())
    }

    fn has(&mut self, fields: Resource<Fields>, name: String) -> Result<bool> {
        self.charge(MAX_LINES as u64)?;
        let name = name.to_ascii_lowercase();
        Ok(self.table.get(&fields)?.lines.iter().any(|(other, _)| *other == name))
    }

    fn set(
        &mut self,
        fields: Resource<Fields>,
        name: String,
        values: Vec<Vec<u8>>,
    ) -> Result<Result<(), HeaderError>> {
        self.charge(MAX_LINES as u64 + values.iter().map(|value| value.len() as u64).sum::<u64>())?;
        let fields = match self.changeable(&fields)? {
            Ok(fields) => fields,
            Err(error) => return Ok(Err(error)),
        };
        let name = match checked_name(&name) {
            Ok(name) => name,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(error) = values.iter().find_map(|value| checked_value(value).err()) {
            return Ok(Err(error));
        }
        fields.remove(&name);
        for value in values {
            fields.add(&name, value)?;
        }
        Ok(Ok(()))
    }

    fn delete(&mut self, fields: Resource<Fields>, name: String) -> Result<Result<(), HeaderError>> {
        self.charge(MAX_LINES as u64)?;
        Ok(match (self.changeable(&fields)?, checked_name(&name)) {
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(fields), Ok(name)) => {
                fields.remove(&name);
                Ok(())
            }
        })
    }

    fn append(
        &mut self,
        fields: Resource<Fields>,
        name: String,
        value: Vec<u8>,
    ) -> Result<Result<(), HeaderError>> {
        self.charge(MAX_LINES as u64 + value.len() as u64)?;
        let checked = checked_name(&name).and_then(|name| checked_value(&value).map(|()| name));
        Ok(match (self.changeable(&fields)?, checked) {
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(fields), Ok(name)) => {
                fields.add(&name, value)?;
                Ok(())
            }
        })
    }

    fn entries(&mut self, fields: Resource<Fields>) -> Result<Vec<(String, Vec<u8>)>> {
        let lines = self.table.get(&fields)?.lines.clone();
        self.charge(lines.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum())?;
        Ok(lines.into_iter().map(|(name, value): (String, Bytes)| (name, value.into())).collect())
    }

    fn clone(&mut self, fields: Resource<Fields>) -> Result<Resource<Fields>> {
        self.charge(MAX_LINES as u64)?;
        let lines = self.table.get(&fields)?.lines.clone();
        self.handle(Fields { lines, fixed: false })
    }

    fn drop(&mut self, fields: Resource<Fields>) -> Result<()> {
        self.table.delete(fields)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_can_break_out_of_its_line() {
        assert_eq!(checked_name("X-Thing").unwrap(), "x-thing");
        for wrong in ["", "a b", "a:b", "a\r\nb", "ä", "a\0"] {
            assert!(matches!(checked_name(wrong), Err(HeaderError::InvalidSyntax)), "{wrong:?}");
        }
        for forbidden in ["Host", "transfer-encoding", "Connection", "Upgrade"] {
            assert!(matches!(checked_name(forbidden), Err(HeaderError::Forbidden)), "{forbidden}");
        }
        assert!(checked_value(b"caf\xe9 \t x").is_ok());
        for wrong in [&b"a\r\nset-cookie: x"[..], b"\n", b"\0", b"\x7f"] {
            assert!(checked_value(wrong).is_err());
        }
    }

    #[test]
    fn a_guest_cannot_hoard_lines() {
        let mut fields = Fields::default();
        (0..MAX_LINES).for_each(|_| fields.add("x", vec![1; 4]).unwrap());
        assert!(fields.add("x", Vec::new()).is_err());
        assert!(Fields::default().add("x", vec![1; MAX_HEAD]).is_err());
    }
}
