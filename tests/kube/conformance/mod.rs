//! Small clusters with the decision that the real kube-scheduler's own tests expect, plugin by plugin.
//!
//! Each table names the test that its facts are from, under `pkg/scheduler/framework/plugins` of Kubernetes; the names
//! of cases are abridged. Where the real test asks one plugin, all filters run here, with room enough for the others.
//! A decision that the real scheduler draws at random is compared as a set.

mod affinity;
mod affinity_scores;
mod cycles;
mod images;
mod named_nodes;
mod objects;
mod resources;
mod spread;
mod spread_filters;

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Harness, S, resources};
use podpace::cluster::{
    App, Cluster, Expression, HOSTNAME_LABEL, HostPort, LabelSelector, NAME_FIELD, NodeTemplate, Operator,
    PodAffinityTerm, PodId, PodSpec, Resources, SpreadConstraint, Taint, TaintEffect, Term, Toleration,
    WeightedTerm,
};
use podpace::cost::Meter;
use podpace::engine::Streams;
use podpace::scheduler::kube::{KubeScheduler, Plugins, Profile, Weights};
use podpace::scheduler::{Context, NodeChange, SchedulerModel, ScoringStrategy, Settings};

/// `zone=z1 node` is `{zone: z1, node: ""}`.
fn labels(text: &str) -> BTreeMap<String, String> {
    let pair =
        |t: &str| t.split_once('=').map_or((t.to_owned(), String::new()), |(k, v)| (k.into(), v.into()));
    text.split_whitespace().map(pair).collect()
}

/// A node with room for all of a test's pods.
fn roomy(text: &str) -> NodeTemplate {
    NodeTemplate {
        labels: labels(text),
        allocatable: Resources { pods: 110, ..resources(1_000_000, 1 << 20) },
        ..NodeTemplate::default()
    }
}

fn labelled(text: &str) -> PodSpec {
    PodSpec { labels: labels(text), ..PodSpec::default() }
}

/// A cluster with pods on nodes by index; nothing has been scheduled yet.
fn cluster(settings: &Settings, nodes: &[NodeTemplate], pods: &[(usize, PodSpec)]) -> Harness {
    let mut h = Harness::new(settings);
    for node in nodes {
        let t = h.template(node.clone());
        h.add_node(t, None);
    }
    for (node, spec) in pods {
        let spec = h.add_spec(spec.clone());
        h.add_bound_pod(spec, u32::try_from(*node).unwrap());
    }
    h
}

/// Indices of the nodes that the filters accept: the pod is asked for each node by name.
fn feasible(
    settings: &Settings,
    nodes: &[NodeTemplate],
    pods: &[(usize, PodSpec)],
    pod: &PodSpec,
) -> Vec<usize> {
    let accepts = |node: &usize| {
        let mut h = cluster(settings, nodes, pods);
        let named = PodSpec { node_name: Some(format!("node-{node}")), never_preempts: true, ..pod.clone() };
        let spec = h.add_spec(named);
        let pod = h.add_pod(spec);
        h.start();
        h.run();
        h.node_of(pod).is_some()
    };
    (0..nodes.len()).filter(accepts).collect()
}

