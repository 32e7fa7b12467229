//! What holders send each other: a signature, then the message as DAG-CBOR.
//!
//! ```text
//! packet = signature (65 bytes: r ‖ s ‖ v by the sender's account) ‖ body
//! body   = {v: 1, grant: 32 bytes, from: place, to: place, message, entries: 65 bytes each, starts: 65 bytes each, words?}
//! ```
//!
//! The signature is over SHA-256 of `adit/holder-message/1`, a zero byte and the body. `entries` and `starts` are the
//! signatures on everything that the message repeats, in the order in which it does. `words` is the owner's signed word
//! for the head that the message names.

use crate::group::Object;
use crate::marks::{Mark, Marks};
use adit_model::{AccountId, AccountSecret, SignerId};
use adit_release::{Entry, Head, Id, Message, Promise};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};

const SIGNATURE: usize = 65;

/// Why a packet of another holder is not believed. Nothing in it counts then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    #[error("the packet has more than {} bytes", crate::MOST_PACKET_BYTES)]
    TooLong,
    #[error("the packet can't be read")]
    Unreadable,
    #[error("it is about an object of which nothing is held here")]
    UnknownObject,
    #[error("it is for another holder")]
    NotForUs,
    #[error("it is not signed by the holder that it names")]
    NotBySender,
    #[error("an entry in it is not signed by the holder whose log it is of")]
    EntryNotByHolder,
    #[error("a start in it is not signed by the holder that it is of")]
    StartNotByHolder,
    #[error("the owner did not say what it says he did")]
    NotByOwner,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    v: u8,
    grant: Id,
    from: u8,
    to: u8,
    message: Message,
    entries: ByteBuf,
    starts: ByteBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    words: Option<ByteBuf>,
}

/// A packet whose sender is known to have said it, and whose entries and starts are their holders'.
pub(crate) struct Heard {
    pub(crate) from: u8,
    pub(crate) message: Message,
    pub(crate) marks: Marks,
    pub(crate) words: Option<Bytes>,
}

fn digest(body: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(b"adit/holder-message/1\0").chain_update(body).finalize().into()
}

/// The entries that a message repeats, with the place of the holder whose log they are of.
fn entries(from: u8, message: &Message) -> Vec<(u8, &Entry)> {
    match message {
        Message::Recalled { chains, .. } => {
            let numbered = (0..=u8::MAX).zip(chains);
            numbered.flat_map(|(holder, (_, list))| list.iter().map(move |entry| (holder, entry))).collect()
        }
        Message::Witness { entries, .. } => entries.iter().map(|entry| (from, entry)).collect(),
        _ => Vec::new(),
    }
}

/// The starts of holders that a message makes its receiver believe. Every holder has once not started: that needs no
/// signature. Starts that are only repeated to the one that they are of are compared by him, not believed.
fn starts(from: u8, to: u8, message: &Message) -> Vec<(u8, Promise)> {
    let told: Vec<_> = match message {
        Message::Recall { start, .. } | Message::Witness { start, .. } => vec![(from, *start)],
        Message::Stale { known } => vec![(to, *known)],
        Message::Recalled { promises, .. } => (0..=u8::MAX).zip(promises.iter().copied()).collect(),
        Message::Witnessed { by, promises, .. } => {
            let others = (0..=u8::MAX).zip(promises.iter().copied());
            std::iter::once((from, *by)).chain(others).collect()
        }
        Message::Lacking { .. } => Vec::new(),
    };
    told.into_iter().filter(|(_, start)| *start != Promise::default()).collect()
}

/// Whether every list of a message has one place for each holder.
fn fits(message: &Message, holders: usize) -> bool {
    match message {
        Message::Recall { have, .. } => have.len() == holders,
        Message::Recalled { chains, promises, .. } => chains.len() == holders && promises.len() == holders,
        Message::Witnessed { promises, .. } => promises.len() == holders,
        Message::Stale { .. } | Message::Witness { .. } | Message::Lacking { .. } => true,
    }
}

/// What a message says that the owner said.
fn head(message: &Message) -> Head {
    match message {
        Message::Recalled { head, .. } => *head,
        _ => Head::NONE,
    }
}

