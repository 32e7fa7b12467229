//! The messages, as DAG-CBOR: a map with one key, the message's name.
//!
//! Records (Task, signed Invocation and Acceptance, Outcome, Envelope) travel as the canonical
//! bytes that they are named by, and are decoded by `adit-model` with its own limits.

use adit_model::AccountId;
use bytes::Bytes;
use cid::Cid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::host::{MAX_DETAIL, Refusal};
use crate::placement::Bid;
use crate::view::{Failure, JobStats, LogStream};

/// Longest encoded message. A Finished with all its inline blocks and records fits.
pub(super) const MAX_MESSAGE: usize = 2 << 20;
/// Longest record inside a message.
pub(super) const MAX_RECORD: usize = 64 << 10;
/// Longest piece of log in a message.
pub const MAX_LOG: usize = 64 << 10;
/// Most blocks that come with Finished.
pub const MAX_INLINE_BLOCKS: usize = 64;
/// Most bytes of blocks that come with Finished; the rest is fetched by bitswap.
pub const MAX_INLINE_BYTES: usize = 1 << 20;

/// What a requester says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum FromRequester {
    /// What would it be like to run this at your place?
    Ask {
        /// Canonical bytes of the Task.
        #[serde(with = "as_bytes")]
        task: Bytes,
        /// Who will sign the Invocation. Believed only for the bid.
        issuer: AccountId,
        /// Longest wall time the job may take, in milliseconds.
        wall_ms: u64,
        /// Do not answer from memory.
        fresh: bool,
    },
    /// Run what was asked.
    Run(RunOrder),
    /// Stop it; nobody waits for it any more.
    Cancel,
    /// The receipt has arrived and holds.
    Ack,
}

/// The order to run a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunOrder {
    /// The signed Invocation's block.
    #[serde(with = "as_bytes")]
    pub invocation: Bytes,
    /// Send logs while the guest runs.
    pub live_logs: bool,
}

/// What a host says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum FromHost {
    /// My offer.
    Bid(Bid),
    /// No, because.
    Refuse(Refusal),
    /// It will be run.
    Accept {
        /// The signed Acceptance's block.
        #[serde(with = "as_bytes")]
        acceptance: Bytes,
    },
    /// The guest wrote.
    Log {
        /// Where.
        stream: LogStream,
        /// Position of the first byte in its stream.
        offset: u64,
        /// What.
        #[serde(with = "as_bytes")]
        bytes: Bytes,
    },
    /// Still at it.
    Alive {
        /// Whether the guest has started.
        running: bool,
    },
    /// The job has an outcome.
    Finished {
        /// The Outcome's block.
        #[serde(with = "as_bytes")]
        outcome: Bytes,
        /// The receipt Envelope's block.
        #[serde(with = "as_bytes")]
        envelope: Bytes,
        /// Small blocks of the result.
        blocks: Vec<InlineBlock>,
        /// Figures; the host's word, not part of the receipt.
        stats: JobStats,
        /// Until when the result's blocks are kept, Unix seconds.
        kept_until: u64,
    },
    /// The job has none.
    Failed(Failure),
}

/// A block inside a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InlineBlock {
    /// Its name; the receiver hashes.
    pub cid: Cid,
    /// Its bytes.
    #[serde(with = "as_bytes")]
    pub data: Bytes,
}

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Longer than any message.
    #[error("a message of {0} bytes is longer than any")]
    TooLong(usize),
    /// A part is longer than it may be.
    #[error("{what} in a message is longer than {limit}")]
    Part {
        /// Which part.
        what: &'static str,
        /// Its limit.
        limit: usize,
    },
    /// Not DAG-CBOR of a known message.
    #[error("not a message of this protocol: {0}")]
    Malformed(String),
}

