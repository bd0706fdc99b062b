//! Kueue's preemption: who is evicted. The facts of `TestPreemption` in `pkg/scheduler/preemption/preemption_test.go` of Kueue 0.19, a line each, and
//! whole runs in which jobs are suspended and begin again.
use std::collections::{BTreeMap, BTreeSet};

use podpace::control_plane::controllers::kueue::config::{
    ClusterQueue, Config, Flavor, Group, Policy, Preemption, Resource, Workload,
};
use podpace::control_plane::controllers::kueue::cycle::{Cycles, Why};
use podpace::control_plane::controllers::kueue::preemption::{Holder, Reason, Search};
use podpace::control_plane::controllers::kueue::quota::{Quota, Quotas};
use podpace::engine::SECOND;
use podpace::experiment::simulation::{Ended, Finished, Simulation};
use podpace::scheduler::Registry;

use crate::support;

const NEVER: Policy = Policy::Never;
const LOWER: Policy = Policy::LowerPriority;
const ANY: Policy = Policy::Any;
/// CPU and memory of the flavor `default`, memory of `alpha` and of `beta`.
const CPU: usize = 0;
const MEMORY: usize = 1;
const ALPHA: usize = 3;
const BETA: usize = 5;

fn preemption(within: Policy, reclaim: Policy, threshold: Option<i32>) -> Preemption {
    Preemption {
        within_cluster_queue: within,
        reclaim_within_cohort: reclaim,
        borrow_within_cohort: threshold.is_some(),
        max_priority_threshold: threshold,
    }
}

/// (name, cohort, (nominal, borrowing limit, lending limit) of CPU and memory, preemption); memory of the standalone queue is by flavors.
fn queues() -> Vec<ClusterQueue> {
    let quota = |nominal, borrowing_limit, lending_limit| Quota { nominal, borrowing_limit, lending_limit };
    let none = Quota::default();
    let both = |n: i64, limits: Option<(i64, i64)>| {
        let [cpu, memory] = [limits.map(|l| l.0), limits.map(|l| l.1)];
        vec![quota(n, cpu, None), quota(3, memory, None), none, none, none, none]
    };
    let cpu = |n, borrow, lend| vec![quota(n, borrow, lend), none, none, none, none, none];
    let standalone = vec![quota(6, None, None), none, none, quota(3, None, None), none, quota(3, None, None)];
    let three = vec![quota(2, None, None), quota(2, None, None), none, none, none, none];
    let no = preemption(NEVER, NEVER, None);
    let shared = |within, reclaim| preemption(within, reclaim, Some(0));
    [
        ("standalone", None, standalone, preemption(LOWER, NEVER, None)),
        ("c1", Some(0), both(6, Some((6, 3))), preemption(LOWER, LOWER, None)),
        ("c2", Some(0), both(6, Some((6, 3))), preemption(NEVER, ANY, None)),
        ("d1", Some(1), both(6, None), preemption(LOWER, LOWER, None)),
        ("d2", Some(1), both(6, None), preemption(NEVER, ANY, None)),
        ("l1", Some(2), both(6, Some((12, 6))), preemption(LOWER, LOWER, None)),
        (
            "preventStarvation",
            None,
            cpu(6, None, None),
            preemption(Policy::LowerOrNewerEqualPriority, NEVER, None),
        ),
        ("a_standard", Some(3), cpu(1, Some(12), None), shared(NEVER, LOWER)),
        ("b_standard", Some(3), cpu(1, Some(12), None), shared(LOWER, ANY)),
        ("a_best_effort", Some(3), cpu(1, Some(12), None), shared(NEVER, LOWER)),
        ("b_best_effort", Some(3), cpu(0, Some(13), None), shared(NEVER, LOWER)),
        ("shared", Some(3), cpu(10, None, None), no),
        ("lend1", Some(4), cpu(6, None, Some(4)), preemption(LOWER, LOWER, None)),
        ("lend2", Some(4), cpu(6, None, Some(2)), preemption(LOWER, LOWER, None)),
        ("a", Some(5), three.clone(), preemption(LOWER, ANY, None)),
        ("b", Some(5), three.clone(), no),
        ("c", Some(5), three, no),
    ]
    .into_iter()
    .map(|(name, cohort, quotas, preemption)| ClusterQueue {
        name: name.to_owned(),
        cohort,
        quotas,
        preemption,
        ..ClusterQueue::default()
    })
    .collect()
}

