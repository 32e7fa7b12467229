//! What kind of content bytes are, by their name and else by how they begin.

use serde::de::IgnoredAny;

/// Bytes that [`of`] wants to see.
pub const SNIFFED: u64 = 3072;

/// The media type of a file. `start` is the beginning of its content, `whole` whether that is all of it.
pub fn of(name: Option<&str>, start: &[u8], whole: bool) -> String {
    let named = name.and_then(by_name);
    named.unwrap_or_else(|| sniff(start, whole).to_owned())
}

/// The media type that a file name tells, if it tells one.
pub fn by_name(name: &str) -> Option<String> {
    let (_, extension) = name.rsplit_once('.')?;
    let mime = mime_guess::from_ext(extension).first()?;
    Some(match (mime.type_().as_str(), mime.subtype().as_str()) {
        ("text", _) => format!("{}; charset=utf-8", mime.essence_str()),
        _ => mime.essence_str().to_owned(),
    })
}

const MAGIC: &[(&[u8], &str)] = &[
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"OggS", "application/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
    (b"\0asm", "application/wasm"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
];

fn sniff(start: &[u8], whole: bool) -> &'static str {
    if let Some((_, mime)) = MAGIC.iter().find(|(magic, _)| start.starts_with(magic)) {
        return mime;
    }
    match (start.get(..4), start.get(8..12)) {
        (Some(b"RIFF"), Some(b"WEBP")) => return "image/webp",
        (Some(b"RIFF"), Some(b"WAVE")) => return "audio/wav",
        (Some(b"RIFF"), Some(b"AVI ")) => return "video/x-msvideo",
        _ => {}
    }
    if start.get(4..8) == Some(b"ftyp") {
        return if start.get(8..12) == Some(b"avif") { "image/avif" } else { "video/mp4" };
    }
    // A cut through a character is no sign of binary content.
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() && !whole => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return "application/octet-stream",
    };
    if text.bytes().any(|byte| matches!(byte, 0..=8 | 14..=31 | 127) && byte != 0x1b) {
        return "application/octet-stream";
    }
    let trimmed = text.trim_start_matches('\u{feff}').trim_start();
    let begins = |with: &str| trimmed.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    if ["<!doctype html", "<html", "<head", "<body", "<script", "<title"].iter().any(|with| begins(with)) {
        return "text/html; charset=utf-8";
    }
    if begins("<svg") || (begins("<?xml") && trimmed.contains("<svg")) {
        return "image/svg+xml";
    }
    if begins("<?xml") {
        return "text/xml; charset=utf-8";
    }
    let json =
        trimmed.starts_with(['{', '[']) && whole && serde_json::from_str::<IgnoredAny>(trimmed).is_ok();
    if json { "application/json" } else { "text/plain; charset=utf-8" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_counts_before_the_content() {
        assert_eq!(of(Some("a.css"), b"<html>", true), "text/css; charset=utf-8");
        assert_eq!(of(Some("a.JPG"), b"", true), "image/jpeg");
        assert_eq!(of(Some("no-extension"), b"plain", true), "text/plain; charset=utf-8");
    }

    #[test]
    fn content_without_a_name_is_looked_at() {
        for (content, mime) in [
            (&b"{\"a\": [1]}"[..], "application/json"),
            (b"{not json}", "text/plain; charset=utf-8"),
            (b"\x89PNG\r\n\x1a\n....", "image/png"),
            (b"  <!DOCTYPE HTML>", "text/html; charset=utf-8"),
            (b"\0\x01\x02", "application/octet-stream"),
            ("z\u{142}".as_bytes(), "text/plain; charset=utf-8"),
            (b"\xff\xfe", "application/octet-stream"),
            (b"", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(of(None, content, true), mime, "{content:?}");
        }
        let cut = &"z\u{142}".as_bytes()[..2];
        assert_eq!(of(None, cut, false), "text/plain; charset=utf-8");
        assert_eq!(of(None, cut, true), "application/octet-stream");
    }
}
