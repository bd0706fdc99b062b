//! `cluster.autoscaler` in a scenario: who adds and removes nodes, and which.
//!
//! One struct holds the fields of both kinds, as with faults; [`FIELDS`] says which go together, and a field that does not is an error. Names are those of
//! cluster-autoscaler's flags and of Karpenter's NodePools, in the scenario's style.
//!
//! Cost: O(groups).
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::diagnostic::did_you_mean;
use super::duration::DurationNs;
use super::limits;
use super::plan::{AutoscalerPlan, ClientLimits};
use super::quantity::{Price, Quantity, Ratio, ResourceList};
use super::resolve::node_template;
use super::scheduling::IntOrPercent;
use super::spec::{ClientSpec, NodeTemplateSpec, ScenarioSpec, TaintSpec, TimeDistribution};
use super::validate::{Check, pod_groups};
use crate::autoscaler::config::{
    Budget, ClusterAutoscalerConfig, Config, ConsolidationPolicy, Delay, Expander, KarpenterConfig,
    MachineKind, Model, NodeGroup, NodePool, Reason, ScaleDown,
};
use crate::cluster::{Amount, Cluster, ZONE_LABEL};

/// Which autoscaler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AutoscalerKind {
    /// kubernetes/autoscaler's cluster-autoscaler.
    ClusterAutoscaler,
    /// Karpenter.
    Karpenter,
}

impl AutoscalerKind {
    const fn name(self) -> &'static str {
        match self {
            Self::ClusterAutoscaler => "cluster-autoscaler",
            Self::Karpenter => "karpenter",
        }
    }
}

/// A node group of cluster-autoscaler: equal machines, of which there are more or fewer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AutoscaledGroupSpec {
    /// Name; nodes are `name-00000` and so on.
    pub name: String,
    /// Least nodes. Default 0.
    pub min: Option<u64>,
    /// Most nodes.
    pub max: u64,
    /// Nodes that are there at the beginning. Default: `min`.
    pub initial: Option<u64>,
    /// What each node is.
    pub template: NodeTemplateSpec,
    /// Its zone, such as `zone-1`: the label `topology.kubernetes.io/zone`. Default: no label.
    pub zone: Option<String>,
    /// Dollars an hour for a node. Default 0.
    pub price: Option<Price>,
    /// Priority for the expander `priority`, higher first. Default: none, as if the expander's ConfigMap did not name the group.
    pub priority: Option<i32>,
}

/// cluster-autoscaler's scale-down; names are those of its flags.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScaleDownSpec {
    /// `--scale-down-enabled`. Default true.
    pub enabled: Option<bool>,
    /// `--scale-down-unneeded-time`. Default 10m.
    pub unneeded_time: Option<DurationNs>,
    /// `--scale-down-unready-time`. Default 20m.
    pub unready_time: Option<DurationNs>,
    /// `--scale-down-delay-after-add`. Default 10m.
    pub delay_after_add: Option<DurationNs>,
    /// `--scale-down-delay-after-delete`. Default 0s.
    pub delay_after_delete: Option<DurationNs>,
    /// `--scale-down-utilization-threshold`. Default 0.5.
    pub utilization_threshold: Option<Ratio>,
    /// `--max-scale-down-parallelism`. Default 10.
    pub max_parallelism: Option<u64>,
    /// `--max-drain-parallelism`. Default 1.
    pub max_drain_parallelism: Option<u64>,
    /// `--max-pod-eviction-time`. Default 2m.
    pub max_pod_eviction_time: Option<DurationNs>,
    /// `--max-graceful-termination-sec`. Default 10m.
    pub max_graceful_termination: Option<DurationNs>,
    /// `--unremovable-node-recheck-timeout`. Default 5m.
    pub unremovable_node_recheck_timeout: Option<DurationNs>,
    /// `--node-delete-delay-after-taint`. Default 5s.
    pub node_delete_delay_after_taint: Option<DurationNs>,
    /// `--max-bulk-soft-taint-count`. Default 10; 0: no soft taints.
    pub max_bulk_soft_taint_count: Option<u64>,
    /// `--skip-nodes-with-system-pods`. Default true.
    pub skip_nodes_with_system_pods: Option<bool>,
}

