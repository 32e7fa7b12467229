//! Every limit of the exchange, with the reason for its value.

use std::time::Duration;

use libp2p::StreamProtocol;

/// The one protocol spoken. Kubo and Helia both offer it.
pub const PROTOCOL: StreamProtocol = StreamProtocol::new("/ipfs/bitswap/1.2.0");

/// Largest message accepted: boxo and Helia send up to 4 MiB.
pub(crate) const MAX_MESSAGE_IN: usize = 4 << 20;

/// Answers stay under this, or hold a single block (which must fit [`MAX_MESSAGE_IN`]).
pub(crate) const MAX_MESSAGE_OUT: usize = 2 << 20;

/// Largest message from a connection on which nothing is wanted: a wantlist of 4096 entries of
/// about 50 bytes fits, smuggled blocks hardly do.
pub(crate) const MAX_MESSAGE_UNASKED: usize = 256 << 10;

/// Largest block exchanged: what a store takes.
pub(crate) const MAX_BLOCK: usize = adit_store::MAX_BLOCK_LEN;

/// Entries of one outgoing wantlist message.
pub(crate) const MAX_ENTRIES_OUT: usize = 512;

/// Blocks up to this size are sent in place of HAVE, as boxo does.
pub(crate) const SMALL_BLOCK: usize = 1024;

/// Settings of the exchange. The defaults suit a node on the public network; tests shorten times.
#[derive(Debug, Clone)]
pub struct Config {
    /// Bytes asked of one peer and not yet received, estimated from the mean block size. Covers
    /// the bandwidth-delay product of 80 MB/s at 100 ms.
    pub window_bytes: usize,
    /// What a peer of unknown speed is asked for at first, so that a slow one is not given much.
    pub initial_window_bytes: usize,
    /// Blocks asked of one peer at once; Helia truncates lists beyond 1024.
    pub max_wants_per_peer: usize,
    /// A peer that delivers nothing for this long gets no new wants, and what it was asked for
    /// may be asked elsewhere.
    pub stall_after: Duration,
    /// A peer that delivers nothing for this long is sent its wants again (a message of cancels,
    /// then one of wants: Helia swallows a plain repeat).
    pub retry_after: Duration,
    /// Fruitless retries before the connection is closed, which alone clears Helia's ledger.
    pub max_retries: u32,
    /// Pause before a closed or failed peer is dialled again; js-libp2p refuses more than five
    /// connections a second from one host.
    pub redial_after: Duration,
    /// How long a peer that sent wrong blocks gets no wants.
    pub penalty: Duration,
    /// Connected peers that a want nobody is known to hold is broadcast to.
    pub max_broadcast: usize,
    /// How often more providers are looked for while a session is stuck.
    pub find_every: Duration,
    /// A want that no asked peer has, with no more providers to be found, fails after this long.
    pub absent_after: Duration,
    /// A want of a session that received nothing at all for this long fails.
    pub give_up_after: Duration,
    /// Inbound streams of one connection: Kubo and Helia open one for every message.
    pub max_inbound_streams: usize,
    /// Bytes of inbound messages of one peer being read or waiting for the store.
    pub receive_per_peer: usize,
    /// The same over all connections.
    pub receive_total: usize,
    /// The same for messages of peers from whom nothing is wanted, which bring wantlists: a few
    /// of the largest for each, and enough in all that a crowd of slow ones cannot stop others.
    pub receive_unasked_per_peer: usize,
    pub receive_unasked_total: usize,
    /// Bytes of blocks loaded for one peer and not yet written to it: one message on the wire
    /// and one behind it.
    pub serve_per_peer: usize,
    /// The same over all connections.
    pub serve_total: usize,
    /// Wants remembered for one connection; Kubo and Helia send at most 1024.
    pub max_ledger: usize,
    /// Wants and cancels that one peer may send at once, and a second, without being sent a block; each block that it is
    /// sent pays for four more. What is beyond that is looked at later. Kubo and Helia want at most 1024 at once.
    pub wants_at_once: usize,
    pub wants_per_second: usize,
    /// Messages must come, and be taken, at this many bytes a second on average, after
    /// `drip_grace` and `write_timeout`.
    pub min_message_rate: usize,
    pub drip_grace: Duration,
    /// A peer that takes (nearly) nothing of what we write for this long is stuck.
    pub write_timeout: Duration,
    /// An idle outbound stream is closed: Helia resets one after 10 s, and what was written last
    /// may be lost with it.
    pub idle_close: Duration,
    /// Blocks a session prefetched and nobody claimed yet, in bytes; the store has them anyway.
    pub unclaimed_per_session: usize,
    /// Blocks a session may be waiting for; prefetching beyond it is ignored.
    pub max_wants_per_session: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window_bytes: 8 << 20,
            initial_window_bytes: 2 << 20,
            max_wants_per_peer: 256,
            stall_after: Duration::from_secs(2),
            retry_after: Duration::from_secs(6),
            max_retries: 3,
            redial_after: Duration::from_millis(500),
            penalty: Duration::from_secs(60),
            max_broadcast: 64,
            find_every: Duration::from_secs(10),
            absent_after: Duration::from_secs(5),
            give_up_after: Duration::from_secs(60),
            max_inbound_streams: 128,
            receive_per_peer: 16 << 20,
            receive_total: 64 << 20,
            receive_unasked_per_peer: 4 * MAX_MESSAGE_UNASKED,
            receive_unasked_total: 32 << 20,
            serve_per_peer: 2 * MAX_MESSAGE_IN,
            serve_total: 64 << 20,
            max_ledger: 4096,
            wants_at_once: 1024,
            wants_per_second: 2048,
            min_message_rate: 16 << 10,
            drip_grace: Duration::from_secs(10),
            write_timeout: Duration::from_secs(20),
            idle_close: Duration::from_secs(5),
            unclaimed_per_session: 16 << 20,
            max_wants_per_session: 1024,
        }
    }
}
