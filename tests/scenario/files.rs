//! Good files decode to what they say, `--set` changes what it names, and everything reads back.

use std::path::Path;

use podpace::scenario::duration::DurationNs;
use podpace::scenario::quantity::{Rate, Ratio};
use podpace::scenario::schema::schema;
use podpace::scenario::spec::*;
use podpace::scenario::{Diagnostic, Document, DocumentKind, to_yaml};
use proptest::prelude::*;

const FULL: &str = include_str!("../fixtures/scenario/full.yaml");
const KUBE: &str = include_str!("../fixtures/scenario/kube.yaml");
const SMALL: &str = include_str!("../fixtures/scenario/small.yaml");
const STUDY: &str = include_str!("../fixtures/scenario/study.yaml");

fn show(errors: Vec<Diagnostic>) -> String {
    errors.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n\n")
}

fn scenario(text: &str) -> ScenarioSpec {
    let document = Document::parse("scenario.yaml", text, None).map_err(show).unwrap();
    document.decode_scenario().map_err(show).unwrap()
}

#[test]
fn every_field_is_read() {
    let spec = scenario(FULL);
    assert_eq!(spec.seed, Some(7));
    assert_eq!(spec.hosts["control-plane"].speed, Some(Ratio(1_500_000)));
    assert_eq!(spec.hosts["scheduler"].speed, Some(Ratio(800_000)));
    let nodes = &spec.cluster.nodes;
    assert_eq!(nodes[0].template.allocatable.cpu_millicores(), Some(32_000));
    assert_eq!(nodes[0].template.allocatable.memory_bytes(), Some(256 << 30));
    assert_eq!(nodes[0].template.allocatable.pods(), Some(110));
    assert_eq!(nodes[0].template.allocatable.0["nvidia.com/gpu"], 8);
    assert_eq!(nodes[1].template.allocatable.cpu_millicores(), Some(500));
    assert_eq!(nodes[1].template.allocatable.memory_bytes(), Some(1_000_000_000));
    assert_eq!(nodes[1].template.allocatable.pods(), None);
    let fsync =
        TimeDistribution::Quantiles { p50: DurationNs::from_millis(1), p99: DurationNs::from_millis(8) };
    assert_eq!(spec.control_plane.etcd.fsync, Some(FsyncSpec::Latency(fsync)));
    assert_eq!(spec.control_plane.etcd.peer_rtt, Some(DurationNs(250_000)));
    assert_eq!(spec.control_plane.node_lifecycle.client.qps, Some(Rate(500_000)));
    assert_eq!(spec.scheduler.identity, Some(Identity::ServiceAccount));
    assert_eq!(spec.scheduler.start_delay, Some(DurationNs::from_secs(90)));
    let shape = spec.workload.deployments[0].shape();
    assert_eq!(shape.priority, Some(-5));
    assert_eq!(shape.hold, Some(TimeDistribution::Fixed(DurationNs::from_secs(5))));
    assert_eq!(shape.anti_affinity.unwrap().topology_key.as_deref(), Some("topology.kubernetes.io/zone"));
    assert_eq!(spec.workload.pods[0].anti_affinity.as_ref().unwrap().mode, AntiAffinityMode::Required);
    assert_eq!(spec.workload.jobs[0].parallelism, Some(5));
    assert_eq!(spec.expect[0].tolerance, Some(Ratio(100_000)));
    assert_eq!(spec.expect[1].min.unwrap().0.to_bits(), 0.008f64.to_bits());
}

/// A selector without conditions means everything and must not be lost like other empty mappings.
#[test]
fn empty_selectors_read_back() {
    let text = KUBE.replace("namespaceSelector: {matchLabels: {team: web}}", "namespaceSelector: {}");
    let spec = scenario(&text);
    let term = &spec.workload.deployments[0].pod_affinity.as_ref().unwrap().preferred[0];
    assert!(term.namespace_selector.is_some());
    assert_eq!(scenario(&to_yaml(&spec).unwrap()), spec);
}

