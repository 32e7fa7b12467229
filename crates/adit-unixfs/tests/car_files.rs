//! CARs: what is written reads back in any cut; what is wrong is refused at its place.

use adit_unixfs::block::{Block, BlockError, DAG_PB, RAW};
use adit_unixfs::car::{self, CarError, CarReader};
use adit_unixfs::limits;
use cid::Cid;
use proptest::prelude::*;

fn car(roots: &[Cid], blocks: &[Block]) -> Vec<u8> {
    let mut bytes = car::header(roots);
    for block in blocks {
        bytes.extend(car::section_prefix(&block.cid, block.data.len()));
        bytes.extend_from_slice(&block.data);
    }
    bytes
}

fn read(bytes: &[u8], step: usize) -> Result<(Vec<Cid>, Vec<Block>), CarError> {
    let mut reader = CarReader::new();
    let mut blocks = Vec::new();
    for piece in bytes.chunks(step.max(1)) {
        reader.push(piece);
        while let Some(block) = reader.next_block()? {
            blocks.push(block);
        }
    }
    Ok((reader.finish()?, blocks))
}

proptest! {
    #[test]
    fn any_blocks_survive_any_cut(
        contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
        step in 1usize..500,
        old: bool,
    ) {
        let blocks: Vec<_> = contents
            .into_iter()
            .map(|data| if old { Block::new_v0(data) } else { Block::new(RAW, data) })
            .collect();
        let roots: Vec<_> = blocks.iter().take(2).map(|block| block.cid).collect();
        prop_assert_eq!(read(&car(&roots, &blocks), step), Ok((roots, blocks)));
    }

    #[test]
    fn a_flipped_bit_is_never_accepted_as_the_same_blocks(at in any::<prop::sample::Index>(), bit in 0u32..8) {
        let blocks = [Block::new(RAW, &b"one"[..]), Block::new(DAG_PB, &b"\n\x02\x08\x01"[..])];
        let good = car(&[blocks[1].cid], &blocks);
        let mut bytes = good.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        if let Ok((roots, read)) = read(&bytes, 1000) {
            // Another codec in a CID, or another root: still true blocks, but not the same file.
            prop_assert!(roots != [blocks[1].cid] || read != blocks);
            prop_assert!(read.iter().all(|block| block.verify().is_ok()));
        }
    }
}

#[test]
fn every_truncation_is_noticed() {
    let block = Block::new(RAW, &b"data"[..]);
    let bytes = car(&[block.cid], std::slice::from_ref(&block));
    let header = car::header(&[block.cid]).len();
    for len in (0..bytes.len()).filter(|len| *len != header) {
        assert!(matches!(read(&bytes[..len], 7), Err(CarError::Truncated(_))), "{len}");
    }
    assert_eq!(read(&bytes[..header], 7), Ok((vec![block.cid], vec![])));
}

#[test]
fn wrong_hashes_sizes_versions_and_headers_are_named() {
    let block = Block::new(RAW, &b"data"[..]);
    let wrong = Block { cid: block.cid, data: b"dato"[..].into() };
    let offset = car::header(&[]).len() as u64;
    assert_eq!(
        read(&car(&[], &[wrong]), 1000),
        Err(CarError::Block { offset, source: BlockError::HashMismatch(block.cid) })
    );

    let mut huge = car::header(&[]);
    huge.extend([0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(matches!(read(&huge, 1000), Err(CarError::Block { source: BlockError::TooLarge { .. }, .. })));
    let big = Block::new(RAW, vec![0; limits::BLOCK + 1]);
    assert!(matches!(
        read(&car(&[], &[big]), 1 << 20),
        Err(CarError::Block { source: BlockError::TooLarge { .. }, .. })
    ));

    assert!(matches!(read(&[0xff, 0xff, 0xff, 0x7f], 1000), Err(CarError::HeaderTooLarge(_))));
    // The pragma that opens a CARv2.
    let v2 = [&[0x0a, 0xa1, 0x67][..], b"version", &[0x02]].concat();
    assert_eq!(read(&v2, 1000), Err(CarError::Version(2)));
    assert!(matches!(read(&[1, 0xf6], 1000), Err(CarError::HeaderFields)));
    assert!(matches!(read(&[1, 0xff], 1000), Err(CarError::Header(_))));
    assert!(matches!(read(&[0], 1000), Err(CarError::Section(0))));
}
