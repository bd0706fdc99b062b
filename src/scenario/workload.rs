//! Workloads that many runs share: nodes, pods, their times, read or made once.
//!
//! The points of a sweep differ in limits, schedulers and seeds, rarely in the workload. A [`Workload`] is what resolving
//! makes of the scenario's cluster and workload; what grows with its pods is behind `Arc`s, so that handing it to another
//! run copies five bytes a pod. [`Workloads`] keeps them by the part of the scenario that they are made from. One in whose
//! making no random stream was used is the same under every seed; the others are kept by seed.
//!
//! Two runs that ask for the same workload at once make it once: the second waits.
//!
//! Left out: noticing that a trace changes while the process runs.
//!
//! Cost: O(scenario text) a look-up. Memory: the workloads in use, and of those used before at most the budget.
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::document::Document;
use super::duration::DurationNs;
use super::plan::{Creation, Lifetimes, OwnerPlan, Provenance, RecordedPod};
use super::resolve::DEFAULT_LIMIT_NS;
use super::spec::{ClusterSpec, Ignored, ScenarioSpec, WorkloadSpec};
use super::{Diagnostic, to_yaml};
use crate::cluster::Cluster;
use crate::control_plane::controllers::cron_job::CronJobSettings;
use crate::control_plane::controllers::daemon_set::DaemonSetSettings;
use crate::control_plane::stages::Facts;
use crate::engine::Nanos;

/// What is kept of workloads that no run uses, by default.
pub const BUDGET_BYTES: u64 = 512 << 20;
/// Bytes of a pod: spec, application, node, stage; then its times.
const POD_BYTES: u64 = 13;
/// Bytes of a node with its name.
const NODE_BYTES: u64 = 96;

/// Nodes and pods of a scenario, and when pods come and go.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    pub(super) cluster: Cluster,
    pub(super) creation: Creation,
    pub(super) lifetimes: Lifetimes,
    /// The template of each group of nodes.
    pub(super) templates: Vec<u32>,
    pub(super) found: Found,
}

/// What resolving finds out about the pods while it makes them: where they are from, and what owns them.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) provenance: Provenance,
    /// Largest virtual time of a scenario that doesn't say.
    pub(super) default_limit_ns: Nanos,
    /// Ranges of pods that belong to Deployments.
    pub(super) replica_sets: Vec<(u32, u32)>,
    /// What owns the ranges of pods that controllers make.
    pub(super) owners: Vec<OwnerPlan>,
    /// DaemonSets.
    pub(super) daemon_sets: Vec<DaemonSetSettings>,
    /// CronJobs.
    pub(super) cron_jobs: Vec<CronJobSettings>,
    /// Ranges of pods of objects beside what a load client creates.
    pub(super) beside: Vec<(u32, u32)>,
    /// How many of these are created when the run begins.
    pub(super) begun: usize,
    /// What stages read of pods, the first being nothing, and by application which of these its pods have.
    pub(super) facts: (Vec<Facts>, Vec<u32>),
}

impl Default for Found {
    fn default() -> Self {
        Self {
            provenance: Provenance::default(),
            default_limit_ns: DEFAULT_LIMIT_NS,
            replica_sets: Vec::new(),
            owners: Vec::new(),
            daemon_sets: Vec::new(),
            cron_jobs: Vec::new(),
            beside: Vec::new(),
            begun: 0,
            facts: (vec![Facts::default()], Vec::new()),
        }
    }
}

impl Workload {
    fn bytes(&self) -> u64 {
        let times = match &self.creation {
            Creation::Scheduled { times_ns } | Creation::ReplicaSets { times_ns, .. } => times_ns.len(),
            Creation::Existing | Creation::ClosedLoop { .. } => 0,
        };
        let spans = match &self.lifetimes {
            Lifetimes::Run(spans) | Lifetimes::Hold(spans) => spans.len(),
            Lifetimes::Endless => 0,
        };
        let recorded = self.found.provenance.recorded.len() * size_of::<RecordedPod>();
        self.cluster.pods.len() as u64 * POD_BYTES
            + self.cluster.nodes.len() as u64 * NODE_BYTES
            + ((times + spans) * size_of::<Nanos>() + recorded) as u64
    }
}

