//! The desk where a holder is asked: requests in, answers out, still without sockets and clocks.
//!
//! A wish is weighed ([`weigh`](crate::weigh())) by whoever took it, with what [`Desk::grounds`] says, since that takes
//! milliseconds and needs nothing of the database. Everything else goes through [`Desk::turn`], which takes all that has
//! arrived, lets the [`Holder`](crate::Holder) sync once, and says what to answer whom. A share is given some time after
//! it was asked for, when other holders have answered: so whoever asks has a ticket, and its answer may come with a later
//! turn.

use std::collections::{BTreeMap, HashMap};

use adit_model::{AccountId, Grant, GrantCid, JobKey, Policy, PolicyHead, SealKey, Signed, Verified};
use adit_release::{Id, Use};
use adit_seal::OsRandom;
use adit_shares::{Place, SealSecret, Share};
use bytes::Bytes;
use serde_bytes::ByteBuf;

use crate::protocol::{Commit, Enrol, Given, LogAsked, LogPage, MOST_PAGE_ENTRIES, Message, Said, Welcome};
use crate::wish::signed;
use crate::{
    Effect, Good, Holder, HolderError, Input, Nonces, Object, Objection, PolicyHeads, Refusal, Reservation,
};

/// Good wishes at once whose slot is reserved or being given. Each takes some 300 bytes, and only requesters that an owner
/// allows can make one.
const MOST_WISHES: usize = 10_000;
/// How long a good wish is remembered. Reservations last for ten seconds; the rest is for slow witnesses.
const WISH_LASTS_MS: u64 = 60_000;
/// How long an answer is waited for until the asker is told to ask again.
const WITNESSES_MS: u64 = 5_000;

/// Which asker an answer is for. The driver numbers them.
pub type Ticket = u64;

/// Something that a holder is asked to do.
#[derive(Debug, Clone)]
pub enum Ask {
    /// Keep a slot for a wish that was weighed.
    Reserve(Good),
    /// Write down that a wish was refused. Answered at once by whoever weighed it.
    Refused { grant: Id, invocation: Id, reason: u8 },
    /// Give a share.
    Commit(Commit),
    /// Hear an owner.
    Said(Said),
    /// Keep a share.
    Enrol(Enrol),
    /// Another holder's packet.
    Packet(Bytes),
    /// Show part of a log.
    Log(LogAsked),
    /// A second or so went by.
    Tick,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Reserved(Reservation),
    Given(Given),
    /// It was done, durably.
    Done,
    Log(LogPage),
    Refused(Objection),
}

/// What to do after a turn.
#[derive(Debug, Default)]
pub struct Turn {
    /// Answers to askers of this turn, or of earlier ones.
    pub answers: Vec<(Ticket, Answer)>,
    /// Packets for other holders. They may get lost.
    pub send: Vec<(AccountId, Bytes)>,
}

/// For whom shares are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owners {
    /// Whoever asks.
    Anyone,
    /// These.
    Of(Vec<AccountId>),
}

/// How one object stands here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub grant: GrantCid,
    pub owner: AccountId,
    /// Whether enough other holders were heard.
    pub serving: bool,
    /// The number of the owner's newest word.
    pub head: u64,
    /// Entries of this holder's own log.
    pub entries: usize,
}

struct Wished {
    key: SealKey,
    until: u64,
    waiting: Vec<(Ticket, u64)>,
}

/// A holder with all that it needs to answer by itself.
pub struct Desk {
    holder: Holder<PolicyHeads>,
    seal: SealSecret,
    nonces: std::sync::Arc<Nonces>,
    owners: Owners,
    wished: HashMap<(Id, Use), Wished>,
    /// Grants as records: reading one of 32 holders and checking its signature takes longer than the rest of a question.
    grants: BTreeMap<Id, Verified<Grant>>,
}

impl Desk {
    /// Opens it over an open holder, whose key to seal to this is. Nonces of an earlier start are not known any more.
    ///
    /// # Errors
    /// An object without its grant is on the disk: not written by this.
    pub fn new(
        holder: Holder<PolicyHeads>,
        seal: SealSecret,
        nonces: std::sync::Arc<Nonces>,
        owners: Owners,
    ) -> Result<Self, HolderError> {
        let grants = holder.objects().map(|object| Some((object.grant, grant_of(object)?)));
        let grants = grants.collect::<Option<_>>().ok_or(HolderError::Unsound)?;
        Ok(Self { holder, seal, nonces, owners, wished: HashMap::new(), grants })
    }

    /// Whose key it has.
    pub fn account(&self) -> AccountId {
        self.holder.account()
    }

    /// What shares for it are sealed to.
    pub fn key(&self) -> SealKey {
        self.seal.key()
    }

