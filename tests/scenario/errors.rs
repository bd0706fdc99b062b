//! What a reader sees for every kind of bad input: one snapshot each, made from a good file by one edit.

use std::path::Path;

use podpace::scenario::{Diagnostic, Document};

const SMALL: &str = include_str!("../fixtures/scenario/small.yaml");
const KUBE: &str = include_str!("../fixtures/scenario/kube.yaml");
const STUDY: &str = include_str!("../fixtures/scenario/study.yaml");

fn rendered(errors: &[Diagnostic]) -> String {
    errors.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n\n")
}

fn decoded(name: &str, text: &str) -> String {
    let errors = match Document::parse(name, text, Some(Path::new("tests/fixtures/scenario"))) {
        Err(errors) => errors,
        Ok(document) => document.decode().expect_err("the input is bad"),
    };
    assert!(!errors.is_empty());
    for error in &errors {
        assert!(error.hint.as_ref().is_some_and(|hint| !hint.is_empty()), "no next step: {error}");
    }
    rendered(&errors)
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../fixtures/scenario/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Replaces one piece of a good file, which must be there exactly once.
fn edit(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "`{from}` must be in the file once");
    text.replacen(from, to, 1)
}

#[test]
fn one_edit_of_a_scenario() {
    let cases: &[(&str, &str, &str)] = &[
        ("unknown-key", "replicas: 500", "replica: 500"),
        ("unknown-key-top", "stop: {", "stopp: {"),
        ("unknown-key-kubernetes", "      requests:", "      limits: {cpu: 1}\n      requests:"),
        ("unknown-key-far-off", "replicas: 500", "replicas: 500\n      zebra: 1"),
        ("duplicate-key", "replicas: 500", "replicas: 500\n      name: other"),
        ("duplicate-label", "labels: {disk: ssd}", "labels: {disk: ssd, size: big, disk: hdd}"),
        ("merge-key", "labels: {disk: ssd}", "labels: {<<: {a: b}, disk: ssd}"),
        ("negative-count", "count: 100\n", "count: -3\n"),
        ("fractional-count", "count: 100\n", "count: 1.5\n"),
        ("quoted-count", "count: 100\n", "count: \"100\"\n"),
        ("huge-count", "count: 100\n", "count: 100000000000000000000\n"),
        ("absurd-nodes", "count: 100\n", "count: 50000000\n"),
        ("absurd-pods", "replicas: 500", "replicas: 500000000"),
        ("zero-nodes", "count: 100\n", "count: 0\n"),
        ("zero-pods", "replicas: 500", "replicas: 0"),
        ("zero-zones", "count: 100\n", "count: 100\n      zones: 0\n"),
        ("no-node-groups", SMALL_NODES, "cluster:\n  nodes: []\n"),
        ("memory-in-mb", "memory: 500Mi", "memory: 500MB"),
        ("memory-as-word", "memory: 500Mi", "memory: lots"),
        ("cpu-negative", "cpu: 100m", "cpu: -100m"),
        ("cpu-absurd", "cpu: 100m", "cpu: 1e12"),
        ("pods-fraction", "pods: 110", "pods: 110.5"),
        ("duration-without-unit", "limit: 1h", "limit: 3600"),
        ("duration-unit", "limit: 1h", "limit: 1d"),
        ("duration-negative", "limit: 1h", "limit: -1h"),
        ("duration-absurd", "limit: 1h", "limit: 1000000h"),
        ("distribution-half", "{p50: 1ms, p99: 8ms}", "{p50: 1ms}"),
        ("distribution-swapped", "{p50: 1ms, p99: 8ms}", "{p50: 8ms, p99: 1ms}"),
        ("distribution-unit", "{p50: 1ms, p99: 8ms}", "{p50: 1 ms, p99: 8ms}"),
        ("ratio", "tolerance: 10%", "tolerance: ten percent"),
        ("tolerance-alone", "value: 50, tolerance: 10%", "tolerance: 10%, min: 3"),
        ("value-alone", "value: 50, tolerance: 10%", "value: 50"),
        (
            "nothing-expected",
            "{metric: throughput.bound.mean, value: 50, tolerance: 10%}",
            "{source: a table}",
        ),
        ("run-in-scenario", "{metric: throughput", "{run: a, metric: throughput"),
        ("enum", "when: allBound", "when: allbound"),
        ("enum-wrong", "when: allBound", "when: [never]"),
        ("kind-of-scheduler", "kind: kube-scheduler", "kind: kube-schduler"),
        ("field-of-another-scheduler", "kind: kube-scheduler", "kind: kube-scheduler\n  nodeSort: btree"),
        ("unknown-host", "{host: control-plane}", "{host: controlplane}"),
        ("host-without-cores", "{cores: 2}", "{cores: 0}"),
        ("qps-zero", "qps: 50", "qps: 0"),
        ("qps-word", "qps: 50", "qps: fast"),
        ("burst-zero", "burst: 100", "burst: 0"),
        ("list-for-mapping", "    - count: 100\n      template:", "    - count: 100\n    - template:"),
        ("mapping-for-list", "  deployments:\n    - name: app", "  deployments:\n      name: app"),
        ("bool-label", "{disk: ssd}", "{disk: true}"),
        ("label-value", "{disk: ssd}", "{disk: \"a b\"}"),
        ("name", "name: small", "name: small/one"),
        ("missing-name", "name: small\n", ""),
        ("missing-cpu", "{cpu: 32, memory: 256Gi, pods: 110}", "{memory: 256Gi, pods: 110}"),
        ("faults", "stop: {", "faults: [{at: 10s}]\nstop: {"),
        ("pod-larger-than-nodes", "memory: 500Mi", "memory: 500Gi"),
        ("pod-of-a-resource-nobody-has", "memory: 500Mi", "nvidia.com/gpu: 1"),
        ("missing-config", "kind: kube-scheduler", "kind: kube-scheduler\n  config: none.yaml"),
        ("missing-trace", "workload:\n", "workload:\n  trace: none\n"),
        ("arrivals-without-rate", "workload:\n", "workload:\n  arrivals: {process: poisson}\n"),
        ("rate-without-process", "workload:\n", "workload:\n  arrivals: {rate: 100}\n"),
        ("never-running", "when: allBound", "when: allRunning"),
        ("transformations", "workload:\n", "workload:\n  transformations: {}\n"),
        ("api-version", "podpace/v1", "podpace/v2"),
        ("kind", "kind: Scenario", "kind: Scenaro"),
        ("second-document", "stop: {", "---\nstop: {"),
        ("tab", "  client: {qps", "\tclient: {qps"),
        ("bracket", "burst: 100}", "burst: 100"),
        ("unknown-alias", "count: 100\n", "count: *n\n"),
        ("tag", "count: 100\n", "count: !!int 100\n"),
        (
            "many-at-once",
            "      replicas: 500\n      requests: {cpu: 100m, memory: 500Mi}\nstop: {when: allBound, limit: 1h}",
            "      replicas: many\n      requests: {cpu: 100x, memory: 1.5.5}\n      qeue: a\nstop: {when: later, limit: 1y}",
        ),
    ];
    for (name, from, to) in cases {
        snapshot(&format!("scenario-{name}"), &decoded("scenario.yaml", &edit(SMALL, from, to)));
    }
}

