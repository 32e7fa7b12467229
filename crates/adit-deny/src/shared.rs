//! One list for all who ask, exchanged as a whole.

use crate::Denylist;
use std::sync::{Arc, RwLock};

/// The rules as they are now. Cheap to clone; all clones see the same.
#[derive(Clone, Debug)]
pub struct Denials(Arc<RwLock<Arc<Denylist>>>);

impl Default for Denials {
    fn default() -> Self {
        Denials(Arc::new(RwLock::new(Arc::new(Denylist::new()))))
    }
}

impl Denials {
    /// The rules of this moment.
    pub fn now(&self) -> Arc<Denylist> {
        // A reader or writer that panicked left a whole list behind: it is only ever exchanged.
        Arc::clone(&self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// From now on these rules count.
    pub fn replace(&self, list: Denylist) {
        *self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(list);
    }
}
