//! Files, blocks and archives: whatever is sent as bytes that are stored somewhere.

use std::time::SystemTime;

use adit_names::Name;
use adit_store::BlockSource;
use adit_store::export::{self, Range};
use adit_unixfs::node::Node;
use bytes::Bytes;
use cid::Cid;
use futures::{StreamExt, TryStreamExt, stream};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Response, StatusCode};
use sha2::{Digest, Sha256};

use crate::answer::{Ask, Gateway, Keep, Site, describe, not_modified, redirect, set};
use crate::ask::Format;
use crate::body::{Body, BodyError};
use crate::escape;
use crate::media;
use crate::ranges::{self, Ranges};
use crate::refusal::Refusal;
use crate::walk::{Found, walk};

/// Bytes to send, or where they are.
pub(crate) enum Content {
    Memory(Bytes),
    File { cid: Cid, size: u64 },
}

impl Content {
    fn size(&self) -> u64 {
        match self {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::File { size, .. } => *size,
        }
    }
}

/// What is said about content besides the content.
pub(crate) struct Label<'a> {
    pub(crate) status: StatusCode,
    pub(crate) media: &'a str,
    pub(crate) etag: &'a str,
    pub(crate) disposition: Option<String>,
}

impl Gateway {
    /// A file, directory or symlink.
    pub(crate) async fn unixfs(&self, ask: &Ask, found: &Found) -> Result<Response<Body>, Refusal> {
        let block = ask.blocks.common(&found.cid).await?;
        let node = Node::parse(&found.cid, &block).map_err(|error| {
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{}: {error}", found.cid))
        })?;
        match node {
            Node::File(_) => {
                let etag = format!("\"{}\"", found.cid);
                self.file(ask, found, ask.segments.last().map(String::as_str), &etag, StatusCode::OK).await
            }
            Node::Symlink(link) => {
                let etag = format!("\"{}\"", found.cid);
                let content = Content::Memory(block.slice_ref(link.target.as_bytes()));
                let label = Label {
                    status: StatusCode::OK,
                    media: "inode/symlink",
                    etag: &etag,
                    disposition: named(ask, "inline", None),
                };
                self.deliver(ask, found, label, content).await
            }
            Node::Directory(_) | Node::Shard(_) => self.directory(ask, found).await,
        }
    }

    async fn directory(&self, ask: &Ask, found: &Found) -> Result<Response<Body>, Refusal> {
        // The root of an origin has its slash by itself.
        let origin_root = ask.segments.is_empty() && ask.site != Site::Path;
        if !ask.trailing && !origin_root {
            let to = format!("{}{}/{}", ask.base(), escape::path(&ask.segments), ask.query.behind());
            return redirect(StatusCode::MOVED_PERMANENTLY, &to);
        }
        match walk(&ask.blocks, found.cid, &["index.html".to_owned()]).await {
            Ok(index) => {
                // The directory's own CID: what stands here changes with it, and its index with both.
                let etag = format!("\"{}\"", found.cid);
                let index = Found { cid: index.cid, ..found.clone() };
                self.file(ask, &index, Some("index.html"), &etag, StatusCode::OK).await
            }
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND => self.list(ask, found).await,
            Err(refusal) => Err(refusal),
        }
    }

    /// A file's content under a name.
    pub(crate) async fn file(
        &self,
        ask: &Ask,
        found: &Found,
        name: Option<&str>,
        etag: &str,
        status: StatusCode,
    ) -> Result<Response<Body>, Refusal> {
        let block = ask.blocks.common(&found.cid).await?;
        let node = Node::parse(&found.cid, &block).map_err(|error| {
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{}: {error}", found.cid))
        })?;
        let Node::File(file) = node else {
            return Err(Refusal::not_found(format!("{} is not a file", found.cid)));
        };
        let content = if file.children.is_empty() {
            Content::Memory(block.slice_ref(file.content))
        } else {
            Content::File { cid: found.cid, size: file.size }
        };
        let name = ask.query.filename.as_deref().or(name);
        let media = match name.and_then(media::by_name) {
            Some(media) => media,
            None => self.sniffed(ask, &content).await,
        };
        let kind = if ask.query.download { "attachment" } else { "inline" };
        let disposition = named(ask, kind, None);
        self.deliver(ask, found, Label { status, media: &media, etag, disposition }, content).await
    }

