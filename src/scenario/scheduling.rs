//! What pods say to the scheduler, and the objects beside them that it reads: selectors, affinity to pods, gates, ports,
//! namespaces, Services, PodDisruptionBudgets, images.
//!
//! The types as they stand in the file, the rules that they obey, and what they become in the cluster. Names, defaults and
//! rules are those of the Kubernetes API (`pkg/apis/core/validation/validation.go`, `pkg/apis/policy/validation`); as the API
//! server does, `matchLabelKeys` and `mismatchLabelKeys` of affinity terms are written into the term's selector.
//!
//! Cost: O(values of the file).
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::duration::DurationNs;
use super::quantity::Quantity;
use super::resolve::operator;
use super::spec::{
    ClusterSpec, MatchExpressionSpec, MatchOperator, PodShape, ScenarioSpec, TimeDistribution,
};
use super::validate::Check;
use crate::cluster::{
    Amount, Cluster, DEFAULT_NAMESPACE, DisruptionBudget, Expression, HostPort, LabelSelector, Namespaces,
    Operator, PodAffinityTerm, SchedulingGate, Service, Term, VolumeClaim,
};
use crate::scheduler::kube::normalised_name;

/// A namespace with labels of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceSpec {
    /// Name.
    pub name: String,
    /// Labels besides `kubernetes.io/metadata.name`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A Service; pods behind one are spread by kube-scheduler's default constraints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceSpec {
    /// Namespace. Default `default`.
    pub namespace: Option<String>,
    /// Labels of its pods.
    pub selector: BTreeMap<String, String>,
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DisruptionBudgetSpec {
    /// Name. Default `budget` with its number.
    pub name: Option<String>,
    /// Namespace. Default `default`.
    pub namespace: Option<String>,
    /// Its pods.
    pub selector: LabelSelectorSpec,
    /// Pods that must stay: a number, or a share such as `50%`. Excludes `maxUnavailable`.
    pub min_available: Option<IntOrPercent>,
    /// Pods that may be missing. Excludes `minAvailable`.
    pub max_unavailable: Option<IntOrPercent>,
}

/// A number, or a share of 100 such as `50%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntOrPercent(pub Amount);

/// A label selector: all its conditions hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelectorSpec {
    /// Labels with their values.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
    /// Expressions: In, NotIn, Exists, DoesNotExist.
    #[serde(default)]
    pub match_expressions: Vec<MatchExpressionSpec>,
}

/// Affinity to other pods, or anti-affinity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodAffinitySpec {
    /// Terms that must hold (`requiredDuringSchedulingIgnoredDuringExecution`).
    #[serde(default)]
    pub required: Vec<PodAffinityTermSpec>,
    /// Terms that count in the score (`preferredDuringSchedulingIgnoredDuringExecution`).
    #[serde(default)]
    pub preferred: Vec<WeightedPodAffinityTermSpec>,
}

/// Declares a term of pod affinity: its own fields, then those of every term.
macro_rules! affinity_term {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            /// The other pods' labels; none: no pod.
            pub label_selector: Option<LabelSelectorSpec>,
            /// Label of nodes that tells places apart.
            pub topology_key: String,
            /// Namespaces of the other pods. Default: the pod's own.
            #[serde(default)]
            pub namespaces: Vec<String>,
            /// And namespaces by their labels; `{}`: all.
            pub namespace_selector: Option<LabelSelectorSpec>,
            /// The other pods have the same values of these labels as the pod.
            #[serde(default)]
            pub match_label_keys: Vec<String>,
            /// The other pods have other values of these labels than the pod.
            #[serde(default)]
            pub mismatch_label_keys: Vec<String>,
        }
    };
}

affinity_term! {
    /// A term of pod affinity.
    PodAffinityTermSpec {}
}
affinity_term! {
    /// A preferred term of pod affinity.
    WeightedPodAffinityTermSpec {
        /// Weight, 1 to 100.
        weight: u64,
    }
}

/// What holds a pod back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SchedulingGateSpec {
    /// Name of the gate.
    pub name: String,
    /// When whoever set it takes it away, after the scheduler has seen the pod. Default: never.
    pub removed_after: Option<DurationNs>,
}

