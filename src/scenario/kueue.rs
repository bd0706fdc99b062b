//! `scheduler.kueue`: Kueue in front of kube-scheduler, with its own objects read as they are.
//!
//! Files hold `ResourceFlavor`, `ClusterQueue`, `Cohort` and `LocalQueue` objects (`kueue.x-k8s.io/v1beta1` or `v1beta2`), as many a file as one likes. A job's
//! queue is the LocalQueue of its namespace with the name that `queue` of the job says. What the model can't honour is refused by name:
//! fair sharing of admissions, admission checks, topologies, stopped queues.
//!
//! `fairSharing` stands in Kueue's own configuration, and in the scenario; weights stand in the objects, are checked, and count for nothing without it, as in Kueue.
//! A cohort is there as soon as it is named; a Cohort object gives it a parent, quotas and a weight.
//!
//! Sources: `apis/kueue/v1beta2/{clusterqueue,cohort,fairsharing,resourceflavor,localqueue}_types.go`, `apis/config/{v1beta1,v1beta2}/configuration_types.go`,
//! `pkg/config/validation.go` and `pkg/webhooks` of Kueue 0.19.2; v1beta1 calls `cohortName` `cohort`.
//!
//! Cost: O(values of the files + jobs x flavors + cohorts x depth).
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as FilePath;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config_file::ConfigFile;
use super::diagnostic::{Diagnostic, did_you_mean};
use super::document::read_text;
use super::quantity::Quantity;
use super::resolve::{taint, toleration};
use super::spec::{ClientSpec, TaintSpec, TolerationSpec};
use super::tree::{Path, Step, Value};
use super::validate::Check;
use crate::cluster::{
    App, AppId, Cluster, DEFAULT_NAMESPACE, Expression, PodId, PodSpec, ResourceNames, TaintEffect, Term,
    term_matches, tolerates,
};
use crate::control_plane::controllers::kueue::config::{
    ClusterQueue, Cohort, Config, Flavor, Group, Policy, Preemption, Resource, Strategies, Weight, Workload,
};
use crate::control_plane::controllers::kueue::quota::Quota;

/// Kueue in front of kube-scheduler: jobs wait suspended until their ClusterQueue has quota for all of their pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KueueSpec {
    /// Cost profile. Default `kueue-0.19`.
    pub profile: Option<String>,
    /// Host by name. Default: cores without limit.
    pub host: Option<String>,
    /// `clientConnection` of its configuration. Default 300 and 500.
    #[serde(default)]
    pub client: ClientSpec,
    /// `fairSharing` of its configuration. Default: none.
    pub fair_sharing: Option<FairSharingSpec>,
    /// Files of ResourceFlavors, ClusterQueues, Cohorts and LocalQueues, paths relative to the scenario.
    pub objects: Vec<String>,
}

/// `fairSharing` of Kueue's configuration: ClusterQueues that borrow share what there is by weight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FairSharingSpec {
    /// Only v1beta1 has it. Default true, as it is in v1beta2.
    pub enable: Option<bool>,
    /// `LessThanOrEqualToFinalShare`, `LessThanInitialShare`, or both in this order, which is the default where `enable` is given.
    #[serde(default)]
    pub preemption_strategies: Vec<String>,
}