/// A workload: its queue, its priority, what it uses, when it was created and when quota was reserved for it, in s.
type Given<'a> = (&'a str, i32, &'a [(usize, i64)], u64, u64);

/// Who is evicted (by number) and why, given what is short.
fn evicted(holders: &[Given<'_>], incoming: Given<'_>, short: &[usize]) -> BTreeSet<(u32, Reason)> {
    let queues = queues();
    let cells: Vec<_> = queues.iter().map(|q| (q.cohort, q.quotas.clone())).collect();
    let mut quotas = Quotas::new(&cells);
    let all: Vec<Given<'_>> = holders.iter().copied().chain([incoming]).collect();
    let at = |name: &str| queues.iter().position(|q| q.name == name).unwrap();
    let workloads: Vec<Workload> = (all.iter())
        .map(|(queue, priority, ..)| Workload {
            queue: at(queue),
            priority: *priority,
            ..Workload::default()
        })
        .collect();
    let created_ns: BTreeMap<u32, u64> = (0..).zip(all.iter().map(|w| w.3 * SECOND)).collect();
    let mut held = BTreeMap::new();
    for (id, (queue, _, usage, _, reserved)) in (0..).zip(holders) {
        usage.iter().for_each(|(cell, amount)| quotas.add(at(queue), *cell, *amount));
        held.insert(id, Holder { usage: usage.to_vec(), reserved_ns: reserved * SECOND, evicted: false });
    }
    let config = Config { queues: queues.clone(), workloads, ..Config::default() };
    let before = quotas.clone();
    let preemptor = holders.len() as u32;
    let search = Search { config: &config, holders: &held, created_ns: &created_ns, preemptor };
    let targets = search.targets(&mut quotas, &short.iter().copied().collect(), incoming.2);
    assert_eq!(quotas, before, "a search changes nothing");
    targets.into_iter().collect()
}

/// `TestPreemption`: each of its cases over these queues that has one set of pods. A workload whose priority the test leaves out has 0.
#[test]
fn the_real_tests_cases() {
    use Reason::{
        InClusterQueue as Own, InCohortReclaimWhileBorrowing as Borrowing, InCohortReclamation as Reclaim,
    };
    type Case<'a> = (
        &'a str,
        &'a [(&'a str, i32, i64)],
        (&'a str, i32, &'a [(usize, i64)]),
        &'a [usize],
        &'a [(u32, Reason)],
    );
    let cases: &[Case<'_>] = &[
        (
            "preempt lowest priority",
            &[("standalone", -1, 2), ("standalone", 0, 2), ("standalone", 1, 2)],
            ("standalone", 1, &[(CPU, 2)]),
            &[CPU],
            &[(0, Own)],
        ),
        (
            "preempt multiple",
            &[("standalone", -1, 2), ("standalone", 0, 2), ("standalone", 1, 2)],
            ("standalone", 1, &[(CPU, 3)]),
            &[CPU],
            &[(0, Own), (1, Own)],
        ),
        (
            "no preemption for low priority",
            &[("standalone", -1, 3), ("standalone", 0, 3)],
            ("standalone", -1, &[(CPU, 1)]),
            &[CPU],
            &[],
        ),
        (
            "not enough low priority workloads",
            &[("standalone", -1, 3), ("standalone", 0, 3)],
            ("standalone", 0, &[(CPU, 4)]),
            &[CPU],
            &[],
        ),
        (
            "some free quota, preempt low priority",
            &[("standalone", -1, 1), ("standalone", 0, 1), ("standalone", 1, 3)],
            ("standalone", 1, &[(CPU, 2)]),
            &[CPU],
            &[(0, Own)],
        ),
        (
            "minimal set excludes low priority",
            &[("standalone", -1, 1), ("standalone", 0, 2), ("standalone", 1, 3)],
            ("standalone", 1, &[(CPU, 2)]),
            &[CPU],
            &[(1, Own)],
        ),
        (
            "reclaim quota from borrower",
            &[("c1", -1, 3), ("c2", 0, 3), ("c2", 1, 6)],
            ("c1", 1, &[(CPU, 3)]),
            &[CPU],
            &[(1, Reclaim)],
        ),
        ("no workloads borrowing", &[("c1", 1, 4), ("c2", -1, 4)], ("c1", 1, &[(CPU, 4)]), &[CPU], &[]),
        (
            "not enough workloads borrowing",
            &[("c1", 1, 4), ("c2", -1, 4), ("c2", -1, 4)],
            ("c1", 1, &[(CPU, 4)]),
            &[CPU],
            &[],
        ),
        (
            "locally, borrowing other resources, without cohort candidates",
            &[("c1", -1, 4), ("c2", -1, 4), ("c2", 1, 4)],
            ("c1", 1, &[(CPU, 4), (MEMORY, 5)]),
            &[CPU, MEMORY],
            &[(0, Own)],
        ),
        (
            "locally, borrowing the same resource",
            &[("c1", 0, 4), ("c1", -1, 4), ("c2", -1, 4)],
            ("c1", 1, &[(CPU, 4)]),
            &[CPU],
            &[(1, Own)],
        ),
        (
            "locally, borrowing the same resource, no limit",
            &[("d1", 0, 4), ("d1", -1, 4), ("d2", -1, 4)],
            ("d1", 1, &[(CPU, 4)]),
            &[CPU],
            &[(1, Own)],
        ),
        (
            "locally, borrowing other resources, with cohort candidates",
            &[("c1", 0, 4), ("c2", -1, 5), ("c2", -1, 1), ("c2", -1, 1)],
            ("c1", 1, &[(CPU, 2), (MEMORY, 5)]),
            &[CPU, MEMORY],
            &[(0, Own)],
        ),
        (
            "locally, not borrowing, in a cohort of one queue",
            &[("l1", 0, 4), ("l1", -1, 2)],
            ("l1", 1, &[(CPU, 4)]),
            &[CPU],
            &[(0, Own)],
        ),
        (
            "do not reclaim from the same priority",
            &[("c1", 0, 2), ("c2", 0, 4), ("c2", 0, 4)],
            ("c1", 0, &[(CPU, 4)]),
            &[CPU],
            &[],
        ),
        (
            "reclaim from the same priority by Any",
            &[("c1", 0, 4), ("c1", 1, 4), ("c2", 0, 2)],
            ("c2", 0, &[(CPU, 4)]),
            &[CPU],
            &[(0, Reclaim)],
        ),
        (
            "preempt from all ClusterQueues in cohort",
            &[("c1", -1, 3), ("c1", 0, 2), ("c2", -1, 3), ("c2", 0, 4)],
            ("c1", 0, &[(CPU, 4)]),
            &[CPU],
            &[(0, Own), (2, Reclaim)],
        ),
        ("withinClusterQueue=Never", &[("c2", -1, 3)], ("c2", 1, &[(CPU, 4)]), &[CPU], &[]),
        (
            "borrowWithinCohort: lower priority, while borrowing",
            &[("a_best_effort", -1, 10), ("b_best_effort", -1, 1)],
            ("a_standard", 0, &[(CPU, 10)]),
            &[CPU],
            &[(0, Borrowing)],
        ),
        (
            "borrowWithinCohort: not above the threshold, if borrowing",
            &[("b_standard", 1, 10)],
            ("a_standard", 2, &[(CPU, 10)]),
            &[CPU],
            &[],
        ),
        (
            "borrowWithinCohort: above the threshold, if not borrowing",
            &[("b_standard", 1, 13)],
            ("a_standard", 2, &[(CPU, 1)]),
            &[CPU],
            &[(0, Reclaim)],
        ),
        (
            "borrowWithinCohort: not from the same ClusterQueue",
            &[("a_standard", 1, 13)],
            ("a_standard", 2, &[(CPU, 1)]),
            &[CPU],
            &[],
        ),
        (
            "borrowWithinCohort: only from the queue",
            &[("a_standard", 1, 10), ("a_standard", 1, 1), ("b_standard", 1, 1), ("b_standard", 2, 1)],
            ("b_standard", 3, &[(CPU, 1)]),
            &[CPU],
            &[(2, Own)],
        ),
        (
            "borrowWithinCohort: from the queue and from others below the threshold",
            &[
                ("b_standard", 2, 10),
                ("b_standard", 1, 1),
                ("a_best_effort", -1, 1),
                ("a_best_effort", -2, 1),
            ],
            ("b_standard", 2, &[(CPU, 2)]),
            &[CPU],
            &[(1, Own), (3, Borrowing)],
        ),
        (
            "reclaim quota from lender",
            &[("lend1", -1, 3), ("lend2", 0, 3), ("lend2", 1, 4)],
            ("lend1", 1, &[(CPU, 3)]),
            &[CPU],
            &[(1, Reclaim)],
        ),
        (
            "preempt from all ClusterQueues in cohort-lend",
            &[("lend1", -1, 3), ("lend1", 0, 2), ("lend2", -1, 3), ("lend2", 0, 4)],
            ("lend1", 0, &[(CPU, 4)]),
            &[CPU],
            &[(0, Own), (2, Reclaim)],
        ),
        ("beyond the lending limit", &[("lend2", -1, 10)], ("lend1", 0, &[(CPU, 9)]), &[CPU], &[]),
        (
            "the queue is exhausted",
            &[("a", -2, 1), ("a", -2, 1), ("a", -1, 1), ("b", 0, 1), ("b", 0, 1), ("b", 0, 1)],
            ("a", 0, &[(CPU, 2)]),
            &[CPU],
            &[(0, Own), (1, Own)],
        ),
        (
            "exhausted for one resource, but not the other",
            &[("a", -2, 1), ("a", -2, 1), ("a", -1, 1), ("b", 0, 1), ("b", 0, 1), ("b", 0, 1)],
            ("a", 0, &[(CPU, 2), (MEMORY, 2)]),
            &[CPU, MEMORY],
            &[(0, Own), (1, Own)],
        ),
        (
            "from others if the queue is not exhausted",
            &[("a", -1, 1), ("b", 0, 1), ("b", 0, 1), ("b", 0, 1), ("b", 0, 1), ("b", -1, 1)],
            ("a", 0, &[(CPU, 2)]),
            &[CPU],
            &[(0, Own), (5, Reclaim)],
        ),
    ];
    for (name, holders, (queue, priority, asks), short, expected) in cases {
        let usage: Vec<[(usize, i64); 1]> = holders.iter().map(|h| [(CPU, h.2)]).collect();
        let holders: Vec<Given<'_>> =
            holders.iter().zip(&usage).map(|(h, usage)| (h.0, h.1, &usage[..], 0, 0)).collect();
        let got = evicted(&holders, (queue, *priority, asks, 0, 0), short);
        assert_eq!(got, expected.iter().copied().collect(), "{name}");
    }
}

