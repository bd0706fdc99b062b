//! Transformations of a trace: a part of its time, another speed, more or less load, other nodes, other names.
//!
//! One implementation, two users: `podpace trace transform` (and `trace import` with the same options) writes the
//! result as a trace, `workload.transform` of a scenario applies it while reading. With the same settings and seed both
//! give the same pods. Applied in this order:
//!
//! 1. **window**: pods created in `from..to`; `from` becomes 0. Pods that sit on a node from the beginning stay if they
//!    have not ended or been deleted by then, and run for what is left. Nodes are as they stand at `from`.
//! 2. **time scale**: multiplies creation, run and deletion times.
//! 3. **load scale**: each pod is taken so many times: the whole part, and once more with the chance of the rest. Copies
//!    belong to copies of their application and come up to **jitter** later. The members of a gang are taken, copied and
//!    delayed together.
//! 4. **node scale**: nodes a node, spread evenly over the list; **capacity scale**: their CPU and memory.
//! 5. **mapping**: the first rule whose patterns fit a pod's user, group, queue and namespace says its queue and
//!    namespace. Patterns know `*`; `{user}`, `{group}`, `{queue}` and `{namespace}` in the new names are the pod's own,
//!    with what a name may not hold replaced. The group is the pod's label `group`.
//! 6. **GPU types to extended resources**: on nodes whose GPU model fits, and for pods all of whose accepted models go to
//!    the same resource, `nvidia.com/gpu` becomes that resource (and gpu-milli RESOURCE-milli); the pods' affinity to the
//!    model's label goes, as the resource says it. Pods that take any GPU keep asking for `nvidia.com/gpu`.
//!
//! Pods that run when a window begins, other than those on a node from the beginning, are left out: the cluster
//! starts emptier than it was. Recorded outcomes move with the window; other speeds make them meaningless, and copies
//! never had any: both have none.
//!
//! Chance draws from the stream `workload.transform` of the seed. Cost: O(pods + nodes); memory: events by pod, and gangs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use super::error::TraceError;
use super::fates::Fates;
use super::import::openb::{GPU_MILLI, GPU_MODEL_LABEL};
use super::import::{ImportOptions, Node, Origin, Outcome, Pod, Sink};
use super::model::{CPU, EventOp, GPU, MEMORY, Manifest, NodeOp, NodeRow, OutcomeRow, Resources, SpecRow};
use super::native::{self, PodBatch, TraceReader};
use super::number::duration_text;
use super::report::thousands;
use super::temporary::{Temporary, parent_of};
use crate::engine::random::{LazyStream, Streams};

const PPM: u64 = 1_000_000;
/// Node labels that name the GPU model.
const GPU_LABELS: [&str; 2] = [GPU_MODEL_LABEL, "nvidia.com/gpu.product"];
/// Label that holds a pod's group.
pub const GROUP_LABEL: &str = "group";

/// What is changed; the default changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transform {
    /// Beginning of the window, ns.
    pub from_ns: u64,
    /// Its end, not included.
    pub to_ns: Option<u64>,
    /// Multiplies times, parts per million.
    pub time_ppm: Option<u64>,
    /// Pods a pod, parts per million.
    pub load_ppm: Option<u64>,
    /// Copies come up to so much later.
    pub jitter_ns: u64,
    /// Nodes a node, parts per million.
    pub node_ppm: Option<u64>,
    /// CPU and memory of nodes, parts per million.
    pub capacity_ppm: Option<u64>,
    /// Whose pods go to which queue and namespace; the first rule that fits.
    pub mapping: Vec<Mapping>,
    /// Which GPU models become which resource; the first rule that fits.
    pub gpu_resources: Vec<GpuResource>,
}

/// A rule of the mapping: patterns (empty: anything) and new names (empty: unchanged).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Pattern of the user.
    pub from_user: String,
    /// Pattern of the group.
    pub from_group: String,
    /// Pattern of the queue.
    pub from_queue: String,
    /// Pattern of the namespace.
    pub from_namespace: String,
    /// New queue.
    pub queue: String,
    /// New namespace.
    pub namespace: String,
}

/// A GPU model, or a pattern of several, and the extended resource that stands for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuResource {
    /// Pattern of the model.
    pub model: String,
    /// Resource, such as `example.com/v100`.
    pub resource: String,
}