/// A port of the node that a pod takes. In YAML: a number (TCP on all addresses), or `{hostPort, protocol, hostIP}`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostPortSpec {
    /// The port.
    pub host_port: u64,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Option<String>,
    /// Address.
    pub host_ip: Option<String>,
}

/// [`HostPortSpec`] as a mapping.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HostPortMap {
    /// Port, 1 to 65535.
    host_port: u64,
    /// `TCP` (the default), `UDP` or `SCTP`.
    protocol: Option<String>,
    /// Address of the node. Default: all.
    #[serde(rename = "hostIP")]
    host_ip: Option<String>,
}

/// Images that a node has already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageSpec {
    /// Its names, with tags.
    pub names: Vec<String>,
    /// Its size, such as `500Mi`.
    pub size_bytes: Quantity,
}

impl<'de> Deserialize<'de> for IntOrPercent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AmountVisitor;
        impl Visitor<'_> for AmountVisitor {
            type Value = IntOrPercent;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of pods, or a share such as 50%")
            }
            fn visit_u64<E: Error>(self, pods: u64) -> Result<IntOrPercent, E> {
                let pods = u32::try_from(pods).map_err(|_| E::custom("at most 4294967295"))?;
                Ok(IntOrPercent(Amount::Pods(pods)))
            }
            fn visit_i64<E: Error>(self, pods: i64) -> Result<IntOrPercent, E> {
                self.visit_u64(u64::try_from(pods).map_err(|_| E::custom("must not be negative"))?)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<IntOrPercent, E> {
                let wrong =
                    || E::custom("expected a number of pods, or a share of at most 100%, such as 50%");
                let share = text.strip_suffix('%').ok_or_else(wrong)?;
                match share.parse::<u32>() {
                    Ok(share) if share <= 100 => Ok(IntOrPercent(Amount::Percent(share))),
                    _ => Err(wrong()),
                }
            }
        }
        deserializer.deserialize_any(AmountVisitor)
    }
}
impl Serialize for IntOrPercent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Amount::Pods(pods) => serializer.serialize_u32(pods),
            Amount::Percent(share) => serializer.serialize_str(&format!("{share}%")),
        }
    }
}
impl JsonSchema for IntOrPercent {
    fn schema_name() -> Cow<'static, str> {
        "IntOrPercent".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of pods, or a share such as 50%.",
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^(100|[0-9]{1,2})%$"}]
        })
    }
}

impl<'de> Deserialize<'de> for HostPortSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PortVisitor;
        impl<'de> Visitor<'de> for PortVisitor {
            type Value = HostPortSpec;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port, or a mapping {hostPort, protocol, hostIP}")
            }
            fn visit_u64<E: Error>(self, host_port: u64) -> Result<HostPortSpec, E> {
                Ok(HostPortSpec { host_port, ..HostPortSpec::default() })
            }
            fn visit_i64<E: Error>(self, port: i64) -> Result<HostPortSpec, E> {
                self.visit_u64(u64::try_from(port).map_err(|_| E::custom("must not be negative"))?)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HostPortSpec, A::Error> {
                let HostPortMap { host_port, protocol, host_ip } =
                    HostPortMap::deserialize(MapAccessDeserializer::new(map))?;
                Ok(HostPortSpec { host_port, protocol, host_ip })
            }
        }
        deserializer.deserialize_any(PortVisitor)
    }
}
impl Serialize for HostPortSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.protocol.is_none() && self.host_ip.is_none() {
            return serializer.serialize_u64(self.host_port);
        }
        let (protocol, host_ip) = (self.protocol.clone(), self.host_ip.clone());
        HostPortMap { host_port: self.host_port, protocol, host_ip }.serialize(serializer)
    }
}
impl JsonSchema for HostPortSpec {
    fn schema_name() -> Cow<'static, str> {
        "HostPort".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<HostPortMap>();
        json_schema!({
            "description": "A port (TCP on all addresses), or a mapping {hostPort, protocol, hostIP}.",
            "anyOf": [{"type": "integer", "minimum": 1, "maximum": 65535}, map]
        })
    }
}

