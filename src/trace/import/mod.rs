//! Importers: from the formats people have to native traces.
//!
//! One file a format, each with an essay on what the format says, in which units, what it cannot say, and where that
//! is documented. An importer streams its inputs into a [`Sink`]; the sink sorts by time (on disk if it must),
//! gathers equal pod specs, moves the origin, and writes the trace. What an importer drops or makes up it tells the
//! [`Report`], and nothing else is dropped or made up.
//!
//! A further format takes one file here and one line in [`importers`].

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use rustc_hash::{FxHashMap, FxHashSet};

use super::error::{Problem, TraceError};
use super::field_line::at_field;
use super::input::{self, MAX_LINE_BYTES, Table, TableSchema};
use super::model::{
    Compression, Encoding, EventOp, EventRow, Manifest, NodeOp, NodeRow, OutcomeRow, PodRow, Resources,
    SpecRow,
};
use super::native::{TraceWriter, WriteOptions};
use super::report::{Report, thousands};
use super::sort::{
    Sorter, Spill, get_i64, get_option, get_str, get_u64, put_i64, put_option, put_str, put_u64,
};
pub use super::source::InputFile;
use super::source::collect;

mod admission;
pub mod alibaba_2017;
pub mod alibaba_2018;
pub mod audit;
pub mod azure_packing;
pub mod azure_vmtable;
pub mod batsim;
pub mod controllers;
pub mod cron_jobs;
pub mod daemon_sets;
mod dag;
pub mod dlrm;
pub mod google_2011;
pub mod google_2019;
mod google_machines;
pub mod helios;
pub mod k8s_list;
pub mod k8s_watch;
pub mod kube_state_metrics;
pub mod kubernetes;
mod limit_range;
pub mod measured;
pub mod native_copy;
pub mod oar;
pub mod openb;
pub mod opendc;
pub mod philly;
mod pod_checks;
mod pod_fields;
mod priority_class;
mod runtime_class;
pub mod simkube;
pub mod swf;
mod task_groups;
mod templates;
pub mod wfcommons;
pub mod yunikorn_events;

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;
/// Nanoseconds in a microsecond.
pub const MICROSECOND: u64 = 1_000;
/// Nanoseconds in a day.
pub const DAY: u64 = 86_400 * SECOND;
/// Bytes in a MiB.
pub const MIB: u64 = 1 << 20;
/// Bytes in a GiB.
pub const GIB: u64 = 1 << 30;

/// What to do with a bad row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnError {
    /// Stop and say where.
    #[default]
    Fail,
    /// Leave it out and count it.
    Skip,
}

/// How a parallel job becomes pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Split {
    /// One pod, unless the trace itself says that the job has parts or no node could hold it whole.
    #[default]
    Auto,
    /// Always one pod.
    Job,
    /// One pod a processor (or instance), as a gang.
    Task,
}

impl Split {
    /// Pods of a job that asks for so many processors, where the largest node has `largest` (0: not known).
    fn pods(self, processors: u64, largest: u64) -> u64 {
        match self {
            Split::Task => processors,
            Split::Auto if largest > 0 && processors > largest => processors.div_ceil(largest),
            Split::Auto | Split::Job => 1,
        }
    }
}

/// What part `k` of `parts` gets of a total: as equal as integers allow, the first ones the rest.
fn share(total: u64, parts: u64, k: u64) -> u64 {
    total / parts + u64::from(k < total % parts)
}

/// What becomes of Kubernetes objects whose pods a controller makes, and that do not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controllers {
    /// A pod for each replica, at once: a trace holds pods.
    Expanded,
    /// They are left to their controllers, which make the pods in a run ([`controllers`]).
    Left,
    /// The same, but for those whose pods form a gang.
    LeftButGangs,
}

/// Options of an import.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// What to do with bad rows.
    pub on_error: OnError,
    /// Parquet or JSON Lines.
    pub encoding: Encoding,
    /// Compression of JSON Lines.
    pub compression: Compression,
    /// Replace a trace that is already there.
    pub overwrite: bool,
    /// Millicores of CPU 1.0 in formats that give shares of the largest machine.
    pub cpu_unit_millicores: u64,
    /// Bytes of memory 1.0 in formats that give shares of the largest machine.
    pub memory_unit_bytes: u64,
    /// How parallel jobs become pods.
    pub split: Split,
    /// Kubernetes objects are the state at time 0 and not a history.
    pub snapshot: bool,
    /// What becomes of Deployments and other objects that make pods.
    pub controllers: Controllers,
    /// Longest line read.
    pub max_line_bytes: usize,
    /// Memory for sorting, bytes.
    pub sort_memory_bytes: usize,
}

