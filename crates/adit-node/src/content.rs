//! What a node knows about content without serving it: what a program is, and how much of a DAG
//! is already here.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use adit_model::Abi;
use adit_store::{BlockSource, BlockStore, SourceError, StoreError};
use adit_unixfs::codec::dag_pb;
use adit_unixfs::read::{FileReader, FileStep, Visit};
use cid::Cid;
use parking_lot::Mutex;

/// Multicodec of dag-pb: the only codec whose links say how much is below them.
const DAG_PB: u64 = 0x70;
/// Inner nodes that a survey looks into. With 1024 links a node this covers hundreds of gigabytes.
const SURVEY_NODES: usize = 512;
/// Leaves whose presence a survey checks; the rest is assumed to be like them.
const SURVEY_LEAVES: usize = 4096;
/// Links that wait to be looked at; those beyond are assumed to be like what was seen before.
const SURVEY_PENDING: usize = 32_768;
/// How long a survey's finding is used again. What was here may be collected, what was missing may
/// arrive; either only costs a fetch or a detour.
const SURVEY_LIFE: Duration = Duration::from_secs(20);
/// Findings kept.
const SURVEYS_KEPT: usize = 8192;
/// Programs whose ABI is remembered.
const PROGRAMS_KEPT: usize = 8192;

/// How much of a DAG is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Presence {
    /// Bytes here.
    pub(crate) present: u64,
    /// Bytes known to be missing.
    pub(crate) missing: u64,
    /// Whether even the root is missing, so that `missing` says nothing.
    pub(crate) unknown: bool,
}

impl Presence {
    /// Whether all of it is here, as far as the survey looked.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing == 0 && !self.unknown
    }

    /// Counts what was not looked at: with whatever the rest turned out to be so far.
    fn assume(&mut self, size: u64) {
        let side = if self.missing == 0 { &mut self.present } else { &mut self.missing };
        *side = side.saturating_add(size);
    }

    /// Two DAGs together.
    pub(crate) fn and(self, other: Presence) -> Presence {
        Presence {
            present: self.present.saturating_add(other.present),
            missing: self.missing.saturating_add(other.missing),
            unknown: self.unknown || other.unknown,
        }
    }
}

/// Remembers findings for a moment, so that a busy node does not walk the same DAG for every job.
#[derive(Debug, Default)]
pub(crate) struct Surveyor {
    found: Mutex<HashMap<Cid, (Instant, Presence)>>,
}

impl Surveyor {
    /// How much of the DAG below `root` is in the store.
    pub(crate) async fn survey(&self, store: &dyn BlockStore, root: &Cid) -> Result<Presence, StoreError> {
        // A single raw block costs one look-up either way.
        if root.codec() != DAG_PB {
            return single(store, root).await;
        }
        let known = self.found.lock().get(root).copied();
        if let Some((_, presence)) = known.filter(|(at, _)| at.elapsed() < SURVEY_LIFE) {
            return Ok(presence);
        }
        let presence = walk(store, root).await?;
        let mut found = self.found.lock();
        if found.len() >= SURVEYS_KEPT {
            found.retain(|_, (at, _)| at.elapsed() < SURVEY_LIFE);
            if found.len() >= SURVEYS_KEPT {
                found.clear();
            }
        }
        found.insert(*root, (Instant::now(), presence));
        Ok(presence)
    }
}

async fn single(store: &dyn BlockStore, cid: &Cid) -> Result<Presence, StoreError> {
    Ok(match store.size(cid).await? {
        Some(size) => Presence { present: size, ..Presence::default() },
        None => Presence { unknown: true, ..Presence::default() },
    })
}

async fn walk(store: &dyn BlockStore, root: &Cid) -> Result<Presence, StoreError> {
    let mut presence = Presence::default();
    let mut nodes = 0;
    let mut leaves = 0;
    let mut pending = vec![(*root, None::<u64>)];
    while let Some((cid, claimed)) = pending.pop() {
        let claimed_size = claimed.unwrap_or(0);
        let inner = cid.codec() == DAG_PB;
        let looked_enough = if inner { nodes >= SURVEY_NODES } else { leaves >= SURVEY_LEAVES };
        if looked_enough {
            presence.assume(claimed_size);
            continue;
        }
        if !inner {
            leaves += 1;
            let here = store.has(&cid).await?;
            let side = if here { &mut presence.present } else { &mut presence.missing };
            *side = side.saturating_add(claimed_size.max(1));
            continue;
        }
        nodes += 1;
        let Some(block) = store.get(&cid).await? else {
            match claimed {
                Some(size) => presence.missing = presence.missing.saturating_add(size.max(1)),
                None => presence.unknown = true,
            }
            continue;
        };
        presence.present = presence.present.saturating_add(block.len() as u64);
        // A block that is no node has nothing below it; whoever reads it will say so.
        let _ = dag_pb::visit(&block, |link| {
            // Sizes are their writer's claim: enough for an estimate, and capped against overflow.
            let claimed = link.tsize.unwrap_or(0);
            if pending.len() < SURVEY_PENDING {
                pending.push((link.cid, Some(claimed)));
            } else {
                presence.assume(claimed);
            }
            Ok(())
        });
    }
    Ok(presence)
}