/// What the fields become, and that the run binds everything: gates and volumes are waited for.
#[test]
fn kubernetes_fields_are_resolved_and_run() {
    use podpace::cluster::{Amount, Operator};
    let document = Document::parse("scenario.yaml", KUBE, None).map_err(show).unwrap();
    let spec = document.decode_scenario().map_err(show).unwrap();
    let library = podpace::cost::ProfileLibrary::built_in();
    let registry = podpace::scheduler::Registry::built_in();
    let plan = podpace::scenario::resolve(&spec, &document, &library, &registry).map_err(show).unwrap();
    let c = &plan.cluster;
    assert_eq!(c.disruption_budgets[0].max_unavailable, Some(Amount::Percent(20)));
    assert_eq!(c.namespace_labels("shop")["team"], "web");
    let cart = c.pods.spec(0);
    assert_eq!((cart.namespace(), cart.images[0].as_str()), ("shop", "registry.example.com/cart:v2"));
    assert_eq!(c.nodes.template(0).images.len(), 2);
    assert_eq!((cart.host_ports[0].port, cart.host_ports[1].protocol.as_str()), (8080, "UDP"));
    assert!(cart.controller_selector.is_some(), "a Deployment's pods belong to its ReplicaSet");
    let preferred = cart.pod_affinity.iter().find(|t| t.weight.is_some()).unwrap();
    let last = preferred.selector.expressions.last().unwrap();
    assert_eq!(
        (last.key.as_str(), last.operator, last.values[0].as_str()),
        ("version", Operator::NotIn, "v2")
    );
    let required = cart.pod_affinity.iter().find(|t| t.weight.is_none()).unwrap();
    assert_eq!(required.namespaces.names.len(), 2);
    assert_eq!(required.selector.expressions[0].operator, Operator::In);
    let batch = c.pods.spec(6);
    assert_eq!(batch.scheduling_gates[0].removed_after_ns, 30_000_000_000);
    assert!(!batch.volume_claims[0].bound && c.provisioning_ns.len() == 4);
    // Each pod of a group has the volumes of one zone, in turn.
    let zone = |pod| &c.pods.spec(pod).volume_claims[0].topology[0].expressions[0].values[0];
    assert_eq!([zone(10), zone(11), zone(12)], ["zone-1", "zone-2", "zone-1"]);
    let finished = podpace::experiment::run::simulate(&plan, &registry).unwrap();
    assert_eq!(finished.counts.bound, 14);
    let bound = |pod| finished.cluster.pods.timeline(pod).bound_ns;
    assert!((6..10).all(|pod| bound(pod) > 30_000_000_000), "the last gate");
    for pod in 10..14 {
        let node = finished.cluster.pods.node(pod);
        let zone = finished.cluster.nodes.label(node, "topology.kubernetes.io/zone").unwrap();
        assert_eq!(
            *zone,
            *finished.cluster.pods.spec(pod).volume_claims[1].topology[0].expressions[0].values[0]
        );
    }
}

#[test]
fn what_is_written_reads_back() {
    for text in [FULL, KUBE, SMALL] {
        let spec = scenario(text);
        let yaml = to_yaml(&spec).unwrap();
        assert_eq!(scenario(&yaml), spec, "{yaml}");
    }
}

/// serde_yaml reads the same types by its own parser: where both accept, both must agree.
#[test]
fn agrees_with_serde_yaml() {
    for text in [FULL, KUBE, SMALL] {
        let theirs: ScenarioSpec = serde_yaml::from_str(text).unwrap();
        assert_eq!(scenario(text), theirs);
    }
}

