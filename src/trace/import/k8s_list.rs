//! Kubernetes objects as kubectl prints them: `kubectl get pods,nodes -A -o json` or `-o yaml`, or manifests.
//!
//! **Input.** Lists (`List`; `PodList` and others of the API, whose items have no kind), single objects, several documents in
//! a file, several files; JSON or YAML. Pods and Nodes become rows. Deployments, ReplicaSets, StatefulSets and Jobs are expanded from their templates; those that
//! exist already (they have a creationTimestamp) only when the input holds no Pod that does: else their pods are among those. ReplicaSets of a Deployment in the
//! same input are not expanded twice. A scenario leaves those that do not exist yet to their controllers
//! ([`controllers`](super::controllers)). LimitRanges go for what is
//! made from templates and for Pods that do not exist yet, those without a creationTimestamp ([`limit_range`](super::limit_range)), and so
//! do PriorityClasses ([`priority_class`](super::priority_class)) and RuntimeClasses ([`runtime_class`](super::runtime_class)). What does not exist yet and
//! the API server would refuse is an error ([`pod_checks`](super::pod_checks)).
//!
//! **Units.** Quantities as Kubernetes writes them; times RFC 3339, whole seconds.
//!
//! **Replay or snapshot.** By default pods are created when they were created, and nodes join when they were created
//! (at the origin if that was before the first pod). With `snapshot` everything is there at time 0: pods with a
//! node sit on it (`pod-bound` events, `placeholder-bound` for placeholders of YuniKorn's gangs), the others are pending,
//! finished ones are left out. In a replay YuniKorn makes placeholders itself, so that they are left out.
//!
//! **What it cannot tell.** A list shows what still exists: pods deleted before are missing, so a busy week looks
//! quieter than it was; record a watch instead. Run times are known for finished pods only. Times are whole seconds:
//! binding rates above one a second are blurred.
//!
//! Source: Kubernetes API reference (core/v1 Pod, Node); tested on a `kubectl get -o json` dump of 10 finished pods.

use std::collections::BTreeSet;

use serde_json::Value;

use super::admission::Admission;
use super::kubernetes::{self as k8s, Place};
use super::{AT_ORIGIN, Controllers, Importer, InputFile, Origin, Pod, Sink, TraceError, pod_checks};
use crate::trace::documents::{LIST_KEYS, each_document_of};
use crate::trace::error::Problem;
use crate::trace::model::NodeOp;

/// The importer.
pub struct K8sList;

const OBJECTS: &str = "objects";

impl Importer for K8sList {
    fn name(&self) -> &'static str {
        "k8s-list"
    }

    fn summary(&self) -> &'static str {
        "kubectl get -o json|yaml of pods, nodes, deployments, jobs; manifests"
    }

    fn tested_on(&self) -> &'static str {
        "a kubectl dump of 10 pods (kind, 2024)"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        sink.origin = Origin::Unix;
        let mut list = List::default();
        for file in files {
            read_objects(file, sink, &mut |sink, object, place| list.object(sink, object, place))?;
        }
        list.finish(sink)
    }
}

/// Whether a file is read: one that was found in a folder by its name.
pub(super) fn holds_objects(file: &InputFile) -> bool {
    let name = file.file_name().to_lowercase();
    let known = ["json", "yaml", "yml", "jsonl", "log", "gz", "zst", "ndjson", "txt"];
    file.explicit || known.iter().any(|e| name.ends_with(e)) || !name.contains('.')
}

/// Whether a file of a folder holds nothing: nobody named it.
pub(super) fn is_left_empty(error: &TraceError, file: &InputFile) -> bool {
    !file.explicit && error.problem() == Some(Problem::EmptyFile)
}

/// Reads a file's documents, counting them; bad ones are dropped when told to.
pub(crate) fn read_objects(
    file: &InputFile,
    sink: &mut Sink,
    each: &mut dyn FnMut(&mut Sink, Value, &Place) -> Result<bool, TraceError>,
) -> Result<(), TraceError> {
    read_objects_of(file, LIST_KEYS, sink, each)
}

