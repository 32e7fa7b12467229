//! The IPLD codecs: strict decoding and canonical encoding of dag-pb, dag-cbor and dag-json.
//!
//! Strict means that bytes which another encoder would write differently are refused, so that one value
//! has one CID. They are written out here, rather than taken from serde crates, because generic decoding
//! there accepts duplicate keys, unsorted maps or integers that lose precision; and because finding the
//! links of a hostile block must not allocate a hundred times its size.

pub mod dag_cbor;
pub mod dag_json;
pub mod dag_pb;

use ipld_core::ipld::Ipld;

use crate::block::{DAG_CBOR, DAG_JSON, DAG_PB, RAW};

/// Why a block is not valid in its codec, or a value cannot be written in one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Not valid dag-pb.
    #[error("not valid dag-pb: {0}")]
    DagPb(#[from] dag_pb::PbError),
    /// Not valid dag-cbor.
    #[error("not valid dag-cbor: {0}")]
    DagCbor(#[from] dag_cbor::CborError),
    /// Not valid dag-json.
    #[error("not valid dag-json: {0}")]
    DagJson(#[from] dag_json::JsonError),
    /// Raw blocks are bytes and nothing else.
    #[error("only bytes can be written as a raw block")]
    RawNeedsBytes,
    /// A codec this crate does not know.
    #[error("unsupported codec 0x{0:x}; supported are raw, dag-pb, dag-cbor and dag-json")]
    Unsupported(u64),
}

/// Decodes a block of any supported codec into the IPLD data model.
pub fn decode(codec: u64, bytes: &[u8]) -> Result<Ipld, CodecError> {
    match codec {
        RAW => Ok(Ipld::Bytes(bytes.to_vec())),
        DAG_PB => Ok(dag_pb::to_ipld(&dag_pb::decode(bytes)?)),
        DAG_CBOR => Ok(dag_cbor::decode(bytes)?),
        DAG_JSON => Ok(dag_json::decode(bytes)?),
        other => Err(CodecError::Unsupported(other)),
    }
}

/// Encodes a value canonically.
pub fn encode(codec: u64, value: &Ipld) -> Result<Vec<u8>, CodecError> {
    match codec {
        RAW => match value {
            Ipld::Bytes(bytes) => Ok(bytes.clone()),
            _ => Err(CodecError::RawNeedsBytes),
        },
        DAG_PB => Ok(dag_pb::encode_ipld(value)?),
        DAG_CBOR => Ok(dag_cbor::encode(value)?),
        DAG_JSON => Ok(dag_json::encode(value)?),
        other => Err(CodecError::Unsupported(other)),
    }
}
