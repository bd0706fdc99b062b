//! `volcano-scheduler.conf`: what is read, and what is refused by name.
use podpace::scenario::plan::Plan;
use podpace::scheduler::volcano::config::{ActionKind, Binpack, Config, PluginKind};

use crate::support;

/// A scenario with a file of Volcano's.
fn plan(conf: &str, scheduler: &str, workload: &str) -> Result<Plan, String> {
    let rest = format!(
        "cluster:\n  nodes: [{{count: 2, template: {{allocatable: {{cpu: 4, memory: 8Gi}}}}}}]\nscheduler: {{kind: volcano, config: volcano-scheduler.conf{scheduler}}}\nworkload: {workload}"
    );
    support::plan(&[("volcano-scheduler.conf", conf)], &rest)
}

const PODS: &str = "{pods: [{count: 2, requests: {cpu: 1}}]}";

fn config(conf: &str) -> Result<Config, String> {
    plan(conf, "", PODS).map(|plan| *plan.scheduler.settings.volcano.expect("a configuration"))
}

/// The file that the chart installs (`installer/helm/chart/volcano/config/volcano-scheduler.conf`) is what runs without one.
#[test]
fn the_charts_file_is_the_default() {
    let chart = r#"
actions: "enqueue, allocate, backfill"
tiers:
- plugins:
  - name: priority
  - name: gang
    enablePreemptable: false
  - name: conformance
- plugins:
  - name: overcommit
  - name: drf
    enablePreemptable: false
  - name: predicates
  - name: proportion
  - name: nodeorder
  - name: binpack
"#;
    assert_eq!(config(chart).unwrap(), Config::default());
    let map = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: volcano-scheduler-configmap}}\ndata:\n  volcano-scheduler.conf: |\n{}",
        chart.lines().map(|line| format!("    {line}\n")).collect::<String>()
    );
    assert_eq!(config(&map).unwrap(), Config::default());
}

/// Arguments as the documentation of binpack, nodeorder and overcommit writes them.
#[test]
fn arguments_are_read() {
    let conf = r#"
actions: "allocate"
tiers:
- plugins:
  - name: binpack
    arguments:
      binpack.weight: 10
      binpack.cpu: 5
      binpack.memory: 1
      binpack.resources: nvidia.com/gpu, example.com/foo
      binpack.resources.nvidia.com/gpu: 2
      binpack.resources.example.com/foo: 3
  - name: overcommit
    arguments:
      overcommit-factor: 1.5
  - name: nodeorder
    arguments:
      leastrequested.weight: 0
      mostrequested.weight: 7
configurations:
- name: allocate
  arguments:
    predicateErrorCacheEnable: false
"#;
    let config = config(conf).unwrap();
    assert_eq!(config.actions, [ActionKind::Allocate]);
    assert!(!config.error_cache);
    let binpack = Binpack { weight: 10, cpu: 5, memory: 1, others: vec![(0, 2), (1, 3)] };
    assert_eq!(config.tiers[0][0].kind, PluginKind::Binpack(binpack));
    assert_eq!(config.tiers[0][1].kind, PluginKind::Overcommit { factor_ppm: 1_500_000 });
    let PluginKind::NodeOrder(order) = config.tiers[0][2].kind else { panic!() };
    assert_eq!((order.least_requested, order.most_requested, order.taint_toleration), (0, 7, 3));
}

/// Whatever is not modelled is named, with its place.
#[test]
fn what_is_not_modelled_is_refused_by_name() {
    let plugins = |plugin: &str| format!("actions: allocate\ntiers:\n- plugins:\n  - {plugin}\n");
    for (conf, says) in [
        ("actions: \"enqueue, allocate, preempt\"\n".to_owned(), "not modelled: the action preempt"),
        ("actions: \"reclaim, allocate\"\n".to_owned(), "not modelled: the action reclaim"),
        ("actions: \"shuffle\"\n".to_owned(), "not modelled: the action shuffle"),
        ("actions: \"alocate\"\n".to_owned(), "failed to find Action alocate"),
        (plugins("name: tdm"), "not modelled: the plugin tdm"),
        (plugins("name: capacity"), "not modelled: the plugin capacity"),
        (plugins("name: gangg"), "Volcano has no plugin gangg"),
        (plugins("{name: drf, enableHierarchy: true}"), "drf over a hierarchy"),
        (plugins("{name: gang, enableJobOrdre: true}"), "enableJobOrdre"),
        (plugins("{name: binpack, arguments: {binpack.wieght: 1}}"), "no argument binpack.wieght"),
        (plugins("{name: nodeorder, arguments: {leastrequested.weight: many}}"), "expected a whole number"),
        (plugins("{name: overcommit, arguments: {overcommit-factor: []}}"), "expected a factor"),
        (
            plugins("{name: predicates, arguments: {predicate.NodePortsEnable: maybe}}"),
            "expected true or false",
        ),
        ("actions: allocate\ntierz: []\n".to_owned(), "tierz"),
        (
            "actions: allocate\nconfigurations: [{name: preempt, arguments: {}}]\n".to_owned(),
            "the action preempt",
        ),
        ("kind: ConfigMap\ndata: {other: x}\n".to_owned(), "`volcano-scheduler.conf` is missing"),
        (String::new(), "the file is empty"),
    ] {
        let error = config(&conf).unwrap_err();
        assert!(error.contains(says), "{conf}: {error}");
        assert!(error.contains("volcano-scheduler.conf"), "{error}");
    }
}

/// Pods that ask for what Volcano's model leaves out are refused, and queues that are not there.
#[test]
fn workloads_that_need_more_are_refused() {
    let conf = "actions: allocate\ntiers: [{plugins: [{name: gang}]}]\n";
    let pods = |more: &str| format!("{{pods: [{{count: 2, requests: {{cpu: 1}}, {more}}}]}}");
    for (workload, says) in [
        (pods("antiAffinity: required"), "affinity or anti-affinity"),
        (
            pods("topologySpread: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]"),
            "topology spread",
        ),
        (pods("schedulingGates: [{name: example.com/gate}]"), "scheduling gates"),
        (pods("queue: team-z"), "a queue of the scheduler"),
    ] {
        let error = plan(conf, "", &workload).unwrap_err();
        assert!(error.contains(says), "{workload}: {error}");
    }
    for (scheduler, says) in [
        (", nodeSort: btree", "a field of yunikorn"),
        (", queues: [{name: root}]", "a name of a Volcano queue"),
        (", queues: [{name: a, sort: fair}]", "a field of YuniKorn's queues"),
        (", queues: [{name: a, weight: 0}]", "scheduler.queues[0].weight"),
        (", queues: [{name: a, guaranteed: {cpu: 3}, max: {cpu: 2}}]", "at most the queue's max"),
    ] {
        let error = plan(conf, scheduler, PODS).unwrap_err();
        assert!(error.contains(says), "{scheduler}: {error}");
    }
}
