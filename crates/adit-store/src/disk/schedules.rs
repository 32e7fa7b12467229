//! Generated schedules of puts, syncs, deletions, restarts, kills and power losses, against a
//! model that knows what must be there, what must not, and what may be.

use std::{collections::BTreeMap, sync::Arc};

use adit_unixfs::{Block, block::RAW};
use proptest::prelude::*;

use super::{DiskOptions, DiskStore, SimulatedDisk};
use crate::BlockStore;

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<u8>),
    Sync,
    Delete(u8),
    Free,
    Restart,
    Kill,
    LosePower(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => prop::collection::vec(0u8..24, 1..6).prop_map(Step::Put),
        3 => Just(Step::Sync),
        3 => (0u8..24).prop_map(Step::Delete),
        1 => Just(Step::Free),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
        2 => any::<u64>().prop_map(Step::LosePower),
    ];
    prop::collection::vec(step, 1..40)
}

/// Block `id`: of every size class, and never the same as another.
fn block(id: u8) -> Block {
    let len = [1, 100, 4000, 20_000, 70_000, 300_000][usize::from(id) % 6];
    Block::new(RAW, vec![id; len + usize::from(id)])
}

/// What the model knows about a block that was ever put.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Expected {
    /// Put; durable only where a sync followed.
    Here {
        durable: bool,
    },
    /// A crash came before its sync.
    Perhaps,
    Gone,
}

fn open(disk: &SimulatedDisk) -> DiskStore {
    let options = DiskOptions { reserve: 0, ..DiskOptions::default() };
    DiskStore::open_on(Arc::new(disk.clone()), options).expect("opens")
}

async fn run(steps: Vec<Step>) {
    let mut disk = SimulatedDisk::default();
    let mut store = open(&disk);
    let mut model: BTreeMap<u8, Expected> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Put(ids) => {
                store.put(ids.iter().map(|id| block(*id)).collect()).await.unwrap();
                for id in ids {
                    let durable = model.get(&id) == Some(&Expected::Here { durable: true });
                    model.insert(id, Expected::Here { durable });
                }
            }
            Step::Sync => {
                store.sync().await.unwrap();
                for expected in model.values_mut() {
                    if let Expected::Here { durable } = expected {
                        *durable = true;
                    }
                }
            }
            Step::Delete(id) => {
                store.delete(&block(id).cid).await.unwrap();
                model.insert(id, Expected::Gone);
            }
            Step::Free => {
                super::free_garbage(store.shared()).await.unwrap();
            }
            Step::Restart => {
                store.close().await;
                drop(store);
                store = open(&disk);
                // A clean stop writes everything out.
                for expected in model.values_mut() {
                    if let Expected::Here { durable } = expected {
                        *durable = true;
                    }
                }
            }
            Step::Kill | Step::LosePower(_) => {
                let next = match step {
                    Step::LosePower(seed) => disk.after_power_loss(seed),
                    _ => disk.after_kill(),
                };
                drop(store);
                disk = next;
                store = open(&disk);
                for expected in model.values_mut() {
                    if *expected == (Expected::Here { durable: false }) {
                        *expected = Expected::Perhaps;
                    }
                }
            }
        }
        for (id, expected) in &mut model {
            let block = block(*id);
            let found = store.get(&block.cid).await.expect("never corrupt");
            if let Some(data) = &found {
                assert_eq!(data, &block.data);
            }
            match expected {
                Expected::Here { .. } => assert!(found.is_some(), "block {id} is lost"),
                Expected::Gone => assert!(found.is_none(), "block {id} came back"),
                // Now it is known; and what recovery indexed, it made durable.
                Expected::Perhaps if found.is_some() => *expected = Expected::Here { durable: true },
                Expected::Perhaps => *expected = Expected::Gone,
            }
            let size = store.size(&block.cid).await.unwrap();
            assert_eq!(size, found.map(|data| data.len() as u64));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_schedule_keeps_what_was_synced(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps));
    }
}