/// An instance type that Karpenter may ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstanceTypeSpec {
    /// Name, the label `node.kubernetes.io/instance-type`.
    pub name: String,
    /// Resources for pods; `cpu` and `memory` are required. Default of `pods`: 110.
    pub allocatable: ResourceList,
    /// Dollars an hour.
    pub price: Price,
}

/// Limits of a NodePool: what its machines may have in all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodePoolLimitsSpec {
    /// CPU.
    pub cpu: Option<Quantity>,
    /// Memory.
    pub memory: Option<Quantity>,
    /// Nodes.
    pub nodes: Option<u64>,
}

/// Which nodes of a NodePool may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConsolidationPolicySpec {
    /// Those without pods.
    WhenEmpty,
    /// Those, too, whose pods fit elsewhere, or on fewer or cheaper machines.
    WhenEmptyOrUnderutilized,
}

/// Why a node is disrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DisruptionReasonSpec {
    /// It has no pods.
    Empty,
    /// Its pods fit elsewhere.
    Underutilized,
}

/// A disruption budget of a NodePool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeBudgetSpec {
    /// So many nodes at a time (`2`), or such a share of them (`10%`), rounded up.
    pub nodes: IntOrPercent,
    /// For these reasons. Default: for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<DisruptionReasonSpec>,
}

/// When nodes of a NodePool go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodePoolDisruptionSpec {
    /// Which. Default `WhenEmptyOrUnderutilized`.
    pub consolidation_policy: Option<ConsolidationPolicySpec>,
    /// How long after a pod came or left: a duration, or `Never`. Default 0s.
    pub consolidate_after: Option<String>,
    /// How many at a time. Default `[{nodes: 10%}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<NodeBudgetSpec>,
}

/// A NodePool of Karpenter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodePoolSpec {
    /// Name, the label `karpenter.sh/nodepool`.
    pub name: String,
    /// Pools with more are tried first. Default 0.
    pub weight: Option<u64>,
    /// Its zone, such as `zone-1`; several zones are several pools. Default: no label.
    pub zone: Option<String>,
    /// Labels of its nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Taints of its nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<TaintSpec>,
    /// Instance types.
    pub instance_types: Vec<InstanceTypeSpec>,
    /// Limits. Default: none.
    pub limits: Option<NodePoolLimitsSpec>,
    /// When its nodes go.
    pub disruption: Option<NodePoolDisruptionSpec>,
}

/// Who adds and removes nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AutoscalerSpec {
    /// Which autoscaler.
    pub kind: AutoscalerKind,
    /// How long a machine takes from the request to the registration of its node: a duration, `{p50, p99}` or `{min, max}`.
    pub provisioning: TimeDistribution,
    /// Its client of the API server. Default: 5 requests a second, burst 10 (cluster-autoscaler); 200 and 300 (Karpenter).
    #[serde(default)]
    pub client: ClientSpec,
    /// cluster-autoscaler: node groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_groups: Vec<AutoscaledGroupSpec>,
    /// cluster-autoscaler: `--scan-interval`. Default 10s.
    pub scan_interval: Option<DurationNs>,
    /// cluster-autoscaler: `--frequent-loops-enabled`, which does not wait for the interval when a pod becomes unschedulable or a round has changed
    /// something. Default true.
    pub frequent_loops: Option<bool>,
    /// cluster-autoscaler: `--expander`, `least-waste`, `most-pods`, `least-nodes`, `priority`, `random`, or several with commas between. Default `least-waste`.
    pub expander: Option<String>,
    /// cluster-autoscaler: `--new-pod-scale-up-delay`. Default 0s.
    pub new_pod_scale_up_delay: Option<DurationNs>,
    /// cluster-autoscaler: `--max-node-provision-time`. Default 15m.
    pub max_node_provision_time: Option<DurationNs>,
    /// cluster-autoscaler: `--max-nodes-total`. Default: no limit.
    pub max_nodes_total: Option<u64>,
    /// cluster-autoscaler: `--max-nodes-per-scaleup`. Default 1000.
    pub max_nodes_per_scaleup: Option<u64>,
    /// cluster-autoscaler: `--expendable-pods-priority-cutoff`. Default -10.
    pub expendable_pods_priority_cutoff: Option<i32>,
    /// cluster-autoscaler: scale-down.
    pub scale_down: Option<ScaleDownSpec>,
    /// Karpenter: NodePools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_pools: Vec<NodePoolSpec>,
    /// Karpenter: `BATCH_IDLE_DURATION`. Default 1s.
    pub batch_idle_duration: Option<DurationNs>,
    /// Karpenter: `BATCH_MAX_DURATION`. Default 10s.
    pub batch_max_duration: Option<DurationNs>,
}

