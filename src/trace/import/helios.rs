//! Helios: SenseTime's GPU clusters (SC'21).
//!
//! **Tables** (CSV with header). `cluster_log.csv`: job_id, user, vc, gpu_num, cpu_num, node_num, state, submit_time,
//! start_time, end_time (`2020-06-09 18:41:01`), duration and queue (s). `cluster_gpu_number.csv`: date, GPUs of each
//! virtual cluster that day, total.
//!
//! **Mapping.** A job is a gang of node_num pods that share its GPUs and CPUs evenly (`split=job`: one pod). The virtual
//! cluster is the queue, and a node selector `vc` when the node table is given. Nodes have 8 GPUs: a virtual cluster
//! has GPUs / 8 of them, and they come and go as the daily numbers change. The data set has no CPU or memory of nodes:
//! 48 CPUs a node are made up. A job without a start is deleted while pending.
//!
//! Source: README of S-Lab-System-Group/HeliosData. Tested on the README's example rows; the log itself is not in the
//! repository's text.

use super::{Importer, Node, Origin, Outcome, Pod, Sink, Split, TraceError, classify};
use crate::trace::error::Problem;
use crate::trace::input::{InputFile, Lines, Table, TableSchema, may, must};
use crate::trace::model::{CPU, EventOp, GPU, NodeOp, PODS, Resources, SpecRow};
use crate::trace::number;

/// The importer.
pub struct Helios;

static LOG: TableSchema = TableSchema {
    name: "cluster_log",
    hints: &["cluster_log"],
    columns: &[
        must("job_id"),
        may("user"),
        may("vc"),
        must("gpu_num"),
        must("cpu_num"),
        must("node_num"),
        may("state"),
        must("submit_time"),
        must("start_time"),
        must("end_time"),
        may("duration"),
        may("queue"),
    ],
    widths: &[12],
    looks: &[],
    delimiter: b',',
};

static GPUS: TableSchema = TableSchema {
    name: "cluster_gpu_number",
    hints: &["cluster_gpu_number"],
    columns: &[must("date"), must("total")],
    widths: &[],
    looks: &[],
    delimiter: b',',
};

const GPUS_PER_NODE: u64 = 8;

impl Importer for Helios {
    fn name(&self) -> &'static str {
        "helios"
    }

    fn summary(&self) -> &'static str {
        "SenseTime Helios: cluster_log.csv and cluster_gpu_number.csv"
    }

    fn tested_on(&self) -> &'static str {
        "the README's example rows; no whole log"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        sink.origin = Origin::Unix;
        let tables = classify(files, &[&LOG, &GPUS], sink)?;
        let of = |t: usize| tables.iter().filter(move |(i, _)| *i == t).map(|(_, f)| *f);
        let has_nodes = of(1).next().is_some();
        for file in of(1) {
            nodes(sink, file)?;
        }
        if !has_nodes {
            sink.report.absent(GPUS.name, "the trace has no nodes; give the scenario a cluster");
        }
        for file in of(0) {
            sink.each_row(file, &LOG, |sink, row| job(sink, row, has_nodes).map(|()| true))?;
        }
        Ok(())
    }
}

