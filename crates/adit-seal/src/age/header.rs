//! The header: who can open, and a MAC under the file key over all of it.
//!
//! ```text
//! age-encryption.org/v1
//! -> X25519 <ephemeral key, base64>
//! <wrapped file key, base64, lines of 64 characters, the last one shorter>
//! --- <MAC, base64>
//! ```

use super::HeaderError;
use super::keys::{FileKey, Identity, Recipient, derive};
use crate::random::Random;
use data_encoding::BASE64_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of a header at most. A header that claims more is refused before it is read.
pub const MAX_HEADER: usize = 64 << 10;
/// Stanzas of a header at most.
pub const MAX_STANZAS: usize = 256;
/// Bytes of one stanza's body at most.
const MAX_BODY: usize = 8 << 10;
/// Words behind a stanza's arrow at most.
const MAX_WORDS: usize = 16;
/// Characters of a full line of a stanza's body.
const COLUMNS: usize = 64;

const INTRO: &[u8] = b"age-encryption.org/v1\n";

/// A header that was read, and not yet believed: its MAC needs the file key.
#[derive(Clone)]
pub struct Header {
    /// Ephemeral key and wrapped file key of each X25519 stanza. Others are not for us.
    wrapped: Vec<([u8; 32], [u8; 32])>,
    /// Whether a stanza of type `scrypt` (a passphrase) is among the others.
    passphrase: bool,
    /// All bytes, with the last line feed.
    bytes: Vec<u8>,
    mac: [u8; 32],
}