/// The fields of each kind, besides `kind`, `provisioning` and `client`, which go with both.
const FIELDS: [(AutoscalerKind, &[&str]); 2] = [
    (
        AutoscalerKind::ClusterAutoscaler,
        &[
            "nodeGroups",
            "scanInterval",
            "frequentLoops",
            "expander",
            "newPodScaleUpDelay",
            "maxNodeProvisionTime",
            "maxNodesTotal",
            "maxNodesPerScaleup",
            "expendablePodsPriorityCutoff",
            "scaleDown",
        ],
    ),
    (AutoscalerKind::Karpenter, &["nodePools", "batchIdleDuration", "batchMaxDuration"]),
];

const EXPANDERS: [(&str, Expander); 5] = [
    ("least-waste", Expander::LeastWaste),
    ("most-pods", Expander::MostPods),
    ("least-nodes", Expander::LeastNodes),
    ("priority", Expander::Priority),
    ("random", Expander::Random),
];

/// A thousand dollars a second.
const MOST_PRICE: u64 = 3_600_000_000_000;

fn given(it: &AutoscalerSpec) -> impl Iterator<Item = &'static str> {
    [
        ("nodeGroups", !it.node_groups.is_empty()),
        ("scanInterval", it.scan_interval.is_some()),
        ("frequentLoops", it.frequent_loops.is_some()),
        ("expander", it.expander.is_some()),
        ("newPodScaleUpDelay", it.new_pod_scale_up_delay.is_some()),
        ("maxNodeProvisionTime", it.max_node_provision_time.is_some()),
        ("maxNodesTotal", it.max_nodes_total.is_some()),
        ("maxNodesPerScaleup", it.max_nodes_per_scaleup.is_some()),
        ("expendablePodsPriorityCutoff", it.expendable_pods_priority_cutoff.is_some()),
        ("scaleDown", it.scale_down.is_some()),
        ("nodePools", !it.node_pools.is_empty()),
        ("batchIdleDuration", it.batch_idle_duration.is_some()),
        ("batchMaxDuration", it.batch_max_duration.is_some()),
    ]
    .into_iter()
    .filter_map(|(field, given)| given.then_some(field))
}

/// What nodes of an autoscaler hold, for the check whether pods fit anywhere.
pub(super) fn templates(spec: &ScenarioSpec) -> Vec<&ResourceList> {
    let groups = spec.cluster.autoscaler.iter().flat_map(|it| &it.node_groups);
    let pools = spec.cluster.autoscaler.iter().flat_map(|it| &it.node_pools);
    let types = pools.flat_map(|pool| &pool.instance_types).map(|kind| &kind.allocatable);
    groups.map(|group| &group.template.allocatable).chain(types).collect()
}