/// A StorageClass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StorageClassSpec {
    /// Name.
    pub name: String,
    /// When volumes are made: with their claim, or for the node that the pod was given. Default `Immediate`.
    pub volume_binding_mode: Option<VolumeBindingMode>,
    /// Where volumes are made; nodes elsewhere can't use them. Default: anywhere, usable from everywhere. With `Immediate`
    /// each pod of a group gets the next of all values.
    #[serde(default)]
    pub allowed_topologies: Vec<TopologySelectorSpec>,
    /// With `WaitForFirstConsumer`: how long the provisioner takes. Default 0s.
    pub provisioning: Option<TimeDistribution>,
}

/// When volumes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VolumeBindingMode {
    /// With their claim.
    Immediate,
    /// Once a pod that uses them has a node.
    WaitForFirstConsumer,
}

/// Labels of nodes that a class makes volumes for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopologySelectorSpec {
    /// All of them hold.
    pub match_label_expressions: Vec<TopologyLabelSpec>,
}

/// A label with the values that it may have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopologyLabelSpec {
    /// The label's key.
    pub key: String,
    /// Its values.
    pub values: Vec<String>,
}

/// A volume that each pod has of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeClaimTemplateSpec {
    /// Its StorageClass, one of `cluster.storageClasses`.
    pub storage_class_name: String,
}

// ---- rules ---------------------------------------------------------------------------------------------------------

fn selector_rules(path: &str, selector: &LabelSelectorSpec, check: &mut Check<'_>) {
    check.labels(&format!("{path}.matchLabels"), &selector.match_labels);
    for (i, e) in selector.match_expressions.iter().enumerate() {
        let path = format!("{path}.matchExpressions[{i}]");
        if matches!(e.operator, MatchOperator::Gt | MatchOperator::Lt) {
            let hint = "In, NotIn, Exists and DoesNotExist are; Gt and Lt are for nodes";
            check.report(&format!("{path}.operator"), "not a valid label selector operator", hint);
        } else {
            check.expression(&path, e);
        }
    }
}

/// The fields that required and preferred terms share.
struct TermFields<'a> {
    selector: Option<&'a LabelSelectorSpec>,
    topology_key: &'a str,
    namespaces: &'a [String],
    namespace_selector: Option<&'a LabelSelectorSpec>,
    same: &'a [String],
    other: &'a [String],
}

macro_rules! fields {
    ($term:expr) => {
        TermFields {
            selector: $term.label_selector.as_ref(),
            topology_key: &$term.topology_key,
            namespaces: &$term.namespaces,
            namespace_selector: $term.namespace_selector.as_ref(),
            same: &$term.match_label_keys,
            other: &$term.mismatch_label_keys,
        }
    };
}

fn term_rules(path: &str, term: &TermFields<'_>, check: &mut Check<'_>) {
    check.qualified(&format!("{path}.topologyKey"), term.topology_key);
    if let Some(selector) = term.selector {
        selector_rules(&format!("{path}.labelSelector"), selector, check);
    }
    if let Some(selector) = term.namespace_selector {
        selector_rules(&format!("{path}.namespaceSelector"), selector, check);
    }
    for (i, name) in term.namespaces.iter().enumerate() {
        check.qualified(&format!("{path}.namespaces[{i}]"), name);
    }
    for (list, keys) in [("matchLabelKeys", term.same), ("mismatchLabelKeys", term.other)] {
        for (i, key) in keys.iter().enumerate() {
            let path = format!("{path}.{list}[{i}]");
            check.qualified(&path, key);
            let in_selector = |s: &LabelSelectorSpec| {
                s.match_labels.contains_key(key) || s.match_expressions.iter().any(|e| e.key == *key)
            };
            if term.selector.is_none() {
                let hint = "add `labelSelector`";
                check.report(&path, "may not be specified when labelSelector is not set", hint);
            } else if term.selector.is_some_and(in_selector) {
                let hint = "leave it out of one of them";
                check.report(
                    &path,
                    "exists in both matchLabelKeys or mismatchLabelKeys and labelSelector",
                    hint,
                );
            }
            if list == "mismatchLabelKeys" && term.same.contains(key) {
                let hint = "leave it out of one of them";
                check.report(&path, "exists in both matchLabelKeys and mismatchLabelKeys", hint);
            }
        }
    }
}