macro_rules! message_codec {
    ($name:ty) => {
        impl $name {
            /// The message's bytes.
            pub fn encode(&self) -> Bytes {
                // Encoding these types to memory cannot fail: there are no floats, no non-string
                // keys and no I/O.
                Bytes::from(serde_ipld_dagcbor::to_vec(self).expect("messages always encode"))
            }

            /// Reads a message and checks the length of all its parts.
            pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
                let message: Self = decode(bytes)?;
                message.check()?;
                Ok(message)
            }
        }
    };
}
message_codec!(FromRequester);
message_codec!(FromHost);

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, MessageError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(MessageError::TooLong(bytes.len()));
    }
    serde_ipld_dagcbor::from_slice(bytes).map_err(|e| MessageError::Malformed(e.to_string()))
}

fn at_most(what: &'static str, length: usize, limit: usize) -> Result<(), MessageError> {
    if length > limit { Err(MessageError::Part { what, limit }) } else { Ok(()) }
}

impl FromRequester {
    /// Its name, for violations and logs.
    pub fn name(&self) -> &'static str {
        match self {
            FromRequester::Ask { .. } => "ask",
            FromRequester::Run(_) => "run",
            FromRequester::Cancel => "cancel",
            FromRequester::Ack => "ack",
        }
    }

    fn check(&self) -> Result<(), MessageError> {
        match self {
            FromRequester::Ask { task, .. } => at_most("task", task.len(), MAX_RECORD),
            FromRequester::Run(order) => at_most("invocation", order.invocation.len(), MAX_RECORD),
            FromRequester::Cancel | FromRequester::Ack => Ok(()),
        }
    }
}

impl FromHost {
    /// Its name, for violations and logs.
    pub fn name(&self) -> &'static str {
        match self {
            FromHost::Bid(_) => "bid",
            FromHost::Refuse(_) => "refuse",
            FromHost::Accept { .. } => "accept",
            FromHost::Log { .. } => "log",
            FromHost::Alive { .. } => "alive",
            FromHost::Finished { .. } => "finished",
            FromHost::Failed(_) => "failed",
        }
    }

    fn check(&self) -> Result<(), MessageError> {
        match self {
            FromHost::Bid(_) | FromHost::Alive { .. } => Ok(()),
            FromHost::Refuse(refusal) => at_most("reason", refusal.detail.len(), MAX_DETAIL),
            FromHost::Failed(failure) => at_most("reason", failure.reason.len(), MAX_FAILURE),
            FromHost::Accept { acceptance } => at_most("acceptance", acceptance.len(), MAX_RECORD),
            FromHost::Log { bytes, .. } => at_most("log", bytes.len(), MAX_LOG),
            FromHost::Finished { outcome, envelope, blocks, .. } => {
                at_most("outcome", outcome.len(), MAX_RECORD)?;
                at_most("receipt", envelope.len(), MAX_RECORD)?;
                at_most("number of blocks", blocks.len(), MAX_INLINE_BLOCKS)?;
                at_most("blocks", blocks.iter().map(|b| b.data.len()).sum(), MAX_INLINE_BYTES)
            }
        }
    }
}

/// Longest text of a host's failure.
const MAX_FAILURE: usize = 4 << 10;

/// Cuts a failure's text to what a message may carry.
pub(crate) fn shorten(reason: &mut String) {
    let end = (0..=MAX_FAILURE.min(reason.len())).rev().find(|&i| reason.is_char_boundary(i)).unwrap_or(0);
    reason.truncate(end);
}

