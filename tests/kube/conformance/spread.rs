//! PodTopologySpread's scores: `podtopologyspread/scoring_test.go`, TestPodTopologySpreadScore, with exact scores. Nodes that
//! are no candidates in the real test are cordoned here.
use super::*;
use podpace::cluster::Service;
use podpace::scheduler::kube::system_default_constraints;

fn soft(max_skew: u32, key: &str, selector: &str) -> SpreadConstraint {
    let key = if key == "host" { HOSTNAME_LABEL } else { key };
    SpreadConstraint { hard: false, selector: select(selector), ..hard(max_skew, key, "") }
}

fn settings() -> Settings {
    only(Weights { spread: 1, ..NO_SCORE })
}

/// So many pods with the label on each node, by index.
fn pods(label: &str, counts: &[usize]) -> Vec<(usize, PodSpec)> {
    let on = |(node, count): (usize, &usize)| vec![(node, labelled(label)); *count];
    counts.iter().enumerate().flat_map(on).collect()
}

#[test]
fn soft_spread_over_hosts_and_zones() {
    let foo = |skew| vec![soft(skew, "host", "foo Exists")];
    let zone = || vec![soft(1, "zone", "foo Exists")];
    let both = || vec![soft(1, "zone", "foo Exists"), soft(1, "host", "foo Exists")];
    let other = || vec![soft(1, "zone", "foo Exists"), soft(1, "host", "bar Exists")];
    let four = ["zone=zone1", "zone=zone1", "zone=zone2", "zone=zone2"];
    type Case = (
        &'static str,
        Vec<&'static str>,
        Vec<usize>,
        Vec<(usize, PodSpec)>,
        &'static str,
        Vec<SpreadConstraint>,
        Vec<i64>,
    );
    let mixed = || on("0:foo 1:foo,bar 3:foo 3:bar");
    let cases: Vec<Case> = vec![
        ("no existing pods", vec!["", ""], vec![], vec![], "foo", foo(1), vec![100, 100]),
        (
            "only one node is a candidate of two",
            vec!["", ""],
            vec![],
            pods("foo", &[1, 1]),
            "foo",
            foo(1),
            vec![100, 100],
        ),
        (
            "all nodes have the same number",
            vec!["", ""],
            vec![],
            pods("foo", &[1, 1]),
            "foo",
            foo(1),
            vec![100, 100],
        ),
        ("2/1/0/3", vec![""; 4], vec![], pods("foo", &[2, 1, 0, 3]), "foo", foo(1), vec![20, 60, 100, 0]),
        (
            "2/1/0/3, maxSkew 2",
            vec![""; 4],
            vec![],
            pods("foo", &[2, 1, 0, 3]),
            "foo",
            foo(2),
            vec![33, 66, 100, 16],
        ),
        (
            "4/3/2/1, maxSkew 3",
            vec![""; 4],
            vec![],
            pods("foo", &[4, 3, 2, 1]),
            "foo",
            foo(3),
            vec![44, 66, 77, 100],
        ),
        ("4/2/1/~3~", vec![""; 4], vec![3], pods("foo", &[4, 2, 1, 3]), "foo", foo(1), vec![33, 83, 100, -1]),
        (
            "4/2/1/~3~ over zones",
            four.to_vec(),
            vec![3],
            pods("foo", &[4, 2, 1, 3]),
            "foo",
            zone(),
            vec![75, 75, 100, -1],
        ),
        (
            "2/~1~/2/~4~, two constraints",
            four.to_vec(),
            vec![1, 3],
            pods("foo", &[2, 1, 2, 4]),
            "foo",
            both(),
            vec![100, -1, 63, -1],
        ),
        ("two selectors", four.to_vec(), vec![], mixed(), "foo bar", other(), vec![60, 20, 100, 60]),
        (
            "two selectors, nodes without pods",
            four.to_vec(),
            vec![],
            on("1:bar 2:foo 3:foo,bar"),
            "foo bar",
            other(),
            vec![100, 60, 40, 0],
        ),
        (
            "two selectors, three candidates",
            four.to_vec(),
            vec![3],
            mixed(),
            "foo bar",
            other(),
            vec![50, 25, 100, -1],
        ),
        (
            // By host in the real table; hosts are one domain each, too.
            "4/?2?/1/~3~, one node lacks the key",
            vec!["rack=a", "", "rack=x", "rack=y"],
            vec![3],
            pods("foo", &[4, 2, 1, 3]),
            "foo",
            vec![soft(1, "rack", "foo Exists")],
            vec![16, 0, 100, -1],
        ),
    ];
    for (name, nodes, cordoned, existing, own, constraints, expected) in cases {
        let mut nodes: Vec<NodeTemplate> = nodes.into_iter().map(roomy).collect();
        for node in cordoned {
            nodes[node].unschedulable = true;
        }
        let pod = PodSpec { topology_spread: constraints, ..labelled(own) };
        let found = scores(&settings(), &nodes, &existing, &pod, |_| {});
        let expected: Vec<Option<i64>> = expected.into_iter().map(|s| (s >= 0).then_some(s)).collect();
        // Without pods, or with the same number everywhere, nothing tells the nodes apart.
        if found.iter().all(|s| *s == found[0]) && expected.iter().all(|s| *s == expected[0]) {
            continue;
        }
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn soft_spread_counts_only_its_namespace() {
    let mut existing = pods("foo", &[2, 2]);
    existing[0].1.namespace_name = "ns1".into();
    let pod = PodSpec { topology_spread: vec![soft(1, "host", "foo Exists")], ..labelled("foo") };
    let found = scores(&settings(), &[roomy(""), roomy("")], &existing, &pod, |_| {});
    assert_eq!(found, [Some(100), Some(33)]);
}

/// Cases with minDomains and inclusion policies. Where a policy is ignored, NodeAffinity and TaintToleration are off, as in the
/// real test; where it is honoured they filter, as in a real profile, and the node that it leaves out is no candidate.
#[test]
fn soft_spread_with_inclusion_policies() {
    let key = |skew| soft(skew, "node", "foo Exists");
    let nodes = |last: &str| vec![roomy("node=a foo"), roomy("node=b foo"), roomy(last)];
    let tainted = || {
        let mut nodes = nodes("node=c foo");
        nodes[2].taints = super::tainted("aaa=bbb:NoSchedule").taints;
        nodes
    };
    let selects = || PodSpec { node_selector: labels("foo"), ..labelled("foo") };
    let affine = || PodSpec { required_node_affinity: vec![term("foo Exists")], ..labelled("foo") };
    let ignore = || SpreadConstraint { ignore_node_affinity: true, ..key(1) };
    let honor = || SpreadConstraint { honor_node_taints: true, ..key(1) };
    let least = || SpreadConstraint { min_domains: 10, ..key(2) };
    let (all, some) = ([Some(66), Some(100), Some(100)], [Some(33), Some(100), None]);
    let three = [Some(75), Some(75), Some(100)];
    for (name, filters, nodes, counts, pod, constraint, expected) in [
        ("minDomains says nothing", false, nodes("node=c foo"), [2, 2, 1], labelled("foo"), least(), three),
        ("affinity ignored, selector", false, nodes("node=c"), [2, 1, 1], selects(), ignore(), all),
        ("affinity ignored, affinity", false, nodes("node=c"), [2, 1, 1], affine(), ignore(), all),
        ("taints ignored", false, tainted(), [2, 1, 1], labelled("foo"), key(1), all),
        ("affinity honoured, selector", true, nodes("node=c"), [2, 1, 1], selects(), key(1), some),
        ("affinity honoured, affinity", true, nodes("node=c"), [2, 1, 1], affine(), key(1), some),
        ("taints honoured", true, tainted(), [2, 1, 1], labelled("foo"), honor(), some),
    ] {
        let mut settings = settings();
        settings.kube.plugins.affinity = filters;
        settings.kube.plugins.taints = filters;
        let pod = PodSpec { topology_spread: vec![constraint], ..pod };
        let found = scores(&settings, &nodes, &pods("foo", &counts), &pod, |_| {});
        assert_eq!(found, expected, "{name}");
    }
}

/// "system defaulting, nodes don't have zone, pods match service": as one constraint by host with maxSkew 3.
#[test]
fn default_constraints_of_the_system() {
    let nodes = vec![roomy(""); 4];
    let existing = pods("foo", &[4, 3, 2, 1]);
    let service = |cluster: &mut Cluster| {
        cluster.services.push(Service { namespace: "default".into(), selector: labels("foo") });
    };
    let found = scores(&settings(), &nodes, &existing, &labelled("foo"), service);
    assert_eq!(found, [44, 66, 77, 100].map(Some), "a Service");
    // The selector of the ReplicaSet does as well (`helper/spread_test.go`, TestDefaultSelector).
    let owned = PodSpec { controller_selector: Some(select("foo Exists")), ..labelled("foo") };
    assert_eq!(
        scores(&settings(), &nodes, &existing, &owned, |_| {}),
        [44, 66, 77, 100].map(Some),
        "an owner"
    );
    // Nobody selects the pod, or the list of defaults is empty: no constraint, no score.
    assert_eq!(scores(&settings(), &nodes, &existing, &labelled("foo"), |_| {}), [Some(0); 4]);
    let elsewhere = |cluster: &mut Cluster| {
        cluster.services.push(Service { namespace: "other".into(), selector: labels("foo") });
    };
    assert_eq!(scores(&settings(), &nodes, &existing, &labelled("foo"), elsewhere), [Some(0); 4]);
    let mut list = settings();
    list.kube.default_constraints.clear();
    list.kube.system_defaults = false;
    assert_eq!(scores(&list, &nodes, &existing, &owned, |_| {}), [Some(0); 4]);
    // `List` asks that a node has all keys, as a pod's own constraints do.
    list.kube.default_constraints = system_default_constraints();
    assert_eq!(scores(&list, &nodes, &existing, &owned, |_| {}), [Some(0); 4]);
}

/// `helper/spread_test.go`, TestDefaultSelector: Services and the owner together.
#[test]
fn the_selector_of_services_and_owners() {
    let service = |cluster: &mut Cluster, selector: &str| {
        cluster.services.push(Service { namespace: "default".into(), selector: labels(selector) });
    };
    for (name, own, services, owner, expected) in [
        ("none", "app=test", vec![], None, None),
        ("service matches", "app=test", vec!["app=test"], None, Some("app=test")),
        ("service does not match", "app=test", vec!["app=other"], None, None),
        ("service and owner", "foo=bar tier=x", vec!["foo=bar"], Some("tier=x"), Some("foo=bar tier=x")),
        ("owner alone", "foo=bar", vec![], Some("foo=bar"), Some("foo=bar")),
        ("two services", "a=b c=d", vec!["a=b", "c=d"], None, Some("a=b c=d")),
    ] {
        let mut cluster = Cluster::default();
        for s in services {
            service(&mut cluster, s);
        }
        let controller_selector = owner.map(|o| LabelSelector::from(labels(o)));
        let pod = PodSpec { controller_selector, ..labelled(own) };
        assert_eq!(cluster.default_selector(&pod), expected.map(|e| labels(e).into()), "{name}");
    }
}

/// `filtering_test.go`: default constraints that are hard (TestPreFilterState with a list of defaults).
#[test]
fn hard_default_constraints_filter() {
    let mut settings = Settings::default();
    settings.kube.default_constraints = vec![SpreadConstraint { hard: true, ..soft(1, "zone", "") }];
    settings.kube.system_defaults = false;
    let nodes = ["zone=a", "zone=a", "zone=b"].map(roomy);
    let owned = PodSpec { controller_selector: Some(select("foo Exists")), ..labelled("foo") };
    let plain = labelled("foo");
    let existing = pods("foo", &[1, 0, 0]);
    assert_eq!(feasible(&settings, &nodes, &existing, &owned), [2]);
    assert_eq!(feasible(&settings, &nodes, &existing, &plain), [0, 1, 2]);
    // Its own constraints stand instead of the defaults.
    let own = PodSpec { topology_spread: vec![soft(1, "zone", "foo Exists")], ..owned };
    assert_eq!(feasible(&settings, &nodes, &existing, &own), [0, 1, 2]);
}

/// Selectors: none counts nobody; an empty one nobody either, but the pod matches itself (`common.go`).
#[test]
fn selectors_that_are_empty_or_absent() {
    let nodes = ["zone=a", "zone=b"].map(roomy);
    let existing = pods("foo", &[3, 0]);
    for (selector, expected) in [
        (LabelSelector::null(), vec![0, 1]),
        (LabelSelector::default(), vec![0, 1]),
        (select("foo Exists"), vec![1]),
        (select("foo NotIn x"), vec![1]),
        (select("foo DoesNotExist"), vec![0, 1]),
        (select("foo In ,x"), vec![1]),
    ] {
        let constraint = SpreadConstraint { hard: true, selector: selector.clone(), ..soft(1, "zone", "") };
        let pod = PodSpec { topology_spread: vec![constraint], ..labelled("foo") };
        assert_eq!(feasible(&Settings::default(), &nodes, &existing, &pod), expected, "{selector:?}");
    }
}

/// "terminating Pods should be excluded": a victim that the API server is deleting no longer counts.
#[test]
fn terminating_pods_are_not_counted() {
    let mut h = Harness::new(&only(Weights { spread: 1, ..NO_SCORE }));
    h.grace_ns = 1000 * S;
    let t = h.template(NodeTemplate {
        allocatable: Resources { pods: 110, ..amounts(VERY_LARGE, VERY_LARGE, 0) },
        ..NodeTemplate::default()
    });
    h.add_node(t, None);
    h.add_node(t, None);
    let low = h.add_spec(PodSpec { labels: labels("foo"), ..sized(LOW, LARGE) });
    let high = h.add_spec(PodSpec { labels: labels("foo"), ..sized(VERY_HIGH, LARGE) });
    h.add_bound_pod(low, 0);
    h.add_bound_pod(high, 1);
    let preemptor = h.add_spec(sized(HIGH, LARGE));
    h.add_pod(preemptor);
    h.start();
    h.run_until(S);
    assert_eq!(h.deleted, [0]);
    // Both nodes bear a pod of the app, but the one on node-0 is on its way out.
    let newcomer = PodSpec {
        topology_spread: vec![soft(1, "host", "foo Exists")],
        priority: VERY_HIGH,
        ..PodSpec { labels: labels("foo"), requests: amounts(1, 1, 0), ..PodSpec::default() }
    };
    let newcomer = h.add_spec(newcomer);
    let pods: Vec<PodId> = (0..2).map(|_| h.add_pod(newcomer)).collect();
    h.run_until(2 * S);
    assert_eq!(h.node_of(pods[0]), Some(0));
}
