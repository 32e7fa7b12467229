//! DAG-PB: a list of named links and some bytes (<https://ipld.io/specs/codecs/dag-pb/spec/>).
//!
//! On the wire `Links` (field 2) come before `Data` (field 1), and that is how blocks are written.
//! Decoding also takes `Data` first, because blocks from the network's first years look like that and
//! Kubo reads them; anything else that is not canonical is refused.

use cid::Cid;
use ipld_core::ipld::Ipld;

use crate::block::cid_from_bytes;
use crate::limits;
use crate::varint::{self, VarintError};

/// A decoded node that borrows names and data from the block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PbNode<'a> {
    /// Links in the block's order.
    pub links: Vec<PbLink<'a>>,
    /// The payload. Absent and empty are different blocks.
    pub data: Option<&'a [u8]>,
}

/// One link of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PbLink<'a> {
    /// What it points to.
    pub cid: Cid,
    /// Entry name. Absent and empty are different blocks.
    pub name: Option<&'a str>,
    /// Cumulative size of everything below, as claimed by the writer; never verified by anyone.
    pub tsize: Option<u64>,
}

/// Why bytes are not a dag-pb node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PbError {
    /// The bytes end inside a field.
    #[error("the bytes end inside a field")]
    Truncated,
    /// A varint is longer than it needs to be or than 64 bits.
    #[error("a number is not minimally encoded")]
    Varint,
    /// A field number or wire type that dag-pb does not have.
    #[error("unexpected field {field} with wire type {wire_type}")]
    UnexpectedField {
        /// Protobuf field number.
        field: u64,
        /// Protobuf wire type.
        wire_type: u8,
    },
    /// A field occurs twice, or in the wrong order.
    #[error("{0} is repeated or out of order")]
    Order(&'static str),
    /// The link has no hash, or the hash is not a CID.
    #[error("a link has no valid CID")]
    LinkWithoutCid,
    /// The name is not UTF-8.
    #[error("a link name is not UTF-8")]
    NameNotText,
    /// More links than [`limits::LINKS_PER_BLOCK`].
    #[error("more than {} links", limits::LINKS_PER_BLOCK)]
    TooManyLinks,
    /// The value does not have the shape of a dag-pb node.
    #[error("the value does not have the form of a dag-pb node: {0}")]
    Form(&'static str),
}

impl From<VarintError> for PbError {
    fn from(error: VarintError) -> Self {
        match error {
            VarintError::Truncated => PbError::Truncated,
            VarintError::NotMinimal => PbError::Varint,
        }
    }
}

const LENGTH_DELIMITED: u8 = 2;
const VARINT: u8 = 0;

/// Decodes a whole block.
pub fn decode(bytes: &[u8]) -> Result<PbNode<'_>, PbError> {
    let mut node = PbNode::default();
    for_each_link(bytes, &mut node.data, |link| {
        node.links.push(link);
        Ok(())
    })?;
    Ok(node)
}

/// Walks the links of a block without collecting them; returns the payload.
pub fn visit<'a>(
    bytes: &'a [u8],
    mut each: impl FnMut(PbLink<'a>) -> Result<(), PbError>,
) -> Result<Option<&'a [u8]>, PbError> {
    let mut data = None;
    for_each_link(bytes, &mut data, &mut each)?;
    Ok(data)
}

fn for_each_link<'a>(
    bytes: &'a [u8],
    data: &mut Option<&'a [u8]>,
    mut each: impl FnMut(PbLink<'a>) -> Result<(), PbError>,
) -> Result<(), PbError> {
    let mut rest = bytes;
    let (mut links, mut links_over) = (0usize, false);
    while !rest.is_empty() {
        match field(&mut rest)? {
            (1, LENGTH_DELIMITED) => {
                if data.is_some() {
                    return Err(PbError::Order("Data"));
                }
                *data = Some(delimited(&mut rest)?);
                links_over = links > 0;
            }
            (2, LENGTH_DELIMITED) => {
                if links_over {
                    return Err(PbError::Order("Links"));
                }
                links += 1;
                if links > limits::LINKS_PER_BLOCK {
                    return Err(PbError::TooManyLinks);
                }
                each(decode_link(delimited(&mut rest)?)?)?;
            }
            (field, wire_type) => return Err(PbError::UnexpectedField { field, wire_type }),
        }
    }
    Ok(())
}

fn decode_link(mut rest: &[u8]) -> Result<PbLink<'_>, PbError> {
    let (mut cid, mut name, mut tsize) = (None, None, None);
    while !rest.is_empty() {
        match field(&mut rest)? {
            (1, LENGTH_DELIMITED) => {
                if cid.is_some() || name.is_some() || tsize.is_some() {
                    return Err(PbError::Order("Hash"));
                }
                cid = Some(cid_from_bytes(delimited(&mut rest)?).ok_or(PbError::LinkWithoutCid)?);
            }
            (2, LENGTH_DELIMITED) => {
                if name.is_some() || tsize.is_some() {
                    return Err(PbError::Order("Name"));
                }
                let text = delimited(&mut rest)?;
                name = Some(std::str::from_utf8(text).map_err(|_| PbError::NameNotText)?);
            }
            (3, VARINT) => {
                if tsize.is_some() {
                    return Err(PbError::Order("Tsize"));
                }
                tsize = Some(varint::read(&mut rest)?);
            }
            (field, wire_type) => return Err(PbError::UnexpectedField { field, wire_type }),
        }
    }
    Ok(PbLink { cid: cid.ok_or(PbError::LinkWithoutCid)?, name, tsize })
}

