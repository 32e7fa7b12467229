//! The format against a generated implementation, and hostile messages.

use bytes::Bytes;
use cid::Cid;
use proptest::prelude::*;
use prost::Message as _;

use super::{decode::DecodeError, *};
use crate::bitswap::client::tests::cid;

/// The published schema, as prost reads it: an implementation that we did not write.
mod reference {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Message {
        #[prost(message, optional, tag = "1")]
        pub(super) wantlist: Option<Wantlist>,
        #[prost(message, repeated, tag = "3")]
        pub(super) payload: Vec<Block>,
        #[prost(message, repeated, tag = "4")]
        pub(super) presences: Vec<Presence>,
        #[prost(int32, tag = "5")]
        pub(super) pending_bytes: i32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Wantlist {
        #[prost(message, repeated, tag = "1")]
        pub(super) entries: Vec<Entry>,
        #[prost(bool, tag = "2")]
        pub(super) full: bool,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Entry {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) block: Vec<u8>,
        #[prost(int32, tag = "2")]
        pub(super) priority: i32,
        #[prost(bool, tag = "3")]
        pub(super) cancel: bool,
        #[prost(int32, tag = "4")]
        pub(super) want_type: i32,
        #[prost(bool, tag = "5")]
        pub(super) send_dont_have: bool,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Block {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) prefix: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) data: Vec<u8>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Presence {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) cid: Vec<u8>,
        #[prost(int32, tag = "2")]
        pub(super) kind: i32,
    }
}

fn joined(pieces: &[Bytes]) -> Bytes {
    pieces.concat().into()
}

/// Splits the length in front off, and checks it.
fn unframed(framed: &Bytes) -> Bytes {
    let (len, rest) = unsigned_varint::decode::usize(framed).expect("a length");
    assert_eq!(len, rest.len());
    framed.slice_ref(rest)
}

prop_compose! {
    fn entries()(lines in prop::collection::vec((0usize..5000, any::<[bool; 3]>(), any::<i32>()), 0..300))
        -> Vec<Entry> {
        lines
            .into_iter()
            .map(|(n, [cancel, have, send_dont_have], priority)| Entry {
                cid: cid(n),
                priority,
                cancel,
                kind: if have { WantKind::Have } else { WantKind::Block },
                send_dont_have,
            })
            .collect()
    }
}

proptest! {
    #[test]
    fn a_wantlist_survives_and_reads_as_the_schema_says(entries in entries()) {
        let body = unframed(&wantlist(&entries));
        prop_assert_eq!(&decode(body.clone()).unwrap().wants, &entries);
        let list = reference::Message::decode(body).unwrap().wantlist.unwrap();
        prop_assert_eq!(list.entries.len(), entries.len());
        for (theirs, ours) in list.entries.iter().zip(&entries) {
            prop_assert_eq!(&theirs.block, &ours.cid.to_bytes());
            prop_assert_eq!(theirs.priority, ours.priority);
            prop_assert_eq!(theirs.cancel, ours.cancel);
            prop_assert_eq!(theirs.want_type == 1, ours.kind == WantKind::Have);
            prop_assert_eq!(theirs.send_dont_have, ours.send_dont_have);
        }
    }

    #[test]
    fn an_answer_survives_and_reads_as_the_schema_says(
        sizes in prop::collection::vec(0usize..40_000, 0..20),
        haves in 0usize..50,
        dont_haves in 0usize..50,
    ) {
        let answer = Answer {
            blocks: sizes.iter().enumerate().map(|(i, n)| (cid(i), vec![i as u8; *n].into())).collect(),
            haves: (0..haves).map(cid).collect(),
            dont_haves: (0..dont_haves).map(cid).collect(),
        };
        let body = unframed(&joined(&answer.pieces()));
        let message = decode(body.clone()).unwrap();
        prop_assert_eq!(&message.haves, &answer.haves);
        prop_assert_eq!(&message.dont_haves, &answer.dont_haves);
        let data: Vec<_> = message.blocks.iter().map(|(_, data)| data.clone()).collect();
        let sent: Vec<_> = answer.blocks.iter().map(|(_, data)| data.clone()).collect();
        prop_assert_eq!(data, sent);
        let theirs = reference::Message::decode(body).unwrap();
        prop_assert_eq!(theirs.payload.len(), answer.blocks.len());
        prop_assert_eq!(theirs.presences.len(), haves + dont_haves);
        let denied = theirs.presences.iter().filter(|p| p.kind == 1).count();
        prop_assert_eq!(denied, dont_haves);
    }

    #[test]
    fn garbage_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        let _ = decode(bytes.into());
    }

    /// Every strict prefix of a message ends inside some field or is a shorter message.
    #[test]
    fn truncation_never_panics(entries in entries(), cut in any::<prop::sample::Index>()) {
        let body = unframed(&wantlist(&entries));
        let _ = decode(body.slice(..cut.index(body.len() + 1)));
    }
}

