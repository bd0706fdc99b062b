//! WfCommons workflow instances (WfFormat 1.3 to 1.6).
//!
//! **File.** One JSON object a workflow. 1.4 on: workflow.specification.tasks [{id, name, parents, children}],
//! workflow.execution {makespanInSeconds, executedAt, tasks [{id, runtimeInSeconds, executedAt, coreCount,
//! memoryInBytes, machines}], machines [{nodeName, cpu {coreCount}, memoryInBytes}]}. 1.3: workflow.tasks with runtime or
//! runtimeInSeconds, cores, memory (bytes), parents by name, and workflow.machines.
//!
//! **Mapping.** A task is a pod of the application that is the workflow. A task is created when its parents are done: at
//! their latest end, computed from recorded run times along the DAG (with no waiting, the earliest it could be). Recorded
//! starts (executedAt of a task) go to the outcomes.
//!
//! **What it cannot tell.** A simulated delay of a parent does not delay its children: created times are fixed. Cores are
//! 1 and memory 0 where the instance has none. Cycles and unknown parents are errors.
//!
//! Source: wfcommons-schema.json and README of wfcommons/WfFormat. Tested on 69 of WfInstances; the tests here use instances of the
//! documented form.

use std::collections::BTreeMap;

use serde_json::Value;

use super::batsim::{load_json, seconds};
use super::kubernetes::{self as k8s, Place};
use super::{AT_ORIGIN, Importer, Node, Outcome, Pod, Sink, TraceError};
use crate::trace::error::Problem;
use crate::trace::input::InputFile;
use crate::trace::model::{CPU, MEMORY, NodeOp, PODS, Resources, SpecRow};

/// The importer.
pub struct WfCommons;

const TASKS: &str = "tasks";

impl Importer for WfCommons {
    fn name(&self) -> &'static str {
        "wfcommons"
    }

    fn summary(&self) -> &'static str {
        "WfCommons workflow instances (WfFormat 1.3 to 1.6)"
    }

    fn tested_on(&self) -> &'static str {
        "69 instances of WfInstances"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        for file in files {
            let value = match load_json(file) {
                Ok(v) if v.get("workflow").is_some() || file.explicit => v,
                Ok(_) => {
                    sink.report.ignored_files.push(format!("{} (no workflow)", file.file_name()));
                    continue;
                }
                Err(e) if file.explicit => {
                    sink.bad(TASKS, e)?;
                    continue;
                }
                Err(e) => {
                    sink.report.ignored_files.push(format!("{} ({e})", file.file_name()));
                    continue;
                }
            };
            sink.begin_file(file, TASKS);
            if let Err(e) = workflow(sink, &value, file) {
                sink.bad(TASKS, e)?;
            }
        }
        if sink.node_count() == 0 {
            sink.report.absent("machines", "the trace has no nodes; give the scenario a cluster");
        }
        Ok(())
    }
}

struct Task<'a> {
    id: &'a str,
    parents: Vec<&'a str>,
    run: i64,
    cores: u64,
    memory: u64,
    node: &'a str,
    started: Option<i64>,
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or(&[])
}

