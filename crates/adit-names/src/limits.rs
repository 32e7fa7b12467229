//! Every bound that names and records have to keep.

use std::time::Duration;

/// Longest encoded record, as the specification has it.
pub const RECORD: usize = 10 * 1024;

/// Longest path that a record or a DNSLink may state, in bytes.
pub const VALUE: usize = 4096;

/// Longest domain name in bytes (RFC 1035).
pub const DOMAIN: usize = 253;

/// TXT strings of one domain that are looked at.
pub const TXT_ENTRIES: usize = 64;

/// Names that lead to names before resolution gives up.
pub const DEPTH: usize = 32;

/// How long an answer may be remembered, whatever it says itself.
pub const LONGEST_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an answer holds that does not say (IPNS records of old; DNS answers without TTL).
pub const DEFAULT_TTL: Duration = Duration::from_secs(60);

/// Answers remembered at a time.
pub const CACHED: usize = 4096;
