//! Every bound of the gateway that is not an operator's setting.

use std::time::Duration;

/// Longest request target in bytes.
pub const TARGET: usize = 32 * 1024;

/// Ranges in one request; where there are more, the whole is sent.
pub const RANGES: usize = 16;

/// Entries of one directory that a page shows.
pub const LISTED: usize = 20_000;

/// Largest `_redirects` file, as its specification has it.
pub const REDIRECTS: usize = 64 * 1024;

/// Rules in one `_redirects` file.
pub const REDIRECT_RULES: usize = 1024;

/// Links that wait to be followed while a CAR is written.
pub const PENDING: usize = 1 << 18;

/// Blocks of one CAR.
pub const CAR_BLOCKS: u64 = 1 << 26;

/// Blocks that are shared by all requests, in bytes; and the largest one that is worth keeping.
pub const HOT: usize = 32 << 20;
pub const HOT_BLOCK: usize = 512 << 10;

/// How long a look-up of a host's DNSLink may take before it counts as having none.
pub const HOST_LOOKUP: Duration = Duration::from_secs(5);

/// Longest name that a client may give to a download.
pub const FILENAME: usize = 512;

/// DAG-CBOR and DAG-JSON shown as a page, at most.
pub const PREVIEW: usize = 256 * 1024;

/// Providers or peers that one routing answer lists.
pub const ROUTED: usize = 100;
