//! Decisions of Volcano's actions and plugins. Tables from the real tests are named by file and case (Volcano 1.15.1); a case
//! that needs what is not modelled (roles with counts of their own, closed queues) is left out.
use std::collections::BTreeMap;

use podpace::cluster::{App, Cluster, NodeId, NodeTemplate, PodId, PodSpec, Resources};
use podpace::engine::Streams;
use podpace::scheduler::volcano::amount::{Amount, PODS};
use podpace::scheduler::volcano::config::NodeOrder;
use podpace::scheduler::volcano::config::{
    ActionKind, Binpack, Config, Enabled, Limits, Plugin, PluginKind, Predicates, Queue,
};
use podpace::scheduler::volcano::jobs::{Job, JobId, Jobs, Phase, Place, QueueSums, Why};
use podpace::scheduler::volcano::nodes::{Nodes, Rules};
use podpace::scheduler::volcano::queues::{Overcommit, deserve};
use podpace::scheduler::volcano::session::{Decided, Session, rules};

const G: u64 = 1_000_000_000;
const GI: u64 = 1 << 30;

fn resources(cpu_millicores: u64, memory_bytes: u64) -> Resources {
    Resources { cpu_millicores, memory_bytes, ..Resources::default() }
}

/// A cluster with a cache, as a test of an action builds it.
struct World {
    cluster: Cluster,
    config: Config,
    jobs: Jobs,
    nodes: Nodes,
    names: BTreeMap<PodId, String>,
}

impl World {
    fn new(config: Config) -> Self {
        let jobs = Jobs::new(config.queues.len());
        Self { cluster: Cluster::default(), config, jobs, nodes: Nodes::default(), names: BTreeMap::new() }
    }

    fn node(&mut self, name: &str, cpu: u64, memory: u64, labels: &[(&str, &str)]) -> NodeId {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let allocatable = Resources { pods: 10, ..resources(cpu, memory) };
        let template = NodeTemplate { allocatable, labels, ..NodeTemplate::default() };
        let template = self.cluster.nodes.add_template(template);
        let node = self.cluster.nodes.add(name.to_owned(), template, None);
        self.nodes.set(&self.cluster, node);
        node
    }

    fn group(&mut self, name: &str, queue: &str, min_member: u32, phase: Phase) -> JobId {
        let queue = self.config.queues.iter().position(|q| q.name == queue).expect("a queue");
        let job = Job { uid: name.to_owned(), queue, min_member, phase, ..Job::default() };
        self.jobs.add(job, None)
    }

    fn pod(&mut self, name: &str, job: JobId, spec: PodSpec) -> PodId {
        let app = self.cluster.pods.add_app(App::default());
        let spec = self.cluster.pods.add_spec(spec);
        let pod = self.cluster.pods.add(spec, app);
        self.jobs.join(&self.cluster, pod, job);
        self.names.insert(pod, name.to_owned());
        pod
    }

    fn running(&mut self, name: &str, job: JobId, node: NodeId, request: Resources) -> PodId {
        let pod = self.pod(name, job, PodSpec { requests: request, ..PodSpec::default() });
        self.jobs.move_to(&self.cluster, pod, Place::Bound(node));
        self.nodes.add_pod(&self.cluster, node, self.cluster.pods.spec(pod));
        pod
    }

    fn session(&mut self) -> Decided {
        let mut rng = Streams::new(1).stream("scheduler");
        let parts = (&mut self.jobs, &mut self.nodes);
        Session::open(&self.cluster, &self.config, false, parts, &mut rng).run()
    }

    /// Binds of a session, by names.
    fn binds(&mut self) -> BTreeMap<String, String> {
        let decided = self.session();
        let binds = decided.steps.iter().flat_map(|step| &step.binds);
        binds
            .map(|(pod, node)| (self.names[pod].clone(), self.cluster.nodes.get(*node).name.clone()))
            .collect()
    }
}

fn spec(cpu: u64, memory: u64) -> PodSpec {
    PodSpec { requests: resources(cpu, memory), ..PodSpec::default() }
}

fn expected(binds: &[(&str, &str)]) -> BTreeMap<String, String> {
    binds.iter().map(|(pod, node)| ((*pod).to_owned(), (*node).to_owned())).collect()
}