#[test]
fn what_the_generated_implementation_writes_is_read() {
    let theirs = reference::Message {
        wantlist: Some(reference::Wantlist {
            entries: vec![reference::Entry {
                block: cid(7).to_bytes(),
                priority: -3,
                cancel: false,
                want_type: 1,
                send_dont_have: true,
            }],
            full: true,
        }),
        payload: vec![reference::Block { prefix: vec![1, 0x55, 0x12, 32], data: b"data".to_vec() }],
        presences: vec![
            reference::Presence { cid: cid(1).to_bytes(), kind: 0 },
            reference::Presence { cid: cid(2).to_bytes(), kind: 1 },
        ],
        pending_bytes: 12,
    };
    let message = decode(theirs.encode_to_vec().into()).unwrap();
    let entry = &message.wants[0];
    assert_eq!((entry.cid, entry.priority, entry.kind), (cid(7), -3, WantKind::Have));
    assert!(entry.send_dont_have && message.full);
    let prefix = Prefix { version: 1, codec: 0x55, hash: 0x12, hash_len: 32 };
    assert_eq!(message.blocks, [(prefix, Bytes::from_static(b"data"))]);
    assert_eq!((message.haves, message.dont_haves), (vec![cid(1)], vec![cid(2)]));
}

#[test]
fn large_blocks_are_neither_copied_out_nor_in() {
    let data = Bytes::from(vec![5; 100_000]);
    let answer = Answer { blocks: vec![(cid(0), data.clone())], ..Answer::default() };
    let pieces = answer.pieces();
    assert!(pieces.iter().any(|piece| piece.as_ptr() == data.as_ptr()), "written from where it is");
    let body = unframed(&joined(&pieces));
    let message = decode(body.clone()).unwrap();
    assert!(body.as_ptr_range().contains(&message.blocks[0].1.as_ptr()), "a slice of the message");
}

/// A message of 4 MiB could hold two million empty lines of each kind.
#[test]
fn counts_are_limited_while_decoding() {
    let flood = |line: &[u8]| Bytes::from(line.repeat(100_000));
    assert_eq!(decode(flood(&[0x22, 0])), Err(DecodeError::BadCid));
    assert_eq!(decode(flood(&[0x1a, 0])), Err(DecodeError::BadPrefix));

    let mut presence = vec![0x22, 38, 0x0a, 36];
    presence.extend(cid(1).to_bytes());
    assert!(matches!(decode(flood(&presence)), Err(DecodeError::TooMany { what: "presences", .. })));
    let block = [0x1a, 7, 0x0a, 5, 1, 0x55, 0x12, 32, 0];
    assert_eq!(decode(flood(&block)), Err(DecodeError::BadPrefix), "trailing byte");
    let block = [0x1a, 6, 0x0a, 4, 1, 0x55, 0x12, 32];
    assert!(matches!(decode(flood(&block)), Err(DecodeError::TooMany { what: "blocks", .. })));
    let entries: Vec<Entry> = (0..5000).map(|i| Entry::want(cid(i), WantKind::Block)).collect();
    let list = unframed(&wantlist(&entries));
    assert!(matches!(decode(list), Err(DecodeError::TooMany { what: "wantlist entries", .. })));
}

#[test]
fn malformed_cids_and_varints_are_refused() {
    let long = [&[0x22, 0x84, 0x01, 0x0a, 0x81, 0x01][..], &[1; 129]].concat();
    assert_eq!(decode(long.into()), Err(DecodeError::BadCid), "longer than any CID");
    assert_eq!(decode(vec![0x22, 3, 0x0a, 9, 1].into()), Err(DecodeError::Truncated));
    assert_eq!(decode(vec![0xff; 11].into()), Err(DecodeError::BadVarint));
    assert!(matches!(decode(vec![0x0b].into()), Err(DecodeError::WireType { .. })));
    assert_eq!(decode(Bytes::new()), Ok(Message::default()));
}

#[tokio::test]
async fn a_length_is_read_and_a_clean_end_recognised() {
    let mut io = futures::io::Cursor::new(vec![0x80, 0x80, 0x80, 0x02]);
    assert_eq!(read_len(&mut io).await.unwrap(), Some(4 << 20));
    assert_eq!(read_len(&mut io).await.unwrap(), None);
    let mut endless = futures::io::Cursor::new(vec![0xff; 20]);
    assert!(read_len(&mut endless).await.is_err());
}

#[test]
fn prefixes_are_those_of_the_cids() {
    for version in [0, 1] {
        let mut c = cid(3);
        if version == 0 {
            c = Cid::new_v0(*c.hash()).unwrap();
        }
        let answer = Answer { blocks: vec![(c, Bytes::new())], ..Answer::default() };
        let message = decode(unframed(&joined(&answer.pieces()))).unwrap();
        let prefix = message.blocks[0].0;
        assert_eq!(prefix.version, version);
        assert_eq!((prefix.codec, prefix.hash, prefix.hash_len), (c.codec(), 0x12, 32));
    }
}
