//! Holders of one object with real databases, and a network that delivers what it is told to.

use adit_holder::{Effect, Head, Holder, Id, Input, Object, Refusal, Reservation, Use, Words};
use adit_model::{AccountId, AccountSecret, SignerId};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tempfile::TempDir;

pub(crate) const GRANT: Id = Id([9; 32]);
pub(crate) const POLICY: Id = Id([7; 32]);

/// Owners' words as these tests sign them: number, policy, uses, signature. The object's grant is the owner's account.
pub(crate) struct Owner;

pub(crate) fn say(owner: &AccountSecret, head: Head) -> Bytes {
    let mut bytes = head.number.to_be_bytes().to_vec();
    bytes.extend(head.policy.map_or([0; 32], |policy| policy.0));
    bytes.extend(head.uses.to_be_bytes());
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    bytes.extend(AccountId::sign(owner, &digest));
    bytes.into()
}

impl Words for Owner {
    fn head(&self, object: &Object, words: &[u8]) -> Option<Head> {
        let (said, signature) = words.split_last_chunk::<65>()?;
        let digest: [u8; 32] = Sha256::digest(said).into();
        let owner: AccountId = std::str::from_utf8(&object.signed).ok()?.parse().ok()?;
        owner.check(&digest, signature).ok()?;
        let (number, rest) = said.split_first_chunk()?;
        let (policy, rest) = rest.split_first_chunk::<32>()?;
        let uses = u32::from_be_bytes(rest.try_into().ok()?);
        let policy = (*policy != [0; 32]).then_some(Id(*policy));
        Some(Head { number: u64::from_be_bytes(*number), policy, uses })
    }
}

pub(crate) fn secret(number: u8) -> AccountSecret {
    AccountSecret::from_bytes(&[number; 32]).unwrap()
}

pub(crate) fn owner() -> AccountSecret {
    secret(99)
}

/// The first word of the owner: two uses.
pub(crate) const FIRST: Head = Head { number: 1, policy: Some(POLICY), uses: 2 };

pub(crate) struct World {
    n: u8,
    k: u8,
    dirs: Vec<TempDir>,
    holders: Vec<Option<Holder<Owner>>>,
    pub(crate) under_way: VecDeque<(AccountId, Bytes)>,
    /// Who has given what to whom.
    pub(crate) given: BTreeMap<Use, BTreeSet<u8>>,
    pub(crate) now: u64,
}

impl World {
    /// A group that serves and has heard the owner.
    pub(crate) fn new(n: u8, k: u8) -> Self {
        let dirs: Vec<_> = (0..n).map(|_| tempfile::tempdir().unwrap()).collect();
        let mut world = Self {
            n,
            k,
            dirs,
            holders: (0..n).map(|_| None).collect(),
            under_way: VecDeque::new(),
            given: BTreeMap::new(),
            now: 1_800_000_000_000,
        };
        for holder in 0..n {
            world.open(holder);
            world.enrol(holder);
        }
        world.settle();
        for holder in 0..n {
            assert_eq!(world.words(holder, say(&owner(), FIRST)), None);
        }
        world.settle();
        world
    }

    pub(crate) fn object(&self, me: u8) -> Object {
        Object {
            grant: GRANT,
            holders: (0..self.n).map(|holder| secret(holder + 1).account()).collect(),
            me,
            needed: self.k,
            signed: owner().account().to_string().into_bytes(),
            share: vec![me; 48],
        }
    }

    pub(crate) fn holder(&self, holder: u8) -> &Holder<Owner> {
        self.holders[usize::from(holder)].as_ref().expect("it runs")
    }

    pub(crate) fn dir(&self, holder: u8) -> &std::path::Path {
        self.dirs[usize::from(holder)].path()
    }

    pub(crate) fn open(&mut self, holder: u8) {
        let place = usize::from(holder);
        self.holders[place] = None;
        let (opened, effects) = Holder::open(self.dirs[place].path(), secret(holder + 1), Owner).unwrap();
        self.holders[place] = Some(opened);
        self.effects(holder, effects);
    }

    /// The process ends, whatever it was about to do.
    pub(crate) fn kill(&mut self, holder: u8) {
        self.holders[usize::from(holder)] = None;
    }

    pub(crate) fn enrol(&mut self, holder: u8) {
        let object = self.object(holder);
        let effects = self.holders[usize::from(holder)].as_mut().unwrap().enrol(object).unwrap();
        self.effects(holder, effects);
    }

