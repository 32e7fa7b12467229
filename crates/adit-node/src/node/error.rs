//! What can go wrong when a node starts, and when it is asked for a job.

use std::path::PathBuf;

use cid::Cid;

use crate::host::BadAccount;
use crate::identity::IdentityError;
use crate::jobs::HistoryError;
use crate::request::InvalidRequest;
use crate::view::{Failure, JobId, JobState};

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its keys are missing or unusable.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The repository is in use or damaged.
    #[error("the repository could not be opened")]
    Repo(#[source] adit_store::OpenError),
    /// The backend cannot be used as it was set.
    #[error("ipfs.backend: {0}")]
    Backend(#[source] adit_kubo::InvalidKubo),
    /// The file of the setting `ipfs.authorization-file`.
    #[error("cannot read the backend's secret from {path}")]
    BackendSecret {
        /// Where it should be.
        path: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The job history is damaged.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// What is known of copies is damaged.
    #[error(transparent)]
    Replicas(#[from] crate::replicas::shelf::ShelfError),
    /// The network did not start.
    #[error("the network could not be started")]
    Net(#[source] adit_net::StartError),
    /// A setting that only the whole can judge.
    #[error(transparent)]
    Account(#[from] BadAccount),
    /// A gateway is none.
    #[error(transparent)]
    Gateway(#[from] crate::gateways::BadGateway),
    /// An address is none.
    #[error("setting `{key}`: `{text}` is not a multiaddress: {reason}")]
    Address {
        /// The setting.
        key: &'static str,
        /// The text.
        text: String,
        /// Why not.
        reason: String,
    },
    /// The network's name is none.
    #[error("setting `network`: {0}")]
    Network(#[from] adit_net::InvalidNetworkName),
    /// The swarm's key file cannot be used.
    #[error("setting `swarm.key-file`: cannot read {path}")]
    SwarmKeyFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("setting `swarm.key-file`: {path}")]
    SwarmKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: adit_net::InvalidSwarmKey,
    },
    /// The enclave's program is missing.
    #[error(transparent)]
    Enclave(#[from] crate::enclave::SpawnError),
    /// A directory could not be made or read.
    #[error("cannot use {path}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A denylist cannot be used.
    #[error(transparent)]
    Deny(#[from] crate::deny::DenyError),
    /// Starting was interrupted.
    #[error("starting was interrupted")]
    Interrupted,
}

/// Why a request has no outcome to show.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RunError {
    /// The request is no job.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// The program could not be found, before there was a job.
    #[error("the program {cid} cannot be had: {reason}")]
    Unavailable {
        /// The program.
        cid: Cid,
        /// Whom it was asked of and what they said.
        reason: String,
    },
    /// The job ended without an outcome.
    #[error("{failure}")]
    Failed {
        /// The job, for `job show`.
        job: JobId,
        /// Failed, cancelled, expired or lost.
        state: JobState,
        /// Whose fault, and why.
        failure: Failure,
    },
    /// What the job names is denied by this node's own operator.
    #[error("{0} is denied by this node's operator (deny.files)")]
    Denied(Cid),
    /// The idempotency key belongs to a job that does other work.
    #[error("this idempotency key was used for job {0}, which does other work")]
    KeyReused(JobId),
    /// No job of this name is in memory.
    #[error("there is no job {0} here, or it ended too long ago")]
    NoJob(JobId),
    /// The node takes nothing new on.
    #[error("this node is stopping")]
    Stopping,
    /// The node itself failed.
    #[error("this node failed: {0}")]
    Node(String),
}