/// Indices of the nodes that share the best score: what is drawn over many seeds.
fn winners(
    settings: &Settings,
    nodes: &[NodeTemplate],
    pods: &[(usize, PodSpec)],
    pod: &PodSpec,
) -> Vec<usize> {
    let drawn = |seed| {
        let mut h = cluster(settings, nodes, pods);
        h.rng = Streams::new(seed).stream("scheduler");
        let spec = h.add_spec(pod.clone());
        let pod = h.add_pod(spec);
        h.start();
        h.run();
        h.node_of(pod).expect("it fits") as usize
    };
    (0..24).map(drawn).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Scores of the feasible nodes by index, exactly.
fn scores(
    settings: &Settings,
    nodes: &[NodeTemplate],
    pods: &[(usize, PodSpec)],
    pod: &PodSpec,
    prepare: impl Fn(&mut Cluster),
) -> Vec<Option<i64>> {
    let mut meter = Meter::new(crate::support::profile());
    let mut scheduler = KubeScheduler::new(settings, &mut meter).unwrap();
    let mut cluster = Cluster::default();
    let app = cluster.pods.add_app(App::default());
    prepare(&mut cluster);
    let mut placed = Vec::new();
    for (i, node) in nodes.iter().enumerate() {
        let template = cluster.nodes.add_template(node.clone());
        cluster.nodes.add(format!("node-{i}"), template, None);
    }
    for (node, spec) in pods {
        let spec = cluster.pods.add_spec(spec.clone());
        let pod = cluster.pods.add(spec, app);
        cluster.pods.bind(pod, u32::try_from(*node).unwrap());
        placed.push((pod, u32::try_from(*node).unwrap()));
    }
    let spec = cluster.pods.add_spec(pod.clone());
    let pod = cluster.pods.add(spec, app);
    let mut rng = Streams::new(1).stream("scheduler");
    let mut call = |f: &mut dyn FnMut(&mut Context<'_>)| {
        let (mut actions, mut cycle_started) = (Vec::new(), None);
        f(&mut Context {
            now: 0,
            cluster: &cluster,
            rng: &mut rng,
            meter: &mut meter,
            actions: &mut actions,
            cycle_started: &mut cycle_started,
        });
    };
    for node in 0..u32::try_from(nodes.len()).unwrap() {
        call(&mut |cx| scheduler.on_node(cx, node, NodeChange::Added));
    }
    for (pod, node) in placed {
        call(&mut |cx| scheduler.on_pod_bound(cx, pod, node));
    }
    let found: BTreeMap<u32, i64> = scheduler.scores(&cluster, pod).into_iter().collect();
    (0..nodes.len()).map(|node| found.get(&u32::try_from(node).unwrap()).copied()).collect()
}

/// A label selector: `app In a,b & tier Exists & x=y`.
fn select(text: &str) -> LabelSelector {
    let mut selector = LabelSelector::default();
    for part in text.split('&').map(str::trim).filter(|t| !t.is_empty()) {
        let mut words = part.split_whitespace();
        let first = words.next().unwrap();
        let Some(operator) = words.next() else {
            selector.labels.extend(labels(first));
            continue;
        };
        let operator = match operator {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            _ => Operator::DoesNotExist,
        };
        let values = words.next().map(|v| v.split(',').map(str::to_owned).collect()).unwrap_or_default();
        selector.expressions.push(Expression { key: first.to_owned(), operator, values });
    }
    selector
}

/// Only one score counts.
fn only(weights: Weights) -> Settings {
    let kube = Profile { plugins: Plugins { weights, ..Plugins::DEFAULT }, ..Profile::default() };
    Settings { kube, ..Settings::default() }
}

const NO_SCORE: Weights =
    Weights { taints: 0, affinity: 0, fit: 0, balanced: 0, spread: 0, pod_affinity: 0, images: 0 };

fn best(scores: &[i64]) -> Vec<usize> {
    let most = scores.iter().max().unwrap();
    (0..scores.len()).filter(|i| scores[*i] == *most).collect()
}

// ---- NodePorts -----------------------------------------------------------------------------------------------------

fn with_ports(text: &str) -> PodSpec {
    let port = |t: &str| {
        let parts: Vec<&str> = t.split('/').collect();
        HostPort { protocol: parts[0].into(), ip: parts[1].into(), port: parts[2].parse().unwrap() }
    };
    PodSpec { host_ports: text.split_whitespace().map(port).collect(), ..PodSpec::default() }
}

/// `nodeports/node_ports_test.go`: TestNodePorts, TestFits.
#[test]
fn node_ports() {
    for (name, pod, existing, fits) in [
        ("skip filter", "", "", true),
        ("other port", "UDP/127.0.0.1/8080", "UDP/127.0.0.1/9090", true),
        ("same udp port", "UDP/127.0.0.1/8080", "UDP/127.0.0.1/8080", false),
        ("same tcp port", "TCP/127.0.0.1/8080", "TCP/127.0.0.1/8080", false),
        ("different host ip", "TCP/127.0.0.1/8080", "TCP/127.0.0.2/8080", true),
        ("different protocol", "UDP/127.0.0.1/8080", "TCP/127.0.0.1/8080", true),
        ("second udp port conflict", "UDP/127.0.0.1/8000 UDP/127.0.0.1/8080", "UDP/127.0.0.1/8080", false),
        (
            "first tcp port conflict",
            "TCP/127.0.0.1/8001 UDP/127.0.0.1/8080",
            "TCP/127.0.0.1/8001 UDP/127.0.0.1/8081",
            false,
        ),
        ("conflict due to 0.0.0.0", "TCP/0.0.0.0/8001", "TCP/127.0.0.1/8001", false),
        ("one of two due to 0.0.0.0", "TCP/10.0.10.10/8001 TCP/0.0.0.0/8001", "TCP/127.0.0.1/8001", false),
        ("conflict to 0.0.0.0", "TCP/127.0.0.1/8001", "TCP/0.0.0.0/8001", false),
        ("0.0.0.0 with another protocol", "UDP/127.0.0.1/8001", "TCP/0.0.0.0/8001", true),
        ("one of two protocols", "UDP/127.0.0.1/8001", "TCP/0.0.0.0/8001 UDP/0.0.0.0/8001", false),
        ("fits: non-conflicting", "TCP/127.0.0.1/80", "TCP/127.0.0.1/9090", true),
        (
            "fits: multiple non-conflicting",
            "TCP/127.0.0.1/80 TCP/127.0.1.1/80 TCP/127.0.1.1/90 TCP/127.0.1.1/100",
            "TCP/127.0.0.1/9090 TCP/127.0.0.1/9191 TCP/127.0.1.1/8080",
            true,
        ),
        ("fits: same port, other protocol", "TCP/127.0.0.1/80", "UDP/127.0.0.1/80", true),
        ("fits: conflicting", "TCP/127.0.0.1/80", "TCP/127.0.0.1/80", false),
        (
            "fits: some conflicting",
            "TCP/127.0.0.1/80 TCP/127.0.1.1/80 TCP/127.0.1.1/90 TCP/127.0.1.1/100",
            "TCP/127.0.0.1/9090 TCP/127.0.1.1/90 TCP/127.0.1.1/8080",
            false,
        ),
    ] {
        let found =
            feasible(&Settings::default(), &[roomy("")], &[(0, with_ports(existing))], &with_ports(pod));
        assert_eq!(!found.is_empty(), fits, "{name}");
    }
}

/// `nodeports/node_ports_test.go`: Test_isSchedulableAfterAssignedPodDeleted.
#[test]
fn a_pod_that_waits_for_a_port_is_moved_by_its_release() {
    for (other, moves) in [("", false), ("TCP//8081", false), ("TCP//8080", true)] {
        let holder = with_ports("TCP//8080");
        let mut h = cluster(&Settings::default(), &[roomy("")], &[(0, holder), (0, with_ports(other))]);
        let spec = h.add_spec(with_ports("TCP//8080"));
        h.add_pod(spec);
        h.start();
        h.run();
        let before = h.cycles.len();
        if other == "TCP//8080" {
            h.end_pod(0);
        } else {
            h.end_pod(1);
        }
        h.run();
        assert_eq!(h.cycles.len() > before, moves, "{other}");
    }
}

// ---- TaintToleration -----------------------------------------------------------------------------------------------

fn effect(text: &str) -> Option<TaintEffect> {
    match text {
        "NoSchedule" => Some(TaintEffect::NoSchedule),
        "PreferNoSchedule" => Some(TaintEffect::PreferNoSchedule),
        "NoExecute" => Some(TaintEffect::NoExecute),
        _ => None,
    }
}

/// `key=value:Effect`.
fn tainted(text: &str) -> NodeTemplate {
    let taint = |t: &str| {
        let (pair, how) = t.split_once(':').unwrap();
        let (key, value) = pair.split_once('=').unwrap();
        Taint { key: key.into(), value: value.into(), effect: effect(how).unwrap() }
    };
    NodeTemplate { taints: text.split_whitespace().map(taint).collect(), ..roomy("") }
}

/// `key=value:Effect`, `key:Effect` for Exists.
fn tolerating(text: &str) -> PodSpec {
    let toleration = |t: &str| {
        let (pair, how) = t.split_once(':').unwrap();
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Toleration {
            key: key.into(),
            exists: !pair.contains('='),
            value: value.into(),
            effect: effect(how),
            seconds: None,
        }
    };
    PodSpec { tolerations: text.split_whitespace().map(toleration).collect(), ..PodSpec::default() }
}

/// `tainttoleration/taint_toleration_test.go`: TestTaintTolerationFilter.
#[test]
fn taint_toleration_filter() {
    for (name, pod, node, fits) in [
        ("no tolerations", "", "dedicated=user1:NoSchedule", false),
        ("tolerated", "dedicated=user1:NoSchedule", "dedicated=user1:NoSchedule", true),
        ("another value", "dedicated=user2:NoSchedule", "dedicated=user1:NoSchedule", false),
        ("Exists", "foo:NoSchedule", "foo=bar:NoSchedule", true),
        (
            "several tolerated",
            "dedicated=user2:NoSchedule foo:NoSchedule",
            "dedicated=user2:NoSchedule foo=bar:NoSchedule",
            true,
        ),
        ("another effect", "foo=bar:PreferNoSchedule", "foo=bar:NoSchedule", false),
        ("every effect", "foo=bar:", "foo=bar:NoSchedule", true),
        (
            "not matching, but PreferNoSchedule",
            "dedicated=user2:NoSchedule",
            "dedicated=user1:PreferNoSchedule",
            true,
        ),
        ("no toleration, but PreferNoSchedule", "", "dedicated=user1:PreferNoSchedule", true),
        ("NoExecute forbids as well", "", "dedicated=user1:NoExecute", false),
    ] {
        let found = feasible(&Settings::default(), &[tainted(node)], &[], &tolerating(pod));
        assert_eq!(!found.is_empty(), fits, "{name}");
    }
}

/// The same file: TestTaintTolerationScore, with the scores of the nodes in order.
#[test]
fn taint_toleration_score() {
    let settings = only(Weights { taints: 1, ..NO_SCORE });
    let (arm, ssd) = ("cpu-type=arm64:PreferNoSchedule", "disk-type=ssd:PreferNoSchedule");
    let both = format!("{arm} {ssd}");
    for (name, pod, nodes, scores) in [
        (
            "tolerated above intolerable",
            "foo=bar:PreferNoSchedule",
            vec!["foo=bar:PreferNoSchedule", "foo=blah:PreferNoSchedule"],
            vec![100, 0],
        ),
        ("tolerated taints don't count", both.as_str(), vec!["", arm, both.as_str()], vec![100, 100, 100]),
        (
            "the more intolerable, the lower",
            "foo=bar:PreferNoSchedule",
            vec!["", arm, both.as_str()],
            vec![100, 50, 0],
        ),
        (
            "only PreferNoSchedule is looked at",
            "cpu-type=arm64:NoSchedule disk-type=ssd:NoSchedule",
            vec!["", "cpu-type=arm64:NoSchedule", both.as_str()],
            vec![100, 100, 0],
        ),
        ("no taints and tolerations", "", vec!["", arm], vec![100, 0]),
    ] {
        let nodes: Vec<NodeTemplate> = nodes.into_iter().map(tainted).collect();
        assert_eq!(winners(&settings, &nodes, &[], &tolerating(pod)), best(&scores), "{name}");
    }
}

/// `nodeunschedulable/node_unschedulable_test.go`: TestNodeUnschedulable.
#[test]
fn node_unschedulable() {
    for (name, cordoned, pod, fits) in [
        ("cordoned", true, "", false),
        ("not cordoned", false, "", true),
        ("cordoned and tolerated", true, "node.kubernetes.io/unschedulable:NoSchedule", true),
        ("cordoned, another effect tolerated", true, "node.kubernetes.io/unschedulable:NoExecute", false),
    ] {
        let node = NodeTemplate { unschedulable: cordoned, ..roomy("") };
        assert_eq!(
            !feasible(&Settings::default(), &[node], &[], &tolerating(pod)).is_empty(),
            fits,
            "{name}"
        );
    }
}

/// `nodename/node_name_test.go`: TestNodeName.
#[test]
fn node_name() {
    for (name, asked, found) in [
        ("no host specified", None, true),
        ("host matches", Some("node-0"), true),
        ("host doesn't match", Some("foo"), false),
    ] {
        let mut h = cluster(&Settings::default(), &[roomy("")], &[]);
        let spec = h.add_spec(PodSpec { node_name: asked.map(str::to_owned), ..PodSpec::default() });
        let pod = h.add_pod(spec);
        h.start();
        h.run();
        assert_eq!(h.node_of(pod).is_some(), found, "{name}");
    }
}

// ---- NodeAffinity --------------------------------------------------------------------------------------------------

/// `foo In bar,value2` and the like; expressions of a term are joined by `&`.
fn term(text: &str) -> Term {
    let expression = |t: &str| {
        let mut words = t.split_whitespace();
        let key = words.next().unwrap();
        let operator = match words.next().unwrap() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::Gt,
            _ => Operator::Lt,
        };
        let values = words.next().map(|v| v.split(',').map(str::to_owned).collect()).unwrap_or_default();
        Expression { key: key.to_owned(), operator, values }
    };
    let all = text.split('&').filter(|t| !t.trim().is_empty()).map(expression);
    let (fields, expressions) = all.partition(|e: &Expression| e.key == NAME_FIELD);
    Term { expressions, fields }
}