    /// How every object stands.
    pub fn standing(&self) -> impl Iterator<Item = Standing> {
        self.holder.objects().filter_map(|object| {
            let grant = self.grants.get(&object.grant)?;
            let (head, _) = self.holder.head(&object.grant)?;
            let entries = self.holder.log(&object.grant, object.me)?.0.len();
            let serving = self.holder.is_serving(&object.grant);
            Some(Standing {
                grant: grant.cid(),
                owner: grant.body().owner,
                serving,
                head: head.number,
                entries,
            })
        })
    }

    /// A nonce for a session, and how a grant stands.
    ///
    /// # Errors
    /// Nothing is held for that grant.
    pub fn welcome(&self, session: &JobKey, grant: &Id, now: u64) -> Result<Welcome, Objection> {
        let (_, words) = self.holder.head(grant).ok_or(Refusal::UnknownObject)?;
        Ok(Welcome {
            nonce: self.nonces.give(session, now).0,
            serving: self.holder.is_serving(grant),
            head: words.map(|words| ByteBuf::from(words.to_vec())),
            slot: self.holder.free_slot(grant),
        })
    }

    /// What wishes for a grant's key are weighed on: the grant, and the owner's word.
    ///
    /// # Errors
    /// Nothing is held for that grant, or the owner's word is not known.
    pub fn grounds(&self, grant: &Id) -> Result<(Verified<Grant>, Verified<PolicyHead>), Objection> {
        let record = self.grants.get(grant).ok_or(Refusal::UnknownObject)?;
        let (_, words) = self.holder.head(grant).ok_or(Refusal::UnknownObject)?;
        let head = signed::<PolicyHead>("policy head", words.ok_or(Objection::NoWord)?)?;
        Ok((record.clone(), head))
    }