/// The ABIs of programs seen before.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    known: Mutex<HashMap<Cid, Abi>>,
}

/// Why a program's kind cannot be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// Its first block cannot be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It is something else.
    #[error("it is not a WebAssembly module or component")]
    NotWasm,
}

impl Programs {
    /// How the program is called, if it was looked at before.
    pub(crate) fn known(&self, code: &Cid) -> Option<Abi> {
        self.known.lock().get(code).copied()
    }

    /// How the program is called, from its first eight bytes.
    pub(crate) async fn abi(&self, source: &dyn BlockSource, code: &Cid) -> Result<Abi, ProgramError> {
        if let Some(abi) = self.known(code) {
            return Ok(abi);
        }
        // WebAssembly binary format: magic, then a version whose upper half is the layer.
        let abi = match head(source, code).await? {
            [0x00, b'a', b's', b'm', 0x01, 0x00, 0x00, 0x00] => Abi::Wasip1,
            [0x00, b'a', b's', b'm', _, 0x00, 0x01, 0x00] => Abi::WasiCliCommand,
            _ => return Err(ProgramError::NotWasm),
        };
        let mut known = self.known.lock();
        if known.len() >= PROGRAMS_KEPT {
            known.clear();
        }
        known.insert(*code, abi);
        Ok(abi)
    }
}

async fn head(source: &dyn BlockSource, file: &Cid) -> Result<[u8; 8], ProgramError> {
    let root = source.block(file).await?;
    let mut reader = FileReader::open(*file, &root).map_err(|_| ProgramError::NotWasm)?;
    let mut head = [0; 8];
    let mut filled = 0;
    while filled < head.len() {
        let step = reader.seek(filled as u64).map_err(|_| ProgramError::NotWasm)?;
        let FileStep::Need(want) = step else { return Err(ProgramError::NotWasm) };
        let block = source.block(&want.cid).await?;
        if let Visit::Data(bytes) = reader.visit(&want, &block).map_err(|_| ProgramError::NotWasm)? {
            let taken = bytes.len().min(head.len() - filled);
            head[filled..filled + taken].copy_from_slice(&bytes[..taken]);
            filled += taken;
        }
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use adit_store::MemoryStore;
    use adit_unixfs::build::FileBuilder;
    use adit_unixfs::data::Metadata;
    use adit_unixfs::{Block, Profile};

    use super::*;

    /// A file of several blocks: its root and all blocks.
    fn file(bytes: &[u8]) -> (Cid, Vec<Block>) {
        let mut builder = FileBuilder::new(Profile::UnixfsV1_2025, Metadata::NONE);
        let mut blocks = Vec::new();
        builder.push(bytes.to_vec().into(), &mut blocks);
        let built = builder.finish(&mut blocks);
        (built.cid, blocks)
    }

    #[tokio::test]
    async fn a_survey_tells_all_some_and_nothing_apart() {
        let content: Vec<u8> = (0..5u32 << 18).flat_map(|n| n.to_le_bytes()).collect();
        let (root, blocks) = file(&content);
        assert!(blocks.len() > 4);
        let store = MemoryStore::new();
        let surveyed = |store: MemoryStore| async move {
            Surveyor::default().survey(&store, &root).await.map(|p| (p, store)).unwrap()
        };
        let (nothing, store) = surveyed(store).await;
        assert!(nothing.unknown && !nothing.is_complete());
        let most = blocks.iter().filter(|b| b.cid != blocks[0].cid).cloned().collect();
        store.put(most).await.unwrap();
        let (some, store) = surveyed(store).await;
        assert!(!some.is_complete() && some.present > some.missing && some.missing > 0);
        store.put(vec![blocks[0].clone()]).await.unwrap();
        let (all, _) = surveyed(store).await;
        assert!(all.is_complete() && all.present >= content.len() as u64);
    }

    #[tokio::test]
    async fn programs_are_told_from_their_first_bytes() {
        let store = Arc::new(MemoryStore::new());
        let programs = Programs::default();
        let put = async |bytes: &[u8]| {
            let (cid, blocks) = file(bytes);
            store.put(blocks).await.unwrap();
            cid
        };
        let module = put(b"\0asm\x01\0\0\0rest").await;
        let component = put(b"\0asm\x0d\0\x01\0rest").await;
        let text = put(b"#!/bin/sh\n").await;
        let short = put(b"\0asm").await;
        assert_eq!(programs.abi(&store, &module).await.unwrap(), Abi::Wasip1);
        assert_eq!(programs.abi(&store, &component).await.unwrap(), Abi::WasiCliCommand);
        for bad in [text, short] {
            assert!(matches!(programs.abi(&store, &bad).await, Err(ProgramError::NotWasm)));
        }
        let (absent, _) = file(b"\0asm\x01\0\0\0never stored");
        assert!(matches!(programs.abi(&store, &absent).await, Err(ProgramError::Source(_))));
    }
}