fn only(kind: PluginKind, on: impl Fn(&mut Enabled)) -> Plugin {
    let mut enabled = Enabled {
        job_order: false,
        job_ready: false,
        task_order: false,
        queue_order: false,
        predicate: false,
        node_order: false,
        job_enqueued: false,
        overused: false,
        allocatable: false,
    };
    on(&mut enabled);
    Plugin { kind, enabled }
}

/// The tiers of `actions/allocate/allocate_test.go`, `TestAllocate`, with these queues.
fn allocate_config(queues: &[&str]) -> Config {
    Config {
        actions: vec![ActionKind::Allocate],
        tiers: vec![vec![
            only(PluginKind::Gang, |on| (on.job_order, on.job_ready) = (true, true)),
            only(PluginKind::Drf, |on| on.job_order = true),
            only(PluginKind::Proportion, |on| (on.queue_order, on.allocatable) = (true, true)),
            only(PluginKind::Predicates(Predicates::default()), |on| on.predicate = true),
            only(PluginKind::NodeOrder(NodeOrder::default()), |on| on.node_order = true),
        ]],
        queues: queues.iter().map(|name| Queue::named(name)).collect(),
        ..Config::default()
    }
}

/// allocate_test.go "prepredicate failed: node selector does not match": the pod that fits is bound though another does not.
#[test]
fn a_pod_that_fits_nowhere_does_not_keep_another_of_a_ready_job() {
    let mut w = World::new(allocate_config(&["c1"]));
    w.node("n1", 2000, 4 * GI, &[("nodeRole", "worker")]);
    let pg1 = w.group("pg1", "c1", 1, Phase::Inqueue);
    for (name, role) in [("p1", "master"), ("p2", "worker")] {
        let node_selector = BTreeMap::from([("nodeRole".to_owned(), role.to_owned())]);
        w.pod(name, pg1, PodSpec { node_selector, ..spec(1000, G) });
    }
    assert_eq!(w.binds(), expected(&[("p2", "n1")]));
}

/// allocate_test.go "one Job with two Pods on one node".
#[test]
fn one_job_with_two_pods_on_one_node() {
    let mut w = World::new(allocate_config(&["c1"]));
    w.node("n1", 2000, 4 * GI, &[]);
    let pg1 = w.group("pg1", "c1", 0, Phase::Inqueue);
    for name in ["p1", "p2"] {
        w.pod(name, pg1, spec(1000, G));
    }
    assert_eq!(w.binds(), expected(&[("p1", "n1"), ("p2", "n1")]));
}

/// allocate_test.go "two Jobs on one node": each queue gets its half, and of each job the pod with the lower index.
#[test]
fn two_jobs_of_two_queues_on_one_node() {
    let mut w = World::new(allocate_config(&["c1", "c2"]));
    w.node("n1", 2000, 4 * G, &[]);
    for queue in ["c1", "c2"] {
        let group = w.group(queue, queue, 0, Phase::Inqueue);
        for index in 1..=2 {
            w.pod(&format!("{queue}-p-{index}"), group, spec(1000, G));
        }
    }
    assert_eq!(w.binds(), expected(&[("c1-p-1", "n1"), ("c2-p-1", "n1")]));
}

/// allocate_test.go "high priority queue should not block others".
#[test]
fn a_queue_whose_pod_fits_nowhere_does_not_block_others() {
    let mut w = World::new(allocate_config(&["c1", "c2"]));
    w.node("n1", 2000, 4 * G, &[]);
    let (pg1, pg2) = (w.group("pg1", "c1", 0, Phase::Inqueue), w.group("pg2", "c2", 0, Phase::Inqueue));
    w.pod("p1", pg1, spec(3000, G));
    w.pod("p2", pg2, spec(1000, G));
    assert_eq!(w.binds(), expected(&[("p2", "n1")]));
}