/// `nodeaffinity/node_affinity_test.go`: TestNodeAffinity. Terms are joined by `|`; the node is `node-0`.
#[test]
fn node_affinity_filter() {
    for (name, selector, terms, node, fits) in [
        ("missing labels", "foo=bar", None, "", false),
        ("same labels", "foo=bar", None, "foo=bar", true),
        ("node labels are superset", "foo=bar", None, "foo=bar baz=blah", true),
        ("node labels are subset", "foo=bar baz=blah", None, "foo=bar", false),
        ("In", "", Some("foo In bar,value2"), "foo=bar", true),
        ("Gt", "", Some("kernel-version Gt 0204"), "kernel-version=0206", true),
        ("Gt, not greater", "", Some("kernel-version Gt 0206"), "kernel-version=0206", false),
        ("Lt", "", Some("kernel-version Lt 0207"), "kernel-version=0206", true),
        ("NotIn", "", Some("mem-type NotIn DDR,DDR2"), "mem-type=DDR3", true),
        ("Exists", "", Some("GPU Exists"), "GPU=NVIDIA-GRID-K1", true),
        ("DoesNotExist", "", Some("GPU DoesNotExist"), "foo=bar", true),
        ("In, another value", "", Some("foo In value1,value2"), "foo=bar", false),
        ("empty matchExpressions match nothing", "", Some(""), "foo=bar", false),
        ("no affinity", "", None, "foo=bar", true),
        ("ANDed, matching", "", Some("GPU Exists & GPU NotIn AMD,INTER"), "GPU=NVIDIA-GRID-K1", true),
        ("ANDed, one not matching", "", Some("GPU Exists & GPU In AMD,INTER"), "GPU=NVIDIA-GRID-K1", false),
        ("ORed terms", "", Some("foo In bar,value2 | diffkey In wrong,value2"), "foo=bar", true),
        ("affinity and selector", "foo=bar", Some("foo Exists"), "foo=bar", true),
        ("affinity but not selector", "foo=bar", Some("foo Exists"), "foo=barrrrrr", false),
        ("matchFields In", "", Some("metadata.name In node-0"), "", true),
        ("matchFields In, another node", "", Some("metadata.name In node-1"), "", false),
        (
            "two terms: fields don't match, expressions do",
            "",
            Some("metadata.name In node-1 | foo In bar"),
            "foo=bar",
            true,
        ),
        (
            "one term: fields don't match, expressions do",
            "",
            Some("metadata.name In node-1 & foo In bar"),
            "foo=bar",
            false,
        ),
        ("one term: both match", "", Some("metadata.name In node-0 & foo In bar"), "foo=bar", true),
        (
            "two terms: neither matches",
            "",
            Some("metadata.name In node-1 | foo In not-match-to-bar"),
            "foo=bar",
            false,
        ),
    ] {
        let required = terms.map(|t| t.split('|').map(term).collect()).unwrap_or_default();
        let pod = PodSpec {
            node_selector: labels(selector),
            required_node_affinity: required,
            ..PodSpec::default()
        };
        assert_eq!(!feasible(&Settings::default(), &[roomy(node)], &[], &pod).is_empty(), fits, "{name}");
    }
}

/// The same test: cases with `addedAffinity` (required terms).
#[test]
fn node_affinity_added_by_the_profile() {
    for (name, added, own, node, fits) in [
        ("matches added affinity", "metadata.name In node-0", None, "", true),
        ("doesn't match added affinity", "metadata.name In node-1", None, "", false),
        (
            "matches added affinity and pod's",
            "metadata.name In node-0",
            Some("zone In foo"),
            "zone=foo",
            true,
        ),
        (
            "matches added affinity but not pod's",
            "metadata.name In node-0",
            Some("zone In foo"),
            "zone=bar",
            false,
        ),
        (
            "matches pod's but not added affinity",
            "metadata.name In node-1",
            Some("zone In foo"),
            "zone=foo",
            false,
        ),
    ] {
        let kube = Profile { added_required: vec![term(added)], ..Profile::default() };
        let pod = PodSpec {
            required_node_affinity: own.map(|t| vec![term(t)]).unwrap_or_default(),
            ..PodSpec::default()
        };
        let settings = Settings { kube, ..Settings::default() };
        assert_eq!(!feasible(&settings, &[roomy(node)], &[], &pod).is_empty(), fits, "{name}");
    }
}

/// The same file: TestNodeAffinityPriority. Preferences are `weight:term`, joined by `|`; scores are normalised ones.
#[test]
fn node_affinity_score() {
    let (one, two, three, five) = ("foo=bar", "key=value", "az=az1", "foo=bar key=value az=az1");
    let affinity1 = "2:foo In bar";
    let affinity2 = "2:foo In bar | 4:key In value | 5:foo In bar & key In value & az In az1";
    for (name, own, added, nodes, scores) in [
        ("no preference", "", "", vec![one, two, three], vec![0, 0, 0]),
        ("no node matches", affinity1, "", vec![two, three], vec![0, 0]),
        ("only the first node matches", affinity1, "", vec![one, two, three], vec![100, 0, 0]),
        ("all match to a different degree", affinity2, "", vec![one, five, two], vec![18, 100, 36]),
        ("added affinity alone", "", affinity1, vec![one, two, three], vec![100, 0, 0]),
        ("added affinity and the pod's", affinity1, affinity2, vec![one, five, two], vec![30, 100, 30]),
    ] {
        let preferences = |text: &str| -> Vec<WeightedTerm> {
            text.split('|')
                .filter(|t| !t.trim().is_empty())
                .map(|t| {
                    let (weight, rest) = t.trim().split_once(':').unwrap();
                    WeightedTerm { weight: weight.parse().unwrap(), term: term(rest) }
                })
                .collect()
        };
        let mut settings = only(Weights { affinity: 1, ..NO_SCORE });
        settings.kube.added_preferred = preferences(added);
        let pod = PodSpec { preferred_node_affinity: preferences(own), ..PodSpec::default() };
        let nodes: Vec<NodeTemplate> = nodes.into_iter().map(roomy).collect();
        assert_eq!(winners(&settings, &nodes, &[], &pod), best(&scores), "{name}");
    }
}

// ---- NodeResourcesFit ----------------------------------------------------------------------------------------------

/// A node or a pod with millicores, bytes and `example.com/aaa`.
fn amounts(cpu: u64, memory: u64, extended: u64) -> Resources {
    let extended = if extended > 0 { vec![(0, extended)] } else { Vec::new() };
    Resources { cpu_millicores: cpu, memory_bytes: memory, pods: 0, extended }
}

/// `noderesources/fit_test.go`: TestEnoughRequests. The node has 10 millicores, 20 bytes, 32 pods and 5 of
/// `example.com/aaa`.
#[test]
fn resources_that_are_enough() {
    for (name, pod, used, reasons) in [
        ("no resources requested always fits", amounts(0, 0, 0), amounts(10, 20, 0), vec![]),
        (
            "too many resources fails",
            amounts(1, 1, 0),
            amounts(10, 20, 0),
            vec!["Insufficient cpu", "Insufficient memory"],
        ),
        ("both resources fit", amounts(1, 1, 0), amounts(5, 5, 0), vec![]),
        ("one resource memory fits", amounts(2, 1, 0), amounts(9, 5, 0), vec!["Insufficient cpu"]),
        ("one resource cpu fits", amounts(1, 2, 0), amounts(5, 19, 0), vec!["Insufficient memory"]),
        ("equal edge case", amounts(5, 1, 0), amounts(5, 19, 0), vec![]),
        ("extended resource fits", amounts(0, 0, 1), amounts(0, 0, 0), vec![]),
        (
            "extended resource capacity enforced",
            amounts(1, 1, 10),
            amounts(0, 0, 0),
            vec!["Insufficient example.com/aaa"],
        ),
        (
            "extended resource allocatable enforced",
            amounts(1, 1, 1),
            amounts(0, 0, 5),
            vec!["Insufficient example.com/aaa"],
        ),
        (
            "allocatable enforced for several",
            amounts(1, 1, 6),
            amounts(0, 0, 2),
            vec!["Insufficient example.com/aaa"],
        ),
    ] {
        let mut h = Harness::new(&Settings::default());
        h.cluster.resources.intern("example.com/aaa");
        let allocatable = Resources { pods: 32, ..amounts(10, 20, 5) };
        let t = h.template(NodeTemplate { allocatable, ..NodeTemplate::default() });
        h.add_node(t, None);
        let existing = h.add_spec(PodSpec { requests: used, ..PodSpec::default() });
        h.add_bound_pod(existing, 0);
        let spec = h.add_spec(PodSpec { requests: pod, ..PodSpec::default() });
        let pod = h.add_pod(spec);
        h.start();
        h.run();
        // A waiting pod is counted under the first of its reasons.
        let told: Vec<String> = h.reasons().into_iter().map(|r| r.0).collect();
        assert_eq!(h.node_of(pod).is_some(), reasons.is_empty(), "{name}");
        assert_eq!(told, reasons.iter().take(1).copied().collect::<Vec<_>>(), "{name}");
    }
}