    /// Takes what arrived, makes durable what must be, and says what to answer and send. `now` is Unix milliseconds.
    ///
    /// # Errors
    /// The disk failed: nothing of this turn counts, and this desk answers nothing any more.
    pub fn turn(&mut self, asks: Vec<(Ticket, Ask)>, now: u64) -> Result<Turn, HolderError> {
        let mut turn = Turn::default();
        let mut inputs: Vec<Input> = Vec::new();
        // Who gets the answer to which input.
        let mut askers: Vec<Option<Asker>> = Vec::new();
        for (ticket, ask) in asks {
            match self.input(ticket, ask, now, &mut turn) {
                Ok(Some((input, asker))) => {
                    inputs.push(input);
                    askers.push(asker);
                }
                Ok(None) => {}
                Err(Stop::Refused(objection)) => turn.answers.push((ticket, Answer::Refused(objection))),
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
        let effects = self.holder.turn(inputs, now)?;
        let refused = self.take(effects, askers, &mut turn);
        if !refused.is_empty() {
            let effects = self.holder.turn(refused, now)?;
            self.take(effects, Vec::new(), &mut turn);
        }
        self.forget(now, &mut turn);
        Ok(turn)
    }

    fn input(
        &mut self,
        ticket: Ticket,
        ask: Ask,
        now: u64,
        turn: &mut Turn,
    ) -> Result<Option<(Input, Option<Asker>)>, Stop> {
        Ok(Some(match ask {
            Ask::Tick => (Input::Tick, None),
            Ask::Packet(packet) => (Input::Packet(packet), None),
            Ask::Refused { grant, invocation, reason } => {
                (Input::Refused { grant, invocation, reason }, None)
            }
            Ask::Reserve(good) => {
                if now / 1000 > good.expiry {
                    let expiry = good.expiry;
                    return Err(Objection::Policy(adit_policy::Refusal::InvocationExpired { expiry }).into());
                }
                let known = self.wished.contains_key(&(good.grant, good.used));
                if !known && self.wished.len() >= MOST_WISHES {
                    return Err(Objection::Busy.into());
                }
                (
                    Input::Reserve { grant: good.grant, used: good.used },
                    Some(Asker::Reserve { ticket, good, now }),
                )
            }
            Ask::Commit(commit) => {
                let Commit { grant, used, reservations } = commit;
                let wished = self.wished.get_mut(&(grant, used)).filter(|wished| wished.until > now);
                let wished = wished.ok_or(Objection::NotReserved)?;
                wished.waiting.push((ticket, now + WITNESSES_MS));
                (Input::Commit { grant, used, reservations }, Some(Asker::Commit { ticket, grant, used }))
            }
            Ask::Said(said) => {
                let (grant, words) = heard(&said)?;
                (Input::Words { grant, words }, Some(Asker::Said { ticket }))
            }
            Ask::Enrol(enrol) => {
                turn.send.extend(self.enrol(&enrol)?);
                turn.answers.push((ticket, Answer::Done));
                return Ok(None);
            }
            Ask::Log(asked) => {
                turn.answers.push((ticket, Answer::Log(self.log(&asked, now)?)));
                return Ok(None);
            }
        }))
    }

    /// Answers what came of a turn. What remains is to be written down: refusals.
    fn take(&mut self, effects: Vec<Effect>, mut askers: Vec<Option<Asker>>, turn: &mut Turn) -> Vec<Input> {
        let mut refused = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send { to, packet } => turn.send.push((to, packet)),
                Effect::Distrusted { input, why } => {
                    // Nobody waits: a packet may come from anywhere.
                    let _ = (input, why);
                }
                Effect::Reserved(reservation) => {
                    // Of several askers for one use each gets one.
                    let is_for = |asker: &Option<Asker>| {
                        matches!(asker, Some(Asker::Reserve { good, .. })
                            if good.grant == reservation.grant && good.used == reservation.used)
                    };
                    let asker = askers.iter_mut().find(|asker| is_for(asker)).and_then(Option::take);
                    let Some(Asker::Reserve { ticket, good, now }) = asker else { continue };
                    let wished = Wished { key: good.key, until: now + WISH_LASTS_MS, waiting: Vec::new() };
                    // Another session's wish for the same use: the last one that was good counts.
                    let before = self.wished.insert((good.grant, good.used), wished);
                    for (ticket, _) in before.into_iter().flat_map(|before| before.waiting) {
                        turn.answers.push((ticket, Answer::Refused(Objection::NotReserved)));
                    }
                    turn.answers.push((ticket, Answer::Reserved(reservation)));
                }
                Effect::Given { grant, used, entry, mark } => {
                    let Some(wished) = self.wished.get_mut(&(grant, used)) else { continue };
                    let (key, waiting) = (wished.key, std::mem::take(&mut wished.waiting));
                    if waiting.is_empty() {
                        continue;
                    }
                    let answer = match self.share(&grant, used, &key) {
                        Ok(share) => Answer::Given(Given { share: ByteBuf::from(share), entry, mark }),
                        Err(objection) => Answer::Refused(objection),
                    };
                    turn.answers.extend(waiting.into_iter().map(|(ticket, _)| (ticket, answer.clone())));
                }
                Effect::Refused { input, why } => {
                    let Some(asker) = askers.get_mut(input).and_then(Option::take) else { continue };
                    if let Asker::Commit { ticket, grant, used } = asker
                        && let Some(wished) = self.wished.get_mut(&(grant, used))
                    {
                        wished.waiting.retain(|(waiting, _)| *waiting != ticket);
                    }
                    let objection = Objection::from(why);
                    if let Asker::Reserve { good: Good { grant, used, .. }, .. }
                    | Asker::Commit { grant, used, .. } = asker
                    {
                        let (invocation, reason) = (used.invocation, objection.number());
                        refused.push(Input::Refused { grant, invocation, reason });
                    }
                    turn.answers.push((asker.ticket(), Answer::Refused(objection)));
                }
            }
        }
        // Owners whose words were not refused.
        for asker in askers.into_iter().flatten() {
            if let Asker::Said { ticket } = asker {
                turn.answers.push((ticket, Answer::Done));
            }
        }
        refused
    }

    /// Tells those that waited too long, and forgets what nobody will ask for.
    fn forget(&mut self, now: u64, turn: &mut Turn) {
        self.wished.retain(|_, wished| {
            wished.waiting.retain(|(ticket, until)| {
                let late = *until <= now;
                if late {
                    turn.answers.push((*ticket, Answer::Refused(Objection::NoWitnesses)));
                }
                !late
            });
            wished.until > now || !wished.waiting.is_empty()
        });
    }

    fn enrol(&mut self, enrol: &Enrol) -> Result<Vec<(AccountId, Bytes)>, Stop> {
        let grant = signed::<Grant>("grant", &enrol.grant)?;
        match &self.owners {
            Owners::Of(list) if !list.contains(&grant.body().owner) => {
                return Err(Objection::OwnerUnknown.into());
            }
            Owners::Of(_) | Owners::Anyone => {}
        }
        let me = self.account();
        let object = Object::of_grant(&grant, &me, enrol.share.to_vec());
        let object = object.ok_or(Objection::Rule(Refusal::UnknownObject))?;
        self.open(&grant, &object)?;
        let id = object.grant;
        let effects = match self.holder.enrol(object) {
            Ok(effects) => effects,
            Err(HolderError::Other) => return Err(Objection::Share.into()),
            Err(HolderError::TooMany) => return Err(Objection::Busy.into()),
            Err(error) => return Err(Stop::Failed(error)),
        };
        self.grants.insert(id, grant);
        let send = effects.into_iter().filter_map(|effect| match effect {
            Effect::Send { to, packet } => Some((to, packet)),
            _ => None,
        });
        Ok(send.collect())
    }