/// The packet for a message; `None` if a signature on something in it is not at hand, which is a mistake of the caller.
pub(crate) fn pack(
    object: &Object,
    secret: &AccountSecret,
    to: u8,
    mut message: Message,
    marks: &Marks,
    words: Option<&(Head, Bytes)>,
) -> Option<Bytes> {
    let from = object.me;
    // What can't be proved isn't said.
    let words =
        words.filter(|(said, _)| *said == head(&message)).map(|(_, words)| ByteBuf::from(words.to_vec()));
    if let (None, Message::Recalled { head, .. }) = (&words, &mut message) {
        *head = Head::NONE;
    }
    let mut on_entries = Vec::new();
    for (_, entry) in entries(from, &message) {
        on_entries.extend(marks.entry(&entry.id())?.0);
    }
    let mut on_starts = Vec::new();
    for (holder, start) in starts(from, to, &message) {
        on_starts.extend(marks.start(holder, start)?.0);
    }
    let (entries, starts) = (ByteBuf::from(on_entries), ByteBuf::from(on_starts));
    let body = Body { v: 1, grant: object.grant, from, to, message, entries, starts, words };
    let body = serde_ipld_dagcbor::to_vec(&body).ok()?;
    let signature = AccountId::sign(secret, &digest(&body));
    Some([&signature[..], &body].concat().into())
}

/// Exactly so many signatures.
fn each(bytes: &[u8], count: usize) -> Option<impl Iterator<Item = Mark>> {
    let (marks, rest) = bytes.as_chunks::<SIGNATURE>();
    (rest.is_empty() && marks.len() == count).then(|| marks.iter().map(|mark| Mark(*mark)))
}

/// A packet that can be read, of which nothing is checked.
pub(crate) struct Packet<'a> {
    signature: [u8; SIGNATURE],
    bytes: &'a [u8],
    body: Body,
}

impl<'a> Packet<'a> {
    pub(crate) fn read(packet: &'a [u8]) -> Result<Self, Distrust> {
        if packet.len() > crate::MOST_PACKET_BYTES {
            return Err(Distrust::TooLong);
        }
        let (signature, bytes) = packet.split_first_chunk::<SIGNATURE>().ok_or(Distrust::Unreadable)?;
        let body: Body = serde_ipld_dagcbor::from_slice(bytes).map_err(|_| Distrust::Unreadable)?;
        if body.v != 1 {
            return Err(Distrust::Unreadable);
        }
        Ok(Self { signature: *signature, bytes, body })
    }

    /// Which object it is about.
    pub(crate) fn grant(&self) -> Id {
        self.body.grant
    }

    /// Checks everything that is signed in it.
    pub(crate) fn check(
        self,
        object: &Object,
        known: &Marks,
        owner_said: impl Fn(&[u8]) -> Option<Head>,
    ) -> Result<Heard, Distrust> {
        let Body { grant, from, to, message, entries: on_entries, starts: on_starts, words, .. } = self.body;
        if grant != object.grant {
            return Err(Distrust::UnknownObject);
        }
        if to != object.me || from == to {
            return Err(Distrust::NotForUs);
        }
        let account = |holder: u8| object.holders.get(usize::from(holder));
        let sender = account(from).ok_or(Distrust::NotBySender)?;
        sender.check(&digest(self.bytes), &self.signature).map_err(|_| Distrust::NotBySender)?;

        if !fits(&message, object.holders.len()) {
            return Err(Distrust::Unreadable);
        }
        let mut marks = Marks::default();
        let repeated = entries(from, &message);
        let on_entries = each(&on_entries, repeated.len()).ok_or(Distrust::EntryNotByHolder)?;
        for ((holder, entry), mark) in repeated.into_iter().zip(on_entries) {
            let by = account(holder).ok_or(Distrust::EntryNotByHolder)?;
            let id = entry.id();
            if !known.entry_holds(by, &id, &mark) {
                return Err(Distrust::EntryNotByHolder);
            }
            marks.put_entry(id, mark);
        }
        let told = starts(from, to, &message);
        let on_starts = each(&on_starts, told.len()).ok_or(Distrust::StartNotByHolder)?;
        for ((holder, start), mark) in told.into_iter().zip(on_starts) {
            let by = account(holder).ok_or(Distrust::StartNotByHolder)?;
            if !known.start_holds(by, &grant, holder, start, &mark) {
                return Err(Distrust::StartNotByHolder);
            }
            marks.put_start(holder, start, mark);
        }
        let words = words.map(|words| Bytes::from(words.into_vec()));
        let proved = words.as_deref().map_or(Some(Head::NONE), owner_said);
        if proved != Some(head(&message)) {
            return Err(Distrust::NotByOwner);
        }
        Ok(Heard { from, message, marks, words })
    }
}
