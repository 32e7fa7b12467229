//! What owner and keeper say to each other, as DAG-CBOR: a map with one key, the message's name.
//!
//! ```text
//! owner  → Ask                      keeper → Offer | Refuse
//! owner  → Keep(signed order)       keeper → Working* then Kept | Refuse
//! owner  → Check(block, nonce)      keeper → Proof | Refuse
//! owner  → Release                  keeper → Released
//! ```
//!
//! A stream carries any number of these, one after the other. The stream itself says which node speaks (its key made
//! the connection); only the order carries a signature, because it speaks for an account.

use adit_model::AccountId;
use cid::Cid;
use serde::{Deserialize, Serialize};

use crate::host::{MAX_DETAIL, Refusal};

/// Longest message, in bytes.
pub const MAX_MESSAGE: usize = 4 << 10;

/// What an owner says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum FromOwner {
    /// Would you keep this?
    Ask {
        /// The root.
        root: Cid,
        /// Bytes of everything below it.
        bytes: u64,
        /// Who will sign the order. Believed only for the offer.
        account: AccountId,
    },
    /// Keep it, or keep it for longer.
    Keep {
        /// The signed `KeepOrder`'s block.
        #[serde(with = "serde_bytes")]
        order: Vec<u8>,
    },
    /// Show that you have a block of what you keep for me.
    Check {
        /// The root that it is below.
        root: Cid,
        /// The block.
        block: Cid,
        /// Goes into the hash before the block, so that the answer can't be known before.
        nonce: [u8; 16],
    },
    /// You need not keep it any longer.
    Release {
        /// The root.
        root: Cid,
    },
}

/// What a keeper says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum FromKeeper {
    /// I would.
    Offer {
        /// Bytes that I have left for you.
        free: u64,
        /// Whether all of it seems to be here already.
        have: bool,
    },
    /// No, because.
    Refuse(Refusal),
    /// Still fetching.
    Working {
        /// Bytes fetched so far.
        bytes: u64,
    },
    /// All of it is here and stays. Durable when this is sent.
    Kept {
        /// Until when, in Unix seconds: not later than was asked for.
        until: u64,
    },
    /// SHA2-256 of the nonce and the block.
    Proof {
        /// The hash.
        hash: [u8; 32],
    },
    /// It is no longer kept for you.
    Released,
}

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Longer than any message.
    #[error("a message of {0} bytes is longer than any")]
    TooLong(usize),
    /// A refusal's reason is too long.
    #[error("a reason is longer than {MAX_DETAIL} bytes")]
    Reason,
    /// Not DAG-CBOR of a known message.
    #[error("not a message of this protocol: {0}")]
    Malformed(String),
}

macro_rules! codec {
    ($name:ty) => {
        impl $name {
            /// The message's bytes.
            pub fn encode(&self) -> Vec<u8> {
                serde_ipld_dagcbor::to_vec(self).expect("messages always encode")
            }

            /// Reads a message.
            pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
                if bytes.len() > MAX_MESSAGE {
                    return Err(MessageError::TooLong(bytes.len()));
                }
                let message: Self = serde_ipld_dagcbor::from_slice(bytes)
                    .map_err(|e| MessageError::Malformed(e.to_string()))?;
                message.check()?;
                Ok(message)
            }
        }
    };
}
codec!(FromOwner);
codec!(FromKeeper);

impl FromOwner {
    fn check(&self) -> Result<(), MessageError> {
        Ok(())
    }
}

impl FromKeeper {
    fn check(&self) -> Result<(), MessageError> {
        match self {
            FromKeeper::Refuse(refusal) if refusal.detail.len() > MAX_DETAIL => Err(MessageError::Reason),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::RefusalKind;

    fn root() -> Cid {
        "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy".parse().unwrap()
    }

    #[test]
    fn messages_read_back_and_long_ones_are_refused() {
        let account = AccountId([3; 20]);
        for message in [
            FromOwner::Ask { root: root(), bytes: u64::MAX, account },
            FromOwner::Keep { order: vec![1; 600] },
            FromOwner::Check { root: root(), block: root(), nonce: [9; 16] },
            FromOwner::Release { root: root() },
        ] {
            assert_eq!(FromOwner::decode(&message.encode()).unwrap(), message);
        }
        for message in [
            FromKeeper::Offer { free: 7, have: true },
            FromKeeper::Refuse(Refusal::new(RefusalKind::Limit, "no")),
            FromKeeper::Working { bytes: 1 },
            FromKeeper::Kept { until: 2 },
            FromKeeper::Proof { hash: [4; 32] },
            FromKeeper::Released,
        ] {
            assert_eq!(FromKeeper::decode(&message.encode()).unwrap(), message);
        }
        let long = FromOwner::Keep { order: vec![1; MAX_MESSAGE] }.encode();
        assert!(matches!(FromOwner::decode(&long), Err(MessageError::TooLong(_))));
        let words = Refusal { kind: RefusalKind::Limit, detail: "x".repeat(MAX_DETAIL + 1) };
        let long = FromKeeper::Refuse(words).encode();
        assert!(matches!(FromKeeper::decode(&long), Err(MessageError::Reason)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = FromOwner::decode(&bytes);
            let _ = FromKeeper::decode(&bytes);
        }
    }
}