/// The same, where the format says which keys hold lists.
pub(super) fn read_objects_of(
    file: &InputFile,
    lists: &[&str],
    sink: &mut Sink,
    each: &mut dyn FnMut(&mut Sink, Value, &Place) -> Result<bool, TraceError>,
) -> Result<(), TraceError> {
    if !holds_objects(file) {
        sink.report.ignored_files.push(format!("{} (neither JSON nor YAML by name)", file.file_name()));
        return Ok(());
    }
    sink.begin_file(file, OBJECTS);
    each_document_of(file, sink.options.max_line_bytes, lists, &mut |object, place| {
        if object.as_ref().is_err_and(|error| is_left_empty(error, file)) {
            sink.report.ignored_files.push(format!("{} (empty)", file.file_name()));
            return Ok(());
        }
        sink.report.table(OBJECTS).read += 1;
        match object.and_then(|object| each(sink, object, place)) {
            Ok(true) => sink.report.table(OBJECTS).kept += 1,
            Ok(false) => {}
            Err(e) => sink.bad(OBJECTS, e)?,
        }
        Ok(())
    })
}

#[derive(Default)]
pub(crate) struct List {
    pods: u64,
    /// Some Pod of the input exists already.
    pods_exist: bool,
    /// Names that were generated.
    generated: u64,
    nodes: u64,
    controllers: Vec<(Value, Place)>,
    limit_ranges: Vec<(Value, Place)>,
    /// And RuntimeClasses.
    priority_classes: Vec<(Value, Place)>,
    /// Pods that do not exist yet: LimitRanges may follow.
    manifests: Vec<(Value, Place)>,
}

/// Why a DaemonSet is no row of a trace: its pods depend on the nodes of a run. Scenarios read them
/// ([`daemon_sets`](super::daemon_sets)).
pub const DAEMON_SET: &str = "daemon-set";

/// Why a CronJob is none: when its pods come depends on the date of a run ([`cron_jobs`](super::cron_jobs)).
pub const CRON_JOB: &str = "cron-job";

/// Why a Deployment or another object whose pods a controller makes is none, where a scenario asks for that
/// ([`controllers`](super::controllers)).
pub const CONTROLLED: &str = "controlled";

/// Kinds that change which pods there are or where they go, and that are read as nothing: kind, reason in the report, and
/// what a scenario that reads manifests can say instead.
pub const UNMODELLED: [(&str, &str, &str); 16] = [
    ("ResourceQuota", "resource-quota", "leave it out if the workload stays within it"),
    ("PodDisruptionBudget", "disruption-budget", "give it as `cluster.podDisruptionBudgets` of the scenario"),
    ("Volcano Job", "volcano-job", "write it as `workload.jobs` of the scenario, with a `gang`"),
    (
        "PodGroup",
        "pod-group",
        "write its pods as `workload.pods` of the scenario, with a `gang`, or leave it out",
    ),
    ("JobSet", "job-set", "write its Jobs out"),
    ("Rollout", "argo-rollout", "write it as a Deployment"),
    ("CloneSet", "clone-set", "write it as a Deployment"),
    ("LeaderWorkerSet", "leader-worker-set", "write its StatefulSets out"),
    ("SparkApplication", "spark-application", "write the pods of its driver and executors out"),
    ("RayCluster", "ray-cluster", "write its pods out"),
    ("RayJob", "ray-job", "write its pods out"),
    ("PyTorchJob", "pytorch-job", "write it as a Job"),
    ("TFJob", "tf-job", "write it as a Job"),
    ("MPIJob", "mpi-job", "write it as a Job"),
    ("TrainJob", "train-job", "write it as a Job"),
    ("Workflow", "workflow", "write its pods out"),
];

/// Kinds that would change objects during a run, and that are read as nothing: kind, reason in the report, and what that means.
pub const SCALERS: [(&str, &str, &str); 4] = [
    ("HorizontalPodAutoscaler", "horizontal-pod-autoscaler", "`replicas` stay what their objects say"),
    ("VerticalPodAutoscaler", "vertical-pod-autoscaler", "requests stay what their objects say"),
    ("ScaledObject", "keda-scaled-object", "`replicas` stay what their objects say"),
    ("ScaledJob", "keda-scaled-job", "they make no Jobs"),
];