/// Rules of a group of pods.
pub(super) fn check_shape(path: &str, shape: &PodShape, spec: &ScenarioSpec, check: &mut Check<'_>) {
    for (i, claim) in shape.volume_claim_templates.iter().enumerate() {
        let path = format!("{path}.volumeClaimTemplates[{i}]");
        let names: Vec<&str> = spec.cluster.storage_classes.iter().map(|c| c.name.as_str()).collect();
        if spec.scheduler.kind != "kube-scheduler" {
            let message = "only kube-scheduler binds volumes here";
            check.report(&path, message, "set `scheduler.kind: kube-scheduler`, or leave it out");
        } else if !names.contains(&claim.storage_class_name.as_str()) {
            let hint = super::diagnostic::did_you_mean(&claim.storage_class_name, &names);
            check.expected(&format!("{path}.storageClassName"), "a class of cluster.storageClasses", hint);
        }
    }
    for (name, affinity) in
        [("podAffinity", &shape.pod_affinity), ("podAntiAffinity", &shape.pod_anti_affinity)]
    {
        let Some(affinity) = affinity else { continue };
        for (i, term) in affinity.required.iter().enumerate() {
            term_rules(&format!("{path}.{name}.required[{i}]"), &fields!(term), check);
        }
        for (i, term) in affinity.preferred.iter().enumerate() {
            let path = format!("{path}.{name}.preferred[{i}]");
            check.count(&format!("{path}.weight"), term.weight, 1, 100);
            term_rules(&path, &fields!(term), check);
        }
    }
    if shape.pod_anti_affinity.is_some() && shape.anti_affinity.is_some() {
        let hint = "`antiAffinity` is short for one term; write it as a term of `podAntiAffinity`";
        check.report(&format!("{path}.antiAffinity"), "`podAntiAffinity` is given, too", hint);
    }
    let path_of_grace = format!("{path}.terminationGracePeriodSeconds");
    check.optional_count(&path_of_grace, shape.termination_grace_period_seconds, 0, u64::from(u32::MAX >> 1));
    for (i, gate) in shape.scheduling_gates.iter().enumerate() {
        let path = format!("{path}.schedulingGates[{i}]");
        check.qualified(&format!("{path}.name"), &gate.name);
        if shape.scheduling_gates[..i].iter().any(|g| g.name == gate.name) {
            check.report(&format!("{path}.name"), "this gate is named twice", "leave one of them out");
        }
        check.duration(&format!("{path}.removedAfter"), gate.removed_after, false);
    }
    if !shape.scheduling_gates.is_empty() && shape.node_name.is_some() {
        let message = "a pod with scheduling gates can't name its node, as Kubernetes says";
        check.report(&format!("{path}.nodeName"), message, "leave one of them out");
    }
    for (i, port) in shape.host_ports.iter().enumerate() {
        let path = format!("{path}.hostPorts[{i}]");
        check.count(&path, port.host_port, 1, 65_535);
        if let Some(protocol) = &port.protocol
            && !["TCP", "UDP", "SCTP"].contains(&protocol.as_str())
        {
            check.expected(&format!("{path}.protocol"), "TCP, UDP or SCTP", "the default is TCP");
        }
        if let Some(ip) = &port.host_ip
            && ip.parse::<std::net::IpAddr>().is_err()
        {
            check.expected(
                &format!("{path}.hostIP"),
                "an IP address",
                "such as 10.0.0.1; none: all addresses",
            );
        }
    }
    for (i, image) in shape.images.iter().enumerate() {
        if image.is_empty() {
            let hint = "such as `registry.example.com/app:v1`";
            check.expected(&format!("{path}.images[{i}]"), "the name of an image", hint);
        }
    }
    for (i, spread) in shape.topology_spread.iter().enumerate() {
        let path = format!("{path}.topologySpread[{i}]");
        if let Some(selector) = &spread.label_selector {
            selector_rules(&format!("{path}.labelSelector"), selector, check);
            for (j, key) in spread.match_label_keys.iter().enumerate() {
                if selector.match_labels.contains_key(key)
                    || selector.match_expressions.iter().any(|e| e.key == *key)
                {
                    let message = "exists in both matchLabelKeys and labelSelector";
                    let path = format!("{path}.matchLabelKeys[{j}]");
                    check.report(&path, message, "leave it out of one of them");
                }
            }
        }
    }
}

