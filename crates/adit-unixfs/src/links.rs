//! The CIDs that a block points to.

use cid::Cid;
use ipld_core::ipld::Ipld;

use crate::block::{DAG_CBOR, DAG_JSON, DAG_PB, RAW};
use crate::codec::{CodecError, dag_cbor, dag_json, dag_pb};

/// Multicodecs whose blocks never hold links: plain CBOR, plain JSON, libp2p keys.
const LINKLESS: [u64; 3] = [0x51, 0x0200, 0x72];

/// The links of a block in the order they appear, repeats included.
///
/// The whole block is checked against its codec's strict form, so a block that this accepts is one whose
/// links everybody agrees on. A codec that is not known is an error rather than "no links": pinning such
/// a block recursively, or letting a guest reach through it, would promise more than it does.
pub fn links(cid: &Cid, bytes: &[u8]) -> Result<Vec<Cid>, CodecError> {
    match cid.codec() {
        RAW => Ok(Vec::new()),
        DAG_PB => {
            let mut links = Vec::new();
            dag_pb::visit(bytes, |link| {
                links.push(link.cid);
                Ok(())
            })?;
            Ok(links)
        }
        DAG_CBOR => Ok(dag_cbor::links(bytes)?),
        DAG_JSON => {
            let mut links = Vec::new();
            collect(&dag_json::decode(bytes)?, &mut links);
            Ok(links)
        }
        codec if LINKLESS.contains(&codec) => Ok(Vec::new()),
        codec => Err(CodecError::Unsupported(codec)),
    }
}

fn collect(value: &Ipld, links: &mut Vec<Cid>) {
    match value {
        Ipld::Link(cid) => links.push(*cid),
        Ipld::List(items) => items.iter().for_each(|item| collect(item, links)),
        Ipld::Map(map) => map.values().for_each(|item| collect(item, links)),
        _ => {}
    }
}