    /// This holder's share, opened and held against the grant's commitment.
    fn open(&self, grant: &Verified<Grant>, object: &Object) -> Result<(Place, Share), Objection> {
        let body = grant.body();
        let place = Place { grant: grant.cid(), nonce: body.nonce, epoch: body.epoch, index: object.me + 1 };
        let commitment = &body.holders[usize::from(object.me)].commitment;
        let share = Share::open(&object.share, &place, &self.seal, commitment);
        Ok((place, share.map_err(|_| Objection::Share)?))
    }

    fn share(&self, grant: &Id, used: Use, key: &SealKey) -> Result<Vec<u8>, Objection> {
        let unknown = Objection::Rule(Refusal::UnknownObject);
        let object = self.holder.objects().find(|object| object.grant == *grant).ok_or(unknown.clone())?;
        let (place, share) = self.open(self.grants.get(grant).ok_or(unknown)?, object)?;
        let bond = adit_shares::Use {
            policy: adit_model::PolicyCid::from_digest(used.policy.0),
            slot: used.slot,
            invocation: adit_model::InvocationCid::from_digest(used.invocation.0),
            holder: self.account(),
        };
        share.release(&place, &bond, key, &mut OsRandom).map_err(|_| Objection::Share)
    }

    fn log(&self, asked: &LogAsked, now: u64) -> Result<LogPage, Objection> {
        let grant = self.grants.get(&asked.grant).ok_or(Refusal::UnknownObject)?.body();
        let mut readers = grant.holders.iter().map(|holder| holder.account).chain([grant.owner]);
        if !readers.any(|reader| asked.is_by(&reader, now)) {
            return Err(Objection::NotYours);
        }
        let log = self.holder.log(&asked.grant, asked.of);
        let (chain, marks) = log.ok_or(Objection::Rule(Refusal::UnknownObject))?;
        let after = usize::try_from(asked.after).unwrap_or(usize::MAX).min(chain.len());
        let until = chain.len().min(after + MOST_PAGE_ENTRIES);
        Ok(LogPage {
            len: u32::try_from(chain.len()).unwrap_or(u32::MAX),
            entries: chain.entries()[after..until].to_vec(),
            marks: marks[after..until].to_vec(),
        })
    }
}

/// Who waits for what came of an input.
enum Asker {
    Reserve { ticket: Ticket, good: Good, now: u64 },
    Commit { ticket: Ticket, grant: Id, used: Use },
    Said { ticket: Ticket },
}

impl Asker {
    fn ticket(&self) -> Ticket {
        match self {
            Self::Reserve { ticket, .. } | Self::Commit { ticket, .. } | Self::Said { ticket } => *ticket,
        }
    }
}

/// Why an ask is no input.
enum Stop {
    Refused(Objection),
    Failed(HolderError),
}

impl<T: Into<Objection>> From<T> for Stop {
    fn from(objection: T) -> Self {
        Self::Refused(objection.into())
    }
}

fn grant_of(object: &Object) -> Option<Verified<Grant>> {
    Signed::<Grant>::decode(&object.signed).ok()?.verify().ok()
}

/// An owner's word as the holder takes it, if the policy that it puts in force came with it and can be read.
fn heard(said: &Said) -> Result<(Id, Bytes), Objection> {
    let head = signed::<PolicyHead>("policy head", &said.head)?;
    let policy = said.policy.as_ref().map(|block| signed::<Policy>("policy", block)).transpose()?;
    let of_owner = policy.as_ref().is_none_or(|policy| policy.body().owner == head.body().owner);
    if policy.map(|policy| policy.cid()) != head.body().policy {
        return Err(Objection::Policy(adit_policy::Refusal::OtherPolicy));
    }
    if !of_owner {
        return Err(Objection::Policy(adit_policy::Refusal::NotByOwner));
    }
    Ok((Id(*head.body().grant.digest()), head.block().clone()))
}

/// What is sent for an answer: the message's bytes, or the refusal.
impl Answer {
    /// The answer as bytes; none for [`Answer::Done`].
    ///
    /// # Errors
    /// The refusal, as bytes.
    pub fn encode(&self) -> Result<Vec<u8>, Vec<u8>> {
        match self {
            Self::Reserved(reservation) => Ok(reservation.encode()),
            Self::Given(given) => Ok(given.encode()),
            Self::Done => Ok(Vec::new()),
            Self::Log(page) => Ok(page.encode()),
            Self::Refused(objection) => {
                Err(crate::protocol::Refused::because(std::slice::from_ref(objection)).encode())
            }
        }
    }
}