const SMALL_NODES: &str = "cluster:
  nodes:
    - count: 100
      template:
        allocatable: {cpu: 32, memory: 256Gi, pods: 110}
        labels: {disk: ssd}
";

#[test]
fn one_edit_of_an_experiment() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "unknown-run",
            "{run: n2000, metric: throughput.bound.mean, value",
            "{run: n200, metric: throughput.bound.mean, value",
        ),
        ("unknown-run-in-ratio", "over: {run: n2000,", "over: {run: n3000,"),
        ("run-without-expectation", "  - {name: n2000}", "  - {name: n2000}\n  - {name: lonely}"),
        ("duplicate-run", "name: n4000", "name: n2000"),
        ("set-unknown-key", "\"scheduler.client\":", "\"scheduler.clint\":"),
        ("set-wrong-value", "\"cluster.nodes[0].count\": 4000", "\"cluster.nodes[0].count\": many"),
        ("set-no-entry", "\"cluster.nodes[0].count\"", "\"cluster.nodes[3].count\""),
        ("set-bad-path", "\"cluster.nodes[0].count\"", "\"cluster.nodes[.count\""),
        ("scenario-error-once", "{cpu: 100m}", "{cpu: 100q}"),
        ("no-scenario-file", STUDY_SCENARIO, "scenarioFile: none.yaml\n"),
        ("no-scenario", STUDY_SCENARIO, ""),
        (
            "curve",
            "value: 204, tolerance: 10%, source: table 2",
            "curve: {file: none.csv, metric: pods.bund}",
        ),
        ("seeds", "seeds: 3", "seeds: 0"),
    ];
    for (name, from, to) in cases {
        snapshot(&format!("experiment-{name}"), &decoded("study.yaml", &edit(STUDY, from, to)));
    }
}

