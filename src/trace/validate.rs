//! Checks of a native trace, with coded findings.
//!
//! `E` codes are errors: the trace cannot be replayed as it stands. `W` codes are warnings: it can, but the result may
//! not mean what one thinks. Every code is in [`CODES`] and described in `docs/traces.md`. A finding counts its rows
//! and names the first. One pass over each table; memory O(pods) hashes of 8 bytes for uids, O(nodes), O(gangs).

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use rustc_hash::{FxHashMap, FxHashSet};
use schemars::JsonSchema;
use serde::Serialize;

use super::error::TraceError;
use super::model::{CPU, Counts, EventOp, Gang, HostPort, MEMORY, NodeOp, NodeRow, Resources, SpecRow};
use super::native::{self, PodBatch, TraceReader};
use super::report::thousands;

/// Every finding: code and what it says.
pub const CODES: &[(&str, &str)] = &[
    ("E001", "a table cannot be read"),
    ("E002", "pods are not in order of (submit_ns, seq)"),
    ("E003", "seq does not count 0, 1, 2, .."),
    ("E004", "a uid is not unique"),
    ("E005", "a pod's spec_id is not a row of specs"),
    ("E006", "trace.json counts other rows than the tables have"),
    ("E007", "a node is added twice, or updated or removed before it is added"),
    ("E008", "an event names a pod that is not in the trace"),
    ("E009", "an outcome belongs to no pod, or outcomes are not in the order of pods"),
    ("E010", "an outcome's times are not in the order created, bound, running, finished"),
    ("E011", "a gang without an application: min_member needs app and task_group"),
    ("E012", "a JSON text (tolerations, affinity, topology_spread, taints, host_ports, gang) is not JSON"),
    ("E013", "node rows or events are not in order of (t_ns, seq)"),
    ("W001", "the trace has no nodes"),
    ("W002", "pods ask for more than any node has"),
    ("W003", "specs that no pod uses"),
    ("W004", "pods without a run time run to the end"),
    ("W005", "gangs with fewer pods in the trace than min_member"),
    ("W006", "all pods are created at the same time"),
    ("W007", "pods ask for neither CPU nor memory"),
    ("W008", "pods select nodes by a label that no node has"),
    ("W009", "rows of the source were dropped at import"),
    ("W010", "outcomes are recorded for some pods only"),
    ("W011", "pods sit on nodes that are not in the trace"),
];

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// `E001`.. or `W001`..
    pub code: String,
    /// What it says.
    pub message: String,
    /// In how many rows.
    pub count: u64,
    /// The first of them.
    pub first: String,
}

/// The findings of a trace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Findings {
    /// In order of code.
    pub findings: Vec<Finding>,
    /// Rows checked.
    pub counts: Counts,
}

impl Findings {
    /// Whether any finding is an error.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|f| f.code.starts_with('E'))
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for x in &self.findings {
            writeln!(f, "{}  {} x {} (first: {})", x.code, thousands(x.count), x.message, x.first)?;
        }
        let errors = self.findings.iter().filter(|x| x.code.starts_with('E')).count();
        writeln!(
            f,
            "{} pods, {} specs, {} nodes checked: {errors} errors, {} warnings",
            thousands(self.counts.pods),
            thousands(self.counts.specs),
            thousands(self.counts.nodes),
            self.findings.len() - errors
        )
    }
}

#[derive(Default)]
struct Collector {
    by_code: BTreeMap<&'static str, Finding>,
}

impl Collector {
    fn add(&mut self, code: &'static str, first: impl FnOnce() -> String) {
        self.add_n(code, 1, first);
    }

    fn add_n(&mut self, code: &'static str, n: u64, first: impl FnOnce() -> String) {
        if n == 0 {
            return;
        }
        if let Some(f) = self.by_code.get_mut(code) {
            f.count += n;
            return;
        }
        let message = CODES.iter().find(|c| c.0 == code).map_or("", |c| c.1).to_string();
        self.by_code.insert(code, Finding { code: code.to_string(), message, count: n, first: first() });
    }
}

