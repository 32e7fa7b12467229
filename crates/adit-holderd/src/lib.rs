//! The program `adit-holder`: sockets, files and a clock around [`adit_holder`]; and how others ask it.
//!
//! One thread owns the desk and with it the database ([`office`]): whatever arrived while it worked is taken in one turn
//! and made durable by one sync. Connections ([`server`]) read messages, weigh wishes, and wait for the desk's
//! answers. Packets for other holders leave by one queue for each of them ([`peers`]); a packet that does not fit in it
//! is dropped, which the protocol allows.
//!
//! It listens at a Unix socket in its own folder and nowhere else: who may reach it from elsewhere is for the node
//! beside it to say. It links no libp2p, stores no blocks and runs nobody's code.
//!
//! [`client`] is what a node, an owner's command or a test asks holders with.

pub mod client;
pub mod keys;
pub mod office;
pub mod parent;
pub mod peers;
pub mod server;

/// The name of the socket in a holder's folder.
pub const SOCKET: &str = "holder.sock";
/// What messages are: DAG-CBOR. A browser can't send this to another site without asking first, and is not answered.
pub const CONTENT_TYPE: &str = "application/vnd.ipld.dag-cbor";

/// Unix milliseconds.
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// What a holder says of itself to those who may open its socket, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Status {
    /// Signs its log; what a grant names it by.
    pub account: adit_model::AccountId,
    /// What shares for it are sealed to.
    pub key: adit_model::SealKey,
    /// What is held.
    pub objects: Vec<Held>,
}

/// How one object stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Held {
    pub grant: adit_model::GrantCid,
    pub owner: adit_model::AccountId,
    /// Whether enough other holders were heard since the start.
    pub serving: bool,
    /// The number of the owner's newest word; 0 before there was one.
    pub head: u64,
    /// Entries of this holder's own log.
    pub entries: usize,
}
