//! What enclaves' nodes, owners and holders say to a holder, and what it answers.
//!
//! Each message is one canonical DAG-CBOR value, with a length of its own that it may not pass. Signed records travel
//! as their blocks. The messages themselves are not signed: nothing in them is believed that a record, a nonce of this
//! holder or evidence doesn't prove, so whoever carries them can only lose them.
//!
//! | what is asked | answer | |
//! |---|---|---|
//! | [`Hello`] | [`Welcome`] | a nonce for a session's quote, and how the grant stands here |
//! | [`Wish`] | [`Reservation`] | whether everything is allowed; a slot is kept for ten seconds |
//! | [`Commit`] | [`Given`] | with enough holders' reservations: the share, and the log's signed entry |
//! | [`Enrol`] | nothing | an owner's grant, and this holder's share under it |
//! | [`Said`] | nothing | an owner's newest word |
//! | [`LogAsked`] | [`LogPage`] | what this holder keeps of one holder's log, for the owner or a holder |
//!
//! Instead of any answer there may be a [`Refused`].

use adit_model::{AccountId, AccountSecret, MAX_RECORD_BYTES, SignatureError, SignerId};
use adit_release::{Entry, Id, Use};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};

use crate::{Mark, Reservation};

/// Files of endorsements that come with a wish.
const MOST_ENDORSEMENTS: usize = 64;
/// Entries in one page of a log.
pub const MOST_PAGE_ENTRIES: usize = 4096;
/// How far the clock of who asks for a log may differ, in milliseconds.
const LOG_SKEW_MS: u64 = 120_000;

/// Why bytes are not the message that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("{len} bytes are more than the {max} of such a message")]
    TooLong { len: usize, max: usize },
    #[error("the message can't be read")]
    Malformed,
    #[error("{0} are more than such a message may have")]
    TooMany(&'static str),
}

/// One kind of message.
pub trait Message: Serialize + DeserializeOwned {
    /// Most bytes of one.
    const MOST_BYTES: usize;

    /// Counts that the length alone does not limit.
    ///
    /// # Errors
    /// Too much of something.
    fn check(&self) -> Result<(), Unreadable> {
        Ok(())
    }

    /// The message's bytes.
    fn encode(&self) -> Vec<u8> {
        serde_ipld_dagcbor::to_vec(self).expect("messages are plain data")
    }

    /// Reads a message, which has one encoding only.
    ///
    /// # Errors
    /// Too long, or anything else than this message.
    fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        if bytes.len() > Self::MOST_BYTES {
            return Err(Unreadable::TooLong { len: bytes.len(), max: Self::MOST_BYTES });
        }
        let message: Self = serde_ipld_dagcbor::from_slice(bytes).map_err(|_| Unreadable::Malformed)?;
        message.check()?;
        if message.encode() != bytes {
            return Err(Unreadable::Malformed);
        }
        Ok(message)
    }
}

/// "I have this job key, and will want the key of this grant's object."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The enclave's job key, compressed.
    #[serde(with = "serde_bytes")]
    pub session: [u8; 33],
    /// The grant.
    pub grant: Id,
}

impl Message for Hello {
    const MOST_BYTES: usize = 256;
}

/// A nonce, and what stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// To be among those of the session's quote. Good for this session only, and for ten minutes at most.
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; 32],
    /// Whether this holder has heard enough others to give anything.
    pub serving: bool,
    /// The owner's newest word that is known here: a policy head's block.
    pub head: Option<ByteBuf>,
    /// The least slot that is free here.
    pub slot: Option<u32>,
}

impl Message for Welcome {
    const MOST_BYTES: usize = 4096;
}

/// Everything that a holder needs to decide by itself whether a job may have a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Of which grant.
    pub grant: Id,
    /// The [`SessionQuote`](adit_model::SessionQuote)'s block.
    pub quote: ByteBuf,
    /// What the attester's maker says of the platform: files as [`adit_trust::Endorsements::add`] reads them.
    pub endorsements: Vec<ByteBuf>,
    /// The manifest of reference values that the policy names by the CID of these bytes; none where it names none.
    pub manifest: Option<ByteBuf>,
    /// The [`Task`](adit_model::Task)'s block.
    pub task: ByteBuf,
    /// The requester's signed [`Invocation`](adit_model::Invocation).
    pub invocation: ByteBuf,
    /// The host's signed [`Acceptance`](adit_model::Acceptance) of it.
    pub acceptance: ByteBuf,
    /// The enclave's signed [`KeyRequest`](adit_model::KeyRequest).
    pub request: ByteBuf,
    /// The owner's signed [`Policy`](adit_model::Policy).
    pub policy: ByteBuf,
}

impl Message for Wish {
    const MOST_BYTES: usize = 4 << 20;