/// Why an object that would change others is read as nothing.
fn scaler(kind: &str) -> Option<&'static str> {
    SCALERS.iter().find(|(of, ..)| *of == kind).map(|(_, reason, _)| *reason)
}

/// Why an object of these kinds is read as nothing. Of one that exists and makes pods, those that exist count.
fn unmodelled(object: &Value) -> Option<&'static str> {
    let kind = match (k8s::kind(object), k8s::text(object, "/apiVersion").split('/').next()) {
        ("Job", Some("batch.volcano.sh")) => "Volcano Job",
        (kind, _) => kind,
    };
    let at = UNMODELLED.iter().position(|(of, ..)| *of == kind)?;
    let makes_pods = at >= 2;
    (!makes_pods || !exists(object)).then_some(UNMODELLED[at].1)
}

impl List {
    pub(crate) fn object(
        &mut self,
        sink: &mut Sink,
        object: Value,
        place: &Place,
    ) -> Result<bool, TraceError> {
        let unmodelled = unmodelled(&object);
        if unmodelled.is_none() && !exists(&object) && !k8s::is_placeholder(&object) {
            let controlled = is_controlled(&object, sink.options.controllers);
            pod_checks::object(&object, controlled, place)?;
        } else if let Some((_, template)) = k8s::template(&object) {
            pod_checks::note_left_out(sink, &template["spec"]);
        }
        if k8s::kind(&object) == "Namespace" {
            pod_checks::note_namespace(sink, &object);
        }
        match k8s::kind(&object) {
            "Pod" if is_manifest(&object) => {
                self.manifests.push((object, place.clone()));
                Ok(true)
            }
            "Pod" => {
                self.pods_exist = true;
                self.pod(sink, &object, place)
            }
            "LimitRange" => {
                self.limit_ranges.push((object, place.clone()));
                Ok(true)
            }
            "PriorityClass" | "RuntimeClass" => {
                self.priority_classes.push((object, place.clone()));
                Ok(true)
            }
            "Node" => self.node(sink, &object, place).map(|()| true),
            "" => Err(place.error(
                Problem::EmptyField,
                "kind",
                "",
                "a Kubernetes object with kind and metadata",
            )),
            kind if unmodelled.is_none() && is_controlled(&object, sink.options.controllers) => {
                let what = format!("{}:{} (kind {kind})", place.file, place.at);
                sink.report.drop_row(OBJECTS, CONTROLLED, || what);
                Ok(false)
            }
            _ if unmodelled.is_none() && k8s::template(&object).is_some() => {
                self.controllers.push((object, place.clone()));
                Ok(true)
            }
            kind => {
                let what = format!("{}:{} (kind {kind})", place.file, place.at);
                let reason = match kind {
                    "DaemonSet" => DAEMON_SET,
                    "CronJob" => CRON_JOB,
                    _ => unmodelled.or_else(|| scaler(kind)).unwrap_or("not-a-workload"),
                };
                sink.report.drop_row(OBJECTS, reason, || what);
                Ok(false)
            }
        }
    }

