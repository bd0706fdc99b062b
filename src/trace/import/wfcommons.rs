//! WfCommons workflow instances (WfFormat 1.0 to 1.6).
//!
//! **File.** One JSON object a workflow. 1.5 on: workflow.specification.tasks [{id, name, parents, children}],
//! workflow.execution {makespanInSeconds, executedAt, tasks [{id, runtimeInSeconds, executedAt, coreCount,
//! memoryInBytes, avgCPU, machines}], machines [{nodeName, cpu {coreCount}, memoryInBytes}]}. Before: one list for both,
//! workflow.tasks (1.3, 1.4) or workflow.jobs (1.0 to 1.2), with runtime or runtimeInSeconds, cores, machine, and machines
//! with cpu.count. Parents are named by id or, before 1.5, by name.
//!
//! **Units.** Seconds. memoryInBytes (1.4 on) is bytes, memory (before) is KB: the authors' own migration multiplied by
//! 1,000, for tasks and machines alike.
//!
//! **Mapping.** A task is a pod of the application that is the workflow. A task is created when its parents are done: at
//! their latest end, computed from recorded run times along the DAG (with no waiting, the earliest it could be). Recorded
//! starts (executedAt of a task) go to the outcomes. A task without a core count gets the cores that it kept busy on
//! average (avgCPU, in percent of one), at least 1 and at most
//! what the largest machine has. Memory is what a task used at most; no format version has a request.
//!
//! **What it cannot tell.** A simulated delay of a parent does not delay its children: created times are fixed. Cycles and
//! unknown parents are errors.
//!
//! Memory: O(tasks of a workflow), some 200 bytes each. Source: wfcommons-schema.json and README of wfcommons/WfFormat,
//! the history of wfcommons/pegasus-instances. Tested on instances of 1.0, 1.2, 1.3, 1.4 and 1.5.

use std::collections::BTreeMap;

use serde_json::Value;

use super::batsim::seconds;
use super::dag::{Dependent, earliest};
use super::kubernetes::{self as k8s, Place};
use super::{AT_ORIGIN, Importer, InputFile, Node, Outcome, Pod, Sink, TraceError};
use crate::trace::documents::each_part;
use crate::trace::error::Problem;
use crate::trace::model::{CPU, MEMORY, NodeOp, PODS, Resources, SpecRow};
use crate::trace::number;

/// The importer.
pub struct WfCommons;

const TASKS: &str = "tasks";
const MACHINES: &str = "machines";

impl Importer for WfCommons {
    fn name(&self) -> &'static str {
        "wfcommons"
    }

    fn summary(&self) -> &'static str {
        "WfCommons workflow instances (WfFormat 1.0 to 1.6)"
    }

    fn tested_on(&self) -> &'static str {
        "69 instances of WfInstances (1.5), 650 of pegasus-, makeflow- and nextflow-instances (1.0 to 1.4)"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        for file in files {
            let workflow = match Workflow::read(sink, file) {
                Ok(Some(workflow)) => workflow,
                Ok(None) => {
                    sink.report.ignored_files.push(format!("{} (no workflow)", file.file_name()));
                    continue;
                }
                Err(e) if file.explicit => {
                    sink.begin_file(file, TASKS);
                    sink.bad_file(TASKS, e)?;
                    continue;
                }
                Err(e) => {
                    sink.report.ignored_files.push(format!("{} ({e})", file.file_name()));
                    continue;
                }
            };
            sink.begin_file(file, TASKS);
            workflow.write(sink, file)?;
        }
        if sink.node_count() == 0 {
            sink.report.absent(MACHINES, "the trace has no nodes; give the scenario a cluster");
        }
        Ok(())
    }
}

#[derive(Default)]
struct Task {
    name: String,
    parents: Vec<String>,
    run: Option<i64>,
    /// Cores on record, as millicores.
    millicores: Option<u64>,
    /// Cores that it kept busy on average, rounded up, as millicores.
    busy_millicores: Option<u64>,
    memory: u64,
    node: String,
    started: Option<i64>,
    line: u64,
    /// It is in the specification, and not only in the execution.
    specified: bool,
}

#[derive(Default)]
struct Workflow {
    name: String,
    executed: Option<i64>,
    tasks: Vec<Task>,
    by_id: BTreeMap<String, usize>,
    machines: Vec<(Value, u64)>,
    /// Bad entries: what is wrong and where, to be counted.
    bad: Vec<TraceError>,
}

/// A number of bytes, however it is written.
fn bytes(value: &Value) -> Option<u64> {
    if let Some(bytes) = value.get("memoryInBytes") {
        return number::scaled(&bytes.to_string(), 1).ok();
    }
    number::scaled(&value.get("memory")?.to_string(), 1000).ok()
}

fn millicores(task: &Value) -> Option<u64> {
    let number = task.get("coreCount").or_else(|| task.get("cores"))?.to_string();
    let cores = number::scaled(&number, 1000).ok()?.div_ceil(1000);
    (1..1_000_000).contains(&cores).then(|| cores * 1000)
}