impl Default for ImportOptions {
    fn default() -> ImportOptions {
        ImportOptions {
            on_error: OnError::Fail,
            encoding: if cfg!(feature = "parquet") { Encoding::Parquet } else { Encoding::Jsonl },
            compression: Compression::None,
            overwrite: false,
            cpu_unit_millicores: 64_000,
            memory_unit_bytes: 256 * GIB,
            split: Split::Auto,
            snapshot: false,
            controllers: Controllers::Expanded,
            max_line_bytes: MAX_LINE_BYTES,
            sort_memory_bytes: 64 << 20,
        }
    }
}

/// Which time a source's zero is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Times count from the trace's beginning; the Unix time of it in ns, if known.
    Relative(Option<i64>),
    /// Times are Unix times: the origin becomes the earliest one.
    Unix,
    /// Times count from something unknown: the origin becomes the earliest one.
    Earliest,
}

/// What really happened to a pod, in the source's time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Created.
    pub created: Option<i64>,
    /// Bound.
    pub bound: Option<i64>,
    /// Containers started.
    pub running: Option<i64>,
    /// Finished or deleted.
    pub finished: Option<i64>,
    /// Node, or empty.
    pub node: String,
}

impl Outcome {
    /// Whether what is known happened in the order created, bound, running, finished.
    fn is_in_order(&self) -> bool {
        [self.created, self.bound, self.running, self.finished].iter().flatten().is_sorted()
    }

    fn put_in_order(&mut self) {
        let mut latest = None;
        for time in [&mut self.created, &mut self.bound, &mut self.running, &mut self.finished] {
            if time.is_some() {
                *time = (*time).max(latest);
                latest = *time;
            }
        }
    }
}

/// A pod as importers hand it over: in the source's time and order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// Creation in ns of the source's clock.
    pub submit: i64,
    /// Unique id.
    pub uid: String,
    /// From [`Sink::spec`].
    pub spec: u32,
    /// See [`PodRow::app`].
    pub app: String,
    /// See [`PodRow::task_group`].
    pub task_group: String,
    /// See [`PodRow::min_member`].
    pub min_member: u32,
    /// See [`PodRow::queue`].
    pub queue: String,
    /// See [`PodRow::user`].
    pub user: String,
    /// See [`PodRow::priority`].
    pub priority: i32,
    /// See [`PodRow::run_ns`].
    pub run_ns: Option<u64>,
    /// What happened to it.
    pub outcome: Option<Outcome>,
}

impl Spill for Pod {
    fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, u64::from(self.spec));
        put_str(out, &self.uid);
        put_str(out, &self.app);
        put_str(out, &self.task_group);
        put_u64(out, u64::from(self.min_member));
        put_str(out, &self.queue);
        put_str(out, &self.user);
        put_i64(out, i64::from(self.priority));
        put_option(out, self.run_ns.map(|n| n as i64));
        match &self.outcome {
            None => out.push(0),
            Some(o) => {
                out.push(1);
                put_option(out, o.created);
                put_option(out, o.bound);
                put_option(out, o.running);
                put_option(out, o.finished);
                put_str(out, &o.node);
            }
        }
    }

    fn decode(input: &mut &[u8]) -> Pod {
        let spec = get_u64(input) as u32;
        Pod {
            submit: 0,
            spec,
            uid: get_str(input),
            app: get_str(input),
            task_group: get_str(input),
            min_member: get_u64(input) as u32,
            queue: get_str(input),
            user: get_str(input),
            priority: get_i64(input) as i32,
            run_ns: get_option(input).map(|n| n as u64),
            outcome: (get_u64(input) == 1).then(|| Outcome {
                created: get_option(input),
                bound: get_option(input),
                running: get_option(input),
                finished: get_option(input),
                node: get_str(input),
            }),
        }
    }
}

/// A node row as importers hand it over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// What happens.
    pub op: NodeOp,
    /// Node name.
    pub name: String,
    /// Capacity for pods.
    pub allocatable: Resources,
    /// Labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Taints as JSON text.
    pub taints: String,
}

