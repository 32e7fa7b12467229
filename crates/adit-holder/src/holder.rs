//! All objects of which shares are held here, with one key and one database.

use crate::group::{Group, Object, Out};
use crate::keep::{Keep, KeepError, Row};
use crate::marks::Mark;
use crate::wire::{Distrust, Packet};
use adit_model::{AccountId, AccountSecret, SignerId};
use adit_release::{Chain, Head, Id, Use};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Most bytes of one packet between holders.
pub const MOST_PACKET_BYTES: usize = 64 << 20;

/// Most objects of one holder.
const MOST_OBJECTS: usize = 100_000;

/// Reads what owners have signed.
pub trait Words {
    /// The head that these signed bytes say governs an object, if they are its owner's.
    fn head(&self, object: &Object, words: &[u8]) -> Option<Head>;
}

/// Something that arrived.
#[derive(Debug, Clone)]
pub enum Input {
    /// Another holder's packet, from wherever.
    Packet(Bytes),
    /// The owner's word on an object.
    Words { grant: Id, words: Bytes },
    /// Somebody whose wish was found good would like a slot. Answered with [`Effect::Reserved`].
    Reserve { grant: Id, used: Use },
    /// Somebody whose wish was found good has these reservations. Answered with [`Effect::Given`], once witnesses have
    /// it in their logs.
    Commit { grant: Id, used: Use, reservations: Vec<Reservation> },
    /// Somebody's wish was refused, for a reason with this number: to be written down.
    Refused { grant: Id, invocation: Id, reason: u8 },
    /// A second or so went by.
    Tick,
}

/// Something to do, after [`Holder::turn`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send a packet to another holder. It may get lost.
    Send { to: AccountId, packet: Bytes },
    /// A slot is kept for an invocation for a moment.
    Reserved(Reservation),
    /// A slot was given to an invocation for ever: its share may be sealed to it. The entry of the log, with this
    /// holder's signature, is the receipt.
    Given { grant: Id, used: Use, entry: Id, mark: Mark },
    /// Nothing is given. `input` is its place among those of this turn.
    Refused { input: usize, why: Refusal },
    /// A packet was thrown away.
    Distrusted { input: usize, why: Distrust },
}

/// Why nothing is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no share of this object is held here")]
    UnknownObject,
    #[error("this is not a word of the object's owner")]
    NotByOwner,
    #[error("the object's log is full: its owner can seal the object to new shares")]
    LogFull,
    #[error("a reservation is not signed by its holder, or for another use")]
    ForgedReservation,
    #[error(transparent)]
    Rule(#[from] adit_release::Refusal),
}

/// A holder can't go on. What it did in this turn was not made durable, and nothing of it may be sent: drop it, and open
/// it again.
#[derive(Debug, thiserror::Error)]
pub enum HolderError {
    #[error(transparent)]
    Keep(#[from] KeepError),
    #[error("the grant names no sound number of holders, or not this one at the place it says")]
    Unsound,
    #[error("this object is held already, by another grant with the same digest or at another place")]
    Other,
    #[error("shares of {MOST_OBJECTS} objects are held here: no more")]
    TooMany,
    #[error("the holder stopped when its disk failed: open it again")]
    Stopped,
    #[error("the system gave no random bytes")]
    NoRandomness,
}

/// A holder's word that it keeps a slot for an invocation for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reservation {
    /// The object's grant.
    pub grant: Id,
    /// Whose word, by its place among the holders.
    pub holder: u8,
    /// The slot, and for whom.
    pub used: Use,
    /// Unix milliseconds by the holder's clock.
    pub until: u64,
    /// Its signature.
    pub mark: Mark,
}

impl Reservation {
    fn digest(grant: &Id, holder: u8, used: &Use, until: u64) -> [u8; 32] {
        let hash = Sha256::new().chain_update(b"adit/holder-reserve/1\0").chain_update(grant.0);
        let hash =
            hash.chain_update([holder]).chain_update(used.policy.0).chain_update(used.slot.to_be_bytes());
        hash.chain_update(used.invocation.0).chain_update(until.to_be_bytes()).finalize().into()
    }

    fn holds(&self, object: &Object, used: &Use) -> bool {
        let digest = Self::digest(&self.grant, self.holder, &self.used, self.until);
        let by = object.holders.get(usize::from(self.holder));
        self.grant == object.grant
            && self.used == *used
            && by.is_some_and(|by| by.check(&digest, &self.mark.0).is_ok())
    }
}