/// The same test: resources that the profile ignores.
#[test]
fn ignored_resources_are_not_filtered_by() {
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    for (name, ignored, groups, fits) in [
        ("skip checking ignored extended resource", vec!["example.com/aaa"], vec![], true),
        ("skip checking by the resource group", vec![], vec!["example.com"], true),
        ("another group", vec![], vec!["example.org"], false),
        ("another resource", vec!["example.com/bbb"], vec![], false),
    ] {
        let kube = Profile {
            ignored_resources: names(&ignored),
            ignored_resource_groups: names(&groups),
            ..Profile::default()
        };
        let mut h = Harness::new(&Settings { kube, ..Settings::default() });
        h.cluster.resources.intern("example.com/aaa");
        let t = h.template(roomy(""));
        h.add_node(t, None);
        let spec = h.add_spec(PodSpec { requests: amounts(1, 1, 2), ..PodSpec::default() });
        let pod = h.add_pod(spec);
        h.start();
        h.run();
        assert_eq!(h.node_of(pod).is_some(), fits, "{name}");
    }
}

/// `noderesources/requested_to_capacity_ratio_test.go`: TestResourceBinPackingSingleExtended. Nodes have 8 and 4.
#[test]
fn bin_packing_of_an_extended_resource() {
    for (name, asked, on_second, scores) in [
        ("nothing requested", 0, 0, [0, 0]),
        ("less requested", 2, 0, [2, 5]),
        ("beside a running pod", 2, 2, [2, 10]),
        ("more requested", 4, 0, [5, 10]),
    ] {
        let mut settings = only(Weights { fit: 1, ..NO_SCORE });
        settings.scoring_strategy = ScoringStrategy::RequestedToCapacityRatio;
        settings.kube.fit_resources =
            vec![podpace::scheduler::kube::ResourceWeight { name: "intel.com/foo".into(), weight: 1 }];
        settings.kube.fit_shape = vec![(0, 0), (100, 10)];
        let nodes = [8, 4].map(|foo| {
            let mut node = roomy("");
            node.allocatable.extended = vec![(0, foo)];
            node
        });
        let asks = |amount| PodSpec { requests: amounts(0, 0, amount), ..PodSpec::default() };
        let drawn: BTreeSet<usize> = (0..24)
            .map(|seed| {
                let mut h = Harness::new(&settings);
                h.cluster.resources.intern("intel.com/foo");
                h.rng = Streams::new(seed).stream("scheduler");
                for node in &nodes {
                    let t = h.template(node.clone());
                    h.add_node(t, None);
                }
                let existing = h.add_spec(asks(on_second));
                h.add_bound_pod(existing, 1);
                let spec = h.add_spec(asks(asked));
                let pod = h.add_pod(spec);
                h.start();
                h.run();
                h.node_of(pod).unwrap() as usize
            })
            .collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), best(&scores), "{name}");
    }
}

// ---- PodTopologySpread ---------------------------------------------------------------------------------------------

fn hard(max_skew: u32, key: &str, selector: &str) -> SpreadConstraint {
    SpreadConstraint {
        max_skew,
        topology_key: key.into(),
        hard: true,
        selector: labels(selector).into(),
        ..SpreadConstraint::default()
    }
}

/// Nodes a, b in zone1 and x, y in zone2.
const FOUR: [&str; 4] = ["zone=zone1 node=a", "zone=zone1 node=b", "zone=zone2 node=x", "zone=zone2 node=y"];

/// Pods on nodes, as `0:foo 3:foo,bar`.
fn on(text: &str) -> Vec<(usize, PodSpec)> {
    let pod = |t: &str| {
        let (node, own) = t.split_once(':').unwrap();
        (node.parse().unwrap(), labelled(&own.replace(',', " ")))
    };
    text.split_whitespace().map(pod).collect()
}

fn spread_case(
    name: &str,
    nodes: &[&str],
    existing: &str,
    pod: &str,
    constraints: Vec<SpreadConstraint>,
    expected: &[usize],
) {
    let nodes: Vec<NodeTemplate> = nodes.iter().map(|n| roomy(n)).collect();
    let pod = PodSpec { topology_spread: constraints, ..labelled(pod) };
    assert_eq!(feasible(&Settings::default(), &nodes, &on(existing), &pod), expected, "{name}");
}

/// `podtopologyspread/filtering_test.go`: TestSingleConstraint.
#[test]
fn spread_with_one_constraint() {
    let zone = || vec![hard(1, "zone", "foo")];
    let node = |skew| vec![hard(skew, "node", "foo")];
    let uneven = "0:foo 0:foo 1:foo 3:foo 3:foo 3:foo";
    spread_case("no existing pods", &FOUR, "", "foo", zone(), &[0, 1, 2, 3]);
    spread_case("pod doesn't match itself", &FOUR, "", "foo", vec![hard(1, "zone", "bar")], &[0, 1, 2, 3]);
    spread_case("3/3 across zones", &FOUR, uneven, "foo", zone(), &[0, 1, 2, 3]);
    let mut absent = FOUR;
    absent[1] = "zon=zone1 node=b";
    spread_case("label zone absent on b", &absent, "0:foo 1:foo 2:foo 3:foo", "foo", zone(), &[0]);
    spread_case("no node has the label rack", &FOUR, "", "foo", vec![hard(1, "rack", "foo")], &[]);
    spread_case("2/1/0/3 across nodes", &FOUR, uneven, "foo", node(1), &[2]);
    spread_case("2/1/0/3, maxSkew 2", &FOUR, uneven, "foo", node(2), &[1, 2]);
    spread_case("2/1/0/3, pod doesn't match itself", &FOUR, uneven, "bar", node(1), &[1, 2]);
    // The pod's affinity leaves a and y; the real test does not run NodeAffinity, which rejects b and x.
    let nodes: Vec<NodeTemplate> = FOUR.iter().map(|n| roomy(n)).collect();
    let pod = PodSpec {
        topology_spread: node(1),
        required_node_affinity: vec![term("node In a,y")],
        ..labelled("foo")
    };
    assert_eq!(feasible(&Settings::default(), &nodes, &on(uneven), &pod), [0], "2/~1~/~0~/3");
}

