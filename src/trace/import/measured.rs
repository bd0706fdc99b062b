//! Measured runs of a real control plane: `NAME.json` (conditions) beside `NAME.pods.csv.gz` (one row a pod).
//!
//! **Table.** pod, app, create_sent_us, create_acked_us, created_seen_us, bound_seen_us, running_seen_us, deleted_seen_us, node,
//! hold_ms; times in microseconds since the scheduler was there, negative before; empty: has not happened. Pods are
//! created when the request was sent; a pod that is held runs for `hold_ms`.
//!
//! **Conditions** that are read: nodes (each 32 CPUs, 256 GiB, 110 pods, in zone `i mod 8`), cpu_request and mem_request,
//! hetero (mixed requests by a formula of the load generator), too_big_every (64 CPUs), constraint (antiaffinity or
//! prefantiaffinity by host, spread over zones). Settings of the control plane are for a scenario to say, or for
//! `podpace validate`, which predicts such runs from their conditions.
//!
//! **Outcomes** are what a watch saw of creation, binding, start and deletion.
//!
//! Without its JSON file a table has pods without requests and no nodes.
//!
//! Source: the files' own README.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{
    AT_ORIGIN, GIB, Importer, InputFile, MIB, MICROSECOND, Node, Origin, Outcome, Pod, Sink, TraceError,
};
use crate::trace::error::Problem;
use crate::trace::input::{Table, TableSchema, may, must};
use crate::trace::model::{CPU, EventOp, MEMORY, NodeOp, PODS, Resources, SpecRow};
use crate::trace::number;

/// The importer.
pub struct Measured;

static ROWS: TableSchema = TableSchema {
    name: "pods",
    hints: &[".pods.csv"],
    columns: &[
        must("pod"),
        may("app"),
        must("create_sent_us"),
        may("created_seen_us"),
        may("bound_seen_us"),
        may("running_seen_us"),
        may("deleted_seen_us"),
        may("node"),
        may("hold_ms"),
    ],
    widths: &[],
    looks: &[],
    delimiter: b',',
};

const MILLISECOND: u64 = 1_000_000;
const ZONES: u64 = 8;

impl Importer for Measured {
    fn name(&self) -> &'static str {
        "measured"
    }

    fn summary(&self) -> &'static str {
        "measured runs of a control plane: NAME.json beside NAME.pods.csv.gz"
    }

    fn tested_on(&self) -> &'static str {
        "runs of kube-scheduler 1.36 and YuniKorn"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        let stem = |path: &Path| -> Option<(PathBuf, bool)> {
            let name = path.file_name()?.to_string_lossy().into_owned();
            [".pods.csv.gz", ".pods.csv.zst", ".pods.csv", ".json"].iter().find_map(|end| {
                name.strip_suffix(end).map(|stem| (path.with_file_name(stem), *end != ".json"))
            })
        };
        let mut runs: Vec<PathBuf> =
            files.iter().filter_map(|f| stem(&f.path)).map(|(stem, _)| stem).collect();
        runs.sort();
        runs.dedup();
        let [run] = &runs[..] else {
            return Err(TraceError::Usage(format!(
                "measured: one run at a time, found {}; name a NAME.pods.csv.gz or NAME.json",
                runs.len()
            )));
        };
        let beside = |end: &str| {
            run.with_file_name(format!("{}{end}", run.file_name().unwrap_or_default().to_string_lossy()))
        };
        let table = files
            .iter()
            .find(|f| stem(&f.path).is_some_and(|(_, is_table)| is_table))
            .map(|f| f.path.clone())
            .or_else(|| [".pods.csv.gz", ".pods.csv"].map(beside).into_iter().find(|p| p.exists()));
        let Some(table) = table else {
            return Err(TraceError::Usage(format!(
                "measured: {} is not there",
                beside(".pods.csv.gz").display()
            )));
        };
        let conditions = beside(".json");
        let conditions: Value = if conditions.exists() {
            let text = std::fs::read_to_string(&conditions).map_err(|e| TraceError::io(&conditions, e))?;
            sink.source_files.push(conditions.file_name().unwrap_or_default().to_string_lossy().into_owned());
            serde_json::from_str(&text)
                .map_err(|e| TraceError::format(&conditions, format!("not JSON: {e}")))?
        } else {
            sink.report.absent("conditions", "NAME.json: no nodes, and pods without requests");
            Value::Null
        };
        if conditions["nodes"].as_u64().is_some_and(|n| n > MOST_NODES) {
            let message = format!("nodes: {}; at most {MOST_NODES} are expected", conditions["nodes"]);
            return Err(TraceError::format(&beside(".json"), message));
        }
        nodes(sink, &conditions)?;
        if conditions["preload"] == Value::Bool(true) {
            sink.report
                .note("the pods were there before the scheduler: `workload: {start: backlog}` runs them so");
        }
        sink.origin = Origin::Earliest;
        let file = InputFile::named(&table);
        sink.each_row(&file, &ROWS, |sink, row| pod(sink, row, &conditions).map(|()| true))
    }
}