const STUDY_SCENARIO: &str = "scenario:
  cluster:
    nodes: [{count: 2000, template: {allocatable: {cpu: 32, memory: 256Gi}}}]
  scheduler: {kind: kube-scheduler}
  workload:
    pods: [{count: 1000, requests: {cpu: 100m}}]
";

#[test]
fn sweeps() {
    let text = edit(STUDY, "kind: Experiment", "kind: Sweep");
    let head = text.split("runs:").next().unwrap().replace("source: a table\n", "");
    snapshot(
        "sweep-empty-axis",
        &decoded("sweep.yaml", &format!("{head}vary: [{{path: seed, values: []}}]\n")),
    );
    snapshot(
        "sweep-wrong-value",
        &decoded(
            "sweep.yaml",
            &format!("{head}vary:\n  - {{path: scheduler.client.qps, values: [10, -1]}}\n"),
        ),
    );
}

#[test]
fn set_arguments() {
    let cases: &[(&str, &str)] = &[
        ("value", "scheduler.client.qps=abc"),
        ("no-equals", "scheduler.client.qps"),
        ("unknown-key", "scheduler.clients.qps=5"),
        ("unknown-top", "schduler.client.qps=5"),
        ("no-entry", "cluster.nodes[1].count=5"),
        ("list-without-index", "cluster.nodes.count=5"),
        ("scalar-on-the-way", "scheduler.kind.name=5"),
        ("not-a-list", "hosts[0].cores=5"),
        ("bad-path", "cluster.nodes[x].count=5"),
        ("bad-yaml", "scheduler.client={qps: 5"),
        ("each-of-nothing", "workload.pods[*].count=5"),
        ("kind", "kind=Experiment"),
        ("semantic", "cluster.nodes[*].count=0"),
        ("required-removed", "workload.deployments[0].replicas="),
    ];
    for (name, argument) in cases {
        let mut document = Document::parse("scenario.yaml", SMALL, None).unwrap();
        let errors = match document.set(argument) {
            Err(error) => vec![*error],
            Ok(()) => document.decode().expect_err(argument),
        };
        snapshot(&format!("set-{name}"), &rendered(&errors));
    }
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let load = |name: &str, bytes: Option<&[u8]>| {
        let path = folder.path().join(name);
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).unwrap();
        }
        let errors = Document::load(&path).expect_err(name);
        rendered(&errors).replace(&folder.path().display().to_string(), "DIR")
    };
    std::fs::write(folder.path().join("scenario.yaml"), SMALL).unwrap();
    std::fs::create_dir(folder.path().join("folder.yaml")).unwrap();
    snapshot("file-missing", &load("nothing-like-it", None));
    snapshot("file-misspelt", &load("scenaro.yaml", None));
    snapshot("file-missing-folder", &load("none/scenario.yaml", None));
    snapshot("file-folder", &load("folder.yaml", None));
    snapshot("file-empty", &load("empty.yaml", Some(b"")));
    snapshot("file-comments", &load("comments.yaml", Some(b"# nothing\n---\n")));
    snapshot("file-latin1", &load("latin1.yaml", Some(b"name: caf\xe9\n")));
    snapshot("file-utf16", &load("utf16.yaml", Some(b"\xff\xfea\0p\0")));
    snapshot("file-gzip", &load("gzip.yaml", Some(b"\x1f\x8b\x08\0\0\0\0\0")));
    snapshot("file-list", &load("list.yaml", Some(b"- a\n- b\n")));
    snapshot("file-large", &load("large.yaml", Some(&vec![b'#'; 9 << 20])));
    snapshot("file-json-like", &load("json.yaml", Some(b"{\"kind\": \"Scenario\"}")));
}