fn put_json<T: serde::Serialize>(out: &mut Vec<u8>, value: &T) {
    put_str(out, &serde_json::to_string(value).unwrap_or_default());
}

impl Spill for Node {
    fn encode(&self, out: &mut Vec<u8>) {
        put_str(out, self.op.as_str());
        put_str(out, &self.name);
        put_json(out, &self.allocatable);
        put_json(out, &self.labels);
        put_str(out, &self.taints);
    }

    fn decode(input: &mut &[u8]) -> Node {
        Node {
            op: NodeOp::parse(&get_str(input)).unwrap_or_default(),
            name: get_str(input),
            allocatable: serde_json::from_str(&get_str(input)).unwrap_or_default(),
            labels: serde_json::from_str(&get_str(input)).unwrap_or_default(),
            taints: get_str(input),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    op: EventOp,
    uid: String,
    node: String,
}

impl Spill for Event {
    fn encode(&self, out: &mut Vec<u8>) {
        put_str(out, self.op.as_str());
        put_str(out, &self.uid);
        put_str(out, &self.node);
    }

    fn decode(input: &mut &[u8]) -> Event {
        Event {
            op: EventOp::parse(&get_str(input)).unwrap_or_default(),
            uid: get_str(input),
            node: get_str(input),
        }
    }
}

/// The report's rule for times that several clocks put in another order than things happened in.
pub(crate) const CLOCKS_DIFFER: &str = "a time before the one that it follows becomes that: clocks differ";

/// The time of things that are there when the trace begins, whenever that is.
pub const AT_ORIGIN: i64 = i64::MIN;

/// Takes what an importer finds and writes the trace.
pub struct Sink {
    writer: TraceWriter,
    /// The report of this import.
    pub report: Report,
    /// The options given.
    pub options: ImportOptions,
    /// Which time the source's zero is; the importer sets it.
    pub origin: Origin,
    /// Source files read, for the manifest.
    pub source_files: Vec<String>,
    /// Whether a file was recognised as a table of the format, be it one that is not used.
    has_known_table: bool,
    pods: Sorter<Pod>,
    nodes: Sorter<Node>,
    events: Sorter<Event>,
    specs: Vec<SpecRow>,
    spec_ids: FxHashMap<SpecRow, u32>,
    uids: FxHashSet<u64>,
    earliest: i64,
    expanded: u64,
    pass_through: Option<Manifest>,
}

/// Pods that rows which stand for several may become, over one import: ten times what the largest known trace has.
pub const MAX_EXPANDED: u64 = 100_000_000;

impl Sink {
    /// Starts a trace at `out`.
    pub fn create(out: &Path, options: &ImportOptions) -> Result<Sink, TraceError> {
        let writer = TraceWriter::create(
            out,
            WriteOptions {
                encoding: options.encoding,
                compression: options.compression,
                overwrite: options.overwrite,
            },
        )?;
        let scratch = writer.scratch().to_path_buf();
        let budget = options.sort_memory_bytes;
        Ok(Sink {
            pods: Sorter::new(&scratch, "pods", budget),
            nodes: Sorter::new(&scratch, "nodes", budget / 4),
            events: Sorter::new(&scratch, "events", budget / 4),
            writer,
            report: Report::default(),
            options: options.clone(),
            origin: Origin::Relative(None),
            source_files: Vec::new(),
            has_known_table: false,
            specs: Vec::new(),
            spec_ids: FxHashMap::default(),
            uids: FxHashSet::default(),
            earliest: i64::MAX,
            expanded: 0,
            pass_through: None,
        })
    }

    /// The id of a spec, the same for equal ones. `spec.spec_id` is ignored.
    pub fn spec(&mut self, mut spec: SpecRow) -> u32 {
        spec.spec_id = 0;
        if let Some(&id) = self.spec_ids.get(&spec) {
            return id;
        }
        let id = self.specs.len() as u32;
        self.specs.push(spec.clone());
        self.spec_ids.insert(spec, id);
        id
    }

    /// The spec with this id.
    pub fn spec_row(&self, id: u32) -> &SpecRow {
        &self.specs[id as usize]
    }

    /// Whether this id has not been seen before (told by a 64-bit hash: 8 bytes a pod, not its text).
    pub fn first_seen(&mut self, uid: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        uid.hash(&mut hasher);
        self.uids.insert(hasher.finish())
    }

    /// Adds a pod. Its uid must be unique; importers that cannot know ask [`Sink::first_seen`].
    pub fn pod(&mut self, pod: &Pod) -> Result<(), TraceError> {
        self.earliest = self.earliest.min(pod.submit);
        if pod.outcome.as_ref().is_none_or(Outcome::is_in_order) {
            return self.pods.push(pod.submit, pod);
        }
        self.report.invent("outcomes", CLOCKS_DIFFER);
        let mut pod = pod.clone();
        pod.outcome.iter_mut().for_each(Outcome::put_in_order);
        self.pods.push(pod.submit, &pod)
    }

    /// Adds a pod that already sits on `node` when the trace begins.
    pub fn bound_pod(&mut self, pod: &Pod, node: &str) -> Result<(), TraceError> {
        self.event(AT_ORIGIN, EventOp::PodBound, &pod.uid, node)?;
        self.pod(pod)
    }

    /// Adds a gang's placeholder that sits on `node` when the trace begins.
    pub fn bound_placeholder(&mut self, pod: &Pod, node: &str) -> Result<(), TraceError> {
        self.event(AT_ORIGIN, EventOp::PlaceholderBound, &pod.uid, node)?;
        self.pod(pod)
    }

    /// Adds a node row.
    pub fn node(&mut self, t: i64, node: &Node) -> Result<(), TraceError> {
        if t != AT_ORIGIN {
            self.earliest = self.earliest.min(t);
        }
        self.nodes.push(t, node)
    }

    /// The recording begins at `t` at the latest, whether or not anything is created then.
    pub fn begins_at(&mut self, t: i64) {
        self.earliest = self.earliest.min(t);
    }

    /// Adds a node that joined at `t`; if that was before everything else, it is there at the origin.
    pub fn node_since(&mut self, t: i64, node: &Node) -> Result<(), TraceError> {
        self.nodes.push(t, node)
    }

    /// Adds an event.
    pub fn event(&mut self, t: i64, op: EventOp, uid: &str, node: &str) -> Result<(), TraceError> {
        let event = Event { op, uid: uid.to_string(), node: node.to_string() };
        self.events.push(t, &event)
    }

    /// A bad row that was counted as read: an error that ends the import, or a counted drop.
    pub fn bad(&mut self, table: &str, error: TraceError) -> Result<(), TraceError> {
        match (&error, self.options.on_error) {
            (TraceError::Row(row), OnError::Skip) => {
                self.report.drop_row(table, row.problem.name(), || row.to_string());
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// A file, or the rest of one, that can't be read: it counts as one row that was read.
    pub fn bad_file(&mut self, table: &str, error: TraceError) -> Result<(), TraceError> {
        self.report.table(table).read += 1;
        self.bad(table, error)
    }

    /// A row that was kept turns out bad: an error that ends the import, or a counted drop.
    pub fn bad_kept(&mut self, table: &str, error: TraceError) -> Result<(), TraceError> {
        self.bad(table, error)?;
        let counts = self.report.table(table);
        counts.kept = counts.kept.saturating_sub(1);
        Ok(())
    }

    /// A row that was kept turns out not to be used.
    pub fn drop_kept(&mut self, table: &str, reason: &str, first: impl FnOnce() -> String) {
        self.report.drop_row(table, reason, first);
        let counts = self.report.table(table);
        counts.kept = counts.kept.saturating_sub(1);
    }

    /// Opens a table of a file and counts the file.
    pub fn open_table(
        &mut self,
        file: &InputFile,
        schema: &'static TableSchema,
    ) -> Result<Table, TraceError> {
        self.begin_file(file, schema.name);
        Table::open(file, schema, self.options.max_line_bytes)
    }

    /// Counts a file of a table.
    pub fn begin_file(&mut self, file: &InputFile, table: &str) {
        self.source_files.push(file.file_name());
        self.report.table(table).files += 1;
    }

    /// Reads all rows of a delimited file: counts them, and drops bad ones when told to. `row` says whether the row
    /// was kept (if not, it has counted the reason itself).
    pub fn each_row(
        &mut self,
        file: &InputFile,
        schema: &'static TableSchema,
        mut row: impl FnMut(&mut Sink, &Table) -> Result<bool, TraceError>,
    ) -> Result<(), TraceError> {
        let mut table = match self.open_table(file, schema) {
            Ok(table) => table,
            Err(e) => return self.bad_file(schema.name, e),
        };
        let (mut read, mut kept) = (0u64, 0u64);
        loop {
            match table.advance() {
                Ok(true) => {
                    read += 1;
                    match row(self, &table) {
                        Ok(true) => kept += 1,
                        Ok(false) => {}
                        Err(e) => self.bad(schema.name, e)?,
                    }
                }
                Ok(false) => break,
                Err(e) => {
                    read += 1;
                    self.bad(schema.name, e)?;
                }
            }
        }
        let counts = self.report.table(schema.name);
        counts.read += read;
        counts.kept += kept;
        Ok(())
    }

    /// Asks to make `n` pods of one row. A file may ask for [`MAX_EXPANDED`] in all, so that a slip (or malice) in a count
    /// is told at once; the answer is what to expect instead.
    pub fn expand(&mut self, n: u64) -> Result<(), String> {
        if n > MAX_EXPANDED - self.expanded {
            let left = thousands(MAX_EXPANDED - self.expanded);
            return Err(format!(
                "counts that make at most {left} further pods; split the input, or use split=job"
            ));
        }
        self.expanded += n;
        Ok(())
    }

    /// Writes a job whose pods start together: `pod`, or several like it in one task group, named after its application.
    /// `spec(k)` is what pod `k` asks for, `delete_at` when they are deleted.
    ///
    /// # Errors
    /// As [`Sink::pod`] and [`Sink::event`].
    fn rigid_job(
        &mut self,
        mut pod: Pod,
        pods: u64,
        delete_at: Option<i64>,
        spec: impl Fn(u64) -> SpecRow,
    ) -> Result<(), TraceError> {
        if pods > 1 {
            pod.task_group = "job".to_string();
            pod.min_member = u32::try_from(pods).unwrap_or(u32::MAX);
        }
        for k in 0..pods {
            pod.spec = self.spec(spec(k));
            pod.uid = if pods == 1 { pod.app.clone() } else { format!("{}-{k}", pod.app) };
            if let Some(at) = delete_at {
                self.event(at, EventOp::PodDelete, &pod.uid, "")?;
            }
            self.pod(&pod)?;
        }
        Ok(())
    }

    /// Where importers may keep temporary files; it is removed with the unfinished trace.
    pub fn scratch(&self) -> PathBuf {
        self.writer.scratch().to_path_buf()
    }

    /// Pods so far.
    pub fn pod_count(&self) -> u64 {
        self.pods.len()
    }

    /// Node rows so far.
    pub fn node_count(&self) -> u64 {
        self.nodes.len()
    }

    /// A native trace that is copied keeps its manifest's source, origin and report.
    pub fn keep_manifest(&mut self, manifest: Manifest) {
        self.pass_through = Some(manifest);
    }

    /// Sorts, numbers and writes everything.
    pub fn finish(mut self, source: &str) -> Result<Manifest, TraceError> {
        debug_assert!(self.report.is_balanced(), "rows read = kept + dropped: {}", self.report);
        let (zero, origin_unix_ns) = match self.origin {
            Origin::Relative(unix) => (0, unix),
            // Only nodes: all of them are there at the origin.
            _ if self.earliest == i64::MAX => (i64::MAX, None),
            Origin::Unix => (self.earliest, Some(self.earliest)),
            Origin::Earliest => (self.earliest, None),
        };
        let since = |t: i64| -> u64 {
            if t == AT_ORIGIN { 0 } else { u64::try_from(t.saturating_sub(zero)).unwrap_or(0) }
        };
        let mut last_ns = 0;
        let mut names = BTreeSet::new();
        let mut nodes = self.nodes.finish()?;
        let mut seq = 0;
        while let Some((t, n)) = nodes.next_row()? {
            last_ns = last_ns.max(since(t));
            if !names.contains(&n.name) {
                names.insert(n.name.clone());
            }
            self.writer.node(&NodeRow {
                t_ns: since(t),
                seq,
                op: n.op,
                name: n.name,
                allocatable: n.allocatable,
                labels: n.labels,
                taints: n.taints,
            })?;
            seq += 1;
        }
        let mut events = self.events.finish()?;
        let mut seq = 0;
        while let Some((t, e)) = events.next_row()? {
            self.writer.event(&EventRow { t_ns: since(t), seq, op: e.op, uid: e.uid, node: e.node })?;
            seq += 1;
        }
        const UNUSED: u32 = u32::MAX;
        let mut renumbered = vec![UNUSED; self.specs.len()];
        let mut used = 0;
        let mut pods = self.pods.finish()?;
        let mut seq = 0;
        while let Some((t, p)) = pods.next_row()? {
            let slot = &mut renumbered[p.spec as usize];
            if *slot == UNUSED {
                *slot = used;
                let spec = SpecRow { spec_id: used, ..self.specs[p.spec as usize].clone() };
                self.writer.spec(&spec)?;
                used += 1;
            }
            last_ns = last_ns.max(since(t));
            if let Some(o) = p.outcome {
                self.writer.outcome(&OutcomeRow {
                    uid: p.uid.clone(),
                    created_ns: o.created.map(since),
                    bound_ns: o.bound.map(since),
                    running_ns: o.running.map(since),
                    finished_ns: o.finished.map(since),
                    node: o.node,
                })?;
            }
            self.writer.pod(&PodRow {
                submit_ns: since(t),
                seq,
                uid: p.uid,
                spec_id: *slot,
                app: p.app,
                task_group: p.task_group,
                min_member: p.min_member,
                queue: p.queue,
                user: p.user,
                priority: p.priority,
                run_ns: p.run_ns,
            })?;
            seq += 1;
        }
        drop((nodes, events, pods));
        let mut manifest = match self.pass_through {
            Some(manifest) => manifest,
            None => Manifest {
                source: source.to_string(),
                source_files: self.source_files,
                origin_unix_ns,
                report: self.report,
                ..Manifest::default()
            },
        };
        manifest.last_ns = last_ns;
        manifest.counts.nodes = names.len() as u64;
        self.writer.finish(manifest)
    }
}

/// Reads one format.
pub trait Importer: Sync {
    /// Name on the command line.
    fn name(&self) -> &'static str;
    /// One line on what it is.
    fn summary(&self) -> &'static str;
    /// Real files it was tested on, or that there were none.
    fn tested_on(&self) -> &'static str;
    /// Reads the files into the sink.
    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError>;
}

/// All formats, in the order of the documentation.
pub fn importers() -> &'static [&'static dyn Importer] {
    &[
        &native_copy::Native,
        &k8s_list::K8sList,
        &k8s_watch::K8sWatch,
        &k8s_watch::KwokSnapshot,
        &audit::Audit,
        &yunikorn_events::YuniKornEvents,
        &kube_state_metrics::KubeStateMetrics,
        &simkube::SimKube,
        &openb::OpenB,
        &alibaba_2017::Alibaba2017,
        &alibaba_2018::Alibaba2018,
        &dlrm::Dlrm,
        &google_2011::Google2011,
        &google_2019::Google2019,
        &azure_packing::AzurePacking,
        &azure_vmtable::AzureVmtable,
        &swf::Swf,
        &batsim::Batsim,
        &oar::Oar,
        &philly::Philly,
        &helios::Helios,
        &wfcommons::WfCommons,
        &opendc::OpenDc,
        &measured::Measured,
    ]
}

/// Imports files or folders of a format into a native trace at `out`.
///
/// # Errors
/// [`TraceError::Usage`] for an unknown format, unusable inputs or a target that exists; [`TraceError::Row`] for the
/// first bad row unless [`OnError::Skip`]; nothing is left at `out` then.
pub fn import(
    format: &str,
    paths: &[PathBuf],
    out: &Path,
    options: &ImportOptions,
) -> Result<Manifest, TraceError> {
    let Some(importer) = importers().iter().find(|i| i.name() == format) else {
        let names: Vec<&str> = importers().iter().map(|i| i.name()).collect();
        let meant = crate::measure::nearest(format, names.iter().copied())
            .map_or_else(String::new, |name| format!(" did you mean `{name}`?"));
        return Err(TraceError::Usage(format!(
            "there is no trace format `{format}`;{meant} there is: {}; `podpace trace formats` says more of each",
            names.join(", ")
        )));
    };
    let files = if format == "native" { native_copy::folders(paths)? } else { collect(paths)? };
    let mut sink = Sink::create(out, options)?;
    // Of what Kubernetes writes, objects are many lines long.
    importer.import(&files, &mut sink).map_err(|e| match format {
        "k8s-list" => at_field(&files, e),
        _ => e,
    })?;
    if sink.pod_count() == 0 && sink.node_count() == 0 {
        // Rows that were all dropped are told by the report, with their reasons; so are tables that say nothing of pods and nodes.
        if sink.report.read() == 0 && !sink.has_known_table {
            let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            let missing: String =
                sink.report.absent.iter().map(|(table, what)| format!("; {table}: {what}")).collect();
            return Err(TraceError::Usage(format!(
                "{}: nothing of format {format} was found{missing}; check the path, or name another format \
                 (`podpace trace formats` says what files each has)",
                paths.join(", ")
            )));
        }
        sink.report.note("nothing was imported: no pods and no nodes");
    }
    sink.finish(importer.name())
}

/// Tells which table each file is: by name, then by header, then by number of columns. Files that are none are noted
/// when they came from a folder and refused when the user named them.
pub(crate) fn classify<'a>(
    files: &'a [InputFile],
    schemas: &[&'static TableSchema],
    sink: &mut Sink,
) -> Result<Vec<(usize, &'a InputFile)>, TraceError> {
    let mut found = Vec::new();
    for file in files {
        match table_of(file, schemas, sink)? {
            Some(i) => {
                sink.has_known_table = true;
                found.push((i, file));
            }
            None if file.explicit => {
                let names: Vec<&str> = schemas.iter().map(|s| s.name).collect();
                return Err(TraceError::Usage(format!(
                    "{}: not a table of this format; expected one of {} (told by file name, header or number of columns)",
                    file.display(),
                    names.join(", ")
                )));
            }
            None => sink.report.ignored_files.push(format!("{} (no table of this format)", file.file_name())),
        }
    }
    Ok(found)
}

fn table_of(
    file: &InputFile,
    schemas: &[&'static TableSchema],
    sink: &mut Sink,
) -> Result<Option<usize>, TraceError> {
    let by_name = |name: &str| schemas.iter().position(|s| s.hints.iter().any(|h| name.contains(h)));
    let named = by_name(&file.file_name().to_lowercase()).or_else(|| by_name(&file.hint()));
    /// Rows that are looked at to tell tables of the same width apart.
    const LOOKED_AT: usize = 50;
    let mut lines = input::Lines::open(file, sink.options.max_line_bytes)?;
    let first = loop {
        match lines.next_line() {
            Ok(Some(line)) if line.trim().is_empty() || line.starts_with('#') => {}
            Ok(Some(line)) => break line.to_string(),
            Ok(None) => {
                // Empty: by name only, so that the error can say which table it should have been.
                return Ok(named.or(if file.explicit { Some(0) } else { None }));
            }
            Err(e) if matches!(e.problem(), Some(Problem::Truncated | Problem::Corrupt | Problem::Bomb)) => {
                return Ok(named.or(Some(0)));
            }
            Err(_) => break String::new(),
        }
    };
    if let Some(i) = schemas.iter().position(|s| s.is_header(&first)) {
        // Two tables can share columns: the one with more of its columns in the header is meant.
        let best = schemas
            .iter()
            .enumerate()
            .filter(|(_, s)| s.is_header(&first))
            .max_by_key(|(j, s)| {
                (s.columns.iter().filter(|c| header_has(&first, s, c.name)).count(), usize::MAX - j)
            })
            .map_or(i, |(j, _)| j);
        return Ok(Some(best));
    }
    if named.is_some() {
        return Ok(named);
    }
    let mut fitting: Vec<u64> = schemas.iter().map(|s| u64::from(s.could_have(&first))).collect();
    for _ in 1..LOOKED_AT {
        match lines.next_line() {
            Ok(Some(line)) => {
                for (count, schema) in fitting.iter_mut().zip(schemas) {
                    *count += u64::from(schema.could_have(line));
                }
            }
            _ => break,
        }
    }
    // The table that most rows could belong to; of equal ones the first.
    let best = (0..schemas.len()).max_by_key(|&i| (fitting[i], std::cmp::Reverse(i)));
    Ok(best.filter(|&i| fitting[i] > 0))
}

fn header_has(line: &str, schema: &TableSchema, name: &str) -> bool {
    input::fields(line, schema.delimiter).iter().any(|f| name.split('|').any(|n| input::same_name(n, f)))
}
