//! A sealed file as blocks of IPFS: an age file, cut so that its header is a block of its own and every other block
//! holds whole chunks. Whoever wants a range fetches the blocks of that range, and the header once.

use crate::age::{FileKey, Header, PayloadNonce, SEALED_CHUNK, Sealer};
use adit_unixfs::build::{Built, FileLayout, leaf};
use adit_unixfs::data::Metadata;
use adit_unixfs::{Block, Profile};
use bytes::Bytes;

/// Chunks in a block: as many as stay below 1 MiB, which every peer takes.
const CHUNKS: usize = 15;
/// Bytes of ciphertext in a block.
pub const SEALED_LEAF: usize = CHUNKS * SEALED_CHUNK;
/// Bytes of content in a block.
pub const LEAF: u64 = (CHUNKS * crate::age::CHUNK) as u64;

/// Seals content into blocks. Holds one block and one chunk.
///
/// The blocks that each call pushes to `out` are the caller's to store before it calls again.
#[derive(Debug)]
pub struct FileWriter {
    sealer: Sealer,
    layout: FileLayout,
    pending: Vec<u8>,
}

impl FileWriter {
    /// A file that begins with this header and nonce.
    pub fn new(key: &FileKey, header: &Header, nonce: PayloadNonce, out: &mut Vec<Block>) -> Self {
        let mut layout = FileLayout::new(Profile::UnixfsV1_2025, Metadata::NONE);
        let head = [header.as_bytes(), &nonce.0].concat();
        push_leaf(&mut layout, head.into(), out);
        Self {
            sealer: Sealer::new(key, nonce),
            layout,
            pending: Vec::with_capacity(SEALED_LEAF + SEALED_CHUNK),
        }
    }

    /// Appends content. Best given some hundred KiB at a time.
    pub fn push(&mut self, mut plain: &[u8], out: &mut Vec<Block>) {
        while !plain.is_empty() {
            let part = plain.len().min(LEAF as usize);
            self.sealer.update(&plain[..part], &mut self.pending);
            plain = &plain[part..];
            self.cut(out);
        }
    }

    /// Ends the file and returns its root.
    pub fn finish(mut self, out: &mut Vec<Block>) -> Built {
        self.sealer.finish(&mut self.pending);
        while self.pending.len() > SEALED_LEAF {
            let rest = self.pending.split_off(SEALED_LEAF);
            push_leaf(&mut self.layout, std::mem::replace(&mut self.pending, rest).into(), out);
        }
        push_leaf(&mut self.layout, self.pending.into(), out);
        self.layout.finish(out)
    }

    fn cut(&mut self, out: &mut Vec<Block>) {
        while self.pending.len() >= SEALED_LEAF {
            let mut rest = Vec::with_capacity(SEALED_LEAF + SEALED_CHUNK);
            rest.extend_from_slice(&self.pending[SEALED_LEAF..]);
            self.pending.truncate(SEALED_LEAF);
            push_leaf(&mut self.layout, std::mem::replace(&mut self.pending, rest).into(), out);
        }
    }
}

fn push_leaf(layout: &mut FileLayout, bytes: Bytes, out: &mut Vec<Block>) {
    let (block, built) = leaf(Profile::UnixfsV1_2025, bytes);
    out.push(block);
    layout.leaf(built, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OsRandom;
    use crate::age::{CHUNK, Identity, Opener};
    use adit_unixfs::read::{FileReader, FileStep, Visit};
    use std::collections::HashMap;

    #[test]
    fn the_blocks_are_an_age_file_whose_header_stands_alone() {
        let identity = Identity::generate(&mut OsRandom);
        for len in
            [0, 1, CHUNK, LEAF as usize - 1, LEAF as usize, LEAF as usize + 1, 3 * LEAF as usize, 3_000_000]
        {
            let plain: Vec<u8> = (0..len).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect();
            let key = FileKey::generate(&mut OsRandom);
            let header = Header::write(&key, &[identity.recipient()], &mut OsRandom).unwrap();
            let nonce = PayloadNonce::generate(&mut OsRandom);
            let mut blocks = Vec::new();
            let mut writer = FileWriter::new(&key, &header, nonce, &mut blocks);
            plain.chunks(777_777).for_each(|piece| writer.push(piece, &mut blocks));
            let root = writer.finish(&mut blocks);
            assert_eq!(&blocks[0].data[..], [header.as_bytes(), &nonce.0].concat());
            assert!(blocks.iter().all(|block| block.data.len() <= 1 << 20));
            assert!(blocks[1].data.len() == SEALED_LEAF || len < LEAF as usize);

            let stored: HashMap<_, _> = blocks.into_iter().map(|block| (block.cid, block.data)).collect();
            let mut reader = FileReader::open(root.cid, &stored[&root.cid]).unwrap();
            let mut file = Vec::new();
            while let FileStep::Need(want) = reader.seek(file.len() as u64).unwrap() {
                if let Visit::Data(bytes) = reader.visit(&want, &stored[&want.cid]).unwrap() {
                    file.extend_from_slice(bytes);
                }
            }
            let head = Header::parse(&file).unwrap().unwrap();
            let key = head.unwrap(std::slice::from_ref(&identity)).unwrap();
            let mut opener = Opener::new(&key, nonce);
            let mut opened = Vec::new();
            opener.update(&file[head.as_bytes().len() + 16..], &mut opened).unwrap();
            opener.finish(&mut opened).unwrap();
            assert!(opened == plain, "{len} bytes");
        }
    }
}
