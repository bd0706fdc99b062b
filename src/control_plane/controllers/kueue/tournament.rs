//! Fair sharing: which head is next in a cycle.
//!
//! Source: `pkg/scheduler/fair_sharing_iterator.go` of Kueue 0.19.2. In each cohort the heads of its ClusterQueues and the winners of its child cohorts meet, and the winner goes up, until one is
//! left at the root. A head counts with what it asks for: the share of the member that it stands for, as if it were admitted.
//! It wins over another if its member does not borrow what it asks for and the other's does, then by the smaller share, then by priority, then by age. A head without a cohort meets nobody.
//!
//! After each head shares are computed anew: what it got, or keeps for itself, counts for those that follow.
//!
//! Trees are independent of one another, and Kueue takes them at random; here the one with the first ClusterQueue is next. Heads that are
//! alike in all of that go by the order of cohorts and ClusterQueues.
//!
//! Cost: O(heads of the tree x depth x (cells + log heads)) a head.
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use super::quota::{Cell, Node, Quotas};
use super::share::{Share, borrows_on};
use crate::engine::Nanos;

/// A head.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Its ClusterQueue.
    pub queue: usize,
    /// What it asks for.
    pub usage: &'a [(Cell, i64)],
    /// Its priority.
    pub priority: i32,
    /// When it was created, ns.
    pub created_ns: Nanos,
}

/// What a head counts for in a cohort.
#[derive(Clone, Copy, Debug)]
struct Standing {
    borrows: bool,
    share: Share,
}

/// The heads that meet in a cohort, with the members that they stand for.
type Contenders = Vec<(Node, usize)>;

/// The index of the next head, of heads in the order of their ClusterQueues. `quotas` are as before afterwards.
#[must_use]
pub fn next(quotas: &mut Quotas, heads: &[Head<'_>]) -> usize {
    let Some(root) = heads.first().and_then(|head| quotas.root(head.queue)) else { return 0 };
    let mut standings: BTreeMap<(Node, usize), Standing> = BTreeMap::new();
    // The deepest cohort first, so that each is decided before its parent.
    let mut meetings: BTreeMap<(Reverse<usize>, Node), Contenders> = BTreeMap::new();
    let key = |quotas: &Quotas, cohort: Node| (Reverse(quotas.depth(cohort)), cohort);
    for (index, head) in heads.iter().enumerate() {
        let Some(cohort) = quotas.parent(head.queue) else { continue };
        if quotas.root(head.queue) != Some(root) {
            continue;
        }
        head.usage.iter().for_each(|(cell, amount)| quotas.add(head.queue, *cell, *amount));
        let mut member = head.queue;
        while let Some(cohort) = quotas.parent(member) {
            let borrows = borrows_on(quotas, member, head.usage);
            standings.insert((cohort, index), Standing { borrows, share: Share::of(quotas, member) });
            member = cohort;
        }
        head.usage.iter().for_each(|(cell, amount)| quotas.remove(head.queue, *cell, *amount));
        meetings.entry(key(quotas, cohort)).or_default().push((head.queue, index));
    }
    let mut winner = 0;
    while let Some(((_, cohort), mut contenders)) = meetings.pop_first() {
        contenders.sort_by_key(|(member, _)| (quotas.is_queue(*member), *member));
        let standing = |index: usize| (&heads[index], &standings[&(cohort, index)]);
        // Of equals the first.
        let best = contenders.into_iter().map(|(_, head)| head);
        let Some(best) = best.min_by(|a, b| compare(standing(*a), standing(*b))) else { continue };
        match quotas.parent(cohort) {
            Some(parent) => meetings.entry(key(quotas, parent)).or_default().push((cohort, best)),
            None => winner = best,
        }
    }
    winner
}

/// Less: the first goes before the second (`entryComparer.less`).
fn compare(a: (&Head<'_>, &Standing), b: (&Head<'_>, &Standing)) -> Ordering {
    let by_share = a.1.borrows.cmp(&b.1.borrows).then_with(|| a.1.share.compare(&b.1.share));
    by_share.then(b.0.priority.cmp(&a.0.priority)).then(a.0.created_ns.cmp(&b.0.created_ns))
}
