//! Native traces to other forms.
//!
//! | format | what |
//! |---|---|
//! | `native` | the same trace as Parquet or JSON Lines |
//! | `k8s` | `nodes.yaml`, `pods.yaml` (one document an object, in order of creation) and `schedule.csv` (at_ns, action, namespace, name): what to create and delete when, to replay on a real (KWOK) cluster |
//! | `swf` | Standard Workload Format, one job a pod: processors are requested cores rounded up |
//! | `csv` | `pods.csv` with requests joined, `nodes.csv` |
//! | `simkube` | a SimKube trace in JSON: bare pods, applied when created and deleted when their run is over |
//!
//! Everything streams, except `simkube`'s deletions: O(pods alive). What a form cannot hold is left out: SWF has no labels,
//! no affinity, whole seconds; `k8s` names are uids made into DNS names, with the uid kept as an annotation.
//! Files are written under a temporary name and renamed, like traces.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::error::TraceError;
use super::import::{self, ImportOptions};
use super::model::{CPU, EPHEMERAL_STORAGE, EventOp, MEMORY, NodeOp, OutcomeRow, PodRow, Resources, SpecRow};
use super::native::{self, TraceReader};
use super::number::rfc3339;

/// Formats that [`export`] writes.
pub const FORMATS: &[&str] = &["native", "k8s", "swf", "csv", "simkube"];

/// Exports the native trace at `path` to `out` (a folder; for `swf` and `simkube` a file).
///
/// # Errors
/// [`TraceError::Usage`] for an unknown format or a target that exists.
pub fn export(path: &Path, format: &str, out: &Path, options: &ImportOptions) -> Result<(), TraceError> {
    match format {
        "native" => import::import("native", &[path.to_path_buf()], out, options).map(|_| ()),
        "k8s" => folder(out, |dir| kubernetes(&native::open(path)?, dir)),
        "csv" => folder(out, |dir| csv(&native::open(path)?, dir)),
        "swf" => file(out, |w| swf(&native::open(path)?, w)),
        "simkube" => file(out, |w| simkube(&native::open(path)?, w)),
        other => {
            Err(TraceError::Usage(format!("unknown export format {other:?}; known: {}", FORMATS.join(", "))))
        }
    }
}

fn refuse_existing(out: &Path) -> Result<PathBuf, TraceError> {
    if out.exists() {
        return Err(TraceError::Usage(format!("{}: already there; choose another name", out.display())));
    }
    let name = out
        .file_name()
        .ok_or_else(|| TraceError::Usage(format!("{}: name a file or folder to write", out.display())))?
        .to_string_lossy()
        .into_owned();
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|e| TraceError::io(parent, e))?;
    Ok(parent.join(format!(".{name}.writing-{}", std::process::id())))
}

fn folder(out: &Path, write: impl FnOnce(&Path) -> Result<(), TraceError>) -> Result<(), TraceError> {
    let temporary = refuse_existing(out)?;
    fs::create_dir(&temporary).map_err(|e| TraceError::io(&temporary, e))?;
    if let Err(e) = write(&temporary) {
        let _ = fs::remove_dir_all(&temporary);
        return Err(e);
    }
    fs::rename(&temporary, out).map_err(|e| TraceError::io(out, e))
}

fn file(out: &Path, write: impl FnOnce(&mut Out) -> Result<(), TraceError>) -> Result<(), TraceError> {
    let temporary = refuse_existing(out)?;
    let mut w = Out::create(&temporary)?;
    if let Err(e) = write(&mut w).and_then(|()| w.finish()) {
        let _ = fs::remove_file(&temporary);
        return Err(e);
    }
    fs::rename(&temporary, out).map_err(|e| TraceError::io(out, e))
}

struct Out {
    path: PathBuf,
    out: Option<BufWriter<File>>,
}

impl Out {
    fn create(path: &Path) -> Result<Out, TraceError> {
        let file = File::create(path).map_err(|e| TraceError::io(path, e))?;
        Ok(Out { path: path.to_path_buf(), out: Some(BufWriter::with_capacity(256 << 10, file)) })
    }

