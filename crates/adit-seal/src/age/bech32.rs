//! Bech32 (BIP-173) without its limit of 90 characters, as age writes its keys.

use zeroize::Zeroizing;

const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const CHECKSUM: usize = 6;

fn step(state: u32, value: u8) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let top = state >> 25;
    let next = (state & 0x01ff_ffff) << 5 ^ u32::from(value);
    GENERATOR
        .iter()
        .enumerate()
        .fold(next, |next, (bit, term)| next ^ if top >> bit & 1 == 1 { *term } else { 0 })
}

fn checksum_of(prefix: &str, values: &[u8]) -> u32 {
    let high = prefix.bytes().map(|byte| byte >> 5);
    let low = prefix.bytes().map(|byte| byte & 31);
    high.chain([0]).chain(low).chain(values.iter().copied()).fold(1, step)
}

/// Regroups 32 bytes into 52 groups of five bits.
fn to_fives(bytes: &[u8; 32]) -> Zeroizing<[u8; 52 + CHECKSUM]> {
    let mut fives = Zeroizing::new([0; 52 + CHECKSUM]);
    for bit in 0..256 {
        fives[bit / 5] |= (bytes[bit / 8] >> (7 - bit % 8) & 1) << (4 - bit % 5);
    }
    fives
}

/// Thirty-two bytes with their kind before them, in lower case.
pub(crate) fn encode(prefix: &str, bytes: &[u8; 32]) -> Zeroizing<String> {
    let mut values = to_fives(bytes);
    let checksum = checksum_of(prefix, &values[..]) ^ 1;
    for (at, value) in values[52..].iter_mut().enumerate() {
        *value = (checksum >> (5 * (5 - at)) & 31) as u8;
    }
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + 1 + values.len()));
    text.push_str(prefix);
    text.push('1');
    values.iter().for_each(|value| text.push(char::from(ALPHABET[usize::from(*value)])));
    text
}

/// The bytes of a text with this kind before them, given in lower case; the text is all in lower or all in upper case.
pub(crate) fn decode(prefix: &str, text: &str) -> Option<Zeroizing<[u8; 32]>> {
    if text.bytes().any(|byte| byte.is_ascii_lowercase())
        && text.bytes().any(|byte| byte.is_ascii_uppercase())
    {
        return None;
    }
    let (kind, data) = (text.get(..prefix.len())?, text.get(prefix.len()..)?.strip_prefix('1')?);
    if !kind.eq_ignore_ascii_case(prefix) || data.len() != 52 + CHECKSUM {
        return None;
    }
    let mut values = Zeroizing::new([0; 52 + CHECKSUM]);
    for (value, byte) in values.iter_mut().zip(data.bytes()) {
        *value = ALPHABET.iter().position(|letter| *letter == byte.to_ascii_lowercase())? as u8;
    }
    // Four bits are left over behind the 256th; they must be zero.
    if checksum_of(prefix, &values[..]) != 1 || values[51] & 0b1111 != 0 {
        return None;
    }
    let mut bytes = Zeroizing::new([0; 32]);
    for bit in 0..256 {
        bytes[bit / 8] |= (values[bit / 5] >> (4 - bit % 5) & 1) << (7 - bit % 8);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_nothing_else_is_one() {
        let text = encode("age", &[0xa5; 32]);
        assert_eq!(decode("age", &text).unwrap()[..], [0xa5; 32]);
        assert_eq!(decode("age", &text.to_uppercase()).unwrap()[..], [0xa5; 32]);
        assert!(
            decode("agf", &text).is_none() && decode("age", "").is_none() && decode("age", "é").is_none()
        );
        for at in 0..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[at] = if changed[at] == b'q' { b'p' } else { b'q' };
            assert!(decode("age", std::str::from_utf8(&changed).unwrap()).is_none(), "character {at}");
            assert!(decode("age", &text[..at]).is_none(), "cut at {at}");
        }
        let mixed = format!("A{}", &text[1..]);
        assert!(decode("age", &mixed).is_none());
    }
}