/// The cases of `plugins/proportion/proportion_test.go`, `TestEnqueueAndAllocable`: q1 has 2 CPUs and 2 GB at most and uses 1 CPU and
/// 2 GB; q2 3 and 3 and uses 2 and 1. What a job does not request is not asked about.
#[test]
fn a_queue_is_asked_about_what_a_job_requests_only() {
    let plugin = |on: [bool; 3]| {
        only(PluginKind::Proportion, |e| (e.job_enqueued, e.overused, e.allocatable) = (on[0], on[1], on[2]))
    };
    let cases = [
        ("case0", [true, true, true], "q1", (1000, 0), &[("new", "n1")][..]),
        ("case1", [true, true, true], "q2", (0, G), &[("new", "n2")][..]),
        ("case2", [true, false, false], "q1", (1000, G), &[][..]),
        ("case3", [false, false, true], "q1", (1000, G), &[][..]),
    ];
    for (name, on, queue, (cpu, memory), binds) in cases {
        let limits = |cpu, memory| Limits { cpu: Some(cpu), memory: Some(memory), others: Vec::new() };
        let q1 = Queue { capability: limits(2000, 2 * G), ..Queue::named("q1") };
        let q2 = Queue { capability: limits(3000, 3 * G), ..Queue::named("q2") };
        let actions = vec![ActionKind::Enqueue, ActionKind::Allocate];
        let config =
            Config { actions, tiers: vec![vec![plugin(on)]], queues: vec![q1, q2], ..Config::default() };
        let mut w = World::new(config);
        let (n1, n2) = (w.node("n1", 2000, 2 * G, &[]), w.node("n2", 2000, 2 * G, &[]));
        let (pg1, pg2) = (w.group("pg1", "q1", 1, Phase::Running), w.group("pg2", "q2", 1, Phase::Running));
        w.running("pod1", pg1, n1, resources(1000, 2 * G));
        w.running("pod2", pg2, n2, resources(2000, G));
        for (group, least) in [(pg1, (1000, 2 * G)), (pg2, (2000, G))] {
            w.jobs.change(group, |job| job.min_resources = Amount::of(&resources(least.0, least.1)));
        }
        let group = w.group("pg3", queue, 1, Phase::Pending);
        w.jobs.change(group, |job| job.min_resources = Amount::of(&resources(cpu, memory)));
        w.pod("new", group, spec(cpu, memory));
        assert_eq!(w.binds(), expected(binds), "{name}");
    }
}

/// `actions/enqueue/enqueue_test.go`: "when podgroup status is pending" and "queue resources are less than podgroup MinResources".
#[test]
fn a_pod_group_is_enqueued_if_its_queue_can_ever_hold_it() {
    let limits = Limits { cpu: Some(1000), memory: Some(G), others: Vec::new() };
    let config = Config {
        actions: vec![ActionKind::Enqueue],
        tiers: vec![vec![only(PluginKind::Proportion, |on| {
            (on.queue_order, on.job_enqueued) = (true, true)
        })]],
        queues: vec![Queue { capability: limits, ..Queue::named("c1") }, Queue::named("c2")],
        ..Config::default()
    };
    let mut w = World::new(config);
    w.node("n1", 16_000, 16 * G, &[]);
    let (pg1, pg2) = (w.group("pg1", "c1", 1, Phase::Pending), w.group("pg2", "c2", 1, Phase::Pending));
    for (name, group) in [("p1", pg1), ("p2", pg2)] {
        w.jobs.change(group, |job| job.min_resources = Amount::of(&resources(8000, 8 * G)));
        w.pod(name, group, spec(8000, 8 * G));
    }
    w.session();
    assert_eq!(w.jobs.get(pg1).phase, Phase::Pending);
    assert_eq!(w.jobs.get(pg1).why, Why::QueueQuota);
    assert_eq!(w.jobs.get(pg2).phase, Phase::Inqueue);
}

