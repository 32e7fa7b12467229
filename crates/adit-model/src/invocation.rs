//! Invocation and Acceptance: who wants a task done, and who promises to do it.

use crate::dagcbor::{DecodeError, Reader, Value, Writer, map_record};
use crate::grant::SealKey;
use crate::ids::{AccountId, Amount, JobKey, NodeId};
use crate::names::{AcceptanceCid, InvocationCid, TaskCid};
use crate::signed::Signable;
use serde::{Deserialize, Serialize};

/// Sixteen bytes that keep two invocations of one task apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(#[serde(with = "crate::text::hex")] pub [u8; 16]);

impl std::fmt::Debug for Nonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Nonce({})", data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl Value for Nonce {
    fn write(&self, w: &mut Writer) {
        self.0.write(w);
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Value::read(r).map(Self)
    }
}

/// A requester's wish to have a task done, once. Signed by `issuer`.
///
/// An issuer who signs one (nonce, task) twice has still asked once: hosts remember issuer and nonce until
/// `expiry`. Version 1 also names `terms` (of payment), which are refused for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invocation {
    /// What is to be done.
    pub task: TaskCid,
    /// Who asks, and signs.
    pub issuer: AccountId,
    /// Random; never used twice by one issuer.
    pub nonce: Nonce,
    /// Unix time in seconds after which nobody has to do it, and a host kills it.
    pub expiry: u64,
    /// Whom sealed output is sealed to, if the policies allow it. A job on public data has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_key: Option<SealKey>,
}

map_record! {
    Invocation as "invocation", version 1, refuses ["terms"];
    req "task" => task,
    req "nonce" => nonce,
    req "expiry" => expiry,
    req "issuer" => issuer,
    opt "reply_key" => reply_key,
}

impl Signable for Invocation {
    type Signer = AccountId;
    type Name = InvocationCid;
    const TAG: &'static str = "adit/invocation/1";

    fn signer(&self) -> AccountId {
        self.issuer
    }
    fn name(block: &[u8]) -> InvocationCid {
        InvocationCid::of_block(block)
    }
}

/// An operator's promise to do one invocation on one node, at a price. Signed by `host`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// What is accepted.
    pub invocation: InvocationCid,
    /// The operator's account, which signs.
    pub host: AccountId,
    /// The node that will do it.
    pub node: NodeId,
    /// The key that will sign the receipt.
    pub job_key: JobKey,
    /// What it will cost. Zero until payment exists.
    pub price: Amount,
}

map_record! {
    Acceptance as "acceptance", version 1;
    req "host" => host,
    req "node" => node,
    req "price" => price,
    req "job_key" => job_key,
    req "invocation" => invocation,
}

impl Signable for Acceptance {
    type Signer = AccountId;
    type Name = AcceptanceCid;
    const TAG: &'static str = "adit/acceptance/1";

    fn signer(&self) -> AccountId {
        self.host
    }
    fn name(block: &[u8]) -> AcceptanceCid {
        AcceptanceCid::of_block(block)
    }
}
