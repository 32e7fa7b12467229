//! Every limit, with its reason.

use std::time::Duration;

/// Longest answer of a router: some thousand records.
pub(crate) const ROUTER_ANSWER: usize = 1 << 20;
/// Gateways taken from one answer of a router.
pub(crate) const ROUTER_GATEWAYS: usize = 8;
/// Bytes of an answer's head, and what of a body is read at a time.
pub(crate) const HEAD_BYTES: usize = 64 << 10;
/// Header lines of an answer.
pub(crate) const HEAD_LINES: usize = 64;
/// Of a refusal, so much is read to keep the connection: what is longer costs more than a new one.
pub(crate) const REFUSAL_BYTES: usize = 16 << 10;
/// Addresses of a name that are tried.
pub(crate) const ADDRESSES: usize = 6;

/// How patient one is with a gateway. The defaults suit the internet; tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For one address to accept a connection.
    pub connect: Duration,
    /// From the request to the head of the answer: a gateway may have to look for the block first.
    pub head: Duration,
    /// Between two pieces of a body.
    pub idle: Duration,
    /// A body must come at this many bytes a second on average, after `grace`.
    pub least_rate: u64,
    pub grace: Duration,
    /// Requests to one gateway at the same time, each on a connection of its own. Browsers settle for 6.
    pub parallel: usize,
    /// Failures in a row after which a gateway is left alone for a while.
    pub failures: u32,
    /// For how long, the first time; it doubles with each further one.
    pub pause: Duration,
    /// The longest such pause.
    pub longest_pause: Duration,
    /// For how long a gateway is not asked that sent something other than the block it was asked for.
    pub penalty: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            head: Duration::from_secs(20),
            idle: Duration::from_secs(10),
            least_rate: 16 << 10,
            grace: Duration::from_secs(5),
            parallel: 8,
            failures: 3,
            pause: Duration::from_secs(5),
            longest_pause: Duration::from_secs(300),
            penalty: Duration::from_secs(3600),
        }
    }
}
