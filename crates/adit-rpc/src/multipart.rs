//! Files in a request's body, as Go's and JavaScript's clients write them: one part for each, its path in `filename`
//! (percent-encoded), mode and mtime as a query behind the field's name, directories and symlinks by `Content-Type`.
//!
//! The reader holds one piece of the body and one part's headers, both bounded, whatever the body's length.

use crate::error::RpcError;
use adit_unixfs::data::{Metadata, Mtime};
use adit_unixfs::limits;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use memchr::memmem;
use std::io;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

/// Headers of one part, in bytes.
const MAX_HEADERS: usize = 64 << 10;
/// Longest boundary: RFC 2046 allows 70, and clients stay below.
const MAX_BOUNDARY: usize = 100;

/// The files of one request, one after the other.
pub(crate) struct Files {
    body: BoxStream<'static, io::Result<Bytes>>,
    /// What arrived and was not given on.
    pending: BytesMut,
    /// What stands before every part and at the end: a line break, two dashes, the boundary.
    delimiter: Vec<u8>,
    ended: bool,
}

/// What is said of one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Names from the top; empty for what has no name.
    pub(crate) path: Vec<String>,
    pub(crate) kind: Kind,
    /// What the client says of it.
    pub(crate) metadata: Metadata,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
}

impl Files {
    pub(crate) fn of(request: Request) -> Result<Self, RpcError> {
        let kind =
            request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let boundary = kind.strip_prefix("multipart/form-data").and_then(|rest| parameter(rest, "boundary"));
        let boundary = boundary
            .filter(|boundary| (1..=MAX_BOUNDARY).contains(&boundary.len()))
            .ok_or_else(|| RpcError::client("a file is required: send it as multipart/form-data"))?;
        Ok(Self::new(adit_api::routes::streamed(request.into_body()).boxed(), &boundary))
    }

    fn new(body: BoxStream<'static, io::Result<Bytes>>, boundary: &str) -> Self {
        // The first boundary has no line break before it; with one, all look the same.
        let pending = BytesMut::from(&b"\r\n"[..]);
        Self { body, pending, delimiter: format!("\r\n--{boundary}").into_bytes(), ended: false }
    }

    /// The next file. Whatever was not read of the one before is skipped.
    pub(crate) async fn next(&mut self) -> Result<Option<File>, RpcError> {
        self.next_part().await.map_err(unreadable)?.map(|headers| describe(&headers)).transpose()
    }

    /// The content of the file that [`next`](Self::next) gave.
    pub(crate) fn content(&mut self) -> impl AsyncRead + Unpin + Send + '_ {
        let pieces = stream::unfold(self, |files| async move {
            match files.piece().await {
                Ok(piece) => piece.map(|piece| (Ok(piece), files)),
                Err(error) => Some((Err(error), files)),
            }
        });
        StreamReader::new(pieces.boxed())
    }

    /// The same, in memory.
    pub(crate) async fn whole(&mut self, limit: usize) -> Result<Bytes, RpcError> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.piece().await.map_err(unreadable)? {
            if whole.len() + piece.len() > limit {
                return Err(RpcError::client(format!("the file has more than {limit} bytes")));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// The next piece of the present part; `None` at its end.
    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if self.ended {
                return Ok(None);
            }
            if let Some(at) = memmem::find(&self.pending, &self.delimiter) {
                return Ok((at > 0).then(|| self.pending.split_to(at).freeze()));
            }
            // The last bytes may be the beginning of a delimiter.
            let sure = self.pending.len().saturating_sub(self.delimiter.len() - 1);
            if sure > 0 {
                return Ok(Some(self.pending.split_to(sure).freeze()));
            }
            self.fill().await?;
        }
    }

    async fn next_part(&mut self) -> io::Result<Option<Bytes>> {
        while self.piece().await?.is_some() {}
        if self.ended {
            return Ok(None);
        }
        let _ = self.pending.split_to(self.delimiter.len());
        // What follows a boundary: the dashes of the last one, or blanks and a line break.
        while self.pending.len() < 2 {
            self.fill().await?;
        }
        if self.pending.starts_with(b"--") {
            self.ended = true;
            return Ok(None);
        }
        loop {
            // Without headers, the line break of the boundary and the empty line stand together.
            if let Some(at) = memmem::find(&self.pending, b"\r\n\r\n") {
                let headers = self.pending.split_to(at).freeze();
                let _ = self.pending.split_to(4);
                return Ok(Some(headers));
            }
            if self.pending.len() > MAX_HEADERS {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a part's headers are too long"));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.body.next().await.transpose()? {
            Some(bytes) => self.pending.extend_from_slice(&bytes),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }
}

fn unreadable(error: io::Error) -> RpcError {
    RpcError::client(format!("the multipart body cannot be read: {error}"))
}

fn describe(headers: &[u8]) -> Result<File, RpcError> {
    let text =
        std::str::from_utf8(headers).map_err(|_| RpcError::client("a part's headers are not UTF-8"))?;
    let of = |wanted: &str| {
        let mut lines = text.split("\r\n").filter_map(|line| line.split_once(':'));
        lines.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    let disposition = of("content-disposition").unwrap_or_default();
    let kind = match of("content-type").and_then(|kind| kind.split(';').next()).map(str::trim) {
        Some("application/x-directory" | "multipart/form-data") => Kind::Directory,
        Some("application/symlink") => Kind::Symlink,
        _ => Kind::File,
    };
    let name = parameter(disposition, "name").unwrap_or_default();
    Ok(File {
        path: path(&parameter(disposition, "filename").unwrap_or_default())?,
        kind,
        metadata: name.split_once('?').map_or(Metadata::NONE, |(_, query)| metadata(query)),
    })
}

/// A parameter of a header: `; name="value"`, or without quotes.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once(';') {
        let (name, value) = after.split_once('=')?;
        let (value, next) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_at(value.find(';').unwrap_or(value.len())),
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value.trim().to_owned());
        }
        rest = next;
    }
    None
}

