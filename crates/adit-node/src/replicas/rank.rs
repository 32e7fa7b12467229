//! Which nodes get copies first: distance and room, and not all of them in one place.
//!
//! Copies are always on nodes with different keys. Beyond that a node is *apart* from another when it names another
//! operator's account and its address lies in another network (IPv4 /24, IPv6 /48), as far as either is known; private
//! and loopback addresses say nothing. Nodes that are apart from every copy so far come first, then those that have the
//! content already, then by distance in steps of doubling, then by the room that they offer.

use std::cmp::Reverse;
use std::net::IpAddr;

use adit_model::{AccountId, NodeId};

/// Round trips below this are equally short, in microseconds.
const NEAR_US: u64 = 1000;
/// Assumed for a node never measured.
const UNKNOWN_US: u64 = 50_000;

/// The part of an address that neighbours share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Area {
    /// The first three bytes of an IPv4 address.
    V4([u8; 3]),
    /// The first six bytes of an IPv6 address.
    V6([u8; 6]),
}

impl Area {
    /// The area of a public address.
    pub fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                let own = ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified();
                (!own).then_some(Area::V4([a, b, c]))
            }
            IpAddr::V6(ip) => {
                let o = ip.octets();
                let own =
                    ip.is_loopback() || ip.is_unspecified() || o[0] & 0xfe == 0xfc || o[..2] == [0xfe, 0x80];
                (!own).then_some(Area::V6([o[0], o[1], o[2], o[3], o[4], o[5]]))
            }
        }
    }
}

/// Where a node stands, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stand {
    /// Whose it says to be.
    pub operator: Option<AccountId>,
    /// Where it is connected.
    pub areas: Vec<Area>,
}

impl Stand {
    /// Whether one event (an operator's mistake, a line that is cut) is likely to take both.
    fn shares_fate(&self, other: &Stand) -> bool {
        let operator = self.operator.is_some() && self.operator == other.operator;
        operator || self.areas.iter().any(|area| other.areas.contains(area))
    }
}

/// A node that would keep a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which.
    pub node: NodeId,
    /// Where it stands.
    pub stand: Stand,
    /// Round trip, in microseconds.
    pub rtt_us: Option<u64>,
    /// Bytes that it has left for us.
    pub free: u64,
    /// Whether it has the content already.
    pub have: bool,
}

/// Offers in the order in which they are taken up; who hasn't room for `bytes` is left out. `copies` are where copies
/// are already, the owner's own among them.
pub fn order(mut offers: Vec<Offer>, copies: &[Stand], bytes: u64) -> Vec<NodeId> {
    offers.retain(|offer| offer.have || offer.free >= bytes);
    let mut copies = copies.to_vec();
    let mut order: Vec<NodeId> = Vec::with_capacity(offers.len());
    while !offers.is_empty() {
        let key = |offer: &Offer| {
            let together = copies.iter().any(|copy| copy.shares_fate(&offer.stand));
            let steps = (offer.rtt_us.unwrap_or(UNKNOWN_US) / NEAR_US).checked_ilog2().map_or(0, |n| n + 1);
            (together, !offer.have, steps, Reverse(offer.free), offer.node)
        };
        let best = (0..offers.len()).min_by_key(|&i| key(&offers[i])).unwrap_or_default();
        let offer = offers.swap_remove(best);
        copies.push(offer.stand);
        if !order.contains(&offer.node) {
            order.push(offer.node);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_ed25519([n; 32])
    }

    fn offer(n: u8, rtt_us: u64, free: u64) -> Offer {
        let stand = Stand { operator: Some(AccountId([n; 20])), areas: Vec::new() };
        Offer { node: node(n), stand, rtt_us: Some(rtt_us), free, have: false }
    }

    fn area(ip: &str) -> Option<Area> {
        Area::of(ip.parse().unwrap())
    }

    #[test]
    fn the_near_come_first_and_among_those_the_roomy() {
        let offers = vec![offer(1, 60_000, 1 << 40), offer(2, 9_000, 1 << 30), offer(3, 10_000, 1 << 35)];
        // 9 and 10 ms are about as far.
        assert_eq!(order(offers, &[], 1000), [node(3), node(2), node(1)]);
        let near = vec![offer(1, 300, 5000), offer(2, 900, 6000), offer(3, 0, 999)];
        assert_eq!(order(near, &[], 1000), [node(2), node(1)], "who has no room is not asked");
    }

    #[test]
    fn a_copy_that_is_there_costs_nothing() {
        let there = Offer { have: true, free: 0, ..offer(9, 200_000, 0) };
        assert_eq!(order(vec![offer(1, 100, 5000), there], &[], 1000), [node(9), node(1)]);
    }

    #[test]
    fn copies_are_spread_over_operators_and_networks() {
        let owner =
            Stand { operator: Some(AccountId([1; 20])), areas: area("203.0.113.5").into_iter().collect() };
        let at = |n: u8, rtt_us, ip: &str| {
            let mut offer = offer(n, rtt_us, 5000);
            offer.stand.areas.extend(area(ip));
            offer
        };
        let neighbour = at(5, 100, "203.0.113.9");
        let mut same_operator = at(1, 100, "198.51.100.1");
        same_operator.node = node(77);
        let (far, farther) = (at(6, 40_000, "192.0.2.1"), at(7, 90_000, "192.0.2.200"));
        let third = at(8, 150_000, "192.0.3.1");
        let all = vec![neighbour, same_operator, far, farther, third];
        let got = order(all, &[owner], 1000);
        // 7 is in the network of 6, so the distant 8 comes before it.
        assert_eq!(got[..2], [node(6), node(8)]);
        assert_eq!(got.len(), 5, "better together than not at all");
        assert_eq!(area("127.0.0.1"), None);
        assert_eq!(area("10.1.2.3"), None);
        assert_eq!(area("fd00::1"), None);
    }

    proptest! {
        /// Everybody with room is in the list once, in whatever order they came.
        #[test]
        fn nobody_is_lost_or_doubled(
            offers in proptest::collection::vec((any::<u8>(), 0u64..200_000, 0u64..2000, any::<bool>()), 0..20),
            turn in 0usize..20,
        ) {
            let make = |&(n, rtt, free, have): &(u8, u64, u64, bool)| Offer { have, ..offer(n, rtt, free) };
            let mut offers: Vec<Offer> = offers.iter().map(make).collect();
            offers.sort_by_key(|o| o.node);
            offers.dedup_by_key(|o| o.node);
            let mut turned = offers.clone();
            turned.rotate_left(turn % offers.len().max(1));
            let ordered = order(offers.clone(), &[], 1000);
            prop_assert_eq!(&ordered, &order(turned, &[], 1000));
            let fits = offers.iter().filter(|o| o.have || o.free >= 1000).count();
            prop_assert_eq!(ordered.len(), fits);
        }
    }
}