/// "only preempt workloads using the chosen flavor".
#[test]
fn only_users_of_the_flavor_that_is_short_go() {
    let holders: [Given<'_>; 3] = [
        ("standalone", -1, &[(ALPHA, 2)], 0, 0),
        ("standalone", 0, &[(BETA, 1)], 0, 0),
        ("standalone", 1, &[(BETA, 1)], 0, 0),
    ];
    let incoming: Given<'_> = ("standalone", 1, &[(CPU, 1), (BETA, 2)], 0, 0);
    assert_eq!(evicted(&holders, incoming, &[BETA]), BTreeSet::from([(1, Reason::InClusterQueue)]));
}

/// "preempt newer workloads with the same priority": by `LowerOrNewerEqualPriority` the one created after the incoming one goes.
#[test]
fn newer_ones_of_the_same_priority_go() {
    let holders: [Given<'_>; 3] = [
        ("preventStarvation", 2, &[(CPU, 2)], 100, 100),
        ("preventStarvation", 1, &[(CPU, 2)], 100, 101),
        ("preventStarvation", 1, &[(CPU, 2)], 100, 100),
    ];
    let incoming: Given<'_> = ("preventStarvation", 1, &[(CPU, 2)], 85, 0);
    assert_eq!(evicted(&holders, incoming, &[CPU]), BTreeSet::from([(1, Reason::InClusterQueue)]));
    let incoming: Given<'_> = ("preventStarvation", 1, &[(CPU, 2)], 100, 0);
    assert_eq!(evicted(&holders, incoming, &[CPU]), BTreeSet::new());
}