/// All objects of which shares are held here.
pub struct Holder<W> {
    secret: AccountSecret,
    keep: Keep,
    words: W,
    groups: BTreeMap<Id, Group>,
    stopped: bool,
}

type Step = (Vec<Row>, Vec<Out>);

impl<W: Words> Holder<W> {
    /// Opens what is held in a directory, which must exist and belong to this process alone. Every object starts by
    /// asking the other holders; the effects are those questions.
    ///
    /// # Errors
    /// The disk.
    pub fn open(dir: &Path, secret: AccountSecret, words: W) -> Result<(Self, Vec<Effect>), HolderError> {
        let keep = Keep::open(dir)?;
        let mut holder = Self { secret, keep, words, groups: BTreeMap::new(), stopped: false };
        let mut steps = Vec::new();
        for (object, stored) in holder.keep.all()? {
            let grant = object.grant;
            let terms = holder.sound(&object).ok_or(KeepError::Damaged { what: "object" })?;
            let (group, rows, out) = Group::open(object, terms, stored, nonce()?, &holder.secret);
            holder.groups.insert(grant, group);
            steps.push((grant, (rows, out)));
        }
        let effects = holder.done(steps, Vec::new())?;
        Ok((holder, effects))
    }

    /// Whose key it has.
    pub fn account(&self) -> AccountId {
        self.secret.account()
    }

