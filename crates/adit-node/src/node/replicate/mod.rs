//! This node as an owner: sees to it that what shall have several copies has them.
//!
//! One task looks at every set every moment, asks its state machine what to do, and gives that to a task of its own; a
//! set is worked on by one task at a time. What changed is on disk before anybody is told. `keepers` holds what is said
//! to a keeper, `place` how new ones are found.

mod keepers;
mod place;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use adit_model::NodeId;
use adit_store::StoreError;
use cid::Cid;
use futures::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};

use super::Node;
use super::shared::Shared;
use crate::clock::{unix_ms, unix_seconds};
use crate::replicas::set::{Rules, Set, Step};
use crate::replicas::shelf::{Shelf, ShelfError};
use crate::replicas::view::ReplicasView;
use crate::replicas::{KEPT_PREFIX, MOST_COPIES, MOST_SETS};
use keepers::{Trouble, let_go, renew};

/// Sets that are worked on at a time; it keeps below what one keeper fetches at a time for one owner.
const AT_A_TIME: usize = 4;
/// How long whoever asks for copies waits to hear how it went. Placing goes on after that.
const ANSWER: Duration = Duration::from_secs(15 * 60);

/// What this node has copied to others.
#[derive(Debug)]
pub(crate) struct Replicas {
    pub(crate) shelf: Arc<Shelf>,
    sets: Mutex<BTreeMap<Cid, Entry>>,
    /// Something changed that cannot wait for the next look.
    wake: Notify,
    /// Counts changes, for those who wait for one.
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Entry {
    set: Set,
    busy: bool,
    /// Rounds that have ended.
    rounds: u64,
}

/// Why no copies are placed.
#[derive(Debug, thiserror::Error)]
pub enum ReplicateError {
    /// Too few or too many.
    #[error("{0} copies: give a number from 1 to {MOST_COPIES}")]
    Number(u32),
    /// Too many roots.
    #[error("this node has copies of {MOST_SETS} roots already, which is the most")]
    TooMany,
    /// It is not all here, or not readable.
    #[error("{0} is not all here: {1}")]
    Incomplete(Cid, String),
    /// The block store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is wanted could not be recorded.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// The node is stopping.
    #[error("this node is stopping")]
    Stopping,
}

impl Replicas {
    pub(crate) fn new(shelf: Shelf, sets: Vec<Set>) -> Self {
        let entry = |set: Set| (set.root, Entry { set, busy: false, rounds: 0 });
        Replicas {
            shelf: Arc::new(shelf),
            sets: Mutex::new(sets.into_iter().map(entry).collect()),
            wake: Notify::new(),
            changed: watch::Sender::new(0),
        }
    }

    fn change<T>(&self, root: &Cid, change: impl FnOnce(&mut Set) -> T) -> Option<T> {
        let done = self.sets.lock().get_mut(root).map(|entry| change(&mut entry.set));
        self.changed.send_modify(|count| *count += 1);
        done
    }

    /// Writes a set as it stands.
    async fn save(&self, root: &Cid) -> Result<(), ReplicateError> {
        let Some(set) = self.sets.lock().get(root).map(|entry| entry.set.clone()) else { return Ok(()) };
        let shelf = Arc::clone(&self.shelf);
        let saved = tokio::task::spawn_blocking(move || shelf.put_set(&set)).await;
        Ok(saved.map_err(|_| ReplicateError::Stopping)??)
    }

