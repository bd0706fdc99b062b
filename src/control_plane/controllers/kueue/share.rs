//! Fair sharing: how much of what a cohort lends one of its members has (`DominantResourceShare`).
//!
//! Source: `pkg/cache/scheduler/fair_sharing.go` of Kueue 0.19.2. Of each resource counts what a ClusterQueue or cohort uses beyond its quotas, all
//! flavors together, in thousandths of what its parent's members could have if nobody used anything. The largest is its share, divided by its weight. Of weight 0 the
//! share is infinite as soon as it is not zero, and two such compare by what was not divided.
//!
//! Kueue counts in floating point since 0.14, so that shares that would be equal as fractions may differ in the last bit, and that decides. This does the same: one product and
//! one quotient a resource, one quotient a share, none of them summed, each rounded as IEEE 754 says on every machine.
//!
//! Left out: which resource dominates, which only a status shows.
//!
//! Cost: O(cells).
use std::cmp::Ordering;

use super::quota::{Cell, Node, Quotas};

/// A share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    weight: f64,
    /// Thousandths, not divided by the weight.
    ratio: f64,
    borrows: bool,
}

impl Share {
    /// Less than any (`NegativeDRS`).
    pub const NONE: Self = Self { weight: 1.0, ratio: -1.0, borrows: false };

    /// Of a ClusterQueue or a cohort.
    #[must_use]
    pub fn of(quotas: &Quotas, node: Node) -> Self {
        let mut share = Self { weight: quotas.weight(node).value(), ratio: 0.0, borrows: false };
        let Some(parent) = quotas.parent(node) else { return share };
        for resource in 0..quotas.resources() {
            let cells = (resource..quotas.cells()).step_by(quotas.resources());
            let beyond = cells.map(|cell| (quotas.used(node, cell) - quotas.subtree(node, cell)).max(0));
            let borrowed = beyond.fold(0_i64, i64::saturating_add);
            let lendable = quotas.lendable(parent, resource);
            share.borrows |= borrowed > 0;
            if borrowed > 0 && lendable > 0 {
                share.ratio = share.ratio.max(borrowed as f64 * 1000.0 / lendable as f64);
            }
        }
        share
    }

    /// Whether it uses more than its quotas of anything.
    #[must_use]
    pub const fn borrows(&self) -> bool {
        self.borrows
    }

    fn is_infinite(&self) -> bool {
        self.weight == 0.0 && self.ratio != 0.0
    }

    fn weighted(&self) -> f64 {
        if self.ratio == 0.0 { 0.0 } else { self.ratio / self.weight }
    }

    /// As the status shows it: whole thousandths, rounded up (`roundedWeightedShare`).
    #[must_use]
    pub fn rounded(&self) -> i64 {
        if self.is_infinite() { i64::MAX } else { self.weighted().ceil() as i64 }
    }

    /// Who has the larger share (`CompareDRS`).
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self.is_infinite(), other.is_infinite()) {
            (true, true) => self.ratio.total_cmp(&other.ratio),
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => self.weighted().total_cmp(&other.weighted()),
        }
    }
}

/// Whether a node uses more than its quotas of something that is asked for (`IsBorrowingOn`).
#[must_use]
pub fn borrows_on(quotas: &Quotas, node: Node, usage: &[(Cell, i64)]) -> bool {
    usage.iter().any(|(cell, amount)| *amount > 0 && quotas.borrows(node, *cell, 0))
}