/// What a workload is made from.
#[derive(Serialize)]
struct Key<'a> {
    directory: String,
    scheduler: &'a str,
    has_config: bool,
    ignore: &'a [Ignored],
    cluster: &'a ClusterSpec,
    workload: &'a WorkloadSpec,
    /// CronJobs have a Job for each of their times before it.
    limit: Option<DurationNs>,
}

/// The text of everything of a scenario that its workload depends on, besides the seed.
fn key(spec: &ScenarioSpec, document: &Document) -> Option<String> {
    // Whoever adds a field decides here whether workloads depend on it.
    let ScenarioSpec {
        api_version: _,
        kind: _,
        name: _,
        description: _,
        seed: _,
        hosts: _,
        cluster,
        control_plane: _,
        scheduler,
        workload,
        faults: _,
        stop,
        measure: _,
        expect: _,
        thresholds: _,
    } = spec;
    let directory = document.directory().map_or_else(String::new, |d| d.display().to_string());
    // The scheduler decides on default queues and on gangs.
    let ignore = &scheduler.ignore;
    let (scheduler, has_config) = (scheduler.kind.as_str(), scheduler.config.is_some());
    let limit = stop.limit.filter(|_| !workload.cron_jobs.is_empty() || !workload.manifests.is_empty());
    to_yaml(&Key { limit, directory, scheduler, has_config, ignore, cluster, workload }).ok()
}

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Unknown,
    /// The same under every seed.
    Shared(Box<Workload>),
    BySeed(BTreeMap<u64, Workload>),
}

#[derive(Debug, Default)]
struct Kept {
    slots: FxHashMap<String, Arc<Mutex<Slot>>>,
    /// What is kept, oldest first: key, seed if it has one, bytes.
    order: VecDeque<(String, Option<u64>, u64)>,
    bytes: u64,
}

/// Workloads by what they are made from.
#[derive(Debug)]
pub struct Workloads {
    kept: Mutex<Kept>,
    budget_bytes: u64,
}