    fn line(&mut self, text: &str) -> Result<(), TraceError> {
        let Some(out) = &mut self.out else { return Ok(()) };
        out.write_all(text.as_bytes())
            .and_then(|()| out.write_all(b"\n"))
            .map_err(|e| TraceError::io(&self.path, e))
    }

    fn text(&mut self, text: &str) -> Result<(), TraceError> {
        let Some(out) = &mut self.out else { return Ok(()) };
        out.write_all(text.as_bytes()).map_err(|e| TraceError::io(&self.path, e))
    }

    fn finish(&mut self) -> Result<(), TraceError> {
        let Some(out) = self.out.take() else { return Ok(()) };
        let done = || -> std::io::Result<()> { out.into_inner().map_err(|e| e.into_error())?.sync_all() };
        done().map_err(|e| TraceError::io(&self.path, e))
    }
}

/// A uid as a DNS name that stays unique: its own characters where allowed, then its position.
fn dns_name(pod: &PodRow) -> String {
    let mut name: String = pod
        .uid
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(40)
        .collect();
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    let name = name.trim_matches('-');
    format!("{}{}{}", name, if name.is_empty() { "pod-" } else { "-" }, pod.seq)
}

/// Resources as Kubernetes quantities.
fn quantities(resources: &Resources) -> BTreeMap<String, String> {
    resources
        .iter()
        .map(|(k, v)| match k.as_str() {
            CPU => ("cpu".to_string(), format!("{v}m")),
            MEMORY => ("memory".to_string(), v.to_string()),
            EPHEMERAL_STORAGE => ("ephemeral-storage".to_string(), v.to_string()),
            _ => (k.clone(), v.to_string()),
        })
        .collect()
}

fn parse(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { serde_json::from_str(text).unwrap_or(Value::Null) }
}

/// The Pod object of a row.
fn pod_object(pod: &PodRow, spec: &SpecRow, origin: Option<i64>) -> Value {
    let mut labels = spec.labels.clone();
    if !pod.app.is_empty() {
        labels.insert("applicationId".to_string(), label(&pod.app));
    }
    if !pod.queue.is_empty() {
        labels.insert("queue".to_string(), label(&pod.queue));
    }
    let mut annotations = BTreeMap::from([
        ("podpace.dev/uid".to_string(), pod.uid.clone()),
        ("podpace.dev/submit-ns".to_string(), pod.submit_ns.to_string()),
    ]);
    if let Some(run) = pod.run_ns {
        annotations.insert("podpace.dev/run-ns".to_string(), run.to_string());
    }
    if !pod.user.is_empty() {
        annotations.insert("yunikorn.apache.org/username".to_string(), pod.user.clone());
    }
    if !pod.task_group.is_empty() {
        annotations.insert("yunikorn.apache.org/task-group-name".to_string(), pod.task_group.clone());
        let min: BTreeMap<String, String> = quantities(&spec.requests);
        let groups = json!([{"name": pod.task_group, "minMember": pod.min_member, "minResource": min}]);
        annotations.insert("yunikorn.apache.org/task-groups".to_string(), groups.to_string());
    }
    let mut metadata = json!({
        "name": dns_name(pod),
        "namespace": if spec.namespace.is_empty() { "default" } else { &spec.namespace },
        "annotations": annotations,
    });
    if !labels.is_empty() {
        metadata["labels"] = json!(labels);
    }
    if let Some(origin) = origin {
        let t = origin.saturating_add(i64::try_from(pod.submit_ns).unwrap_or(i64::MAX));
        metadata["creationTimestamp"] = json!(rfc3339(t / 1_000_000_000 * 1_000_000_000));
    }
    let mut body = json!({
        "containers": [{
            "name": "main",
            "image": "registry.k8s.io/pause:3.10",
            "resources": {"requests": quantities(&spec.requests)},
        }],
        "restartPolicy": "Never",
    });
    let extended: BTreeMap<String, String> =
        quantities(&spec.requests).into_iter().filter(|(k, _)| k.contains('/')).collect();
    if !extended.is_empty() {
        // Extended resources need limits equal to their requests.
        body["containers"][0]["resources"]["limits"] = json!(extended);
    }
    if pod.priority != 0 {
        body["priority"] = json!(pod.priority);
    }
    if !spec.node_selector.is_empty() {
        body["nodeSelector"] = json!(spec.node_selector);
    }
    for (name, text) in [
        ("tolerations", &spec.tolerations),
        ("affinity", &spec.affinity),
        ("topologySpreadConstraints", &spec.topology_spread),
    ] {
        let value = parse(text);
        if !value.is_null() {
            body[name] = value;
        }
    }
    if !spec.scheduler_name.is_empty() {
        body["schedulerName"] = json!(spec.scheduler_name);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body})
}