/// A pod as it is taken.
#[derive(Debug)]
pub struct Taken<'a> {
    /// Of the trace.
    pub uid: &'a str,
    /// 0 is the pod itself.
    pub copy: u64,
    /// Creation, ns.
    pub at_ns: u64,
    /// Run time, ns.
    pub run_ns: Option<u64>,
    /// From creation (or, for a pod on a node, from the window's beginning) to deletion, ns.
    pub held_ns: Option<u64>,
    /// The node it sits on from the beginning.
    pub node: Option<&'a str>,
    /// It holds that place for a gang.
    pub placeholder: bool,
    /// Row of specs.
    pub spec_id: u32,
    /// Namespace by the mapping; none: its spec's.
    pub namespace: Option<&'a str>,
    /// Application; that of a copy is a copy's.
    pub app: &'a str,
    /// Gang.
    pub task_group: &'a str,
    /// Members the gang needs.
    pub min_member: u32,
    /// Queue.
    pub queue: &'a str,
    /// Who submitted.
    pub user: &'a str,
    /// Priority.
    pub priority: i32,
    /// What was recorded, if it still means something; in the source's time.
    pub outcome: Option<&'a OutcomeRow>,
}

/// What was left out on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Pods outside of the window.
    pub outside: u64,
    /// Pods taken that somebody deletes.
    pub deleted: u64,
}

fn scaled(value: u64, ppm: Option<u64>) -> u64 {
    ppm.map_or(value, |ppm| {
        u64::try_from(u128::from(value) * u128::from(ppm) / u128::from(PPM)).unwrap_or(u64::MAX)
    })
}