/// Nodes that there may be in all.
pub(super) fn most_nodes(spec: &ScenarioSpec) -> u64 {
    let groups = spec.cluster.autoscaler.iter().flat_map(|it| &it.node_groups);
    groups.fold(0, |sum: u64, group| sum.saturating_add(group.max))
}

/// All rules of `cluster.autoscaler`.
pub(super) fn validate(spec: &ScenarioSpec, check: &mut Check<'_>) {
    let Some(it) = &spec.cluster.autoscaler else { return };
    let path = "cluster.autoscaler";
    let fields = FIELDS.iter().find(|(kind, _)| *kind == it.kind).map_or(&[][..], |(_, fields)| fields);
    for field in given(it).filter(|field| !fields.contains(field)) {
        let message = format!("not a field of `{}`", it.kind.name());
        check.report(&format!("{path}.{field}"), message, format!("it has {}", fields.join(", ")));
    }
    refuse(spec, check);
    check.distribution(&format!("{path}.provisioning"), Some(it.provisioning));
    check.client(&format!("{path}.client"), &it.client);
    check.duration(&format!("{path}.scanInterval"), it.scan_interval, true);
    if it.scan_interval.is_some_and(|d| d.0 > 0 && d < DurationNs::from_millis(100)) {
        check.expected(&format!("{path}.scanInterval"), "at least 100ms", "the real default is 10s");
    }
    check.duration(&format!("{path}.newPodScaleUpDelay"), it.new_pod_scale_up_delay, false);
    check.duration(&format!("{path}.maxNodeProvisionTime"), it.max_node_provision_time, true);
    check.optional_count(&format!("{path}.maxNodesTotal"), it.max_nodes_total, 1, limits::NODES);
    check.optional_count(&format!("{path}.maxNodesPerScaleup"), it.max_nodes_per_scaleup, 1, limits::NODES);
    check.duration(&format!("{path}.batchIdleDuration"), it.batch_idle_duration, true);
    check.duration(&format!("{path}.batchMaxDuration"), it.batch_max_duration, true);
    expanders(it, check);
    groups(spec, it, check);
    pools(spec, it, check);
    if let Some(down) = &it.scale_down {
        scale_down(down, check);
    }
}

/// What does not go together with an autoscaler here.
fn refuse(spec: &ScenarioSpec, check: &mut Check<'_>) {
    let path = "cluster.autoscaler";
    if spec.scheduler.kueue.is_some() {
        let message = "not modelled: an autoscaler with Kueue";
        check.report(path, message, "leave `scheduler.kueue` or the autoscaler out");
    }
    if spec.scheduler.core_only == Some(true) {
        let message = "with `coreOnly` no pod is bound, so that no node is needed";
        check.report(path, message, "leave `scheduler.coreOnly` or the autoscaler out");
    }
    let gangs = pod_groups(&spec.workload).iter().any(|group| group.shape.gang.is_some());
    if gangs && spec.scheduler.kind == "yunikorn" {
        let message =
            "not modelled: an autoscaler with YuniKorn's gangs, whose placeholders ask for nodes, too";
        check.report(path, message, "leave the gangs, or the autoscaler, out");
    }
}

fn expanders(it: &AutoscalerSpec, check: &mut Check<'_>) {
    let path = "cluster.autoscaler.expander";
    let Some(text) = &it.expander else { return };
    let known: Vec<&str> = EXPANDERS.iter().map(|(name, _)| *name).collect();
    for name in text.split(',').map(str::trim) {
        if matches!(name, "price" | "grpc") {
            let hint = format!("there are: {}", known.join(", "));
            check.report(path, format!("not modelled: the expander `{name}`"), hint);
        } else if !known.contains(&name) {
            check.expected(path, "the name of an expander", did_you_mean(name, &known));
        }
    }
}