/// The same test, cases of minDomains (KEP 3022) and of the inclusion policies (KEP 3094).
#[test]
fn spread_with_min_domains_and_inclusion_policies() {
    let least = |min_domains, key: &str| vec![SpreadConstraint { min_domains, ..hard(1, key, "foo") }];
    let two = ["zone=zone1 node=a", "zone=zone2 node=x"];
    spread_case(
        "2/2 across zones, minDomains 3",
        &two,
        "0:foo 0:foo 1:foo 1:foo",
        "foo",
        least(3, "zone"),
        &[],
    );
    spread_case(
        "2/2 across zones, minDomains 2",
        &two,
        "0:foo 0:foo 1:foo 1:foo",
        "foo",
        least(2, "zone"),
        &[0, 1],
    );
    spread_case("0/1 across nodes, minDomains 3", &two, "1:foo", "foo", least(3, "node"), &[0]);
    spread_case(
        "3/3/0 across zones, minDomains 2",
        &["zone=zone1", "zone=zone2", "zone=zone3"],
        "0:foo 0:foo 0:foo 1:foo 1:foo 1:foo",
        "foo",
        least(2, "zone"),
        &[2],
    );
    // Node b (of three: 1/0/1) has a taint that the pod does not tolerate. Ignored taints: b is the emptiest domain, and
    // nothing may go elsewhere; honoured: it is no domain.
    let nodes = || {
        let mut nodes: Vec<NodeTemplate> = ["node=a", "node=b", "node=x"].iter().map(|n| roomy(n)).collect();
        nodes[1].taints = tainted("aaa=bbb:NoSchedule").taints;
        nodes
    };
    for (honor_node_taints, expected) in [(false, vec![]), (true, vec![0, 2])] {
        let constraint = SpreadConstraint { honor_node_taints, ..hard(1, "node", "foo") };
        let pod = PodSpec { topology_spread: vec![constraint], ..labelled("foo") };
        assert_eq!(feasible(&Settings::default(), &nodes(), &on("0:foo 2:foo"), &pod), expected, "taints");
    }
    // The pod's selector forbids b. Honoured (the default): b is no domain; ignored: it is the emptiest.
    for (ignore_node_affinity, expected) in [(false, vec![0, 2]), (true, vec![])] {
        let constraint = SpreadConstraint { ignore_node_affinity, ..hard(1, "node", "foo") };
        let pod = PodSpec {
            topology_spread: vec![constraint],
            node_selector: labels("disk=ssd"),
            ..labelled("foo")
        };
        let nodes: Vec<NodeTemplate> =
            ["node=a disk=ssd", "node=b", "node=x disk=ssd"].iter().map(|n| roomy(n)).collect();
        assert_eq!(feasible(&Settings::default(), &nodes, &on("0:foo 2:foo"), &pod), expected, "affinity");
    }
}

/// The same file: TestMultipleConstraints.
#[test]
fn spread_with_two_constraints() {
    let two = |zone: &str, node: &str| vec![hard(1, "zone", zone), hard(1, "node", node)];
    let case = |name, existing, pod, constraints, expected: &[usize]| {
        spread_case(name, &FOUR, existing, pod, constraints, expected);
    };
    case("[3/3, 2/1/0/3]", "0:foo 0:foo 1:foo 3:foo 3:foo 3:foo", "foo", two("foo", "foo"), &[2]);
    case("[3/4, 2/1/0/4]", "0:foo 0:foo 1:foo 3:foo 3:foo 3:foo 3:foo", "foo", two("foo", "foo"), &[]);
    case("[1/0, 1/0/0/1]", "0:foo 3:bar", "foo bar", two("foo", "bar"), &[2]);
    case("[1/0, 0/0/1/1]", "0:foo 2:bar 3:bar", "foo bar", two("foo", "bar"), &[]);
    case("[2/3, 1/0/0/1]", "0:foo 0:foo,bar 3:foo 3:foo,bar 3:foo", "foo bar", two("foo", "bar"), &[1]);
    case("doesn't match itself on zone", "0:foo 2:bar 3:bar", "bar", two("foo", "bar"), &[0, 1]);
    let mut absent = FOUR;
    absent[2] = "zone=zone2";
    spread_case("label node absent on x", &absent, "0:foo 3:foo", "foo", two("foo", "foo"), &[1]);
}

// ---- InterPodAffinity ----------------------------------------------------------------------------------------------

fn near(selector: &str, key: &str, anti: bool, weight: Option<i32>) -> PodAffinityTerm {
    let selector = labels(selector).into();
    PodAffinityTerm { selector, topology_key: key.into(), weight, anti, ..PodAffinityTerm::default() }
}

/// `interpodaffinity/filtering_test.go`: TestRequiredAffinitySingleNode, with selectors of one value. The node has
/// `region: r1`, `zone: z11`; existing pods run on it.
#[test]
fn pod_affinity_on_one_node() {
    let scan = "service=securityscan";
    let with = |own: &str, terms: Vec<PodAffinityTerm>| PodSpec { pod_affinity: terms, ..labelled(own) };
    let (to, from) = (|s: &str, k: &str| near(s, k, false, None), |s: &str, k: &str| near(s, k, true, None));
    for (name, pod, existing, fits) in [
        ("no rules, no existing pods", labelled(""), None, true),
        (
            "affinity matches the existing pod",
            with("security=S1", vec![to(scan, "region")]),
            Some(labelled(scan)),
            true,
        ),
        (
            "affinity doesn't match the existing pod",
            with(scan, vec![to("service=antivirusscan", "region")]),
            Some(labelled(scan)),
            false,
        ),
        (
            "several terms match",
            with("security=S1", vec![to(scan, "region"), to(scan, "zone")]),
            Some(labelled(scan)),
            true,
        ),
        (
            "terms are ANDed",
            with("security=S1", vec![to(scan, "region"), to("service=securityscan2", "region")]),
            Some(labelled(scan)),
            false,
        ),
        (
            "affinity and anti-affinity are met",
            with("security=S1", vec![to(scan, "region"), from("service=antivirusscan", "node")]),
            Some(labelled(scan)),
            true,
        ),
        (
            "symmetry is met, too",
            with("security=S1", vec![to(scan, "region"), from("service=antivirusscan", "node")]),
            Some(with(scan, vec![from("service=antivirusscan", "node")])),
            true,
        ),
        (
            "anti-affinity is not met",
            with("security=S1", vec![to(scan, "region"), from(scan, "zone")]),
            Some(labelled(scan)),
            false,
        ),
        (
            "symmetry is not met",
            with(scan, vec![to(scan, "region"), from("service=antivirusscan", "node")]),
            Some(with(scan, vec![from(scan, "zone")])),
            false,
        ),
        (
            "existing anti-affinity, no rules of its own",
            labelled(scan),
            Some(with(scan, vec![from(scan, "zone")])),
            false,
        ),
        (
            "existing anti-affinity to others",
            labelled(scan),
            Some(with(scan, vec![from("service=other", "zone")])),
            true,
        ),
        (
            "affinity over a key that the node lacks",
            with(scan, vec![to(scan, "rack")]),
            Some(labelled(scan)),
            false,
        ),
        (
            "anti-affinity over a key that the node lacks",
            with(scan, vec![from(scan, "rack")]),
            Some(labelled(scan)),
            true,
        ),
        ("the first pod may match itself", with(scan, vec![to(scan, "region")]), None, true),
        ("nobody matches, nor does it itself", with("a", vec![to(scan, "region")]), None, false),
    ] {
        let existing: Vec<(usize, PodSpec)> = existing.into_iter().map(|p| (0, p)).collect();
        let found = feasible(&Settings::default(), &[roomy("region=r1 zone=z11")], &existing, &pod);
        assert_eq!(!found.is_empty(), fits, "{name}");
    }
}

/// `interpodaffinity/scoring_test.go`: TestPreferredAffinity and TestPreferredAffinityWithHardPodAffinitySymmetricWeight,
/// with selectors of one value. Nodes are China, India and China's second.
#[test]
fn pod_affinity_score() {
    let nodes = ["region=China az=az1", "region=India az=az1", "region=China az=az2"].map(roomy);
    let with = |own: &str, terms: Vec<PodAffinityTerm>| PodSpec { pod_affinity: terms, ..labelled(own) };
    let prefer = |s: &str, k: &str, w| near(s, k, false, Some(w));
    let avoid = |s: &str, k: &str, w| near(s, k, true, Some(w));
    let hard_weight = |weight| {
        let mut settings = only(Weights { pod_affinity: 1, ..NO_SCORE });
        settings.kube.hard_pod_affinity_weight = weight;
        settings
    };
    for (name, weight, pod, existing, expected) in [
        ("no preference", 1, labelled("security=S1"), vec![(0, labelled("security=S1"))], vec![0, 1, 2]),
        (
            "the region of a matching pod",
            1,
            with("", vec![prefer("security=S1", "region", 5)]),
            vec![(0, labelled("security=S1"))],
            vec![0, 2],
        ),
        (
            "more matching pods weigh more",
            1,
            with("", vec![prefer("security=S1", "az", 5), prefer("security=S1", "region", 5)]),
            vec![(0, labelled("security=S1"))],
            vec![0],
        ),
        (
            "away from the region of a matching pod",
            1,
            with("", vec![avoid("security=S1", "region", 5)]),
            vec![(0, labelled("security=S1"))],
            vec![1],
        ),
        (
            "existing pods' preferences count for a newcomer that they match",
            1,
            labelled("security=S2"),
            vec![(1, with("", vec![prefer("security=S2", "region", 5)]))],
            vec![1],
        ),
        (
            "existing pods' aversions as well",
            1,
            labelled("security=S2"),
            vec![(1, with("", vec![avoid("security=S2", "region", 5)]))],
            vec![0, 2],
        ),
        (
            "existing pods' required affinity counts with the hard weight",
            1,
            labelled("security=S2"),
            vec![(1, with("security=S2", vec![near("security=S2", "region", false, None)]))],
            vec![1],
        ),
        (
            "not with a hard weight of 0",
            0,
            labelled("security=S2"),
            vec![(1, with("security=S2", vec![near("security=S2", "region", false, None)]))],
            vec![0, 1, 2],
        ),
        (
            "a hard weight of 100 beats a preference of 50",
            100,
            labelled("security=S2"),
            vec![
                (1, with("security=S2", vec![near("security=S2", "region", false, None)])),
                (0, with("", vec![prefer("security=S2", "region", 50)])),
            ],
            vec![1],
        ),
    ] {
        assert_eq!(winners(&hard_weight(weight), &nodes, &existing, &pod), expected, "{name}");
    }
    // The same file: TestPreferredAffinity, ignorePreferredTermsOfExistingPods.
    for (ignore, expected) in [(false, vec![1]), (true, vec![0, 1, 2])] {
        let mut settings = hard_weight(1);
        settings.kube.ignore_preferred_terms_of_existing_pods = ignore;
        let existing = [(1, with("", vec![prefer("security=S2", "region", 5)]))];
        assert_eq!(
            winners(&settings, &nodes, &existing, &labelled("security=S2")),
            expected,
            "ignored: {ignore}"
        );
    }
}

