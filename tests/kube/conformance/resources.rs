//! NodeResourcesFit's and NodeResourcesBalancedAllocation's scores, exactly: `noderesources/least_allocated_test.go`,
//! `most_allocated_test.go`, `requested_to_capacity_ratio_test.go`, `balanced_allocation_test.go`, `fit_test.go`.
//!
//! A spec here can't ask for 0 explicitly, which the real plugin tells from asking for nothing, and a pod has at least one
//! container; cases that hang on either are in the tests beside `node_resources.rs`, where use is given as it is.
use super::*;
use podpace::scheduler::kube::ResourceWeight;

/// CPU in cores, bytes, `example.com/foo`, `example.com/bar`.
type Amounts = (u64, u64, u64, u64);

fn of((cpu, memory, first, second): Amounts) -> Resources {
    let extended = [(0, first), (1, second)].into_iter().filter(|r| r.1 > 0).collect();
    Resources { cpu_millicores: cpu * 1000, memory_bytes: memory, pods: 0, extended }
}

fn weights(text: &str) -> Vec<ResourceWeight> {
    let weight = |t: &str| {
        let (name, weight) = t.split_once(':').unwrap();
        let name = if name.len() == 3 && name != "cpu" { format!("example.com/{name}") } else { name.into() };
        ResourceWeight { name, weight: weight.parse().unwrap() }
    };
    text.split_whitespace().map(weight).collect()
}

/// Scores of nodes with so much, where pods with so much run, for a pod that asks for so much.
fn scored(
    settings: &Settings,
    nodes: &[Amounts],
    existing: &[(usize, Amounts)],
    pod: Amounts,
) -> Vec<Option<i64>> {
    let mut settings = settings.clone();
    // The real tests ask the score alone.
    settings.kube.plugins.fit = false;
    let node = |a: &Amounts| NodeTemplate { allocatable: Resources { pods: 110, ..of(*a) }, ..roomy("") };
    let nodes: Vec<NodeTemplate> = nodes.iter().map(node).collect();
    let spec = |a: Amounts| PodSpec { requests: of(a), ..PodSpec::default() };
    let existing: Vec<(usize, PodSpec)> = existing.iter().map(|(n, a)| (*n, spec(*a))).collect();
    scores(&settings, &nodes, &existing, &spec(pod), |cluster| {
        cluster.resources.intern("example.com/foo");
        cluster.resources.intern("example.com/bar");
    })
}

fn fit(strategy: ScoringStrategy, resources: &str, shape: &[(i64, i64)]) -> Settings {
    let mut settings = only(Weights { fit: 1, ..NO_SCORE });
    settings.scoring_strategy = strategy;
    settings.kube.fit_resources = weights(resources);
    settings.kube.fit_shape = shape.to_vec();
    settings
}

const ALIKE: &str = "cpu:1 memory:1";
const WITH_FOO: &str = "cpu:1 memory:1 foo:1";

