//! Text from strangers, made harmless for where it goes.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What stands as it is in one segment of a URL's path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// The same without those that end or join the parts of a query or header.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// One segment of a path.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// A value of a query or of an extended header parameter.
pub fn strict(text: &str) -> String {
    utf8_percent_encode(text, STRICT).to_string()
}

/// Segments with a slash before each; empty for none.
pub fn path<T: AsRef<str>>(segments: &[T]) -> String {
    segments.iter().fold(String::new(), |mut path, part| {
        path.push('/');
        path.push_str(&segment(part.as_ref()));
        path
    })
}

/// Text of an HTML element or attribute.
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            char => out.push(char),
        }
    }
    out
}

/// Percent-decoding; `None` where the bytes are not text.
pub fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

/// A `Content-Disposition` whose file name is safe in old and new clients.
pub fn disposition(kind: &str, name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|char| if (' '..='~').contains(&char) && !matches!(char, '"' | '\\' | '/') { char } else { '_' })
        .collect();
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{}", strict(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_the_place_it_was_put_in() {
        assert_eq!(html(r#"<img src=x onerror='a&b'>""#), "&lt;img src=x onerror=&#39;a&amp;b&#39;&gt;&#34;");
        assert_eq!(segment("a/b?c#d\"<%"), "a%2Fb%3Fc%23d%22%3C%25");
        let hostile = disposition("inline", "a\"; x=\r\nSet-Cookie: y/..\\é.txt");
        assert!(!hostile.contains(['\r', '\n', '\\']));
        assert_eq!(hostile.matches('"').count(), 2);
    }

    #[test]
    fn names_of_other_languages_have_both_forms() {
        assert_eq!(
            disposition("attachment", "testтест.tar"),
            "attachment; filename=\"test____.tar\"; filename*=UTF-8''test%D1%82%D0%B5%D1%81%D1%82.tar"
        );
    }
}
