//! Blocks whose hashes are right and whose content lies. Nothing here may panic, loop or swell.

use std::collections::HashMap;

use adit_unixfs::block::{Block, DAG_CBOR, DAG_JSON, DAG_PB, RAW};
use adit_unixfs::codec::dag_pb::{self, PbError, PbLink, PbNode};
use adit_unixfs::codec::{self, dag_cbor, dag_json};
use adit_unixfs::data::{Data, Kind};
use adit_unixfs::murmur3::murmur3_x64_64;
use adit_unixfs::node::{Node, NodeError};
use adit_unixfs::read::{FileReader, FileStep, Lister, Lookup, LookupStep, ReadError, Visit};
use adit_unixfs::{limits, links};
use cid::Cid;
use proptest::prelude::*;

fn pb(links: &[(&str, Cid)], data: &Data<'_>) -> Block {
    let links =
        links.iter().map(|(name, cid)| PbLink { cid: *cid, name: Some(name), tsize: Some(1) }).collect();
    Block::new(DAG_PB, dag_pb::encode(&PbNode { links, data: Some(&data.encode()) }))
}

fn file_node(children: &[(Cid, u64)], filesize: u64) -> Block {
    let links: Vec<_> = children.iter().map(|(cid, _)| ("", *cid)).collect();
    let blocksizes = children.iter().map(|(_, size)| *size).collect();
    pb(&links, &Data { filesize: Some(filesize), blocksizes, ..Data::new(Kind::File) })
}

/// Reads a whole file from blocks, counting steps so that an endless loop fails instead of hanging.
fn read_all(root: &Block, blocks: &[&Block]) -> Result<u64, ReadError> {
    let by_cid: HashMap<Cid, &Block> =
        blocks.iter().chain([&root]).map(|block| (block.cid, *block)).collect();
    let mut reader = FileReader::open(root.cid, &root.data)?;
    let mut offset = 0;
    for _ in 0..10_000 {
        match reader.seek(offset)? {
            FileStep::End => return Ok(offset),
            FileStep::Need(want) => match reader.visit(&want, &by_cid[&want.cid].data)? {
                Visit::Data(bytes) => offset += bytes.len() as u64,
                Visit::Descend => {}
            },
        }
    }
    panic!("the reader does not come to an end");
}

#[test]
fn a_leaf_of_another_size_than_stated_is_refused() {
    let leaf = Block::new(RAW, &b"four"[..]);
    for stated in [3, 5, u64::MAX] {
        let root = file_node(&[(leaf.cid, stated)], stated);
        let expected = ReadError::Size { cid: leaf.cid, stated, actual: 4 };
        assert_eq!(read_all(&root, &[&leaf]), Err(expected));
    }
}

#[test]
fn inner_nodes_must_hold_what_their_parent_states() {
    let leaf = Block::new(RAW, &b"four"[..]);
    let inner = file_node(&[(leaf.cid, 4)], 4);
    let root = file_node(&[(inner.cid, 9)], 9);
    assert!(matches!(read_all(&root, &[&inner, &leaf]), Err(ReadError::Size { stated: 9, actual: 4, .. })));
    // The same inner node, once stated rightly and once not: remembering it does not skip the check.
    let root = file_node(&[(inner.cid, 4), (inner.cid, 3)], 7);
    assert!(matches!(read_all(&root, &[&inner, &leaf]), Err(ReadError::Size { stated: 3, actual: 4, .. })));
}

#[test]
fn sizes_that_contradict_each_other_or_overflow_are_refused() {
    let leaf = Block::new(RAW, &b"four"[..]);
    let wrong_sum = file_node(&[(leaf.cid, 4)], 5);
    let overflow = file_node(&[(leaf.cid, u64::MAX), (leaf.cid, 2)], 1);
    let missing = pb(&[("", leaf.cid)], &Data { filesize: Some(4), ..Data::new(Kind::File) });
    for block in [wrong_sum, overflow, missing] {
        assert_eq!(Node::parse(&block.cid, &block.data), Err(NodeError::FileSizes));
    }
}

#[test]
fn empty_parts_are_skipped_and_a_file_of_nothing_else_is_empty() {
    let empty = Block::new(RAW, &b""[..]);
    let leaf = Block::new(RAW, &b"x"[..]);
    let root = file_node(&[(empty.cid, 0), (leaf.cid, 1), (empty.cid, 0), (leaf.cid, 1)], 2);
    assert_eq!(read_all(&root, &[&leaf, &empty]), Ok(2));
    assert_eq!(read_all(&file_node(&[(empty.cid, 0); 100], 0), &[&empty]), Ok(0));
}