/// Whether a text fits a pattern in which `*` stands for anything. An empty pattern fits everything.
pub fn fits(pattern: &str, text: &str) -> bool {
    if pattern.is_empty() {
        return true;
    }
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

/// A part of a queue's name: YuniKorn separates levels by dots and knows letters, digits and `_:#/@-`.
fn queue_part(text: &str) -> String {
    let text = text.replace('.', "_dot_");
    text.chars()
        .map(|c| if c.is_ascii_alphanumeric() || "_:#/@-".contains(c) { c } else { '_' })
        .take(64)
        .collect()
}

/// A namespace: lower-case letters, digits and `-`.
fn namespace_part(text: &str) -> String {
    let text: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    text.trim_matches('-').chars().take(63).collect()
}

fn fill(template: &str, part: fn(&str) -> String, own: &[(&str, &str)]) -> String {
    let mut out = template.to_string();
    for (name, value) in own {
        if out.contains(name) {
            // A whole queue keeps its dots where it is the whole name.
            let value = if template == *name { (*value).to_string() } else { part(value) };
            out = out.replace(name, &value);
        }
    }
    out
}

impl Transform {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Transform::default()
    }

    /// A time of the trace after window and time scale.
    pub fn time(&self, t_ns: u64) -> u64 {
        scaled(t_ns.saturating_sub(self.from_ns), self.time_ppm)
    }

    fn copies(&self, rng: &mut LazyStream<'_>) -> u64 {
        let ppm = self.load_ppm.unwrap_or(PPM);
        let (whole, rest) = (ppm / PPM, ppm % PPM);
        whole + u64::from(rest > 0 && rng.get().below(PPM) < rest)
    }

    /// How much later a copy comes.
    fn delay(&self, copy: u64, rng: &mut LazyStream<'_>) -> u64 {
        if copy == 0 || self.jitter_ns == 0 { 0 } else { rng.get().below(self.jitter_ns + 1) }
    }

    /// How many nodes the `index`-th of the list becomes, spread evenly.
    fn nodes_of(&self, index: u64) -> u64 {
        let ppm = self.node_ppm.unwrap_or(PPM);
        let until = |i: u64| u128::from(i) * u128::from(ppm) / u128::from(PPM);
        (until(index + 1) - until(index)) as u64
    }

    fn resource_of(&self, model: &str) -> Option<&str> {
        self.gpu_resources.iter().find(|rule| fits(&rule.model, model)).map(|rule| rule.resource.as_str())
    }

    /// Queue and namespace of a pod, where a rule gives one.
    fn names(&self, user: &str, queue: &str, spec: &SpecRow) -> (Option<String>, Option<String>) {
        let group = spec.labels.get(GROUP_LABEL).map_or("", String::as_str);
        let namespace = if spec.namespace.is_empty() { "default" } else { &spec.namespace };
        let rule = self.mapping.iter().find(|rule| {
            fits(&rule.from_user, user)
                && fits(&rule.from_group, group)
                && fits(&rule.from_queue, queue)
                && fits(&rule.from_namespace, namespace)
        });
        let Some(rule) = rule else { return (None, None) };
        let own = [("{user}", user), ("{group}", group), ("{queue}", queue), ("{namespace}", namespace)];
        let new = |template: &str, part| (!template.is_empty()).then(|| fill(template, part, &own));
        (new(&rule.queue, queue_part), new(&rule.namespace, namespace_part))
    }

    /// Specs with GPU models turned into resources. What can't be is said in `notes`.
    pub fn specs(&self, specs: &mut [SpecRow], notes: &mut Vec<String>) {
        if self.gpu_resources.is_empty() {
            return;
        }
        let (mut any, mut mixed) = (0u64, 0u64);
        for spec in specs {
            if !spec.requests.contains_key(GPU) && !spec.requests.contains_key(GPU_MILLI) {
                continue;
            }
            let selected = GPU_LABELS.iter().find_map(|label| spec.node_selector.get(*label).cloned());
            let accepted =
                if spec.gpu_type.is_empty() { selected.unwrap_or_default() } else { spec.gpu_type.clone() };
            let models: Vec<&str> = accepted.split('|').filter(|m| !m.is_empty()).collect();
            let resources: BTreeSet<Option<&str>> = models.iter().map(|m| self.resource_of(m)).collect();
            match (models.is_empty(), resources.first(), resources.len()) {
                (true, ..) => any += 1,
                (_, Some(Some(resource)), 1) => {
                    rename_gpu(&mut spec.requests, resource);
                    let models: Vec<&str> = spec.gpu_type.split('|').filter(|m| !m.is_empty()).collect();
                    if spec.affinity == super::import::openb::gpu_affinity(GPU_MODEL_LABEL, &models) {
                        spec.affinity.clear();
                    }
                    spec.node_selector.retain(|key, _| !GPU_LABELS.contains(&key.as_str()));
                    spec.gpu_type.clear();
                }
                (_, Some(None), 1) => {}
                _ => mixed += 1,
            }
        }
        for (count, what) in [
            (any, "specs take a GPU of any model and keep asking for nvidia.com/gpu or gpu-milli"),
            (mixed, "specs accept GPU models that go to different resources and are left as they are"),
        ] {
            if count > 0 {
                notes.push(format!("{} {what}", thousands(count)));
            }
        }
    }

    /// Hands over the node rows, transformed, in order; copies of a node follow it.
    ///
    /// # Errors
    /// The trace can't be read, or `each` fails.
    pub fn nodes<E: From<TraceError>>(
        &self,
        reader: &TraceReader,
        mut each: impl FnMut(NodeRow) -> Result<(), E>,
    ) -> Result<(), E> {
        // As they stand when the window begins.
        let mut before: Vec<Option<NodeRow>> = Vec::new();
        let mut at: FxHashMap<String, usize> = FxHashMap::default();
        let mut copies: FxHashMap<String, u64> = FxHashMap::default();
        let mut give = |row: NodeRow| -> Result<(), E> {
            let index = copies.len() as u64;
            let n = *copies.entry(row.name.clone()).or_insert_with(|| self.nodes_of(index));
            for copy in 0..n {
                let mut row = row.clone();
                if copy > 0 {
                    row.name = format!("{}-copy{copy}", row.name);
                }
                row.t_ns = self.time(row.t_ns);
                for key in [CPU, MEMORY] {
                    if let Some(amount) = row.allocatable.get_mut(key) {
                        *amount = scaled(*amount, self.capacity_ppm);
                    }
                }
                let model = GPU_LABELS.iter().find_map(|label| row.labels.get(*label));
                if let Some(resource) = model.and_then(|model| self.resource_of(model)) {
                    rename_gpu(&mut row.allocatable, resource);
                }
                each(row)?;
            }
            Ok(())
        };
        let mut in_window = self.from_ns == 0;
        for row in reader.nodes()? {
            let row = row?;
            if self.to_ns.is_some_and(|to| row.t_ns >= to) {
                break;
            }
            if !in_window {
                if row.t_ns <= self.from_ns {
                    let slot = *at.entry(row.name.clone()).or_insert_with(|| {
                        before.push(None);
                        before.len() - 1
                    });
                    before[slot] = match row.op {
                        NodeOp::Remove => None,
                        _ => Some(NodeRow { op: NodeOp::Add, t_ns: self.from_ns, ..row }),
                    };
                    continue;
                }
                in_window = true;
                before.drain(..).flatten().try_for_each(&mut give)?;
            }
            give(row)?;
        }
        before.drain(..).flatten().try_for_each(&mut give)
    }

    /// Hands over the pods, transformed, in the trace's order (with jitter not in order of time).
    ///
    /// # Errors
    /// The trace can't be read, or `each` fails.
    pub fn pods<E: From<TraceError>>(
        &self,
        reader: &TraceReader,
        specs: &[SpecRow],
        streams: &Streams,
        mut each: impl FnMut(&Taken<'_>) -> Result<(), E>,
    ) -> Result<LeftOut, E> {
        let fates = Fates::read(reader)?;
        let mut rng = streams.lazily("workload.transform");
        let mut left = LeftOut::default();
        let to_ns = self.to_ns.unwrap_or(u64::MAX);
        let mut outcomes = reader.outcomes()?;
        let mut next = outcomes.next().transpose()?;
        let mut batch = PodBatch::default();
        let mut pods = reader.pods()?;
        let nothing = SpecRow::default();
        // Delays of the copies of each gang.
        let mut gangs: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
        let together = self.load_ppm.is_some();
        while pods.next_batch(&mut batch)? {
            for i in 0..batch.len() {
                let (uid, submit_ns) = (batch.uid.get(i), batch.submit_ns[i]);
                // Outcomes are in the order of pods.
                let outcome = if next.as_ref().is_some_and(|o| o.uid == uid) {
                    std::mem::replace(&mut next, outcomes.next().transpose()?)
                } else {
                    None
                };
                let fate = fates.of(uid);
                let node = fate.and_then(|f| f.node.as_deref());
                let mut held_ns = None;
                if let Some(deleted_ns) = fate.and_then(|f| f.deleted_ns) {
                    if node.is_some() && deleted_ns <= self.from_ns {
                        left.outside += 1;
                        continue;
                    }
                    let begin_ns = if node.is_some() { self.from_ns.max(submit_ns) } else { submit_ns };
                    held_ns = Some(scaled(deleted_ns.saturating_sub(begin_ns), self.time_ppm));
                }
                let mut run_ns = batch.run_ns[i];
                // How long a pod on a node has run when the window begins; one that ended before is not there.
                let ran_ns = if node.is_some() { self.from_ns.saturating_sub(submit_ns) } else { 0 };
                let finished_ns = outcome.as_ref().and_then(|o| o.finished_ns);
                let is_over = match run_ns {
                    Some(run) => run <= ran_ns,
                    None => finished_ns.is_some_and(|t| t <= self.from_ns),
                };
                if submit_ns >= to_ns
                    || (submit_ns < self.from_ns && node.is_none())
                    || (ran_ns > 0 && is_over)
                {
                    left.outside += 1;
                    continue;
                }
                run_ns = run_ns.map(|run| run.saturating_sub(ran_ns));
                left.deleted += u64::from(held_ns.is_some());
                let spec_id = batch.spec_id[i];
                let (queue, namespace) = if self.mapping.is_empty() {
                    (None, None)
                } else {
                    let spec = specs.get(spec_id as usize).unwrap_or(&nothing);
                    self.names(batch.user.get(i), batch.queue.get(i), spec)
                };
                let at_ns = self.time(submit_ns);
                let gang = (together && node.is_none() && batch.min_member[i] > 1).then(|| {
                    let key = (batch.app.get(i).to_string(), batch.task_group.get(i).to_string());
                    &*gangs.entry(key).or_insert_with(|| {
                        let copies = self.copies(&mut rng);
                        (0..copies).map(|copy| self.delay(copy, &mut rng)).collect()
                    })
                });
                let copies = match (gang, node) {
                    (Some(delays), _) => delays.len() as u64,
                    (None, Some(_)) => 1,
                    (None, None) => self.copies(&mut rng),
                };
                for copy in 0..copies {
                    let jitter_ns = match gang {
                        Some(delays) => delays[copy as usize],
                        None => self.delay(copy, &mut rng),
                    };
                    each(&Taken {
                        uid,
                        copy,
                        at_ns: at_ns.saturating_add(jitter_ns),
                        run_ns: run_ns.map(|run| scaled(run, self.time_ppm)),
                        held_ns,
                        node,
                        placeholder: fate.is_some_and(|f| f.placeholder),
                        spec_id,
                        namespace: namespace.as_deref(),
                        app: batch.app.get(i),
                        task_group: batch.task_group.get(i),
                        min_member: batch.min_member[i],
                        queue: queue.as_deref().unwrap_or(batch.queue.get(i)),
                        user: batch.user.get(i),
                        priority: batch.priority[i],
                        outcome: outcome
                            .as_ref()
                            .filter(|_| copy == 0 && self.time_ppm.is_none_or(|ppm| ppm == PPM)),
                    })?;
                }
            }
        }
        Ok(left)
    }

    /// The settings in words, for the report.
    fn describe(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        if self.from_ns > 0 || self.to_ns.is_some() {
            let to = self.to_ns.map_or("the end".to_string(), duration_text);
            parts.push(format!("window {} to {to}", duration_text(self.from_ns)));
        }
        for (name, ppm) in [
            ("time", self.time_ppm),
            ("load", self.load_ppm),
            ("nodes", self.node_ppm),
            ("capacity", self.capacity_ppm),
        ] {
            if let Some(ppm) = ppm {
                parts.push(format!("{name} x {}", ppm as f64 / PPM as f64));
            }
        }
        if self.jitter_ns > 0 {
            parts.push(format!("jitter {}", duration_text(self.jitter_ns)));
        }
        if !self.mapping.is_empty() {
            parts.push(format!("{} mapping rules", self.mapping.len()));
        }
        if !self.gpu_resources.is_empty() {
            parts.push(format!("{} GPU rules", self.gpu_resources.len()));
        }
        parts.join(", ")
    }
}

fn rename_gpu(amounts: &mut Resources, resource: &str) {
    for (old, new) in [(GPU, resource.to_string()), (GPU_MILLI, format!("{resource}-milli"))] {
        if let Some(amount) = amounts.remove(old) {
            amounts.insert(new, amount);
        }
    }
}

/// Writes the transformed trace of `from` as a trace at `out`.
///
/// # Errors
/// The trace can't be read, names a spec that is not there, or `out` can't be written.
pub fn transform(
    from: &Path,
    transform: &Transform,
    seed: u64,
    out: &Path,
    options: &ImportOptions,
) -> Result<Manifest, TraceError> {
    let reader = native::open(from)?;
    let mut specs = reader.specs()?;
    let mut manifest = reader.manifest().clone();
    let mut sink = Sink::create(out, options)?;
    sink.origin = Origin::Relative(None);
    transform.specs(&mut specs, &mut manifest.report.notes);
    transform.nodes(&reader, |row| {
        let node = Node {
            op: row.op,
            name: row.name,
            allocatable: row.allocatable,
            labels: row.labels,
            taints: row.taints,
        };
        sink.node(signed(row.t_ns), &node)
    })?;
    let mut ids: BTreeMap<(u32, Option<String>), u32> = BTreeMap::new();
    let left = transform.pods(&reader, &specs, &Streams::new(seed), |taken| {
        let key = (taken.spec_id, taken.namespace.map(str::to_string));
        let spec = match ids.get(&key) {
            Some(id) => *id,
            None => {
                let Some(row) = specs.get(taken.spec_id as usize) else {
                    let message =
                        format!("pod {} names spec {}, which is not there", taken.uid, taken.spec_id);
                    return Err(TraceError::format(from, message));
                };
                let namespace = taken.namespace.map_or(row.namespace.clone(), str::to_string);
                let id = sink.spec(SpecRow { namespace, ..row.clone() });
                ids.insert(key, id);
                id
            }
        };
        let copied = |name: &str| match (name, taken.copy) {
            ("", _) | (_, 0) => name.to_string(),
            (_, copy) => format!("{name}-copy{copy}"),
        };
        let move_by = |t: Option<u64>| t.map(|t| signed(transform.time(t)));
        let pod = Pod {
            submit: signed(taken.at_ns),
            uid: copied(taken.uid),
            spec,
            app: copied(taken.app),
            task_group: taken.task_group.to_string(),
            min_member: taken.min_member,
            queue: taken.queue.to_string(),
            user: taken.user.to_string(),
            priority: taken.priority,
            run_ns: taken.run_ns,
            outcome: taken.outcome.map(|o| Outcome {
                created: move_by(o.created_ns),
                bound: move_by(o.bound_ns),
                running: move_by(o.running_ns),
                finished: move_by(o.finished_ns),
                node: o.node.clone(),
            }),
        };
        if let Some(held_ns) = taken.held_ns {
            let t = signed(taken.at_ns.saturating_add(held_ns));
            sink.event(t, EventOp::PodDelete, &pod.uid, "")?;
        }
        match taken.node {
            Some(node) if taken.placeholder => sink.bound_placeholder(&pod, node),
            Some(node) => sink.bound_pod(&pod, node),
            None => sink.pod(&pod),
        }
    })?;
    if left.outside > 0 {
        manifest.report.note(format!("{} pods lie outside of the window", thousands(left.outside)));
    }
    let settings = transform.describe();
    if !settings.is_empty() {
        manifest.report.note(format!("transformed with seed {seed}: {settings}"));
    }
    manifest.origin_unix_ns = match transform.time_ppm {
        None => manifest.origin_unix_ns.map(|t| t.saturating_add(signed(transform.from_ns))),
        Some(_) => None,
    };
    let source = manifest.source.clone();
    sink.keep_manifest(manifest);
    sink.finish(&source)
}

/// Imports and transforms: by way of a trace beside `out` that is removed again.
///
/// # Errors
/// See [`import()`](super::import()) and [`transform`].
pub fn import(
    format: &str,
    paths: &[PathBuf],
    settings: &Transform,
    seed: u64,
    out: &Path,
    options: &ImportOptions,
) -> Result<Manifest, TraceError> {
    let name = out.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let parent = parent_of(out);
    let io = |e| TraceError::io(out, e);
    std::fs::create_dir_all(parent).map_err(io)?;
    let folder = Temporary::folder(parent, &format!(".{name}.whole-")).map_err(io)?;
    let whole = folder.path().join("trace");
    super::import(format, paths, &whole, options)?;
    transform(&whole, settings, seed, out, options)
}

fn signed(t_ns: u64) -> i64 {
    i64::try_from(t_ns).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, yes) in [
            ("", "anything", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("ab*ba", "aba", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, text), yes, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_names_queue_and_namespace() {
        let rule = |from_user: &str, queue: &str, namespace: &str| Mapping {
            from_user: from_user.into(),
            queue: queue.into(),
            namespace: namespace.into(),
            ..Mapping::default()
        };
        let t = Transform {
            mapping: vec![rule("ann", "root.a", ""), rule("*", "root.users.{user}", "u-{user}")],
            ..Transform::default()
        };
        let spec = SpecRow::default();
        assert_eq!(t.names("ann", "q", &spec), (Some("root.a".into()), None));
        let (queue, namespace) = t.names("B.ob=", "q", &spec);
        assert_eq!(queue.as_deref(), Some("root.users.B_dot_ob_"));
        assert_eq!(namespace.as_deref(), Some("u-b-ob"));
    }

    #[test]
    fn gpu_models_become_resources() {
        let t = Transform {
            gpu_resources: vec![GpuResource { model: "V100*".into(), resource: "example.com/v100".into() }],
            ..Transform::default()
        };
        let spec = |models: &str| SpecRow {
            requests: [(GPU_MILLI.to_string(), 500)].into(),
            gpu_type: models.into(),
            affinity: super::super::import::openb::gpu_affinity(
                GPU_MODEL_LABEL,
                &models.split('|').collect::<Vec<_>>(),
            ),
            ..SpecRow::default()
        };
        let mut specs = [spec("V100M16|V100M32"), spec("V100M16|T4"), spec("T4")];
        let untouched = specs[2].clone();
        let mut notes = Vec::new();
        t.specs(&mut specs, &mut notes);
        assert_eq!(specs[0].requests, [("example.com/v100-milli".to_string(), 500)].into());
        assert!(specs[0].affinity.is_empty());
        assert!(specs[1].requests.contains_key(GPU_MILLI));
        assert_eq!(specs[2], untouched);
        assert_eq!(notes.len(), 1, "{notes:?}");
    }
}
