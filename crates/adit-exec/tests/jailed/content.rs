//! Blocks in memory, and short ways to make files and directories of them.

use adit_unixfs::{
    Block, Profile,
    build::{Built, DirectoryBuilder, FileBuilder, symlink},
    data::Metadata,
};
use bytes::Bytes;
use cid::Cid;
use std::collections::HashMap;

#[derive(Default, Clone)]
pub struct Content {
    pub blocks: HashMap<Cid, Bytes>,
}

impl Content {
    pub fn put(&mut self, block: Block) -> Cid {
        self.blocks.insert(block.cid, block.data);
        block.cid
    }

    fn put_all(&mut self, blocks: Vec<Block>, built: Built) -> Built {
        blocks.into_iter().for_each(|block| {
            self.put(block);
        });
        built
    }

    pub fn file(&mut self, bytes: impl Into<Bytes>) -> Built {
        let mut blocks = Vec::new();
        let mut file = FileBuilder::new(Profile::UnixfsV1_2025, Metadata::NONE);
        file.push(bytes.into(), &mut blocks);
        let built = file.finish(&mut blocks);
        self.put_all(blocks, built)
    }

    pub fn symlink(&mut self, target: &str) -> Built {
        let (block, built) = symlink(Profile::UnixfsV1_2025, target, Metadata::NONE);
        self.put(block);
        built
    }

    pub fn directory(&mut self, entries: &[(&str, Built)]) -> Built {
        let mut blocks = Vec::new();
        let mut directory = DirectoryBuilder::new(Profile::UnixfsV1_2025, Metadata::NONE);
        for (name, built) in entries {
            directory.add(*name, built).unwrap();
        }
        let built = directory.finish(&mut blocks).unwrap();
        self.put_all(blocks, built)
    }
}
