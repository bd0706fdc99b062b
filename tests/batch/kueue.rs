//! Kueue: quotas, cycles, and jobs through a whole run. Facts from `pkg/scheduler/scheduler_test.go` and `pkg/cache/scheduler` of Kueue 0.19.2 are restated with
//! numbers of their own where theirs need preemption or admission checks.
use std::collections::BTreeMap;

use podpace::control_plane::controllers::kueue::config::{
    ClusterQueue, Config, Flavor, Group, Resource, Workload,
};
use podpace::control_plane::controllers::kueue::cycle::{Cycles, Why};
use podpace::control_plane::controllers::kueue::quota::{Quota, Quotas};
use podpace::engine::SECOND;
use podpace::experiment::simulation::{Ended, Finished, Simulation};
use podpace::scenario::plan::Plan;
use podpace::scheduler::Registry;
use proptest::prelude::*;

use crate::support;

const fn quota(nominal: i64, borrowing_limit: Option<i64>, lending_limit: Option<i64>) -> Quota {
    Quota { nominal, borrowing_limit, lending_limit }
}

/// `resource_node.go`: what a queue has, what it may borrow, and what others took.
#[test]
fn a_cohort_lends_what_its_queues_do_not_use() {
    // Two queues with 10 each; b borrows at most 3; a lends at most 4.
    let mut q = Quotas::new(&[
        (Some(0), vec![quota(10, None, Some(4))]),
        (Some(0), vec![quota(10, Some(3), None)]),
        (None, vec![quota(7, None, None)]),
    ]);
    assert_eq!([0, 1, 2].map(|queue| q.available(queue, 0)), [20, 13, 7]);
    assert_eq!([0, 1, 2].map(|queue| q.potential(queue, 0)), [20, 13, 7]);
    q.add(1, 0, 13);
    assert!(q.used(1, 0) > q.nominal(1, 0));
    // Of a's ten, b has three of the four that are lent.
    assert_eq!([0, 1].map(|queue| q.available(queue, 0)), [7, 0]);
    q.add(0, 0, 7);
    assert_eq!(q.available(0, 0), 0);
    q.remove(1, 0, 13);
    assert_eq!([0, 1].map(|queue| q.available(queue, 0)), [13, 13]);
    q.remove(0, 0, 7);
    assert_eq!(
        q,
        Quotas::new(&[
            (Some(0), vec![quota(10, None, Some(4))]),
            (Some(0), vec![quota(10, Some(3), None)]),
            (None, vec![quota(7, None, None)]),
        ])
    );
}

/// Queues over one resource and some flavors.
fn config(queues: Vec<(Option<usize>, bool, Vec<Quota>)>, jobs: &[(usize, i64, i32)]) -> Config {
    let flavors = queues.first().map_or(0, |(_, _, quotas)| quotas.len());
    let groups = vec![Group { resources: vec![Resource::Cpu], flavors: (0..flavors).collect() }];
    Config {
        flavors: (0..flavors).map(|f| Flavor { name: format!("f{f}"), ..Flavor::default() }).collect(),
        resources: vec![Resource::Cpu],
        queues: queues
            .into_iter()
            .enumerate()
            .map(|(index, (cohort, strict, quotas))| ClusterQueue {
                name: format!("q{index}"),
                cohort,
                groups: groups.clone(),
                quotas,
                strict,
                ..ClusterQueue::default()
            })
            .collect(),
        workloads: jobs
            .iter()
            .enumerate()
            .map(|(index, (queue, cpu, priority))| Workload {
                pods: (index as u32, index as u32 + 1),
                spec: index as u32,
                queue: *queue,
                priority: *priority,
                requests: vec![(Resource::Cpu, *cpu)],
                suits: vec![vec![true; flavors]],
                combined: Vec::new(),
            })
            .collect(),
        ..Config::default()
    }
}

fn started(config: &Config) -> Cycles {
    let mut cycles = Cycles::new(config);
    for id in 0..config.workloads.len() as u32 {
        cycles.push(config, id, u64::from(id) * SECOND);
    }
    cycles
}

/// Admitted by each of the next cycles, until nothing more comes.
fn admitted(config: &Config, cycles: &mut Cycles) -> Vec<Vec<u32>> {
    let mut all = Vec::new();
    for _ in 0..50 {
        if !cycles.has_heads() {
            break;
        }
        let outcome = cycles.run(config, 0);
        all.push(outcome.admitted);
    }
    while all.last().is_some_and(Vec::is_empty) {
        all.pop();
    }
    all
}