/// Gates that the model knows both ways.
const MODELLED_GATES: [&str; 3] =
    ["OpportunisticBatching", "SchedulerAsyncAPICalls", "SchedulerPopFromBackoffQ"];
/// Gates that are general: the real kube-scheduler does not start with another value.
const LOCKED_GATES: [&str; 5] = [
    "SchedulerQueueingHints",
    "PodSchedulingReadiness",
    "MatchLabelKeysInPodAffinity",
    "NodeInclusionPolicyInPodTopologySpread",
    "DynamicResourceAllocation",
];
/// Gates whose default is what the model does.
const FIXED_GATES: [(&str, bool); 6] = [
    ("SchedulerAsyncPreemption", true),
    ("MatchLabelKeysInPodTopologySpread", true),
    ("GangScheduling", false),
    ("StorageCapacityScoring", false),
    ("TaintTolerationComparisonOperators", false),
    ("WorkloadAwarePreemption", false),
];

/// Rules of kube-scheduler's feature gates.
pub(super) fn check_feature_gates(kind: &str, gates: &BTreeMap<String, bool>, check: &mut Check<'_>) {
    for (name, on) in gates {
        let path = format!("scheduler.featureGates.{name}");
        if kind != "kube-scheduler" {
            check.report(&path, "feature gates are kube-scheduler's", "leave it out");
        } else if LOCKED_GATES.contains(&name.as_str()) {
            if !on {
                let message = format!(
                    "kube-scheduler refuses this: cannot set feature gate {name} to false, feature is locked to true"
                );
                check.report(&path, message, "leave it out");
            }
        } else if let Some((_, default)) = FIXED_GATES.iter().find(|(known, _)| known == name) {
            if on != default {
                let message = format!("not modelled: the gate {name} other than {default}");
                check.report(&path, message, "leave it out to study the rest");
            }
        } else if !MODELLED_GATES.contains(&name.as_str()) {
            let known: Vec<&str> = MODELLED_GATES.into();
            let message = format!("not modelled: the gate {name}");
            check.report(&path, message, super::diagnostic::did_you_mean(name, &known));
        }
    }
}

/// Rules of the cluster's objects.
pub(super) fn check_cluster(spec: &ClusterSpec, check: &mut Check<'_>) {
    check.distinct(
        "namespace",
        spec.namespaces
            .iter()
            .enumerate()
            .map(|(i, n)| (format!("cluster.namespaces[{i}].name"), n.name.as_str())),
    );
    for (i, namespace) in spec.namespaces.iter().enumerate() {
        let path = format!("cluster.namespaces[{i}]");
        check.qualified(&format!("{path}.name"), &namespace.name);
        check.labels(&format!("{path}.labels"), &namespace.labels);
    }
    check.distinct(
        "StorageClass",
        spec.storage_classes
            .iter()
            .enumerate()
            .map(|(i, c)| (format!("cluster.storageClasses[{i}].name"), c.name.as_str())),
    );
    for (i, class) in spec.storage_classes.iter().enumerate() {
        let path = format!("cluster.storageClasses[{i}]");
        check.qualified(&format!("{path}.name"), &class.name);
        check.distribution(&format!("{path}.provisioning"), class.provisioning);
        let waits = class.volume_binding_mode == Some(VolumeBindingMode::WaitForFirstConsumer);
        if class.provisioning.is_some() && !waits {
            let message = "volumes of the mode `Immediate` are there before their pods";
            check.report(
                &format!("{path}.provisioning"),
                message,
                "set `volumeBindingMode: WaitForFirstConsumer`",
            );
        }
        for (j, topology) in class.allowed_topologies.iter().enumerate() {
            for (k, label) in topology.match_label_expressions.iter().enumerate() {
                let path = format!("{path}.allowedTopologies[{j}].matchLabelExpressions[{k}]");
                check.qualified(&format!("{path}.key"), &label.key);
                if label.values.is_empty() {
                    check.expected(&format!("{path}.values"), "at least one value", "such as `[zone-0]`");
                }
            }
        }
    }
    for (i, service) in spec.services.iter().enumerate() {
        let path = format!("cluster.services[{i}]");
        if service.selector.is_empty() {
            let hint = "such as `{app: web}`";
            check.expected(&format!("{path}.selector"), "labels of the Service's pods", hint);
        }
        check.labels(&format!("{path}.selector"), &service.selector);
    }
    for (i, budget) in spec.pod_disruption_budgets.iter().enumerate() {
        let path = format!("cluster.podDisruptionBudgets[{i}]");
        selector_rules(&format!("{path}.selector"), &budget.selector, check);
        match (budget.min_available, budget.max_unavailable) {
            (Some(_), Some(_)) => {
                let message = "minAvailable and maxUnavailable cannot be both set";
                check.report(&format!("{path}.maxUnavailable"), message, "leave one of them out");
            }
            (None, None) => {
                let hint = "add `minAvailable: 1`, `maxUnavailable: 1` or a share such as 20%";
                check.report(&path, "neither `minAvailable` nor `maxUnavailable` is given", hint);
            }
            _ => {}
        }
    }
    for (i, group) in spec.nodes.iter().enumerate() {
        for (j, image) in group.template.images.iter().enumerate() {
            let path = format!("cluster.nodes[{i}].template.images[{j}]");
            if image.names.is_empty() {
                let hint = "such as `[registry.example.com/app:v1]`";
                check.expected(&format!("{path}.names"), "at least one name", hint);
            }
            if image.size_bytes.units().is_none() {
                check.expected(&format!("{path}.sizeBytes"), "a size of at least 0", "such as 500Mi");
            }
        }
    }
}