    fn check(&self) -> Result<(), Unreadable> {
        match self.endorsements.len() > MOST_ENDORSEMENTS {
            true => Err(Unreadable::TooMany("the endorsements")),
            false => Ok(()),
        }
    }
}

impl Message for Reservation {
    const MOST_BYTES: usize = 1024;
}

/// "So many of you have reserved it: give it."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// Of which grant.
    pub grant: Id,
    /// The slot, and for whom: what was wished for.
    pub used: Use,
    /// Holders' reservations of it.
    pub reservations: Vec<Reservation>,
}

impl Message for Commit {
    const MOST_BYTES: usize = 32 << 10;

    fn check(&self) -> Result<(), Unreadable> {
        match self.reservations.len() > usize::from(adit_release::Terms::MOST) {
            true => Err(Unreadable::TooMany("the reservations")),
            false => Ok(()),
        }
    }
}

/// A share, given for one use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// Sealed to the key request's key, bound to the use (`docs/spec/key-shares.md`).
    pub share: ByteBuf,
    /// The entry of this holder's log that says so, by its digest.
    pub entry: Id,
    /// This holder's signature on the entry: the receipt.
    pub mark: Mark,
}

impl Message for Given {
    const MOST_BYTES: usize = 1024;
}

/// An owner asks this holder to keep a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    /// The signed [`Grant`](adit_model::Grant).
    pub grant: ByteBuf,
    /// This holder's share, sealed to it.
    pub share: ByteBuf,
}

impl Message for Enrol {
    const MOST_BYTES: usize = 16 << 10;
}

/// An owner's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// The signed [`PolicyHead`](adit_model::PolicyHead).
    pub head: ByteBuf,
    /// The signed [`Policy`](adit_model::Policy) that it puts in force, so that a holder that can't read it says so
    /// now and not to the first requester; none where it revokes.
    pub policy: Option<ByteBuf>,
}

impl Message for Said {
    const MOST_BYTES: usize = MAX_RECORD_BYTES + 4096;
}

/// Somebody wants to read a log: the object's owner, or one of its holders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogAsked {
    /// Of which grant.
    pub grant: Id,
    /// Whose log, by the holder's place in the grant.
    pub of: u8,
    /// After how many entries.
    pub after: u32,
    /// Unix milliseconds by the clock of who asks.
    pub time: u64,
    /// The owner's or holder's signature.
    pub mark: Mark,
}

impl LogAsked {
    /// Asks, in the name of this account.
    pub fn sign(grant: Id, of: u8, after: u32, time: u64, secret: &AccountSecret) -> Self {
        let mut asked = Self { grant, of, after, time, mark: Mark([0; 65]) };
        asked.mark = Mark(AccountId::sign(secret, &asked.digest()));
        asked
    }

    fn digest(&self) -> [u8; 32] {
        Sha256::new()
            .chain_update(b"adit/holder-log-asked/1\0")
            .chain_update(self.grant.0)
            .chain_update([self.of])
            .chain_update(self.after.to_be_bytes())
            .chain_update(self.time.to_be_bytes())
            .finalize()
            .into()
    }

    /// Whether this account asked, just now. A copy that somebody kept shows him for two minutes more what grew since.
    pub(crate) fn is_by(&self, account: &AccountId, now: u64) -> bool {
        let checked: Result<(), SignatureError> = account.check(&self.digest(), &self.mark.0);
        self.time.abs_diff(now) <= LOG_SKEW_MS && checked.is_ok()
    }
}

impl Message for LogAsked {
    const MOST_BYTES: usize = 512;
}

/// Part of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogPage {
    /// How many entries the log has here, in all.
    pub len: u32,
    /// Those that follow what was asked after, at most 4,096.
    pub entries: Vec<Entry>,
    /// The signature of the log's holder on each.
    pub marks: Vec<Mark>,
}

impl Message for LogPage {
    const MOST_BYTES: usize = 1 << 20;

    fn check(&self) -> Result<(), Unreadable> {
        match self.entries.len() != self.marks.len() || self.entries.len() > MOST_PAGE_ENTRIES {
            true => Err(Unreadable::TooMany("the entries")),
            false => Ok(()),
        }
    }
}

/// Nothing is given, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Everything that stands against it.
    pub why: Vec<Why>,
}

/// One reason: its number, which stands in the log, and words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// See [`Objection::number`](crate::Objection::number).
    pub number: u8,
    /// For a person.
    pub words: String,
}

impl Message for Refused {
    const MOST_BYTES: usize = 256 << 10;
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, why) in self.why.iter().enumerate() {
            let join = if at == 0 { "" } else { "; " };
            write!(f, "{join}{}", why.words)?;
        }
        Ok(())
    }
}
