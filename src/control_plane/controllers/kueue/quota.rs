//! Quotas of ClusterQueues and what a cohort lends.
//!
//! Source: `pkg/cache/scheduler/resource_node.go` of Kueue 0.19.2. Each ClusterQueue has a nominal quota for each flavor of each
//! resource. What it does not use is its cohort's, but for what it does not lend (`lendingLimit`); beyond its own it
//! takes the cohort's, up to `borrowingLimit`. A queue's use counts in the cohort from where its unlent part ends.
//!
//! Left out: cohorts of cohorts, quotas of a cohort itself.
//!
//! Cost: O(1) a question.

/// Which flavor, and which resource.
pub type Cell = usize;

/// A quota of a ClusterQueue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Quota {
    /// `nominalQuota`.
    pub nominal: i64,
    /// `borrowingLimit`; none: whatever the cohort has.
    pub borrowing_limit: Option<i64>,
    /// `lendingLimit`; none: all of it.
    pub lending_limit: Option<i64>,
}

impl Quota {
    /// What is never lent.
    const fn local(&self) -> i64 {
        match self.lending_limit {
            Some(limit) if self.nominal > limit => self.nominal - limit,
            _ => 0,
        }
    }
}

/// Quotas and use of all ClusterQueues.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Quotas {
    cells: usize,
    /// By ClusterQueue, then cell.
    quotas: Vec<Quota>,
    used: Vec<i64>,
    cohort_of: Vec<Option<usize>>,
    /// By cohort, then cell: what its queues bring, and what they use of it.
    brought: Vec<i64>,
    taken: Vec<i64>,
}

impl Quotas {
    /// Of ClusterQueues with their cohorts' indices and their quotas by cell.
    #[must_use]
    pub fn new(queues: &[(Option<usize>, Vec<Quota>)]) -> Self {
        let cells = queues.first().map_or(0, |(_, quotas)| quotas.len());
        let cohorts = queues.iter().filter_map(|(cohort, _)| *cohort).max().map_or(0, |most| most + 1);
        let mut it = Self {
            cells,
            quotas: queues.iter().flat_map(|(_, quotas)| quotas.iter().copied()).collect(),
            used: vec![0; cells * queues.len()],
            cohort_of: queues.iter().map(|(cohort, _)| *cohort).collect(),
            brought: vec![0; cells * cohorts],
            taken: vec![0; cells * cohorts],
        };
        for (queue, (cohort, quotas)) in queues.iter().enumerate() {
            debug_assert_eq!(quotas.len(), cells, "queue {queue}");
            let Some(cohort) = cohort else { continue };
            for (cell, quota) in quotas.iter().enumerate() {
                it.brought[cohort * cells + cell] += quota.nominal - quota.local();
            }
        }
        it
    }

    fn quota(&self, queue: usize, cell: Cell) -> &Quota {
        &self.quotas[queue * self.cells + cell]
    }

    /// A queue's nominal quota.
    #[must_use]
    pub fn nominal(&self, queue: usize, cell: Cell) -> i64 {
        self.quota(queue, cell).nominal
    }

    /// A queue's limit of borrowing.
    #[must_use]
    pub fn borrowing_limit(&self, queue: usize, cell: Cell) -> Option<i64> {
        self.quota(queue, cell).borrowing_limit
    }

    /// What a queue uses.
    #[must_use]
    pub fn used(&self, queue: usize, cell: Cell) -> i64 {
        self.used[queue * self.cells + cell]
    }

    /// Whether a queue may borrow at all.
    #[must_use]
    fn has_cohort(&self, queue: usize) -> bool {
        self.cohort_of[queue].is_some()
    }

    /// What a queue may use besides (`available`).
    #[must_use]
    pub fn available(&self, queue: usize, cell: Cell) -> i64 {
        let (quota, used) = (self.quota(queue, cell), self.used(queue, cell));
        let Some(cohort) = self.cohort_of[queue] else { return quota.nominal - used };
        let at = cohort * self.cells + cell;
        let mut of_cohort = self.brought[at] - self.taken[at];
        let local = quota.local();
        if let Some(limit) = quota.borrowing_limit {
            let stored = quota.nominal - local;
            let used_there = (used - local).max(0);
            of_cohort = of_cohort.min(stored - used_there + limit);
        }
        (local - used).max(0) + of_cohort
    }

    /// What a queue may use if nobody uses anything (`potentialAvailable`).
    #[must_use]
    pub fn potential(&self, queue: usize, cell: Cell) -> i64 {
        let quota = self.quota(queue, cell);
        let Some(cohort) = self.cohort_of[queue] else { return quota.nominal };
        let all = quota.local() + self.brought[cohort * self.cells + cell];
        quota.borrowing_limit.map_or(all, |limit| all.min(quota.nominal + limit))
    }

    /// Whether a queue borrows if it uses so much more.
    #[must_use]
    pub fn borrows(&self, queue: usize, cell: Cell, more: i64) -> bool {
        self.has_cohort(queue) && self.used(queue, cell) + more > self.nominal(queue, cell)
    }

    /// A queue uses more (`addUsage`).
    pub fn add(&mut self, queue: usize, cell: Cell, more: i64) {
        let local = self.quota(queue, cell).local();
        let at = queue * self.cells + cell;
        let unlent = (local - self.used[at]).max(0);
        self.used[at] += more;
        if let Some(cohort) = self.cohort_of[queue].filter(|_| more > unlent) {
            self.taken[cohort * self.cells + cell] += more - unlent;
        }
    }

    /// A queue uses less (`removeUsage`).
    pub fn remove(&mut self, queue: usize, cell: Cell, less: i64) {
        let local = self.quota(queue, cell).local();
        let at = queue * self.cells + cell;
        let there = self.used[at] - local;
        self.used[at] -= less;
        if let Some(cohort) = self.cohort_of[queue].filter(|_| there > 0) {
            self.taken[cohort * self.cells + cell] -= less.min(there);
        }
    }
}