// ---- what they become ----------------------------------------------------------------------------------------------

/// A selector as the cluster has it.
pub(super) fn label_selector(spec: &LabelSelectorSpec) -> LabelSelector {
    let expression = |e: &MatchExpressionSpec| Expression {
        key: e.key.clone(),
        operator: operator(e.operator),
        values: e.values.clone(),
    };
    LabelSelector {
        labels: spec.match_labels.clone(),
        expressions: spec.match_expressions.iter().map(expression).collect(),
        is_null: false,
    }
}

/// Writes the pod's own values of some labels into a selector, as the API server does.
pub(super) fn with_label_keys<'a>(
    mut selector: LabelSelector,
    keys: impl Iterator<Item = &'a str>,
    own: &BTreeMap<String, String>,
    operator: Operator,
) -> LabelSelector {
    for key in keys {
        if let Some(value) = own.get(key) {
            let (key, values) = (key.to_owned(), vec![value.clone()]);
            selector.expressions.push(Expression { key, operator, values });
        }
    }
    selector
}

fn term(
    fields: &TermFields<'_>,
    weight: Option<u64>,
    anti: bool,
    own: &BTreeMap<String, String>,
) -> PodAffinityTerm {
    let selector = fields.selector.map_or_else(LabelSelector::null, label_selector);
    let selector = with_label_keys(selector, fields.same.iter().map(String::as_str), own, Operator::In);
    let selector = with_label_keys(selector, fields.other.iter().map(String::as_str), own, Operator::NotIn);
    PodAffinityTerm {
        selector,
        topology_key: fields.topology_key.to_owned(),
        weight: weight.map(|w| i32::try_from(w).unwrap_or(100)),
        anti,
        namespaces: Namespaces {
            names: fields.namespaces.iter().cloned().collect(),
            selector: fields.namespace_selector.map(label_selector),
        },
    }
}

/// Terms of affinity and anti-affinity of pods with the labels `own`.
pub(super) fn pod_affinity(shape: &PodShape, own: &BTreeMap<String, String>) -> Vec<PodAffinityTerm> {
    let mut terms = Vec::new();
    for (affinity, anti) in [(&shape.pod_affinity, false), (&shape.pod_anti_affinity, true)] {
        let Some(affinity) = affinity else { continue };
        terms.extend(affinity.required.iter().map(|t| term(&fields!(t), None, anti, own)));
        terms.extend(affinity.preferred.iter().map(|t| term(&fields!(t), Some(t.weight), anti, own)));
    }
    terms
}

/// Gates of a group.
pub(super) fn gates(shape: &PodShape) -> Vec<SchedulingGate> {
    let gate = |g: &SchedulingGateSpec| SchedulingGate {
        name: g.name.clone(),
        removed_after_ns: g.removed_after.map_or(u64::MAX, |d| d.0),
    };
    shape.scheduling_gates.iter().map(gate).collect()
}