// ---- DefaultPreemption ---------------------------------------------------------------------------------------------

const NEG: i32 = -100;
const LOW: i32 = 0;
const MID: i32 = 100;
const HIGH: i32 = 1000;
const VERY_HIGH: i32 = 10_000;
const SMALL: u64 = 100;
const MEDIUM: u64 = 200;
const LARGE: u64 = 300;
const VERY_LARGE: u64 = 500;

fn sized(priority: i32, size: u64) -> PodSpec {
    PodSpec { priority, requests: amounts(size, size, 0), ..PodSpec::default() }
}

fn very_large_node() -> NodeTemplate {
    NodeTemplate {
        allocatable: Resources { pods: 110, ..amounts(VERY_LARGE, VERY_LARGE, 0) },
        ..NodeTemplate::default()
    }
}

/// Pods on nodes with their start times; one pod is scheduled. Returns the harness after everything, and the pods.
fn preempt(
    nodes: &[NodeTemplate],
    pods: &[(usize, PodSpec, u64)],
    pod: &PodSpec,
    seed: u64,
) -> (Harness, PodId) {
    let mut h = Harness::new(&Settings::default());
    h.rng = Streams::new(seed).stream("scheduler");
    for node in nodes {
        let t = h.template(node.clone());
        h.add_node(t, None);
    }
    for (node, spec, start) in pods {
        let spec = h.add_spec(spec.clone());
        let existing = h.add_bound_pod(spec, u32::try_from(*node).unwrap());
        h.cluster.pods.timeline_mut(existing).bound_ns = *start;
    }
    h.now = S;
    let spec = h.add_spec(pod.clone());
    let preemptor = h.add_pod(spec);
    h.start();
    h.run();
    (h, preemptor)
}