/// A text as a label value may be.
fn label(text: &str) -> String {
    let mapped: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' })
        .take(63)
        .collect();
    mapped.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_string()
}

fn spec_of<'a>(specs: &'a [SpecRow], pod: &PodRow, reader: &TraceReader) -> Result<&'a SpecRow, TraceError> {
    specs.get(pod.spec_id as usize).ok_or_else(|| {
        TraceError::format(
            reader.path(),
            format!("pod {}: spec_id {} is not in specs; run validate", pod.uid, pod.spec_id),
        )
    })
}

fn kubernetes(reader: &TraceReader, dir: &Path) -> Result<(), TraceError> {
    let specs = reader.specs()?;
    let mut nodes = Out::create(&dir.join("nodes.yaml"))?;
    let mut schedule = Out::create(&dir.join("schedule.csv"))?;
    schedule.line("at_ns,action,kind,namespace,name")?;
    for row in reader.nodes()? {
        let n = row?;
        if n.op == NodeOp::Remove {
            schedule.line(&format!("{},delete,Node,,{}", n.t_ns, n.name))?;
            continue;
        }
        if n.op == NodeOp::Update {
            schedule.line(&format!("{},update,Node,,{}", n.t_ns, n.name))?;
        } else if n.t_ns > 0 {
            schedule.line(&format!("{},create,Node,,{}", n.t_ns, n.name))?;
        }
        let q = quantities(&n.allocatable);
        let mut object = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": n.name, "annotations": {"kwok.x-k8s.io/node": "fake", "podpace.dev/at-ns": n.t_ns.to_string()}},
            "status": {"allocatable": q, "capacity": q},
        });
        if !n.labels.is_empty() {
            object["metadata"]["labels"] = json!(n.labels);
        }
        let taints = parse(&n.taints);
        if !taints.is_null() {
            object["spec"] = json!({"taints": taints});
        }
        document(&mut nodes, &object)?;
    }
    nodes.finish()?;
    let mut deletions: BTreeMap<String, u64> = BTreeMap::new();
    let mut bound: BTreeMap<String, String> = BTreeMap::new();
    for row in reader.events()? {
        let e = row?;
        match e.op {
            EventOp::PodDelete => {
                deletions.insert(e.uid, e.t_ns);
            }
            EventOp::PodBound => {
                bound.insert(e.uid, e.node);
            }
        }
    }
    let origin = reader.manifest().origin_unix_ns;
    let mut pods = Out::create(&dir.join("pods.yaml"))?;
    for row in reader.pods()?.rows() {
        let pod = row?;
        let mut object = pod_object(&pod, spec_of(&specs, &pod, reader)?, origin);
        if let Some(node) = bound.get(&pod.uid) {
            object["spec"]["nodeName"] = json!(node);
        }
        let (namespace, name) = (object["metadata"]["namespace"].as_str().unwrap_or(""), dns_name(&pod));
        schedule.line(&format!("{},create,Pod,{namespace},{name}", pod.submit_ns))?;
        if let Some(t) = deletions.get(&pod.uid) {
            schedule.line(&format!("{t},delete,Pod,{namespace},{name}"))?;
        }
        document(&mut pods, &object)?;
    }
    pods.finish()?;
    schedule.finish()
}

