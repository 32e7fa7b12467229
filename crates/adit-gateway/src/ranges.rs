//! `Range` headers (RFC 9110, section 14).

use crate::limits;

/// What a request's `Range` header comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Ranges {
    /// None, one that we do not understand, or one that costs more than the whole: everything is sent.
    Whole,
    /// These parts: first byte and length, none empty.
    Parts(Vec<(u64, u64)>),
    /// All of them lie behind the end.
    Unsatisfiable,
}

/// Reads the header for content of `size` bytes.
pub fn parse(header: &str, size: u64) -> Ranges {
    let Some(list) = header.trim().strip_prefix("bytes=") else { return Ranges::Whole };
    let mut parts: Vec<(u64, u64)> = Vec::new();
    let mut asked = 0;
    for spec in list.split(',').map(str::trim).filter(|spec| !spec.is_empty()) {
        asked += 1;
        if asked > limits::RANGES {
            return Ranges::Whole;
        }
        let Some((from, to)) = spec.split_once('-') else { return Ranges::Whole };
        let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse::<u64>().ok(),
            false => None,
        };
        let (first, last) = match (from.is_empty(), to.is_empty()) {
            (true, true) => return Ranges::Whole,
            (true, false) => {
                let Some(suffix) = number(to) else { return Ranges::Whole };
                if suffix == 0 {
                    continue;
                }
                (size.saturating_sub(suffix), u64::MAX)
            }
            (false, open) => {
                let (Some(first), Some(last)) =
                    (number(from), if open { Some(u64::MAX) } else { number(to) })
                else {
                    return Ranges::Whole;
                };
                if last < first {
                    return Ranges::Whole;
                }
                (first, last)
            }
        };
        if first < size {
            parts.push((first, last.min(size - 1) - first + 1));
        }
    }
    if asked == 0 {
        return Ranges::Whole;
    }
    if parts.is_empty() {
        return Ranges::Unsatisfiable;
    }
    // Overlapping ranges would make the answer longer than the content.
    let sum = parts.iter().try_fold(0u64, |sum, (_, len)| sum.checked_add(*len));
    if sum.is_none_or(|sum| sum > size) { Ranges::Whole } else { Ranges::Parts(parts) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_content() {
        let parts = |parts: &[(u64, u64)]| Ranges::Parts(parts.to_vec());
        assert_eq!(parse("bytes=0-0", 10), parts(&[(0, 1)]));
        assert_eq!(parse("bytes=6-16,0-4", 31), parts(&[(6, 11), (0, 5)]));
        assert_eq!(parse("bytes=5-", 10), parts(&[(5, 5)]));
        assert_eq!(parse("bytes=-3", 10), parts(&[(7, 3)]));
        assert_eq!(parse("bytes=-99", 10), parts(&[(0, 10)]));
        assert_eq!(parse("bytes=9-999999999999999999", 10), parts(&[(9, 1)]));
        assert_eq!(parse("bytes=10-, 0-1", 10), parts(&[(0, 2)]));
        for behind in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99-"] {
            assert_eq!(parse(behind, 10), Ranges::Unsatisfiable, "{behind}");
        }
        assert_eq!(parse("bytes=0-0", 0), Ranges::Unsatisfiable);
    }

    #[test]
    fn what_is_wrong_or_abusive_gets_the_whole() {
        let many = format!("bytes={}", (0..100).map(|i| format!("{i}-{i}")).collect::<Vec<_>>().join(","));
        let overlapping = "bytes=0-9,0-9";
        for whole in [
            "items=0-1",
            "bytes=",
            "bytes=a-b",
            "bytes=5-1",
            "bytes=-",
            "bytes=1",
            "bytes=+1-2",
            &many,
            overlapping,
            "bytes=99999999999999999999-",
        ] {
            assert_eq!(parse(whole, 10), Ranges::Whole, "{whole}");
        }
    }
}