/// More nodes than this in a run's conditions are a slip.
const MOST_NODES: u64 = 1_000_000;

fn nodes(sink: &mut Sink, conditions: &Value) -> Result<(), TraceError> {
    for i in 0..conditions["nodes"].as_u64().unwrap_or(0) {
        let name = format!("node-{i:05}");
        let node = Node {
            op: NodeOp::Add,
            allocatable: Resources::from([
                (CPU.to_string(), 32_000),
                (MEMORY.to_string(), 256 * GIB),
                (PODS.to_string(), 110),
            ]),
            labels: [
                ("kubernetes.io/hostname".to_string(), name.clone()),
                ("topology.kubernetes.io/zone".to_string(), format!("zone-{}", i % ZONES)),
            ]
            .into(),
            name,
            taints: String::new(),
        };
        sink.node(AT_ORIGIN, &node)?;
    }
    Ok(())
}

/// The load generator's mixed requests, in its signed 64-bit arithmetic.
fn mixed(i: i64) -> (u64, u64) {
    let cpu = [250, 500, 1000, 2000][((i.wrapping_mul(2_654_435_761) >> 7) & 3) as usize];
    let memory = [512, 1024, 2048, 4096][((i.wrapping_mul(2_246_822_519) >> 9) & 3) as usize];
    (cpu, memory * MIB)
}

fn pod(sink: &mut Sink, row: &Table, conditions: &Value) -> Result<(), TraceError> {
    let index = row.unsigned(0)?;
    if !sink.first_seen(row.text(0)) {
        return Err(row.error(Problem::DuplicateId, 0, "each pod once"));
    }
    let mut requests = Resources::new();
    for (key, field, unit) in [(CPU, "cpu_request", 1000), (MEMORY, "mem_request", 1)] {
        if let Some(text) = conditions[field].as_str() {
            let amount = number::quantity(text, unit).map_err(|_| {
                row.error(Problem::NotANumber, 0, format!("{field} as 100m or 500Mi, not {text:?}"))
            })?;
            requests.insert(key.to_string(), amount);
        }
    }
    if conditions["hetero"] == Value::Bool(true) {
        let (cpu, memory) = mixed(index as i64);
        requests.insert(CPU.to_string(), cpu);
        requests.insert(MEMORY.to_string(), memory);
    }
    let too_big_every = conditions["too_big_every"].as_u64().unwrap_or(0);
    if too_big_every > 0 && index.is_multiple_of(too_big_every) {
        requests.insert(CPU.to_string(), 64_000);
    }
    let app = format!("app-{}", row.text(1));
    let mut spec = SpecRow { requests, ..SpecRow::default() };
    spec.labels.insert("app".to_string(), app.clone());
    let selector = json!({"matchLabels": {"app": app}});
    let term = json!({"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"});
    match conditions["constraint"].as_str() {
        Some("antiaffinity") => {
            spec.affinity =
                json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
                    .to_string();
        }
        Some("prefantiaffinity") => {
            let weighted = json!([{"weight": 100, "podAffinityTerm": term}]);
            spec.affinity =
                json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": weighted}})
                    .to_string();
        }
        Some("spread") => {
            spec.topology_spread = json!([{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}])
            .to_string();
        }
        _ => {}
    }
    let time = |column: usize| -> Result<Option<i64>, TraceError> {
        if row.is_null(column) { Ok(None) } else { row.signed_time(column, MICROSECOND).map(Some) }
    };
    let sent = row.signed_time(2, MICROSECOND)?;
    let hold_ms = if row.is_null(8) { 0 } else { row.unsigned(8)? };
    let deleted = time(6)?;
    let pod = Pod {
        submit: sent,
        uid: format!("pod-{index}"),
        spec: sink.spec(spec),
        app,
        run_ns: (hold_ms > 0).then(|| hold_ms.saturating_mul(MILLISECOND)),
        outcome: Some(Outcome {
            created: time(3)?,
            bound: time(4)?,
            running: time(5)?,
            finished: deleted,
            node: if row.is_null(7) { String::new() } else { format!("node-{}", row.text(7)) },
        }),
        ..Pod::default()
    };
    if hold_ms == 0
        && let Some(t) = deleted
    {
        sink.event(t, EventOp::PodDelete, &pod.uid, "")?;
    }
    sink.pod(&pod)
}