/// TestLeastAllocatedScoringStrategy.
#[test]
fn least_allocated() {
    let asked = (3, 5000, 0, 0);
    for (name, resources, nodes, existing, pod, expected) in [
        (
            "nothing scheduled, differently sized nodes",
            ALIKE,
            [(4, 10_000, 0, 0), (6, 10_000, 0, 0)],
            vec![],
            asked,
            [37, 50],
        ),
        (
            "pods scheduled",
            ALIKE,
            [(10, 20_000, 0, 0); 2],
            vec![(0, (3, 5000, 0, 0)), (1, (3, 5000, 0, 0)), (1, (1, 5000, 0, 0))],
            asked,
            // CPU 40 and 30, memory 50 and 25 of 100.
            [45, 27],
        ),
        (
            "pods scheduled, differently sized nodes",
            ALIKE,
            [(10, 20_000, 0, 0), (10, 50_000, 0, 0)],
            vec![(0, (3, 5000, 0, 0)), (1, (3, 5000, 0, 0))],
            asked,
            [45, 60],
        ),
        (
            "weights of 1 and 2",
            "memory:2 cpu:1",
            [(4, 10_000, 0, 0), (6, 10_000, 0, 0)],
            vec![],
            asked,
            [41, 50],
        ),
        (
            "an extended resource that the pod does not ask for is passed over",
            WITH_FOO,
            [(6, 10_000, 0, 0), (6, 10_000, 4, 0)],
            vec![],
            asked,
            [50, 50],
        ),
        (
            "one that it asks for counts",
            WITH_FOO,
            [(6, 10_000, 4, 0), (6, 10_000, 10, 0)],
            vec![],
            (3, 5000, 2, 0),
            [50, 60],
        ),
        (
            "a node that does not have it, a pod that does not ask",
            "foo:2 cpu:1 memory:1",
            [(6, 10_000, 0, 0), (6, 10_000, 4, 0)],
            vec![],
            (3, 4000, 0, 0),
            [55, 55],
        ),
        (
            "more in use than there is",
            ALIKE,
            [(4, 10_000, 0, 0); 2],
            vec![(0, (3, 1000, 0, 0)), (1, (3, 6000, 0, 0))],
            (3, 4000, 0, 0),
            // CPU 0 on both, memory 50 and 0.
            [25, 0],
        ),
    ] {
        let settings = fit(ScoringStrategy::LeastAllocated, resources, &[]);
        assert_eq!(scored(&settings, &nodes, &existing, pod), expected.map(Some), "{name}");
    }
}

/// TestMostAllocatedScoringStrategy.
#[test]
fn most_allocated() {
    let asked = (3, 5000, 0, 0);
    for (name, resources, nodes, existing, pod, expected) in [
        (
            "nothing scheduled, differently sized nodes",
            ALIKE,
            [(4, 10_000, 0, 0), (6, 10_000, 0, 0)],
            vec![],
            asked,
            [62, 50],
        ),
        (
            "pods scheduled",
            ALIKE,
            [(10, 20_000, 0, 0); 2],
            vec![(1, (3, 5000, 0, 0))],
            asked,
            // CPU 30 and 60, memory 25 and 50.
            [27, 55],
        ),
        (
            "as much as there is",
            ALIKE,
            [(5, 10_000, 0, 0), (10, 9000, 0, 0)],
            vec![],
            (5, 9000, 0, 0),
            [95, 75],
        ),
        (
            "weights of 1 and 2",
            "memory:2 cpu:1",
            [(4, 10_000, 0, 0), (6, 10_000, 0, 0)],
            vec![],
            asked,
            [58, 50],
        ),
        (
            "an extended resource that the pod does not ask for is passed over",
            WITH_FOO,
            [(6, 10_000, 0, 0), (6, 10_000, 4, 0)],
            vec![],
            asked,
            [50, 50],
        ),
        (
            "one that it asks for counts",
            WITH_FOO,
            [(6, 10_000, 4, 0), (6, 10_000, 10, 0)],
            vec![],
            (3, 5000, 2, 0),
            [50, 40],
        ),
        (
            "a node that does not have it, a pod that does not ask",
            "foo:2 cpu:1 memory:1",
            [(6, 10_000, 0, 0), (6, 10_000, 4, 0)],
            vec![],
            (3, 4000, 0, 0),
            [45, 45],
        ),
    ] {
        let settings = fit(ScoringStrategy::MostAllocated, resources, &[]);
        assert_eq!(scored(&settings, &nodes, &existing, pod), expected.map(Some), "{name}");
    }
}