fn document(out: &mut Out, object: &Value) -> Result<(), TraceError> {
    let text =
        serde_yaml::to_string(object).map_err(|e| TraceError::Usage(format!("cannot write YAML: {e}")))?;
    out.line("---")?;
    out.text(&text)
}

/// Outcomes in step with their pods.
struct Outcomes {
    rows: native::RowReader<OutcomeRow>,
    next: Option<OutcomeRow>,
}

impl Outcomes {
    fn open(reader: &TraceReader) -> Result<Outcomes, TraceError> {
        let mut rows = reader.outcomes()?;
        let next = rows.next().transpose()?;
        Ok(Outcomes { rows, next })
    }

    fn of(&mut self, uid: &str) -> Result<Option<OutcomeRow>, TraceError> {
        if self.next.as_ref().is_none_or(|o| o.uid != uid) {
            return Ok(None);
        }
        let found = self.next.take();
        self.next = self.rows.next().transpose()?;
        Ok(found)
    }
}

fn swf(reader: &TraceReader, out: &mut Out) -> Result<(), TraceError> {
    let specs = reader.specs()?;
    let mut capacity = 0u64;
    for row in reader.nodes()? {
        let n = row?;
        if n.op == NodeOp::Add {
            capacity = capacity.saturating_add(n.allocatable.get(CPU).copied().unwrap_or(0));
        }
    }
    out.line("; Version: 2.2")?;
    out.line("; Note: written by podpace from a native trace; one job a pod, processors are requested cores rounded up")?;
    if let Some(origin) = reader.manifest().origin_unix_ns {
        out.line(&format!("; UnixStartTime: {}", origin / 1_000_000_000))?;
    }
    if capacity > 0 {
        out.line(&format!("; MaxProcs: {}", capacity / 1000))?;
    }
    let mut ids: [BTreeMap<String, usize>; 2] = [BTreeMap::new(), BTreeMap::new()];
    let mut id = |which: usize, text: &str| -> i64 {
        if text.is_empty() {
            return -1;
        }
        let n = ids[which].len() + 1;
        *ids[which].entry(text.to_string()).or_insert(n) as i64
    };
    let mut outcomes = Outcomes::open(reader)?;
    for row in reader.pods()?.rows() {
        let pod = row?;
        let spec = spec_of(&specs, &pod, reader)?;
        let procs = spec.requests.get(CPU).copied().unwrap_or(0).div_ceil(1000).max(1);
        let memory = match spec.requests.get(MEMORY) {
            Some(m) if *m > 0 => (m / 1024 / procs).to_string(),
            _ => "-1".to_string(),
        };
        let outcome = outcomes.of(&pod.uid)?;
        let seconds = |ns: u64| ns / 1_000_000_000;
        let wait = outcome
            .and_then(|o| Some(o.bound_ns?.saturating_sub(o.created_ns.unwrap_or(pod.submit_ns))))
            .map_or("-1".to_string(), |w| seconds(w).to_string());
        let run = pod.run_ns.map_or("-1".to_string(), |r| seconds(r).to_string());
        let (user, queue) = (id(0, &pod.user), id(1, &pod.queue));
        out.line(&format!(
            "{} {} {wait} {run} {procs} -1 -1 {procs} {run} {memory} 1 {user} -1 -1 {queue} -1 -1 -1",
            pod.seq + 1,
            seconds(pod.submit_ns)
        ))?;
    }
    Ok(())
}

/// A field as CSV may hold it.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_string()
    }
}

