//! The hint functions of the real plugins' tests, row by row: what happened, and whether the pod is worth another try.
use super::*;
use crate::cluster::{
    App, Expression, LabelSelector, NodeTemplate, Operator, PodAffinityTerm, Resources, SpreadConstraint,
    Taint, TaintEffect, Term,
};
use std::collections::BTreeMap;

fn labels(text: &str) -> BTreeMap<String, String> {
    let pair =
        |t: &str| t.split_once('=').map_or((t.to_owned(), String::new()), |(k, v)| (k.into(), v.into()));
    text.split_whitespace().map(pair).collect()
}

fn node(text: &str) -> NodeTemplate {
    NodeTemplate { labels: labels(text), ..NodeTemplate::default() }
}

fn pod(text: &str) -> PodSpec {
    PodSpec { labels: labels(text), ..PodSpec::default() }
}

/// What the informers show: a node before and after, or a pod that came to a node or left it.
enum Change {
    Node(Option<NodeTemplate>, Option<NodeTemplate>),
    Bound(PodSpec),
    Gone(PodSpec),
}

fn helps(plugins: PluginSet, waiting: PodSpec, change: Change) -> bool {
    let profile = Profile::default();
    let mut cluster = Cluster::default();
    cluster.resources.intern("example.com/foo");
    cluster.pods.add_app(App::default());
    let spec = cluster.pods.add_spec(waiting);
    let event = match change {
        Change::Bound(other) => ClusterEvent::PodBound(cluster.pods.add_spec(other)),
        Change::Gone(other) => ClusterEvent::PodGone(cluster.pods.add_spec(other)),
        Change::Node(before, after) => {
            let before = before.map(|t| cluster.nodes.add_template(t));
            let after = after.map(|t| cluster.nodes.add_template(t));
            let node = cluster.nodes.add("node-a".to_owned(), after.or(before).unwrap(), None);
            match (before, after) {
                (None, _) => ClusterEvent::NodeAdded(node),
                (Some(_), None) => ClusterEvent::NodeGone(node),
                (Some(before), Some(after)) => ClusterEvent::NodeUpdated(node, before, after),
            }
        }
    };
    could_help(&cluster, &profile, &event, plugins, spec)
}

fn added(text: &str) -> Change {
    Change::Node(None, Some(node(text)))
}

fn updated(before: &str, after: &str) -> Change {
    Change::Node(Some(node(before)), Some(node(after)))
}

fn deleted(text: &str) -> Change {
    Change::Node(Some(node(text)), None)
}

/// `podtopologyspread/plugin_test.go`: Test_isSchedulableAfterNodeChange and Test_isSchedulableAfterPodChange, as of 1.36.
#[test]
fn topology_spread() {
    let spread = |keys: &[&str]| PodSpec {
        topology_spread: keys
            .iter()
            .map(|key| SpreadConstraint {
                max_skew: 1,
                topology_key: (*key).to_owned(),
                hard: true,
                selector: labels("foo").into(),
                ..SpreadConstraint::default()
            })
            .collect(),
        ..pod("foo")
    };
    let (zone, both) = (|| spread(&["zone"]), || spread(&["zone", "node"]));
    let elsewhere = PodSpec { namespace_name: "fake-namespace".into(), ..pod("foo") };
    let soft = PodSpec {
        topology_spread: vec![SpreadConstraint { hard: false, ..zone().topology_spread[0].clone() }],
        ..pod("foo")
    };
    let tainted = {
        let taint = Taint { key: "aaa".into(), value: "bbb".into(), effect: TaintEffect::NoSchedule };
        NodeTemplate { taints: vec![taint], ..node("zone=zone1") }
    };
    for (name, waiting, change, expected) in [
        ("node updates a topology key", zone(), updated("zone=zone1", "zone=zone2"), true),
        ("node without keys updates another label", zone(), updated("foo=bar1", "foo=bar2"), false),
        (
            "node with keys drops another label",
            both(),
            updated("zone=zone1 node=node1 foo=bar", "zone=zone1 node=node1"),
            false,
        ),
        ("node without keys comes", zone(), added("foo=bar"), false),
        ("node with keys comes", zone(), added("zone=zone1"), true),
        ("node without keys goes", zone(), deleted("foo=bar"), false),
        ("node with keys goes", zone(), deleted("zone=zone1"), true),
        ("node with one of two keys comes", both(), added("zone=zone1"), false),
        ("node with both keys comes", both(), added("zone=zone1 node=node1"), true),
        ("node with one of two keys is updated", both(), updated("zone=zone1 x=1", "zone=zone1"), false),
        (
            "node with both keys gets another one",
            both(),
            updated("zone=zone1 node=node1", "zone=zone1 node=node2"),
            true,
        ),
        ("node gets the second key", both(), updated("zone=zone1", "zone=zone1 node=node1"), true),
        ("node loses its key", zone(), updated("zone=zone1", ""), true),
        ("node loses a taint", zone(), Change::Node(Some(tainted), Some(node("zone=zone1"))), true),
        ("a matching pod is bound", zone(), Change::Bound(pod("foo")), true),
        ("a matching pod of another namespace", zone(), Change::Bound(elsewhere), false),
        ("another pod is bound", zone(), Change::Bound(pod("bar")), false),
        ("a matching pod is gone", zone(), Change::Gone(pod("foo")), true),
        ("another pod is gone", zone(), Change::Gone(pod("bar")), false),
        ("soft constraints don't count", soft, Change::Bound(pod("foo")), false),
    ] {
        assert_eq!(helps(PluginSet::SPREAD, waiting, change), expected, "{name}");
    }
}

