//! What Kubo lacked a moment ago.
//!
//! Peers ask for blocks that nobody here has, the same ones again and again. For a short time the answer is remembered; a block
//! that somebody gives to Kubo itself is found that much later.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use cid::Cid;
use parking_lot::Mutex;

/// For how long.
const LIFE: Duration = Duration::from_secs(2);
/// Blocks remembered: some 100 bytes each.
const MOST: usize = 16 << 10;

#[derive(Debug, Default)]
pub(crate) struct Absent(Mutex<HashMap<Vec<u8>, Instant>>);

impl Absent {
    pub(crate) fn knows(&self, cid: &Cid) -> bool {
        let known = self.0.lock();
        known.get(&cid.hash().to_bytes()).is_some_and(|since| since.elapsed() < LIFE)
    }

    pub(crate) fn note(&self, cid: &Cid) {
        let mut known = self.0.lock();
        if known.len() >= MOST {
            known.retain(|_, since| since.elapsed() < LIFE);
        }
        // Somebody asks for more than can be remembered: begin anew.
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(cid.hash().to_bytes(), Instant::now());
    }

    /// Kubo has been given something.
    pub(crate) fn forget(&self) {
        self.0.lock().clear();
    }
}