fn machine_millicores(machine: &Value) -> Option<u64> {
    let count = ["/cpu/coreCount", "/cpu/count"].iter().find_map(|p| machine.pointer(p))?;
    number::scaled(&count.to_string(), 1000).ok().filter(|n| *n > 0)
}

impl Workflow {
    /// Reads a file; `None`: it holds no workflow and was not named by the user.
    fn read(sink: &mut Sink, file: &InputFile) -> Result<Option<Workflow>, TraceError> {
        const PATHS: [&[&str]; 9] = [
            &["name"],
            &["workflow", "specification", "tasks"],
            &["workflow", "tasks"],
            &["workflow", "jobs"],
            &["workflow", "execution", "tasks"],
            &["workflow", "execution", "machines"],
            &["workflow", "machines"],
            &["workflow", "execution", "executedAt"],
            &["workflow", "executedAt"],
        ];
        let mut w = Workflow { name: file.file_name(), ..Workflow::default() };
        let mut any = false;
        each_part(file, sink.options.max_line_bytes, &PATHS, &mut |path, _, value, place| {
            any |= path > 0;
            match path {
                0 => {
                    if let Some(name) = value.as_str().filter(|n| !n.is_empty()) {
                        w.name = name.to_string();
                    }
                }
                1..=4 => {
                    if let Err(e) = w.task(&value, path < 4, place) {
                        w.bad.push(e);
                    }
                }
                5 | 6 => w.machines.push((value, place.at)),
                _ => match value.as_str().map(number::unix_ns) {
                    Some(Ok(t)) => w.executed = Some(t),
                    Some(Err(_)) => {
                        let text = value.as_str().unwrap_or_default();
                        w.bad.push(place.error(
                            Problem::NotANumber,
                            "executedAt",
                            text,
                            "a time as ISO 8601",
                        ));
                    }
                    None => {}
                },
            }
            Ok(())
        })?;
        if !any && !file.explicit {
            return Ok(None);
        }
        Ok(Some(w))
    }

    fn task(&mut self, t: &Value, specified: bool, place: &Place) -> Result<(), TraceError> {
        let id = match (k8s::text(t, "/id"), k8s::text(t, "/name")) {
            ("", "") => return Err(place.error(Problem::EmptyField, "id", "", "a task id")),
            ("", name) => name,
            (id, _) => id,
        };
        let at = match self.by_id.get(id) {
            Some(&at) if self.tasks[at].specified && specified => {
                return Err(place.error(Problem::DuplicateId, "id", id, "each task once"));
            }
            Some(&at) => at,
            None => {
                self.by_id.insert(id.to_string(), self.tasks.len());
                self.tasks.push(Task::default());
                self.tasks.len() - 1
            }
        };
        let task = &mut self.tasks[at];
        if specified {
            task.specified = true;
            task.line = place.at;
            task.name = k8s::text(t, "/name").to_string();
            let parents = t.get("parents").and_then(Value::as_array).into_iter().flatten();
            task.parents = parents.filter_map(Value::as_str).map(str::to_string).collect();
        }
        let run = t.get("runtimeInSeconds").or_else(|| t.get("runtime"));
        task.run = seconds(run, "runtimeInSeconds", place)?.or(task.run);
        task.millicores = millicores(t).or(task.millicores);
        if let Some(percent) = t.get("avgCPU") {
            let busy = number::scaled(&percent.to_string(), 10).unwrap_or(0);
            task.busy_millicores = Some(busy.div_ceil(1000).clamp(1, 1_000_000) * 1000);
        }
        task.memory = bytes(t).unwrap_or(task.memory);
        let machine = t.get("machines").and_then(|m| m.get(0)).and_then(Value::as_str);
        if let Some(node) = machine.or_else(|| t.get("machine").and_then(Value::as_str)) {
            task.node = node.to_string();
        }
        match k8s::text(t, "/executedAt") {
            "" => {}
            text => {
                let expected = "a time as ISO 8601";
                task.started = Some(
                    number::unix_ns(text)
                        .map_err(|_| place.error(Problem::NotANumber, "executedAt", text, expected))?,
                );
            }
        }
        Ok(())
    }

    /// Earliest creation of each task along the DAG; or why there is none.
    fn created(&self, file: &InputFile) -> Result<Vec<i64>, TraceError> {
        let error = |at: u64, problem, field: &str, value: &str, expected: &str| {
            Place { file: file.display(), at }.error(problem, field, value, expected)
        };
        let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
        for (i, t) in self.tasks.iter().enumerate() {
            by_name.entry(&t.name).or_insert(i);
        }
        let mut graph = Vec::with_capacity(self.tasks.len());
        for t in &self.tasks {
            let mut parents = Vec::new();
            for p in &t.parents {
                let Some(&parent) = self.by_id.get(p).or_else(|| by_name.get(p.as_str())) else {
                    let expected = "the id or name of a task of this workflow";
                    return Err(error(t.line, Problem::DanglingReference, "parents", p, expected));
                };
                parents.push(parent);
            }
            graph.push(Dependent { not_before: 0, run: t.run.unwrap_or(0), parents });
        }
        let expected = "a workflow without cycles";
        earliest(&graph).ok_or_else(|| error(0, Problem::DanglingReference, "parents", &self.name, expected))
    }

