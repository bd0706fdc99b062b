//! A sorted list of keys with weights, in blocks: first key, sum of the weights before a key.
//!
//! Used for the applications of a queue that have asks of one kind, in the order in which the core would walk over
//! them; the weights are the asks. What the real core steps over one by one is summed up here.
//!
//! Cost: O(sqrt(n)) a change or sum at worst, O(1) while all fit in a block, O(1) for the first.

/// Largest number of entries in a block.
const BLOCK: usize = 256;

/// Keys in order, each with a weight.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Ranked<K> {
    blocks: Vec<(u64, Vec<(K, u32)>)>,
    total: u64,
}

impl<K> Default for Ranked<K> {
    fn default() -> Self {
        Self { blocks: Vec::new(), total: 0 }
    }
}

impl<K: Ord + Copy> Ranked<K> {
    /// The first key.
    pub fn first(&self) -> Option<K> {
        self.blocks.first().map(|(_, entries)| entries[0].0)
    }

    /// Sum of all weights.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Adds to the weight of a key, which comes in if it is new and leaves when its weight is 0.
    ///
    /// # Panics
    /// If more is taken off than is there.
    pub fn add(&mut self, key: K, delta: i64) {
        if delta == 0 {
            return;
        }
        let at = self.blocks.partition_point(|(_, entries)| entries[0].0 <= key).saturating_sub(1);
        if self.blocks.is_empty() {
            self.blocks.push((0, Vec::new()));
        }
        let (sum, entries) = &mut self.blocks[at];
        let place = match entries.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(place) => place,
            Err(place) => {
                entries.insert(place, (key, 0));
                place
            }
        };
        let weight = i64::from(entries[place].1) + delta;
        entries[place].1 = u32::try_from(weight).expect("a weight is never negative");
        *sum = sum.checked_add_signed(delta).expect("a sum is never negative");
        self.total = self.total.checked_add_signed(delta).expect("a sum is never negative");
        if weight == 0 {
            entries.remove(place);
            if entries.is_empty() {
                self.blocks.remove(at);
            }
        } else if entries.len() > BLOCK {
            let tail = entries.split_off(BLOCK / 2);
            let moved = tail.iter().map(|(_, w)| u64::from(*w)).sum();
            *sum -= moved;
            self.blocks.insert(at + 1, (moved, tail));
        }
    }

    /// Sum of the weights of all keys before this one.
    pub fn before(&self, key: K) -> u64 {
        let at = self.blocks.partition_point(|(_, entries)| entries[0].0 <= key).saturating_sub(1);
        let whole: u64 = self.blocks.iter().take(at).map(|(sum, _)| sum).sum();
        let part = self.blocks.get(at).map_or(0, |(_, entries)| {
            entries.iter().take_while(|(k, _)| *k < key).map(|(_, w)| u64::from(*w)).sum()
        });
        whole + part
    }

    /// The keys from this one on, in order; without one: all.
    pub fn keys_from(&self, key: Option<K>) -> impl Iterator<Item = K> + '_ {
        let at = key.map_or(0, |key| {
            self.blocks.partition_point(|(_, entries)| entries[0].0 <= key).saturating_sub(1)
        });
        let from = self.blocks[at..].iter().flat_map(|(_, entries)| entries.iter().map(|(k, _)| *k));
        from.skip_while(move |k| key.is_some_and(|key| *k < key))
    }

    /// All keys in order.
    pub fn keys(&self) -> impl Iterator<Item = K> + '_ {
        self.blocks.iter().flat_map(|(_, entries)| entries.iter().map(|(k, _)| *k))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn equals_a_map(ops in prop::collection::vec((0_u32..2000, 0_i64..4, any::<bool>()), 1..3000)) {
            let mut ranked = Ranked::default();
            let mut map: BTreeMap<u32, i64> = BTreeMap::new();
            for (key, amount, grow) in ops {
                let have = map.get(&key).copied().unwrap_or(0);
                let delta = if grow { amount } else { -amount.min(have) };
                ranked.add(key, delta);
                *map.entry(key).or_default() += delta;
                map.retain(|_, v| *v != 0);
                prop_assert_eq!(ranked.first(), map.keys().next().copied());
                let before: i64 = map.range(..key).map(|(_, v)| *v).sum();
                prop_assert_eq!(ranked.before(key), u64::try_from(before).unwrap());
                prop_assert!(ranked.keys_from(Some(key)).eq(map.range(key..).map(|(k, _)| *k)));
                prop_assert_eq!(ranked.total(), u64::try_from(map.values().sum::<i64>()).unwrap());
            }
            prop_assert!(ranked.keys().eq(map.keys().copied()));
        }
    }
}
