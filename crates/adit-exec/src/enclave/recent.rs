//! A map that knows which of its entries was used longest ago.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

/// Use is counted, not timed: each insertion and each hit gets the next number.
pub(super) struct Recent<K, V> {
    entries: HashMap<K, (V, u64)>,
    order: BTreeMap<u64, K>,
    uses: u64,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    pub(super) fn new() -> Self {
        Recent { entries: HashMap::new(), order: BTreeMap::new(), uses: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry, which counts as used now.
    pub(super) fn get(&mut self, key: &K) -> Option<&V> {
        let (value, used) = self.entries.get_mut(key)?;
        self.uses += 1;
        self.order.remove(used);
        *used = self.uses;
        self.order.insert(self.uses, *key);
        Some(value)
    }

    /// Replaces what was there, which is returned.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let old = self.remove(&key);
        self.uses += 1;
        self.entries.insert(key, (value, self.uses));
        self.order.insert(self.uses, key);
        old
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (value, used) = self.entries.remove(key)?;
        self.order.remove(&used);
        Some(value)
    }

    /// Takes out the entry that was used longest ago.
    pub(super) fn remove_oldest(&mut self) -> Option<(K, V)> {
        let (_, key) = self.order.pop_first()?;
        let (value, _) = self.entries.remove(&key)?;
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_leave_in_the_order_of_their_last_use() {
        let mut recent = Recent::new();
        for key in 0..4 {
            assert_eq!(recent.insert(key, key * 10), None);
        }
        assert_eq!(recent.get(&0), Some(&0));
        assert_eq!(recent.insert(1, 11), Some(10));
        assert_eq!(recent.get(&7), None);
        assert_eq!(recent.remove(&3), Some(30));
        let order: Vec<_> = std::iter::from_fn(|| recent.remove_oldest()).collect();
        assert_eq!(order, [(2, 20), (0, 0), (1, 11)]);
        assert_eq!((recent.len(), recent.order.len()), (0, 0));
    }
}