    fn write(mut self, sink: &mut Sink, file: &InputFile) -> Result<(), TraceError> {
        for error in std::mem::take(&mut self.bad) {
            sink.bad_file(TASKS, error)?;
        }
        let rows = self.tasks.len() as u64;
        sink.report.table(TASKS).read += rows;
        if !self.tasks.iter().any(|t| t.specified) {
            let place = Place { file: file.display(), at: 0 };
            let expected = "a workflow with tasks";
            let e = place.error(Problem::MissingColumn, "workflow.specification.tasks", "", expected);
            sink.report.table(TASKS).read -= rows;
            return sink.bad_file(TASKS, e);
        }
        let created = match self.created(file) {
            Ok(created) => created,
            // One bad edge leaves no time for any task of the workflow.
            Err(e) => {
                sink.bad(TASKS, e)?;
                for _ in 1..rows {
                    sink.report.drop_row(TASKS, "workflow-without-order", || file.display());
                }
                return Ok(());
            }
        };
        let base = self.executed.or_else(|| self.tasks.iter().filter_map(|t| t.started).min());
        let machines = self.machines.iter().filter_map(|(m, _)| machine_millicores(m));
        let largest = machines.max().unwrap_or(u64::MAX);
        let ids: BTreeMap<usize, &String> = self.by_id.iter().map(|(id, i)| (*i, id)).collect();
        for (i, t) in self.tasks.iter().enumerate() {
            let id = ids[&i];
            if !t.specified {
                let place = Place { file: file.display(), at: t.line };
                let expected = "a task of the specification";
                sink.bad(TASKS, place.error(Problem::DanglingReference, "execution.tasks", id, expected))?;
                continue;
            }
            let uid = format!("{}/{id}", self.name);
            if !sink.first_seen(&uid) {
                let place = Place { file: file.display(), at: t.line };
                sink.bad(TASKS, place.error(Problem::DuplicateId, "name", &uid, "each workflow once"))?;
                continue;
            }
            let report = &mut sink.report;
            let millicores = match (t.millicores, t.busy_millicores) {
                (Some(millicores), _) => millicores,
                (None, Some(busy)) => {
                    let rule = "avgCPU rounded up to cores, at most those of the largest machine";
                    report.invent("specs.requests.cpu_millicores", rule);
                    busy.min(largest)
                }
                (None, None) => {
                    report.invent("specs.requests.cpu_millicores", "1 core: neither a core count nor avgCPU");
                    1000
                }
            };
            let mut requests = Resources::from([(CPU.to_string(), millicores)]);
            if t.memory > 0 {
                report.invent("specs.requests.memory_bytes", "what the task used (there are no requests)");
                requests.insert(MEMORY.to_string(), t.memory);
            }
            if t.run.is_none() {
                report.invent("pods.run_ns", "0: the task has no run time on record");
            }
            if !t.parents.is_empty() {
                report.invent("pods.submit_ns", "the latest end of its parents, from recorded run times");
            }
            let run = t.run.unwrap_or(0);
            let started = match (t.started, base) {
                (Some(s), Some(b)) if s >= b => Some(s - b),
                _ => None,
            };
            let outcome = started.map(|s| Outcome {
                running: Some(s),
                finished: Some(s.saturating_add(run)),
                node: t.node.clone(),
                ..Outcome::default()
            });
            let spec = sink.spec(SpecRow { requests, ..SpecRow::default() });
            sink.pod(&Pod {
                submit: created[i],
                uid,
                spec,
                app: self.name.clone(),
                run_ns: Some(run as u64),
                outcome,
                ..Pod::default()
            })?;
            sink.report.table(TASKS).kept += 1;
        }
        self.machines(sink, file)
    }

    fn machines(&self, sink: &mut Sink, file: &InputFile) -> Result<(), TraceError> {
        for (m, at) in &self.machines {
            let place = || format!("{}:{at}", file.display());
            sink.report.table(MACHINES).read += 1;
            let name = k8s::text(m, "/nodeName");
            if name.is_empty() {
                sink.report.drop_row(MACHINES, "no-name", place);
                continue;
            }
            if !sink.first_seen(&format!("node/{name}")) {
                sink.report.drop_row(MACHINES, "repeated", place);
                continue;
            }
            let Some(cores) = machine_millicores(m) else {
                sink.report.drop_row(MACHINES, "no-core-count", place);
                continue;
            };
            let mut allocatable = Resources::from([(CPU.to_string(), cores), (PODS.to_string(), 110)]);
            if let Some(bytes) = bytes(m) {
                allocatable.insert(MEMORY.to_string(), bytes);
            }
            sink.report.invent("nodes.allocatable.pods", "110, the kubelet's default");
            let node = Node { op: NodeOp::Add, name: name.to_string(), allocatable, ..Node::default() };
            sink.node(AT_ORIGIN, &node)?;
            sink.report.table(MACHINES).kept += 1;
        }
        Ok(())
    }
}