/// A queue of 10 CPUs with jobs of (CPUs, priority), by the policy.
fn one_queue(jobs: &[(i64, i32)], strict: bool) -> Config {
    Config {
        flavors: vec![Flavor::default()],
        resources: vec![Resource::Cpu],
        queues: vec![ClusterQueue {
            groups: vec![Group { resources: vec![Resource::Cpu], flavors: vec![0] }],
            quotas: vec![Quota { nominal: 10, ..Quota::default() }],
            strict,
            preemption: preemption(LOWER, NEVER, None),
            ..ClusterQueue::default()
        }],
        workloads: (jobs.iter().enumerate())
            .map(|(index, (cpu, priority))| Workload {
                pods: (index as u32, index as u32 + 1),
                spec: index as u32,
                priority: *priority,
                requests: vec![(Resource::Cpu, *cpu)],
                suits: vec![vec![true]],
                ..Workload::default()
            })
            .collect(),
        ..Config::default()
    }
}

/// A preemptor holds its place until those that go are gone, evicts each once, and they wait as old as they are (`GetQueueOrderTimestamp`).
#[test]
fn a_preemptor_waits_at_the_head_for_what_it_evicts() {
    for strict in [false, true] {
        let c = one_queue(&[(6, 0), (3, 0), (6, 5), (1, 0)], strict);
        let mut cycles = Cycles::new(&c);
        cycles.push(&c, 0, 0);
        cycles.push(&c, 1, SECOND);
        assert_eq!(cycles.run(&c, SECOND).admitted, [0]);
        assert_eq!(cycles.run(&c, 2 * SECOND).admitted, [1]);
        cycles.push(&c, 2, 3 * SECOND);
        cycles.push(&c, 3, 4 * SECOND);
        let outcome = cycles.run(&c, 4 * SECOND);
        assert_eq!(outcome.preempted, [(0, Reason::InClusterQueue)]);
        assert_eq!(outcome.others, [(2, Why::Preempting)]);
        // Again and again, and nobody is evicted twice.
        let outcome = cycles.run(&c, 5 * SECOND);
        assert!(outcome.preempted.is_empty());
        assert_eq!(outcome.others, [(2, Why::Preempting)]);
        cycles.release(&c, 0);
        cycles.push_again(&c, 0);
        assert_eq!(cycles.run(&c, 6 * SECOND).admitted, [2]);
        // The one that was evicted is older than the last, but does not fit.
        let outcome = cycles.run(&c, 7 * SECOND);
        assert_eq!(outcome.others, [(0, Why::Quota)]);
        let next = cycles.run(&c, 8 * SECOND);
        assert_eq!(next.admitted, if strict { vec![] } else { vec![3] });
    }
}