/// Both clients escape names as queries do: a plus is a blank.
fn path(escaped: &str) -> Result<Vec<String>, RpcError> {
    if escaped.len() > limits::PATH {
        return Err(RpcError::client("a file's path is too long"));
    }
    let spaced = escaped.replace('+', " ");
    let text = percent_encoding::percent_decode_str(&spaced)
        .decode_utf8()
        .map_err(|_| RpcError::client("a file's name is not UTF-8, which UnixFS requires"))?;
    let mut names = Vec::new();
    for name in text.split('/') {
        match name {
            "" | "." => {}
            ".." => return Err(RpcError::client("a file's path cannot contain `..`")),
            _ => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

/// `mode` in octal, `mtime` in seconds, `mtime-nsecs`.
fn metadata(query: &str) -> Metadata {
    let of = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let mode = of("mode").and_then(|mode| u32::from_str_radix(mode, 8).ok()).map(|mode| mode & 0o7777);
    let nanos = of("mtime-nsecs").and_then(|nanos| nanos.parse().ok()).filter(|nanos| *nanos < 1_000_000_000);
    let mtime = of("mtime")
        .and_then(|seconds| seconds.parse().ok())
        .map(|seconds| Mtime { seconds, nanos: nanos.unwrap_or(0) });
    Metadata { mode, mtime }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unescaped_and_stay_below_the_top() {
        assert_eq!(path("a+b%2Fc%2Bd").unwrap(), ["a b", "c+d"]);
        assert_eq!(path("/x/./y/").unwrap(), ["x", "y"]);
        assert!(path("").unwrap().is_empty());
        assert!(path("a%2F..%2F..%2Fetc").is_err());
        assert!(path("%ff").is_err());
        assert!(path(&"a".repeat(limits::PATH + 1)).is_err());
    }

    #[test]
    fn mode_and_mtime_stand_behind_the_fields_name() {
        let both = metadata("mode=0644&mtime=1700000000&mtime-nsecs=5");
        let mtime = Some(Mtime { seconds: 1_700_000_000, nanos: 5 });
        assert_eq!(both, Metadata { mode: Some(0o644), mtime });
        assert_eq!(metadata("mode=9&mtime=x"), Metadata::NONE);
    }

    /// All files of a body that arrives in pieces of `step` bytes.
    async fn read(body: &'static [u8], step: usize) -> Result<Vec<(File, Bytes)>, RpcError> {
        let pieces = body.chunks(step).map(|piece| Ok(Bytes::from_static(piece)));
        let mut files = Files::new(stream::iter(pieces.collect::<Vec<_>>()).boxed(), "xy");
        let mut all = Vec::new();
        while let Some(file) = files.next().await? {
            all.push((file, files.whole(1 << 20).await?));
        }
        Ok(all)
    }

    const BODY: &[u8] = b"--xy\r\nContent-Disposition: form-data; name=\"file\"; filename=\"d\"\r\n\
        Content-Type: application/x-directory\r\n\r\n\r\n--xy\r\ncontent-disposition: form-data; \
        name=\"file-1?mode=0600\"; filename=\"d%2Fa\"\r\nContent-Type: application/octet-stream\r\n\r\n\
        one\r\n--x\r\n--xz\r\n--xy\r\n\r\nbare\r\n--xy--\r\n";

    #[tokio::test]
    async fn parts_are_the_same_however_they_arrive() {
        let whole = read(BODY, BODY.len()).await.unwrap();
        let paths: Vec<String> = whole.iter().map(|(file, _)| file.path.join("/")).collect();
        assert_eq!(paths, ["d", "d/a", ""]);
        let kinds: Vec<Kind> = whole.iter().map(|(file, _)| file.kind).collect();
        assert_eq!(kinds, [Kind::Directory, Kind::File, Kind::File]);
        let contents: Vec<&[u8]> = whole.iter().map(|(_, content)| &content[..]).collect();
        assert_eq!(contents, [&b""[..], b"one\r\n--x\r\n--xz", b"bare"]);
        assert_eq!(whole[1].0.metadata.mode, Some(0o600));
        for step in 1..20 {
            assert_eq!(read(BODY, step).await.unwrap(), whole, "in pieces of {step}");
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_or_never_comes_to_the_point_is_refused() {
        for len in [0, 3, 30, 150, BODY.len() - 5] {
            assert!(read(&BODY[..len], 7).await.is_err(), "cut at {len}");
        }
        let endless: &'static [u8] =
            Box::leak([&b"--xy\r\nA: "[..], &[b'a'; 2 * MAX_HEADERS]].concat().into());
        assert!(read(endless, 1000).await.unwrap_err().message().contains("too long"));
    }
}