/// A gang gets all its nodes or none (`plugins/gang/gang.go` JobReady; `Statement.Discard`), and the next job gets what is left.
#[test]
fn a_gang_that_does_not_fit_leaves_the_room_to_the_next() {
    let mut config = allocate_config(&["c1"]);
    config.tiers[0].insert(0, Plugin::new(PluginKind::Priority));
    let mut w = World::new(config);
    for index in 0..3 {
        w.node(&format!("n{index}"), 1000, 4 * G, &[]);
    }
    let (wide, narrow) =
        (w.group("wide", "c1", 4, Phase::Inqueue), w.group("narrow", "c1", 2, Phase::Inqueue));
    for job in [wide, narrow] {
        w.jobs.change(job, |j| (j.gang, j.priority) = (true, i32::from(job == wide)));
    }
    for index in 0..4 {
        w.pod(&format!("wide-{index}"), wide, spec(1000, G));
    }
    for index in 0..2 {
        w.pod(&format!("narrow-{index}"), narrow, spec(1000, G));
    }
    let decided = w.session();
    let bound: Vec<&str> =
        decided.steps.iter().flat_map(|s| &s.binds).map(|(pod, _)| w.names[pod].as_str()).collect();
    assert_eq!(bound, ["narrow-0", "narrow-1"]);
    assert_eq!(decided.discarded.len(), 3);
    // The queue deserves no more than the cluster has, so that the fourth pod is not even tried.
    assert_eq!(w.jobs.get(wide).why, Why::QueueOverused);
    assert_eq!(w.jobs.get(wide).allocated, Amount::default());
    assert_eq!(w.nodes.used(), &Amount::of_many(&resources(1000, G), 2));
}

/// gang.go JobValid: a gang whose pods do not all exist is not tried.
#[test]
fn a_gang_waits_for_its_pods_to_exist() {
    let mut w = World::new(allocate_config(&["c1"]));
    w.node("n1", 8000, 16 * G, &[]);
    let gang = w.group("gang", "c1", 3, Phase::Inqueue);
    for index in 0..2 {
        w.pod(&format!("p{index}"), gang, spec(1000, G));
    }
    assert_eq!(w.binds(), expected(&[]));
    assert_eq!(w.jobs.get(gang).why, Why::TooFewPods);
    w.pod("p2", gang, spec(1000, G));
    assert_eq!(w.binds().len(), 3);
}

/// gang.go JobOrderFn puts jobs that are not ready first; drf.go those with the smaller dominant share.
#[test]
fn jobs_that_are_not_ready_go_first_then_those_with_less() {
    let mut w = World::new(allocate_config(&["c1"]));
    let n1 = w.node("n1", 10_000, 10 * G, &[]);
    // Ready with one pod; half ready, with three pods of a smaller share; not begun.
    let ready = w.group("a-ready", "c1", 1, Phase::Running);
    w.running("r0", ready, n1, resources(500, 100));
    w.pod("r1", ready, spec(500, G));
    let begun = w.group("b-begun", "c1", 2, Phase::Inqueue);
    w.running("b0", begun, n1, resources(1000, 100));
    w.pod("b1", begun, spec(1000, G));
    let fresh = w.group("c-fresh", "c1", 1, Phase::Inqueue);
    w.pod("f0", fresh, spec(1000, G));
    let decided = w.session();
    let order: Vec<&str> =
        decided.steps.iter().flat_map(|s| &s.binds).map(|(pod, _)| w.names[pod].as_str()).collect();
    assert_eq!(order, ["f0", "b1", "r1"]);
}

/// drf.go calculateShare: the largest share over the cluster's resources, pods among them.
#[test]
fn the_dominant_share_is_the_largest_over_all_resources() {
    let total = Amount::of_node(&Resources { pods: 110, ..resources(10_000, 100 * G) });
    assert!((Amount::of(&resources(1000, 20 * G)).dominant_share(&total) - 0.2).abs() < 1e-12);
    assert!((Amount::of(&resources(5000, 20 * G)).dominant_share(&total) - 0.5).abs() < 1e-12);
    let many = Amount::of_many(&resources(1, 1), 55);
    assert!((many.dominant_share(&total) - 0.5).abs() < 1e-12);
}

fn sums(allocated: u64, pending: u64) -> QueueSums {
    QueueSums {
        jobs: 1,
        allocated: Amount::of_many(&resources(1000, G), allocated),
        requested: Amount::of_many(&resources(1000, G), pending),
        ..QueueSums::default()
    }
}

fn deserved(queues: &[Queue], sums: &[QueueSums], cpus: u64) -> Vec<f64> {
    let total = Amount::of_node(&Resources { pods: 1000, ..resources(cpus * 1000, 1000 * G) });
    deserve(queues, sums, &total).iter().map(|q| q.deserved.cpu / 1000.0).collect()
}