#[test]
fn content_in_an_inner_node_precedes_its_children() {
    let leaf = Block::new(RAW, &b"five!"[..]);
    let data = Data { data: Some(b"own "), filesize: Some(9), blocksizes: vec![5], ..Data::new(Kind::File) };
    let root = pb(&[("", leaf.cid)], &data);
    assert_eq!(read_all(&root, &[&leaf]), Ok(9));
}

#[test]
fn a_file_nested_without_end_is_refused() {
    let mut block = Block::new(RAW, &b"x"[..]);
    let mut all = vec![block.clone()];
    for _ in 0..100 {
        block = file_node(&[(block.cid, 1)], 1);
        all.push(block.clone());
    }
    let all: Vec<_> = all.iter().collect();
    assert_eq!(read_all(&block, &all), Err(ReadError::TooDeep));
}

#[test]
fn a_directory_inside_a_file_is_refused() {
    let directory = pb(&[], &Data::new(Kind::Directory));
    let root = file_node(&[(directory.cid, 1)], 1);
    assert_eq!(read_all(&root, &[&directory]), Err(ReadError::NotAFile(directory.cid)));
}

#[test]
fn a_file_with_more_inner_nodes_than_the_cache_holds_still_reads() {
    // Each inner node takes 6.8 MB when remembered; three levels of them exceed the cache.
    let leaf = Block::new(RAW, &b"x"[..]);
    let wide = |cid: Cid, size: u64| {
        let mut children = vec![(leaf.cid, 0); 40_000];
        children.push((cid, size));
        file_node(&children, size)
    };
    let empty = Block::new(RAW, &b""[..]);
    let one = wide(leaf.cid, 1);
    let two = wide(one.cid, 1);
    let root = wide(two.cid, 1);
    assert_eq!(read_all(&root, &[&leaf, &empty, &one, &two]), Ok(1));
}

fn shard(slots: &[(usize, &str, Cid)]) -> Block {
    let mut field = [0u8; 32];
    for (slot, ..) in slots {
        field[31 - slot / 8] |= 1 << (slot % 8);
    }
    let names: Vec<_> = slots.iter().map(|(slot, name, _)| format!("{slot:02X}{name}")).collect();
    let links: Vec<_> = names.iter().zip(slots).map(|(name, (.., cid))| (name.as_str(), *cid)).collect();
    let data =
        Data { data: Some(&field), hash_type: Some(0x22), fanout: Some(256), ..Data::new(Kind::HamtShard) };
    pb(&links, &data)
}

fn list_all(root: &Block, blocks: &[&Block]) -> Result<usize, ReadError> {
    let by_cid: HashMap<Cid, &Block> =
        blocks.iter().chain([&root]).map(|block| (block.cid, *block)).collect();
    let mut lister = Lister::new(root.cid);
    let mut entries = 0;
    while let Some(cid) = lister.want() {
        entries += lister.supply(&by_cid[&cid].data)?.len();
    }
    Ok(entries)
}

#[test]
fn a_hamt_bomb_is_stopped_by_the_block_limit() {
    // Eight blocks that link to each other 256-fold stand for 2^56 paths.
    let mut levels = vec![shard(&[])];
    for _ in 0..7 {
        let below = levels.last().unwrap().cid;
        let slots: Vec<_> = (0..256).map(|slot| (slot, "", below)).collect();
        levels.push(shard(&slots));
    }
    let root = levels.pop().unwrap();
    let levels: Vec<_> = levels.iter().collect();
    let expected = ReadError::TooMany { what: "blocks", limit: limits::SHARDS };
    assert_eq!(list_all(&root, &levels), Err(expected));
}

#[test]
fn hamt_entries_must_stand_where_their_hash_leads() {
    let leaf = Block::new(RAW, &b"x"[..]);
    let right = (murmur3_x64_64(b"name") >> 56) as usize;
    assert_eq!(list_all(&shard(&[(right, "name", leaf.cid)]), &[]), Ok(1));
    let wrong = shard(&[(right ^ 1, "name", leaf.cid)]);
    assert_eq!(list_all(&wrong, &[]), Err(ReadError::Misplaced(wrong.cid)));
}