/// Ports of a group.
pub(super) fn host_ports(shape: &PodShape) -> Vec<HostPort> {
    let port = |p: &HostPortSpec| {
        Some(HostPort {
            port: u16::try_from(p.host_port).ok()?,
            protocol: p.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            ip: p.host_ip.clone().unwrap_or_default(),
        })
    };
    shape.host_ports.iter().filter_map(port).collect()
}

/// Images of a group, with tags.
pub(super) fn images(shape: &PodShape) -> Vec<String> {
    shape.images.iter().map(|name| normalised_name(name)).collect()
}

/// The claims of a group's pods: of the first pod, the second, and so on, then from the beginning.
pub(super) fn volume_claims(shape: &PodShape, classes: &[StorageClassSpec]) -> Vec<Vec<VolumeClaim>> {
    let mut variants = vec![Vec::new()];
    for claim in &shape.volume_claim_templates {
        let Some(class) = classes.iter().find(|c| c.name == claim.storage_class_name) else { continue };
        let term = |t: &TopologySelectorSpec| Term {
            expressions: t
                .match_label_expressions
                .iter()
                .map(|l| Expression { key: l.key.clone(), operator: Operator::In, values: l.values.clone() })
                .collect(),
            ..Term::default()
        };
        let topology: Vec<Term> = class.allowed_topologies.iter().map(term).collect();
        if class.volume_binding_mode == Some(VolumeBindingMode::WaitForFirstConsumer) || topology.is_empty() {
            let bound = class.volume_binding_mode != Some(VolumeBindingMode::WaitForFirstConsumer);
            for claims in &mut variants {
                claims.push(VolumeClaim { topology: topology.clone(), bound });
            }
            continue;
        }
        // A volume is in one place: the values of the first label in turn.
        let one = |t: &Term, value: &String| {
            let mut t = t.clone();
            t.expressions[0].values = vec![value.clone()];
            VolumeClaim { topology: vec![t], bound: true }
        };
        let places: Vec<VolumeClaim> = topology
            .iter()
            .filter(|t| !t.expressions.is_empty())
            .flat_map(|t| t.expressions[0].values.iter().map(|v| one(t, v)).collect::<Vec<_>>())
            .collect();
        if places.is_empty() {
            continue;
        }
        // Two claims of a pod are in the same place of the turn.
        let turns = variants.len().max(places.len());
        variants = (0..turns)
            .map(|i| {
                let mut claims = variants[i % variants.len()].clone();
                claims.push(places[i % places.len()].clone());
                claims
            })
            .collect();
    }
    variants
}

/// How long the provisioner takes for each claim of a group's pods that waits for its pod.
pub(super) fn provisioning(shape: &PodShape, classes: &[StorageClassSpec]) -> Vec<TimeDistribution> {
    shape
        .volume_claim_templates
        .iter()
        .filter_map(|claim| classes.iter().find(|c| c.name == claim.storage_class_name))
        .filter(|c| c.volume_binding_mode == Some(VolumeBindingMode::WaitForFirstConsumer))
        .filter_map(|c| c.provisioning)
        .collect()
}

/// Images of a node.
pub(super) fn node_images(images: &[ImageSpec]) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for image in images {
        for name in &image.names {
            found.insert(normalised_name(name), image.size_bytes.units().unwrap_or(0));
        }
    }
    found
}

/// Puts namespaces, Services and budgets into the cluster.
pub(super) fn add_objects(cluster: &mut Cluster, spec: &ClusterSpec) {
    let named = |name: &Option<String>| name.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    for namespace in &spec.namespaces {
        cluster.namespaces.insert(namespace.name.clone(), namespace.labels.clone());
    }
    for service in &spec.services {
        let (namespace, selector) = (named(&service.namespace), service.selector.clone());
        cluster.services.push(Service { namespace, selector });
    }
    for (i, budget) in spec.pod_disruption_budgets.iter().enumerate() {
        cluster.disruption_budgets.push(DisruptionBudget {
            name: budget.name.clone().unwrap_or_else(|| format!("budget{i}")),
            namespace: named(&budget.namespace),
            selector: label_selector(&budget.selector),
            min_available: budget.min_available.map(|a| a.0),
            max_unavailable: budget.max_unavailable.map(|a| a.0),
        });
    }
}