    /// What is held here, by grant.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.groups.values().map(|group| &group.object)
    }

    /// A holder's log about an object, as far as it is known here, with each entry's signature.
    pub fn log(&self, grant: &Id, holder: u8) -> Option<(&Chain, Vec<Mark>)> {
        let group = self.groups.get(grant)?;
        let chain = group.book.chain(holder)?;
        let marks = (1..=chain.len()).map(|len| group.mark(&chain.tip_at(len)?)).collect::<Option<_>>()?;
        Some((chain, marks))
    }

    /// What governs an object, as far as is known here, with the owner's words where they are.
    pub fn head(&self, grant: &Id) -> Option<(Head, Option<&Bytes>)> {
        let group = self.groups.get(grant)?;
        let head = *group.book.head();
        Some((head, group.words().filter(|(said, _)| *said == head).map(|(_, words)| words)))
    }

    /// Whether it has heard enough other holders of an object to give anything.
    pub fn is_serving(&self, grant: &Id) -> bool {
        self.groups.get(grant).is_some_and(|group| group.book.is_serving())
    }

    /// The least slot that nobody was given here.
    pub fn free_slot(&self, grant: &Id) -> Option<u32> {
        self.groups.get(grant)?.book.free_slot()
    }

    /// Takes a share of an object, durably. The same again changes nothing.
    ///
    /// # Errors
    /// The grant is not for this holder, or the disk.
    pub fn enrol(&mut self, object: Object) -> Result<Vec<Effect>, HolderError> {
        self.going()?;
        let terms = self.sound(&object).ok_or(HolderError::Unsound)?;
        match self.groups.get(&object.grant) {
            Some(group) if group.object == object => return Ok(Vec::new()),
            Some(_) => return Err(HolderError::Other),
            None if self.groups.len() >= MOST_OBJECTS => return Err(HolderError::TooMany),
            None => {}
        }
        let grant = object.grant;
        let (group, mut rows, out) =
            Group::open(object.clone(), terms, Default::default(), nonce()?, &self.secret);
        rows.insert(0, Row::Object(object));
        self.groups.insert(grant, group);
        self.done(vec![(grant, (rows, out))], Vec::new())
    }

    /// Takes what arrived, syncs once, and says what to do. `now` is Unix time in milliseconds.
    ///
    /// # Errors
    /// The disk failed. Nothing of this turn counts.
    pub fn turn(&mut self, inputs: Vec<Input>, now: u64) -> Result<Vec<Effect>, HolderError> {
        self.going()?;
        let (mut steps, mut effects) = (Vec::new(), Vec::new());
        for (input, what) in inputs.into_iter().enumerate() {
            match what {
                Input::Packet(packet) => match self.packet(&packet, now) {
                    Ok(step) => steps.push(step),
                    Err(why) => effects.push(Effect::Distrusted { input, why }),
                },
                Input::Tick => {
                    let each = self.groups.iter_mut();
                    steps.extend(each.map(|(grant, group)| (*grant, group.tick(&self.secret))));
                }
                Input::Refused { grant, invocation, reason } => {
                    if let Some(group) = self.groups.get_mut(&grant) {
                        steps.push((grant, group.note_refusal(invocation, reason, &self.secret, now)));
                    }
                }
                Input::Reserve { grant, used } => match self.reserve(grant, used, now) {
                    Ok(reservation) => effects.push(Effect::Reserved(reservation)),
                    Err(why) => effects.push(Effect::Refused { input, why }),
                },
                Input::Words { grant, words } => match self.hear_owner(grant, words, now) {
                    Ok(step) => steps.push((grant, step)),
                    Err(why) => effects.push(Effect::Refused { input, why }),
                },
                Input::Commit { grant, used, reservations } => {
                    match self.commit(grant, used, &reservations, now) {
                        Ok(step) => steps.push((grant, step)),
                        Err(why) => effects.push(Effect::Refused { input, why }),
                    }
                }
            }
        }
        self.done(steps, effects)
    }

    fn going(&self) -> Result<(), HolderError> {
        if self.stopped { Err(HolderError::Stopped) } else { Ok(()) }
    }

    fn sound(&self, object: &Object) -> Option<adit_release::Terms> {
        let terms = object.terms()?;
        (object.holders[usize::from(object.me)] == self.account()).then_some(terms)
    }

    fn packet(&mut self, packet: &[u8], now: u64) -> Result<(Id, Step), Distrust> {
        let packet = Packet::read(packet)?;
        let grant = packet.grant();
        let group = self.groups.get_mut(&grant).ok_or(Distrust::UnknownObject)?;
        let object = group.object.clone();
        let step = group.hear(packet, |words| self.words.head(&object, words), &self.secret, now)?;
        Ok((grant, step))
    }

    fn hear_owner(&mut self, grant: Id, words: Bytes, now: u64) -> Result<Step, Refusal> {
        let group = self.groups.get_mut(&grant).ok_or(Refusal::UnknownObject)?;
        let head = self.words.head(&group.object, &words).ok_or(Refusal::NotByOwner)?;
        Ok(group.hear_owner(head, words, &self.secret, now)?)
    }

    fn reserve(&mut self, grant: Id, used: Use, now: u64) -> Result<Reservation, Refusal> {
        let group = self.groups.get_mut(&grant).ok_or(Refusal::UnknownObject)?;
        if group.is_full() {
            return Err(Refusal::LogFull);
        }
        let until = group.book.reserve(used, now)?;
        let holder = group.object.me;
        let mark = Mark(AccountId::sign(&self.secret, &Reservation::digest(&grant, holder, &used, until)));
        Ok(Reservation { grant, holder, used, until, mark })
    }

    fn commit(
        &mut self,
        grant: Id,
        used: Use,
        reservations: &[Reservation],
        now: u64,
    ) -> Result<Step, Refusal> {
        let group = self.groups.get_mut(&grant).ok_or(Refusal::UnknownObject)?;
        if group.is_full() {
            return Err(Refusal::LogFull);
        }
        if reservations.len() > group.object.holders.len() {
            return Err(Refusal::ForgedReservation);
        }
        if !reservations.iter().all(|reservation| reservation.holds(&group.object, &used)) {
            return Err(Refusal::ForgedReservation);
        }
        let by: BTreeSet<_> = reservations.iter().map(|reservation| reservation.holder).collect();
        let by: Vec<_> = by.into_iter().collect();
        Ok(group.commit(used, &by, &self.secret, now)?)
    }

    /// Makes everything durable in one sync, and only then says what to do.
    fn done(&mut self, steps: Vec<(Id, Step)>, mut effects: Vec<Effect>) -> Result<Vec<Effect>, HolderError> {
        let rows: Vec<_> =
            steps.iter().flat_map(|(grant, (rows, _))| rows.iter().map(|row| (*grant, row))).collect();
        if !rows.is_empty()
            && let Err(error) = self.keep.put(rows)
        {
            self.stopped = true;
            return Err(error.into());
        }
        for (grant, (_, out)) in steps {
            effects.extend(out.into_iter().map(|out| match out {
                Out::Send { to, packet } => Effect::Send { to, packet },
                Out::Release { used, entry } => {
                    let mark = self.groups[&grant].mark(&entry).expect("it stands in the log");
                    Effect::Given { grant, used, entry, mark }
                }
            }));
        }
        Ok(effects)
    }
}

fn nonce() -> Result<u64, HolderError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|_| HolderError::NoRandomness)?;
    Ok(u64::from_be_bytes(bytes))
}