fn groups(spec: &ScenarioSpec, it: &AutoscalerSpec, check: &mut Check<'_>) {
    let path = "cluster.autoscaler.nodeGroups";
    if it.kind == AutoscalerKind::ClusterAutoscaler && it.node_groups.is_empty() {
        let hint = "such as `nodeGroups: [{name: small, max: 100, template: {allocatable: {cpu: 8, memory: 32Gi}}}]`";
        check.report(path, "required with cluster-autoscaler, but missing", hint);
        return;
    }
    if it.node_groups.len() > limits::GROUPS {
        let message = format!("{} entries; podpace reads at most {}", it.node_groups.len(), limits::GROUPS);
        check.report(path, message, "one group of each kind of machine and zone is enough");
        return;
    }
    let own = it.node_groups.iter().enumerate();
    let names = own.map(|(i, group)| (format!("{path}[{i}].name"), group.name.as_str()));
    let others = spec.cluster.nodes.iter().enumerate();
    let others = others.filter_map(|(i, g)| Some((format!("cluster.nodes[{i}].name"), g.name.as_deref()?)));
    check.distinct("node group", others.chain(names));
    for (i, group) in it.node_groups.iter().enumerate() {
        let path = format!("{path}[{i}]");
        check.name(&format!("{path}.name"), &group.name);
        check.count(&format!("{path}.max"), group.max, 1, limits::NODES);
        let min = group.min.unwrap_or(0);
        if min > group.max {
            let expected = format!("at most the max of {}", group.max);
            check.expected(&format!("{path}.min"), &expected, "swap the two");
        }
        if let Some(initial) = group.initial.filter(|initial| *initial < min || *initial > group.max) {
            let expected = format!("from {min} to {}, as min and max say", group.max);
            let hint = format!("a group does not begin with {initial} nodes if it may not have so many");
            check.expected(&format!("{path}.initial"), &expected, hint);
        }
        price(&format!("{path}.price"), group.price, check);
        super::validate::node_template(&format!("{path}.template"), &group.template, check);
        if group.zone.is_some() && group.template.labels.contains_key(ZONE_LABEL) {
            let message = "the zone is given, and the label too";
            check.report(&format!("{path}.zone"), message, "leave one of them out");
        }
        if group.zone.as_ref().is_some_and(|zone| !super::validate::is_label_value(zone)) {
            check.expected(&format!("{path}.zone"), "a label value of Kubernetes", "such as zone-1");
        }
    }
    let total = spec.cluster.nodes.iter().fold(most_nodes(spec), |sum, g| sum.saturating_add(g.count));
    if total > limits::NODES && it.node_groups.iter().all(|group| group.max <= limits::NODES) {
        let message =
            format!("the cluster may come to have {total} nodes; podpace models at most {}", limits::NODES);
        check.report(path, message, "lower `max`; is there a digit too many?");
    }
}

