//! PodTopologySpread's filter: `podtopologyspread/filtering_test.go`, TestSingleConstraint, TestMultipleConstraints and, by what
//! their counts let through, TestPreFilterState. The real tests ask this plugin alone; so NodeAffinity and TaintToleration are
//! off here.
use super::*;

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.kube.plugins.affinity = false;
    settings.kube.plugins.taints = false;
    settings
}

fn within(namespace: &str, own: &str) -> PodSpec {
    PodSpec { namespace_name: namespace.into(), ..labelled(own) }
}

fn spread(own: &str, constraints: Vec<SpreadConstraint>) -> PodSpec {
    PodSpec { topology_spread: constraints, ..labelled(own) }
}

/// Constraints over pods with the label `foo`, or another one.
fn over(key: &str, what: &str) -> SpreadConstraint {
    SpreadConstraint { selector: select(&format!("{what} Exists")), ..hard(1, key, "") }
}

fn foo(key: &str) -> SpreadConstraint {
    over(key, "foo")
}

fn ignoring_affinity(key: &str) -> SpreadConstraint {
    SpreadConstraint { ignore_node_affinity: true, ..foo(key) }
}

fn honouring_taints(key: &str) -> SpreadConstraint {
    SpreadConstraint { honor_node_taints: true, ..foo(key) }
}