/// `Bytes` as a CBOR byte string.
mod as_bytes {
    use bytes::Bytes;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Bytes, D::Error> {
        serde_bytes::deserialize::<Vec<u8>, D>(input).map(Bytes::from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::RefusalKind;
    use crate::view::Fault;

    fn samples() -> (Vec<FromRequester>, Vec<FromHost>) {
        let bytes = Bytes::from_static(b"record");
        let cid = adit_model::TaskCid::of_block(b"block").to_cid();
        let requester = vec![
            FromRequester::Ask { task: bytes.clone(), issuer: AccountId([7; 20]), wall_ms: 5, fresh: true },
            FromRequester::Run(RunOrder { invocation: bytes.clone(), live_logs: true }),
            FromRequester::Cancel,
            FromRequester::Ack,
        ];
        let host = vec![
            FromHost::Bid(Bid { bytes_present: 3, bytes_missing: None, ..Bid::default() }),
            FromHost::Bid(Bid { bytes_missing: Some(u64::MAX), ..Bid::default() }),
            FromHost::Refuse(Refusal::new(RefusalKind::Busy, "full")),
            FromHost::Accept { acceptance: bytes.clone() },
            FromHost::Log { stream: LogStream::Stderr, offset: 9, bytes: bytes.clone() },
            FromHost::Alive { running: true },
            FromHost::Finished {
                outcome: bytes.clone(),
                envelope: bytes.clone(),
                blocks: vec![InlineBlock { cid, data: bytes }],
                stats: JobStats { fuel: 12, ..JobStats::default() },
                kept_until: 77,
            },
            FromHost::Failed(Failure::new(Fault::Host, "the enclave died")),
        ];
        (requester, host)
    }

    #[test]
    fn messages_read_back() {
        let (requester, host) = samples();
        for message in requester {
            assert_eq!(FromRequester::decode(&message.encode()).unwrap(), message);
        }
        for message in host {
            assert_eq!(FromHost::decode(&message.encode()).unwrap(), message);
        }
    }

    #[test]
    fn oversized_parts_are_refused() {
        let long = |n: usize| Bytes::from(vec![0; n]);
        let run = FromRequester::Run(RunOrder { invocation: long(MAX_RECORD + 1), live_logs: false });
        assert!(matches!(FromRequester::decode(&run.encode()), Err(MessageError::Part { .. })));
        let log = FromHost::Log { stream: LogStream::Stdout, offset: 0, bytes: long(MAX_LOG + 1) };
        assert!(matches!(FromHost::decode(&log.encode()), Err(MessageError::Part { .. })));
        assert!(matches!(FromHost::decode(&long(MAX_MESSAGE + 1)), Err(MessageError::TooLong(_))));
        let mut refuse = Refusal::new(RefusalKind::Busy, "x".repeat(2 * MAX_DETAIL));
        assert_eq!(refuse.detail.len(), MAX_DETAIL);
        refuse.detail.push('x');
        assert!(FromHost::decode(&FromHost::Refuse(refuse).encode()).is_err());
        let cid = adit_model::TaskCid::of_block(b"block").to_cid();
        let finished = |count: usize, size: usize| FromHost::Finished {
            outcome: long(1),
            envelope: long(1),
            blocks: vec![InlineBlock { cid, data: long(size) }; count],
            stats: JobStats::default(),
            kept_until: 0,
        };
        assert!(FromHost::decode(&finished(MAX_INLINE_BLOCKS, 1).encode()).is_ok());
        assert!(FromHost::decode(&finished(MAX_INLINE_BLOCKS + 1, 1).encode()).is_err());
        assert!(FromHost::decode(&finished(2, MAX_INLINE_BYTES).encode()).is_err());
    }

    #[test]
    fn unknown_messages_and_fields_are_refused() {
        let unknown = serde_ipld_dagcbor::to_vec(&std::collections::BTreeMap::from([("hello", 1)])).unwrap();
        assert!(FromHost::decode(&unknown).is_err());
        #[derive(Serialize)]
        struct Extra {
            running: bool,
            more: u8,
        }
        let extra = std::collections::BTreeMap::from([("alive", Extra { running: true, more: 1 })]);
        assert!(FromHost::decode(&serde_ipld_dagcbor::to_vec(&extra).unwrap()).is_err());
    }

    proptest! {
        /// No bytes make the decoder panic, and damaged messages are errors or other valid messages.
        #[test]
        fn damaged_bytes_never_panic(which in 0usize..8, flips in proptest::collection::vec((0usize..400, any::<u8>()), 0..6)) {
            let (_, host) = samples();
            let mut bytes = host[which].encode().to_vec();
            for (at, with) in flips {
                let length = bytes.len();
                bytes[at % length] ^= with;
            }
            let _ = FromHost::decode(&bytes);
            let _ = FromRequester::decode(&bytes);
        }
    }
}