fn term(selector: LabelSelector, key: &str, anti: bool) -> PodAffinityTerm {
    PodAffinityTerm { selector, topology_key: key.to_owned(), anti, ..PodAffinityTerm::default() }
}

fn expression(key: &str, operator: Operator, values: &[&str]) -> LabelSelector {
    let values = values.iter().map(|v| (*v).to_owned()).collect();
    LabelSelector {
        expressions: vec![Expression { key: key.to_owned(), operator, values }],
        ..LabelSelector::default()
    }
}

/// `interpodaffinity/plugin_test.go`: Test_isSchedulableAfterPodChange and Test_isSchedulableAfterNodeChange.
#[test]
fn inter_pod_affinity() {
    let scan = || expression("service", Operator::In, &["securityscan", "value2"]);
    let wants = |key: &str| PodSpec { pod_affinity: vec![term(scan(), key, false)], ..PodSpec::default() };
    let hates = |key: &str| PodSpec { pod_affinity: vec![term(scan(), key, true)], ..PodSpec::default() };
    let both = || PodSpec {
        pod_affinity: ["aaa", "bbb"]
            .map(|k| term(expression(k, Operator::Exists, &[]), "hostname", false))
            .into(),
        ..PodSpec::default()
    };
    let another = || PodSpec {
        pod_affinity: vec![term(labels("another=label").into(), "zone", true)],
        ..PodSpec::default()
    };
    let found = || pod("service=securityscan");
    let two_hates = PodSpec {
        pod_affinity: vec![
            term(scan(), "region", true),
            term(expression("aaa", Operator::Exists, &[]), "region", true),
        ],
        ..PodSpec::default()
    };
    for (name, waiting, change, expected) in [
        ("a pod that matches the affinity is bound", wants("region"), Change::Bound(found()), true),
        ("another pod is bound", wants("region"), Change::Bound(pod("aaa=a")), false),
        ("a pod that matches one of two terms is bound", both(), Change::Bound(pod("aaa=a")), false),
        ("a pod that matches both terms is bound", both(), Change::Bound(pod("aaa bbb")), true),
        ("a pod that matches the affinity is gone", wants("region"), Change::Gone(found()), false),
        ("a pod that matches the anti-affinity is bound", hates("region"), Change::Bound(found()), false),
        (
            "a pod that does not match the anti-affinity is gone",
            hates("region"),
            Change::Gone(pod("aaa=a")),
            false,
        ),
        ("a pod that matches the anti-affinity is gone", hates("region"), Change::Gone(found()), true),
        ("a pod that matches one of two anti terms is gone", two_hates, Change::Gone(found()), false),
        ("a pod whose anti-affinity matches is gone", found(), Change::Gone(hates("region")), true),
        (
            "a pod whose anti-affinity does not match is gone",
            pod("service=foo"),
            Change::Gone(hates("region")),
            false,
        ),
        (
            "neither matches the other",
            PodSpec { labels: labels("service=foo"), ..hates("region") },
            Change::Gone(PodSpec { labels: labels("service=foo"), ..hates("region") }),
            false,
        ),
        ("a node with the affinity's key comes", wants("zone"), added("zone=zone1"), true),
        ("a node without the affinity's key comes", wants("region"), added("zone=zone1"), false),
        ("a node updates another label", wants("zone"), updated("aaa=a", "aaa=b"), false),
        ("a node adds another label", wants("zone"), updated("zone=zone1", "zone=zone1 unrelated"), false),
        ("a node gets another value of the key", wants("zone"), updated("zone=zone1", "zone=zone2"), true),
        ("a node gets the key", wants("zone"), updated("aaa=a", "zone=zone1"), true),
        ("anti: a node with the key comes", another(), added("zone=zone1"), true),
        ("anti: a node without the key comes", another(), added(""), true),
        ("anti: a node adds another label", another(), updated("zone=zone1", "zone=zone1 unrelated"), false),
        ("anti: a node gets another value of the key", another(), updated("zone=zone1", "zone=zone2"), true),
        ("anti: a node gets the key", another(), updated("aaa=a", "zone=zone1"), false),
        ("anti: a node loses the key", another(), updated("zone=zone1", "aaa=a"), true),
    ] {
        assert_eq!(helps(PluginSet::POD_AFFINITY, waiting, change), expected, "{name}");
    }
}