fn pools(spec: &ScenarioSpec, it: &AutoscalerSpec, check: &mut Check<'_>) {
    let path = "cluster.autoscaler.nodePools";
    if it.kind == AutoscalerKind::Karpenter && it.node_pools.is_empty() {
        let hint = "such as `nodePools: [{name: default, instanceTypes: [{name: m5.large, price: 0.096, allocatable: {cpu: 2, memory: 8Gi}}]}]`";
        check.report(path, "required with karpenter, but missing", hint);
        return;
    }
    let types: usize = it.node_pools.iter().map(|pool| pool.instance_types.len()).sum();
    if it.node_pools.len() > limits::GROUPS || types > limits::GROUPS {
        let message = format!("more than {} entries", limits::GROUPS);
        check.report(path, message, "podpace models no more");
        return;
    }
    let own = it.node_pools.iter().enumerate();
    let names = own.map(|(i, pool)| (format!("{path}[{i}].name"), pool.name.as_str()));
    let others = spec.cluster.nodes.iter().enumerate();
    let others = others.filter_map(|(i, g)| Some((format!("cluster.nodes[{i}].name"), g.name.as_deref()?)));
    check.distinct("NodePool", others.chain(names));
    for (i, pool) in it.node_pools.iter().enumerate() {
        let path = format!("{path}[{i}]");
        check.name(&format!("{path}.name"), &pool.name);
        check.optional_count(&format!("{path}.weight"), pool.weight, 1, 10_000);
        check.labels(&format!("{path}.labels"), &pool.labels);
        if pool.zone.as_ref().is_some_and(|zone| !super::validate::is_label_value(zone)) {
            check.expected(&format!("{path}.zone"), "a label value of Kubernetes", "such as zone-1");
        }
        if pool.instance_types.is_empty() {
            let hint = "such as `[{name: m5.large, price: 0.096, allocatable: {cpu: 2, memory: 8Gi}}]`";
            check.report(&format!("{path}.instanceTypes"), "the pool has no instance type", hint);
        }
        let types = pool.instance_types.iter().enumerate();
        let names = types.map(|(j, kind)| (format!("{path}.instanceTypes[{j}].name"), kind.name.as_str()));
        check.distinct("instance type", names);
        for (j, kind) in pool.instance_types.iter().enumerate() {
            let path = format!("{path}.instanceTypes[{j}]");
            check.name(&format!("{path}.name"), &kind.name);
            price(&format!("{path}.price"), Some(kind.price), check);
            super::validate::node_template(&path, &of_type(pool, kind), check);
        }
        if let Some(pool_limits) = &pool.limits {
            check.optional_count(&format!("{path}.limits.nodes"), pool_limits.nodes, 1, limits::NODES);
            for (field, given) in [("cpu", pool_limits.cpu), ("memory", pool_limits.memory)] {
                if given.is_some_and(|amount| amount.units().is_none_or(|amount| amount == 0)) {
                    check.expected(&format!("{path}.limits.{field}"), "more than 0", "such as 1000");
                }
            }
        }
        let disruption = pool.disruption.clone().unwrap_or_default();
        if let Some(text) = &disruption.consolidate_after
            && consolidate_after(text).is_err()
        {
            let path = format!("{path}.disruption.consolidateAfter");
            check.expected(&path, "a duration or Never", "such as 30s");
        }
    }
}

/// What a machine of a type is.
fn of_type(pool: &NodePoolSpec, kind: &InstanceTypeSpec) -> NodeTemplateSpec {
    let mut labels = pool.labels.clone();
    labels.insert("karpenter.sh/nodepool".to_owned(), pool.name.clone());
    labels.insert("node.kubernetes.io/instance-type".to_owned(), kind.name.clone());
    NodeTemplateSpec {
        allocatable: kind.allocatable.clone(),
        labels,
        taints: pool.taints.clone(),
        unschedulable: None,
        images: Vec::new(),
    }
}

/// A duration; none: never.
fn consolidate_after(text: &str) -> Result<Option<DurationNs>, String> {
    if text == "Never" { Ok(None) } else { text.parse().map(Some) }
}

fn price(path: &str, price: Option<Price>, check: &mut Check<'_>) {
    if price.is_some_and(|price| price.0 > MOST_PRICE) {
        check.expected(path, "at most 3600000 dollars an hour", "is the unit right?");
    }
}

fn scale_down(down: &ScaleDownSpec, check: &mut Check<'_>) {
    let path = |field: &str| format!("cluster.autoscaler.scaleDown.{field}");
    for (field, span) in [
        ("unneededTime", down.unneeded_time),
        ("unreadyTime", down.unready_time),
        ("delayAfterAdd", down.delay_after_add),
        ("delayAfterDelete", down.delay_after_delete),
        ("maxPodEvictionTime", down.max_pod_eviction_time),
        ("maxGracefulTermination", down.max_graceful_termination),
        ("unremovableNodeRecheckTimeout", down.unremovable_node_recheck_timeout),
        ("nodeDeleteDelayAfterTaint", down.node_delete_delay_after_taint),
    ] {
        check.duration(&path(field), span, false);
    }
    for (field, count, least) in [
        ("maxParallelism", down.max_parallelism, 1),
        ("maxDrainParallelism", down.max_drain_parallelism, 0),
        ("maxBulkSoftTaintCount", down.max_bulk_soft_taint_count, 0),
    ] {
        check.optional_count(&path(field), count, least, limits::SMALL_COUNT);
    }
    if down.utilization_threshold.is_some_and(|share| share.ppm() > 1_000_000) {
        check.expected(&path("utilizationThreshold"), "at most 1", "such as 0.5");
    }
}

