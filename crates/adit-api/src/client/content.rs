//! Content: adding, reading, listing, CARs.

use super::{Client, ClientError, SendBody, collect, empty, encode_path, query, read_json};
use crate::tar::{self, Kind};
use crate::types::{AddQuery, Added, Entry, Imported, RangeQuery, StatView};
use adit_unixfs::Block;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Response};
use bytes::{Bytes, BytesMut};
use cid::Cid;
use futures::{Stream, StreamExt, TryStreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::StreamReader;

/// How much is read from a file at once. Large, because each piece is a chunk on the connection.
const PIECE: usize = 1 << 20;
/// Pieces read ahead of the connection.
const AHEAD: usize = 4;

impl Client {
    /// Adds one file from anything that can be read.
    pub async fn add_file(
        &self,
        content: impl AsyncRead + Send + 'static,
        options: &AddQuery,
    ) -> Result<Added, ClientError> {
        let pieces = futures::stream::try_unfold(Box::pin(content), |mut content| async move {
            let mut piece = BytesMut::with_capacity(PIECE);
            while piece.len() < piece.capacity() && content.read_buf(&mut piece).await? > 0 {}
            Ok((!piece.is_empty()).then(|| (piece.freeze(), content)))
        });
        self.add(pieces, "application/octet-stream", options).await
    }

    /// Adds a tree from a tar stream, such as [`tar_of_path`] makes.
    pub async fn add_tar(
        &self,
        tar: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        options: &AddQuery,
    ) -> Result<Added, ClientError> {
        self.add(tar, "application/x-tar", options).await
    }

    /// Adds a file or directory of this machine.
    pub async fn add_path(&self, path: &Path, options: &AddQuery) -> Result<Added, ClientError> {
        match tokio::fs::File::open(path).await {
            Ok(file) if file.metadata().await.is_ok_and(|meta| meta.is_file()) && !options.preserve => {
                self.add_file(file, options).await
            }
            _ => self.add_tar(tar_of_path(path.to_owned()), options).await,
        }
    }

    async fn add(
        &self,
        pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        kind: &'static str,
        options: &AddQuery,
    ) -> Result<Added, ClientError> {
        let query = query(&[
            ("profile", options.profile.clone()),
            ("pin", options.pin.map(|pin| pin.to_string())),
            ("preserve", options.preserve.then(|| "true".to_owned())),
        ]);
        let path = format!("/api/v1/add{query}");
        read_json(self.send(Method::POST, &path, &[(CONTENT_TYPE, kind)], streamed(pieces)).await?).await
    }

    /// A file, or part of it.
    pub async fn cat(&self, path: &str, range: &RangeQuery) -> Result<ByteStream, ClientError> {
        let query = query(&[
            ("offset", range.offset.map(|offset| offset.to_string())),
            ("length", range.length.map(|length| length.to_string())),
        ]);
        let path = format!("/api/v1/cat/{}{query}", encode_path(path));
        self.send(Method::GET, &path, &[], empty()).await.map(ByteStream::new)
    }

    /// A file or tree as a tar stream; [`crate::tar::unpack`] takes it.
    pub async fn get(&self, path: &str) -> Result<ByteStream, ClientError> {
        let path = format!("/api/v1/get/{}", encode_path(path));
        self.send(Method::GET, &path, &[], empty()).await.map(ByteStream::new)
    }

    /// The entries of a directory.
    pub async fn ls(&self, path: &str) -> Result<Vec<Entry>, ClientError> {
        self.fetch(Method::GET, &format!("/api/v1/ls/{}", encode_path(path))).await
    }

    /// What stands at a path.
    pub async fn stat(&self, path: &str) -> Result<StatView, ClientError> {
        self.fetch(Method::GET, &format!("/api/v1/stat/{}", encode_path(path))).await
    }

    /// One block, checked against its CID here, so the server need not be trusted.
    pub async fn block(&self, cid: &Cid) -> Result<Bytes, ClientError> {
        let response = self.send(Method::GET, &format!("/api/v1/blocks/{cid}"), &[], empty()).await?;
        let bytes = collect(response, adit_store::MAX_BLOCK_LEN).await?;
        let block = Block::verified(*cid, bytes);
        block.map(|block| block.data).map_err(|error| ClientError::Protocol(error.to_string()))
    }

    /// Takes in a CAR.
    pub async fn import(
        &self,
        car: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        pin: bool,
    ) -> Result<Imported, ClientError> {
        let path = format!("/api/v1/dag/import?pin={pin}");
        let kind = [(CONTENT_TYPE, "application/vnd.ipld.car")];
        read_json(self.send(Method::POST, &path, &kind, streamed(car)).await?).await
    }

    /// Everything below a root as a CAR.
    pub async fn export(&self, root: &Cid) -> Result<ByteStream, ClientError> {
        self.send(Method::GET, &format!("/api/v1/dag/export/{root}"), &[], empty()).await.map(ByteStream::new)
    }
}

fn streamed(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> SendBody {
    StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync()
}

/// The bytes of an answer as they come. It can be read as a stream, or through [`reader`](Self::reader).
pub struct ByteStream(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>);

impl ByteStream {
    fn new(response: Response<Incoming>) -> Self {
        Self(Box::pin(response.into_body().into_data_stream().map_err(io::Error::other)))
    }

    /// The bytes behind tokio's trait for reading.
    pub fn reader(self) -> impl AsyncRead + Send + Unpin {
        StreamReader::new(self)
    }
}

impl Stream for ByteStream {
    type Item = io::Result<Bytes>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

/// What in a tree cannot be sent. It reaches the caller as the source of an [`io::Error`].
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    #[error("{0} is not UTF-8, and names in IPFS are")]
    NotUtf8(PathBuf),
    #[error("{0} is neither file, directory nor symbolic link")]
    Special(PathBuf),
    #[error("{0} became shorter while it was read")]
    Shrunk(PathBuf),
    #[error("{path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A file or directory of this machine as a tar stream, read as it is sent. Entries come in the order of their names.
pub fn tar_of_path(path: PathBuf) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (send, receive) = tokio::sync::mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut walker = Walker { send, broken: false };
        // A file by itself still needs a name in an archive; the server takes a lone entry `file` for the root.
        let name = if path.is_dir() { String::new() } else { "file".to_owned() };
        let ended = walker.walk(&path, name).and_then(|()| walker.piece(Bytes::from_static(tar::END)));
        if let Err(error) = ended {
            let _ = walker.send.blocking_send(Err(io::Error::other(error)));
        }
    });
    ReceiverStream::new(receive)
}

