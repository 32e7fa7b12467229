//! Heads of messages, between HTTP's types and frames.

use adit_wire::http::{Lines, MAX_HEAD, MAX_LINES};
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// About one connection, and so nobody's business behind it.
const HOP_BY_HOP: [&str; 10] = [
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

/// The lines that go to a function. `None`: more than fit.
pub(crate) fn lines(headers: &HeaderMap) -> Option<Lines> {
    // What `Connection` names is about the connection as well.
    let named: Vec<String> = headers
        .get_all("connection")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()))
        .collect();
    let mut length = 0;
    let mut lines = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        if HOP_BY_HOP.contains(&name.as_str()) || named.iter().any(|other| other == name.as_str()) {
            continue;
        }
        length += name.as_str().len() + value.len();
        lines.push((name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes())));
    }
    (length <= MAX_HEAD && lines.len() <= MAX_LINES).then_some(lines)
}

/// The lines that a function gave, as far as they are any: a worker may have made up anything.
pub(crate) fn headers(lines: Lines) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(lines.len());
    for (name, value) in lines {
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_maybe_shared(value))
        else {
            continue;
        };
        if !HOP_BY_HOP.contains(&name.as_str()) && name != "trailer" {
            headers.append(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_the_connection_stays_with_it() {
        let mut map = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-hop, close"),
            ("x-hop", "1"),
            ("host", "a"),
            ("te", "trailers"),
            ("x-end", "2"),
        ] {
            map.append(name, value.parse().unwrap());
        }
        assert_eq!(lines(&map).unwrap(), [("x-end".to_owned(), Bytes::from_static(b"2"))]);
        map.append("x-long", HeaderValue::from_bytes(&vec![b'a'; MAX_HEAD]).unwrap());
        assert!(lines(&map).is_none());
    }

    #[test]
    fn nothing_that_a_worker_makes_up_becomes_a_line_of_its_own() {
        let line = |name: &str, value: &'static [u8]| (name.to_owned(), Bytes::from_static(value));
        let made = headers(vec![
            line("x-good", b"1"),
            line("x-bad", b"1\r\nset-cookie: a=b"),
            line("x bad", b"1"),
            line("transfer-encoding", b"chunked"),
            line("connection", b"close"),
        ]);
        assert_eq!(made.len(), 1);
        assert_eq!(made["x-good"], "1");
    }
}