fn small(count: Option<u64>, default: u32) -> u32 {
    count.map_or(default, |count| u32::try_from(count).unwrap_or(u32::MAX))
}

/// Karpenter's pools; their instance types join the kinds of machines.
fn karpenter(it: &AutoscalerSpec, cluster: &mut Cluster, kinds: &mut Vec<MachineKind>) -> KarpenterConfig {
    let mut pools = Vec::new();
    for pool in &it.node_pools {
        let first = kinds.len() as u32;
        let zone = pool.zone.as_ref().map(|zone| cluster.nodes.add_zone(zone));
        for kind in &pool.instance_types {
            let template = node_template(cluster, &of_type(pool, kind));
            let name = format!("{}-{}", pool.name, kind.name);
            kinds.push(MachineKind { name, template, zone, price_micro: kind.price.0 });
        }
        let limits = pool.limits.clone().unwrap_or_default();
        let disruption = pool.disruption.clone().unwrap_or_default();
        let after = disruption.consolidate_after.as_deref().unwrap_or("0s");
        let reason = |reason: &DisruptionReasonSpec| match reason {
            DisruptionReasonSpec::Empty => Reason::Empty,
            DisruptionReasonSpec::Underutilized => Reason::Underutilized,
        };
        let budget = |budget: &NodeBudgetSpec| Budget {
            nodes: budget.nodes.0,
            reasons: (!budget.reasons.is_empty()).then(|| budget.reasons.iter().map(reason).collect()),
        };
        let mut budgets: Vec<Budget> = disruption.budgets.iter().map(budget).collect();
        if budgets.is_empty() {
            budgets.push(Budget { nodes: Amount::Percent(10), reasons: None });
        }
        pools.push(NodePool {
            name: pool.name.clone(),
            weight: small(pool.weight, 0),
            kinds: first..kinds.len() as u32,
            limit_cpu: limits.cpu.and_then(Quantity::milli),
            limit_memory: limits.memory.and_then(Quantity::units),
            limit_nodes: limits.nodes,
            consolidate_after_ns: consolidate_after(after).ok().flatten().map(|after| after.0),
            policy: match disruption.consolidation_policy {
                Some(ConsolidationPolicySpec::WhenEmpty) => ConsolidationPolicy::WhenEmpty,
                _ => ConsolidationPolicy::WhenEmptyOrUnderutilized,
            },
            budgets,
        });
    }
    KarpenterConfig {
        batch_idle_ns: it.batch_idle_duration.unwrap_or(DurationNs::from_secs(1)).0,
        batch_max_ns: it.batch_max_duration.unwrap_or(DurationNs::from_secs(10)).0,
        pools,
    }
}