struct Walker {
    send: tokio::sync::mpsc::Sender<io::Result<Bytes>>,
    /// Whether the receiver has gone: then the walk ends early, without an error for anybody to see.
    broken: bool,
}

impl Walker {
    fn piece(&mut self, bytes: Bytes) -> Result<(), PathError> {
        self.broken |= self.send.blocking_send(Ok(bytes)).is_err();
        Ok(())
    }

    fn walk(&mut self, path: &Path, name: String) -> Result<(), PathError> {
        if self.broken {
            return Ok(());
        }
        let io_error = |source| PathError::Io { path: path.to_owned(), source };
        let meta = std::fs::symlink_metadata(path).map_err(io_error)?;
        let entry = |kind| tar::Entry {
            path: name.clone(),
            kind,
            mode: meta.permissions().mode() & 0o7777,
            mtime: meta.mtime(),
        };
        if meta.is_symlink() {
            let target = std::fs::read_link(path).map_err(io_error)?;
            let target =
                target.into_os_string().into_string().map_err(|raw| PathError::NotUtf8(raw.into()))?;
            return self.piece(tar::header(&entry(Kind::Symlink { target })).into());
        }
        if meta.is_file() {
            let size = meta.len();
            self.piece(tar::header(&entry(Kind::File { size })).into())?;
            return self.file(path, size);
        }
        if !meta.is_dir() {
            return Err(PathError::Special(path.to_owned()));
        }
        self.piece(tar::header(&entry(Kind::Directory)).into())?;
        let mut children = Vec::new();
        for child in std::fs::read_dir(path).map_err(io_error)? {
            let child = child.map_err(io_error)?;
            children.push(child.file_name().into_string().map_err(|_| PathError::NotUtf8(child.path()))?);
        }
        children.sort_unstable();
        for child in children {
            let below = if name.is_empty() { child.clone() } else { format!("{name}/{child}") };
            self.walk(&path.join(&child), below)?;
        }
        Ok(())
    }

    /// Sends exactly `size` bytes: what a file grew by while it was read belongs to its next version.
    fn file(&mut self, path: &Path, size: u64) -> Result<(), PathError> {
        use std::io::Read;
        let io_error = |source| PathError::Io { path: path.to_owned(), source };
        let mut file = std::fs::File::open(path).map_err(io_error)?.take(size);
        let mut left = size;
        while left > 0 && !self.broken {
            let mut piece = vec![0; left.min(PIECE as u64) as usize];
            file.read_exact(&mut piece).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => PathError::Shrunk(path.to_owned()),
                _ => io_error(error),
            })?;
            left -= piece.len() as u64;
            self.piece(piece.into())?;
        }
        match tar::padding(size) {
            [] => Ok(()),
            zeros => self.piece(Bytes::from_static(zeros)),
        }
    }
}
