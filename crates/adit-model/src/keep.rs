//! KeepOrder: whose copy of what content another node shall keep, and until when.

use crate::dagcbor::map_record;
use crate::ids::{AccountId, NodeId};
use crate::names::KeepOrderCid;
use crate::signed::Signable;
use cid::Cid;
use serde::{Deserialize, Serialize};

/// A request that `keeper` keep everything below `root` for `owner` until a moment. Signed by `account`, so that the
/// keeper's operator can say whose copies the node takes.
///
/// It names both nodes: an order that somebody has seen is of no use to another node, nor at another keeper. The same
/// order twice asks for the same thing, so nothing has to be remembered against replays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepOrder {
    /// What to keep, with everything below it.
    #[serde(with = "crate::text::cid")]
    pub root: Cid,
    /// Bytes of all its blocks, as the owner counted them: the keeper fetches no more.
    pub bytes: u64,
    /// How many blocks those are.
    pub blocks: u64,
    /// The node that asks, and renews.
    pub owner: NodeId,
    /// The node that is asked.
    pub keeper: NodeId,
    /// Whose wish it is, and who signs.
    pub account: AccountId,
    /// Unix time in seconds after which nothing has to be kept any more.
    pub until: u64,
}

map_record! {
    KeepOrder as "keep order", version 1;
    req "root" => root,
    req "bytes" => bytes,
    req "owner" => owner,
    req "until" => until,
    req "blocks" => blocks,
    req "keeper" => keeper,
    req "account" => account,
}

impl Signable for KeepOrder {
    type Signer = AccountId;
    type Name = KeepOrderCid;
    const TAG: &'static str = "adit/keep/1";

    fn signer(&self) -> AccountId {
        self.account
    }
    fn name(block: &[u8]) -> KeepOrderCid {
        KeepOrderCid::of_block(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AccountSecret, Signed, SignerId};

    #[test]
    fn an_order_reads_back_and_one_changed_bit_undoes_it() {
        let secret = AccountSecret::from_bytes(&[7; 32]).unwrap();
        let order = KeepOrder {
            root: KeepOrderCid::of_block(b"content").to_cid(),
            bytes: 1 << 40,
            blocks: 9,
            owner: NodeId::from_ed25519([1; 32]),
            keeper: NodeId::from_ed25519([2; 32]),
            account: AccountId::of(&secret),
            until: 1_800_000_000,
        };
        let signed = Signed::sign(order.clone(), &secret).unwrap();
        let read = Signed::<KeepOrder>::decode(signed.block()).unwrap().verify().unwrap();
        assert_eq!((read.body(), read.cid()), (&order, signed.cid()));
        for at in 0..signed.block().len() {
            let mut bytes = signed.block().to_vec();
            bytes[at] ^= 1;
            let believed = Signed::<KeepOrder>::decode(&bytes).is_ok_and(|changed| changed.verify().is_ok());
            assert!(!believed, "byte {at}");
        }
    }
}