fn hash(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Checks a native trace.
///
/// # Errors
/// Only when the folder is no trace at all; what is wrong inside becomes findings.
pub fn validate(path: &Path) -> Result<Findings, TraceError> {
    let reader = native::open(path)?;
    let mut c = Collector::default();
    let mut counts = Counts::default();
    let specs = match reader.specs() {
        Ok(s) => s,
        Err(e) => {
            c.add("E001", || e.to_string());
            Vec::new()
        }
    };
    counts.specs = specs.len() as u64;
    check_specs(&mut c, &specs);
    let nodes = check_nodes(&mut c, &reader, &mut counts);
    let uids = check_pods(&mut c, &reader, &specs, &nodes, &mut counts);
    check_events(&mut c, &reader, &uids, &nodes, &mut counts);
    if let Err(e) = check_outcomes(&mut c, &reader, &mut counts) {
        c.add("E001", || e.to_string());
    }
    let m = reader.manifest();
    if path.join("trace.json").exists() && !c.by_code.contains_key("E001") {
        let want = &m.counts;
        let pairs = [
            ("pods", want.pods, counts.pods),
            ("specs", want.specs, counts.specs),
            ("nodes rows", want.node_rows, counts.node_rows),
            ("events", want.events, counts.events),
            ("outcomes", want.outcomes, counts.outcomes),
        ];
        for (name, said, found) in pairs {
            if said != found {
                c.add("E006", || format!("trace.json says {said} {name}, the table has {found}"));
            }
        }
    }
    c.add_n("W009", m.report.dropped(), || {
        m.report
            .tables
            .iter()
            .flat_map(|(t, r)| {
                r.dropped.iter().map(move |(reason, d)| format!("{} {t} rows: {reason}", d.count))
            })
            .next()
            .unwrap_or_default()
    });
    Ok(Findings { findings: c.by_code.into_values().collect(), counts })
}

fn check_json(c: &mut Collector, text: &str, what: impl FnOnce() -> String) {
    if !text.is_empty() && serde_json::from_str::<serde_json::Value>(text).is_err() {
        c.add("E012", what);
    }
}

fn check_specs(c: &mut Collector, specs: &[SpecRow]) {
    for s in specs {
        for (name, text) in [
            ("tolerations", &s.tolerations),
            ("affinity", &s.affinity),
            ("topology_spread", &s.topology_spread),
        ] {
            check_json(c, text, || format!("{name} of spec {}", s.spec_id));
        }
        let ports_fit =
            s.host_ports.is_empty() || serde_json::from_str::<Vec<HostPort>>(&s.host_ports).is_ok();
        let gang_fits = s.gang.is_empty() || serde_json::from_str::<Gang>(&s.gang).is_ok();
        for (name, fits) in [("host_ports", ports_fit), ("gang", gang_fits)] {
            if !fits {
                c.add("E012", || format!("{name} of spec {}", s.spec_id));
            }
        }
    }
}

#[derive(Default)]
struct Nodes {
    names: FxHashSet<String>,
    /// Highest capacities seen, as distinct allocatables.
    shapes: Vec<Resources>,
    labels: FxHashSet<(String, String)>,
}

fn check_nodes(c: &mut Collector, reader: &TraceReader, counts: &mut Counts) -> Nodes {
    let mut nodes = Nodes::default();
    let mut alive: FxHashSet<String> = FxHashSet::default();
    let mut last = (0, 0);
    let rows = match reader.nodes() {
        Ok(rows) => rows,
        Err(e) => {
            c.add("E001", || e.to_string());
            return nodes;
        }
    };
    for row in rows {
        let n: NodeRow = match row {
            Ok(n) => n,
            Err(e) => {
                c.add("E001", || e.to_string());
                break;
            }
        };
        if counts.node_rows > 0 && (n.t_ns, n.seq) <= last {
            c.add("E013", || format!("node {} at {} ns", n.name, n.t_ns));
        }
        last = (n.t_ns, n.seq);
        counts.node_rows += 1;
        let known = alive.contains(&n.name);
        if (n.op == NodeOp::Add) == known {
            c.add("E007", || format!("{} of node {} at {} ns", n.op.as_str(), n.name, n.t_ns));
        }
        if n.op == NodeOp::Remove {
            alive.remove(&n.name);
        } else {
            alive.insert(n.name.clone());
            if !nodes.shapes.contains(&n.allocatable) && nodes.shapes.len() < 10_000 {
                nodes.shapes.push(n.allocatable.clone());
            }
            for (k, v) in &n.labels {
                nodes.labels.insert((k.clone(), v.clone()));
            }
        }
        check_json(c, &n.taints, || format!("taints of node {}", n.name));
        nodes.names.insert(n.name);
    }
    counts.nodes = nodes.names.len() as u64;
    if counts.node_rows == 0 {
        c.add("W001", || "give the scenario a cluster".to_string());
    }
    nodes
}

fn check_pods(
    c: &mut Collector,
    reader: &TraceReader,
    specs: &[SpecRow],
    nodes: &Nodes,
    counts: &mut Counts,
) -> FxHashSet<u64> {
    let mut uids = FxHashSet::default();
    let mut uses = vec![0u64; specs.len()];
    let mut gangs: FxHashMap<(u64, u64), (u32, u32)> = FxHashMap::default();
    let mut gang_names: BTreeMap<(u64, u64), String> = BTreeMap::new();
    let mut batch = PodBatch::default();
    let (mut last, mut first_time, mut same_time) = (0, None, true);
    let mut unknown = (0, String::new());
    let mut pods = match reader.pods() {
        Ok(p) => p,
        Err(e) => {
            c.add("E001", || e.to_string());
            return uids;
        }
    };
    loop {
        match pods.next_batch(&mut batch) {
            Ok(true) => {}
            Ok(false) => break,
            Err(e) => {
                c.add("E001", || e.to_string());
                break;
            }
        }
        for i in 0..batch.len() {
            let (t, seq) = (batch.submit_ns[i], batch.seq[i]);
            let name = || format!("pod {} (row {})", batch.uid.get(i), counts.pods + i as u64 + 1);
            if t < last {
                c.add("E002", name);
            }
            last = t;
            same_time &= *first_time.get_or_insert(t) == t;
            if seq != counts.pods + i as u64 {
                c.add("E003", name);
            }
            if !uids.insert(hash(batch.uid.get(i))) {
                c.add("E004", name);
            }
            match uses.get_mut(batch.spec_id[i] as usize) {
                Some(n) => *n += 1,
                None => c.add("E005", || format!("spec {} of {}", batch.spec_id[i], name())),
            }
            if batch.run_ns[i].is_none() {
                unknown.0 += 1;
                if unknown.1.is_empty() {
                    unknown.1 = name();
                }
            }
            if batch.min_member[i] > 0 {
                if batch.app.get(i).is_empty() || batch.task_group.get(i).is_empty() {
                    c.add("E011", name);
                } else {
                    let key = (hash(batch.app.get(i)), hash(batch.task_group.get(i)));
                    let gang = gangs.entry(key).or_insert_with(|| {
                        gang_names.insert(key, format!("{} {}", batch.app.get(i), batch.task_group.get(i)));
                        (0, 0)
                    });
                    gang.0 = gang.0.max(batch.min_member[i]);
                    gang.1 += 1;
                }
            }
        }
        counts.pods += batch.len() as u64;
    }
    c.add_n("W004", unknown.0, || unknown.1);
    if same_time && counts.pods > 1 {
        c.add_n("W006", counts.pods, || format!("{} ns", first_time.unwrap_or(0)));
    }
    for (key, name) in &gang_names {
        if let Some((need, have)) = gangs.get(key)
            && have < need
        {
            c.add("W005", || format!("{name}: {have} of {need}"));
        }
    }
    for (s, &n) in specs.iter().zip(&uses) {
        let name = || format!("spec {}", s.spec_id);
        if n == 0 {
            c.add("W003", name);
            continue;
        }
        let fits = |shape: &Resources| {
            s.requests.iter().all(|(k, v)| *v == 0 || shape.get(k).is_some_and(|have| v <= have))
        };
        if !nodes.shapes.is_empty() && !nodes.shapes.iter().any(fits) {
            c.add_n("W002", n, || format!("{}: {:?}", name(), s.requests));
        }
        if s.requests.get(CPU).copied().unwrap_or(0) == 0 && s.requests.get(MEMORY).copied().unwrap_or(0) == 0
        {
            c.add_n("W007", n, name);
        }
        if !nodes.names.is_empty()
            && let Some(pair) =
                s.node_selector.iter().find(|(k, v)| !nodes.labels.contains(&((*k).clone(), (*v).clone())))
        {
            c.add_n("W008", n, || format!("{}: {}={}", name(), pair.0, pair.1));
        }
    }
    uids
}

fn check_events(
    c: &mut Collector,
    reader: &TraceReader,
    uids: &FxHashSet<u64>,
    nodes: &Nodes,
    counts: &mut Counts,
) {
    let mut last = (0, 0);
    let rows = match reader.events() {
        Ok(rows) => rows,
        Err(e) => return c.add("E001", || e.to_string()),
    };
    for row in rows {
        let e = match row {
            Ok(e) => e,
            Err(e) => return c.add("E001", || e.to_string()),
        };
        if counts.events > 0 && (e.t_ns, e.seq) <= last {
            c.add("E013", || format!("event of pod {} at {} ns", e.uid, e.t_ns));
        }
        last = (e.t_ns, e.seq);
        counts.events += 1;
        if !uids.contains(&hash(&e.uid)) {
            c.add("E008", || format!("{} of pod {}", e.op.as_str(), e.uid));
        }
        if e.op != EventOp::PodDelete && !nodes.names.contains(&e.node) {
            c.add("W011", || format!("pod {} on node {:?}", e.uid, e.node));
        }
    }
}

fn check_outcomes(c: &mut Collector, reader: &TraceReader, counts: &mut Counts) -> Result<(), TraceError> {
    let mut outcomes = reader.outcomes()?;
    let mut next = outcomes.next().transpose()?;
    if next.is_none() {
        return Ok(());
    }
    let mut pods = reader.pods()?;
    let mut batch = PodBatch::default();
    while pods.next_batch(&mut batch)? {
        for i in 0..batch.len() {
            let Some(o) = next.as_ref().filter(|o| o.uid == batch.uid.get(i)) else { continue };
            let times = [o.created_ns, o.bound_ns, o.running_ns, o.finished_ns];
            if !times.iter().flatten().is_sorted() {
                c.add("E010", || format!("pod {}", o.uid));
            }
            counts.outcomes += 1;
            next = outcomes.next().transpose()?;
        }
    }
    if let Some(o) = next {
        c.add("E009", || format!("pod {}", o.uid));
        counts.outcomes += 1;
        for o in outcomes {
            o?;
            counts.outcomes += 1;
            c.add("E009", String::new);
        }
    }
    let missing = counts.pods.saturating_sub(counts.outcomes);
    c.add_n("W010", missing, || format!("{} of {} pods have one", counts.outcomes, counts.pods));
    Ok(())
}
