//! Which advertisements are kept.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use adit_model::{Advertisement, DecodeError, NodeId, SignatureError, Signed, Verified};
use libp2p::PeerId;
use parking_lot::Mutex;

use super::{Advert, AliasError, MAX_ADVERTISEMENT, peer_of, verify_alias};
use crate::NetworkName;

/// Clocks of honest nodes differ by less, in seconds.
const SKEW: u64 = 120;
/// No node may claim to be there for longer than this without saying so again, in seconds.
const MAX_LIFETIME: u64 = 24 * 3600;
/// Advertisements one neighbour may tell us at once, and one a second on top. Checking a signature
/// takes some 50 µs, and an alias as long again: this bounds what a neighbour can make us spend.
const BURST: f64 = 600.0;
const RATE: f64 = 1.0;
/// Nodes that are taken to stand beside one Kubo: its owner may sign for as many as they like.
const BESIDE: usize = 8;

/// Why an advertisement is not taken.
#[derive(Debug, thiserror::Error)]
pub enum AdvertError {
    /// Over [`MAX_ADVERTISEMENT`].
    #[error("an advertisement of {0} bytes is over the limit of {MAX_ADVERTISEMENT}")]
    TooLong(usize),
    /// Not a well-formed signed advertisement.
    #[error("malformed advertisement")]
    Malformed(#[from] DecodeError),
    /// Of another network.
    #[error("the advertisement is for network {0:?}")]
    Network(String),
    /// Expired, not yet valid, or valid for too long.
    #[error("the advertisement does not hold now, or for too long")]
    Time,
    /// The signature is not the node's.
    #[error("the advertisement's signature does not hold")]
    Signature(#[from] SignatureError),
    /// The Kubo that the node names has not said so.
    #[error("the advertisement's alias is not believed")]
    Alias(#[from] AliasError),
    /// The neighbour tells too many.
    #[error("too many advertisements from one peer")]
    TooMany,
    /// To publish: it is not about this node.
    #[error("the advertisement is another node's")]
    NotMine,
    /// The network has ended.
    #[error(transparent)]
    Closed(#[from] crate::NetClosed),
}

/// What became of one.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is news: pass it on.
    News(Advert),
    /// We have it, or a later one.
    Known,
    /// There is no room.
    Full,
}

/// The advertisements of a network, bounded, the latest of each node.
#[derive(Debug)]
pub(crate) struct AdvertBook {
    me: PeerId,
    network: NetworkName,
    max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    adverts: HashMap<PeerId, Entry>,
    own: Option<Advert>,
    allowances: HashMap<PeerId, Allowance>,
}

#[derive(Debug)]
struct Entry {
    advert: Advert,
    /// The Kubo that says that the node stands beside it.
    beside: Option<PeerId>,
    /// Whether the node itself told us, so that it is more than a name someone made up.
    direct: bool,
}

#[derive(Debug)]
struct Allowance {
    left: f64,
    at: Instant,
}

impl AdvertBook {
    pub(crate) fn new(me: PeerId, network: NetworkName, max: usize) -> Self {
        Self { me, network, max: max.max(1), kept: Mutex::default() }
    }

    /// Checks what a neighbour told us, cheapest checks first, and keeps it if it is news.
    /// Signatures are checked without holding the lock.
    pub(crate) fn consider(
        &self,
        block: &[u8],
        from: PeerId,
        unix: u64,
        now: Instant,
    ) -> Result<Outcome, AdvertError> {
        if block.len() > MAX_ADVERTISEMENT {
            return Err(AdvertError::TooLong(block.len()));
        }
        if !self.kept.lock().allow(from, now) {
            return Err(AdvertError::TooMany);
        }
        let signed = Signed::<Advertisement>::decode(block)?;
        let body = signed.body();
        self.check(body, unix)?;
        let peer = peer_of(&body.node);
        if peer == self.me || self.kept.lock().has(peer, body.issued, peer == from) {
            return Ok(Outcome::Known);
        }
        let advert = Arc::new(signed.verify()?);
        let beside = verify_alias(advert.body())?;
        Ok(self.kept.lock().keep(peer, advert, beside, peer == from, self.max, unix))
    }

    /// Takes what this node says of itself.
    pub(crate) fn set_own(&self, advert: Verified<Advertisement>, unix: u64) -> Result<Advert, AdvertError> {
        if advert.block().len() > MAX_ADVERTISEMENT {
            return Err(AdvertError::TooLong(advert.block().len()));
        }
        if peer_of(&advert.body().node) != self.me {
            return Err(AdvertError::NotMine);
        }
        self.check(advert.body(), unix)?;
        verify_alias(advert.body())?;
        let advert = Arc::new(advert);
        self.kept.lock().own = Some(Arc::clone(&advert));
        Ok(advert)
    }

    fn check(&self, body: &Advertisement, unix: u64) -> Result<(), AdvertError> {
        if body.network != self.network.as_str() {
            return Err(AdvertError::Network(body.network.clone()));
        }
        let too_long = body.expires.saturating_sub(body.issued) > MAX_LIFETIME;
        if unix >= body.expires || body.issued > unix + SKEW || too_long {
            return Err(AdvertError::Time);
        }
        Ok(())
    }

    pub(crate) fn own(&self) -> Option<Advert> {
        self.kept.lock().own.clone()
    }

    /// The latest of each other node that holds now.
    pub(crate) fn list(&self, unix: u64) -> Vec<(PeerId, Advert)> {
        let kept = self.kept.lock();
        let holds = kept.adverts.iter().filter(|(_, e)| unix < e.advert.body().expires);
        holds.map(|(peer, e)| (*peer, Arc::clone(&e.advert))).collect()
    }

    /// The nodes beside each Kubo, the most lately heard of first, at most [`BESIDE`] of each.
    pub(crate) fn beside(&self, unix: u64) -> HashMap<PeerId, Vec<NodeId>> {
        let kept = self.kept.lock();
        let mut found: HashMap<PeerId, Vec<(u64, NodeId)>> = HashMap::new();
        for entry in kept.adverts.values() {
            let body = entry.advert.body();
            if let Some(kubo) = entry.beside.filter(|_| unix < body.expires) {
                found.entry(kubo).or_default().push((body.issued, body.node));
            }
        }
        let first = |mut nodes: Vec<(u64, NodeId)>| {
            nodes.sort_unstable_by_key(|node| std::cmp::Reverse(*node));
            nodes.into_iter().take(BESIDE).map(|(_, node)| node).collect()
        };
        found.into_iter().map(|(kubo, nodes)| (kubo, first(nodes))).collect()
    }

    pub(crate) fn get(&self, peer: &PeerId, unix: u64) -> Option<Advert> {
        let kept = self.kept.lock();
        let entry = kept.adverts.get(peer).filter(|e| unix < e.advert.body().expires)?;
        Some(Arc::clone(&entry.advert))
    }

    /// Our own and then the latest of others, to hand to a node that has just connected.
    pub(crate) fn to_tell(&self, limit: usize, unix: u64) -> Vec<Advert> {
        let mut others: Vec<Advert> = self.list(unix).into_iter().map(|(_, advert)| advert).collect();
        others.sort_by_key(|a| std::cmp::Reverse(a.body().issued));
        self.own().into_iter().chain(others).take(limit).collect()
    }

    /// Forgets what has expired, and the allowances of neighbours that were long quiet.
    pub(crate) fn sweep(&self, unix: u64, now: Instant) {
        let mut kept = self.kept.lock();
        kept.adverts.retain(|_, e| unix < e.advert.body().expires);
        let full = Duration::from_secs_f64(BURST / RATE);
        kept.allowances.retain(|_, a| now.saturating_duration_since(a.at) < full);
    }
}

impl Kept {
    fn allow(&mut self, from: PeerId, now: Instant) -> bool {
        let allowance = self.allowances.entry(from).or_insert(Allowance { left: BURST, at: now });
        let earned = now.saturating_duration_since(allowance.at).as_secs_f64() * RATE;
        allowance.left = (allowance.left + earned).min(BURST);
        allowance.at = now;
        let allowed = allowance.left >= 1.0;
        if allowed {
            allowance.left -= 1.0;
        }
        allowed
    }

    fn has(&mut self, peer: PeerId, issued: u64, direct: bool) -> bool {
        let Some(entry) = self.adverts.get_mut(&peer) else { return false };
        let known = entry.advert.body().issued >= issued;
        // The same one, now from the node itself. The connection proves that it lives.
        entry.direct |= known && direct;
        known
    }

    fn keep(
        &mut self,
        peer: PeerId,
        advert: Advert,
        beside: Option<PeerId>,
        direct: bool,
        max: usize,
        unix: u64,
    ) -> Outcome {
        if self.has(peer, advert.body().issued, direct) {
            return Outcome::Known;
        }
        if self.adverts.len() >= max && !self.adverts.contains_key(&peer) {
            self.adverts.retain(|_, e| unix < e.advert.body().expires);
        }
        if self.adverts.len() >= max && !self.adverts.contains_key(&peer) {
            // Hearsay makes way for what nodes say themselves, and the oldest for the latest.
            let hearsay = self.adverts.iter().filter(|(_, e)| !e.direct);
            let oldest = hearsay.min_by_key(|(_, e)| e.advert.body().issued);
            match oldest.map(|(peer, e)| (*peer, e.advert.body().issued)) {
                Some((oldest, issued)) if direct || issued < advert.body().issued => {
                    self.adverts.remove(&oldest);
                }
                _ => return Outcome::Full,
            }
        }
        let direct = direct || self.adverts.get(&peer).is_some_and(|e| e.direct);
        self.adverts.insert(peer, Entry { advert: Arc::clone(&advert), beside, direct });
        Outcome::News(advert)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_model::{
        Abi, Abilities, Accept, AccountSecret, Alias, EvidenceKind, KuboId, NodeSecret, Profile,
    };
    use libp2p::identity::Keypair;
    use proptest::prelude::*;

    fn advert(node: &NodeSecret, network: &str, issued: u64, expires: u64) -> Verified<Advertisement> {
        aliased(node, network, issued, expires, None)
    }

    fn aliased(
        node: &NodeSecret,
        network: &str,
        issued: u64,
        expires: u64,
        alias: Option<Alias>,
    ) -> Verified<Advertisement> {
        let body = Advertisement {
            node: node.node(),
            alias,
            operator: AccountSecret::from_bytes(&[7; 32]).unwrap().account(),
            network: network.into(),
            addresses: vec!["/ip4/127.0.0.1/tcp/4711".into()],
            abilities: Abilities {
                accept: Accept::Anyone,
                abis: vec![Abi::Wasip1],
                profiles: vec![Profile::Deterministic],
                evidence: vec![EvidenceKind::None],
                runtime: "wasmtime-48/schedule-1".into(),
                workers: 2,
                memory: 1 << 30,
                output: 1 << 30,
            },
            issued,
            expires,
        };
        Signed::sign(body, node).unwrap()
    }

    fn node(n: u8) -> NodeSecret {
        NodeSecret::from_bytes(&[n.max(1); 32])
    }

    fn book(max: usize) -> AdvertBook {
        AdvertBook::new(peer_of(&node(200).node()), "devnet".parse().unwrap(), max)
    }

    #[test]
    fn only_what_is_signed_ours_and_of_now_is_taken() {
        let (book, from, now) = (book(10), PeerId::random(), Instant::now());
        let good = advert(&node(1), "devnet", 1000, 2000);
        let consider = |block: &[u8], unix| book.consider(block, from, unix, now);
        assert!(matches!(consider(good.block(), 1500), Ok(Outcome::News(_))));
        assert!(matches!(consider(good.block(), 1500), Ok(Outcome::Known)));
        let mut forged = advert(&node(2), "devnet", 1000, 2000).block().to_vec();
        let at = forged.windows(4).position(|w| w == b"4711").unwrap();
        forged[at] = b'5';
        assert!(matches!(consider(&forged, 1500), Err(AdvertError::Signature(_))));
        for (network, issued, expires) in
            [("devnet", 1000, 1500), ("devnet", 1621, 2000), ("devnet", 1000, 1001 + MAX_LIFETIME)]
        {
            let stale = advert(&node(3), network, issued, expires);
            assert!(matches!(consider(stale.block(), 1500), Err(AdvertError::Time)), "{issued} {expires}");
        }
        let foreign = advert(&node(3), "ipfs", 1000, 2000);
        assert!(matches!(consider(foreign.block(), 1500), Err(AdvertError::Network(_))));
        assert!(matches!(consider(&[0; MAX_ADVERTISEMENT + 1], 1500), Err(AdvertError::TooLong(_))));
        assert!(matches!(consider(b"nonsense", 1500), Err(AdvertError::Malformed(_))));
        let own = advert(&node(200), "devnet", 1000, 2000);
        assert!(matches!(consider(own.block(), 1500), Ok(Outcome::Known)), "nobody tells us about us");
        assert!(matches!(book.set_own(good, 1500), Err(AdvertError::NotMine)));
        assert_eq!(book.list(1999).len(), 1);
        assert_eq!(book.list(2000).len(), 0);
    }

    /// What a Kubo with this key signs, by `ipfs key sign`.
    fn alias(key: &Keypair, node: &NodeSecret, network: &str, issued: u64, expires: u64) -> Alias {
        let peer = KuboId::from_bytes(&key.public().to_peer_id().to_bytes()).unwrap();
        let protobuf = peer.inline_key().is_none().then(|| key.public().encode_protobuf().into());
        let mut alias = Alias { peer, key: protobuf, sig: vec![0].into(), issued, expires };
        alias.sig = key.sign(&alias.signed_bytes(node.node(), network)).unwrap().into();
        alias
    }

    /// A 2048-bit RSA key of this test alone, as PKCS #8.
    const RSA: &[u8] = include_bytes!("../../tests/rsa-2048.pk8");

    #[test]
    fn an_alias_is_believed_from_whom_it_names_alone() {
        let (book, from, now) = (book(10), PeerId::random(), Instant::now());
        let (ed25519, rsa) =
            (Keypair::generate_ed25519(), Keypair::rsa_from_pkcs8(&mut RSA.to_vec()).unwrap());
        let consider = |node: &NodeSecret, alias| {
            let advert = aliased(node, "devnet", 1000, 2000, Some(alias));
            book.consider(advert.block(), from, 1500, now)
        };
        for (n, kubo) in [(1, &ed25519), (2, &rsa), (3, &rsa)] {
            let alias = alias(kubo, &node(n), "devnet", 1000, 2000);
            assert!(matches!(consider(&node(n), alias), Ok(Outcome::News(_))));
        }
        let beside = book.beside(1999);
        assert_eq!(beside[&ed25519.public().to_peer_id()], [node(1).node()]);
        let mut both = beside[&rsa.public().to_peer_id()].clone();
        both.sort();
        let mut expected = vec![node(2).node(), node(3).node()];
        expected.sort();
        assert_eq!(both, expected);
        assert!(book.beside(2000).is_empty(), "an advertisement takes its alias along");

        // For another node, another network, another time, or by another key.
        let mut expired = alias(&ed25519, &node(4), "devnet", 900, 1400);
        expired.expires = 2000;
        let mut by_another = alias(&rsa, &node(4), "devnet", 1000, 2000);
        by_another.peer = alias(&ed25519, &node(4), "devnet", 1000, 2000).peer;
        by_another.key = None;
        let mut cut = alias(&rsa, &node(4), "devnet", 1000, 2000);
        cut.sig.truncate(100);
        for forged in [
            alias(&ed25519, &node(1), "devnet", 1000, 2000),
            alias(&rsa, &node(1), "devnet", 1000, 2000),
            alias(&ed25519, &node(4), "ipfs", 1000, 2000),
            expired,
            by_another,
            cut,
        ] {
            let considered = consider(&node(4), forged);
            assert!(matches!(considered, Err(AdvertError::Alias(AliasError::Signature))), "{considered:?}");
        }
        // A key that is not the one that the peer id is a hash of.
        let other = Keypair::generate_ed25519();
        let mut swapped = alias(&rsa, &node(4), "devnet", 1000, 2000);
        swapped.key = Some(other.public().encode_protobuf().into());
        swapped.sig = other.sign(&swapped.signed_bytes(node(4).node(), "devnet")).unwrap().into();
        assert!(matches!(consider(&node(4), swapped), Err(AdvertError::Alias(AliasError::Peer))));
        let mut nonsense = alias(&rsa, &node(4), "devnet", 1000, 2000);
        nonsense.key = Some(vec![8, 0, 18, 1, 1].into());
        assert!(matches!(consider(&node(4), nonsense), Err(AdvertError::Alias(AliasError::Key))));
        let own =
            aliased(&node(200), "devnet", 1000, 2000, Some(alias(&rsa, &node(1), "devnet", 1000, 2000)));
        assert!(matches!(book.set_own(own, 1500), Err(AdvertError::Alias(_))));
    }

    #[test]
    fn one_neighbour_can_not_make_us_check_without_end() {
        let (book, flood, other, now) = (book(10), PeerId::random(), PeerId::random(), Instant::now());
        let refused = |n: usize, from, now| {
            let results = (0..n).map(|_| book.consider(b"x", from, 1500, now));
            results.filter(|r| matches!(r, Err(AdvertError::TooMany))).count()
        };
        assert_eq!(refused(700, flood, now), 100);
        assert_eq!(refused(10, other, now), 0);
        assert_eq!(refused(10, flood, now + Duration::from_secs(4)), 6);
        book.sweep(1500, now + Duration::from_secs(100_000));
        assert!(book.kept.lock().allowances.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// In whatever order they come: the book holds at most its bound, of each node only the
        /// latest, and a node that told us itself is never pushed out by hearsay.
        #[test]
        fn any_order_keeps_the_latest_within_bounds(
            told in proptest::collection::vec((1u8..12, 1000u64..1400, any::<bool>()), 1..40),
        ) {
            let (book, now) = (book(4), Instant::now());
            let mut latest: HashMap<PeerId, u64> = HashMap::new();
            let mut direct_kept = Vec::new();
            for (n, issued, direct) in told {
                let secret = node(n);
                let peer = peer_of(&secret.node());
                let from = if direct { peer } else { PeerId::random() };
                let outcome =
                    book.consider(advert(&secret, "devnet", issued, 2000).block(), from, 1500, now).unwrap();
                let latest = latest.entry(peer).or_default();
                if matches!(outcome, Outcome::News(_)) {
                    *latest = issued;
                    if direct && !direct_kept.contains(&peer) {
                        direct_kept.push(peer);
                    }
                }
                let list = book.list(1500);
                prop_assert!(list.len() <= 4);
                for (peer, advert) in &list {
                    prop_assert!(advert.body().issued <= 1400 && peer_of(&advert.body().node) == *peer);
                }
                for peer in direct_kept.iter().take(4) {
                    prop_assert!(list.iter().any(|(p, _)| p == peer));
                }
            }
        }
    }
}