fn nodes(sink: &mut Sink, file: &InputFile) -> Result<(), TraceError> {
    sink.begin_file(file, GPUS.name);
    let mut lines = Lines::open(&file.path, sink.options.max_line_bytes)?;
    let mut names: Vec<String> = Vec::new();
    let mut counts: Vec<u64> = Vec::new();
    let mut first = true;
    loop {
        let fields: Vec<String> = match lines.next_line()? {
            None => break,
            Some(l) if l.trim().is_empty() => continue,
            Some(l) => l.split(',').map(|f| f.trim().to_string()).collect(),
        };
        if names.is_empty() {
            names = fields;
            counts = vec![0; names.len()];
            continue;
        }
        sink.report.table(GPUS.name).read += 1;
        if fields.len() != names.len() {
            return Err(lines.error(
                Problem::ColumnCount,
                "",
                "",
                format!("{} columns as in the header", names.len()),
            ));
        }
        let day = number::unix_ns(&fields[0])
            .map_err(|_| lines.error(Problem::NotANumber, "date", &fields[0], "a date as 2020-04-01"))?;
        for i in 1..names.len() {
            if names[i] == "total" {
                continue;
            }
            let gpus = number::unsigned(&fields[i])
                .map_err(|_| lines.error(Problem::NotANumber, &names[i], &fields[i], "a number of GPUs"))?;
            let (old, new) = (counts[i], gpus.div_ceil(GPUS_PER_NODE));
            if new > 1_000_000 {
                return Err(lines.error(Problem::OutOfRange, &names[i], &fields[i], "a number of GPUs"));
            }
            for k in old.min(new)..old.max(new) {
                let mut node = Node { name: format!("{}-{k}", names[i]), ..Node::default() };
                if new > old {
                    node.op = NodeOp::Add;
                    node.allocatable = Resources::from([
                        (GPU.to_string(), GPUS_PER_NODE),
                        (CPU.to_string(), 48_000),
                        (PODS.to_string(), 110),
                    ]);
                    node.labels.insert("vc".to_string(), names[i].clone());
                    sink.report.invent(
                        "nodes",
                        "8 GPUs, 48 CPUs and 110 pods a node (only GPUs a virtual cluster are on record)",
                    );
                } else {
                    node.op = NodeOp::Remove;
                }
                if first { sink.node_since(day, &node)? } else { sink.node(day, &node)? }
            }
            counts[i] = new;
        }
        first = false;
        sink.report.table(GPUS.name).kept += 1;
    }
    Ok(())
}

fn job(sink: &mut Sink, row: &Table, has_nodes: bool) -> Result<(), TraceError> {
    let id = row.text(0).to_string();
    if id.is_empty() {
        return Err(row.error(Problem::EmptyField, 0, "a job id"));
    }
    let (gpus, cpus, nodes) = (row.unsigned(3)?, row.unsigned(4)?, row.unsigned(5)?.max(1));
    if nodes > 100_000 {
        return Err(row.error(Problem::OutOfRange, 5, "at most 100,000 nodes"));
    }
    let submit = row.date(7)?;
    let date = |column: usize| if row.is_null(column) { Ok(None) } else { row.date(column).map(Some) };
    let (start, end) = (date(8)?, date(9)?);
    if start.is_some_and(|s| s < submit) || end.is_some_and(|e| e < start.unwrap_or(submit)) {
        return Err(row.error(Problem::DeleteBeforeCreate, 9, "submit, start and end in this order"));
    }
    if !sink.first_seen(&id) {
        return Err(row.error(Problem::DuplicateId, 0, "each job once"));
    }
    let pods = if sink.options.split == Split::Job { 1 } else { nodes };
    let mut pod = Pod {
        submit,
        app: format!("job-{id}"),
        queue: row.text(2).to_string(),
        user: row.text(1).to_string(),
        run_ns: match (start, end) {
            (Some(s), Some(e)) => Some((e - s) as u64),
            _ => None,
        },
        outcome: Some(Outcome {
            created: Some(submit),
            bound: start,
            running: start,
            finished: end,
            ..Outcome::default()
        }),
        ..Pod::default()
    };
    if pods > 1 {
        pod.task_group = "job".to_string();
        pod.min_member = pods as u32;
    }
    for k in 0..pods {
        let share = |n: u64| n / pods + u64::from(k < n % pods);
        let mut requests = Resources::from([(CPU.to_string(), share(cpus).saturating_mul(1000))]);
        if gpus > 0 {
            requests.insert(GPU.to_string(), share(gpus));
        }
        let mut spec = SpecRow { requests, ..SpecRow::default() };
        if has_nodes && !row.is_null(2) {
            spec.node_selector.insert("vc".to_string(), row.text(2).to_string());
        }
        pod.spec = sink.spec(spec);
        pod.uid = if pods == 1 { format!("job-{id}") } else { format!("job-{id}-{k}") };
        if start.is_none()
            && let Some(t) = end
        {
            sink.event(t, EventOp::PodDelete, &pod.uid, "")?;
        }
        sink.pod(&pod)?;
    }
    if end.is_none() {
        sink.report.invent("pods.run_ns", "none: no end on record, runs to the end");
    }
    Ok(())
}