/// The plan of an autoscaler; its first nodes join the cluster.
pub(super) fn resolve(spec: &ScenarioSpec, cluster: &mut Cluster) -> Option<AutoscalerPlan> {
    let it = spec.cluster.autoscaler.as_deref()?;
    let mut kinds = Vec::new();
    let mut groups = Vec::new();
    let mut initial = Vec::new();
    let karpenter = (it.kind == AutoscalerKind::Karpenter).then(|| karpenter(it, cluster, &mut kinds));
    for (at, group) in it.node_groups.iter().enumerate() {
        let template = node_template(cluster, &group.template);
        let zone = group.zone.as_ref().map(|zone| cluster.nodes.add_zone(zone));
        let price_micro = group.price.map_or(0, |price| price.0);
        kinds.push(MachineKind { name: group.name.clone(), template, zone, price_micro });
        let (min, max) = (small(group.min, 0), small(Some(group.max), 0));
        groups.push(NodeGroup { min, max, priority: group.priority.map(i64::from) });
        for i in 0..group.initial.unwrap_or(u64::from(min)) {
            let node = cluster.nodes.add(format!("{}-{i:05}", group.name), template, zone);
            initial.push((node, at as u32));
        }
    }
    let defaults = ClusterAutoscalerConfig::default();
    let down = it.scale_down.clone().unwrap_or_default();
    let usual = ScaleDown::default();
    let span = |given: Option<DurationNs>, default: u64| given.map_or(default, |span| span.0);
    let scale_down = ScaleDown {
        enabled: down.enabled.unwrap_or(true),
        unneeded_ns: span(down.unneeded_time, usual.unneeded_ns),
        unready_ns: span(down.unready_time, usual.unready_ns),
        after_add_ns: span(down.delay_after_add, usual.after_add_ns),
        after_delete_ns: span(down.delay_after_delete, usual.after_delete_ns),
        threshold_ppm: down.utilization_threshold.map_or(usual.threshold_ppm, Ratio::ppm),
        parallelism: small(down.max_parallelism, usual.parallelism),
        drain_parallelism: small(down.max_drain_parallelism, usual.drain_parallelism),
        eviction_ns: span(down.max_pod_eviction_time, usual.eviction_ns),
        graceful_ns: span(down.max_graceful_termination, usual.graceful_ns),
        recheck_ns: span(down.unremovable_node_recheck_timeout, usual.recheck_ns),
        delay_after_taint_ns: span(down.node_delete_delay_after_taint, usual.delay_after_taint_ns),
        soft_taints: small(down.max_bulk_soft_taint_count, usual.soft_taints),
        skip_system_pods: down.skip_nodes_with_system_pods.unwrap_or(true),
    };
    let names = it.expander.as_deref().unwrap_or("least-waste").split(',').map(str::trim);
    let expanders = names.filter_map(|name| EXPANDERS.iter().find(|(known, _)| *known == name));
    let cluster_autoscaler = ClusterAutoscalerConfig {
        scan_interval_ns: span(it.scan_interval, defaults.scan_interval_ns),
        frequent_loops: it.frequent_loops.unwrap_or(true),
        new_pod_delay_ns: span(it.new_pod_scale_up_delay, 0),
        expanders: expanders.map(|(_, expander)| *expander).collect(),
        max_provision_ns: span(it.max_node_provision_time, defaults.max_provision_ns),
        max_nodes_total: small(it.max_nodes_total, 0),
        max_nodes_per_scale_up: small(it.max_nodes_per_scaleup, defaults.max_nodes_per_scale_up),
        expendable_cutoff: it.expendable_pods_priority_cutoff.unwrap_or(defaults.expendable_cutoff),
        scale_down,
        groups,
        ..defaults
    };
    let (qps, burst) = if karpenter.is_some() { (200, 300) } else { (5, 10) };
    let model = match karpenter {
        Some(config) => Model::Karpenter(config),
        None => Model::ClusterAutoscaler(cluster_autoscaler),
    };
    let client = ClientLimits {
        qps_milli: it.client.qps.map_or(qps * 1000, |qps| (qps.micro_per_second() / 1000).max(1)),
        burst: small(it.client.burst, burst),
    };
    let provisioning = match it.provisioning {
        TimeDistribution::Fixed(span) => Delay::Fixed(span.0),
        TimeDistribution::Quantiles { p50, p99 } => Delay::Quantiles(p50.0, p99.0),
        TimeDistribution::Uniform { min, max } => Delay::Uniform(min.0, max.0),
    };
    let by_condition = matches!(spec.scheduler.kind.as_str(), "kube-scheduler" | "volcano");
    let config = Config { model, kinds, initial, provisioning, by_condition };
    Some(AutoscalerPlan { name: it.kind.name(), client, config })
}
