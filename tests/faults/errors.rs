//! What a reader sees for every kind of wrong fault: file, line, field, what was expected, what to do.
use crate::support::{assert_page, message};

/// The scenario around a list of faults; the kind of node agents can be changed.
fn scenario(agents: &str, faults: &str) -> String {
    format!(
        "apiVersion: podpace/v1
kind: Scenario
name: wrong
cluster:
  nodes:
    - {{name: big, count: 4, zones: 2, template: {{allocatable: {{cpu: 8, memory: 32Gi}}}}}}
controlPlane: {{nodeLifecycle: {{kind: {agents}}}}}
scheduler: {{kind: kube-scheduler}}
workload: {{deployments: [{{name: web, replicas: 10, requests: {{cpu: 100m}}}}]}}
stop: {{when: allBound, limit: 1h}}
faults:
{faults}
"
    )
}

/// Messages of one kind of mistakes, as one page.
fn page(name: &str, cases: &[(&str, &str)]) {
    let mut text = String::new();
    for (agents, faults) in cases {
        text += &format!("faults: {faults}\n{}\n\n", message(&scenario(agents, &format!("  - {faults}"))));
    }
    assert_page(name, &text);
}

#[test]
fn times() {
    page(
        "times",
        &[
            ("kubelet", "{kind: nodeFailure}"),
            ("kubelet", "{kind: nodeFailure, at: 5m, every: 1h}"),
            ("kubelet", "{kind: nodeFailure, at: 5m, mtbf: 1h}"),
            ("kubelet", "{kind: nodeFailure, every: 0s}"),
            ("kubelet", "{kind: nodeFailure, at: 5}"),
            ("kubelet", "{kind: nodeFailure, at: 2h}"),
            ("kubelet", "{kind: nodeFailure, at: 5m, from: 1m}"),
            ("kubelet", "{kind: nodeFailure, at: 5m, most: 3}"),
            ("kubelet", "{kind: nodeFailure, every: 5m, from: 10m, to: 10m}"),
            ("kubelet", "{kind: nodeFailure, every: 5m, most: 0}"),
            ("kubelet", "{kind: nodeFailure, at: 5m, duration: {p50: 2m, p99: 1m}}"),
        ],
    );
}

#[test]
fn fields_and_kinds() {
    page(
        "fields",
        &[
            ("kubelet", "{kind: nodeFailed, at: 5m}"),
            ("kubelet", "{at: 5m}"),
            ("kubelet", "{kind: nodeFailure, at: 5m, node: 3}"),
            ("kubelet", "{kind: nodeFailure, at: 5m, pods: {count: 3}}"),
            ("kubelet", "{kind: nodeFailure, at: 5m, pause: 1m}"),
            ("kubelet", "{kind: nodeFlap, at: 5m, duration: 1m}"),
            ("kubelet", "{kind: nodeFlap, at: 5m, duration: 1m, pause: 1m, times: 0}"),
            ("kubelet", "{kind: nodeAdd, at: 5m, mtbf: 1h}"),
            ("kubelet", "{kind: nodeAdd, at: 5m, count: 0}"),
            ("kubelet", "{kind: podFailure, at: 5m, nodes: {count: 3}}"),
            ("none", "{kind: nodeFailure, at: 5m}"),
            ("none", "{kind: nodePartition, every: 5m}"),
        ],
    );
}

#[test]
fn choices() {
    page(
        "choices",
        &[
            ("kubelet", "{kind: nodeFailure, at: 5m, nodes: {names: [node-1]}}"),
            ("kubelet", "{kind: nodeFailure, at: 5m, nodes: {zone: zone-7}}"),
            ("kubelet", "{kind: nodeFailure, at: 5m, nodes: {count: 0}}"),
            ("kubelet", "{kind: nodeFailure, at: 5m, nodes: {count: 2, share: 10%}}"),
            ("kubelet", "{kind: nodeFailure, at: 5m, nodes: {share: 120%}}"),
            ("kubelet", "{kind: nodeFailure, at: 5m, nodes: {share: 0%}}"),
            ("kubelet", "{kind: nodeFailure, at: 5m, nodes: {names: [big-00001], count: 1}}"),
            ("kubelet", "{kind: nodeFailure, mtbf: 5m, nodes: {count: 2}}"),
            ("kubelet", "{kind: podFailure, mtbf: 5m, pods: {count: 2}}"),
            ("kubelet", "{kind: podFailure, at: 5m, pods: {share: 200%}}"),
            ("kubelet", "{kind: nodeAdd, at: 5m, group: small}"),
            ("kubelet", "{kind: nodeFailure, at: 5m, name: a}\n  - {kind: nodeFailure, at: 6m, name: a}"),
            ("kubelet", "{kind: nodeFailure, at: 5m, name: a/b}"),
        ],
    );
}