/// `noderesources/fit_test.go`: Test_isSchedulableAfterNodeChange, Test_isSchedulableAfterPodEvent; of
/// `haveAnyRequestedResourcesIncreased` the cases with CPU, memory, extended resources and pods.
#[test]
fn node_resources_fit() {
    let room = |cpu, memory, extended: u64, pods| NodeTemplate {
        allocatable: Resources {
            cpu_millicores: cpu,
            memory_bytes: memory,
            pods,
            extended: if extended > 0 { vec![(0, extended)] } else { Vec::new() },
        },
        ..NodeTemplate::default()
    };
    let asks = |cpu, memory, extended: u64| PodSpec {
        requests: Resources { pods: 0, ..room(cpu, memory, extended, 0).allocatable },
        ..PodSpec::default()
    };
    let node = |before, after| Change::Node(before, Some(after));
    for (name, waiting, change, expected) in [
        ("a pod is gone", asks(1, 1, 0), Change::Gone(asks(1, 1, 0)), true),
        ("a pod is bound", asks(1, 1, 0), Change::Bound(asks(1, 1, 0)), false),
        ("a node with room comes", asks(1, 1, 0), node(None, room(4, 4, 0, 10)), true),
        ("a node that is too small comes", asks(5, 1, 0), node(None, room(4, 4, 0, 10)), false),
        ("a node without room for pods comes", asks(1, 1, 0), node(None, room(4, 4, 0, 0)), false),
        ("a node without the extended resource comes", asks(1, 1, 1), node(None, room(4, 4, 0, 10)), false),
        ("more memory, enough", asks(1, 3, 0), node(Some(room(4, 2, 0, 10)), room(4, 4, 0, 10)), true),
        ("more memory, not enough", asks(1, 5, 0), node(Some(room(4, 2, 0, 10)), room(4, 4, 0, 10)), false),
        ("less memory", asks(1, 3, 0), node(Some(room(4, 8, 0, 10)), room(4, 4, 0, 10)), false),
        (
            "more of what it does not ask for",
            asks(1, 0, 0),
            node(Some(room(4, 2, 0, 10)), room(4, 4, 0, 10)),
            false,
        ),
        (
            "more of the extended resource",
            asks(1, 1, 2),
            node(Some(room(4, 4, 1, 10)), room(4, 4, 2, 10)),
            true,
        ),
        ("more pods", asks(0, 0, 0), node(Some(room(4, 4, 0, 1)), room(4, 4, 0, 2)), true),
        ("nothing has changed", asks(1, 1, 0), node(Some(room(4, 4, 0, 10)), room(4, 4, 0, 10)), false),
    ] {
        assert_eq!(helps(PluginSet::FIT, waiting, change), expected, "{name}");
    }
}

