//! The pre-shared key of a private swarm.

use std::fmt;

use libp2p::pnet::PreSharedKey;

/// A private swarm's key, in go-libp2p's `swarm.key` format:
///
/// ```text
/// /key/swarm/psk/1.0.0/
/// /base16/
/// 64 hexadecimal digits
/// ```
///
/// Every TCP and WebSocket connection is encrypted with it (XSalsa20) before anything else is said, so that whoever
/// lacks it cannot even begin a handshake. QUIC has no place for it. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct SwarmKey(PreSharedKey);

/// The text is no swarm key. It says no more, since the text may be one but for a slip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a swarm key: three lines, `/key/swarm/psk/1.0.0/`, `/base16/` and 64 hexadecimal digits")]
pub struct InvalidSwarmKey;

impl SwarmKey {
    /// Reads the text of a key file.
    pub fn parse(text: &str) -> Result<Self, InvalidSwarmKey> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let (kind, encoding, key) = (lines.next(), lines.next(), lines.next());
        if kind != Some("/key/swarm/psk/1.0.0/") || encoding != Some("/base16/") || lines.next().is_some() {
            return Err(InvalidSwarmKey);
        }
        let key = key.ok_or(InvalidSwarmKey)?.as_bytes();
        let mut bytes = [0; 32];
        if key.len() != 2 * bytes.len() {
            return Err(InvalidSwarmKey);
        }
        for (byte, pair) in bytes.iter_mut().zip(key.chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16).ok_or(InvalidSwarmKey);
            *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Ok(Self(PreSharedKey::new(bytes)))
    }

    pub(crate) fn key(&self) -> PreSharedKey {
        self.0
    }
}

impl fmt::Debug for SwarmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SwarmKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_other_programs_are_read_and_others_refused() {
        let digits = "0123456789abcdefABCDEF".repeat(3);
        let text = |key: &str| format!("/key/swarm/psk/1.0.0/\n/base16/\r\n{key}\n\n");
        let read = SwarmKey::parse(&text(&digits[..64])).unwrap();
        assert!(!format!("{read:?}").contains("0123"));
        for bad in [
            text(&digits[..62]),
            text(&digits[..66]),
            text(&format!("{}zz", &digits[..62])),
            text(&"é".repeat(32)),
            format!("/key/swarm/psk/1.0.0/\n/base64/\n{}\n", &digits[..64]),
            format!("{}more\n", text(&digits[..64])),
            String::new(),
        ] {
            assert!(SwarmKey::parse(&bad).is_err(), "{bad:?}");
        }
    }
}
