//! Whether this node keeps a copy for somebody: the operator's rules and what is free, without I/O.

use std::collections::{HashMap, HashSet};

use adit_model::{Accept, AccountId, NodeId};
use cid::Cid;

use crate::config::Config;
use crate::host::{BadAccount, Refusal, RefusalKind, read_accounts};

/// Most roots kept for one account, and in all: each costs a row in two databases.
const MOST_FOR_ONE: usize = 10_000;
const MOST: usize = 100_000;
/// Copies fetched at the same time for one node, and in all.
const FETCHES_FOR_ONE: usize = 4;
const FETCHES: usize = 8;

/// The operator's rules in the form in which they are applied.
#[derive(Clone, Debug)]
pub struct Giving {
    own: AccountId,
    accept: Accept,
    allow: HashSet<AccountId>,
    deny: HashSet<AccountId>,
    max_bytes: u64,
    max_each: u64,
}

/// One copy that is kept, or being fetched, for another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whose wish it is.
    pub account: AccountId,
    /// Bytes that it counts for.
    pub bytes: u64,
    /// Unix seconds until which it is kept; for one that is being fetched, until which it was asked for.
    pub until: u64,
    /// Whether it is still being fetched.
    pub fetching: bool,
}

/// All copies that are kept for others.
pub type Table = HashMap<(Cid, NodeId), Kept>;

impl Giving {
    /// The rules in these settings. `own` is this node's account, which is always accepted.
    pub fn new(config: &Config, own: AccountId) -> Result<Self, BadAccount> {
        let pins = &config.pins;
        Ok(Giving {
            own,
            accept: pins.accept,
            allow: read_accounts("pins.allow-requesters", &pins.allow_requesters)?,
            deny: read_accounts("pins.deny-requesters", &pins.deny_requesters)?,
            max_bytes: pins.max_bytes.0,
            max_each: pins.max_bytes_each.0,
        })
    }