/// `tainttoleration`, `nodeunschedulable`, `nodeaffinity`, `nodeports` and `nodename`: Test_isSchedulableAfterNodeChange.
#[test]
fn filters_over_one_node() {
    let tainted = |text: &str| {
        let taint = |t: &str| Taint { key: t.into(), value: String::new(), effect: TaintEffect::NoSchedule };
        NodeTemplate { taints: text.split_whitespace().map(taint).collect(), ..NodeTemplate::default() }
    };
    let cordoned = || NodeTemplate { unschedulable: true, ..NodeTemplate::default() };
    let selects = || PodSpec { node_selector: labels("foo=bar"), ..PodSpec::default() };
    let requires = || {
        let e = Expression { key: "foo".into(), operator: Operator::In, values: vec!["bar".into()] };
        PodSpec {
            required_node_affinity: vec![Term { expressions: vec![e], ..Term::default() }],
            ..PodSpec::default()
        }
    };
    let named = || PodSpec { node_name: Some("node-b".into()), ..PodSpec::default() };
    let port = |port| PodSpec {
        host_ports: vec![HostPort { port, protocol: "TCP".into(), ip: String::new() }],
        ..PodSpec::default()
    };
    let plain = PodSpec::default;
    let node = |before, after| Change::Node(before, Some(after));
    for (name, plugin, waiting, change, expected) in [
        ("taint: an untainted node comes", PluginSet::TAINTS, plain(), node(None, tainted("")), true),
        ("taint: a tainted node comes", PluginSet::TAINTS, plain(), node(None, tainted("a")), false),
        ("taint: it is gone", PluginSet::TAINTS, plain(), node(Some(tainted("a")), tainted("")), true),
        (
            "taint: one of two is gone",
            PluginSet::TAINTS,
            plain(),
            node(Some(tainted("a b")), tainted("a")),
            false,
        ),
        ("taint: it is new", PluginSet::TAINTS, plain(), node(Some(tainted("")), tainted("a")), false),
        ("cordon: an open node comes", PluginSet::UNSCHEDULABLE, plain(), node(None, tainted("")), true),
        ("cordon: a cordoned node comes", PluginSet::UNSCHEDULABLE, plain(), node(None, cordoned()), false),
        ("cordon: lifted", PluginSet::UNSCHEDULABLE, plain(), node(Some(cordoned()), tainted("")), true),
        ("cordon: new", PluginSet::UNSCHEDULABLE, plain(), node(Some(tainted("")), cordoned()), false),
        (
            "cordon: another change",
            PluginSet::UNSCHEDULABLE,
            plain(),
            node(Some(tainted("a")), tainted("b")),
            false,
        ),
        ("selector: a node that matches comes", PluginSet::AFFINITY, selects(), added("foo=bar"), true),
        ("selector: another node comes", PluginSet::AFFINITY, selects(), added("foo=baz"), false),
        ("selector: a node gets the label", PluginSet::AFFINITY, selects(), updated("", "foo=bar"), true),
        ("selector: a node loses the label", PluginSet::AFFINITY, selects(), updated("foo=bar", ""), false),
        (
            "selector: it matched before",
            PluginSet::AFFINITY,
            selects(),
            updated("foo=bar", "foo=bar a"),
            false,
        ),
        (
            "affinity: a node gets the label",
            PluginSet::AFFINITY,
            requires(),
            updated("foo=baz", "foo=bar"),
            true,
        ),
        ("affinity: another change", PluginSet::AFFINITY, requires(), updated("a", "b"), false),
        ("name: any node comes", PluginSet::NAME, named(), added(""), true),
        ("name: a change", PluginSet::NAME, named(), updated("a", "b"), false),
        ("ports: any node comes", PluginSet::PORTS, port(80), added(""), true),
        ("ports: a change", PluginSet::PORTS, port(80), updated("a", "b"), false),
        ("ports: a pod with the port is gone", PluginSet::PORTS, port(80), Change::Gone(port(80)), true),
        ("ports: a pod with another port is gone", PluginSet::PORTS, port(80), Change::Gone(port(81)), false),
        ("ports: a pod without ports is gone", PluginSet::PORTS, port(80), Change::Gone(plain()), false),
    ] {
        assert_eq!(helps(plugin, waiting, change), expected, "{name}");
    }
}