    async fn forget(&self, root: Cid) -> Result<(), ReplicateError> {
        let shelf = Arc::clone(&self.shelf);
        let removed = tokio::task::spawn_blocking(move || shelf.remove_set(&root)).await;
        removed.map_err(|_| ReplicateError::Stopping)??;
        self.sets.lock().remove(&root);
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }
}

impl Node {
    /// Sees to it that there are `copies` copies of a root that is pinned here, this node's own included, on distinct
    /// nodes, from now on until it is unpinned. Answers when they are placed, or when everybody who could be asked has
    /// been; whether there are enough stands in the answer, and what is missing is tried again and again.
    pub async fn replicate(&self, root: Cid, copies: u32) -> Result<ReplicasView, ReplicateError> {
        if !(1..=MOST_COPIES).contains(&copies) {
            return Err(ReplicateError::Number(copies));
        }
        let replicas = &self.shared.replicas;
        let (bytes, blocks) = measure(&self.shared, root).await?;
        let after = {
            let mut sets = replicas.sets.lock();
            if !sets.contains_key(&root) && sets.len() >= MOST_SETS {
                return Err(ReplicateError::TooMany);
            }
            let new = || Set::new(root, copies, bytes, blocks, unix_seconds());
            let entry = sets.entry(root).or_insert_with(|| Entry { set: new(), busy: false, rounds: 0 });
            entry.set.want(copies, bytes, blocks);
            // A round that is under way began with other wishes.
            entry.rounds + u64::from(entry.busy)
        };
        replicas.save(&root).await?;
        let mut changed = replicas.changed.subscribe();
        replicas.wake.notify_one();
        let settled = changed.wait_for(|_| {
            let sets = replicas.sets.lock();
            sets.get(&root).is_none_or(|entry| entry.set.lacking() == 0 || entry.rounds > after)
        });
        tokio::select! {
            _ = tokio::time::timeout(ANSWER, settled) => {}
            () = self.shared.stop.cancelled() => return Err(ReplicateError::Stopping),
        }
        Ok(self.replicas(&root).unwrap_or_else(|| (&Set::new(root, copies, bytes, blocks, 0)).into()))
    }

    /// How a root stands that shall have several copies; `None` for any other.
    pub fn replicas(&self, root: &Cid) -> Option<ReplicasView> {
        self.shared.replicas.sets.lock().get(root).map(|entry| (&entry.set).into())
    }

    /// Something was unpinned: its copies elsewhere need not be kept any longer.
    pub fn unpinned(&self) {
        self.shared.replicas.wake.notify_one();
    }
}

/// Bytes and blocks of everything below a root, all of which must be here.
async fn measure(shared: &Shared, root: Cid) -> Result<(u64, u64), ReplicateError> {
    let missing = |cid: &Cid| ReplicateError::Incomplete(root, format!("{cid} is missing"));
    let (mut bytes, mut blocks) = (0, 0);
    let (mut seen, mut stack) = (std::collections::HashSet::from([root]), vec![root]);
    while let Some(cid) = stack.pop() {
        blocks += 1;
        if cid.codec() == 0x55 {
            bytes += shared.store.size(&cid).await?.ok_or_else(|| missing(&cid))?;
            continue;
        }
        let block = shared.store.get(&cid).await?.ok_or_else(|| missing(&cid))?;
        bytes += block.len() as u64;
        let links = adit_unixfs::links(&cid, &block);
        let links = links.map_err(|e| ReplicateError::Incomplete(root, e.to_string()))?;
        stack.extend(links.into_iter().filter(|link| seen.insert(*link)));
    }
    Ok((bytes, blocks))
}

fn rules(shared: &Shared) -> Rules {
    let ms = |span: crate::config::Span| span.0.as_millis().min(u128::from(u64::MAX)) as u64;
    let pins = &shared.config().pins;
    Rules { check_ms: ms(pins.check), grace_ms: ms(pins.grace) }
}

/// Looks after all sets until the node stops.
pub(crate) async fn look_after(shared: Arc<Shared>) {
    let rules = rules(&shared);
    let pause =
        Duration::from_millis(rules.retry_ms() / 2).clamp(Duration::from_millis(50), Duration::from_secs(5));
    let gate = Arc::new(Semaphore::new(AT_A_TIME));
    let mut woken = true;
    loop {
        let now = unix_ms();
        let mut work = Vec::new();
        let mut again = false;
        for (root, entry) in shared.replicas.sets.lock().iter_mut() {
            if entry.busy {
                // What it works on began before the news.
                again |= woken;
                continue;
            }
            let steps = entry.set.poll(now, &rules);
            if woken || !steps.is_empty() {
                entry.busy = true;
                work.push((*root, steps));
            }
        }
        for (root, steps) in work {
            let (shared, gate) = (Arc::clone(&shared), Arc::clone(&gate));
            shared.clone().tasks.spawn(async move {
                let end = Ended { shared: Arc::clone(&shared), root };
                let stop = shared.stop.clone();
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = async {
                        let _turn = gate.acquire().await;
                        if let Err(error) = work_on(&shared, root, steps).await {
                            tracing::warn!(%root, %error, "copies could not be looked after");
                        }
                    } => {}
                }
                drop(end);
            });
        }
        woken = tokio::select! {
            () = tokio::time::sleep(pause) => again,
            () = shared.replicas.wake.notified() => true,
            () = shared.stop.cancelled() => return,
        };
    }
}