const OBJECTS: &str = "
apiVersion: kueue.x-k8s.io/v1beta2
kind: ResourceFlavor
metadata: {name: default}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: a}
spec:
  cohortName: all
  namespaceSelector: {}
  preemption: {withinClusterQueue: LowerPriority, reclaimWithinCohort: Any}
  resourceGroups:
    - {coveredResources: [cpu], flavors: [{name: default, resources: [{name: cpu, nominalQuota: 8}]}]}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: b}
spec:
  cohortName: all
  namespaceSelector: {}
  resourceGroups:
    - {coveredResources: [cpu], flavors: [{name: default, resources: [{name: cpu, nominalQuota: 8}]}]}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {name: a, namespace: default}
spec: {clusterQueue: a}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {name: b, namespace: default}
spec: {clusterQueue: b}
";

fn simulation(rest: &str) -> Simulation {
    let text = format!(
        "cluster: {{nodes: [{{count: 2, template: {{allocatable: {{cpu: 8, memory: 32Gi}}}}}}]}}\nscheduler: {{kind: kube-scheduler, kueue: {{objects: [queues.yaml]}}}}\n{rest}"
    );
    let plan = support::plan(&[("queues.yaml", OBJECTS)], &text).unwrap();
    Simulation::new(&plan, &Registry::built_in()).unwrap()
}