impl Default for Workloads {
    fn default() -> Self {
        Self::with_budget(BUDGET_BYTES)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workloads {
    /// Keeps at most so many bytes of workloads that were used.
    #[must_use]
    pub fn with_budget(budget_bytes: u64) -> Self {
        Self { kept: Mutex::default(), budget_bytes }
    }

    /// The scenario's workload under a seed. `make` says besides what it made whether the seed mattered, and what is wrong:
    /// then nothing is kept.
    pub(super) fn get(
        &self,
        spec: &ScenarioSpec,
        document: &Document,
        seed: u64,
        make: impl FnOnce() -> (Workload, bool, Vec<Diagnostic>),
    ) -> (Workload, Vec<Diagnostic>) {
        let Some(key) = key(spec, document) else {
            let (workload, _, errors) = make();
            return (workload, errors);
        };
        let slot = Arc::clone(lock(&self.kept).slots.entry(key.clone()).or_default());
        let mut held = lock(&slot);
        match &*held {
            Slot::Shared(workload) => return ((**workload).clone(), Vec::new()),
            Slot::BySeed(by_seed) => {
                if let Some(workload) = by_seed.get(&seed) {
                    return (workload.clone(), Vec::new());
                }
                // Other seeds need not wait for this one.
                drop(held);
                let (workload, _, errors) = make();
                if errors.is_empty() {
                    if let Slot::BySeed(by_seed) = &mut *lock(&slot) {
                        by_seed.insert(seed, workload.clone());
                    }
                    self.note(key, Some(seed), workload.bytes());
                }
                return (workload, errors);
            }
            Slot::Unknown => {}
        }
        let (workload, by_seed, errors) = make();
        if errors.is_empty() {
            *held = if by_seed {
                Slot::BySeed([(seed, workload.clone())].into())
            } else {
                Slot::Shared(Box::new(workload.clone()))
            };
            drop(held);
            self.note(key, by_seed.then_some(seed), workload.bytes());
        }
        (workload, errors)
    }

    /// Notes that a workload is kept, and gives up the oldest ones beyond the budget.
    fn note(&self, key: String, seed: Option<u64>, bytes: u64) {
        let mut kept = lock(&self.kept);
        kept.bytes += bytes;
        kept.order.push_back((key, seed, bytes));
        while kept.bytes > self.budget_bytes {
            let Some((key, seed, bytes)) = kept.order.pop_front() else { break };
            kept.bytes -= bytes;
            let Some(slot) = kept.slots.get(&key).cloned() else { continue };
            // A slot with something in it is held for moments only: nothing is made under its lock.
            let mut slot = lock(&slot);
            match (&mut *slot, seed) {
                (Slot::BySeed(by_seed), Some(seed)) => drop(by_seed.remove(&seed)),
                (held @ Slot::Shared(_), None) => *held = Slot::Unknown,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Document, resolve_shared};
    use super::*;
    use crate::cost::ProfileLibrary;
    use crate::scenario::plan::Plan;
    use crate::scheduler::Registry;

    const SCENARIO: &str = "apiVersion: podpace/v1
kind: Scenario
name: s
cluster: {nodes: [{count: 3, template: {allocatable: {cpu: 32, memory: 128Gi}}}]}
scheduler: {kind: kube-scheduler}
workload: {pods: [{count: 100, requests: {cpu: 100m}, runTime: 10s}], arrivals: {process: constant, rate: 10}}
";

    fn plan(workloads: &Workloads, sets: &[&str]) -> Plan {
        let mut document = Document::parse("s.yaml", SCENARIO, None).unwrap();
        for set in sets {
            document.set(set).unwrap();
        }
        let spec = document.decode_scenario().unwrap();
        let (profiles, registry) = (ProfileLibrary::built_in(), Registry::built_in());
        resolve_shared(&spec, &document, &profiles, &registry, workloads).unwrap()
    }

    fn times(plan: &Plan) -> &Arc<Vec<Nanos>> {
        match &plan.creation {
            Creation::Scheduled { times_ns } => times_ns,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn runs_share_what_neither_seed_nor_setting_changes() {
        let workloads = Workloads::default();
        let first = plan(&workloads, &["seed=1"]);
        let second = plan(&workloads, &["seed=2", "scheduler.client.qps=7"]);
        assert!(Arc::ptr_eq(times(&first), times(&second)));
        let more = plan(&workloads, &["workload.pods[0].count=101"]);
        assert_eq!((times(&first).len(), times(&more).len()), (100, 101));
        assert_eq!(lock(&workloads.kept).order.len(), 2);
    }

    #[test]
    fn what_is_drawn_belongs_to_its_seed() {
        let workloads = Workloads::default();
        for set in ["workload.arrivals.process=poisson", "workload.pods[0].runTime={min: 1s, max: 9s}"] {
            let of = |seed: &str| plan(&workloads, &[set, seed]);
            let alone = |seed: &str| plan(&Workloads::default(), &[set, seed]);
            let (one, two, again) = (of("seed=1"), of("seed=2"), of("seed=1"));
            assert_ne!((&one.creation, &one.lifetimes), (&two.creation, &two.lifetimes), "{set}");
            assert!(Arc::ptr_eq(times(&one), times(&again)));
            for (shared, seed) in [(&one, "seed=1"), (&two, "seed=2")] {
                let fresh = alone(seed);
                assert_eq!((&shared.creation, &shared.lifetimes), (&fresh.creation, &fresh.lifetimes));
            }
        }
    }

    #[test]
    fn the_oldest_go_first_beyond_the_budget() {
        let workloads = Workloads::with_budget(10_000);
        let first = Arc::downgrade(times(&plan(&workloads, &["workload.pods[0].count=110"])));
        assert!(first.upgrade().is_some());
        let second = Arc::downgrade(times(&plan(&workloads, &["workload.pods[0].count=120"])));
        assert!(first.upgrade().is_some() && second.upgrade().is_some());
        plan(&workloads, &["workload.pods[0].count=130"]);
        assert!(first.upgrade().is_none() && second.upgrade().is_some());
        // One that is larger than the budget is used and forgotten.
        let large = Arc::downgrade(times(&plan(&workloads, &["workload.pods[0].count=5000"])));
        assert!(large.upgrade().is_none());
    }
}
