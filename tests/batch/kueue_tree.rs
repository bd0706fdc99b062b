//! Trees of ClusterQueues and cohorts for the tests of Kueue's decisions, with workloads that hold quota, and trees at random.
use std::collections::{BTreeMap, BTreeSet};

use podpace::control_plane::controllers::kueue::config::{
    ClusterQueue, Cohort, Config, Flavor, Group, Policy, Preemption, Resource, Strategies, Weight, Workload,
};
use podpace::control_plane::controllers::kueue::preemption::{Holder, Reason, Search};
use podpace::control_plane::controllers::kueue::quota::{Quota, Quotas};
use proptest::prelude::*;

pub(crate) const NONE: Preemption = preemption(Policy::Never, Policy::Never);
pub(crate) const RECLAIM: Preemption = preemption(Policy::Never, Policy::Any);
pub(crate) const LOWER: Preemption = preemption(Policy::LowerPriority, Policy::Never);
pub(crate) const BOTH: Preemption = preemption(Policy::LowerPriority, Policy::Any);

pub(crate) const fn preemption(within: Policy, reclaim: Policy) -> Preemption {
    Preemption {
        within_cluster_queue: within,
        reclaim_within_cohort: reclaim,
        borrow_within_cohort: false,
        max_priority_threshold: None,
    }
}

pub(crate) const fn nominal(nominal: i64) -> Quota {
    Quota { nominal, borrowing_limit: None, lending_limit: None }
}

pub(crate) const fn limited(nominal: i64, borrowing_limit: i64) -> Quota {
    Quota { nominal, borrowing_limit: Some(borrowing_limit), lending_limit: None }
}

pub(crate) const fn unlent(nominal: i64) -> Quota {
    Quota { nominal, borrowing_limit: None, lending_limit: Some(0) }
}

/// Thousandths.
pub(crate) const fn weight(milli: u128) -> Weight {
    Weight(milli * 1_000_000)
}

/// Queues and cohorts: each with its name, its cohort, its quotas by flavor and then resource, its weight in thousandths.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) config: Config,
}

impl Tree {
    /// Of so many flavors and resources (CPU first).
    pub(crate) fn new(flavors: usize, resources: u16) -> Self {
        let flavors = (0..flavors).map(|f| Flavor { name: format!("f{f}"), ..Flavor::default() }).collect();
        let others = (1..resources).map(Resource::Extended);
        let resources = std::iter::once(Resource::Cpu).chain(others).collect();
        Self { config: Config { flavors, resources, fair: Some(Strategies::Both), ..Config::default() } }
    }

    pub(crate) fn cohort_index(&mut self, name: &str) -> usize {
        let cohorts = &mut self.config.cohorts;
        cohorts.iter().position(|c| c.name == name).unwrap_or_else(|| {
            cohorts.push(Cohort { name: name.to_owned(), ..Cohort::default() });
            cohorts.len() - 1
        })
    }

    pub(crate) fn cohort(mut self, name: &str, parent: &str, quotas: &[Quota], milli: u128) -> Self {
        let at = self.cohort_index(name);
        let parent = (!parent.is_empty()).then(|| self.cohort_index(parent));
        let cohort = &mut self.config.cohorts[at];
        (cohort.parent, cohort.quotas, cohort.weight) = (parent, quotas.to_vec(), weight(milli));
        self
    }

    pub(crate) fn queue(
        mut self,
        name: &str,
        cohort: &str,
        quotas: &[Quota],
        milli: u128,
        preemption: Preemption,
    ) -> Self {
        let cohort = (!cohort.is_empty()).then(|| self.cohort_index(cohort));
        let resources = self.config.resources.clone();
        let flavors = (0..self.config.flavors.len()).collect();
        self.config.queues.push(ClusterQueue {
            name: name.to_owned(),
            cohort,
            groups: vec![Group { resources, flavors }],
            quotas: quotas.to_vec(),
            weight: weight(milli),
            preemption,
            ..ClusterQueue::default()
        });
        self
    }

    pub(crate) fn index(&self, name: &str) -> usize {
        self.config.queues.iter().position(|q| q.name == name).unwrap()
    }

    /// The number of a queue or a cohort.
    pub(crate) fn node(&self, name: &str) -> usize {
        let cohort = || self.config.cohorts.iter().position(|c| c.name == name).unwrap();
        let queue = self.config.queues.iter().position(|q| q.name == name);
        queue.unwrap_or_else(|| self.config.queues.len() + cohort())
    }
}

/// A workload that holds quota: its name, its queue, thousandths of a CPU, its priority, its flavor.
#[derive(Clone, Debug)]
pub(crate) struct Held<'a> {
    pub(crate) queue: &'a str,
    pub(crate) milli: i64,
    pub(crate) priority: i32,
    pub(crate) flavor: usize,
}

