//! Fetching and pinning what was asked for.

use super::PIN_PREFIX;
use super::record::{Pin, Record, Status};
use super::shelf::{Shelf, ShelfError};
use adit_api::App;
use adit_store::PinOptions;
use cid::Cid;
use data_encoding::HEXLOWER;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// Requests that are fetched at a time; the others are queued.
const AT_A_TIME: usize = 8;
/// How long an origin may take to answer.
const DIAL: Duration = Duration::from_secs(10);
/// Tries, and the pause before each further one. Content whose only holder was away for a moment shall still be found.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(15);

/// The pinning service of a node.
pub struct Pinning {
    pub(crate) app: Arc<App>,
    pub(crate) shelf: Shelf,
    slots: Semaphore,
    under_way: Mutex<HashMap<String, AbortHandle>>,
}

impl Pinning {
    /// Opens the requests kept in `dir` and goes on with those that are not done.
    pub fn start(dir: &Path, app: Arc<App>) -> Result<Arc<Self>, ShelfError> {
        let shelf = Shelf::open(dir)?;
        let pinning =
            Arc::new(Self { app, shelf, slots: Semaphore::new(AT_A_TIME), under_way: Mutex::default() });
        // Oldest first.
        for record in pinning.shelf.select(|record| record.status.is_open()).into_iter().rev() {
            pinning.work_on(record);
        }
        Ok(pinning)
    }

    /// Takes a request; it is durable when this returns, and done later.
    pub(crate) fn accept(self: &Arc<Self>, pin: Pin, instead_of: Option<&str>) -> Result<Record, ShelfError> {
        let created =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let record = Record { id: new_id(), status: Status::Queued, created, pin, details: String::new() };
        let old = instead_of.and_then(|old| self.shelf.get(old));
        self.shelf.put(record.clone(), instead_of)?;
        self.work_on(record.clone());
        if let Some(old) = old {
            self.stop(&old);
        }
        Ok(record)
    }

    /// Forgets a request, and lets go of what was pinned for it.
    pub(crate) fn remove(&self, id: &str) -> Result<bool, ShelfError> {
        let removed = self.shelf.remove(id)?;
        if let Some(record) = &removed {
            self.stop(record);
        }
        Ok(removed.is_some())
    }

    /// Blocking: on a thread that may wait.
    fn stop(&self, record: &Record) {
        if let Some(work) = self.under_way.lock().remove(&record.id) {
            work.abort();
        }
        tokio::runtime::Handle::current().block_on(self.unpin(record));
    }

    async fn unpin(&self, record: &Record) {
        let Ok(cid) = record.pin.cid.parse::<Cid>() else { return };
        if let Err(error) = self.app.repo().unpin(&cid, Some(&pin_name(&record.id))).await {
            tracing::warn!(%error, request = record.id, "a removed request's pin stays");
        }
    }

    fn work_on(self: &Arc<Self>, record: Record) {
        let (pinning, id) = (self.clone(), record.id.clone());
        // Taken before the task can end and give the handle back.
        let mut under_way = self.under_way.lock();
        let work = tokio::spawn(async move { pinning.work(record).await });
        under_way.insert(id, work.abort_handle());
    }

    async fn work(self: Arc<Self>, record: Record) {
        let id = record.id.clone();
        let Ok(_slot) = self.slots.acquire().await else { return };
        self.mark(&id, Status::Pinning, "");
        let (status, details) = match self.fetch(&record).await {
            Ok(()) => (Status::Pinned, String::new()),
            Err(details) => (Status::Failed, details),
        };
        self.under_way.lock().remove(&id);
        if !self.mark(&id, status, &details) {
            // Removed in the very moment in which it was done.
            self.unpin(&record).await;
        }
    }

    /// Notes how far a request is; whether it is still there.
    fn mark(&self, id: &str, status: Status, details: &str) -> bool {
        let Some(record) = self.shelf.get(id) else { return false };
        let record = Record { status, details: details.to_owned(), ..record };
        if let Err(error) = self.shelf.put(record, None) {
            tracing::warn!(%error, request = id, "the state of a pin request could not be noted");
        }
        true
    }

    async fn fetch(&self, record: &Record) -> Result<(), String> {
        let cid = record.pin.check()?;
        let mut said = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let origins = record.pin.origins.iter().flatten().map(|origin| async move {
                let dial = tokio::time::timeout(DIAL, self.app.node().connect(origin));
                if !matches!(dial.await, Ok(Ok(_))) {
                    tracing::debug!(origin, "an origin of a pin request cannot be reached");
                }
            });
            futures::future::join_all(origins).await;
            let source = self.app.node().source();
            let options = PinOptions { name: pin_name(&record.id), ..PinOptions::default() };
            match self.app.repo().pin(&cid, &*source, options).await {
                Ok(_) => {
                    self.app.node().provide(cid);
                    return Ok(());
                }
                Err(error) => said = error.to_string(),
            }
        }
        Err(said)
    }
}

fn pin_name(id: &str) -> String {
    format!("{PIN_PREFIX}{id}")
}

fn new_id() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system gives random bytes, as it did for this node's keys");
    HEXLOWER.encode(&bytes)
}