/// The same test: a container that asks for nothing counts as 100m and 200 MiB.
#[test]
fn most_allocated_with_default_requests() {
    let settings = fit(ScoringStrategy::MostAllocated, ALIKE, &[]);
    let node = NodeTemplate {
        allocatable: Resources {
            cpu_millicores: 250,
            memory_bytes: 1000 << 20,
            pods: 110,
            extended: Vec::new(),
        },
        ..NodeTemplate::default()
    };
    let existing = [(0, PodSpec::default()), (0, PodSpec::default())];
    let found = scores(&settings, &[node.clone(), node], &existing, &PodSpec::default(), |_| {});
    assert_eq!(found, [Some(80), Some(30)]);
}

/// TestRequestedToCapacityRatioScoringStrategy (a falling line, rounded to the nearest), TestResourceBinPackingSingleExtended
/// and TestResourceBinPackingMultipleExtended (a rising line; a share of 25 % scores 2 of 10, cut towards zero).
#[test]
fn requested_to_capacity_ratio() {
    let (falling, rising) = ([(0, 100), (100, 0)], [(0, 0), (100, 10)]);
    let (foo, both) = ("foo:1", "foo:3 bar:5");
    let (small, large) = ((4, 10_000, 4, 8), (4, 10_000, 8, 4));
    for (name, resources, shape, nodes, existing, pod, expected) in [
        (
            "least requested first",
            ALIKE,
            falling,
            [(4, 10_000, 0, 0), (6, 10_000, 0, 0)],
            vec![],
            (3, 5000, 0, 0),
            [38, 50],
        ),
        ("single: nothing requested", foo, rising, [large, small], vec![], (0, 0, 0, 0), [0, 0]),
        ("single: less", foo, rising, [large, small], vec![], (0, 0, 2, 0), [2, 5]),
        (
            "single: beside a running pod",
            foo,
            rising,
            [large, small],
            vec![(1, (0, 0, 2, 0))],
            (0, 0, 2, 0),
            [2, 10],
        ),
        ("single: more", foo, rising, [large, small], vec![], (0, 0, 4, 0), [5, 10]),
        ("multiple: nothing requested", both, rising, [large, small], vec![], (0, 0, 0, 0), [0, 0]),
        ("multiple: less", both, rising, [large, small], vec![], (0, 0, 2, 2), [4, 3]),
        (
            "multiple: beside a running pod",
            both,
            rising,
            [large, small],
            vec![(1, (0, 0, 4, 2))],
            (0, 0, 2, 2),
            // More in use than there is of foo counts as all of it.
            [4, 7],
        ),
        ("multiple: more", both, rising, [large, small], vec![], (0, 0, 4, 2), [5, 5]),
    ] {
        let settings = fit(ScoringStrategy::RequestedToCapacityRatio, resources, &shape);
        assert_eq!(scored(&settings, &nodes, &existing, pod), expected.map(Some), "{name}");
    }
}

/// TestNodeResourcesBalancedAllocation.
#[test]
fn balanced_allocation() {
    let (cpu_only, both) = ((3, 0, 0, 0), (3, 5000, 0, 0));
    for (name, resources, nodes, existing, pod, expected) in [
        ("best effort is skipped", ALIKE, [(4, 10_000, 0, 0); 2], vec![], (0, 0, 0, 0), [0, 0]),
        ("differently sized nodes", ALIKE, [(4, 10_000, 0, 0), (6, 10_000, 0, 0)], vec![], both, [87, 100]),
        ("pods scheduled", ALIKE, [(10, 20_000, 0, 0); 2], vec![(0, cpu_only), (1, both)], both, [82, 95]),
        (
            "pods scheduled, differently sized nodes",
            ALIKE,
            [(10, 20_000, 0, 0), (10, 50_000, 0, 0)],
            vec![(0, cpu_only), (1, both)],
            both,
            [82, 80],
        ),
        (
            "as much as there is",
            ALIKE,
            [(6, 10_000, 0, 0); 2],
            vec![(0, cpu_only), (1, both)],
            cpu_only,
            [50, 75],
        ),
        (
            "an extended resource that the pod does not ask for is passed over",
            WITH_FOO,
            [(4, 40_000, 8, 0), (4, 40_000, 0, 0)],
            vec![],
            both,
            // 75 % and 12.5 %: a deviation of 0.3125.
            [68, 68],
        ),
    ] {
        let mut settings = only(Weights { balanced: 1, ..NO_SCORE });
        settings.kube.balanced_resources = weights(resources);
        assert_eq!(scored(&settings, &nodes, &existing, pod), expected.map(Some), "{name}");
    }
}