    /// What is on a holder's disk now.
    pub(crate) fn backup(&mut self, holder: u8) -> Vec<u8> {
        self.kill(holder);
        let bytes = std::fs::read(self.dir(holder).join("holder.redb")).unwrap();
        self.open(holder);
        bytes
    }

    /// The holder starts again with what was on its disk once.
    pub(crate) fn restore(&mut self, holder: u8, backup: &[u8]) {
        self.kill(holder);
        std::fs::write(self.dir(holder).join("holder.redb"), backup).unwrap();
        self.open(holder);
    }

    /// The holder's disk is lost; its key and its share are not.
    pub(crate) fn lose(&mut self, holder: u8) {
        self.kill(holder);
        std::fs::remove_file(self.dir(holder).join("holder.redb")).unwrap();
        self.open(holder);
        self.enrol(holder);
    }

    fn effects(&mut self, holder: u8, effects: Vec<Effect>) -> Vec<Effect> {
        let mut rest = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send { to, packet } => self.under_way.push_back((to, packet)),
                Effect::Given { used, entry, mark, .. } => {
                    assert!(
                        secret(holder + 1).account().check(&entry.0, &mark.0).is_ok(),
                        "its receipt is signed"
                    );
                    self.given.entry(used).or_default().insert(holder);
                }
                other => rest.push(other),
            }
        }
        rest
    }

    pub(crate) fn turn(&mut self, holder: u8, inputs: Vec<Input>) -> Vec<Effect> {
        let now = self.now;
        let Some(running) = &mut self.holders[usize::from(holder)] else { return Vec::new() };
        let effects = running.turn(inputs, now).unwrap();
        self.effects(holder, effects)
    }

    fn refusal(effects: &[Effect]) -> Option<Refusal> {
        effects.iter().find_map(|effect| match effect {
            Effect::Refused { why, .. } => Some(*why),
            _ => None,
        })
    }

    pub(crate) fn words(&mut self, holder: u8, words: Bytes) -> Option<Refusal> {
        Self::refusal(&self.turn(holder, vec![Input::Words { grant: GRANT, words }]))
    }

    pub(crate) fn reserve(&mut self, holder: u8, used: Use) -> Result<Reservation, Refusal> {
        let effects = self.turn(holder, vec![Input::Reserve { grant: GRANT, used }]);
        match &effects[..] {
            [Effect::Reserved(reservation)] => Ok(*reservation),
            effects => Err(Self::refusal(effects).expect("an answer")),
        }
    }

    pub(crate) fn commit(&mut self, holder: u8, used: Use, reservations: &[Reservation]) -> Option<Refusal> {
        let reservations = reservations.to_vec();
        Self::refusal(&self.turn(holder, vec![Input::Commit { grant: GRANT, used, reservations }]))
    }

    /// Everything that a requester does for one use. How many holders gave their share.
    pub(crate) fn use_slot(&mut self, used: Use) -> usize {
        let running: Vec<_> =
            (0..self.n).filter(|holder| self.holders[usize::from(*holder)].is_some()).collect();
        let reserved: Vec<_> = running.iter().filter_map(|holder| self.reserve(*holder, used).ok()).collect();
        for holder in running {
            self.commit(holder, used, &reserved);
        }
        self.settle();
        self.releases(&used)
    }

    pub(crate) fn releases(&self, used: &Use) -> usize {
        self.given.get(used).map_or(0, BTreeSet::len)
    }

    /// Delivers one packet.
    pub(crate) fn step(&mut self) -> bool {
        let Some((to, packet)) = self.under_way.pop_front() else { return false };
        let holder = (0..self.n).find(|holder| secret(holder + 1).account() == to).expect("one of us");
        let effects = self.turn(holder, vec![Input::Packet(packet)]);
        assert_eq!(effects, [], "what honest holders send is believed");
        true
    }

    /// Everything arrives, and what was not answered is said again, until nobody has anything to say.
    pub(crate) fn settle(&mut self) {
        for _ in 0..8 {
            let mut left = 10_000;
            while self.step() {
                left -= 1;
                assert!(left > 0, "the holders never stop talking");
            }
            for holder in 0..self.n {
                self.turn(holder, vec![Input::Tick]);
            }
        }
        self.under_way.clear();
    }
}

pub(crate) fn used(slot: u32, invocation: u8) -> Use {
    Use { policy: POLICY, slot, invocation: Id([invocation; 32]) }
}