impl Header {
    /// Reads the header that `bytes` begin with. `None` when more bytes are needed; never more than [`MAX_HEADER`] are.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, HeaderError> {
        let known = bytes.len().min(INTRO.len());
        if bytes[..known] != INTRO[..known] {
            return Err(HeaderError::NotAge);
        }
        let window = &bytes[..bytes.len().min(MAX_HEADER)];
        let mut lines = Lines { rest: window, at: 0 };
        let read = lines.next().and_then(|_intro| Self::stanzas(&mut lines, bytes));
        match read {
            Err(Stop::More) if bytes.len() >= MAX_HEADER => Err(HeaderError::TooLong),
            Err(Stop::More) => Ok(None),
            Err(Stop::Wrong(error)) => Err(error),
            Ok(header) => Ok(Some(header)),
        }
    }

    fn stanzas(lines: &mut Lines<'_>, all: &[u8]) -> Result<Self, Stop> {
        let (mut wrapped, mut passphrase, mut count) = (Vec::new(), false, 0);
        loop {
            let line = lines.next()?;
            if let Some(mac) = line.strip_prefix("---") {
                if count == 0 {
                    return Err(HeaderError::Malformed("it names nobody who could open").into());
                }
                if passphrase && count > 1 {
                    return Err(HeaderError::Malformed("a passphrase beside other recipients").into());
                }
                let mac = mac.strip_prefix(' ').ok_or(HeaderError::Malformed("no space before the MAC"))?;
                let mac = exactly::<32>(mac)?;
                return Ok(Self { wrapped, passphrase, bytes: all[..lines.at].to_vec(), mac });
            }
            count += 1;
            if count > MAX_STANZAS {
                return Err(HeaderError::TooManyStanzas.into());
            }
            let words =
                line.strip_prefix("-> ").ok_or(HeaderError::Malformed("a line that begins no stanza"))?;
            let words: Vec<&str> = words.split(' ').take(MAX_WORDS + 1).collect();
            if words.len() > MAX_WORDS {
                return Err(HeaderError::Malformed("a stanza of too many words").into());
            }
            if words.iter().any(|word| word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_graphic())) {
                return Err(HeaderError::Malformed("an argument that is empty or not printable").into());
            }
            let body = body(lines)?;
            match words[0] {
                "X25519" => {
                    let [_, ephemeral] = words[..] else {
                        return Err(HeaderError::Malformed("an X25519 stanza needs one argument").into());
                    };
                    let body = body
                        .try_into()
                        .map_err(|_| HeaderError::Malformed("a wrapped key of another length"))?;
                    wrapped.push((exactly::<32>(ephemeral)?, body));
                }
                "scrypt" => passphrase = true,
                _ => {}
            }
        }
    }

    /// Writes the header of a file with this key, for these recipients.
    pub fn write(key: &FileKey, to: &[Recipient], random: &mut impl Random) -> Result<Self, HeaderError> {
        if to.is_empty() {
            return Err(HeaderError::NoRecipients);
        }
        if to.len() > MAX_STANZAS {
            return Err(HeaderError::TooManyStanzas);
        }
        let mut text = String::from_utf8(INTRO.to_vec()).expect("ASCII");
        let mut wrapped = Vec::with_capacity(to.len());
        for recipient in to {
            let stanza = key.wrap(recipient, random).ok_or(HeaderError::LowOrder)?;
            text.push_str("-> X25519 ");
            BASE64_NOPAD.encode_append(&stanza.0, &mut text);
            text.push('\n');
            // 43 characters: one line, and shorter than a full one.
            BASE64_NOPAD.encode_append(&stanza.1, &mut text);
            text.push('\n');
            wrapped.push(stanza);
        }
        text.push_str("---");
        let mac = mac(key, text.as_bytes());
        let value: [u8; 32] = mac.finalize().into_bytes().into();
        text.push(' ');
        BASE64_NOPAD.encode_append(&value, &mut text);
        text.push('\n');
        Ok(Self { wrapped, passphrase: false, bytes: text.into_bytes(), mac: value })
    }

    /// The header's bytes. What follows them in a file is the payload.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The file key, by the first of these identities that opens a stanza, after the whole header was checked under it.
    pub fn unwrap(&self, identities: &[Identity]) -> Result<FileKey, HeaderError> {
        let pairs =
            identities.iter().flat_map(|identity| self.wrapped.iter().map(move |stanza| (identity, stanza)));
        for (identity, (ephemeral, wrapped)) in pairs {
            if let Some(key) = identity.unwrap(ephemeral, wrapped)? {
                self.check(&key)?;
                return Ok(key);
            }
        }
        Err(if self.passphrase { HeaderError::Passphrase } else { HeaderError::NotForUs })
    }

    /// Checks the header under a file key that came by another way than a stanza.
    pub fn check(&self, key: &FileKey) -> Result<(), HeaderError> {
        let covered = self.bytes.len() - 1 - BASE64_NOPAD.encode_len(32) - 1;
        mac(key, &self.bytes[..covered]).verify_slice(&self.mac).map_err(|_| HeaderError::Mac)
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Header({} bytes, {} X25519 stanzas)", self.bytes.len(), self.wrapped.len())
    }
}

fn mac(key: &FileKey, covered: &[u8]) -> Hmac<Sha256> {
    let key = derive(key.expose(), &[], b"header");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key[..]).expect("HMAC takes keys of any length");
    mac.update(covered);
    mac
}

fn body(lines: &mut Lines<'_>) -> Result<Vec<u8>, Stop> {
    let mut text = String::new();
    loop {
        let line = lines.next()?;
        if line.len() > COLUMNS {
            return Err(HeaderError::Malformed("a line that is too long").into());
        }
        text.push_str(line);
        if text.len() > MAX_BODY {
            return Err(HeaderError::Malformed("a stanza that is too long").into());
        }
        if line.len() < COLUMNS {
            return Ok(base64(&text)?);
        }
    }
}

fn base64(text: &str) -> Result<Vec<u8>, HeaderError> {
    BASE64_NOPAD.decode(text.as_bytes()).map_err(|_| HeaderError::Malformed("not canonical base64"))
}

fn exactly<const N: usize>(text: &str) -> Result<[u8; N], HeaderError> {
    base64(text)?.try_into().map_err(|_| HeaderError::Malformed("a key or MAC of another length"))
}