/// `defaultpreemption/default_preemption_test.go`: TestSelectBestCandidate. Pods are (node, priority, size, start).
#[test]
fn preemption_picks_the_node() {
    type Pods = Vec<(usize, i32, u64, u64)>;
    type Case = (&'static str, usize, i32, u64, Pods, Vec<usize>);
    let cases: Vec<Case> = vec![
        ("both nodes will do", 2, HIGH, LARGE, vec![(0, MID, LARGE, 0), (1, MID, LARGE, 0)], vec![0, 1]),
        (
            "lowest highest priority",
            3,
            HIGH,
            VERY_LARGE,
            vec![
                (0, MID, MEDIUM, 0),
                (0, MID, LARGE, 0),
                (1, MID, MEDIUM, 0),
                (1, LOW, MEDIUM, 0),
                (2, LOW, MEDIUM, 0),
                (2, LOW, MEDIUM, 0),
            ],
            vec![2],
        ),
        (
            "smallest sum of priorities",
            3,
            HIGH,
            VERY_LARGE,
            vec![
                (0, MID, MEDIUM, 0),
                (0, MID, LARGE, 0),
                (1, MID, LARGE, 0),
                (1, LOW, MEDIUM, 0),
                (2, MID, MEDIUM, 0),
                (2, MID, MEDIUM, 0),
            ],
            vec![1],
        ),
        (
            "fewest pods",
            3,
            HIGH,
            VERY_LARGE,
            vec![
                (0, MID, SMALL, 0),
                (0, NEG, SMALL, 0),
                (0, MID, SMALL, 0),
                (0, NEG, SMALL, 0),
                (1, MID, LARGE, 0),
                (1, NEG, MEDIUM, 0),
                (2, MID, MEDIUM, 0),
                (2, NEG, SMALL, 0),
                (2, LOW, SMALL, 0),
            ],
            vec![1],
        ),
        (
            "sum of adjusted priorities",
            3,
            HIGH,
            VERY_LARGE,
            vec![
                (0, MID, SMALL, 0),
                (0, NEG, SMALL, 0),
                (0, NEG, SMALL, 0),
                (1, MID, LARGE, 0),
                (1, NEG, MEDIUM, 0),
                (2, MID, MEDIUM, 0),
                (2, NEG, SMALL, 0),
                (2, LOW, SMALL, 0),
            ],
            vec![1],
        ),
        (
            "each criterion points elsewhere",
            4,
            VERY_HIGH,
            VERY_LARGE,
            vec![
                (0, MID, SMALL, 0),
                (0, LOW, SMALL, 0),
                (0, LOW, SMALL, 0),
                (1, HIGH, LARGE, 0),
                (2, MID, MEDIUM, 0),
                (2, LOW, SMALL, 0),
                (2, LOW, SMALL, 0),
                (2, LOW, MEDIUM, 0),
                (3, MID, MEDIUM, 0),
                (3, MID, SMALL, 0),
                (3, MID, SMALL, 0),
                (3, NEG, SMALL, 0),
            ],
            vec![0],
        ),
        (
            "latest start, one a node",
            3,
            HIGH,
            VERY_LARGE,
            vec![
                (0, MID, MEDIUM, 2),
                (0, MID, MEDIUM, 2),
                (1, MID, MEDIUM, 3),
                (1, MID, MEDIUM, 3),
                (2, MID, MEDIUM, 1),
                (2, MID, MEDIUM, 1),
            ],
            vec![1],
        ),
        (
            "latest of the earliest starts",
            3,
            HIGH,
            VERY_LARGE,
            vec![
                (0, MID, MEDIUM, 4),
                (0, MID, MEDIUM, 2),
                (1, MID, MEDIUM, 5),
                (1, MID, MEDIUM, 1),
                (2, MID, MEDIUM, 3),
                (2, MID, MEDIUM, 6),
            ],
            vec![2],
        ),
        (
            "starts of the highest priority only",
            3,
            HIGH,
            VERY_LARGE,
            vec![
                (0, LOW, MEDIUM, 4),
                (0, MID, MEDIUM, 2),
                (1, MID, MEDIUM, 6),
                (1, LOW, MEDIUM, 1),
                (2, LOW, MEDIUM, 3),
                (2, MID, MEDIUM, 5),
            ],
            vec![1],
        ),
    ];
    for (name, nodes, priority, size, pods, expected) in cases {
        let nodes = vec![very_large_node(); nodes];
        let pods: Vec<_> = pods.into_iter().map(|(n, p, size, start)| (n, sized(p, size), start)).collect();
        let picked: BTreeSet<usize> = (0..16)
            .map(|seed| {
                let (h, preemptor) = preempt(&nodes, &pods, &sized(priority, size), seed);
                h.node_of(preemptor).unwrap_or_else(|| panic!("{name}: {:?}", h.reasons())) as usize
            })
            .collect();
        assert_eq!(picked.into_iter().collect::<Vec<_>>(), expected, "{name}");
    }
}

/// The same file: TestDryRunPreemption. Victims by index among the existing pods; empty: no preemption.
#[test]
fn preemption_picks_the_victims() {
    type Case = (&'static str, PodSpec, Vec<(usize, PodSpec, u64)>, Vec<u32>);
    let cases: Vec<Case> = vec![
        (
            "a pod that fits with no preemption",
            sized(HIGH, LARGE),
            vec![(0, sized(MID, SMALL), 0), (1, sized(MID, SMALL), 0)],
            vec![],
        ),
        (
            "a pod of higher priority is not preempted",
            sized(LOW, LARGE),
            vec![(0, sized(MID, LARGE), 0), (1, sized(MID, LARGE), 0)],
            vec![],
        ),
        (
            "one node's pod has lower priority",
            sized(HIGH, LARGE),
            vec![(0, sized(HIGH, LARGE), 0), (1, sized(MID, LARGE), 0)],
            vec![1],
        ),
        (
            "medium priority goes, the small low one stays",
            sized(HIGH, LARGE),
            vec![(0, sized(LOW, SMALL), 0), (0, sized(MID, LARGE), 0), (1, sized(HIGH, LARGE), 0)],
            vec![1],
        ),
        (
            "mixed priorities",
            sized(HIGH, LARGE),
            vec![
                (0, sized(MID, SMALL), 0),
                (0, sized(LOW, SMALL), 0),
                (0, sized(MID, MEDIUM), 0),
                (0, sized(HIGH, SMALL), 0),
                (1, sized(HIGH, LARGE), 0),
            ],
            vec![1, 2],
        ),
        (
            "the later start goes where priorities are equal",
            sized(HIGH, LARGE),
            vec![
                (0, sized(LOW, SMALL), 5),
                (0, sized(LOW, SMALL), 4),
                (0, sized(MID, MEDIUM), 3),
                (0, sized(HIGH, SMALL), 2),
                (1, sized(HIGH, LARGE), 1),
            ],
            vec![0, 2],
        ),
        (
            "a pod with anti-affinity is preempted",
            PodSpec { labels: labels("foo"), ..sized(HIGH, SMALL) },
            vec![
                (
                    0,
                    PodSpec {
                        labels: labels("foo"),
                        pod_affinity: vec![near("foo", HOSTNAME_LABEL, true, None)],
                        ..sized(LOW, SMALL)
                    },
                    0,
                ),
                (0, sized(MID, SMALL), 0),
                (0, sized(HIGH, SMALL), 0),
                (1, sized(HIGH, VERY_LARGE), 0),
            ],
            vec![0],
        ),
        (
            "nothing helps against a request above allocatable",
            sized(HIGH, 2 * VERY_LARGE),
            vec![(0, sized(LOW, LARGE), 0), (1, sized(LOW, LARGE), 0)],
            vec![],
        ),
        (
            "preemptionPolicy Never",
            PodSpec { never_preempts: true, ..sized(HIGH, LARGE) },
            vec![(0, sized(LOW, LARGE), 0), (1, sized(LOW, LARGE), 0)],
            vec![],
        ),
    ];
    for (name, pod, pods, expected) in cases {
        let (h, preemptor) = preempt(&[very_large_node(), very_large_node()], &pods, &pod, 1);
        let mut victims = h.deleted.clone();
        victims.sort_unstable();
        assert_eq!(victims, expected, "{name}");
        if !expected.is_empty() {
            assert!(h.node_of(preemptor).is_some(), "{name}: {:?}", h.reasons());
        }
    }
}

/// The same test, "preemption to resolve pod topology spread filter failure".
#[test]
fn preemption_resolves_spread() {
    let nodes = ["zone=zone1", "zone=zone1", "zone=zone2"].map(roomy);
    let foo = |priority| PodSpec { priority, ..labelled("foo") };
    let pods = [(0, foo(MID), 0), (0, foo(LOW), 0), (1, foo(LOW), 0), (2, foo(HIGH), 0), (2, foo(HIGH), 0)];
    let pod = PodSpec {
        topology_spread: vec![hard(1, "zone", "foo"), hard(1, HOSTNAME_LABEL, "foo")],
        ..foo(HIGH)
    };
    let outcomes: BTreeSet<(Vec<u32>, u32)> = (0..16)
        .map(|seed| {
            let (h, preemptor) = preempt(&nodes, &pods, &pod, seed);
            (h.deleted.clone(), h.node_of(preemptor).unwrap_or(99))
        })
        .collect();
    // Either zone1 node will do: a2 (pod 1) or b1 (pod 2) goes.
    let victims: BTreeSet<Vec<u32>> = outcomes.iter().map(|o| o.0.clone()).collect();
    assert_eq!(victims, BTreeSet::from([vec![1], vec![2]]));
    assert!(outcomes.iter().all(|o| o.1 < 2), "{outcomes:?}");
}

/// `pkg/scheduler/framework/preemption/preemption.go`: what happens around the decision.
#[test]
fn a_victim_is_patched_deleted_and_gone_before_its_place_is_taken() {
    let nodes = [very_large_node()];
    let pods = [(0, sized(LOW, MEDIUM), 0), (0, sized(LOW, MEDIUM), 0)];
    let (h, preemptor) = preempt(&nodes, &pods, &sized(HIGH, VERY_LARGE), 1);
    // The preemptor's own status, and a DisruptionTarget for each victim.
    let patched: Vec<PodId> = h.patches.iter().map(|p| p.1).collect();
    assert_eq!(patched, [preemptor, 0, 1], "the last victim after the others");
    assert_eq!(h.deleted, [0, 1]);
    // Once to preempt; once too early, as the first victim's end moves it; once to be placed.
    assert_eq!(h.cycles.iter().filter(|c| c.1 == preemptor).count(), 3);
    assert_eq!(h.node_of(preemptor), Some(0));
}

/// `IsPodRunningPreemption`: a victim that is there no more holds its preemptor back no longer, so that its end, though it
/// came during the preemptor's own cycle, moves the preemptor.
#[test]
fn a_victim_that_ends_during_the_preemptors_cycle_wakes_it() {
    let mut h = Harness::new(&Settings::default());
    let t = h.template(very_large_node());
    h.add_node(t, None);
    let victim = h.add_spec(sized(LOW, MEDIUM));
    let victim = h.add_bound_pod(victim, 0);
    let preemptor = h.add_spec(sized(HIGH, VERY_LARGE));
    let preemptor = h.add_pod(preemptor);
    h.start();
    assert_eq!(h.cycles.len(), 1, "its cycle is under way");
    h.end_pod(victim);
    h.run();
    assert!(h.deleted.is_empty());
    assert_eq!(h.node_of(preemptor), Some(0), "{:?}", h.reasons());
}

/// A pod of high priority is nominated to the only node, whose victim takes long to leave: meanwhile the node has room for a small pod that
/// is not the preemptor's.
fn with_nomination() -> (Harness, PodId) {
    let mut h = Harness::new(&Settings::default());
    h.grace_ns = 100 * S;
    let t = h.template(very_large_node());
    h.add_node(t, None);
    let victim = h.add_spec(sized(NEG, MEDIUM));
    h.add_bound_pod(victim, 0);
    let nominated = h.add_spec(sized(HIGH, VERY_LARGE));
    let nominated = h.add_pod(nominated);
    h.start();
    h.run_until(S);
    (h, nominated)
}

/// A nominated pod's requests count for pods of lower priority, not for those of higher.
#[test]
fn nominated_nodes_are_held_against_lower_priorities() {
    for (priority, takes_the_place) in [(LOW, false), (HIGH, false), (VERY_HIGH, true)] {
        let (mut h, _) = with_nomination();
        let other = h.add_spec(sized(priority, MEDIUM));
        let other = h.add_pod(other);
        h.run_until(2 * S);
        assert_eq!(h.node_of(other).is_some(), takes_the_place, "priority {priority}");
    }
}

/// `deletePodFromSchedulingQueue` and `getLEPriorityPreCheck` in `eventhandlers.go`: with a nominated pod's deletion its
/// place is free for pods of the same or lower priority, which hear of it; those of higher priority, to whom it did not
/// count, do not.
#[test]
fn a_nomination_that_ends_wakes_those_that_counted_it() {
    for (priority, wakes) in [(LOW, true), (HIGH, true), (VERY_HIGH, false)] {
        let (mut h, nominated) = with_nomination();
        assert_eq!(h.deleted.len(), 1, "it is nominated");
        // No room for it beside the victim, whatever is nominated, if it is of the highest priority.
        let size = if wakes { MEDIUM } else { VERY_LARGE };
        let other = h.add_spec(PodSpec { never_preempts: true, ..sized(priority, size) });
        let other = h.add_pod(other);
        h.run_until(20 * S);
        assert_eq!(h.node_of(other), None, "priority {priority}");
        let before = h.cycles.iter().filter(|c| c.1 == other).count();
        h.end_pod(nominated);
        h.run_until(40 * S);
        let after = h.cycles.iter().filter(|c| c.1 == other).count();
        assert_eq!(after > before, wakes, "priority {priority}");
        assert_eq!(h.node_of(other).is_some(), wakes, "priority {priority}: {:?}", h.reasons());
    }
}

/// `updatePodInSchedulingQueue` and `hasNominatedNodeNameChanged`: the same when a nomination is taken back.
#[test]
fn a_nomination_that_is_taken_back_wakes_those_that_counted_it() {
    let of = |cpu, memory| Resources { pods: 110, ..amounts(cpu, memory, 0) };
    let mut h = Harness::new(&Settings::default());
    h.grace_ns = 100 * S;
    let t = h.template(NodeTemplate { allocatable: of(500, 500), ..NodeTemplate::default() });
    let node = h.add_node(t, None);
    let victim = h.add_spec(sized(NEG, MEDIUM));
    h.add_bound_pod(victim, node);
    let nominated = PodSpec { priority: HIGH, requests: amounts(500, 0, 0), ..PodSpec::default() };
    let nominated = h.add_spec(nominated);
    let nominated = h.add_pod(nominated);
    h.start();
    h.run_until(S);
    assert_eq!(h.deleted.len(), 1, "it is nominated");
    let other = h.add_spec(PodSpec { never_preempts: true, ..sized(LOW, MEDIUM) });
    let other = h.add_pod(other);
    h.run_until(20 * S);
    assert_eq!(h.node_of(other), None, "the nominated pod counts");
    // The node becomes too small for the nominated pod, which helps nobody.
    let smaller = h.template(NodeTemplate { allocatable: of(450, 500), ..NodeTemplate::default() });
    h.cluster.nodes.set_template(node, smaller);
    h.call_node(node, NodeChange::Updated);
    h.run_until(30 * S);
    assert_eq!(h.node_of(other), None);
    // A node comes that is tainted, and too small for the other pod: the nominated one finds no room any more.
    let taints = tainted("dedicated=user1:NoSchedule").taints;
    let t = h.template(NodeTemplate { allocatable: of(500, 100), taints, ..NodeTemplate::default() });
    h.add_node(t, None);
    h.run_until(40 * S);
    assert_eq!(h.node_of(nominated), None);
    assert_eq!(h.node_of(other), Some(node), "{:?}", h.reasons());
}

/// `TestPodEligibleToPreemptOthers`: no second preemption while a victim is terminating on the nominated node.
#[test]
fn no_second_preemption_while_a_victim_leaves() {
    let mut h = Harness::new(&Settings::default());
    h.grace_ns = 100 * S;
    let t = h.template(very_large_node());
    h.add_node(t, None);
    h.add_node(t, None);
    let low = h.add_spec(sized(LOW, LARGE));
    h.add_bound_pod(low, 0);
    h.add_bound_pod(low, 1);
    let pod = h.add_spec(sized(HIGH, LARGE));
    let pod = h.add_pod(pod);
    h.start();
    h.run_until(S);
    assert_eq!(h.deleted.len(), 1);
    // A node with room comes, which moves it, but has a taint; the cycle finds no other room and leaves it at that.
    let other = h.template(NodeTemplate {
        allocatable: very_large_node().allocatable,
        ..tainted("dedicated=user1:NoSchedule")
    });
    h.add_node(other, None);
    h.run_until(20 * S);
    assert!(h.cycles.iter().filter(|c| c.1 == pod).count() >= 2);
    assert_eq!(h.deleted.len(), 1, "{:?}", h.deleted);
    h.run_until(200 * S);
    assert_eq!(h.node_of(pod), Some(h.cluster.pods.node(h.deleted[0])));
}

/// Random clusters with priorities: no node holds too much at any binding, no pod of the same or higher priority is a
/// victim, and everything that can be placed is.
#[test]
fn preemption_keeps_the_order_of_priorities() {
    for seed in 0..40 {
        let mut rng = Streams::new(seed).stream("test");
        let mut h = Harness::new(&Settings::default());
        h.grace_ns = rng.below(3) * S;
        let t = h.template(very_large_node());
        let nodes = 1 + rng.below(6);
        for _ in 0..nodes {
            h.add_node(t, None);
        }
        h.start();
        let mut pods = Vec::new();
        for _ in 0..60 {
            let spec = h.add_spec(sized([LOW, MID, HIGH][rng.below(3) as usize], 100 * (1 + rng.below(3))));
            pods.push(h.add_pod(spec));
            let until = h.now + rng.below(2) * S / 2;
            h.run_until(until);
        }
        h.run();
        let gone: BTreeSet<PodId> = h.deleted.iter().copied().collect();
        assert_eq!(gone.len(), h.deleted.len(), "a pod is deleted once, seed {seed}");
        assert!(gone.iter().all(|p| h.cluster.pods.spec(*p).priority < HIGH), "seed {seed}");
        for node in 0..nodes {
            let on_node = pods
                .iter()
                .filter(|p| !gone.contains(p) && h.cluster.pods.node(**p) == node as u32)
                .map(|p| h.cluster.pods.spec(*p).requests.cpu_millicores);
            assert!(on_node.sum::<u64>() <= VERY_LARGE, "seed {seed}");
        }
        // Whoever waits has nobody of lower priority left to push away for a pod of the same size.
        let waiting = pods.iter().filter(|p| !gone.contains(p) && h.node_of(**p).is_none());
        for pod in waiting {
            let spec = h.cluster.pods.spec(*pod);
            let smaller = pods.iter().find(|p| {
                let other = h.cluster.pods.spec(**p);
                !gone.contains(p)
                    && h.node_of(**p).is_some()
                    && other.priority < spec.priority
                    && other.requests.cpu_millicores >= spec.requests.cpu_millicores
            });
            assert_eq!(smaller, None, "seed {seed}: pod {pod} waits");
        }
    }
}

/// Through a whole simulation, with a configuration file: the API server and the nodes' agents end the victims.
#[test]
fn a_simulated_cluster_preempts_as_its_configuration_says() {
    use podpace::cluster::{NO_NODE, Stage};
    use podpace::experiment::run::{Environment, RunSpec, load};

    let scenario = "\
apiVersion: podpace/v1
kind: Scenario
name: preemption
cluster: {nodes: [{count: 2, template: {allocatable: {cpu: 5, memory: 10Gi}}}]}
controlPlane: {apiServer: {profile: apiserver-1.36}, nodeLifecycle: {kind: kwok}}
scheduler: {kind: kube-scheduler, config: config.yaml}
workload:
  pods:
    - {name: low, count: 10, priority: 0, requests: {cpu: 1}}
    - {name: high, count: 4, priority: 100, requests: {cpu: 2}}
  arrivals: {process: constant, rate: 5}
stop: {when: allRunning, limit: 10m}
";
    let on = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";
    let off = format!("{on}profiles: [{{plugins: {{postFilter: {{disabled: [{{name: '*'}}]}}}}}}]\n");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scenario.yaml");
    std::fs::write(&path, scenario).unwrap();
    for (config, agents, high_bound, low_left) in
        [(on, "kwok", 4, 2), (on, "hollow", 4, 2), (on, "none", 4, 2), (off.as_str(), "kwok", 0, 10)]
    {
        std::fs::write(folder.path().join("config.yaml"), config).unwrap();
        let mut sets = vec![format!("controlPlane.nodeLifecycle.kind={agents}")];
        if agents == "none" {
            sets.push("stop.when=allBound".to_owned());
        }
        let document = load(&path, &sets, None).unwrap();
        let completed = RunSpec::of_scenario(document).unwrap().simulate(&Environment::built_in()).unwrap();
        let pods = &completed.finished.cluster.pods;
        let bound = (10..14).filter(|p| pods.node(*p) != NO_NODE).count();
        let left = (0..10).filter(|p| pods.stage(*p) != Stage::Finished).count();
        assert_eq!(
            (bound, left),
            (high_bound, low_left),
            "{agents}: {:?}",
            completed.finished.pending_reasons
        );
    }
    let wrong = format!("{on}parallelism: 0\n");
    std::fs::write(folder.path().join("config.yaml"), wrong).unwrap();
    let document = load(&path, &[], None).unwrap();
    let error = RunSpec::of_scenario(document).unwrap().simulate(&Environment::built_in()).err().unwrap();
    let text = format!("{error:?}");
    assert!(text.contains("should be an integer value greater than zero"), "{text}");
    assert!(text.contains("line: 3"), "{text}");
}