type Case = (&'static str, PodSpec, Vec<NodeTemplate>, Vec<(usize, PodSpec)>, Vec<usize>);

fn check(cases: Vec<Case>) {
    for (name, pod, nodes, existing, expected) in cases {
        assert_eq!(feasible(&settings(), &nodes, &existing, &pod), expected, "{name}");
    }
}

fn nodes(texts: &[&str]) -> Vec<NodeTemplate> {
    texts.iter().map(|t| roomy(t)).collect()
}

fn with_taint(mut nodes: Vec<NodeTemplate>, at: usize) -> Vec<NodeTemplate> {
    nodes[at].taints = tainted("taint=taint:NoSchedule").taints;
    nodes
}

fn four() -> Vec<NodeTemplate> {
    nodes(&FOUR)
}

#[test]
fn who_is_counted() {
    let in_other_namespaces = vec![
        (0, within("ns1", "foo")),
        (0, within("ns2", "foo")),
        (2, labelled("foo")),
        (3, labelled("foo")),
    ];
    let nobody = SpreadConstraint { selector: LabelSelector::null(), ..hard(1, "zone", "") };
    check(vec![
        ("no existing pods", spread("foo", vec![foo("zone")]), four(), vec![], vec![0, 1, 2, 3]),
        (
            "no existing pods, the pod does not match itself",
            spread("foo", vec![over("zone", "bar")]),
            four(),
            vec![],
            vec![0, 1, 2, 3],
        ),
        (
            "pods of other namespaces do not count",
            spread("foo", vec![foo("zone")]),
            four(),
            in_other_namespaces,
            vec![0, 1],
        ),
        ("no selector", spread("foo", vec![nobody]), four(), on("2:foo 3:foo"), vec![0, 1, 2, 3]),
        (
            "affinity leaves 2/~1~/~0~/3",
            PodSpec { required_node_affinity: vec![term("node In a,y")], ..spread("foo", vec![foo("node")]) },
            four(),
            on("0:foo 0:foo 1:foo 3:foo 3:foo 3:foo"),
            vec![0, 1, 2],
        ),
        (
            "affinity leaves 0/~2~/0/1 over zones",
            PodSpec {
                required_node_affinity: vec![term("node NotIn b")],
                ..spread("foo", vec![foo("zone")])
            },
            four(),
            on("1:foo 1:foo 3:foo"),
            vec![0, 1],
        ),
        (
            "zone1 has a matching pod and one of another label",
            spread("foo", vec![foo("zone")]),
            four(),
            on("0:foo 1:bar"),
            vec![2, 3],
        ),
    ]);
}

#[test]
fn min_domains() {
    let least = |key: &str, min_domains| SpreadConstraint { min_domains, max_skew: 2, ..foo(key) };
    let three = || nodes(&["node=a", "node=b", "node=c"]);
    let spread_over_nodes = || on("0:foo 0:foo 1:foo 1:foo 2:foo");
    let spread_over_zones = || on("0:foo 1:foo 3:foo");
    check(vec![
        (
            "2/2/1 over nodes, fewer than minDomains",
            spread("foo", vec![least("node", 4)]),
            three(),
            spread_over_nodes(),
            vec![2],
        ),
        (
            "2/2/1 over nodes, more than minDomains",
            spread("foo", vec![least("node", 2)]),
            three(),
            spread_over_nodes(),
            vec![0, 1, 2],
        ),
        (
            "2/1 over zones, fewer than minDomains",
            spread("foo", vec![least("zone", 3)]),
            four(),
            spread_over_zones(),
            vec![2, 3],
        ),
        (
            "2/1 over zones, more than minDomains",
            spread("foo", vec![least("zone", 1)]),
            four(),
            spread_over_zones(),
            vec![0, 1, 2, 3],
        ),
    ]);
}

#[test]
fn node_inclusion_policies() {
    let apart = || nodes(&["node=a foo", "node=b foo", "node=x foo", "node=y"]);
    let existing = || on("0:foo 1:foo 3:foo");
    let selects = |c| PodSpec { node_selector: labels("foo"), ..spread("foo", vec![c]) };
    let affine = |c| PodSpec { required_node_affinity: vec![term("foo Exists")], ..spread("foo", vec![c]) };
    // Where the policy leaves node y out, it is no domain, and this plugin lets the pod go there.
    check(vec![
        ("selector honoured, 1/1/0/~0~", selects(foo("node")), apart(), existing(), vec![2, 3]),
        ("selector ignored, 1/1/0/1", selects(ignoring_affinity("node")), apart(), existing(), vec![2]),
        ("affinity honoured, 1/1/0/~0~", affine(foo("node")), apart(), existing(), vec![2, 3]),
        ("affinity ignored, 1/1/0/1", affine(ignoring_affinity("node")), apart(), existing(), vec![2]),
        (
            "taints honoured, 1/1/0/~0~",
            spread("foo", vec![honouring_taints("node")]),
            with_taint(apart(), 3),
            existing(),
            vec![2, 3],
        ),
        (
            "taints ignored, 1/1/0/1",
            spread("foo", vec![foo("node")]),
            with_taint(apart(), 3),
            existing(),
            vec![2],
        ),
    ]);
}

#[test]
fn two_constraints_with_policies() {
    let selects = |constraints| PodSpec { node_selector: labels("foo"), ..spread("foo", constraints) };
    let at = |b: &str, y: &str| {
        nodes(&[
            "zone=zone1 node=a foo",
            &format!("zone=zone1 node=b {b}"),
            "zone=zone2 node=x foo",
            &format!("zone=zone2 node=y {y}"),
        ])
    };
    let existing = || on("0:foo 1:foo 3:foo");
    check(vec![
        (
            "zone honours affinity: 2/~0~, node ignores it: 1/1/0/1",
            selects(vec![foo("zone"), ignoring_affinity("node")]),
            at("foo", ""),
            existing(),
            vec![2],
        ),
        (
            "zone honours taints: 2/0, node does not: 1/1/0/1",
            spread("foo", vec![honouring_taints("zone"), foo("node")]),
            with_taint(at("foo", ""), 3),
            existing(),
            vec![2],
        ),
        (
            "both honour affinity: 1/1 and 1/~0~/0/1",
            selects(vec![foo("zone"), foo("node")]),
            with_taint(at("", "foo"), 3),
            existing(),
            vec![1, 2],
        ),
        (
            "zone honours both: 1/0, node ignores both: 1/1/0/1",
            selects(vec![honouring_taints("zone"), ignoring_affinity("node")]),
            with_taint(at("", "foo"), 3),
            existing(),
            vec![2],
        ),
    ]);
}

#[test]
fn two_constraints_over_one_key() {
    let both = || spread("foo bar", vec![over("zone", "bar"), foo("zone")]);
    let existing = "0:foo,bar 0:foo 1:foo,bar 3:foo 3:foo,bar 3:foo";
    check(vec![
        ("3/3 and 2/1", both(), four(), on(existing), vec![2, 3]),
        ("3/4 and 2/1", both(), four(), on(&format!("{existing} 3:foo")), vec![]),
    ]);
}

#[test]
fn two_constraints_over_two_keys() {
    let two = |own: &str, zone: &str, node: &str| spread(own, vec![over("zone", zone), over("node", node)]);
    let no_node = || nodes(&[FOUR[0], FOUR[1], "zone=zone2", FOUR[3]]);
    check(vec![
        (
            "3/3, 2/1/0/3",
            two("foo", "foo", "foo"),
            four(),
            on("0:foo 0:foo 1:foo 3:foo 3:foo 3:foo"),
            vec![2],
        ),
        (
            "3/4, 2/1/0/4",
            two("foo", "foo", "foo"),
            four(),
            on("0:foo 0:foo 1:foo 3:foo 3:foo 3:foo 3:foo"),
            vec![],
        ),
        ("1/0, 1/0/0/1", two("foo bar", "foo", "bar"), four(), on("0:foo 3:bar"), vec![2]),
        ("1/0, 0/0/1/1", two("foo bar", "foo", "bar"), four(), on("0:foo 2:bar 3:bar"), vec![]),
        ("no match with itself", two("bar", "foo", "bar"), four(), on("0:foo 2:bar 3:bar"), vec![0, 1]),
        ("a node lacks a key", two("foo", "foo", "foo"), no_node(), on("0:foo 3:foo"), vec![1]),
    ]);
}

/// TestPreFilterState, cases of `matchLabelKeys`: the pod's own value joins the selector, as it stands in a spec here; a key that
/// the pod lacks is passed over.
#[test]
fn match_label_keys_are_part_of_the_selector() {
    let existing = || on("0:foo 0:foo,bar=a 1:foo 3:foo,bar=a 3:bar");
    let and_bar = SpreadConstraint { selector: select("foo Exists & bar=a"), ..hard(1, "zone", "") };
    let three_and_two = || on("0:foo=a 0:foo=a 1:foo=a 3:foo=a 3:foo=a");
    let value = SpreadConstraint { selector: select("foo=a"), ..hard(1, "zone", "") };
    check(vec![
        ("the selector and a key", spread("foo bar=a", vec![and_bar]), four(), existing(), vec![0, 1, 2, 3]),
        ("the selector alone", spread("foo bar=a", vec![foo("zone")]), four(), existing(), vec![2, 3]),
        ("a key alone", spread("foo=a", vec![value]), four(), three_and_two(), vec![2, 3]),
        ("a key that it lacks", spread("foo", vec![foo("zone")]), four(), three_and_two(), vec![2, 3]),
    ]);
}