#[test]
fn set_changes_what_it_names() {
    let mut document = Document::parse("scenario.yaml", SMALL, None).unwrap();
    for argument in [
        "seed=9",
        "scheduler.client.qps=500",
        "cluster.nodes[0].count=10",
        "cluster.nodes[*].zones=3",
        "workload.deployments[*].replicas=5",
        "controlPlane.nodeLifecycle.startLatency={p50: 1s, p99: 2s}",
        "controlPlane.nodeLifecycle.kind=kwok",
        "controlPlane.etcd.fsync=off",
        "cluster.nodes[0].template.labels[\"example.com/x\"]=y",
        "stop.limit=",
    ] {
        document.set(argument).unwrap_or_else(|error| panic!("{error}"));
    }
    let spec = document.decode_scenario().map_err(show).unwrap();
    assert_eq!(spec.seed, Some(9));
    assert_eq!(spec.scheduler.client, ClientSpec { qps: Some(Rate::per_second(500)), burst: Some(100) });
    assert_eq!((spec.cluster.nodes[0].count, spec.cluster.nodes[0].zones), (10, Some(3)));
    assert_eq!(spec.workload.deployments[0].replicas, 5);
    assert_eq!(spec.control_plane.node_lifecycle.kind, Some(NodeLifecycleKind::Kwok));
    assert_eq!(spec.control_plane.etcd.fsync, Some(FsyncSpec::Off));
    assert_eq!(spec.cluster.nodes[0].template.labels["example.com/x"], "y");
    assert_eq!(spec.stop.limit, None, "an empty value brings the default back");
}

#[test]
fn experiments_decode_into_runs() {
    let mut document = Document::parse("study.yaml", STUDY, None).unwrap();
    document.set("seed=5").unwrap();
    let experiment = document.decode_experiment().map_err(show).unwrap();
    let counts: Vec<_> =
        experiment.runs.iter().map(|r| (&*r.name, r.seeds, r.scenario.cluster.nodes[0].count)).collect();
    assert_eq!(counts, [("n2000", 1, 2000), ("n4000", 3, 4000)]);
    assert_eq!(experiment.runs[0].scenario.scheduler.client.qps, None);
    assert_eq!(experiment.runs[1].scenario.scheduler.client.qps, Some(Rate::per_second(10)));
    assert!(experiment.runs.iter().all(|run| run.scenario.seed == Some(5) && run.scenario.name == "study"));
    // A later check can point at the line of a run's setting.
    let error = experiment.runs[1].document.diagnostic("scheduler.client.qps", "too slow", None);
    assert_eq!((error.line, error.path.as_str()), (14, "scheduler.client.qps"));
}

#[test]
fn experiments_read_a_scenario_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("base.yaml"), SMALL).unwrap();
    let text = "apiVersion: podpace/v1\nkind: Experiment\nname: x\nscenarioFile: base.yaml\n\
                runs: [{name: a}, {name: b, set: {\"cluster.nodes[0].count\": 0}}]\n";
    let path = folder.path().join("x.yaml");
    std::fs::write(&path, text).unwrap();
    let errors = Document::load(&path).unwrap().decode_experiment().unwrap_err();
    assert_eq!(errors.len(), 1, "{}", show(errors));
    assert!(errors[0].file.ends_with("x.yaml") && errors[0].line == 5, "{}", errors[0]);
    std::fs::write(&path, text.replace(": 0", ": 7")).unwrap();
    let experiment = Document::load(&path).unwrap().decode_experiment().map_err(show).unwrap();
    assert_eq!(experiment.runs[1].scenario.cluster.nodes[0].count, 7);
    assert_eq!(experiment.runs[1].document.sources().len(), 2);
}

#[test]
fn sweeps_are_grids() {
    let head = STUDY.split("runs:").next().unwrap().replace("kind: Experiment", "kind: Sweep");
    let text = head.replace("source: a table\n", "")
        + "vary:\n  - {path: \"cluster.nodes[0].count\", values: [10, 20]}\n  - {path: seed, values: [1, 2, 3]}\n";
    let sweep = Document::parse("sweep.yaml", &text, None).unwrap().decode_sweep().map_err(show).unwrap();
    assert_eq!(sweep.runs.len(), 6);
    assert_eq!(sweep.runs[1].name, "cluster.nodes[0].count=10,seed=2");
    assert_eq!(sweep.runs[5].scenario.cluster.nodes[0].count, 20);
}