#[test]
fn drains() {
    page(
        "drains",
        &[
            ("kubelet", "{kind: drain, at: 5m, mtbf: 1h}"),
            ("kubelet", "{kind: drain, at: 5m, atOnce: 0}"),
            ("kubelet", "{kind: drain, at: 5m, atOnce: some}"),
            ("kubelet", "{kind: drain, at: 5m, force: maybe}"),
            ("kubelet", "{kind: drain, at: 5m, timeout: 0s}"),
            ("kubelet", "{kind: drain, at: 5m, nodes: {names: [node-7]}}"),
            ("kubelet", "{kind: nodeFailure, at: 5m, atOnce: 2}"),
            ("kubelet", "{kind: nodeFailure, at: 5m, force: true}"),
            ("none", "{kind: drain, at: 5m}"),
        ],
    );
    let gangs = scenario("kubelet", "  - {kind: drain, at: 5m}")
        .replace("kind: kube-scheduler", "kind: yunikorn")
        .replace(
            "deployments: [{name: web, replicas: 10, requests: {cpu: 100m}}]",
            "pods: [{count: 10, requests: {cpu: 100m}, gang: {}}]",
        );
    assert!(message(&gangs).contains("placeholders"), "{}", message(&gangs));
}

#[test]
fn servers() {
    let server = "kubelet}, apiServer: {profile: apiserver-1.36";
    page(
        "servers",
        &[
            ("kubelet", "{kind: apiServerRestart, at: 5m, duration: 10s}"),
            (server, "{kind: apiServerRestart, at: 5m}"),
            (server, "{kind: apiServerRestart, at: 5m, duration: 10ms}"),
            (server, "{kind: etcdOutage, at: 5m}"),
            (server, "{kind: etcdLeaderChange, at: 5m}"),
            (server, "{kind: apiServerSlow, at: 5m}"),
            (server, "{kind: etcdSlow, at: 5m, factor: 0}"),
            (server, "{kind: etcdSlow, at: 5m, factor: 5, nodes: {count: 1}}"),
            (server, "{kind: etcdOutage, at: 5m, duration: 10s, leaderElection: maybe}"),
            ("kubelet", "{kind: schedulerRestart, mtbf: 1h}"),
            ("kubelet", "{kind: schedulerRestart, at: 5m, factor: 5}"),
            ("kubelet", "{kind: watchDisconnect, at: 5m, watchers: [schedule]}"),
            ("none", "{kind: watchDisconnect, at: 5m, watchers: [node-agents]}"),
        ],
    );
    let gangs = scenario("kubelet", "  - {kind: schedulerRestart, at: 5m}")
        .replace("kind: kube-scheduler", "kind: yunikorn")
        .replace(
            "deployments: [{name: web, replicas: 10, requests: {cpu: 100m}}]",
            "pods: [{count: 10, requests: {cpu: 100m}, gang: {}}]",
        );
    assert!(message(&gangs).contains("gangs"), "{}", message(&gangs));
}

#[test]
fn flags_of_the_controller_manager() {
    let mut text = String::new();
    for flags in [
        "nodeMonitorPeriod: 0s",
        "nodeMonitorGracePeriod: 10s",
        "nodeEvictionRate: 0",
        "secondaryNodeEvictionRate: fast",
        "unhealthyZoneThreshold: 150%",
    ] {
        let agents = format!("kubelet}}, controllerManager: {{{flags}");
        let scenario = scenario(&agents, "  - {kind: nodeFailure, at: 5m}");
        text += &format!("{flags}\n{}\n\n", message(&scenario));
    }
    let agents = "kubelet}, apiServer: {defaultTolerationSeconds: -5";
    text += &message(&scenario(agents, "  - {kind: nodeFailure, at: 5m}"));
    let toleration = "requests: {cpu: 100m}, tolerations: [{key: a, operator: Exists, tolerationSeconds: 5}]";
    let text_of = scenario("kubelet", "  - {kind: nodeFailure, at: 5m}");
    text += "\n\n";
    text += &message(&text_of.replace("requests: {cpu: 100m}", toleration));
    text += "\n\n";
    let core_only = text_of.replace("kind: kube-scheduler", "kind: yunikorn, coreOnly: true");
    text += &message(&core_only);
    assert_page("flags", &text);
}
