//! The UnixFS message that stands in a dag-pb node's `Data` field
//! (<https://specs.ipfs.tech/unixfs/#dag-pb-node>).
//!
//! ```protobuf
//! message Data {
//!   required DataType Type = 1;  optional bytes Data = 2;      optional uint64 filesize = 3;
//!   repeated uint64 blocksizes = 4;  optional uint64 hashType = 5;  optional uint64 fanout = 6;
//!   optional uint32 mode = 7;    optional UnixTime mtime = 8;
//! }
//! message UnixTime { required int64 Seconds = 1; optional fixed32 FractionalNanoseconds = 2; }
//! ```
//!
//! Encoding is canonical (fields in order, `blocksizes` unpacked, as Kubo writes it). Decoding is
//! protobuf's: any order, packed or not, unknown fields skipped; the enclosing block has one CID anyway.

use crate::limits;
use crate::varint::{self, VarintError};

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A leaf of a file, as the trickle layout wrote it.
    Raw,
    /// A directory whose entries are this block's links.
    Directory,
    /// A file, a part of one, or a leaf.
    File,
    /// Never used in practice; not supported.
    Metadata,
    /// A symbolic link.
    Symlink,
    /// A node of a directory that is a hash trie.
    HamtShard,
}

/// The decoded message, borrowing its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// Field 1.
    pub kind: Kind,
    /// Field 2: file content, symlink target, or the HAMT's bit field.
    pub data: Option<&'a [u8]>,
    /// Field 3: bytes of file content below this node, its own included.
    pub filesize: Option<u64>,
    /// Field 4: the same for each link.
    pub blocksizes: Vec<u64>,
    /// Field 5: multihash code of the HAMT's hash.
    pub hash_type: Option<u64>,
    /// Field 6: slots of a HAMT node.
    pub fanout: Option<u64>,
    /// Fields 7 and 8.
    pub metadata: Metadata,
}

/// What a file system knows beside content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// POSIX permission bits (the lower 12).
    pub mode: Option<u32>,
    /// Time of the last modification.
    pub mtime: Option<Mtime>,
}

impl Metadata {
    /// Nothing known; such a node costs no bytes and allows a raw block as a whole file.
    pub const NONE: Metadata = Metadata { mode: None, mtime: None };

    /// Whether nothing is known.
    pub fn is_none(&self) -> bool {
        *self == Metadata::NONE
    }
}

/// Seconds since 1970 (may be negative) and nanoseconds below a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtime {
    /// Whole seconds.
    pub seconds: i64,
    /// 0 ..= 999,999,999.
    pub nanos: u32,
}

/// Why bytes are not a UnixFS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// Not protobuf, or a known field of the wrong type.
    #[error("the UnixFS message is not valid protobuf")]
    Protobuf,
    /// No `Type`, or one this version of UnixFS does not have.
    #[error("the UnixFS message has no known type")]
    Kind,
    /// More `blocksizes` than [`limits::LINKS_PER_BLOCK`].
    #[error("the UnixFS message lists more than {} block sizes", limits::LINKS_PER_BLOCK)]
    TooManyBlocks,
    /// Nanoseconds of a second or more.
    #[error("the modification time has {0} nanoseconds")]
    Nanos(u32),
}

impl From<VarintError> for DataError {
    fn from(_: VarintError) -> Self {
        DataError::Protobuf
    }
}

impl<'a> Data<'a> {
    /// A message of the given kind with nothing else set.
    pub fn new(kind: Kind) -> Self {
        Data {
            kind,
            data: None,
            filesize: None,
            blocksizes: Vec::new(),
            hash_type: None,
            fanout: None,
            metadata: Metadata::NONE,
        }
    }

