//! Single elements of DER, where whole certificates are x509-parser's business.

/// The first element's tag and content, and what follows. Definite lengths, at most 64 KiB, single-byte tags.
pub(crate) fn next(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (size, content) = match bytes.get(1..)? {
        [size @ 0..=0x7f, rest @ ..] => (usize::from(*size), rest),
        [0x81, size, rest @ ..] if *size >= 0x80 => (usize::from(*size), rest),
        [0x82, high, low, rest @ ..] if *high > 0 => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    let (content, rest) = content.split_at_checked(size)?;
    Some((bytes[0], content, rest))
}

/// The content of the only element, which has this tag.
pub(crate) fn only(tag: u8, bytes: &[u8]) -> Option<&[u8]> {
    match next(bytes)? {
        (found, content, []) if found == tag => Some(content),
        _ => None,
    }
}