    fn pod(&mut self, sink: &mut Sink, object: &Value, place: &Place) -> Result<bool, TraceError> {
        let mut life = k8s::life(object, place)?;
        let placed = life.created.is_none() && !life.node.is_empty();
        if life.created.is_none() {
            sink.report
                .invent("pods.submit_ns", "the origin: the object has no creationTimestamp (a manifest)");
            life.created = Some(0);
        }
        k8s::agree(sink, &mut life);
        let uid = k8s::pod_uid(object);
        if uid.ends_with('/') {
            return Err(place.error(Problem::EmptyField, "metadata.name", "", "a name or a uid"));
        }
        if !sink.first_seen(&uid) {
            return Err(place.error(Problem::DuplicateId, "metadata.uid", &uid, "each pod once"));
        }
        let placeholder = k8s::is_placeholder(object);
        if placeholder && (!sink.options.snapshot || life.node.is_empty()) {
            let what = format!("{}:{}", place.file, place.at);
            sink.report.drop_row(OBJECTS, "gang-placeholder", || what);
            return Ok(false);
        }
        let mut pod = k8s::pod(sink, object, &life, place)?;
        self.pods += 1;
        if placed && !sink.options.snapshot {
            // It was created with its node: the kubelet starts it, and it is in no scheduler's queue.
            (pod.run_ns, pod.outcome) = (None, None);
            sink.report.note("pods that name their node sit on it from the beginning: no scheduler is asked");
            sink.bound_pod(&pod, &life.node)?;
            return Ok(true);
        }
        if sink.options.snapshot {
            if life.over {
                let what = format!("{}:{}", place.file, place.at);
                sink.report.drop_row(OBJECTS, "finished-before-snapshot", || what);
                return Ok(false);
            }
            pod.submit = 0;
            pod.run_ns = None;
            sink.report.invent("pods.run_ns", "none: the pod is alive in the snapshot, runs to the end");
            pod.outcome = None;
            if placeholder {
                sink.bound_placeholder(&pod, &life.node)?;
                return Ok(true);
            }
            if !life.node.is_empty() {
                sink.bound_pod(&pod, &life.node)?;
                return Ok(true);
            }
        } else if pod.run_ns.is_none() {
            let rule = if life.over {
                "none: finished, but no container end on record; runs to the end"
            } else {
                "none: alive when listed, runs to the end"
            };
            sink.report.invent("pods.run_ns", rule);
        }
        sink.pod(&pod)?;
        Ok(true)
    }

    fn node(&mut self, sink: &mut Sink, object: &Value, place: &Place) -> Result<(), TraceError> {
        let node = k8s::node(object, NodeOp::Add, place)?;
        if !sink.first_seen(&format!("node/{}", node.name)) {
            return Err(place.error(Problem::DuplicateId, "metadata.name", &node.name, "each node once"));
        }
        self.nodes += 1;
        if sink.options.snapshot {
            return sink.node(AT_ORIGIN, &node);
        }
        match k8s::time(object, "/metadata/creationTimestamp", place)? {
            Some(t) => sink.node_since(t, &node),
            None => sink.node(AT_ORIGIN, &node),
        }
    }

    /// A Pod that does not exist yet.
    fn manifest(
        &mut self,
        sink: &mut Sink,
        admission: &Admission,
        object: &mut Value,
        place: &Place,
    ) -> Result<bool, TraceError> {
        let prefix = k8s::text(object, "/metadata/generateName").to_owned();
        if !prefix.is_empty() && k8s::text(object, "/metadata/name").is_empty() {
            // The API server's five characters are random.
            self.generated += 1;
            object["metadata"]["name"] = format!("{prefix}{:05}", self.generated).into();
        }
        let (namespace, name) =
            (k8s::namespace(object).to_owned(), k8s::text(object, "/metadata/name").to_owned());
        if let Some(spec) = object.get_mut("spec") {
            admission.admit((&namespace, &name), spec, "spec", place)?;
        }
        self.pod(sink, object, place)
    }

    pub(crate) fn finish(mut self, sink: &mut Sink) -> Result<(), TraceError> {
        let owners = k8s::names(self.controllers.iter().map(|(object, _)| object));
        let (to_expand, there): (Vec<_>, Vec<_>) = std::mem::take(&mut self.controllers)
            .into_iter()
            .partition(|(object, _)| !(self.pods_exist && exists(object)));
        let creates = !self.manifests.is_empty() || !to_expand.is_empty();
        let admission = if creates {
            let refused = &mut |error| sink.bad_kept(OBJECTS, error);
            Admission::read(&self.limit_ranges, &self.priority_classes, refused)?
        } else {
            Admission::default()
        };
        for (mut object, place) in std::mem::take(&mut self.manifests) {
            match self.manifest(sink, &admission, &mut object, &place) {
                Ok(true) => {}
                Ok(false) => sink.report.table(OBJECTS).kept -= 1,
                Err(e) => sink.bad_kept(OBJECTS, e)?,
            }
        }
        expand(sink, to_expand, &owners, &admission)?;
        if !there.is_empty() {
            sink.report.note(format!(
                "{} controllers (Deployments, Jobs, ..) were not expanded: their pods are in the input",
                there.len()
            ));
        }
        if self.nodes == 0 {
            sink.report
                .absent("nodes", "no Node objects: the trace has no nodes; give the scenario a cluster");
        }
        if sink.options.snapshot {
            sink.origin = Origin::Relative(None);
        } else if self.pods_exist {
            sink.report.note("a list shows what still exists: pods deleted before it was taken are missing");
        }
        Ok(())
    }
}