    /// The media type by the content's beginning. A beginning that cannot be had tells nothing, and is no
    /// reason to refuse another part.
    async fn sniffed(&self, ask: &Ask, content: &Content) -> String {
        match content {
            Content::Memory(bytes) => media::of(None, bytes, true),
            Content::File { cid, size } => {
                let range = Range { from: 0, len: Some(media::SNIFFED) };
                let start = match export::cat(ask.blocks.clone(), cid, range).await {
                    Ok(file) => file.content.take(8).try_collect::<Vec<Bytes>>().await,
                    Err(error) => Err(error),
                };
                match start {
                    Ok(parts) => media::of(None, &parts.concat(), *size <= media::SNIFFED),
                    Err(_) => "application/octet-stream".to_owned(),
                }
            }
        }
    }

    /// One block, as it is.
    pub(crate) async fn raw(&self, ask: &Ask, found: &Found) -> Result<Response<Body>, Refusal> {
        let content = Content::Memory(ask.blocks.common(&found.cid).await?);
        let etag = format!("\"{}.raw\"", found.cid);
        let own = format!("{}.bin", found.cid);
        let label = Label {
            status: StatusCode::OK,
            media: Format::Raw.media(),
            etag: &etag,
            disposition: named(ask, "attachment", Some(&own)),
        };
        self.deliver(ask, found, label, content).await
    }