    /// Whether `account` may have `bytes` kept here by the word of `owner`, beside what is kept at `now`. `room` is what
    /// the disk has left. Gives how many bytes are left for this account.
    pub fn admit(
        &self,
        owner: &NodeId,
        account: &AccountId,
        bytes: u64,
        table: &Table,
        room: u64,
        now: u64,
    ) -> Result<u64, Refusal> {
        let refuse = |kind, detail: String| Err(Refusal::new(kind, detail));
        if *account != self.own {
            if self.deny.contains(account) {
                let detail =
                    format!("this node's operator keeps nothing for {account} (pins.deny-requesters)");
                return refuse(RefusalKind::RequesterDenied, detail);
            }
            let accepted = match self.accept {
                Accept::Anyone => true,
                Accept::Allowlist => self.allow.contains(account),
                Accept::Own => false,
            };
            if !accepted {
                let detail = format!("this node keeps copies only for `{}` (pins.accept)", self.accept);
                return refuse(RefusalKind::NotAccepted, detail);
            }
        }
        let live = || table.iter().filter(|(_, kept)| kept.fetching || kept.until > now);
        let sum = |of: &dyn Fn(&Kept) -> bool| -> u64 {
            live().filter(|(_, kept)| of(kept)).fold(0, |sum, (_, kept)| sum.saturating_add(kept.bytes))
        };
        let (count, own_count) =
            (live().count(), live().filter(|(_, kept)| kept.account == *account).count());
        if count >= MOST || own_count >= MOST_FOR_ONE {
            return refuse(
                RefusalKind::Limit,
                format!("{own_count} copies are kept here for {account} already"),
            );
        }
        let fetching = live().filter(|(_, kept)| kept.fetching).count();
        let fetching_for = live().filter(|((_, node), kept)| kept.fetching && node == owner).count();
        if fetching >= FETCHES || fetching_for >= FETCHES_FOR_ONE {
            return refuse(RefusalKind::Busy, format!("{fetching} copies are being fetched already"));
        }
        // What is being fetched has not taken its room on the disk yet.
        let room = room.saturating_sub(sum(&|kept| kept.fetching));
        let left = self.max_bytes.saturating_sub(sum(&|_| true));
        let left = left.min(self.max_each.saturating_sub(sum(&|kept| kept.account == *account)));
        if bytes > left {
            let detail = format!(
                "{bytes} bytes are asked for, {left} are left for {account} (pins.max-bytes, pins.max-bytes-each)"
            );
            return refuse(RefusalKind::Limit, detail);
        }
        if bytes > room {
            return refuse(
                RefusalKind::Disk,
                format!("{bytes} bytes are asked for, the disk has room for {room}"),
            );
        }
        Ok(left.min(room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ByteSize;

    const OWN: AccountId = AccountId([1; 20]);
    const OTHER: AccountId = AccountId([2; 20]);

    fn node(n: u8) -> NodeId {
        NodeId::from_ed25519([n; 32])
    }

    fn root(n: usize) -> Cid {
        adit_model::TaskCid::of_block(&n.to_be_bytes()).to_cid()
    }

    fn giving(change: impl FnOnce(&mut Config)) -> Giving {
        let mut config = Config::default();
        config.pins.accept = Accept::Anyone;
        (config.pins.max_bytes, config.pins.max_bytes_each) = (ByteSize(1000), ByteSize(600));
        change(&mut config);
        Giving::new(&config, OWN).unwrap()
    }

    fn kept(account: AccountId, bytes: u64, fetching: bool) -> Kept {
        Kept { account, bytes, until: 100, fetching }
    }

    #[test]
    fn whom_the_operator_names_is_served_and_nobody_else() {
        let ask = |giving: &Giving, account| giving.admit(&node(9), &account, 1, &Table::new(), 1000, 0);
        let kind = |giving: &Giving, account| ask(giving, account).map_err(|refusal| refusal.kind);
        let own = giving(|config| config.pins.accept = Accept::Own);
        assert!(ask(&own, OWN).is_ok());
        assert_eq!(kind(&own, OTHER), Err(RefusalKind::NotAccepted));
        let listed = giving(|config| {
            config.pins.accept = Accept::Allowlist;
            config.pins.allow_requesters = vec![OTHER.to_string()];
        });
        assert!(ask(&listed, OTHER).is_ok());
        assert_eq!(kind(&listed, AccountId([3; 20])), Err(RefusalKind::NotAccepted));
        let but = giving(|config| config.pins.deny_requesters = vec![OTHER.to_string()]);
        assert_eq!(kind(&but, OTHER), Err(RefusalKind::RequesterDenied));
    }

    #[test]
    fn bytes_are_counted_for_one_and_for_all_until_their_time_is_over() {
        let giving = giving(|_| {});
        let ask = |account, bytes, table: &Table, room, now| {
            giving.admit(&node(9), &account, bytes, table, room, now).map_err(|refusal| refusal.kind)
        };
        assert_eq!(ask(OTHER, 600, &Table::new(), 5000, 0), Ok(600));
        assert_eq!(ask(OTHER, 601, &Table::new(), 5000, 0), Err(RefusalKind::Limit));
        assert_eq!(ask(OTHER, u64::MAX, &Table::new(), 5000, 0), Err(RefusalKind::Limit));
        assert_eq!(ask(OTHER, 600, &Table::new(), 599, 0), Err(RefusalKind::Disk));
        let table = Table::from([
            ((root(1), node(9)), kept(OTHER, 500, false)),
            ((root(2), node(8)), kept(AccountId([3; 20]), 300, false)),
        ]);
        assert_eq!(ask(OTHER, 101, &table, 5000, 0), Err(RefusalKind::Limit));
        assert_eq!(ask(OTHER, 100, &table, 5000, 0), Ok(100));
        assert_eq!(ask(AccountId([4; 20]), 201, &table, 5000, 0), Err(RefusalKind::Limit), "in all");
        assert_eq!(ask(OTHER, 600, &table, 5000, 100), Ok(600), "both have expired");
    }

    #[test]
    fn few_are_fetched_at_a_time_and_their_room_is_taken() {
        let giving = giving(|_| {});
        let mut table = Table::from([((root(0), node(9)), kept(OTHER, 400, true))]);
        let ask = |owner: u8, table: &Table| {
            giving.admit(&node(owner), &OTHER, 150, table, 500, 0).map_err(|refusal| refusal.kind)
        };
        assert_eq!(ask(9, &table), Err(RefusalKind::Disk));
        for n in 1..=FETCHES_FOR_ONE {
            table.insert((root(n), node(9)), kept(AccountId([3; 20]), 0, true));
        }
        assert_eq!(ask(9, &table), Err(RefusalKind::Busy));
        assert_eq!(ask(8, &table), Err(RefusalKind::Disk), "others are not held up");
        let many = (0..MOST_FOR_ONE).map(|n| ((root(n), node(9)), kept(OTHER, 0, false))).collect();
        assert_eq!(ask(9, &many), Err(RefusalKind::Limit));
    }
}
