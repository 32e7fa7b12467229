//! The core under generated schedules: networks of peers with their own tempers, messages that
//! are late, lost, doubled and out of order, and connections that break.

mod network;
mod rules;

use cid::Cid;
use multihash::Multihash;

/// A CID for each number.
pub(crate) fn cid(number: usize) -> Cid {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Cid::new_v1(0x55, Multihash::wrap(0x12, &digest).expect("32 bytes fit"))
}