#[test]
fn bombs() {
    let head = "apiVersion: podpace/v1\nkind: Scenario\nname: bomb\n";
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..10 {
        let item = format!("*a{}", i - 1);
        laughs += &format!("a{i}: &a{i} [{}]\n", vec![item; 9].join(", "));
    }
    snapshot("bomb-laughs", &decoded("bomb.yaml", &format!("{head}{laughs}")));
    let deep = format!("{head}faults: {}{}\n", "[".repeat(100), "]".repeat(100));
    snapshot("bomb-depth", &decoded("bomb.yaml", &deep));
    let mut chain = String::from("a0: &a0 [x]\n");
    for i in 1..100 {
        chain += &format!("a{i}: &a{i} [*a{}]\n", i - 1);
    }
    snapshot("bomb-alias-depth", &decoded("bomb.yaml", &format!("{head}{chain}")));
    snapshot("bomb-self", &decoded("bomb.yaml", &format!("{head}faults: &a [*a]\n")));
    let errors = (0..200).map(|i| format!("key{i}: 1\n")).collect::<String>();
    let text = decoded("bomb.yaml", &format!("{SMALL}{errors}"));
    assert!(text.matches("error:").count() <= 60, "the list of errors is bounded");
    let many = format!("{head}faults: [{}]\n", vec!["1"; 3_000_000].join(","));
    snapshot("bomb-values", &decoded("bomb.yaml", &many));
    let pods = "    - {count: 1}\n".repeat(20_000);
    let text = decoded("bomb.yaml", &SMALL.replace("stop:", &format!("  pods:\n{pods}stop:")));
    assert!(text.contains("workload.pods: 20000 entries; podpace reads at most 10000"), "{text}");
    let labels = (0..100_000).map(|i| format!("l{i}: \"?\", ")).collect::<String>();
    let text = decoded("bomb.yaml", &SMALL.replace("{disk: ssd}", &format!("{{{labels}}}")));
    assert!(text.contains("more errors are not shown"), "{text}");
}

