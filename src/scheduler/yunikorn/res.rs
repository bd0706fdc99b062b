//! Resources as YuniKorn's core reckons with them when it preempts: a map from type to amount that may be negative, in
//! which a type that is missing is not one that is zero, and which may be missing itself (`nil`).
//!
//! The operations are those of `pkg/common/resources/resources.go` by name; what each does with types that only one side
//! has is the whole point of them. Amounts stay far from the limits of 64 bits, where the real ones saturate.
//!
//! Cost: O(types) each; there are a handful.
use super::config::{Amounts, Usage};
use crate::cluster::PodSpec;

const VCORE: u16 = 0;
const MEMORY: u16 = 1;
const PODS: u16 = 2;
const FIRST_EXTENDED: u16 = 3;

/// Amounts by type, sorted by type; none: nil.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Res(Option<Vec<(u16, i64)>>);

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

impl Res {
    /// An empty map, which is not nil.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Some(Vec::new()))
    }

    /// A configured amount; nothing named is nil.
    #[must_use]
    pub fn configured(amounts: &Amounts) -> Self {
        if amounts.is_empty() {
            return Self(None);
        }
        let mut list = Vec::new();
        for (id, amount) in
            [(VCORE, amounts.cpu_millicores), (MEMORY, amounts.memory_bytes), (PODS, amounts.pods)]
        {
            list.extend(amount.map(|v| (id, signed(v))));
        }
        list.extend(amounts.extended.iter().map(|(id, v)| (FIRST_EXTENDED + id, signed(*v))));
        Self(Some(list))
    }

    /// What is in use: only types of which some is.
    #[must_use]
    pub fn used(usage: &Usage) -> Self {
        let mut list = Vec::new();
        for (id, amount) in [(VCORE, usage.cpu), (MEMORY, usage.memory), (PODS, usage.pods)] {
            if amount > 0 {
                list.push((id, signed(amount)));
            }
        }
        list.extend(
            (FIRST_EXTENDED..).zip(&usage.extended).filter(|(_, v)| **v > 0).map(|(id, v)| (id, signed(*v))),
        );
        Self(Some(list))
    }

    /// What a pod takes: what it asks for, and one pod.
    #[must_use]
    pub fn of_pod(spec: &PodSpec) -> Self {
        let mut usage = Usage::NONE;
        usage.add(spec);
        Self::used(&usage)
    }

    /// What is free of a node's resources: types that are used up are not there.
    #[must_use]
    pub fn free(amounts: impl Iterator<Item = (u16, u64, u64)>) -> Self {
        let left = amounts.map(|(id, used, total)| (id, signed(total) - signed(used)));
        Self(Some(left.filter(|(_, v)| *v != 0).collect()))
    }

    /// The types of a node, in the order of [`Self::free`].
    pub const NODE_TYPES: [u16; 3] = [VCORE, MEMORY, PODS];

    /// The type of an extended resource.
    #[must_use]
    pub const fn extended(id: u16) -> u16 {
        FIRST_EXTENDED + id
    }

    fn list(&self) -> &[(u16, i64)] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Types and amounts.
    pub fn types(&self) -> impl Iterator<Item = (u16, i64)> {
        self.list().iter().copied()
    }

    /// The amount of a type, if it is there.
    #[must_use]
    pub fn get(&self, id: u16) -> Option<i64> {
        self.list().iter().find(|(i, _)| *i == id).map(|(_, v)| *v)
    }

    fn or_zero(&self, id: u16) -> i64 {
        self.get(id).unwrap_or(0)
    }

    /// Sets the amount of a type.
    pub fn set(&mut self, id: u16, amount: i64) {
        let list = self.0.get_or_insert_with(Vec::new);
        match list.binary_search_by_key(&id, |(i, _)| *i) {
            Ok(at) => list[at].1 = amount,
            Err(at) => list.insert(at, (id, amount)),
        }
    }

    /// Whether it is nil.
    #[must_use]
    pub const fn is_nil(&self) -> bool {
        self.0.is_none()
    }

    /// `IsEmpty`: nil or without types.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list().is_empty()
    }

    /// `IsZero`.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.list().iter().all(|(_, v)| *v == 0)
    }

    /// `AddTo`.
    pub fn add(&mut self, more: &Self) {
        for (id, v) in more.types() {
            self.set(id, self.or_zero(id) + v);
        }
    }

    /// `SubFrom`.
    pub fn sub(&mut self, less: &Self) {
        for (id, v) in less.types() {
            self.set(id, self.or_zero(id) - v);
        }
    }

    /// `SubOnlyExisting`: types that only `less` has are left out.
    #[must_use]
    pub fn sub_only_existing(&self, less: &Self) -> Self {
        if less.is_nil() {
            return self.clone();
        }
        Self(self.0.as_ref().map(|list| list.iter().map(|(id, v)| (*id, v - less.or_zero(*id))).collect()))
    }

    /// `SubEliminateNegative`: what would be less than nothing is nothing.
    #[must_use]
    pub fn sub_eliminate_negative(&self, less: &Self) -> Self {
        let mut out = Self(Some(self.list().to_vec()));
        for (id, v) in less.types() {
            out.set(id, (out.or_zero(id) - v).max(0));
        }
        out
    }

    fn fit_in(&self, smaller: &Self, actual: bool) -> bool {
        smaller.types().all(|(id, v)| match self.get(id) {
            None if actual => true,
            larger => v <= larger.map_or(0, |l| if actual { l } else { l.max(0) }),
        })
    }

    /// `FitIn`: types that are missing here are zero.
    #[must_use]
    pub fn fits(&self, smaller: &Self) -> bool {
        self.fit_in(smaller, false)
    }

    /// `FitInActual`: types that are missing here don't count, and negative amounts hold nothing.
    #[must_use]
    pub fn fits_actual(&self, smaller: &Self) -> bool {
        self.fit_in(smaller, true)
    }

    fn both<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (i64, i64)> + 'a {
        let mine = self.types().map(|(id, v)| (v, other.or_zero(id)));
        mine.chain(other.types().map(|(id, v)| (self.or_zero(id), v)))
    }

    /// `Equals`: a type that is missing is zero, but nil equals nil only.
    #[must_use]
    pub fn equals(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (None, _) | (_, None) => false,
            _ => self.both(other).all(|(a, b)| a == b),
        }
    }

    /// `EqualsOrEmpty`.
    #[must_use]
    pub fn equals_or_empty(&self, other: &Self) -> bool {
        self.is_zero() && other.is_zero() || self.equals(other)
    }

    /// `StrictlyGreaterThanOrEquals`: no type is less than in `smaller`.
    #[must_use]
    pub fn at_least(&self, smaller: &Self) -> bool {
        self.both(smaller).all(|(a, b)| a >= b)
    }

    /// `StrictlyGreaterThanOnlyExisting` (or, with `or_equal`, `..OrEqualsOnlyExisting`): of the types that are here.
    #[must_use]
    pub fn exceeds_existing(&self, smaller: &Self, or_equal: bool) -> bool {
        let (mut not_equal, mut equal, mut common) = (false, false, false);
        for (id, v) in self.types() {
            if let Some(other) = smaller.get(id) {
                common = true;
                if other > v {
                    return false;
                }
                equal = true;
                not_equal |= other != v;
            }
        }
        if smaller.is_empty() && !self.is_empty() {
            self.types().all(|(_, v)| v > 0)
        } else if common {
            if or_equal { equal } else { not_equal }
        } else {
            !self.is_empty() && !smaller.is_empty()
        }
    }

    /// `ComponentWiseMin`: a type that one side lacks has the other side's amount.
    #[must_use]
    pub fn min(&self, other: &Self) -> Self {
        match (&self.0, &other.0) {
            (None, _) => other.clone(),
            (_, None) => self.clone(),
            _ => {
                let mut out = self.clone();
                for (id, v) in other.types() {
                    out.set(id, self.get(id).map_or(v, |mine| mine.min(v)));
                }
                out
            }
        }
    }

    /// `ComponentWiseMinOnlyExisting`: types that only `other` has are left out.
    #[must_use]
    pub fn min_only_existing(&self, other: &Self) -> Self {
        Self(
            self.0.as_ref().map(|list| {
                list.iter().map(|(id, v)| (*id, other.get(*id).map_or(*v, |o| o.min(*v)))).collect()
            }),
        )
    }

    /// `MergeIfNotPresent`: types that are missing here are taken from `other`.
    #[must_use]
    pub fn merge_if_not_present(&self, other: &Self) -> Self {
        match (&self.0, &other.0) {
            (None, _) => other.clone(),
            (_, None) => self.clone(),
            _ => {
                let mut out = self.clone();
                for (id, v) in other.types().filter(|(id, _)| self.get(*id).is_none()) {
                    out.set(id, v);
                }
                out
            }
        }
    }

    /// Keeps the types whose amounts pass.
    #[must_use]
    pub fn keep(&self, pick: impl Fn(i64) -> bool) -> Self {
        Self(self.0.as_ref().map(|list| list.iter().copied().filter(|(_, v)| pick(*v)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn res(list: &[(u16, i64)]) -> Res {
        Res(Some(list.to_vec()))
    }

    const NIL: Res = Res(None);

    /// `resources_test.go`, TestSubOnlyExisting, TestComponentWiseMinOnlyExisting, TestMergeIfNotPresent.
    #[test]
    fn what_only_one_side_has() {
        let (a, b) = (res(&[(0, 5), (1, 2)]), res(&[(0, 7), (2, 1)]));
        assert_eq!(a.sub_only_existing(&b), res(&[(0, -2), (1, 2)]));
        assert_eq!(a.sub_only_existing(&NIL), a);
        assert_eq!(NIL.sub_only_existing(&a), NIL);
        assert_eq!(a.min(&b), res(&[(0, 5), (1, 2), (2, 1)]));
        assert_eq!(a.min_only_existing(&b), res(&[(0, 5), (1, 2)]));
        assert_eq!(a.merge_if_not_present(&b), res(&[(0, 5), (1, 2), (2, 1)]));
        assert_eq!(NIL.min(&NIL), NIL);
        assert_eq!(NIL.min(&b), b);
        assert_eq!(a.sub_eliminate_negative(&b), res(&[(0, 0), (1, 2), (2, 0)]));
    }

    /// TestFitIn, TestFitInActual: what is missing on the larger side, and negative amounts.
    #[test]
    fn fits() {
        let larger = res(&[(0, 10)]);
        assert!(larger.fits(&NIL) && NIL.fits(&res(&[(0, 0)])));
        assert!(!larger.fits(&res(&[(1, 1)])));
        assert!(res(&[(0, -10)]).fits(&res(&[(0, 0)])), "negative amounts are zero");
        assert!(!res(&[(0, -10)]).fits_actual(&res(&[(0, 0)])));
        assert!(res(&[(0, -10)]).fits_actual(&res(&[(0, -10), (1, 5)])));
    }

    /// TestStrictlyGreaterThan and its relatives.
    #[test]
    fn greater() {
        assert!(NIL.at_least(&NIL));
        assert!(!res(&[(0, 10)]).at_least(&res(&[(0, 9), (1, 1)])));
        assert!(!res(&[(0, -1)]).at_least(&res(&[])));
    }

    /// TestStrictlyGreaterThanOnlyExisting, TestStrictlyGreaterThanOrEqualsOnlyExisting.
    #[test]
    fn greater_of_existing_types() {
        let empty = Res::empty();
        assert!(!NIL.exceeds_existing(&NIL, false) && !empty.exceeds_existing(&empty, true));
        assert!(res(&[(0, 5)]).exceeds_existing(&empty, false));
        assert!(!res(&[(0, 5), (1, 0)]).exceeds_existing(&empty, false));
        assert!(!res(&[(0, 5)]).exceeds_existing(&res(&[(0, 5)]), false));
        assert!(res(&[(0, 5)]).exceeds_existing(&res(&[(0, 5)]), true));
        assert!(res(&[(0, 6)]).exceeds_existing(&res(&[(0, 5), (1, 9)]), false));
        assert!(!res(&[(0, 4)]).exceeds_existing(&res(&[(0, 5)]), true));
        assert!(res(&[(0, 4)]).exceeds_existing(&res(&[(1, 5)]), false), "nothing in common");
    }

    /// TestEquals, TestEqualsOrEmpty.
    #[test]
    fn equal() {
        assert!(NIL.equals(&NIL) && !NIL.equals(&Res::empty()) && NIL.equals_or_empty(&Res::empty()));
        assert!(res(&[(0, 0), (1, 1)]).equals(&res(&[(1, 1)])));
        assert!(!res(&[(0, 1)]).equals_or_empty(&res(&[(0, 2)])));
    }
}