/// The same test, "include scalar resource on a node for balanced resource allocation": 3.5 cores, 40,000 bytes, 8 GPUs.
#[test]
fn balanced_allocation_of_an_extended_resource() {
    let mut settings = only(Weights { balanced: 1, ..NO_SCORE });
    settings.kube.balanced_resources = weights(WITH_FOO);
    let node = NodeTemplate {
        allocatable: Resources { pods: 110, cpu_millicores: 3500, ..of((0, 40_000, 8, 0)) },
        ..NodeTemplate::default()
    };
    let spec = |a| PodSpec { requests: of(a), ..PodSpec::default() };
    let existing = [(1, spec((3, 5000, 0, 0))), (0, spec((3, 5000, 3, 0)))];
    let prepare = |cluster: &mut Cluster| {
        cluster.resources.intern("example.com/foo");
    };
    let found = scores(&settings, &[node.clone(), node], &existing, &spec((0, 0, 1, 0)), prepare);
    assert_eq!(found, [Some(70), Some(65)]);
}

/// `fit_test.go`, TestEnoughRequests and TestFitScore: the whole filter, with what each resource lacks.
#[test]
fn resources_run_out_one_by_one() {
    for (name, node, used, pod, fits) in [
        ("all fits", (2, 100, 2, 0), (1, 50, 1, 0), (1, 50, 1, 0), true),
        ("cpu runs out", (2, 100, 2, 0), (2, 50, 1, 0), (1, 50, 1, 0), false),
        ("memory runs out", (2, 100, 2, 0), (1, 60, 1, 0), (1, 50, 1, 0), false),
        ("an extended resource runs out", (2, 100, 2, 0), (1, 50, 2, 0), (1, 50, 1, 0), false),
        ("a resource that the node does not know", (2, 100, 2, 0), (1, 50, 1, 0), (1, 50, 1, 1), false),
        ("no cpu asked where none is left", (2, 100, 0, 0), (2, 50, 0, 0), (0, 50, 0, 0), true),
        ("nothing asked where too much is used", (1, 10, 0, 0), (2, 50, 0, 0), (0, 0, 0, 0), true),
    ] {
        let mut h = Harness::new(&Settings::default());
        h.cluster.resources.intern("example.com/foo");
        h.cluster.resources.intern("example.com/bar");
        let t = h.template(NodeTemplate {
            allocatable: Resources { pods: 110, ..of(node) },
            ..NodeTemplate::default()
        });
        h.add_node(t, None);
        let spec = |a| PodSpec { requests: of(a), ..PodSpec::default() };
        let existing = h.add_spec(spec(used));
        h.add_bound_pod(existing, 0);
        let spec = h.add_spec(spec(pod));
        let pod = h.add_pod(spec);
        h.start();
        h.run();
        assert_eq!(h.node_of(pod).is_some(), fits, "{name}");
    }
}

/// `fit_test.go`, TestNotEnoughRequests: a node takes as many pods as its allocatable says, whatever they ask for.
#[test]
fn pods_run_out() {
    for (allowed, used, fits) in [(1, 1, false), (1, 0, true), (2, 1, true), (0, 0, false)] {
        let mut node = roomy("");
        node.allocatable.pods = allowed;
        let existing = vec![(0, PodSpec::default()); used];
        assert_eq!(
            !feasible(&Settings::default(), &[node], &existing, &PodSpec::default()).is_empty(),
            fits,
            "{used} of {allowed}"
        );
    }
}