/// Fields that kube-scheduler reads: one edit each, the field that is named and the words. What Kubernetes refuses is refused in
/// its words.
#[test]
fn one_edit_of_kubernetes_fields() {
    let term = "namespaces: [shop, other]";
    let mut wrong = Vec::new();
    for (from, to, field, words) in [
        (
            "maxUnavailable: 20%",
            "maxUnavailable: 120%",
            "podDisruptionBudgets[0].maxUnavailable",
            "at most 100%",
        ),
        (
            "maxUnavailable: 20%",
            "maxUnavailable: some",
            "podDisruptionBudgets[0].maxUnavailable",
            "such as 50%",
        ),
        ("maxUnavailable: 20%", "maxUnavailable: -1", "podDisruptionBudgets[0].maxUnavailable", "negative"),
        (
            "maxUnavailable: 20%",
            "maxUnavailable: 1, minAvailable: 1",
            "podDisruptionBudgets[0].maxUnavailable",
            "minAvailable and maxUnavailable cannot be both set",
        ),
        ("    minAvailable: 1\n", "", "podDisruptionBudgets[1]", "neither"),
        (
            "operator: In, values: [batch, cart]",
            "operator: Gt, values: ['1']",
            "selector.matchExpressions[0].operator",
            "not a valid label selector operator",
        ),
        (
            "operator: In, values: [batch, cart]",
            "operator: In",
            "selector.matchExpressions[0].values",
            "needs values",
        ),
        (
            "operator: In, values: [batch, cart]",
            "operator: Exists, values: [a]",
            "selector.matchExpressions[0].values",
            "takes no values",
        ),
        ("sizeBytes: 700Mi", "sizeBytes: -1", "template.images[0].sizeBytes", "at least 0"),
        (
            "names: [registry.example.com/cart:v2, registry.example.com/cart:latest]",
            "names: []",
            "template.images[0].names",
            "at least one name",
        ),
        ("labels: {team: web}}]\n", "labels: {team: web}}, {name: shop}]\n", "namespaces[1].name", "shop"),
        (
            "services: [{namespace: shop, selector: {app: cart}}]",
            "services: [{selector: {}}]",
            "services[0].selector",
            "labels",
        ),
        (
            "volumeBindingMode: WaitForFirstConsumer",
            "volumeBindingMode: Late",
            "storageClasses[0].volumeBindingMode",
            "Late",
        ),
        (
            "    volumeBindingMode: WaitForFirstConsumer\n",
            "",
            "storageClasses[0].provisioning",
            "are there before their pods",
        ),
        ("values: [zone-0, zone-1]", "values: []", "matchLabelExpressions[0].values", "at least one value"),
        ("  - name: eager\n", "  - name: zonal\n", "storageClasses[1].name", "zonal"),
        (
            "volumeClaimTemplates: [{storageClassName: zonal}]",
            "volumeClaimTemplates: [{storageClassName: zonel}]",
            "volumeClaimTemplates[0].storageClassName",
            "zonal",
        ),
        (
            "SchedulerPopFromBackoffQ: true",
            "SchedulerPopBackoffQ: true",
            "featureGates.SchedulerPopBackoffQ",
            "not modelled",
        ),
        (
            "SchedulerPopFromBackoffQ: true",
            "SchedulerQueueingHints: false",
            "featureGates.SchedulerQueueingHints",
            "cannot set feature gate SchedulerQueueingHints to false",
        ),
        (
            "SchedulerPopFromBackoffQ: true",
            "SchedulerAsyncPreemption: false",
            "featureGates.SchedulerAsyncPreemption",
            "not modelled",
        ),
        (
            "SchedulerPopFromBackoffQ: true",
            "GangScheduling: true",
            "featureGates.GangScheduling",
            "not modelled",
        ),
        ("hostPorts: [8080,", "hostPorts: [0,", "hostPorts[0]", "65535"),
        ("hostPort: 53,", "hostPort: 70000,", "hostPorts[1]", "65535"),
        ("protocol: UDP", "protocol: ICMP", "hostPorts[1].protocol", "TCP, UDP or SCTP"),
        ("hostIP: 10.0.0.1", "hostIP: here", "hostPorts[1].hostIP", "an IP address"),
        ("weight: 50", "weight: 0", "podAffinity.preferred[0].weight", "100"),
        ("weight: 50", "weight: 101", "podAffinity.preferred[0].weight", "100"),
        (term, "namespaces: [sh op]", "podAntiAffinity.required[0].namespaces[0]", "a name of Kubernetes"),
        (
            term,
            "mismatchLabelKeys: [version]",
            "podAntiAffinity.required[0].mismatchLabelKeys[0]",
            "exists in both matchLabelKeys and mismatchLabelKeys",
        ),
        (
            term,
            "mismatchLabelKeys: [app]",
            "podAntiAffinity.required[0].mismatchLabelKeys[0]",
            "and labelSelector",
        ),
        (
            "mismatchLabelKeys: [version]",
            "mismatchLabelKeys: [app]",
            "podAffinity.preferred[0].mismatchLabelKeys[0]",
            "and labelSelector",
        ),
        (
            "        labelSelector: {matchLabels: {app: cart}}\n        namespaces",
            "        namespaces",
            "podAntiAffinity.required[0].matchLabelKeys[0]",
            "may not be specified when labelSelector is not set",
        ),
        (
            "      labelSelector: {matchLabels: {app: cart}}\n      matchLabelKeys: [version]",
            "      labelSelector: {matchLabels: {app: cart}}\n      matchLabelKeys: [app]",
            "topologySpread[0].matchLabelKeys[0]",
            "exists in both",
        ),
        (
            "topologyKey: kubernetes.io/hostname",
            "topologyKey: ''",
            "podAntiAffinity.required[0].topologyKey",
            "a name of Kubernetes",
        ),
        (
            "{name: example.com/budget, removedAfter: 10s}",
            "{name: example.com/quota}",
            "schedulingGates[1].name",
            "named twice",
        ),
        ("removedAfter: 10s", "removedAfter: -1s", "schedulingGates[1].removedAfter", "-1s"),
        (
            "schedulerName: default-scheduler",
            "nodeName: node-00000",
            "nodeName",
            "a pod with scheduling gates",
        ),
        ("images: [registry.example.com/cart:v2]", "images: ['']", "images[0]", "the name of an image"),
        ("kind: kube-scheduler", "kind: yunikorn", "featureGates", "feature gates are kube-scheduler's"),
        (
            "    podAntiAffinity:\n",
            "    antiAffinity: required\n    podAntiAffinity:\n",
            "antiAffinity",
            "`podAntiAffinity` is given, too",
        ),
    ] {
        let text = edit(KUBE, from, to);
        let errors = decoded("scenario.yaml", &text);
        if !errors.contains(field) || !errors.contains(words) {
            wrong.push(format!("{from} -> {to}: not `{field}` and `{words}`, but\n{errors}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
