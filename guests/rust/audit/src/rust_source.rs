//! Counts the keyword `unsafe` in Rust source: not in comments, strings or longer words.

pub fn count_unsafe(source: &[u8]) -> u64 {
    let mut count = 0;
    let mut at = 0;
    while at < source.len() {
        at = match source[at] {
            b'/' if source.get(at + 1) == Some(&b'/') => line_end(source, at),
            b'/' if source.get(at + 1) == Some(&b'*') => comment_end(source, at),
            b'"' => string_end(source, at),
            b'r' | b'b' | b'c' if raw_string_hashes(source, at).is_some() => raw_string_end(source, at),
            b'\'' => quote_end(source, at),
            byte if is_word(byte) => {
                let end = word_end(source, at);
                count += u64::from(&source[at..end] == b"unsafe");
                end
            }
            _ => at + 1,
        };
    }
    count
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn word_end(source: &[u8], at: usize) -> usize {
    source[at..].iter().position(|byte| !is_word(*byte)).map_or(source.len(), |length| at + length)
}

fn line_end(source: &[u8], at: usize) -> usize {
    source[at..].iter().position(|byte| *byte == b'\n').map_or(source.len(), |length| at + length)
}

/// Block comments nest.
fn comment_end(source: &[u8], at: usize) -> usize {
    let (mut depth, mut at) = (1, at + 2);
    while depth > 0 && at < source.len() {
        match source.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

fn string_end(source: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while at < source.len() {
        match source[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// `r"`, `br##"`, `cr"` and so on at `at`: where the hashes start, and how many there are.
fn raw_string_hashes(source: &[u8], at: usize) -> Option<(usize, usize)> {
    let prefix = match &source[at..] {
        [b'r', ..] => 1,
        [b'b' | b'c', b'r', ..] => 2,
        _ => return None,
    };
    let start = at + prefix;
    let hashes = source[start..].iter().take_while(|byte| **byte == b'#').count();
    (source.get(start + hashes) == Some(&b'"')).then_some((start, hashes))
}

fn raw_string_end(source: &[u8], at: usize) -> usize {
    let Some((start, hashes)) = raw_string_hashes(source, at) else { return at + 1 };
    let mut at = start + hashes + 1;
    while at < source.len() {
        let closes = source[at] == b'"'
            && source[at + 1..].iter().take(hashes).filter(|byte| **byte == b'#').count() == hashes;
        if closes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

/// A character literal is passed over as a whole (`'"'` opens no string); a lifetime is just its quote.
fn quote_end(source: &[u8], at: usize) -> usize {
    match source.get(at + 1) {
        Some(b'\\') => {
            let close = source.iter().skip(at + 3).position(|byte| *byte == b'\'');
            close.map_or(source.len(), |length| at + 4 + length)
        }
        Some(_) if source.get(at + 2) == Some(&b'\'') => at + 3,
        _ => at + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::count_unsafe;

    #[test]
    fn counts_the_keyword_only() {
        let source = br###"
            unsafe fn a() {} // unsafe
            /* unsafe /* unsafe */ unsafe */
            let unsafely = "unsafe \" unsafe"; let r = r#"unsafe " unsafe"#;
            let q = '"'; let e = '\''; let l: &'static str = b"unsafe";
            #[unsafe(no_mangle)] extern { }
            unsafe { br##"unsafe"# unsafe"## }
        "###;
        assert_eq!(count_unsafe(source), 3);
    }
}
