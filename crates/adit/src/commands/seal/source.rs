//! Ciphertext by ranges, from a file or by CID, and its opening. Every block is checked against its CID here: the node
//! is not believed.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use adit_api::client::Client;
use adit_seal::age::{
    FileKey, Header, HeaderError, Identity, MAX_HEADER, PayloadError, PayloadNonce, Ranges, last_chunk,
};
use adit_unixfs::IpfsPath;
use adit_unixfs::read::{FileReader, FileStep, ReadError, ResolveStep, Resolver, Visit};
use bytes::Bytes;
use cid::Cid;

use crate::context::{Context, NAMES};
use crate::exit::{Exit, Failure};

/// What a header is sought in at first: room for some ten recipients.
const FIRST: u64 = 2048;

/// Where ciphertext comes from.
pub(super) enum Source {
    /// A file of this machine, and its length.
    Local(File, u64),
    /// A file of IPFS.
    Node(Box<Remote>),
}

/// A file of IPFS, read block by block.
pub(super) struct Remote {
    client: Client,
    reader: FileReader,
    /// The block that was used last: header and short ranges are read more than once.
    last: Option<(Cid, Bytes)>,
}

/// What a person named.
pub(super) enum Found {
    /// A sealed file.
    File(Source),
    /// A directory of IPFS, which may be a sealed tree.
    Directory(Box<Client>, Cid),
}

impl Source {
    /// A file that is there, else what the node has under a CID.
    pub(super) async fn find(context: &Context, text: &str) -> Result<Found, Failure> {
        match File::open(Path::new(text)) {
            Ok(file) => {
                let failed = |error: std::io::Error| {
                    Failure::because(Exit::Failed, format!("cannot read {text}"), &error)
                };
                let meta = file.metadata().map_err(failed)?;
                if meta.is_dir() {
                    return Err(Failure::new(Exit::Usage, format!("{text} is a directory")));
                }
                if !meta.is_file() {
                    // Who opens by ranges must know the length.
                    return Err(Failure::new(Exit::Usage, format!("{text} is not a regular file")));
                }
                return Ok(Found::File(Self::Local(file, meta.len())));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::because(Exit::Failed, format!("cannot read {text}"), &error)),
        }
        if !text.starts_with(NAMES) && text.parse::<IpfsPath>().is_err() {
            return Err(Failure::new(Exit::NotFound, format!("{text:?} is neither a file here nor a CID")));
        }
        let client = context.client()?;
        // What a name stands for is the node's word; all below it is checked.
        let path = context.path(&client, text).await?;
        Self::at(client, path).await
    }

    /// What the node has at a path. Each step is checked here.
    pub(super) async fn at(client: Client, path: IpfsPath) -> Result<Found, Failure> {
        let mut resolver = Resolver::new(path);
        let root = loop {
            match resolver.step() {
                ResolveStep::Done(cid) => break cid,
                ResolveStep::Need(cid) => {
                    let block = client.block(&cid).await?;
                    resolver.supply(&block).map_err(|error| match error {
                        ReadError::NotFound { .. } => {
                            Failure::because(Exit::NotFound, "there is no such path", &error)
                        }
                        _ => Failure::because(Exit::Usage, "cannot follow the path", &error),
                    })?;
                }
            }
        };
        let block = client.block(&root).await?;
        match FileReader::open(root, &block) {
            Ok(reader) => {
                Ok(Found::File(Self::Node(Box::new(Remote { client, reader, last: Some((root, block)) }))))
            }
            Err(ReadError::NotAFile(_)) => Ok(Found::Directory(Box::new(client), root)),
            Err(error) => Err(Failure::because(Exit::Usage, "this is not a sealed file", &error)),
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Local(_, len) => *len,
            Self::Node(remote) => remote.reader.size(),
        }
    }

    /// A range, cut at the end of the file.
    async fn read(&mut self, range: Range<u64>) -> Result<Vec<u8>, Failure> {
        let end = range.end.min(self.len());
        let start = range.start.min(end);
        match self {
            Self::Local(file, _) => {
                let mut bytes = vec![0; (end - start) as usize];
                let read = file.read_exact_at(&mut bytes, start);
                read.map_err(|error| Failure::because(Exit::Failed, "cannot read the file", &error))?;
                Ok(bytes)
            }
            Self::Node(remote) => remote.read(start..end).await,
        }
    }
}