fn workflow(sink: &mut Sink, value: &Value, file: &InputFile) -> Result<(), TraceError> {
    let top = Place { file: file.display(), at: 0 };
    let modern = value.pointer("/workflow/specification/tasks").is_some();
    let spec = match () {
        () if modern => list(value, "/workflow/specification/tasks"),
        () if value.pointer("/workflow/tasks").is_some() => list(value, "/workflow/tasks"),
        () => list(value, "/workflow/jobs"),
    };
    if spec.is_empty() {
        return Err(top.error(
            Problem::MissingColumn,
            "workflow.specification.tasks",
            "",
            "a workflow with tasks",
        ));
    }
    let mut executed: BTreeMap<&str, &Value> = BTreeMap::new();
    for t in list(value, "/workflow/execution/tasks") {
        executed.insert(k8s::text(t, "/id"), t);
    }
    let name = match k8s::text(value, "/name") {
        "" => file.file_name(),
        n => n.to_string(),
    };
    let mut tasks = Vec::new();
    let mut index: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, t) in spec.iter().enumerate() {
        let place = Place { file: file.display(), at: i as u64 + 1 };
        sink.report.table(TASKS).read += 1;
        let id = match k8s::text(t, "/id") {
            "" => k8s::text(t, "/name"),
            id => id,
        };
        if id.is_empty() {
            return Err(place.error(Problem::EmptyField, "id", "", "a task id"));
        }
        let e = executed.get(id).copied().unwrap_or(t);
        let run =
            seconds(e.get("runtimeInSeconds").or_else(|| e.get("runtime")), "runtimeInSeconds", &place)?;
        let run = run.unwrap_or_else(|| {
            sink.report.invent("pods.run_ns", "0: the task has no run time on record");
            0
        });
        let cores = e.get("coreCount").or_else(|| e.get("cores")).and_then(Value::as_f64);
        let cores = match cores {
            Some(c) if c.is_finite() && c > 0.0 && c < 1e6 => libm::ceil(c) as u64,
            _ => {
                sink.report.invent("specs.requests.cpu_millicores", "1 core: the task has no core count");
                1
            }
        };
        let memory = e.get("memoryInBytes").or_else(|| e.get("memory")).and_then(Value::as_u64).unwrap_or(0);
        let node =
            list(e, "/machines").first().and_then(Value::as_str).unwrap_or_else(|| k8s::text(e, "/machine"));
        if index.insert(id, i).is_some() {
            return Err(place.error(Problem::DuplicateId, "id", id, "each task once"));
        }
        tasks.push(Task {
            id,
            parents: list(t, "/parents").iter().filter_map(Value::as_str).collect(),
            run,
            cores,
            memory,
            node,
            started: k8s::time(e, "/executedAt", &place).unwrap_or(None),
        });
    }
    // Earliest creation along the DAG, in topological order.
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
    let mut waiting = vec![0usize; tasks.len()];
    for (i, t) in tasks.iter().enumerate() {
        for p in &t.parents {
            let Some(&p_index) = index.get(p) else {
                let place = Place { file: file.display(), at: i as u64 + 1 };
                return Err(place.error(Problem::DanglingReference, "parents", p, "a task of this workflow"));
            };
            children[p_index].push(i);
            waiting[i] += 1;
        }
    }
    let mut created = vec![0i64; tasks.len()];
    let mut ready: Vec<usize> = (0..tasks.len()).filter(|i| waiting[*i] == 0).collect();
    let mut done = 0;
    while let Some(i) = ready.pop() {
        done += 1;
        let end = created[i].saturating_add(tasks[i].run);
        for &c in &children[i] {
            created[c] = created[c].max(end);
            waiting[c] -= 1;
            if waiting[c] == 0 {
                ready.push(c);
            }
        }
    }
    if done < tasks.len() {
        return Err(top.error(Problem::DanglingReference, "parents", &name, "a workflow without cycles"));
    }
    let base = ["/workflow/execution/executedAt", "/workflow/executedAt"]
        .iter()
        .find_map(|p| k8s::time(value, p, &top).unwrap_or(None))
        .or_else(|| tasks.iter().filter_map(|t| t.started).min());
    for (i, t) in tasks.iter().enumerate() {
        let mut requests = Resources::from([(CPU.to_string(), t.cores * 1000)]);
        if t.memory > 0 {
            requests.insert(MEMORY.to_string(), t.memory);
        }
        let uid = format!("{name}/{}", t.id);
        if !sink.first_seen(&uid) {
            return Err(top.error(Problem::DuplicateId, "name", &name, "each workflow once"));
        }
        if !t.parents.is_empty() {
            sink.report.invent("pods.submit_ns", "the latest end of its parents, from recorded run times");
        }
        let started = match (t.started, base) {
            (Some(s), Some(b)) if s >= b => Some(s - b),
            _ => None,
        };
        let pod = Pod {
            submit: created[i],
            uid,
            spec: sink.spec(SpecRow { requests, ..SpecRow::default() }),
            app: name.clone(),
            run_ns: Some(t.run as u64),
            outcome: started.map(|s| Outcome {
                running: Some(s),
                finished: Some(s.saturating_add(t.run)),
                node: t.node.to_string(),
                ..Outcome::default()
            }),
            ..Pod::default()
        };
        sink.pod(&pod)?;
        sink.report.table(TASKS).kept += 1;
    }
    let machines = match list(value, "/workflow/execution/machines") {
        [] => list(value, "/workflow/machines"),
        m => m,
    };
    for m in machines {
        let node_name = k8s::text(m, "/nodeName");
        if node_name.is_empty() || !sink.first_seen(&format!("node/{node_name}")) {
            continue;
        }
        let cores =
            ["/cpu/coreCount", "/cpu/count"].iter().find_map(|p| m.pointer(p).and_then(Value::as_u64));
        let Some(cores) = cores else {
            sink.report.note("machines without a core count are left out");
            continue;
        };
        let mut allocatable =
            Resources::from([(CPU.to_string(), cores.saturating_mul(1000)), (PODS.to_string(), 110)]);
        if let Some(bytes) = m.get("memoryInBytes").or_else(|| m.get("memory")).and_then(Value::as_u64) {
            allocatable.insert(MEMORY.to_string(), bytes);
        }
        sink.report.invent("nodes.allocatable.pods", "110, the kubelet's default");
        sink.node(
            AT_ORIGIN,
            &Node { op: NodeOp::Add, name: node_name.to_string(), allocatable, ..Node::default() },
        )?;
    }
    Ok(())
}
