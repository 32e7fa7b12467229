//! CARv1: blocks in a file or stream (<https://ipld.io/specs/transport/car/carv1/>).
//!
//! ```text
//! varint length | dag-cbor {roots: [CID…], version: 1}
//! varint length | CID | block bytes        (repeated to the end)
//! ```

use bytes::{Buf, Bytes, BytesMut};
use cid::Cid;
use ipld_core::ipld::Ipld;

use crate::block::{Block, BlockError};
use crate::codec::dag_cbor::{self, CborError};
use crate::limits;
use crate::varint::{self, VarintError};

/// Why bytes are not a CAR that we accept. Offsets count from the start of the stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarError {
    /// The stream ends inside the header or a section.
    #[error("the CAR ends inside a section that begins at byte {0}")]
    Truncated(u64),
    /// A section length that is no minimal varint, or no room for a CID.
    #[error("malformed section at byte {0}")]
    Section(u64),
    /// A header above [`limits::CAR_HEADER`].
    #[error("CAR header of {0} bytes; {limit} are accepted", limit = limits::CAR_HEADER)]
    HeaderTooLarge(u64),
    /// The header is not dag-cbor.
    #[error("malformed CAR header: {0}")]
    Header(#[from] CborError),
    /// The header lacks roots or version, or has something else.
    #[error("a CAR header must hold `roots` (links) and `version`")]
    HeaderFields,
    /// CARv2 and whatever may follow.
    #[error("CAR version {0}; only version 1 is read")]
    Version(i128),
    /// A block is oversized, has another hash than its CID, or a hash we do not compute.
    #[error("at byte {offset}: {source}")]
    Block {
        /// Where its section begins.
        offset: u64,
        /// What is wrong.
        #[source]
        source: BlockError,
    },
}

/// Takes a CAR piece by piece and gives its blocks, each verified.
///
/// Buffers at most one section (2 MiB and a CID) beyond what was pushed at once.
#[derive(Debug, Default)]
pub struct CarReader {
    buffer: BytesMut,
    /// Offset in the stream of the buffer's first byte.
    offset: u64,
    roots: Option<Vec<Cid>>,
}

impl CarReader {
    /// A reader at the start of a stream.
    pub fn new() -> Self {
        CarReader::default()
    }

    /// Appends bytes of the stream. Call [`CarReader::next_block`] until it gives `None` before pushing more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The header's roots, once the header was read. They are claims: the blocks may be absent.
    pub fn roots(&self) -> Option<&[Cid]> {
        self.roots.as_deref()
    }

    /// The next block; `None` when more bytes are needed.
    pub fn next_block(&mut self) -> Result<Option<Block>, CarError> {
        if self.roots.is_none() {
            let Some(header) = self.section(limits::CAR_HEADER as u64, CarError::HeaderTooLarge)? else {
                return Ok(None);
            };
            self.roots = Some(roots_of(&dag_cbor::decode(&header)?)?);
        }
        let start = self.offset;
        let too_large = |len: u64| CarError::Block {
            offset: start,
            source: BlockError::TooLarge {
                len: usize::try_from(len).unwrap_or(usize::MAX),
                limit: limits::BLOCK,
            },
        };
        let Some(mut section) = self.section((limits::BLOCK + limits::CID) as u64, too_large)? else {
            return Ok(None);
        };
        let mut rest = &section[..];
        let cid = Cid::read_bytes(&mut rest).map_err(|_| CarError::Section(start))?;
        let cid_len = section.len() - rest.len();
        if cid_len != cid.encoded_len() {
            return Err(CarError::Section(start));
        }
        section.advance(cid_len);
        let block =
            Block::verified(cid, section).map_err(|source| CarError::Block { offset: start, source })?;
        Ok(Some(block))
    }

    /// Ends the stream: an error when it ends inside a section or before a header.
    pub fn finish(self) -> Result<Vec<Cid>, CarError> {
        match self.roots {
            Some(roots) if self.buffer.is_empty() => Ok(roots),
            _ => Err(CarError::Truncated(self.offset)),
        }
    }

    /// Cuts one length-prefixed section off the buffer, if it is there completely.
    fn section(
        &mut self,
        max: u64,
        too_large: impl FnOnce(u64) -> CarError,
    ) -> Result<Option<Bytes>, CarError> {
        let mut rest = &self.buffer[..];
        let len = match varint::read(&mut rest) {
            Ok(0) => return Err(CarError::Section(self.offset)),
            Ok(len) if len > max => return Err(too_large(len)),
            Ok(len) => len as usize,
            Err(VarintError::Truncated) => return Ok(None),
            Err(VarintError::NotMinimal) => return Err(CarError::Section(self.offset)),
        };
        let prefix = self.buffer.len() - rest.len();
        if rest.len() < len {
            self.buffer.reserve(len - rest.len());
            return Ok(None);
        }
        self.buffer.advance(prefix);
        self.offset += (prefix + len) as u64;
        Ok(Some(self.buffer.split_to(len).freeze()))
    }
}

fn roots_of(header: &Ipld) -> Result<Vec<Cid>, CarError> {
    let Ipld::Map(map) = header else { return Err(CarError::HeaderFields) };
    match map.get("version") {
        Some(Ipld::Integer(1)) => {}
        Some(Ipld::Integer(other)) => return Err(CarError::Version(*other)),
        _ => return Err(CarError::HeaderFields),
    }
    let Some(Ipld::List(roots)) = map.get("roots") else { return Err(CarError::HeaderFields) };
    if map.len() != 2 {
        return Err(CarError::HeaderFields);
    }
    let link = |value: &Ipld| match value {
        Ipld::Link(cid) => Ok(*cid),
        _ => Err(CarError::HeaderFields),
    };
    roots.iter().map(link).collect()
}

/// The bytes that open a CAR.
pub fn header(roots: &[Cid]) -> Vec<u8> {
    let header = Ipld::Map(
        [
            ("roots".to_owned(), Ipld::List(roots.iter().copied().map(Ipld::Link).collect())),
            ("version".to_owned(), Ipld::Integer(1)),
        ]
        .into(),
    );
    let body = dag_cbor::encode(&header).expect("links and a small integer are always encodable");
    let mut out = Vec::with_capacity(body.len() + 3);
    varint::write(&mut out, body.len() as u64);
    out.extend_from_slice(&body);
    out
}

/// The bytes that go before a block's own: the section's length and the CID.
pub fn section_prefix(cid: &Cid, data_len: usize) -> Vec<u8> {
    let cid = cid.to_bytes();
    let mut out = Vec::with_capacity(cid.len() + 5);
    varint::write(&mut out, (cid.len() + data_len) as u64);
    out.extend_from_slice(&cid);
    out
}