/// So many of a queue, each of so many CPUs.
pub(crate) fn held<'a>(queue: &'a str, cpus: &[f64]) -> Vec<Held<'a>> {
    let milli = |cpus: &f64| (cpus * 1000.0) as i64;
    cpus.iter().map(|c| Held { queue, milli: milli(c), priority: 0, flavor: 0 }).collect()
}

pub(crate) fn with_priority<'a>(queue: &'a str, given: &[(f64, i32)]) -> Vec<Held<'a>> {
    let one =
        |(cpus, priority): &(f64, i32)| Held { priority: *priority, ..held(queue, &[*cpus])[0].clone() };
    given.iter().map(one).collect()
}

/// Asks a search: `usages` are what those that hold quota use if it is not CPUs alone, `evicted` who is on the way out.
pub(crate) fn search<R>(
    tree: &Tree,
    holders: &[Held<'_>],
    incoming: &Held<'_>,
    usages: &[Vec<(usize, i64)>],
    evicted: &[u32],
    ask: impl FnOnce(&Search<'_>, &mut Quotas) -> R,
) -> R {
    let all: Vec<&Held<'_>> = holders.iter().chain([incoming]).collect();
    let mut config = tree.config.clone();
    config.workloads = (all.iter())
        .map(|w| Workload { queue: tree.index(w.queue), priority: w.priority, ..Workload::default() })
        .collect();
    let mut quotas = Quotas::of(&config);
    let mut by_id = BTreeMap::new();
    for (id, w) in (0..).zip(holders) {
        let cell = w.flavor * config.resources.len();
        let usage = usages.get(id as usize).cloned().unwrap_or_else(|| vec![(cell, w.milli)]);
        usage.iter().for_each(|(cell, amount)| quotas.add(tree.index(w.queue), *cell, *amount));
        by_id.insert(id, Holder { usage, reserved_ns: 0, evicted: evicted.contains(&id) });
    }
    let created_ns: BTreeMap<u32, u64> = (0..all.len() as u32).map(|id| (id, 0)).collect();
    let before = quotas.clone();
    let preemptor = holders.len() as u32;
    let search = Search { config: &config, holders: &by_id, created_ns: &created_ns, preemptor };
    let answer = ask(&search, &mut quotas);
    assert_eq!(quotas, before, "a search changes nothing");
    answer
}

/// Who goes, by the name of its queue and its number in it, from 1.
pub(crate) fn evicted(tree: &Tree, holders: &[Held<'_>], incoming: &Held<'_>) -> BTreeSet<(String, Reason)> {
    let cell = incoming.flavor * tree.config.resources.len();
    let targets = search(tree, holders, incoming, &[], &[], |search, quotas| {
        search.targets(quotas, &BTreeSet::from([cell]), &[(cell, incoming.milli)])
    });
    let name = |id: u32| {
        let queue = holders[id as usize].queue;
        let number = holders[..=id as usize].iter().filter(|w| w.queue == queue).count();
        format!("{queue}{number}")
    };
    targets.into_iter().map(|(id, reason)| (name(id), reason)).collect()
}

/// A tree of cohorts (each below one of a smaller number, or a root), and queues in them.
pub(crate) fn trees() -> impl Strategy<Value = Tree> {
    let quota = (0..8i64, proptest::option::of(0..8i64), proptest::option::of(0..8i64)).prop_map(
        |(nominal, borrowing_limit, lending_limit)| Quota { nominal, borrowing_limit, lending_limit },
    );
    let shared = Preemption { borrow_within_cohort: true, ..BOTH };
    let policy = prop_oneof![Just(NONE), Just(RECLAIM), Just(LOWER), Just(BOTH), Just(shared)];
    let cohort = (0..6usize, quota.clone(), prop_oneof![Just(0), 1..3000u128]);
    let queue = (0..6usize, quota.clone(), quota, prop_oneof![Just(0), 1..3000u128], policy);
    (prop::collection::vec(cohort, 1..5), prop::collection::vec(queue, 2..6), 0..4_usize).prop_map(
        |(cohorts, queues, strategies)| {
            let mut tree = Tree::new(2, 1);
            let names = ["r", "s", "t", "u", "v"];
            for (at, (above, quota, milli)) in cohorts.iter().enumerate() {
                let parent = (*above < at).then(|| names[*above]);
                tree = tree.cohort(names[at], parent.unwrap_or(""), &[*quota, nominal(1)], *milli);
            }
            for (at, (cohort, first, second, milli, policy)) in queues.into_iter().enumerate() {
                let cohort = names[cohort % cohorts.len()];
                let lendable =
                    |q: Quota| Quota { lending_limit: q.lending_limit.map(|l| l.min(q.nominal)), ..q };
                let name = ["a", "b", "c", "d", "e"][at];
                tree = tree.queue(name, cohort, &[lendable(first), lendable(second)], milli, policy);
            }
            let all = [Strategies::Both, Strategies::FinalShare, Strategies::InitialShare];
            tree.config.fair = all.get(strategies).copied();
            tree
        },
    )
}