#[test]
fn aliases_are_copies() {
    let text =
        SMALL.replace("requests: {cpu: 100m, memory: 500Mi}", "requests: &r {cpu: 100m, memory: 500Mi}") + "";
    let text = text.replace("stop:", "  pods:\n    - {count: 3, requests: *r}\nstop:");
    let spec = scenario(&text);
    assert_eq!(spec.workload.pods[0].requests, spec.workload.deployments[0].requests);
}

#[test]
fn pods_that_fit_nowhere_are_a_result_if_others_fit() {
    let text = SMALL.replace("stop:", "  pods:\n    - {count: 3, requests: {memory: 900Gi}}\nstop:");
    assert_eq!(scenario(&text).workload.pods[0].count, 3);
}

#[test]
fn names_that_are_not_built_in_are_left_to_the_registry() {
    let mut document = Document::parse("scenario.yaml", SMALL, None).unwrap();
    document.set("scheduler.kind=koordinator").unwrap();
    document.set("scheduler.options.depth=3").unwrap();
    let spec = document.decode_scenario().map_err(show).unwrap();
    assert_eq!(spec.scheduler.options["depth"], serde_yaml::Value::from(3));
}

#[test]
fn a_byte_order_mark_and_crlf_are_fine() {
    assert_eq!(scenario(&format!("\u{feff}{}", SMALL.replace('\n', "\r\n"))), scenario(SMALL));
}

#[test]
fn schemas_name_every_field() {
    for kind in [DocumentKind::Scenario, DocumentKind::Experiment, DocumentKind::Sweep] {
        let text = schema(kind).to_string();
        for key in [
            "percentageOfNodesToScore",
            "maxMutatingRequestsInflight",
            "topologySpread",
            "additionalProperties",
        ] {
            assert!(text.contains(key), "{kind:?} lacks {key}");
        }
    }
    let scenario = schema(DocumentKind::Scenario);
    assert_eq!(scenario["additionalProperties"], false);
    assert_eq!(scenario["properties"]["kind"]["const"], "Scenario");
    let experiment = schema(DocumentKind::Experiment);
    assert!(experiment["properties"]["scenario"]["properties"]["workload"].is_object());
    assert!(experiment["$defs"]["NodeGroupSpec"].is_object());
}

#[test]
fn files_load_from_disk() {
    let path = Path::new("tests/fixtures/scenario/full.yaml");
    let document = Document::load(path).map_err(show).unwrap();
    assert_eq!(document.kind(), DocumentKind::Scenario);
    assert_eq!(document.directory(), path.parent());
    document.decode().map_err(show).unwrap();
}

proptest! {
    /// Any mutation of a good file gives a value or errors, never a panic, and errors have a place in the file.
    #[test]
    fn mutations_never_panic(at in 0..FULL.len(), cut in 0usize..40, insert in "[-a-z0-9:{}\\[\\]&*!%@`\"'|>#?, \n\t]{0,12}") {
        let end = (at + cut).min(FULL.len());
        let text = format!("{}{insert}{}", &FULL[..at], &FULL[end..]);
        let errors = match Document::parse("m.yaml", &text, None) {
            Err(errors) => errors,
            Ok(document) => document.decode().err().unwrap_or_default(),
        };
        let lines = text.lines().count();
        for error in errors {
            prop_assert!(error.line <= lines + 1, "{error}");
        }
    }

    /// Any argument is accepted or refused, never a panic.
    #[test]
    fn set_never_panics(path in "[a-z.\\[\\]*0-9\"]{0,30}", value in "[-a-z0-9:{}\\[\\]&*!, ]{0,20}") {
        let mut document = Document::parse("scenario.yaml", SMALL, None).unwrap();
        if document.set(&format!("{path}={value}")).is_ok() {
            let _ = document.decode();
        }
    }
}
