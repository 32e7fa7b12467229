//! Why a host says no. Every refusal is typed, counted, and told to whoever asked.

use serde::{Deserialize, Serialize};

/// Longest explanation that travels with a refusal.
pub const MAX_DETAIL: usize = 512;

/// The kind of a refusal: what is counted and what the requester may react to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The operator's `accept` setting does not cover this requester.
    NotAccepted,
    /// The requester is on the operator's deny list.
    RequesterDenied,
    /// The program is on the deny list, or not on the allow list.
    CodeDenied,
    /// The program or an input is on a denylist of the operator's.
    ContentDenied,
    /// Outside the operator's hours.
    Hours,
    /// All slots and all places in the queue are taken.
    Busy,
    /// The task wants more memory than the operator gives, now or ever.
    Memory,
    /// The task may write more than the operator has scratch space for.
    Scratch,
    /// The task may run longer than the operator grants.
    TooLong,
    /// The disk is too full to keep a result.
    Disk,
    /// The node is stopping.
    Draining,
    /// The enclave is not running.
    EnclaveDown,
    /// The task needs something this version does not have.
    Unsupported,
    /// The request makes no sense.
    Malformed,
    /// The invocation has expired, or expires too soon.
    Expired,
    /// This invocation was already given to this host.
    Replayed,
    /// More than the operator keeps for others, or for this one.
    Limit,
}

impl RefusalKind {
    /// The word used in counters and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalKind::NotAccepted => "not-accepted",
            RefusalKind::RequesterDenied => "requester-denied",
            RefusalKind::CodeDenied => "code-denied",
            RefusalKind::ContentDenied => "content-denied",
            RefusalKind::Hours => "hours",
            RefusalKind::Busy => "busy",
            RefusalKind::Memory => "memory",
            RefusalKind::Scratch => "scratch",
            RefusalKind::TooLong => "too-long",
            RefusalKind::Disk => "disk",
            RefusalKind::Draining => "draining",
            RefusalKind::EnclaveDown => "enclave-down",
            RefusalKind::Unsupported => "unsupported",
            RefusalKind::Malformed => "malformed",
            RefusalKind::Expired => "expired",
            RefusalKind::Replayed => "replayed",
            RefusalKind::Limit => "limit",
        }
    }

    /// Whether asking again later cannot help: `--wait` passes such a host over.
    pub fn is_for_good(self) -> bool {
        !matches!(
            self,
            RefusalKind::Hours
                | RefusalKind::Busy
                | RefusalKind::Disk
                | RefusalKind::EnclaveDown
                | RefusalKind::NotAccepted
                | RefusalKind::Scratch
                | RefusalKind::Memory
        )
    }
}

/// A refusal with its explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The kind.
    pub kind: RefusalKind,
    /// One sentence for a person.
    pub detail: String,
}

impl Refusal {
    /// A refusal; an over-long explanation is cut.
    pub fn new(kind: RefusalKind, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.len() > MAX_DETAIL {
            let end = (0..=MAX_DETAIL).rev().find(|&i| detail.is_char_boundary(i)).unwrap_or(0);
            detail.truncate(end);
        }
        Refusal { kind, detail }
    }
}