/// proportion.go OnSessionOpen: by weight; what a queue can't use goes to the others; capability and guarantee bound it.
#[test]
fn the_cluster_is_dealt_out_by_weight() {
    let weighed = |name, weight| Queue { weight, ..Queue::named(name) };
    let cpus = |n: u64| Limits { cpu: Some(n * 1000), memory: None, others: Vec::new() };
    // Both want all of it.
    let two = [weighed("a", 2), weighed("b", 1)];
    assert_eq!(deserved(&two, &[sums(0, 100), sums(0, 100)], 9), [6.0, 3.0]);
    // One wants less than its part: the rest is the other's.
    assert_eq!(deserved(&two, &[sums(0, 2), sums(0, 100)], 9), [2.0, 7.0]);
    // What is allocated is wanted, too.
    assert_eq!(deserved(&two, &[sums(2, 0), sums(0, 100)], 9), [2.0, 7.0]);
    // A queue without jobs has no part.
    assert_eq!(deserved(&two, &[QueueSums::default(), sums(0, 100)], 9)[1..], [9.0]);
    // A capability bounds it.
    let capped = [Queue { capability: cpus(2), ..weighed("a", 2) }, weighed("b", 1)];
    assert_eq!(deserved(&capped, &[sums(0, 100), sums(0, 100)], 9), [2.0, 7.0]);
    // What is guaranteed to one, wanted or not, is not the other's to have.
    let sure = [Queue { guarantee: cpus(4), ..weighed("a", 1) }, weighed("b", 1)];
    let [a, b] = deserved(&sure, &[sums(0, 1), sums(0, 100)], 9)[..] else { panic!() };
    assert_eq!((a, b), (4.0, 5.0));
    // Weight 3 and 1, as the user guide of queues has it: of 4 CPUs, 3 and 1.
    let three = [weighed("a", 3), weighed("b", 1)];
    assert_eq!(deserved(&three, &[sums(0, 9), sums(0, 9)], 4), [3.0, 1.0]);
}

/// proportion.go: overused if all that it deserves is allocated; allocatable if a pod's requests stay within.
#[test]
fn a_queue_that_has_what_it_deserves_takes_no_pod() {
    let total = Amount::of_node(&Resources { pods: 100, ..resources(4000, 4 * G) });
    let queues = [Queue::named("a"), Queue::named("b")];
    let mut states = deserve(&queues, &[sums(1, 9), sums(0, 9)], &total);
    let one = Amount::of(&resources(1000, G));
    assert!(states[0].takes(&one) && !states[0].is_overused());
    states[0].allocate(&one, false);
    assert!(!states[0].takes(&one));
    // Of pods it deserves more than of CPU: all must be used up.
    assert!(!states[0].is_overused());
    assert!((states[0].share - 1.0).abs() < 1e-12);
}

/// overcommit.go: idle is the cluster times the factor less what is used; jobs that are inqueue count.
#[test]
fn no_more_is_enqueued_than_the_factor_says() {
    let total = Amount::of_node(&Resources { pods: 100, ..resources(10_000, 100 * G) });
    let job = |cpus: u64| Job { min_resources: Amount::of(&resources(cpus * 1000, G)), ..Job::default() };
    let used = Amount::of(&resources(4000, G));
    let mut overcommit = Overcommit::new(&total, &used, &Amount::default(), 1_200_000);
    assert!(overcommit.may_enqueue(&job(8)));
    assert!(!overcommit.may_enqueue(&job(9)));
    overcommit.enqueued(&job(5));
    assert!(overcommit.may_enqueue(&job(3)));
    assert!(!overcommit.may_enqueue(&job(4)));
}