fn field(rest: &mut &[u8]) -> Result<(u64, u8), PbError> {
    let key = varint::read(rest)?;
    Ok((key >> 3, (key & 7) as u8))
}

fn delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], PbError> {
    let len = usize::try_from(varint::read(rest)?).map_err(|_| PbError::Truncated)?;
    let (value, after) = rest.split_at_checked(len).ok_or(PbError::Truncated)?;
    *rest = after;
    Ok(value)
}

/// Encodes a node canonically: links first, in the order given.
pub fn encode(node: &PbNode<'_>) -> Vec<u8> {
    let links: usize = node.links.iter().map(encoded_link_len).sum();
    let mut out = Vec::with_capacity(links + node.data.map_or(0, |data| data.len() + 11));
    for link in &node.links {
        out.push(0x12);
        varint::write(&mut out, link_body_len(link) as u64);
        out.push(0x0a);
        varint::write(&mut out, link.cid.encoded_len() as u64);
        link.cid.write_bytes(&mut out).expect("writing to memory does not fail");
        if let Some(name) = link.name {
            out.push(0x12);
            varint::write(&mut out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
        }
        if let Some(tsize) = link.tsize {
            out.push(0x18);
            varint::write(&mut out, tsize);
        }
    }
    if let Some(data) = node.data {
        out.push(0x0a);
        varint::write(&mut out, data.len() as u64);
        out.extend_from_slice(data);
    }
    out
}

/// Bytes that a link adds to its block, its own header included.
pub fn encoded_link_len(link: &PbLink<'_>) -> usize {
    let body = link_body_len(link);
    1 + varint::len(body as u64) + body
}

fn link_body_len(link: &PbLink<'_>) -> usize {
    let text = |len: usize| 1 + varint::len(len as u64) + len;
    text(link.cid.encoded_len())
        + link.name.map_or(0, |name| text(name.len()))
        + link.tsize.map_or(0, |tsize| 1 + varint::len(tsize))
}

/// The node in the IPLD data model: `{Data?: bytes, Links: [{Hash, Name?, Tsize?}]}`.
pub fn to_ipld(node: &PbNode<'_>) -> Ipld {
    let link = |link: &PbLink<'_>| {
        let mut map = std::collections::BTreeMap::from([("Hash".to_owned(), Ipld::Link(link.cid))]);
        if let Some(name) = link.name {
            map.insert("Name".to_owned(), Ipld::String(name.to_owned()));
        }
        if let Some(tsize) = link.tsize {
            map.insert("Tsize".to_owned(), Ipld::Integer(tsize.into()));
        }
        Ipld::Map(map)
    };
    let links = Ipld::List(node.links.iter().map(link).collect());
    let mut map = std::collections::BTreeMap::from([("Links".to_owned(), links)]);
    if let Some(data) = node.data {
        map.insert("Data".to_owned(), Ipld::Bytes(data.to_vec()));
    }
    Ipld::Map(map)
}

/// Encodes a value that has exactly the form that [`to_ipld`] gives, links sorted by name.
pub fn encode_ipld(value: &Ipld) -> Result<Vec<u8>, PbError> {
    let Ipld::Map(map) = value else { return Err(PbError::Form("not a map")) };
    if map.keys().any(|key| key != "Data" && key != "Links") {
        return Err(PbError::Form("a field other than Data and Links"));
    }
    let data = match map.get("Data") {
        None => None,
        Some(Ipld::Bytes(bytes)) => Some(bytes.as_slice()),
        Some(_) => return Err(PbError::Form("Data must be bytes")),
    };
    let Some(Ipld::List(list)) = map.get("Links") else {
        return Err(PbError::Form("Links must be a list"));
    };
    let links = list.iter().map(link_from_ipld).collect::<Result<Vec<_>, _>>()?;
    // Encoders sort links by the bytes of their names, so another order is another value's block.
    if !links.is_sorted_by_key(|link| link.name.unwrap_or_default()) {
        return Err(PbError::Form("links must be sorted by name"));
    }
    Ok(encode(&PbNode { links, data }))
}

fn link_from_ipld(value: &Ipld) -> Result<PbLink<'_>, PbError> {
    let Ipld::Map(map) = value else { return Err(PbError::Form("a link must be a map")) };
    if map.keys().any(|key| !["Hash", "Name", "Tsize"].contains(&key.as_str())) {
        return Err(PbError::Form("a link field other than Hash, Name and Tsize"));
    }
    let Some(Ipld::Link(cid)) = map.get("Hash") else {
        return Err(PbError::Form("a link must have a Hash"));
    };
    let name = match map.get("Name") {
        None => None,
        Some(Ipld::String(name)) => Some(name.as_str()),
        Some(_) => return Err(PbError::Form("Name must be a string")),
    };
    let tsize = match map.get("Tsize") {
        None => None,
        Some(Ipld::Integer(size)) => {
            Some(u64::try_from(*size).map_err(|_| PbError::Form("Tsize must be an unsigned integer"))?)
        }
        Some(_) => return Err(PbError::Form("Tsize must be an integer")),
    };
    Ok(PbLink { cid: *cid, name, tsize })
}