#[test]
fn a_hamt_deeper_than_its_hash_is_refused() {
    let mut block = shard(&[]);
    let mut all = vec![block.clone()];
    let hash = murmur3_x64_64(b"name");
    for level in (0..9).rev() {
        let slot = (hash << (8 * level % 64) >> 56) as usize;
        block = shard(&[(slot, "", block.cid)]);
        all.push(block.clone());
    }
    let all: Vec<_> = all.iter().collect();
    assert!(matches!(list_all(&block, &all), Err(ReadError::Misplaced(_))));

    let by_cid: HashMap<Cid, &Block> = all.iter().map(|block| (block.cid, *block)).collect();
    let mut lookup = Lookup::new(block.cid, "name");
    let error = loop {
        match lookup.supply(&by_cid[&lookup.want()].data) {
            Ok(LookupStep::Need(_)) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ReadError::Misplaced(_)));
}

#[test]
fn malformed_hamt_nodes_are_refused() {
    let leaf = Block::new(RAW, &b"x"[..]);
    let data = |field: &'static [u8], hash: u64, fanout: u64| Data {
        data: Some(field),
        hash_type: Some(hash),
        fanout: Some(fanout),
        ..Data::new(Kind::HamtShard)
    };
    let cases: [(&[(&str, Cid)], Data<'_>); 9] = [
        (&[], data(&[], 0x12, 256)),
        (&[], data(&[], 0x22, 0)),
        (&[], data(&[], 0x22, 257)),
        (&[], data(&[], 0x22, 1 << 40)),
        (&[("00a", leaf.cid)], data(&[], 0x22, 256)),
        (&[("0", leaf.cid)], data(&[1], 0x22, 256)),
        (&[("0aa", leaf.cid)], data(&[4, 0], 0x22, 256)),
        (&[("00a", leaf.cid), ("00b", leaf.cid)], data(&[3], 0x22, 256)),
        (&[("€a", leaf.cid)], data(&[1], 0x22, 256)),
    ];
    for (links, data) in cases {
        let block = pb(links, &data);
        assert!(matches!(Node::parse(&block.cid, &block.data), Err(NodeError::Hamt(_))), "{links:?}");
    }
}

#[test]
fn names_that_would_leave_the_directory_are_refused() {
    let leaf = Block::new(RAW, &b"x"[..]);
    let long = "n".repeat(limits::NAME + 1);
    for name in ["", ".", "..", "a/b", "/", "nul\0", &long] {
        let block = pb(&[(name, leaf.cid)], &Data::new(Kind::Directory));
        assert!(matches!(Node::parse(&block.cid, &block.data), Err(NodeError::Name(_))), "{name:?}");
    }
}

#[test]
fn too_many_links_and_other_broken_dag_pb_is_refused() {
    let leaf = Block::new(RAW, &b"x"[..]);
    let many: Vec<_> =
        (0..=limits::LINKS_PER_BLOCK).map(|_| PbLink { cid: leaf.cid, name: None, tsize: None }).collect();
    let bytes = dag_pb::encode(&PbNode { links: many, data: None });
    assert_eq!(dag_pb::decode(&bytes), Err(PbError::TooManyLinks));

    for (bytes, error) in [
        (&[0x0a, 0x05, 1][..], PbError::Truncated),
        (&[0x0a, 0x80, 0x00], PbError::Varint),
        (&[0x0a, 0, 0x0a, 0], PbError::Order("Data")),
        (&[0x18, 0], PbError::UnexpectedField { field: 3, wire_type: 0 }),
        (&[0x12, 4, 0x0a, 2, 1, 2], PbError::LinkWithoutCid),
    ] {
        assert_eq!(dag_pb::decode(bytes), Err(error));
    }
}

#[test]
fn data_before_links_is_read_and_written_back_in_order() {
    let leaf = Block::new(RAW, &b"x"[..]);
    let canonical = dag_pb::encode(&PbNode {
        links: vec![PbLink { cid: leaf.cid, name: Some(""), tsize: Some(1) }],
        data: Some(b"d"),
    });
    let (links, data) = canonical.split_at(canonical.len() - 3);
    let old = [data, links].concat();
    assert_eq!(dag_pb::decode(&old), dag_pb::decode(&canonical));
    assert_eq!(dag_pb::encode(&dag_pb::decode(&old).unwrap()), canonical);
}

