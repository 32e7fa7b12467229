//! HTTP functions: publishing them, and workers that answer their requests.

use std::sync::Arc;
use std::time::Duration;

use adit_store::{BlockStore, PinOptions};
use adit_wire::AsyncChannel;
use cid::Cid;
use tokio_util::sync::CancellationToken;

use super::Node;
use super::fetch::Fetch;
use super::shared::Shared;
use crate::clock::unix_seconds;
use crate::config::Span;
use crate::deny::Guarded;
use crate::enclave::{Borrowed, Purpose, Surroundings};
use crate::functions::{Function, FunctionError, Functions, Publication, check};
use crate::view::{Failure, Fault};

/// How long a function's worker waits for an enclave that is being started again, or a session that is being opened.
const PATIENCE: Duration = Duration::from_secs(10);

/// A jailed process that answers one function's requests. Dropping it ends the process.
pub struct FunctionWorker {
    /// The way to it; see [`adit_wire::http`].
    pub channel: AsyncChannel,
    _session: Borrowed,
}

impl Node {
    /// What is served here.
    pub fn functions(&self) -> &Arc<Functions> {
        &self.shared.functions
    }

    /// A worker for this program: its code is fetched and compiled first, if need be, within `time`.
    pub async fn function_worker(&self, code: Cid, time: Duration) -> Result<FunctionWorker, Failure> {
        worker(&self.shared, code, time).await
    }

    /// Serves a program under a path from now on, also after a restart: its code is pinned. Durable when it returns.
    pub async fn publish_function(
        &self,
        path: String,
        code: Cid,
        hosts: Vec<String>,
    ) -> Result<Arc<Function>, FunctionError> {
        if self.shared.config().http.listen.is_empty() {
            return Err(FunctionError::Off);
        }
        let publication = Publication { path, code, hosts, published: unix_seconds() };
        check(&publication)?;
        let options = PinOptions { name: pin_name(&publication.path), ..PinOptions::default() };
        let pinned = self.repo().pin(&code, &*self.source(), options).await;
        pinned.map_err(|error| FunctionError::Code(format!("the code cannot be had: {error}")))?;
        // Compiled now: the publisher hears what is wrong with it, and nobody waits for that later.
        let Span(time) = self.shared.config().host.longest;
        let tried = worker(&self.shared, code, time.min(Duration::from_secs(60))).await;
        let kept = match tried {
            Ok(_) => self.shared.functions.keep(publication.clone()),
            Err(failure) => Err(FunctionError::Code(failure.reason)),
        };
        match kept {
            Ok(before) => {
                if let Some(before) = before.filter(|before| before.publication.code != code) {
                    self.unpin_code(&before.publication).await;
                }
                self.provide(code);
                self.shared
                    .functions
                    .all()
                    .get(&publication.path)
                    .cloned()
                    .ok_or_else(|| FunctionError::Missing(publication.path.clone()))
            }
            Err(error) => {
                let served = self.shared.functions.all();
                if served.get(&publication.path).is_none_or(|now| now.publication.code != code) {
                    self.unpin_code(&publication).await;
                }
                Err(error)
            }
        }
    }

    /// Serves nothing under a path any more. Durable when it returns.
    pub async fn unpublish_function(&self, path: &str) -> Result<Arc<Function>, FunctionError> {
        let removed = self.shared.functions.remove(path)?;
        self.unpin_code(&removed.publication).await;
        Ok(removed)
    }

    async fn unpin_code(&self, publication: &Publication) {
        let name = pin_name(&publication.path);
        if let Err(error) = self.repo().unpin(&publication.code, Some(&name)).await {
            tracing::warn!(path = publication.path, %error, "a function's code stays pinned");
        }
    }
}

fn pin_name(path: &str) -> String {
    format!("http {path}")
}

async fn worker(shared: &Shared, code: Cid, time: Duration) -> Result<FunctionWorker, Failure> {
    if shared.draining.is_cancelled() {
        return Err(Failure::new(Fault::Node, "the node takes nothing new on"));
    }
    let session = shared.enclave.session_for(Purpose::Functions, PATIENCE).await;
    let mut session = session.map_err(|down| Failure::new(Fault::Host, down.to_string()))?;
    let fetch = Fetch::new(&shared.net, Vec::new(), &shared.bandwidth, shared.denials.clone());
    let Span(fetch_timeout) = shared.config().jobs.fetch_timeout;
    let store: Arc<dyn BlockStore> = Arc::new(Guarded::new(shared.store.clone(), shared.denials.clone()));
    let cancel = CancellationToken::new();
    let around =
        Surroundings { store: &*store, fetch: Some(&fetch), fetch_timeout, log: &|_, _| {}, cancel: &cancel };
    let channel = session.session().serve(code, time, &around).await?;
    Ok(FunctionWorker { channel, _session: session })
}