/// Whether an object exists: the API server gives those that do a time.
pub(super) fn exists(object: &Value) -> bool {
    object.pointer("/metadata/creationTimestamp").is_some_and(|time| !time.is_null())
}

/// Whether a scenario leaves an object to its controller.
pub(super) fn is_controlled(object: &Value, how: Controllers) -> bool {
    how != Controllers::Expanded
        && !exists(object)
        && k8s::template(object)
            .is_some_and(|(_, template)| how == Controllers::Left || !k8s::is_in_gang(&template["metadata"]))
}

/// Whether a Pod does not exist yet.
fn is_manifest(object: &Value) -> bool {
    !exists(object) && !k8s::is_placeholder(object)
}

fn expand(
    sink: &mut Sink,
    controllers: Vec<(Value, Place)>,
    owners: &BTreeSet<k8s::Name>,
    admission: &Admission,
) -> Result<(), TraceError> {
    for (mut object, place) in controllers {
        let place = &place;
        if k8s::is_owned(&object, owners) {
            continue;
        }
        let (namespace, name) =
            (k8s::namespace(&object).to_owned(), k8s::text(&object, "/metadata/name").to_owned());
        let (namespace, name) = (namespace.as_str(), name.as_str());
        if let Some(spec) = object.pointer_mut("/spec/template/spec")
            && let Err(e) =
                admission.admit((namespace, &format!("{name}-")), spec, "spec.template.spec", place)
        {
            sink.bad_kept(OBJECTS, e)?;
            continue;
        }
        let object = &object;
        let Some((count, template)) = k8s::template(object) else { continue };
        let read = k8s::time(object, "/metadata/creationTimestamp", place).and_then(|created| {
            let row = k8s::spec_row(namespace, &template["metadata"], &template["spec"], place)?;
            Ok((created.unwrap_or(0), row))
        });
        let (created, row) = match read {
            Ok(read) => read,
            Err(e) => {
                sink.bad_kept(OBJECTS, e)?;
                continue;
            }
        };
        if let Err(e) = sink.expand(count).map_err(|expected| {
            place.error(Problem::OutOfRange, "spec.replicas", &count.to_string(), expected)
        }) {
            sink.bad_kept(OBJECTS, e)?;
            continue;
        }
        let mut pod = Pod { submit: created, spec: sink.spec(row), ..Pod::default() };
        k8s::fill_belonging(&mut pod, &template["metadata"], &template["spec"]);
        if pod.app.is_empty() {
            pod.app = name.to_owned();
        }
        for i in 0..count {
            pod.uid = format!("{namespace}/{name}-{i}");
            if !sink.first_seen(&pod.uid) {
                // Equal names of different kinds.
                pod.uid = format!("{namespace}/{}/{name}-{i}", k8s::text(object, "/kind").to_lowercase());
                if !sink.first_seen(&pod.uid) {
                    let e = place.error(Problem::DuplicateId, "metadata.name", name, "each object once");
                    return sink.bad_kept(OBJECTS, e);
                }
            }
            sink.pod(&pod)?;
        }
        sink.report.invent_n("pods", "one a replica of a controller's template", count);
        sink.report.invent_n("pods.run_ns", "none: made from a template, runs to the end", count);
    }
    Ok(())
}
