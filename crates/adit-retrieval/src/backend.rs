//! [`Holdings`] below a repo: what the gateway holds is what the node has.

use std::time::{Duration, Instant};

use adit_store::{Backend, BackendError};
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;

use crate::{FetchError, Holdings};

/// How long readers wait for a gateway that is being restarted: from when it was away first, so that a file of many
/// blocks waits for it once.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// A gateway that cannot be asked, or lies, holds nothing for now: then blocks come from the network like any other that
/// is not here. What is wrong with it stands in the log and in `/metrics`.
#[async_trait]
impl Backend for Holdings {
    fn name(&self) -> &str {
        self.label()
    }

    async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, BackendError> {
        loop {
            let result = Holdings::get(self, cid).await;
            let now = Instant::now();
            let away = self.away_since(!result.as_ref().is_err_and(may_pass), now);
            match result {
                Ok(got) => return Ok(got),
                Err(error) if may_pass(&error) && now + PAUSE < away + PATIENCE => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Ok(self.without(cid, &error)),
            }
        }
    }

    async fn size(&self, cid: &Cid) -> Result<Option<u64>, BackendError> {
        Ok(match Holdings::size(self, cid).await {
            Ok(size) => size,
            // Peers ask this, and do not wait.
            Err(error) => self.without(cid, &error),
        })
    }

    async fn has(&self, cid: &Cid) -> Result<bool, BackendError> {
        let held = Holdings::has(self, cid).await;
        Ok(held.unwrap_or_else(|error| self.without::<()>(cid, &error).is_some()))
    }
}

impl Holdings {
    fn without<T>(&self, cid: &Cid, error: &FetchError) -> Option<T> {
        tracing::debug!(%cid, %error, gateway = %self.endpoint(), "the gateway cannot be asked");
        None
    }
}

fn may_pass(error: &FetchError) -> bool {
    matches!(
        error,
        FetchError::Unreachable(_) | FetchError::Paused(_) | FetchError::Busy { .. } | FetchError::Silent(_)
    )
}