/// `plugins/binpack/binpack_test.go`: pods and nodes of `TestNode`, with the scores that the two tables expect. p1 and p2 sit on n1
/// and n3 already, pending: a pod's own node is judged as if it came once more.
#[test]
fn binpack_scores_as_its_tables_say() {
    let mut cluster = Cluster::default();
    let gpu = cluster.resources.intern("nvidia.com/gpu");
    let foo = cluster.resources.intern("example.com/foo");
    let with = |cpu, memory, extended: Vec<(u16, u64)>| Resources { extended, ..resources(cpu, memory) };
    let allocatable = [
        with(2000, 4 * GI, vec![]),
        with(4000, 16 * GI, vec![(gpu, 4)]),
        with(2000, 4 * GI, vec![(foo, 16)]),
    ];
    let mut nodes = Nodes::default();
    for (index, allocatable) in allocatable.into_iter().enumerate() {
        let allocatable = Resources { pods: 10, ..allocatable };
        let template = cluster.nodes.add_template(NodeTemplate { allocatable, ..NodeTemplate::default() });
        let node = cluster.nodes.add(format!("n{}", index + 1), template, None);
        nodes.set(&cluster, node);
    }
    let requests = [
        with(1000, GI, vec![]),
        with(1500, 0, vec![]),
        with(2000, 10 * GI, vec![(gpu, 2)]),
        with(3000, 4 * GI, vec![(foo, 3)]),
    ];
    let specs = requests.map(|requests| PodSpec { requests, ..PodSpec::default() });
    nodes.add_pod(&cluster, 0, &specs[0]);
    nodes.add_pod(&cluster, 2, &specs[1]);
    let first = Binpack { weight: 10, cpu: 2, memory: 3, others: vec![(gpu, 7), (foo, 8)] };
    let second = Binpack { weight: 1, cpu: 1, memory: 1, others: vec![(gpu, 23)] };
    let tables = [
        (first, [[700.0, 137.5, 0.0], [0.0, 375.0, 0.0], [0.0, 531.25, 0.0], [0.0, 173.076_923_076, 0.0]]),
        (second, [[75.0, 15.625, 0.0], [0.0, 37.5, 0.0], [0.0, 50.5, 0.0], [0.0, 50.0, 0.0]]),
    ];
    for (weights, table) in tables {
        for (pod, row) in table.into_iter().enumerate() {
            for (node, score) in row.into_iter().enumerate() {
                let got = nodes.binpack_score(&weights, &specs[pod], node as NodeId);
                assert!((got - score).abs() < 1e-6, "p{} on n{}: {got}, not {score}", pod + 1, node + 1);
            }
        }
    }
}

/// `util/scheduler_helper_test.go`, `TestCalculateNumOfFeasibleNodesToFind`: adaptive from 50 %, a point less for 125 nodes, 5 % and
/// 100 nodes at least.
#[test]
fn how_many_nodes_are_enough() {
    let config = |percentage| Config { percentage_of_nodes: percentage, ..Config::default() };
    assert_eq!(config(0).nodes_to_find(10), 10);
    assert_eq!(config(40).nodes_to_find(10), 10);
    assert_eq!(config(0).nodes_to_find(1000), 420);
    assert_eq!(config(40).nodes_to_find(1000), 400);
    assert_eq!(config(0).nodes_to_find(6000), 300);
    assert_eq!(config(40).nodes_to_find(6000), 2400);
}

/// The search goes on where it stopped, ends one past enough, and counts the filters that ran (`util/predicate_helper.go`).
#[test]
fn a_search_ends_one_past_enough_and_the_next_goes_on_there() {
    let mut w = World::new(Config { min_nodes: 3, percentage_of_nodes: 30, ..allocate_config(&["c1"]) });
    for index in 0..10 {
        w.node(&format!("n{index}"), 8000, 16 * G, &[]);
    }
    let pg1 = w.group("pg1", "c1", 1, Phase::Inqueue);
    for index in 0..2 {
        w.pod(&format!("p{index}"), pg1, spec(1000, G));
    }
    let decided = w.session();
    for step in &decided.steps {
        assert_eq!((step.work.filtered, step.work.scored), (4, 3));
    }
    let on: Vec<NodeId> = decided.steps.iter().flat_map(|s| &s.binds).map(|(_, node)| *node).collect();
    assert!(on[0] < 3 && (4..7).contains(&on[1]), "{on:?}");
}