/// One head a ClusterQueue a cycle, in the order of priority and age.
#[test]
fn a_cycle_admits_one_head_of_each_queue() {
    let c = config(
        vec![(None, false, vec![quota(10, None, None)]), (None, false, vec![quota(10, None, None)])],
        &[(0, 2, 0), (0, 2, 5), (1, 2, 0), (1, 2, 0)],
    );
    assert_eq!(admitted(&c, &mut started(&c)), [vec![1, 2], vec![0, 3]]);
}

/// A `StrictFIFO` queue waits behind its head; a `BestEffortFIFO` one goes on with those that fit.
#[test]
fn strict_queues_block_behind_their_head() {
    let jobs = [(0, 20, 0), (0, 3, 0), (0, 4, 0)];
    let strict = config(vec![(None, true, vec![quota(10, None, None)])], &jobs);
    assert_eq!(admitted(&strict, &mut started(&strict)), Vec::<Vec<u32>>::new());
    let lax = config(vec![(None, false, vec![quota(10, None, None)])], &jobs);
    let mut cycles = started(&lax);
    assert_eq!(admitted(&lax, &mut cycles), [vec![], vec![1], vec![2]]);
    let waiting: Vec<_> = cycles.waiting().collect();
    assert_eq!(waiting, [(0, Some(Why::ExceedsQuota))]);
}

/// Those that do not borrow go before those that do, and priority before age among the others (`makeClassicalIterator`).
#[test]
fn nominal_quota_goes_before_borrowing() {
    let cohort = || Some(0);
    let queues =
        || vec![(cohort(), false, vec![quota(4, None, None)]), (cohort(), false, vec![quota(4, None, None)])];
    // The first of q0 is older and of higher priority, but would borrow.
    let c = config(queues(), &[(0, 6, 9), (1, 4, 0)]);
    let mut cycles = started(&c);
    let outcome = cycles.run(&c, 0);
    assert_eq!(outcome.admitted, [1]);
    assert_eq!(outcome.others, [(0, Why::Lost)]);
    // Both would borrow: priority.
    let c = config(queues(), &[(0, 5, 0), (1, 5, 1)]);
    assert_eq!(started(&c).run(&c, 0).admitted[0], 1);
}

/// A queue whose own quota is lent out keeps its place: with its head waiting within nominal quota no other borrows what it needs
/// (`reserveCapacityForUnreclaimablePreempt`).
#[test]
fn what_a_queue_waits_for_is_not_lent_again() {
    let queues = vec![
        (Some(0), false, vec![quota(10, None, None)]),
        (Some(0), false, vec![quota(10, None, None)]),
        (Some(0), false, vec![quota(0, None, None)]),
    ];
    // q0 borrows five of q1's; q1 waits for ten; q2 would borrow five that are left.
    let c = config(queues, &[(0, 15, 0), (1, 10, 0), (2, 5, 0)]);
    let mut cycles = Cycles::new(&c);
    cycles.push(&c, 0, 0);
    assert_eq!(cycles.run(&c, 0).admitted[0], 0);
    cycles.push(&c, 1, SECOND);
    cycles.push(&c, 2, SECOND);
    let outcome = cycles.run(&c, 0);
    assert_eq!(outcome.others, [(1, Why::Quota), (2, Why::Lost)]);
    // Released, it gets its own.
    let queue = cycles.release(&c, 0);
    assert!(cycles.requeue(&c, queue));
    assert_eq!(cycles.run(&c, 0).admitted[0], 1);
}