impl FairSharingSpec {
    /// What it says; none: no fair sharing. A fault if Kueue would refuse it.
    fn strategies(&self) -> Result<Option<Strategies>, &'static str> {
        let given: Vec<&str> = self.preemption_strategies.iter().map(String::as_str).collect();
        match (self.enable, &given[..]) {
            (Some(false), _) => Ok(None),
            (None, []) => Err("must be specified"),
            (Some(true), []) | (_, ["LessThanOrEqualToFinalShare", "LessThanInitialShare"]) => {
                Ok(Some(Strategies::Both))
            }
            (_, ["LessThanOrEqualToFinalShare"]) => Ok(Some(Strategies::FinalShare)),
            (_, ["LessThanInitialShare"]) => Ok(Some(Strategies::InitialShare)),
            _ => Err("unsupported value"),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Metadata {
    name: String,
    namespace: Option<String>,
    #[serde(default, rename = "labels")]
    _labels: BTreeMap<String, String>,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Object<S> {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: Metadata,
    spec: S,
    #[serde(default, rename = "status")]
    _status: serde_yaml::Value,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FlavorObject {
    #[serde(default)]
    node_labels: BTreeMap<String, String>,
    #[serde(default)]
    node_taints: Vec<TaintSpec>,
    #[serde(default)]
    tolerations: Vec<TolerationSpec>,
    topology_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LocalQueueObject {
    cluster_queue: String,
    stop_policy: Option<String>,
    fair_sharing: Option<serde_yaml::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClusterQueueObject {
    #[serde(default)]
    resource_groups: Vec<GroupObject>,
    cohort: Option<String>,
    cohort_name: Option<String>,
    queueing_strategy: Option<String>,
    namespace_selector: Option<SelectorObject>,
    flavor_fungibility: Option<FungibilityObject>,
    preemption: Option<PreemptionObject>,
    admission_checks: Option<serde_yaml::Value>,
    admission_checks_strategy: Option<serde_yaml::Value>,
    stop_policy: Option<String>,
    fair_sharing: Option<WeightObject>,
    admission_scope: Option<serde_yaml::Value>,
    concurrent_admission_policy: Option<serde_yaml::Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CohortObject {
    parent_name: Option<String>,
    #[serde(default)]
    resource_groups: Vec<GroupObject>,
    fair_sharing: Option<WeightObject>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WeightObject {
    weight: Option<serde_yaml::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SelectorObject {
    #[serde(default)]
    match_labels: BTreeMap<String, String>,
    match_expressions: Option<serde_yaml::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FungibilityObject {
    when_can_borrow: Option<String>,
    when_can_preempt: Option<String>,
    preference: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PreemptionObject {
    reclaim_within_cohort: Option<String>,
    within_cluster_queue: Option<String>,
    borrow_within_cohort: Option<BorrowObject>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BorrowObject {
    policy: Option<String>,
    max_priority_threshold: Option<i32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupObject {
    covered_resources: Vec<String>,
    flavors: Vec<FlavorQuotasObject>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FlavorQuotasObject {
    name: String,
    resources: Vec<QuotaObject>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct QuotaObject {
    name: String,
    nominal_quota: serde_yaml::Value,
    borrowing_limit: Option<serde_yaml::Value>,
    lending_limit: Option<serde_yaml::Value>,
}

/// What files say, and what is wrong with them.
#[derive(Default)]
struct Reader {
    config: Config,
    cohorts: Vec<String>,
    waiting_cohorts: Vec<(ConfigFile, CohortObject, String)>,
    /// (namespace, name) to the ClusterQueue's name.
    local: BTreeMap<(String, String), String>,
    waiting: Vec<(ConfigFile, ClusterQueueObject, String)>,
    /// The documents of ClusterQueues, by their names.
    files: BTreeMap<String, ConfigFile>,
    errors: Vec<Diagnostic>,
}

fn resource(name: &str, names: &mut ResourceNames) -> Resource {
    match name {
        "cpu" => Resource::Cpu,
        "memory" => Resource::Memory,
        "pods" => Resource::Pods,
        other => Resource::Extended(names.intern(other)),
    }
}

fn amount(resource: Resource, value: &serde_yaml::Value) -> Result<i64, String> {
    let text = match value {
        serde_yaml::Value::String(text) => text.clone(),
        serde_yaml::Value::Number(number) => number.to_string(),
        _ => return Err("expected a quantity such as 10 or 36Gi".to_owned()),
    };
    let quantity: Quantity = text.parse()?;
    let whole = if resource == Resource::Cpu { quantity.milli() } else { quantity.units() };
    whole
        .and_then(|v| i64::try_from(v).ok())
        .filter(|v| *v <= 1 << 60)
        .ok_or_else(|| format!("{text}: out of range"))
}

/// The documents of a file, each with its own lines: one begins at `---`, behind which its first value or a comment may stand,
/// and ends at `...`.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for (number, line) in text.lines().enumerate() {
        let marker = ["---", "..."].into_iter().find_map(|marker| line.strip_prefix(marker));
        if let Some(rest) = marker.filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r'])) {
            let column = line.trim_end().len() - rest.trim().len();
            documents.push(format!("{}{}{}\n", "\n".repeat(number), " ".repeat(column), rest.trim()));
        } else if let Some(last) = documents.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    let empty =
        |document: &String| document.lines().all(|l| l.trim().is_empty() || l.trim().starts_with('#'));
    documents.retain(|document| !empty(document));
    documents
}

impl Reader {
    fn file(&mut self, path: &FilePath, name: &str) {
        let text = match read_text(path, name) {
            Ok(text) => text,
            Err(error) => return self.errors.push(error),
        };
        let documents = documents(&text);
        if documents.is_empty() {
            let hint = "add a ResourceFlavor, a ClusterQueue and a LocalQueue";
            self.errors.push(Diagnostic::of_file(name, "the file is empty", hint));
        }
        for document in documents {
            match ConfigFile::parse(name, &document) {
                Ok(file) => self.object(file),
                Err(mut errors) => self.errors.append(&mut errors),
            }
        }
    }

    fn object(&mut self, file: ConfigFile) {
        let text = |key: &str| match file.tree().get(key).map(|node| &node.value) {
            Some(Value::Scalar(text, _)) => text.to_string(),
            _ => String::new(),
        };
        let (version, kind) = (text("apiVersion"), text("kind"));
        let root = Path::default();
        if !matches!(version.as_str(), "kueue.x-k8s.io/v1beta1" | "kueue.x-k8s.io/v1beta2") {
            let message = format!("expected apiVersion kueue.x-k8s.io/v1beta1 or v1beta2, got `{version}`");
            return self.errors.push(file.diagnostic(&root.key("apiVersion"), message, "correct it"));
        }
        let result = match kind.as_str() {
            "ResourceFlavor" => {
                file.decode(&root).and_then(|o: Object<Option<FlavorObject>>| self.flavor(&file, o))
            }
            "LocalQueue" => {
                file.decode(&root).and_then(|o: Object<LocalQueueObject>| self.local_queue(&file, o))
            }
            "ClusterQueue" => match file.decode::<Object<ClusterQueueObject>>(&root) {
                Ok(object) => {
                    let name = object.metadata.name;
                    if self.waiting.iter().any(|(_, _, first)| *first == name) {
                        self.errors.append(&mut second(&file, &format!("ClusterQueue `{name}`")));
                    } else {
                        self.waiting.push((file, object.spec, name));
                    }
                    return;
                }
                Err(errors) => Err(errors),
            },
            "Cohort" => match file.decode::<Object<Option<CohortObject>>>(&root) {
                Ok(object) => {
                    let name = object.metadata.name;
                    if self.waiting_cohorts.iter().any(|(_, _, first)| *first == name) {
                        self.errors.append(&mut second(&file, &format!("Cohort `{name}`")));
                    } else {
                        self.waiting_cohorts.push((file, object.spec.unwrap_or_default(), name));
                    }
                    return;
                }
                Err(errors) => Err(errors),
            },
            _ => {
                let message = format!("not modelled: Kueue's {kind}");
                let hint = "ResourceFlavor, ClusterQueue, Cohort and LocalQueue are read";
                Err(vec![file.diagnostic(&root.key("kind"), message, hint)])
            }
        };
        if let Err(mut errors) = result {
            self.errors.append(&mut errors);
        }
    }

    fn flavor(
        &mut self,
        file: &ConfigFile,
        object: Object<Option<FlavorObject>>,
    ) -> Result<(), Vec<Diagnostic>> {
        let spec = object.spec.unwrap_or_default();
        if spec.topology_name.is_some() {
            return Err(refuse(file, "spec.topologyName", "topology-aware scheduling"));
        }
        if self.config.flavors.iter().any(|f| f.name == object.metadata.name) {
            return Err(second(file, &format!("ResourceFlavor `{}`", object.metadata.name)));
        }
        self.config.flavors.push(Flavor {
            name: object.metadata.name,
            labels: spec.node_labels,
            taints: spec.node_taints.iter().map(taint).collect(),
            tolerations: spec.tolerations.iter().map(toleration).collect(),
        });
        Ok(())
    }

    fn local_queue(
        &mut self,
        file: &ConfigFile,
        object: Object<LocalQueueObject>,
    ) -> Result<(), Vec<Diagnostic>> {
        let spec = object.spec;
        if spec.stop_policy.as_deref().is_some_and(|policy| policy != "None") {
            return Err(refuse(file, "spec.stopPolicy", "queues that are stopped"));
        }
        if spec.fair_sharing.is_some() {
            return Err(refuse(file, "spec.fairSharing", "admission fair sharing"));
        }
        let namespace = object.metadata.namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        let name = object.metadata.name;
        match self.local.entry((namespace, name)) {
            Entry::Occupied(first) => {
                let (namespace, name) = first.key();
                Err(second(file, &format!("LocalQueue `{name}` in namespace {namespace}")))
            }
            Entry::Vacant(place) => {
                place.insert(spec.cluster_queue);
                Ok(())
            }
        }
    }

    fn cluster_queues(&mut self, names: &mut ResourceNames) {
        let waiting = std::mem::take(&mut self.waiting);
        let cohorts = std::mem::take(&mut self.waiting_cohorts);
        let of_cohorts = cohorts.iter().flat_map(|(_, spec, _)| &spec.resource_groups);
        for group in waiting.iter().flat_map(|(_, spec, _)| &spec.resource_groups).chain(of_cohorts) {
            for name in &group.covered_resources {
                let resource = resource(name, names);
                if !self.config.resources.contains(&resource) {
                    self.config.resources.push(resource);
                }
            }
        }
        for (file, spec, name) in waiting {
            match self.cluster_queue(&file, &spec, name.clone(), names) {
                Ok(queue) => self.config.queues.push(queue),
                Err(mut errors) => self.errors.append(&mut errors),
            }
            self.files.insert(name, file);
        }
        self.cohorts(cohorts, names);
    }

    /// The index of a cohort, which is there as soon as it is named.
    fn cohort_named(&mut self, name: &str) -> usize {
        self.cohorts.iter().position(|c| c == name).unwrap_or_else(|| {
            self.cohorts.push(name.to_owned());
            self.cohorts.len() - 1
        })
    }

    fn cohorts(&mut self, given: Vec<(ConfigFile, CohortObject, String)>, names: &mut ResourceNames) {
        let mut read: Vec<(usize, Cohort)> = Vec::new();
        let mut files: BTreeMap<usize, ConfigFile> = BTreeMap::new();
        for (file, spec, name) in given {
            let index = self.cohort_named(&name);
            match self.cohort(&file, &spec, name, names) {
                Ok(cohort) => read.push((index, cohort)),
                Err(mut errors) => self.errors.append(&mut errors),
            }
            files.insert(index, file);
        }
        self.config.cohorts =
            self.cohorts.iter().map(|name| Cohort { name: name.clone(), ..Cohort::default() }).collect();
        for (index, cohort) in read {
            self.config.cohorts[index] = cohort;
        }
        let cohorts = &self.config.cohorts;
        for (index, file) in files {
            let above = std::iter::successors(cohorts[index].parent, |at| cohorts[*at].parent);
            if above.take(cohorts.len()).any(|at| at == index) {
                let message = format!("Cohort `{}` stands above itself", cohorts[index].name);
                let hint = "let the parents lead to a Cohort that has none";
                self.errors.push(file.diagnostic(&dotted("spec.parentName"), message, hint));
            }
        }
    }

    fn cohort(
        &mut self,
        file: &ConfigFile,
        spec: &CohortObject,
        name: String,
        names: &mut ResourceNames,
    ) -> Result<Cohort, Vec<Diagnostic>> {
        let parent = spec.parent_name.as_deref().filter(|name| !name.is_empty());
        let parent = parent.map(|parent| self.cohort_named(parent));
        let weight = weight(file, spec.fair_sharing.as_ref())?;
        let belongs = if parent.is_some() { Belongs::Yes } else { Belongs::No("parent") };
        let (_, quotas) = self.groups(file, &spec.resource_groups, belongs, false, names)?;
        Ok(Cohort { name, parent, quotas, weight })
    }

    fn cluster_queue(
        &mut self,
        file: &ConfigFile,
        spec: &ClusterQueueObject,
        name: String,
        names: &mut ResourceNames,
    ) -> Result<ClusterQueue, Vec<Diagnostic>> {
        let refused = [
            (spec.admission_checks.is_some(), "spec.admissionChecks", "admission checks"),
            (spec.admission_checks_strategy.is_some(), "spec.admissionChecksStrategy", "admission checks"),
            (
                spec.stop_policy.as_deref().is_some_and(|policy| policy != "None"),
                "spec.stopPolicy",
                "queues that are stopped",
            ),
            (spec.admission_scope.is_some(), "spec.admissionScope", "admission fair sharing"),
            (
                spec.concurrent_admission_policy.is_some(),
                "spec.concurrentAdmissionPolicy",
                "concurrent admission",
            ),
            (
                spec.namespace_selector.as_ref().is_some_and(|s| s.match_expressions.is_some()),
                "spec.namespaceSelector.matchExpressions",
                "expressions that select namespaces",
            ),
            (
                spec.flavor_fungibility.as_ref().is_some_and(|f| f.preference.is_some()),
                "spec.flavorFungibility.preference",
                "preferences between borrowing and preemption",
            ),
        ];
        if let Some((_, path, what)) = refused.into_iter().find(|(given, ..)| *given) {
            return Err(refuse(file, path, what));
        }
        let one_of = |value: &Option<String>, path: &str, known: &[&str]| -> Result<usize, Vec<Diagnostic>> {
            let Some(value) = value else { return Ok(0) };
            known.iter().position(|k| k == value).ok_or_else(|| {
                vec![file.diagnostic(
                    &dotted(path),
                    format!("`{value}`: expected {}", known.join(" or ")),
                    "correct it",
                )]
            })
        };
        let strict =
            one_of(&spec.queueing_strategy, "spec.queueingStrategy", &["BestEffortFIFO", "StrictFIFO"])? == 1;
        let preemption = match &spec.preemption {
            None => Preemption::default(),
            Some(given) => preemption(file, given, &one_of)?,
        };
        let (mut borrow, mut preempt) = (0, 0);
        if let Some(f) = &spec.flavor_fungibility {
            let known = ["Borrow", "MayStopSearch", "TryNextFlavor"];
            borrow = one_of(&f.when_can_borrow, "spec.flavorFungibility.whenCanBorrow", &known)?;
            let known = ["TryNextFlavor", "Preempt", "MayStopSearch"];
            preempt = one_of(&f.when_can_preempt, "spec.flavorFungibility.whenCanPreempt", &known)?;
        }
        let cohort = spec.cohort_name.as_ref().or(spec.cohort.as_ref()).filter(|name| !name.is_empty());
        let cohort = cohort.map(|name| self.cohort_named(name));
        let weight = weight(file, spec.fair_sharing.as_ref())?;
        let belongs = if cohort.is_some() { Belongs::Yes } else { Belongs::No("cohort") };
        let (groups, quotas) = self.groups(file, &spec.resource_groups, belongs, true, names)?;
        Ok(ClusterQueue {
            name,
            cohort,
            groups,
            quotas,
            strict,
            tries_next_before_borrowing: borrow == 2,
            preempts_before_next: preempt > 0,
            preemption,
            weight,
            namespaces: spec.namespace_selector.as_ref().map(|selector| selector.match_labels.clone()),
        })
    }

    /// `spec.resourceGroups`: groups, and quotas by cell. `lends_its_own`: of a ClusterQueue, which can't lend more than its nominal quota.
    fn groups(
        &self,
        file: &ConfigFile,
        given: &[GroupObject],
        belongs: Belongs,
        lends_its_own: bool,
        names: &mut ResourceNames,
    ) -> Result<(Vec<Group>, Vec<Quota>), Vec<Diagnostic>> {
        listed_once(file, given)?;
        let mut groups = Vec::new();
        let mut quotas = vec![Quota::default(); self.config.flavors.len() * self.config.resources.len()];
        let root = Path::default().key("spec").key("resourceGroups");
        for (g, group) in given.iter().enumerate() {
            let path = root.child(Step::Index(g));
            let mut flavors = Vec::new();
            for (f, flavor_quotas) in group.flavors.iter().enumerate() {
                let path = path.key("flavors").child(Step::Index(f));
                let known: Vec<&str> = self.config.flavors.iter().map(|f| f.name.as_str()).collect();
                let Some(flavor) = known.iter().position(|name| *name == flavor_quotas.name) else {
                    let message = format!("there is no ResourceFlavor `{}`", flavor_quotas.name);
                    let hint = did_you_mean(&flavor_quotas.name, &known);
                    return Err(vec![file.diagnostic(&path.key("name"), message, hint)]);
                };
                flavors.push(flavor);
                let listed: Vec<&String> = flavor_quotas.resources.iter().map(|r| &r.name).collect();
                if listed != group.covered_resources.iter().collect::<Vec<_>>() {
                    let message = "Kueue refuses this: flavors must have the same number of resources as coveredResources, in the same order";
                    return Err(vec![file.diagnostic(
                        &path.key("resources"),
                        message,
                        "list the same resources",
                    )]);
                }
                for (r, quota) in flavor_quotas.resources.iter().enumerate() {
                    let path = path.key("resources").child(Step::Index(r));
                    let resource = resource(&quota.name, names);
                    let read = |key: &str, value: &serde_yaml::Value| {
                        amount(resource, value).map_err(|message| {
                            vec![file.diagnostic(&path.key(key), message, "such as 10 or 36Gi")]
                        })
                    };
                    let limit = |key: &str,
                                 value: &Option<serde_yaml::Value>|
                     -> Result<Option<i64>, Vec<Diagnostic>> {
                        let Some(value) = value else { return Ok(None) };
                        if let Belongs::No(what) = belongs {
                            let message =
                                format!("Kueue refuses this: {key} must be nil when {what} is empty");
                            return Err(vec![file.diagnostic(&path.key(key), message, "leave it out")]);
                        }
                        read(key, value).map(Some)
                    };
                    let nominal = read("nominalQuota", &quota.nominal_quota)?;
                    let lending_limit = limit("lendingLimit", &quota.lending_limit)?;
                    if lends_its_own && lending_limit.is_some_and(|limit| limit > nominal) {
                        let message =
                            "Kueue refuses this: lendingLimit must be less than or equal to the nominalQuota";
                        return Err(vec![file.diagnostic(&path.key("lendingLimit"), message, "lower it")]);
                    }
                    let borrowing_limit = limit("borrowingLimit", &quota.borrowing_limit)?;
                    if let Some(cell) = self.config.cell(flavor, resource) {
                        quotas[cell] = Quota { nominal, borrowing_limit, lending_limit };
                    }
                }
            }
            let resources = group.covered_resources.iter().map(|name| resource(name, names)).collect();
            groups.push(Group { resources, flavors });
        }
        Ok((groups, quotas))
    }
}

/// Whether a ClusterQueue or a Cohort has one to borrow from, or which field it lacks.
#[derive(Clone, Copy)]
enum Belongs {
    Yes,
    No(&'static str),
}

/// `spec.fairSharing.weight`, as Kueue's webhooks have it (`validateFairSharing`).
fn weight(file: &ConfigFile, given: Option<&WeightObject>) -> Result<Weight, Vec<Diagnostic>> {
    let Some(value) = given.and_then(|given| given.weight.as_ref()) else { return Ok(Weight::default()) };
    let refused = |message: &str| {
        let path = dotted("spec.fairSharing.weight");
        Err(vec![file.diagnostic(&path, message.to_owned(), "such as 2 or 0.5, or 0 for who is to go first")])
    };
    let text = match value {
        serde_yaml::Value::String(text) => text.clone(),
        serde_yaml::Value::Number(number) => number.to_string(),
        _ => return refused("expected a quantity such as 2 or 500m"),
    };
    let quantity: Quantity = match text.parse() {
        Ok(quantity) => quantity,
        Err(message) => return refused(&message),
    };
    match u128::try_from(quantity.nano()) {
        Err(_) => refused(&format!("`{text}`: Kueue refuses this: must be greater than or equal to 0")),
        Ok(1) => refused(&format!("`{text}`: Kueue refuses this: when not 0, weight must be > 10e-9")),
        Ok(parts) => Ok(Weight(parts)),
    }
}

/// Which of the known words a field at a path has; the first if it is left out.
type OneOf<'a> = dyn Fn(&Option<String>, &str, &[&str]) -> Result<usize, Vec<Diagnostic>> + 'a;

/// `spec.preemption`, as Kueue's defaults and webhook have it.
fn preemption(
    file: &ConfigFile,
    given: &PreemptionObject,
    one_of: &OneOf<'_>,
) -> Result<Preemption, Vec<Diagnostic>> {
    let path = "spec.preemption.withinClusterQueue";
    let known = ["Never", "LowerPriority", "LowerOrNewerEqualPriority"];
    let within = [Policy::Never, Policy::LowerPriority, Policy::LowerOrNewerEqualPriority];
    let within = within[one_of(&given.within_cluster_queue, path, &known)?];
    let path = "spec.preemption.reclaimWithinCohort";
    let reclaim = [Policy::Never, Policy::LowerPriority, Policy::Any];
    let reclaim = reclaim[one_of(&given.reclaim_within_cohort, path, &["Never", "LowerPriority", "Any"])?];
    let path = "spec.preemption.borrowWithinCohort.policy";
    let borrow = given.borrow_within_cohort.as_ref();
    let borrows = match borrow {
        Some(borrow) => one_of(&borrow.policy, path, &["Never", "LowerPriority"])? == 1,
        None => false,
    };
    if borrows && reclaim == Policy::Never {
        let message = "Kueue refuses this: reclaimWithinCohort=Never and borrowWithinCohort.Policy!=Never";
        let hint = "set reclaimWithinCohort, or leave borrowWithinCohort out";
        return Err(vec![file.diagnostic(&dotted("spec.preemption"), message, hint)]);
    }
    Ok(Preemption {
        within_cluster_queue: within,
        reclaim_within_cohort: reclaim,
        borrow_within_cohort: borrows,
        max_priority_threshold: borrow.and_then(|borrow| borrow.max_priority_threshold),
    })
}

/// Resources and flavors are in one group of a ClusterQueue or a Cohort, once (`validateResourceGroups`).
fn listed_once(file: &ConfigFile, groups: &[GroupObject]) -> Result<(), Vec<Diagnostic>> {
    let twice = |path: &Path, what: &str, name: &str| {
        let message = format!("Kueue refuses this: {what} `{name}` is listed twice");
        Err(vec![file.diagnostic(path, message, "list it once")])
    };
    let (mut resources, mut flavors) = (BTreeSet::new(), BTreeSet::new());
    for (g, group) in groups.iter().enumerate() {
        let path = Path::default().key("spec").key("resourceGroups").child(Step::Index(g));
        for (r, name) in group.covered_resources.iter().enumerate() {
            if !resources.insert(name) {
                return twice(&path.key("coveredResources").child(Step::Index(r)), "resource", name);
            }
        }
        for (f, flavor) in group.flavors.iter().enumerate() {
            if !flavors.insert(&flavor.name) {
                return twice(&path.key("flavors").child(Step::Index(f)).key("name"), "flavor", &flavor.name);
            }
        }
    }
    Ok(())
}

/// A name that an object has already.
fn second(file: &ConfigFile, what: &str) -> Vec<Diagnostic> {
    vec![file.diagnostic(&dotted("metadata.name"), format!("a second {what}"), "leave one out, or rename it")]
}

fn dotted(path: &str) -> Path {
    path.split('.').fold(Path::default(), |path, key| path.key(key))
}

fn refuse(file: &ConfigFile, path: &str, what: &str) -> Vec<Diagnostic> {
    vec![file.diagnostic(&dotted(path), format!("not modelled: {what}"), "leave it out to study the rest")]
}

/// Whether a flavor's labels and taints suit a pod (`checkFlavorForPodSets`): of its selectors and required affinity, only keys
/// that the flavor has are looked at.
fn suits(flavor: &Flavor, spec: &PodSpec) -> bool {
    let tolerated = flavor
        .taints
        .iter()
        .filter(|t| t.effect != TaintEffect::PreferNoSchedule)
        .all(|taint| tolerates(&spec.tolerations, taint) || tolerates(&flavor.tolerations, taint));
    let label = |key: &str| flavor.labels.get(key).map(String::as_str);
    let selected = (spec.node_selector.iter())
        .filter(|(key, _)| flavor.labels.contains_key(*key))
        .all(|(key, value)| label(key) == Some(value));
    let relevant = |term: &Term| -> Vec<Expression> {
        term.expressions.iter().filter(|e| flavor.labels.contains_key(&e.key)).cloned().collect()
    };
    let terms: Vec<Vec<Expression>> = spec.required_node_affinity.iter().map(relevant).collect();
    let affine = terms.is_empty()
        || terms.iter().any(Vec::is_empty)
        || terms.into_iter().any(|expressions| term_matches(&Term { expressions, ..Term::default() }, label));
    tolerated && selected && affine
}

/// So many choices of flavors a job may have: each is a template of its pods.
const MOST_CHOICES: usize = 1000;

/// How many choices [`choices`] would list.
fn count_choices(suits: &[Vec<bool>], asked: &[bool]) -> usize {
    let of_group = |suits: &Vec<bool>| suits.iter().filter(|ok| **ok).count();
    let groups = suits.iter().zip(asked).filter(|(_, asked)| **asked).map(|(suits, _)| of_group(suits));
    let counts: Vec<usize> = groups.collect();
    // One in which nothing suits leaves no choice, however many the others have.
    if counts.contains(&0) { 0 } else { counts.into_iter().fold(1, usize::saturating_mul) }
}

/// Every choice of a flavor a group, where the group's flavor suits.
fn choices(groups: &[Group], suits: &[Vec<bool>], asked: &[bool]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for ((group, suits), asked) in groups.iter().zip(suits).zip(asked) {
        if !asked {
            continue;
        }
        let flavors: Vec<usize> =
            group.flavors.iter().zip(suits).filter(|(_, ok)| **ok).map(|(f, _)| *f).collect();
        all = all
            .into_iter()
            .flat_map(|before: Vec<usize>| flavors.iter().map(move |f| [&before[..], &[*f]].concat()))
            .collect();
    }
    all
}

/// Rules of the section.
pub(super) fn check(spec: &KueueSpec, kind: &str, hosts: &[&str], check: &mut Check<'_>) {
    if kind != "kube-scheduler" {
        let message =
            format!("Kueue stands in front of kube-scheduler here, but the scheduler's kind is `{kind}`");
        check.report("scheduler.kueue", message, "leave it out, or set `kind: kube-scheduler`");
    }
    check.host("scheduler.kueue.host", spec.host.as_deref(), hosts);
    check.client("scheduler.kueue.client", &spec.client);
    if let Some(Err(fault)) = spec.fair_sharing.as_ref().map(FairSharingSpec::strategies) {
        let message = format!("Kueue refuses this: fairSharing.preemptionStrategies: {fault}");
        let hint = "give [LessThanOrEqualToFinalShare], [LessThanInitialShare], or [LessThanOrEqualToFinalShare, LessThanInitialShare]";
        let path = if fault == "must be specified" { "" } else { ".preemptionStrategies" };
        check.report(&format!("scheduler.kueue.fairSharing{path}"), message, hint);
    }
    if spec.objects.is_empty() {
        let hint = "add `objects: [queues.yaml]` with ResourceFlavors, ClusterQueues and LocalQueues";
        check.expected("scheduler.kueue.objects", "at least one file", hint);
    }
    for (i, file) in spec.objects.iter().enumerate() {
        check.on_disk(&format!("scheduler.kueue.objects[{i}]"), Some(file));
    }
}

/// Reads the objects and joins them with the jobs (their applications and ranges of pods), in the order of their arrivals. Pods of a job that
/// flavors change get specs for it.
pub(super) fn read(
    spec: &KueueSpec,
    directory: &FilePath,
    cluster: &mut Cluster,
    jobs: &[(PodId, PodId)],
) -> Result<Config, Vec<Diagnostic>> {
    let mut reader = Reader::default();
    reader.config.fair = spec.fair_sharing.as_ref().and_then(|fair| fair.strategies().unwrap_or_default());
    for name in &spec.objects {
        let path = directory.join(name);
        reader.file(&path, &path.display().to_string());
    }
    reader.cluster_queues(&mut cluster.resources);
    let first = spec.objects.first().cloned().unwrap_or_default();
    let (mut config, mut errors) = (reader.config, reader.errors);
    let mut refused: BTreeSet<usize> = BTreeSet::new();
    if !errors.is_empty() {
        return Err(errors);
    }
    for (from, to) in jobs {
        let id: AppId = cluster.pods.app_id(*from);
        let App { name, queue, .. } = cluster.pods.apps()[id as usize].clone();
        let pod = cluster.pods.spec(*from).clone();
        let namespace = pod.namespace().to_owned();
        let local = reader.local.get(&(namespace.clone(), queue.clone()));
        let number = local.and_then(|local| config.queues.iter().position(|q| q.name == *local));
        let Some(number) = number else {
            let message = match local {
                None => format!("job {name}: there is no LocalQueue `{queue}` in namespace {namespace}"),
                Some(local) => {
                    format!("LocalQueue {queue} of {namespace}: there is no ClusterQueue `{local}`")
                }
            };
            errors.push(Diagnostic::of_file(&first, message, "add it, or correct `queue` of the job"));
            continue;
        };
        let cluster_queue = &config.queues[number];
        let labels = cluster.namespace_labels(&namespace);
        let takes = cluster_queue
            .namespaces
            .as_ref()
            .is_some_and(|selector| selector.iter().all(|(key, value)| labels.get(key) == Some(value)));
        if !takes {
            let message =
                format!("ClusterQueue {} takes no job of namespace {namespace}", cluster_queue.name);
            let hint = "add `namespaceSelector: {}`, or labels of the namespace in cluster.namespaces";
            errors.push(Diagnostic::of_file(&first, message, hint));
            continue;
        }
        let count = i64::from(to - from);
        let covered = |resource| cluster_queue.groups.iter().any(|group| group.resources.contains(&resource));
        // Beyond any quota is as good as the most there is.
        let of_all = |each: u64| i64::try_from(each).unwrap_or(i64::MAX).saturating_mul(count);
        let mut requests = vec![
            (Resource::Cpu, of_all(pod.requests.cpu_millicores)),
            (Resource::Memory, of_all(pod.requests.memory_bytes)),
        ];
        requests.extend(pod.requests.extended.iter().map(|(id, v)| (Resource::Extended(*id), of_all(*v))));
        requests.retain(|(_, amount)| *amount > 0);
        if covered(Resource::Pods) {
            requests.push((Resource::Pods, count));
        }
        let suits: Vec<Vec<bool>> = (cluster_queue.groups.iter())
            .map(|group| group.flavors.iter().map(|f| suits(&config.flavors[*f], &pod)).collect())
            .collect();
        let asked: Vec<bool> = (cluster_queue.groups.iter())
            .map(|group| requests.iter().any(|(r, _)| group.resources.contains(r)))
            .collect();
        let ways = count_choices(&suits, &asked);
        if ways > MOST_CHOICES {
            if refused.insert(number) {
                let message = format!(
                    "job {name} has {ways} choices of a flavor in each group; podpace models at most {MOST_CHOICES}"
                );
                let hint = "list fewer flavors, put resources that share flavors in one group, or let node selectors of the jobs rule some out";
                errors.push(match reader.files.get(&cluster_queue.name) {
                    Some(file) => file.diagnostic(&dotted("spec.resourceGroups"), message, hint),
                    None => Diagnostic::of_file(&first, message, hint),
                });
            }
            continue;
        }
        let mut combined = Vec::new();
        for chosen in choices(&cluster_queue.groups, &suits, &asked) {
            let mut with = pod.clone();
            for flavor in &chosen {
                let flavor = &config.flavors[*flavor];
                with.node_selector.extend(flavor.labels.clone());
                with.tolerations.extend(flavor.tolerations.iter().cloned());
            }
            combined.push((chosen, cluster.pods.add_spec(with)));
        }
        let workload = Workload {
            pods: (*from, *to),
            spec: cluster.pods.spec_id(*from),
            queue: number,
            priority: pod.priority,
            requests,
            suits,
            combined,
        };
        config.workloads.push(workload);
    }
    if errors.is_empty() { Ok(config) } else { Err(errors) }
}