#[test]
fn non_canonical_and_bottomless_cbor_is_refused() {
    use dag_cbor::CborError::*;
    let deep = vec![0x81; 100_000];
    for (bytes, error) in [
        (&[0x18, 0x17][..], NotCanonical),
        (&[0x19, 0x00, 0xff], NotCanonical),
        (&[0x9f, 0xff], NotCanonical),
        (&[0xfa, 0, 0, 0, 0], NotCanonical),
        (&[0xf9, 0, 0], NotCanonical),
        (&[0xfb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0], NotANumber),
        (&[0xfb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0], NotANumber),
        (&[0xf7], Unsupported),
        (&[0xc1, 0], Unsupported),
        (&[0xd8, 42, 0x41, 1], BadLink),
        (&[0xd8, 42, 0x00], BadLink),
        (&[0xa1, 0x00, 0x00], KeyNotText),
        (&[0xa2, 0x61, b'b', 0, 0x61, b'a', 0], KeyOrder),
        (&[0xa2, 0x62, b'a', b'a', 0, 0x61, b'b', 0], KeyOrder),
        (&[0x00, 0x00], TrailingBytes),
        (&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Truncated),
        (&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Truncated),
        (&[0x61, 0xff], NotText),
        (&[], Truncated),
        (&deep, TooDeep),
    ] {
        assert_eq!(dag_cbor::decode(bytes), Err(error), "{:x?}", &bytes[..bytes.len().min(16)]);
        assert_eq!(dag_cbor::links(bytes), Err(error));
    }
}

#[test]
fn a_block_of_a_million_small_values_does_not_become_hundreds_of_megabytes() {
    let mut bytes = vec![0x9a, 0x00, 0x10, 0x00, 0x00];
    bytes.resize(5 + (1 << 20), 0x00);
    assert_eq!(dag_cbor::decode(&bytes), Err(dag_cbor::CborError::TooMany));
    // Looking for links allocates nothing for values, so that still works.
    let block = Block::new(DAG_CBOR, bytes);
    assert_eq!(links(&block.cid, &block.data), Ok(vec![]));
}

#[test]
fn json_that_the_data_model_cannot_hold_is_refused() {
    for text in [
        "",
        "[",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "01",
        "1.",
        "-",
        "1e999",
        "nul",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\u{1}\"",
        "99999999999999999999999",
        "{\"/\":\"not a cid\"}",
        "{\"/\":1}",
        "{\"/\":{\"bytes\":\"==\"}}",
        "{\"/\":{\"bytes\":\"AQID\"},\"x\":1}",
        "1 2",
    ] {
        assert!(dag_json::decode(text.as_bytes()).is_err(), "{text}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(dag_json::decode(deep.as_bytes()), Err(dag_json::JsonError::TooDeep));
    assert_eq!(dag_json::decode(b"\"\\ud83d\\ude00\\n\""), Ok(ipld_core::ipld::Ipld::String("😀\n".into())));
}

#[test]
fn links_of_an_unknown_codec_are_an_error_not_none() {
    let cid = adit_unixfs::block::cid_v1(0x78, b"");
    assert_eq!(links(&cid, b""), Err(codec::CodecError::Unsupported(0x78)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for codec in [RAW, DAG_PB, DAG_CBOR, DAG_JSON] {
            let block = Block::new(codec, bytes.clone());
            let _ = links(&block.cid, &block.data);
            let _ = Node::parse(&block.cid, &block.data);
            let _ = Data::decode(&block.data);
            if let Ok(value) = codec::decode(codec, &bytes)
                && codec != DAG_JSON && codec != DAG_PB
            {
                // Strict codecs: what decodes is what would be encoded.
                prop_assert_eq!(codec::encode(codec, &value).unwrap(), bytes.clone());
            }
        }
    }

    #[test]
    fn damaged_nodes_never_panic(at in 0usize..400, flip in 1u8..=255, kind in 0usize..3) {
        let leaf = Block::new(RAW, &b"x"[..]);
        let block = match kind {
            0 => file_node(&[(leaf.cid, 1), (leaf.cid, 1)], 2),
            1 => shard(&[(1, "", leaf.cid), (255, "", leaf.cid)]),
            _ => pb(&[("a", leaf.cid), ("b", leaf.cid)], &Data::new(Kind::Directory)),
        };
        let mut bytes = block.data.to_vec();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        let damaged = Block::new(DAG_PB, bytes);
        let _ = read_all_if_file(&damaged, &leaf);
        let mut lister = Lister::new(damaged.cid);
        let _ = lister.supply(&damaged.data);
        let _ = Lookup::new(damaged.cid, "a").supply(&damaged.data);
    }
}

fn read_all_if_file(root: &Block, leaf: &Block) -> Result<(), ReadError> {
    let mut reader = FileReader::open(root.cid, &root.data)?;
    if let FileStep::Need(want) = reader.seek(0)?
        && want.cid == leaf.cid
    {
        reader.visit(&want, &leaf.data)?;
    }
    Ok(())
}