/// `whenCanBorrow`: the first flavor that fits, borrowed or not; or with `TryNextFlavor` the first that needs no borrowing.
#[test]
fn flavors_are_tried_in_order() {
    let queues = || {
        vec![
            (Some(0), false, vec![quota(2, None, None), quota(10, None, None)]),
            (Some(0), false, vec![quota(10, None, None), quota(0, None, None)]),
        ]
    };
    let flavors = |c: &Config| {
        let mut cycles = started(c);
        assert_eq!(cycles.run(c, 0).admitted, [0]);
        cycles.flavors_of(0)
    };
    let mut c = config(queues(), &[(0, 5, 0)]);
    assert_eq!(flavors(&c), [0]);
    c.queues[0].tries_next_before_borrowing = true;
    assert_eq!(flavors(&c), [1]);
    // A flavor that does not suit is passed over.
    c.queues[0].tries_next_before_borrowing = false;
    c.workloads[0].suits = vec![vec![false, true]];
    assert_eq!(flavors(&c), [1]);
    c.workloads[0].suits = vec![vec![false, false]];
    assert_eq!(started(&c).run(&c, 0).others, [(0, Why::NoFlavor)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    /// No queue uses more than its nominal quota and what it may borrow, no cohort more than all of its queues bring; and
    /// what can be admitted is, once everything else has left.
    #[test]
    fn quotas_hold_in_any_order(
        quotas in prop::collection::vec((0_i64..20, prop::option::of(0_i64..10), prop::option::of(0_i64..20), any::<bool>()), 1..5),
        jobs in prop::collection::vec((0_usize..5, 1_i64..25, 0_i32..3), 1..40),
        leaves in prop::collection::vec(0_usize..40, 0..60),
    ) {
        let queues: Vec<_> = quotas
            .iter()
            .map(|(nominal, borrow, lend, strict)| {
                (Some(0), *strict, vec![quota(*nominal, *borrow, lend.map(|l| l.min(*nominal)))])
            })
            .collect();
        let jobs: Vec<_> = jobs.iter().map(|(q, cpu, p)| (q % queues.len(), *cpu, *p)).collect();
        let total: i64 = quotas.iter().map(|q| q.0).sum();
        let c = config(queues, &jobs);
        let mut cycles = started(&c);
        let mut running: Vec<u32> = Vec::new();
        let mut leaves = leaves.into_iter();
        let mut idle = 0;
        for _ in 0..4000 {
            let outcome = cycles.run(&c, 0);
            running.extend(&outcome.admitted);
            let mut used = 0;
            for queue in 0..c.queues.len() {
                let q = cycles.quotas();
                used += q.used(queue, 0);
                let of_queue: i64 =
                    running.iter().map(|id| &jobs[*id as usize]).filter(|j| j.0 == queue).map(|j| j.1).sum();
                prop_assert_eq!(of_queue, q.used(queue, 0));
                prop_assert!(q.used(queue, 0) <= q.potential(queue, 0));
                if let Some(limit) = q.borrowing_limit(queue, 0) {
                    prop_assert!(q.used(queue, 0) <= q.nominal(queue, 0) + limit);
                }
            }
            prop_assert!(used <= total);
            idle = if outcome.admitted.is_empty() { idle + 1 } else { 0 };
            // Each head has been tried.
            if idle > jobs.len() {
                idle = 0;
                let Some(pick) = leaves.next().or(Some(0)).filter(|_| !running.is_empty()) else { break };
                let left = running.swap_remove(pick % running.len());
                let queue = cycles.release(&c, left);
                cycles.requeue(&c, queue);
            }
        }
        // Only what can never fit, or stands behind such a one in a strict queue, is left.
        let stuck: BTreeMap<usize, Vec<u32>> = cycles.waiting().fold(BTreeMap::new(), |mut by, (id, _)| {
            by.entry(jobs[id as usize].0).or_insert_with(Vec::new).push(id);
            by
        });
        for (queue, ids) in stuck {
            let never = |id: &u32| jobs[*id as usize].1 > cycles.quotas().potential(queue, 0);
            prop_assert!(ids.iter().any(never), "queue {queue}: {ids:?}");
            prop_assert!(c.queues[queue].strict || ids.iter().all(never), "queue {queue}: {ids:?}");
        }
    }
}

const OBJECTS: &str = "
apiVersion: kueue.x-k8s.io/v1beta2
kind: ResourceFlavor
metadata: {name: on-demand}
spec: {nodeLabels: {pool: a}}
---
apiVersion: kueue.x-k8s.io/v1beta1
kind: ResourceFlavor
metadata: {name: spot}
spec:
  nodeLabels: {pool: b}
  nodeTaints: [{key: spot, effect: NoSchedule}]
  tolerations: [{key: spot, operator: Exists, effect: NoSchedule}]
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: team-a}
spec:
  cohortName: all
  namespaceSelector: {}
  resourceGroups:
    - coveredResources: [cpu]
      flavors:
        - {name: on-demand, resources: [{name: cpu, nominalQuota: 8, borrowingLimit: 0}]}
        - {name: spot, resources: [{name: cpu, nominalQuota: 8}]}
---
# the other team
apiVersion: kueue.x-k8s.io/v1beta1
kind: ClusterQueue
metadata: {name: team-b}
spec:
  cohort: all
  namespaceSelector: {}
  queueingStrategy: StrictFIFO
  preemption: {withinClusterQueue: Never}
  resourceGroups:
    - coveredResources: [cpu]
      flavors:
        - {name: on-demand, resources: [{name: cpu, nominalQuota: \"4\"}]}
        - {name: spot, resources: [{name: cpu, nominalQuota: 0}]}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {name: a, namespace: default}
spec: {clusterQueue: team-a}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {name: b, namespace: default}
spec: {clusterQueue: team-b}
";

const CLUSTER: &str = "nodes: [{count: 2, template: {allocatable: {cpu: 8, memory: 32Gi}, labels: {pool: a}}}, {count: 2, template: {allocatable: {cpu: 8, memory: 32Gi}, labels: {pool: b}, taints: [{key: spot, effect: NoSchedule}]}}]";

fn plan(objects: &str, rest: &str) -> Result<Plan, String> {
    let kueue = "scheduler: {kind: kube-scheduler, kueue: {objects: [queues.yaml]}}";
    support::plan(&[("queues.yaml", objects)], &format!("cluster: {{{CLUSTER}}}\n{kueue}\n{rest}"))
}

fn run(objects: &str, rest: &str) -> Finished {
    Simulation::new(&plan(objects, rest).unwrap(), &Registry::built_in()).unwrap().run()
}

/// Jobs that fit are admitted at once, go to the nodes of their flavor, and give their quota back a second after they have ended, at
/// which time the next begins.
#[test]
fn jobs_wait_for_quota_and_go_to_their_flavor() {
    let rest = "stop: {when: allFinished, limit: 10m}\nworkload: {jobs: [{count: 3, completions: 8, requests: {cpu: 1}, queue: a, runTime: 20s}, {completions: 4, requests: {cpu: 1}, queue: b, runTime: 20s}]}";
    let run = run(OBJECTS, rest);
    assert_eq!(run.ended, Ended::Done);
    let pods = &run.cluster.pods;
    let node_of = |pod: u32| run.cluster.nodes.get(pods.node(pod)).name.clone();
    assert!((0..8).all(|p| node_of(p).starts_with("node-")), "the first job is on demand");
    assert!((8..16).all(|p| node_of(p).starts_with("node1-")), "the second on spot");
    let bound = |pod: u32| pods.timeline(pod).bound_ns;
    assert!((0..16).chain(24..28).all(|p| bound(p) < 3 * SECOND));
    // 20 s of run time and a second's batch after the first.
    assert!((16..24).all(|p| (21 * SECOND..25 * SECOND).contains(&bound(p))), "{}", bound(16));
    let admissions = run.admissions.unwrap();
    assert_eq!(admissions.created, 4);
    assert_eq!(admissions.wait_ns.len(), 4);
    assert!(admissions.wait_ns[3] > 20 * SECOND && admissions.wait_ns[2] < SECOND);
    assert!(admissions.pending.is_empty());
}

/// What waits for ever says what for; and the run ends.
#[test]
fn what_is_never_admitted_says_why() {
    let rest = "workload: {jobs: [{completions: 30, requests: {cpu: 1}, queue: a}, {completions: 3, requests: {cpu: 1}, queue: b}, {completions: 20, requests: {cpu: 1}, queue: b}, {completions: 1, requests: {cpu: 1}, queue: b}]}";
    let run = run(OBJECTS, rest);
    assert_eq!(run.ended, Ended::Stalled);
    assert_eq!(run.counts.bound, 3);
    assert_eq!(run.pending_reasons.get("quota: more than ClusterQueue team-a can ever have"), Some(&30));
    assert_eq!(run.pending_reasons.get("quota: more than ClusterQueue team-b can ever have"), Some(&20));
    assert_eq!(run.pending_reasons.get("quota: waits behind others in ClusterQueue team-b"), Some(&1));
}

/// A run that pauses and goes on is the one that does not.
#[test]
fn a_run_that_is_saved_goes_on_as_it_would_have() {
    let rest = "controlPlane: {apiServer: {}, nodeLifecycle: {kind: kwok}}\nstop: {when: allFinished, limit: 10m}\nworkload: {jobs: [{count: 6, completions: 5, requests: {cpu: 1}, queue: a, runTime: 20s}, {count: 3, completions: 4, requests: {cpu: 1}, queue: b, runTime: 9s}]}";
    let plan = plan(OBJECTS, rest).unwrap();
    let registry = Registry::built_in();
    let times = |run: &Finished| -> Vec<_> { (0..42).map(|p| *run.cluster.pods.timeline(p)).collect() };
    let whole = Simulation::new(&plan, &registry).unwrap().run();
    let mut first = Simulation::new(&plan, &registry).unwrap();
    assert_eq!(first.advance(15 * SECOND), None);
    let mut bytes = Vec::new();
    first.save(&mut bytes).unwrap();
    let again = Simulation::restore(&plan, &registry, &bytes).unwrap().run();
    assert_eq!(times(&whole), times(&again));
    assert_eq!(whole.admissions, again.admissions);
}

/// "The control plane sets an immutable label kubernetes.io/metadata.name on all namespaces. The value of the label is the
/// namespace name." (Namespaces, "Automatic labelling"): a selector may name it.
#[test]
fn a_namespace_has_its_name_as_a_label() {
    let job = "workload: {jobs: [{completions: 1, requests: {cpu: 1}, queue: a, runTime: 1s}]}";
    let selects = |name: &str| {
        let selector = format!("namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {name}}}}}");
        plan(&OBJECTS.replacen("namespaceSelector: {}", &selector, 1), job)
    };
    assert_eq!(selects("default").map(|_| ()), Ok(()));
    let error = selects("other").map(|_| ()).unwrap_err();
    assert!(error.contains("takes no job of namespace default"), "{error}");
}

/// A name is one object's, and a ClusterQueue lists a resource and a flavor once (`validateResourceGroups`: "Duplicate value").
#[test]
fn a_name_is_given_once() {
    let job = "workload: {jobs: [{completions: 1, requests: {cpu: 1}, queue: a}]}";
    let again = |kind: &str| {
        let object = OBJECTS.split("---\n").find(|d| d.contains(&format!("kind: {kind}"))).unwrap();
        format!("{OBJECTS}---\n{object}")
    };
    let twice = |from: &str, to: &str| OBJECTS.replacen(from, to, 1);
    let spot = "- {name: spot, resources: [{name: cpu, nominalQuota: 8}]}";
    for (objects, says, line, field) in [
        (again("ResourceFlavor"), "a second ResourceFlavor `on-demand`", 55, "metadata.name"),
        (again("ClusterQueue"), "a second ClusterQueue `team-a`", 54, "metadata.name"),
        (again("LocalQueue"), "a second LocalQueue `a` in namespace default", 54, "metadata.name"),
        (
            twice(spot, &spot.replace("spot", "on-demand")),
            "flavor `on-demand` is listed twice",
            25,
            "spec.resourceGroups[0].flavors[1].name",
        ),
        (
            twice(
                &format!(
                    "[cpu]\n      flavors:\n        - {{name: on-demand, resources: [{{name: cpu, nominalQuota: 8, borrowingLimit: 0}}]}}\n        {spot}"
                ),
                "[cpu, cpu]\n      flavors:\n        - {name: spot, resources: [{name: cpu, nominalQuota: 8}, {name: cpu, nominalQuota: 9}]}",
            ),
            "resource `cpu` is listed twice",
            22,
            "spec.resourceGroups[0].coveredResources[1]",
        ),
        (
            twice(
                spot,
                "- {name: spot, resources: [{name: cpu, nominalQuota: 8}]}\n    - {coveredResources: [memory], flavors: [{name: spot, resources: [{name: memory, nominalQuota: 1}]}]}",
            ),
            "flavor `spot` is listed twice",
            26,
            "spec.resourceGroups[1].flavors[0].name",
        ),
    ] {
        let error = plan(&objects, job).map(|_| ()).expect_err(says);
        assert!(error.contains(says) && error.contains("help: "), "{says}: {error}");
        assert!(error.contains(&format!("queues.yaml:{line}:")) && error.contains(field), "{error}");
    }
}

/// Documents begin at `---`, whatever stands behind it, and end at `...` (YAML 1.2, 9.1).
#[test]
fn documents_may_begin_with_a_comment() {
    let job = "workload: {jobs: [{completions: 1, requests: {cpu: 1}, queue: a, runTime: 1s}]}";
    let commented = OBJECTS.replacen("---\n", "--- # another\n", 2).replacen("---\n", "...\n---\t\n", 1);
    assert_ne!(commented, OBJECTS);
    assert_eq!(plan(&commented, job).map(|_| ()), Ok(()));
}

/// What is not modelled, and what Kueue itself refuses, is named with its place.
#[test]
fn what_is_not_modelled_is_refused_by_name() {
    let job = "workload: {jobs: [{completions: 1, requests: {cpu: 1}, queue: a}]}";
    let changed = |from: &str, to: &str| OBJECTS.replacen(from, to, 1);
    for (objects, says) in [
        (
            changed("withinClusterQueue: Never", "withinClusterQueue: Any"),
            "`Any`: expected Never or LowerPriority or LowerOrNewerEqualPriority",
        ),
        (
            changed("withinClusterQueue: Never", "borrowWithinCohort: {policy: LowerPriority}"),
            "reclaimWithinCohort=Never and borrowWithinCohort.Policy!=Never",
        ),
        (
            changed("{clusterQueue: team-a}", "{clusterQueue: team-a, fairSharing: {weight: 2}}"),
            "not modelled: admission fair sharing",
        ),
        (
            changed("preemption: {withinClusterQueue: Never}", "stopPolicy: Hold"),
            "not modelled: queues that are stopped",
        ),
        (
            changed("preemption: {withinClusterQueue: Never}", "admissionChecks: [x]"),
            "not modelled: admission checks",
        ),
        (changed("kind: LocalQueue", "kind: Topology"), "not modelled: Kueue's Topology"),
        (changed("kueue.x-k8s.io/v1beta2", "kueue.x-k8s.io/v1"), "expected apiVersion"),
        (changed("cohortName: all", "cohortNam: all"), "cohortNam"),
        (changed("  cohortName: all\n", ""), "borrowingLimit must be nil when cohort is empty"),
        (
            changed(
                "{name: on-demand, resources: [{name: cpu, nominalQuota: 8",
                "{name: on-demnd, resources: [{name: cpu, nominalQuota: 8",
            ),
            "there is no ResourceFlavor `on-demnd`",
        ),
        (
            changed("nominalQuota: 8, borrowingLimit: 0", "nominalQuota: many, borrowingLimit: 0"),
            "nominalQuota",
        ),
        (
            changed("nominalQuota: 8, borrowingLimit: 0", "nominalQuota: 8, lendingLimit: 9"),
            "lendingLimit must be less",
        ),
        (changed("StrictFIFO", "FIFO"), "expected BestEffortFIFO or StrictFIFO"),
        (changed("{clusterQueue: team-a}", "{clusterQueue: team-x}"), "there is no ClusterQueue `team-x`"),
        (
            changed("namespaceSelector: {}", "namespaceSelector: {matchLabels: {team: a}}"),
            "takes no job of namespace default",
        ),
        (changed("coveredResources: [cpu]", "coveredResources: [memory]"), "in the same order"),
        (String::new(), "the file is empty"),
    ] {
        let error = plan(&objects, job).unwrap_err();
        assert!(error.contains(says), "{says}: {error}");
        assert!(error.contains("queues.yaml"), "{error}");
    }
    for (rest, says) in [
        ("workload: {jobs: [{completions: 1, requests: {cpu: 1}, queue: z}]}", "there is no LocalQueue `z`"),
        (
            "workload: {pods: [{count: 1, requests: {cpu: 1}, queue: a}]}",
            "not modelled: Kueue with anything but `jobs`",
        ),
        (
            "workload: {start: backlog, jobs: [{completions: 1, requests: {cpu: 1}, queue: a}]}",
            "not modelled: jobs that exist before Kueue",
        ),
        (
            "controlPlane: {nodeLifecycle: {kind: kwok}}\nworkload: {jobs: [{completions: 1, parallelism: 1, runTime: 1s, requests: {cpu: 1}, queue: a}]}",
            "not modelled: Kueue with Jobs whose pods come little by little",
        ),
        (
            "controlPlane: {nodeLifecycle: {kind: kwok}}\nfaults: [{kind: nodeFailure, at: 5s}]\nworkload: {jobs: [{completions: 1, requests: {cpu: 1}, queue: a}]}",
            "not modelled: faults with Kueue",
        ),
    ] {
        let error = plan(OBJECTS, rest).unwrap_err();
        assert!(error.contains(says), "{says}: {error}");
    }
}

/// Requests of a whole job beyond what a number holds are beyond any quota, and no more: the job waits for ever, whoever else goes on.
#[test]
fn a_job_that_asks_for_more_than_a_number_holds_waits() {
    let objects = OBJECTS.replace("apiVersion: kueue.x-k8s.io/v1beta2\nkind: LocalQueue\nmetadata: {name: a,", "apiVersion: kueue.x-k8s.io/v1beta2\nkind: ClusterQueue\nmetadata: {name: vast}\nspec:\n  namespaceSelector: {}\n  resourceGroups:\n    - coveredResources: [memory, x/gpu]\n      flavors: [{name: on-demand, resources: [{name: memory, nominalQuota: 1Ei}, {name: x/gpu, nominalQuota: 8}]}]\n---\napiVersion: kueue.x-k8s.io/v1beta2\nkind: LocalQueue\nmetadata: {name: vast, namespace: default}\nspec: {clusterQueue: vast}\n---\napiVersion: kueue.x-k8s.io/v1beta2\nkind: LocalQueue\nmetadata: {name: a,");
    assert_ne!(objects, OBJECTS);
    for requests in ["memory: 1Ei", "memory: 1Gi, x/gpu: 1000000000000000000"] {
        let rest = format!(
            "stop: {{when: allFinished, limit: 5m}}\nworkload: {{jobs: [{{completions: 800, requests: {{{requests}}}, queue: vast, runTime: 5s}}, {{completions: 2, requests: {{cpu: 1}}, queue: a, runTime: 5s}}]}}"
        );
        let run = run(&objects, &rest);
        let bound = |pod: u32| run.cluster.pods.timeline(pod).bound_ns != u64::MAX;
        assert!((0..800).all(|pod| !bound(pod)), "{requests}");
        assert!((800..802).all(bound), "{requests}");
    }
}

/// Each choice of a flavor a group is a template of a job's pods: too many are refused where the groups are, those that do not suit aside.
#[test]
fn too_many_choices_of_flavors_are_refused() {
    let objects = |groups: usize, flavors: usize, taint: &str| {
        let mut text = String::new();
        let head = "---\napiVersion: kueue.x-k8s.io/v1beta2\n";
        let all = (0..groups).flat_map(|g| (0..flavors).map(move |f| (g, f)));
        for (g, f) in all {
            text += &format!("{head}kind: ResourceFlavor\nmetadata: {{name: f{g}-{f}}}\nspec: {{{taint}}}\n");
        }
        text += &format!(
            "{head}kind: ClusterQueue\nmetadata: {{name: q}}\nspec:\n  namespaceSelector: {{}}\n  resourceGroups:\n"
        );
        for g in 0..groups {
            text += &format!("    - coveredResources: [x/r{g}]\n      flavors:\n");
            for f in 0..flavors {
                text += &format!(
                    "        - {{name: f{g}-{f}, resources: [{{name: x/r{g}, nominalQuota: 9}}]}}\n"
                );
            }
        }
        text + head + "kind: LocalQueue\nmetadata: {name: a, namespace: default}\nspec: {clusterQueue: q}\n"
    };
    let jobs = |groups: usize| {
        let requests: Vec<String> = (0..groups).map(|g| format!("x/r{g}: 1")).collect();
        format!(
            "stop: {{when: allFinished, limit: 5m}}\nworkload: {{jobs: [{{completions: 1, requests: {{{}}}, queue: a, runTime: 5s}}, {{completions: 1, requests: {{cpu: 1}}, queue: a, runTime: 5s}}]}}",
            requests.join(", ")
        )
    };
    let error = plan(&objects(8, 8, ""), &jobs(8)).unwrap_err();
    assert!(
        error.contains("has 16777216 choices of a flavor in each group; podpace models at most 1000"),
        "{error}"
    );
    let line = objects(8, 8, "").lines().position(|line| line.contains("resourceGroups")).unwrap();
    assert!((line + 1..=line + 2).any(|line| error.contains(&format!("queues.yaml:{line}:"))), "{error}");
    assert!(error.contains("help: "), "{error}");
    // Three groups of ten are 1,000; what a job does not ask for does not count, nor does what does not suit.
    assert!(plan(&objects(3, 10, ""), &jobs(3)).is_ok());
    assert!(plan(&objects(3, 11, ""), &jobs(3)).is_err());
    assert!(plan(&objects(8, 8, ""), &jobs(3)).is_ok());
    assert!(plan(&objects(8, 8, "nodeTaints: [{key: k, effect: NoSchedule}]"), &jobs(8)).is_ok());
}