/// Why reading stopped.
enum Stop {
    /// The bytes end inside a line.
    More,
    Wrong(HeaderError),
}

impl From<HeaderError> for Stop {
    fn from(error: HeaderError) -> Self {
        Self::Wrong(error)
    }
}

struct Lines<'a> {
    rest: &'a [u8],
    /// Bytes read.
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a str, Stop> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').ok_or(Stop::More)?;
        let line = std::str::from_utf8(&self.rest[..end]);
        let line = line.ok().filter(|line| line.is_ascii()).ok_or(HeaderError::Malformed("not ASCII"))?;
        self.rest = &self.rest[end + 1..];
        self.at += end + 1;
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OsRandom;

    fn made(count: usize) -> (Header, Vec<Identity>) {
        let identities: Vec<_> = (0..count).map(|_| Identity::generate(&mut OsRandom)).collect();
        let to: Vec<_> = identities.iter().map(Identity::recipient).collect();
        (Header::write(&FileKey::from_bytes([7; 16]), &to, &mut OsRandom).unwrap(), identities)
    }

    #[test]
    fn each_recipient_opens_and_nobody_else_does() {
        let (header, identities) = made(3);
        let read = Header::parse(header.as_bytes()).unwrap().unwrap();
        for identity in identities {
            assert_eq!(read.unwrap(&[identity]).unwrap().expose(), &[7; 16]);
        }
        assert!(matches!(read.unwrap(&[Identity::generate(&mut OsRandom)]), Err(HeaderError::NotForUs)));
        assert!(matches!(read.check(&FileKey::from_bytes([8; 16])), Err(HeaderError::Mac)));
    }

    #[test]
    fn a_header_is_asked_for_until_it_is_whole() {
        let (header, _) = made(2);
        for end in 0..header.as_bytes().len() {
            assert!(Header::parse(&header.as_bytes()[..end]).unwrap().is_none(), "{end} bytes");
        }
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let (header, identities) = made(1);
        for at in 0..header.as_bytes().len() {
            for bit in 0..8 {
                let mut bytes = header.as_bytes().to_vec();
                bytes[at] ^= 1 << bit;
                // Behind a header there is always a payload, in which a lost line feed may be found.
                bytes.extend_from_slice(b"payload\npayload");
                let opened = Header::parse(&bytes)
                    .is_ok_and(|read| read.is_some_and(|read| read.unwrap(&identities).is_ok()));
                assert!(!opened, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn bombs_are_refused_early() {
        let endless = [INTRO, &vec![b'x'; MAX_HEADER]].concat();
        assert!(matches!(Header::parse(&endless), Err(HeaderError::TooLong)));
        let stanzas = [INTRO, "-> a\n\n".repeat(MAX_STANZAS + 1).as_bytes()].concat();
        assert!(matches!(Header::parse(&stanzas), Err(HeaderError::TooManyStanzas)));
        let body = [INTRO, b"-> a\n", format!("{}\n", "A".repeat(64)).repeat(129).as_bytes()].concat();
        assert!(matches!(Header::parse(&body), Err(HeaderError::Malformed("a stanza that is too long"))));
        let words = [INTRO, b"-> a", " a".repeat(MAX_WORDS).as_bytes(), b"\n"].concat();
        assert!(matches!(Header::parse(&words), Err(HeaderError::Malformed("a stanza of too many words"))));
        assert!(matches!(Header::parse(b"age-encryption.org/v2\n"), Err(HeaderError::NotAge)));
    }

    #[test]
    fn keys_of_low_order_are_refused_when_sealing() {
        let key = FileKey::from_bytes([7; 16]);
        let zero = Recipient::from_bytes([0; 32]);
        assert!(matches!(Header::write(&key, &[zero], &mut OsRandom), Err(HeaderError::LowOrder)));
        assert!(matches!(Header::write(&key, &[], &mut OsRandom), Err(HeaderError::NoRecipients)));
    }
}