fn csv(reader: &TraceReader, dir: &Path) -> Result<(), TraceError> {
    let specs = reader.specs()?;
    let mut keys: Vec<&str> = specs.iter().flat_map(|s| s.requests.keys().map(String::as_str)).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut pods = Out::create(&dir.join("pods.csv"))?;
    let mut header =
        "submit_ns,seq,uid,spec_id,namespace,app,task_group,min_member,queue,user,priority,run_ns"
            .to_string();
    for k in &keys {
        header.push_str(&format!(",{}", field(k)));
    }
    pods.line(&format!("{header},bound_ns,running_ns,finished_ns,node"))?;
    let number = |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
    let mut outcomes = Outcomes::open(reader)?;
    for row in reader.pods()?.rows() {
        let p = row?;
        let spec = spec_of(&specs, &p, reader)?;
        let mut line = format!(
            "{},{},{},{},{},{},{},{},{},{},{},{}",
            p.submit_ns,
            p.seq,
            field(&p.uid),
            p.spec_id,
            field(&spec.namespace),
            field(&p.app),
            field(&p.task_group),
            p.min_member,
            field(&p.queue),
            field(&p.user),
            p.priority,
            number(p.run_ns)
        );
        for k in &keys {
            line.push_str(&format!(",{}", spec.requests.get(*k).copied().unwrap_or(0)));
        }
        let o = outcomes.of(&p.uid)?.unwrap_or_default();
        let (bound, running, finished) = (number(o.bound_ns), number(o.running_ns), number(o.finished_ns));
        pods.line(&format!("{line},{bound},{running},{finished},{}", field(&o.node)))?;
    }
    pods.finish()?;
    let mut nodes = Out::create(&dir.join("nodes.csv"))?;
    nodes.line("t_ns,seq,op,name,allocatable,labels,taints")?;
    for row in reader.nodes()? {
        let n = row?;
        let map = |m: String| field(&m);
        let allocatable = serde_json::to_string(&n.allocatable).unwrap_or_default();
        let labels = serde_json::to_string(&n.labels).unwrap_or_default();
        nodes.line(&format!(
            "{},{},{},{},{},{},{}",
            n.t_ns,
            n.seq,
            n.op.as_str(),
            field(&n.name),
            map(allocatable),
            map(labels),
            field(&n.taints)
        ))?;
    }
    nodes.finish()
}

fn simkube(reader: &TraceReader, out: &mut Out) -> Result<(), TraceError> {
    let specs = reader.specs()?;
    let origin = reader.manifest().origin_unix_ns.unwrap_or(0);
    let second = |ns: u64| origin.saturating_add(i64::try_from(ns).unwrap_or(i64::MAX)) / 1_000_000_000;
    out.line(
        r#"{"version":2,"config":{"trackedObjects":{"v1.Pod":{"podSpecTemplatePaths":[""]}}},"events":["#,
    )?;
    let mut ends: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
    let mut applied: Vec<Value> = Vec::new();
    let mut at = None;
    let mut first = true;
    let mut flush =
        |out: &mut Out, t: i64, applied: &mut Vec<Value>, deleted: Vec<Value>| -> Result<(), TraceError> {
            if applied.is_empty() && deleted.is_empty() {
                return Ok(());
            }
            let event = json!({"ts": t, "applied_objs": applied, "deleted_objs": deleted});
            applied.clear();
            let comma = if first { "" } else { "," };
            first = false;
            out.line(&format!("{comma}{event}"))
        };
    for row in reader.pods()?.rows() {
        let pod = row?;
        let t = second(pod.submit_ns);
        if let Some(now) = at
            && now < t
        {
            let deleted = ends.remove(&now).unwrap_or_default();
            flush(out, now, &mut applied, deleted)?;
            while let Some((&end, _)) = ends.first_key_value()
                && end < t
            {
                let deleted = ends.remove(&end).unwrap_or_default();
                flush(out, end, &mut applied, deleted)?;
            }
        }
        at = Some(t);
        let object = pod_object(&pod, spec_of(&specs, &pod, reader)?, None);
        if let Some(run) = pod.run_ns {
            let name = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"]}, "spec": {}});
            ends.entry(second(pod.submit_ns.saturating_add(run)).max(t)).or_default().push(name);
        }
        applied.push(object);
    }
    if let Some(now) = at {
        let deleted = ends.remove(&now).unwrap_or_default();
        flush(out, now, &mut applied, deleted)?;
    }
    while let Some((end, deleted)) = ends.pop_first() {
        flush(out, end, &mut applied, deleted)?;
    }
    out.line(r#"],"index":{},"pod_lifecycles":{}}"#)
}