const RECLAIM: &str = "controlPlane: {apiServer: {}, nodeLifecycle: {kind: kwok}}\nstop: {when: allFinished, limit: 10m}\nworkload: {jobs: [{completions: 16, requests: {cpu: 1}, queue: b, runTime: 40s}, {completions: 8, requests: {cpu: 1}, queue: a, runTime: 10s}], arrivals: {interval: 20s}}";

/// b has borrowed all of a's quota; when a's job comes b's is suspended, its pods are deleted, a's job runs, and b's begins anew.
#[test]
fn a_job_that_is_preempted_begins_again() {
    let run = simulation(RECLAIM).run();
    assert_eq!(run.ended, Ended::Done);
    let admissions = run.admissions.as_ref().unwrap();
    assert_eq!(admissions.preemptions, Some(1));
    let pods = &run.cluster.pods;
    let bound = |pod: u32| pods.timeline(pod).bound_ns;
    let finished = |pod: u32| pods.timeline(pod).finished_ns;
    assert!((0..16).all(|p| bound(p) < 5 * SECOND && (20 * SECOND..30 * SECOND).contains(&finished(p))));
    assert!((16..24).all(|p| (20 * SECOND..30 * SECOND).contains(&bound(p))), "{}", bound(16));
    // Sixteen new pods for b, after a's job has ended, and they run for as long as the first would have.
    assert_eq!(pods.len(), 40);
    assert!((24..40).all(|p| bound(p) > finished(23) && finished(p) >= bound(p) + 40 * SECOND));
}

/// A run that pauses while jobs are evicted is the one that does not.
#[test]
fn an_eviction_survives_a_pause() {
    let finish =
        |run: &Finished| -> Vec<u64> { (0..40).map(|p| run.cluster.pods.timeline(p).finished_ns).collect() };
    let whole = simulation(RECLAIM).run();
    let registry = Registry::built_in();
    for pause_ms in [20_010, 20_100, 20_500, 21_000, 22_000] {
        let text = format!(
            "cluster: {{nodes: [{{count: 2, template: {{allocatable: {{cpu: 8, memory: 32Gi}}}}}}]}}\nscheduler: {{kind: kube-scheduler, kueue: {{objects: [queues.yaml]}}}}\n{RECLAIM}"
        );
        let plan = support::plan(&[("queues.yaml", OBJECTS)], &text).unwrap();
        let mut first = Simulation::new(&plan, &registry).unwrap();
        assert_eq!(first.advance(pause_ms * SECOND / 1000), None);
        let mut bytes = Vec::new();
        first.save(&mut bytes).unwrap();
        let again = Simulation::restore(&plan, &registry, &bytes).unwrap().run();
        assert_eq!(finish(&whole), finish(&again), "{pause_ms} ms");
    }
}