    /// Decodes a message.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DataError> {
        let mut message = Data::new(Kind::Metadata);
        let mut kind = None;
        let mut rest = bytes;
        while !rest.is_empty() {
            match Field::read(&mut rest)? {
                (1, Field::Varint(value)) => kind = Some(Kind::from_number(value)?),
                (2, Field::Bytes(value)) => message.data = Some(value),
                (3, Field::Varint(value)) => message.filesize = Some(value),
                (4, Field::Varint(value)) => message.push_blocksize(value)?,
                (4, Field::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        message.push_blocksize(varint::read(&mut packed)?)?;
                    }
                }
                (5, Field::Varint(value)) => message.hash_type = Some(value),
                (6, Field::Varint(value)) => message.fanout = Some(value),
                (7, Field::Varint(value)) => {
                    let mode = u32::try_from(value).map_err(|_| DataError::Protobuf)?;
                    message.metadata.mode = Some(mode & 0o7777);
                }
                (8, Field::Bytes(value)) => message.metadata.mtime = Some(Mtime::decode(value)?),
                (1..=8, _) => return Err(DataError::Protobuf),
                _ => {}
            }
        }
        message.kind = kind.ok_or(DataError::Kind)?;
        Ok(message)
    }

    fn push_blocksize(&mut self, size: u64) -> Result<(), DataError> {
        if self.blocksizes.len() == limits::LINKS_PER_BLOCK {
            return Err(DataError::TooManyBlocks);
        }
        self.blocksizes.push(size);
        Ok(())
    }

    /// Encodes the message as Kubo does.
    pub fn encode(&self) -> Vec<u8> {
        let data_len = self.data.map_or(0, <[u8]>::len);
        let mut out = Vec::with_capacity(data_len + 10 * self.blocksizes.len() + 48);
        let number = |out: &mut Vec<u8>, key: u8, value: Option<u64>| {
            if let Some(value) = value {
                out.push(key);
                varint::write(out, value);
            }
        };
        number(&mut out, 0x08, Some(self.kind as u64));
        if let Some(data) = self.data {
            number(&mut out, 0x12, Some(data.len() as u64));
            out.extend_from_slice(data);
        }
        number(&mut out, 0x18, self.filesize);
        for &size in &self.blocksizes {
            number(&mut out, 0x20, Some(size));
        }
        number(&mut out, 0x28, self.hash_type);
        number(&mut out, 0x30, self.fanout);
        number(&mut out, 0x38, self.metadata.mode.map(u64::from));
        if let Some(mtime) = self.metadata.mtime {
            let mtime = mtime.encode();
            number(&mut out, 0x42, Some(mtime.len() as u64));
            out.extend_from_slice(&mtime);
        }
        out
    }
}

impl Kind {
    fn from_number(number: u64) -> Result<Self, DataError> {
        [Kind::Raw, Kind::Directory, Kind::File, Kind::Metadata, Kind::Symlink, Kind::HamtShard]
            .into_iter()
            .find(|kind| *kind as u64 == number)
            .ok_or(DataError::Kind)
    }
}

impl Mtime {
    fn decode(bytes: &[u8]) -> Result<Self, DataError> {
        let (mut seconds, mut nanos) = (None, 0);
        let mut rest = bytes;
        while !rest.is_empty() {
            match Field::read(&mut rest)? {
                // Protobuf's int64 is the two's complement in a 64-bit varint.
                (1, Field::Varint(value)) => seconds = Some(value as i64),
                (2, Field::Fixed32(value)) => nanos = value,
                (1 | 2, _) => return Err(DataError::Protobuf),
                _ => {}
            }
        }
        if nanos > 999_999_999 {
            return Err(DataError::Nanos(nanos));
        }
        Ok(Mtime { seconds: seconds.ok_or(DataError::Protobuf)?, nanos })
    }

    fn encode(self) -> Vec<u8> {
        let mut out = vec![0x08];
        varint::write(&mut out, self.seconds as u64);
        if self.nanos != 0 {
            out.push(0x15);
            out.extend_from_slice(&self.nanos.to_le_bytes());
        }
        out
    }
}

enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
    Fixed64,
}

impl<'a> Field<'a> {
    fn read(rest: &mut &'a [u8]) -> Result<(u64, Self), DataError> {
        let key = varint::read(rest)?;
        let field = match key & 7 {
            0 => Field::Varint(varint::read(rest)?),
            1 => take(rest, 8).map(|_| Field::Fixed64)?,
            2 => {
                let len = varint::read(rest)?;
                Field::Bytes(take(rest, len)?)
            }
            5 => {
                let bytes = take(rest, 4)?;
                Field::Fixed32(u32::from_le_bytes(bytes.try_into().expect("four bytes were taken")))
            }
            _ => return Err(DataError::Protobuf),
        };
        Ok((key >> 3, field))
    }
}

fn take<'a>(rest: &mut &'a [u8], len: u64) -> Result<&'a [u8], DataError> {
    let len = usize::try_from(len).map_err(|_| DataError::Protobuf)?;
    let (taken, after) = rest.split_at_checked(len).ok_or(DataError::Protobuf)?;
    *rest = after;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_survives_a_round_trip() {
        let message = Data {
            kind: Kind::File,
            data: Some(b"content"),
            filesize: Some(1 << 40),
            blocksizes: vec![7, 0, 1 << 40],
            hash_type: Some(0x22),
            fanout: Some(256),
            metadata: Metadata { mode: Some(0o4755), mtime: Some(Mtime { seconds: -5, nanos: 999_999_999 }) },
        };
        assert_eq!(Data::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn packed_block_sizes_and_unknown_fields_are_read() {
        let bytes = [0x08, 2, 0x22, 3, 1, 2, 3, 0x48, 1, 0x51, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Data::decode(&bytes).unwrap().blocksizes, [1, 2, 3]);
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in
            [&[][..], &[0x08, 6], &[0x0a, 1, 0], &[0x08, 2, 0x12, 9], &[0x08, 2, 0x0b], &[0x08, 2, 0x42, 0]]
        {
            assert!(Data::decode(bytes).is_err(), "{bytes:?}");
        }
        let late = [0x08, 1, 0x42, 7, 0x08, 0, 0x15, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Data::decode(&late), Err(DataError::Nanos(u32::MAX)));
    }
}