/// backfill.go: pods without requests are placed after the others, and not at all while their PodGroup is pending.
#[test]
fn pods_without_requests_are_backfilled() {
    let mut config = allocate_config(&["c1"]);
    config.actions = vec![ActionKind::Allocate, ActionKind::Backfill];
    let mut w = World::new(config);
    w.node("n1", 1000, G, &[]);
    let pg1 = w.group("pg1", "c1", 1, Phase::Inqueue);
    w.pod("full", pg1, spec(1000, G));
    w.pod("empty", pg1, spec(0, 0));
    assert_eq!(w.binds(), expected(&[("empty", "n1"), ("full", "n1")]));
}

/// A pod's resources other than pods are compared where it requests them (`LessEqualWithDimensionAndResourcesName`).
#[test]
fn amounts_compare_as_in_resource_info() {
    let left = Amount { cpu: 2000, memory: 3, others: BTreeMap::from([(PODS, 9)]) }.levels();
    let right = Amount { cpu: 1000, memory: 5, others: BTreeMap::from([(PODS, 1)]) }.levels();
    let memory_only = Amount { memory: 1, ..Amount::default() }.levels();
    assert!(!left.less_equal(&right));
    assert!(left.less_equal_where_requested(&right, &memory_only));
    let pods_only = Amount { others: BTreeMap::from([(PODS, 1)]), ..Amount::default() }.levels();
    assert!(left.less_equal_where_requested(&right, &pods_only), "pods are not compared here");
    assert!(pods_only.is_empty());
}

/// Where nothing may be remembered, every node is looked at again: the same decisions and the same counts.
#[test]
fn what_is_remembered_changes_no_decision_and_no_count() {
    for seed in 0..40_u64 {
        let run = |plain: bool| {
            let mut rng = Streams::new(seed).stream("test");
            let mut w = World::new(Config {
                min_nodes: 4,
                percentage_of_nodes: 40,
                ..allocate_config(&["c1", "c2"])
            });
            let nodes = 5 + rng.below(20);
            for index in 0..nodes {
                w.node(&format!("n{index}"), 1000 * (1 + rng.below(8)), 8 * G, &[]);
            }
            for index in 0..12 {
                let queue = if rng.chance(0.5) { "c1" } else { "c2" };
                let (pods, cpu) = (1 + rng.below(6), 500 * (1 + rng.below(9)));
                let gang = rng.chance(0.5);
                let least = if gang { 1 + rng.below(pods) as u32 } else { 1 };
                let group = w.group(&format!("g{index:02}"), queue, least, Phase::Inqueue);
                w.jobs.change(group, |job| job.gang = gang);
                for pod in 0..pods {
                    w.pod(&format!("g{index}-{pod}"), group, spec(cpu, G));
                }
            }
            let mut choices = Streams::new(seed).stream("scheduler");
            let mut all = Vec::new();
            for _ in 0..4 {
                let parts = (&mut w.jobs, &mut w.nodes);
                all.push(Session::open(&w.cluster, &w.config, plain, parts, &mut choices).run());
                // The first bound pod of each session finishes.
                let first = all.last().and_then(|d| d.steps.iter().flat_map(|s| &s.binds).next().copied());
                if let Some((pod, node)) = first {
                    w.jobs.move_to(&w.cluster, pod, Place::Gone);
                    w.nodes.remove_pod(node, w.cluster.pods.spec(pod));
                }
            }
            all
        };
        assert_eq!(run(false), run(true), "seed {seed}");
    }
}

/// nodeorder's weights over kube-scheduler's scores (`plugins/nodeorder/nodeorder.go`): the larger node has more left.
#[test]
fn scores_prefer_what_least_allocated_and_balance_say() {
    let mut w = World::new(allocate_config(&["c1"]));
    let (n1, n2) = (w.node("n1", 4000, 8 * G, &[]), w.node("n2", 8000, 16 * G, &[]));
    let rules: Rules = rules(&w.config, 2, false);
    let scores = w.nodes.scores(&w.cluster, &rules, &spec(1000, 2 * G), &[n1, n2]);
    // LeastAllocated 75 and 87, BalancedAllocation 100 each, TaintToleration 3 x 100.
    assert_eq!(scores, [75.0 + 100.0 + 300.0, 87.0 + 100.0 + 300.0]);
}