/// Makes a set free for the next look, whatever became of the work on it.
struct Ended {
    shared: Arc<Shared>,
    root: Cid,
}

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(entry) = self.shared.replicas.sets.lock().get_mut(&self.root) {
            entry.busy = false;
            entry.rounds += 1;
        }
        self.shared.replicas.changed.send_modify(|count| *count += 1);
    }
}

async fn work_on(shared: &Arc<Shared>, root: Cid, steps: Vec<Step>) -> Result<(), ReplicateError> {
    let rules = rules(shared);
    let pins = shared.repo.pins_of(&root).await?;
    let replicas = &shared.replicas;
    if pins.iter().all(|pin| pin.name.starts_with(KEPT_PREFIX)) {
        return let_all_go(shared, root).await;
    }
    let mut place = None;
    let talks: FuturesUnordered<_> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Renew(node) => Some((*node, true)),
            Step::Release(node) => Some((*node, false)),
            Step::Place(count) => {
                place = Some(*count);
                None
            }
        })
        .map(|(node, go_on)| async move {
            let answer =
                if go_on { renew(shared, root, node).await } else { let_go(shared, root, node).await };
            (node, answer)
        })
        .collect();
    let mut talks = std::pin::pin!(talks);
    let mut changed = false;
    while let Some((node, answer)) = talks.next().await {
        changed = true;
        let now = unix_ms();
        replicas.change(&root, |set| match answer {
            Ok(Some(until)) => set.renewed(&node, until, now),
            Ok(None) => set.released(&node),
            Err(Trouble::Silent(reason)) => set.silent(&node, &reason, now),
            Err(Trouble::No(reason)) => {
                tracing::info!(%root, %node, reason, "a copy is lost");
                set.lost(&node, &reason, now);
            }
        });
    }
    if changed {
        replicas.save(&root).await?;
    }
    if let Some(count) = place {
        place::place_copies(shared, root, count, &rules).await?;
        replicas.change(&root, |set| set.round_ended(unix_ms(), &rules));
    }
    let done = {
        let sets = replicas.sets.lock();
        sets.get(&root).is_some_and(|entry| entry.set.copies <= 1 && entry.set.keepers.is_empty())
    };
    if done { replicas.forget(root).await } else { Ok(()) }
}

/// The root is no longer pinned here: keepers may let go. Who cannot be reached does so when the lease is over.
async fn let_all_go(shared: &Arc<Shared>, root: Cid) -> Result<(), ReplicateError> {
    let keepers: Vec<NodeId> = {
        let sets = shared.replicas.sets.lock();
        sets.get(&root).map(|entry| entry.set.keepers.iter().map(|k| k.node).collect()).unwrap_or_default()
    };
    let talks = keepers.into_iter().map(|node| async move { (node, let_go(shared, root, node).await) });
    for (node, answer) in futures::future::join_all(talks).await {
        if let Err(Trouble::Silent(reason) | Trouble::No(reason)) = answer {
            tracing::info!(%root, %node, reason, "a copy will go when its time is over");
        }
    }
    shared.replicas.forget(root).await
}