    /// A tree as a tar stream.
    pub(crate) async fn tar(&self, ask: &Ask, found: &Found) -> Result<Response<Body>, Refusal> {
        let mut response = Response::new(Body::empty());
        let etag = format!("W/\"{}.x-tar\"", found.cid);
        let known = describe(&mut response, ask, found, &etag, Keep::Content)?;
        let own = format!("{}.tar", found.cid);
        set(&mut response, header::CONTENT_TYPE, Format::Tar.media());
        if let Some(disposition) = named(ask, "attachment", Some(&own)) {
            set(&mut response, header::CONTENT_DISPOSITION, &disposition);
        }
        if known {
            return Ok(not_modified(response));
        }
        let top = found.cid.to_string();
        // Until headers are sent, what is wrong can be said.
        let stream = adit_tar::archive(std::sync::Arc::new(ask.blocks.clone()), found.cid, top.clone(), top);
        let mut stream = Box::pin(stream);
        let mut first = Vec::new();
        for _ in 0..2 {
            match stream.next().await {
                Some(Ok(bytes)) => first.push(Ok(bytes)),
                Some(Err(error)) => {
                    return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()));
                }
                None => break,
            }
        }
        if ask.method != Method::HEAD {
            *response.body_mut() =
                Body::stream(stream::iter(first).chain(stream), None, self.0.settings.longest);
        }
        Ok(response)
    }

    /// A signed record of a key.
    pub(crate) async fn record(&self, ask: &Ask, name: &Name) -> Result<Response<Body>, Refusal> {
        let Name::Key(key) = name else {
            return Err(Refusal::bad("a domain has no IPNS record; ask for what its DNSLink names"));
        };
        if !ask.segments.is_empty() {
            return Err(Refusal::bad("a record is of a name, without a path behind it"));
        }
        let record = self.0.names.record(key).await?;
        let now = SystemTime::now();
        let left = record.valid_until().duration_since(now).unwrap_or_default();
        let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(record.bytes())[..12]);
        let mut response = Response::new(Body::full(record.bytes().clone()));
        set(&mut response, header::CONTENT_TYPE, Format::IpnsRecord.media());
        set(&mut response, header::ETAG, &format!("\"{hash}\""));
        let age = record.ttl().min(left).as_secs();
        set(
            &mut response,
            header::CACHE_CONTROL,
            &format!("public, max-age={age}, stale-while-revalidate=2678400"),
        );
        let own = format!("{key}.ipns-record");
        if let Some(disposition) = named(ask, "attachment", Some(&own)) {
            set(&mut response, header::CONTENT_DISPOSITION, &disposition);
        }
        Ok(response)
    }

    /// Sends content, or the parts of it that were asked for.
    pub(crate) async fn deliver(
        &self,
        ask: &Ask,
        found: &Found,
        label: Label<'_>,
        content: Content,
    ) -> Result<Response<Body>, Refusal> {
        let mut response = Response::new(Body::empty());
        let known = describe(&mut response, ask, found, label.etag, Keep::Content)?;
        *response.status_mut() = label.status;
        set(&mut response, header::CONTENT_TYPE, label.media);
        set(&mut response, header::ACCEPT_RANGES, "bytes");
        if let Some(disposition) = &label.disposition {
            set(&mut response, header::CONTENT_DISPOSITION, disposition);
        }
        if known && label.status == StatusCode::OK {
            return Ok(not_modified(response));
        }
        let size = content.size();
        match asked_ranges(ask, &label, size) {
            Ranges::Whole => {
                *response.body_mut() = self.part(ask, &content, 0, size).await?;
            }
            Ranges::Unsatisfiable => {
                let mut response = crate::answer::plain(StatusCode::RANGE_NOT_SATISFIABLE, "no such range");
                set(&mut response, header::CONTENT_RANGE, &format!("bytes */{size}"));
                return Ok(response);
            }
            Ranges::Parts(parts) if parts.len() == 1 => {
                let (from, len) = parts[0];
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                set(&mut response, header::CONTENT_RANGE, &format!("bytes {from}-{}/{size}", from + len - 1));
                *response.body_mut() = self.part(ask, &content, from, len).await?;
            }
            Ranges::Parts(parts) => self.multipart(ask, &mut response, label.media, content, parts, size),
        }
        Ok(response)
    }

    async fn part(&self, ask: &Ask, content: &Content, from: u64, len: u64) -> Result<Body, Refusal> {
        match content {
            Content::Memory(bytes) => Ok(Body::full(bytes.slice(from as usize..(from + len) as usize))),
            Content::File { .. } if ask.method == Method::HEAD => {
                let nothing = stream::empty::<Result<Bytes, BodyError>>();
                Ok(Body::stream(nothing, Some(len), self.0.settings.longest))
            }
            Content::File { cid, .. } => {
                let file = export::cat(ask.blocks.clone(), cid, Range { from, len: Some(len) }).await?;
                let mut stream = file.content;
                // The first piece is waited for: a block that is missing is an answer, not a broken connection.
                let first = stream.next().await.transpose()?;
                let first = stream::iter(first.map(Ok));
                Ok(Body::stream(first.chain(stream), Some(file.len), self.0.settings.longest))
            }
        }
    }

    /// Several ranges, each with a head of its own (RFC 9110, section 14.6).
    fn multipart(
        &self,
        ask: &Ask,
        response: &mut Response<Body>,
        media: &str,
        content: Content,
        parts: Vec<(u64, u64)>,
        size: u64,
    ) {
        let mut random = Sha256::new();
        random.update(ask.content_path().as_bytes());
        random.update(format!("{parts:?}{:?}", SystemTime::now()).as_bytes());
        let boundary = data_encoding::HEXLOWER.encode(&random.finalize()[..20]);
        let head = |(from, len): &(u64, u64)| {
            let to = from + len - 1;
            format!(
                "\r\n--{boundary}\r\nContent-Type: {media}\r\nContent-Range: bytes {from}-{to}/{size}\r\n\r\n"
            )
        };
        let heads: Vec<String> = parts.iter().map(head).collect();
        let end = format!("\r\n--{boundary}--\r\n");
        let framing: usize = heads.iter().map(String::len).sum::<usize>() + end.len();
        let total = framing as u64 + parts.iter().map(|(_, len)| len).sum::<u64>();
        let blocks = ask.blocks.clone();
        let stream = async_stream::try_stream! {
            for (head, (from, len)) in heads.into_iter().zip(parts) {
                yield Bytes::from(head);
                match &content {
                    Content::Memory(bytes) => yield bytes.slice(from as usize..(from + len) as usize),
                    Content::File { cid, .. } => {
                        let range = Range { from, len: Some(len) };
                        let mut file = export::cat(blocks.clone(), cid, range).await.map_err(BodyError::from)?;
                        while let Some(bytes) = file.content.next().await {
                            yield bytes.map_err(BodyError::from)?;
                        }
                    }
                }
            }
            yield Bytes::from(end);
        };
        let stream = stream.map_err(|error: BodyError| error);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        set(response, header::CONTENT_TYPE, &format!("multipart/byteranges; boundary={boundary}"));
        *response.body_mut() = Body::stream(stream, Some(total), self.0.settings.longest);
    }
}

/// The ranges to send: none where the status is not 200, or the client's copy is another one's.
fn asked_ranges(ask: &Ask, label: &Label<'_>, size: u64) -> Ranges {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let Some(range) = ask.headers.get(header::RANGE).and_then(text) else { return Ranges::Whole };
    let stale = ask.headers.get(header::IF_RANGE).is_some_and(|tag| tag.as_bytes() != label.etag.as_bytes());
    if label.status != StatusCode::OK || stale { Ranges::Whole } else { ranges::parse(&range, size) }
}

/// The disposition under the name that the client chose, or our own.
pub(crate) fn named(ask: &Ask, kind: &str, own: Option<&str>) -> Option<String> {
    let name = ask.query.filename.as_deref().or(own);
    match name {
        Some(name) => Some(escape::disposition(kind, name)),
        None if kind == "attachment" => {
            Some(escape::disposition(kind, ask.segments.last().map_or(ask.root.as_str(), String::as_str)))
        }
        None => None,
    }
}

const _: fn() = || {
    // Streams own their source; this is what makes that possible.
    fn owned<T: BlockSource + Clone + 'static>() {}
    owned::<crate::blocks::Blocks>();
};