impl Remote {
    async fn read(&mut self, range: Range<u64>) -> Result<Vec<u8>, Failure> {
        let broken = |error: ReadError| {
            Failure::because(Exit::TrustRefused, "the file's blocks do not fit together", &error)
        };
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        while range.start + (bytes.len() as u64) < range.end {
            let at = range.start + bytes.len() as u64;
            let FileStep::Need(want) = self.reader.seek(at).map_err(broken)? else {
                return Err(Failure::new(Exit::TrustRefused, "the file is shorter than its blocks say"));
            };
            let block = match &self.last {
                Some((cid, block)) if *cid == want.cid => block.clone(),
                _ => self.client.block(&want.cid).await?,
            };
            if let Visit::Data(found) = self.reader.visit(&want, &block).map_err(broken)? {
                let rest = (range.end - at).min(found.len() as u64) as usize;
                bytes.extend_from_slice(&found[..rest]);
                self.last = Some((want.cid, block));
            }
        }
        Ok(bytes)
    }
}

/// Where the file key comes from.
pub(super) enum By<'a> {
    /// From a stanza that one of these opens.
    Identities(&'a [Identity]),
    /// From the tree that the file is a part of, and whose manifest names the file's nonce.
    Tree(&'a FileKey, PayloadNonce),
}

/// A sealed file that is open to us.
pub(super) struct Opened {
    source: Source,
    ranges: Ranges,
    /// Where the payload begins: behind the header.
    payload: u64,
    key: FileKey,
}

impl Opened {
    /// Reads header and last chunk, which together prove who may open it and how long it is.
    pub(super) async fn open(mut source: Source, by: By<'_>) -> Result<Self, Failure> {
        let mut head = source.read(0..FIRST).await?;
        let header = match Header::parse(&head).map_err(of_header)? {
            Some(header) => header,
            None => {
                head = source.read(0..MAX_HEADER as u64).await?;
                let read = Header::parse(&head).map_err(of_header)?;
                read.ok_or_else(|| Failure::new(Exit::Usage, "the sealed file is cut short"))?
            }
        };
        let (key, expected) = match by {
            By::Identities(identities) => (header.unwrap(identities).map_err(of_header)?, None),
            By::Tree(key, nonce) => {
                header.check(key).map_err(of_header)?;
                (key.clone(), Some(nonce))
            }
        };
        let payload = header.as_bytes().len() as u64;
        let nonce = source.read(payload..payload + PayloadNonce::LEN as u64).await?;
        let nonce = PayloadNonce(nonce.try_into().map_err(|_| of_payload(PayloadError::Truncated))?);
        if expected.is_some_and(|expected| expected != nonce) {
            return Err(Failure::new(
                Exit::TrustRefused,
                "a part of the sealed tree stands where another one belongs",
            ));
        }
        let len = source.len() - payload;
        let place = last_chunk(len).map_err(of_payload)?;
        let last = source.read(payload + place.start..payload + place.end).await?;
        let ranges = Ranges::new(&key, nonce, len, &last).map_err(of_payload)?;
        Ok(Self { source, ranges, payload, key })
    }

    /// Bytes of the content.
    pub(super) fn content_len(&self) -> u64 {
        self.ranges.content_len()
    }

    /// The file key, which opens the other parts of a tree.
    pub(super) fn key(&self) -> &FileKey {
        &self.key
    }

    /// A part of the content.
    pub(super) async fn read(&mut self, plain: Range<u64>) -> Result<Vec<u8>, Failure> {
        let window = self.ranges.window(plain).map_err(of_payload)?;
        let sealed = self.payload + window.sealed.start..self.payload + window.sealed.end;
        let mut bytes = self.source.read(sealed).await?;
        self.ranges.open(&window, &mut bytes).map_err(of_payload)?;
        Ok(bytes)
    }
}

fn of_header(error: HeaderError) -> Failure {
    let exit = match error {
        HeaderError::NotForUs | HeaderError::Mac | HeaderError::Passphrase => Exit::TrustRefused,
        _ => Exit::Usage,
    };
    let failure = Failure::because(exit, "cannot open it", &error);
    match error {
        HeaderError::NotForUs => failure.hint("name the file of the right age identity with -i"),
        _ => failure,
    }
}

fn of_payload(error: PayloadError) -> Failure {
    Failure::because(Exit::TrustRefused, "cannot open it", &error)
}
