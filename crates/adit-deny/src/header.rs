//! The optional header of a list: YAML, ended by a line `---`.

use saphyr_parser::{Event, Parser, ScanError};

/// Longest header, in bytes. A longer one is no header: its lines are read as rules, and are none.
const MAX_HEADER: usize = 1 << 20;
/// The version of the format that is understood.
const VERSION: &str = "1";

/// Why a header, and with it its list, is not taken.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// It is not YAML.
    #[error("the header is not YAML: {0}")]
    Yaml(String),
    /// It is of a version that came after this program.
    #[error("the list has version {0}; this program understands version {VERSION}")]
    Version(String),
}

impl From<ScanError> for HeaderError {
    fn from(error: ScanError) -> Self {
        HeaderError::Yaml(error.to_string())
    }
}

/// Cuts the header off; gives the rules. A header's fields mean nothing here but its version.
pub(crate) fn skip(text: &str) -> Result<&str, HeaderError> {
    let Some((header, rules)) = split(text) else { return Ok(text) };
    // Events, not a tree: aliases are never followed, so a small header can't become a big one.
    let mut depth = 0;
    let mut key: Option<String> = None;
    for event in Parser::new_from_str(header) {
        match event?.0 {
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                depth += 1;
                key = None;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                depth -= 1;
                key = None;
            }
            Event::Scalar(value, ..) if depth == 1 => match key.take().as_deref() {
                Some("version") if value != VERSION => return Err(HeaderError::Version(value.into_owned())),
                Some(_) => {}
                None => key = Some(value.into_owned()),
            },
            Event::Alias(_) if depth == 1 => key = None,
            _ => {}
        }
    }
    Ok(rules)
}

/// The text before a line that is `---`, and the text after it.
fn split(text: &str) -> Option<(&str, &str)> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let after = at + line.len();
        if line.trim_end() == "---" {
            return Some((&text[..at], &text[after..]));
        }
        if after > MAX_HEADER {
            return None;
        }
        at = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_optional_and_only_its_version_counts() {
        for (text, rules) in [
            ("version: 1\nname: test\nhints:\n  version: 7\n  a: b\n---\nrest\n", "rest\n"),
            ("---\nrest", "rest"),
            ("rest\n# ---\n", "rest\n# ---\n"),
            ("name: [version, 2]\nversion: 1\n---\n", ""),
            ("", ""),
        ] {
            assert_eq!(skip(text).unwrap(), rules, "{text:?}");
        }
        assert!(matches!(skip("version: 2\n---\n"), Err(HeaderError::Version(v)) if v == "2"));
        assert!(matches!(skip("name: \"open\n---\n"), Err(HeaderError::Yaml(_))));
    }

    #[test]
    fn a_header_that_is_too_long_is_none() {
        let long = format!("name: {}\n---\nrest", "x".repeat(MAX_HEADER));
        assert_eq!(skip(&long).unwrap(), long);
    }
}
