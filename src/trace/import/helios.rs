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

use super::{
    Importer, InputFile, Node, Origin, Outcome, Pod, SECOND, Sink, Split, TraceError, classify, share,
};
use crate::trace::error::Problem;
use crate::trace::input::{Lines, Table, TableSchema, fields, may, must};
use crate::trace::model::{CPU, GPU, NodeOp, PODS, Resources, SpecRow};
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
        may("gpu_num"),
        may("cpu_num"),
        may("node_num"),
        may("state"),
        must("submit_time"),
        may("start_time"),
        may("end_time"),
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
    let mut lines = match Lines::open(file, sink.options.max_line_bytes) {
        Ok(lines) => lines,
        Err(e) => return sink.bad_file(GPUS.name, e),
    };
    let mut table = Days::default();
    loop {
        let row = match lines.next_line() {
            Ok(None) => break,
            Ok(Some(l)) if l.trim().is_empty() => continue,
            Ok(Some(l)) => fields(l, b','),
            Err(e) => {
                sink.bad_file(GPUS.name, e)?;
                continue;
            }
        };
        if table.names.is_empty() {
            let again = row.iter().skip(1).find(|vc| *vc != "total" && !sink.first_seen(&format!("vc/{vc}")));
            if let Some(vc) = again {
                let expected = "each virtual cluster in one column of one table";
                return sink.bad_file(GPUS.name, lines.error(Problem::DuplicateId, "header", vc, expected));
            }
            (table.counts, table.names) = (vec![0; row.len()], row);
            continue;
        }
        sink.report.table(GPUS.name).read += 1;
        match table.row(sink, &lines, &row) {
            Ok(()) => sink.report.table(GPUS.name).kept += 1,
            Err(e) => sink.bad(GPUS.name, e)?,
        }
    }
    Ok(())
}

/// Nodes by virtual cluster, day by day.
#[derive(Default)]
struct Days {
    names: Vec<String>,
    /// Nodes now.
    counts: Vec<u64>,
    last: Option<i64>,
}

impl Days {
    fn row(&mut self, sink: &mut Sink, lines: &Lines, row: &[String]) -> Result<(), TraceError> {
        if row.len() != self.names.len() {
            let expected = format!("{} columns as in the header", self.names.len());
            return Err(lines.error(Problem::ColumnCount, "", "", expected));
        }
        let day = number::unix_ns(&row[0])
            .map_err(|_| lines.error(Problem::NotANumber, "date", &row[0], "a date as 2020-04-01"))?;
        if self.last.is_some_and(|last| day < last) {
            return Err(lines.error(Problem::TimeGoesBack, "date", &row[0], "days in ascending order"));
        }
        // All numbers first: a bad row changes nothing.
        let mut wanted = self.counts.clone();
        for i in (1..row.len()).filter(|i| self.names[*i] != "total") {
            let gpus = number::unsigned(&row[i])
                .map_err(|_| lines.error(Problem::NotANumber, &self.names[i], &row[i], "a number of GPUs"))?;
            wanted[i] = gpus.div_ceil(GPUS_PER_NODE);
            if wanted[i] > 1_000_000 {
                return Err(lines.error(Problem::OutOfRange, &self.names[i], &row[i], "a number of GPUs"));
            }
        }
        for (i, new) in wanted.into_iter().enumerate() {
            let old = std::mem::replace(&mut self.counts[i], new);
            for k in old.min(new)..old.max(new) {
                let mut node = Node { name: format!("{}-{k}", self.names[i]), ..Node::default() };
                if new > old {
                    node.op = NodeOp::Add;
                    node.allocatable = Resources::from([
                        (GPU.to_string(), GPUS_PER_NODE),
                        (CPU.to_string(), 48_000),
                        (PODS.to_string(), 110),
                    ]);
                    node.labels.insert("vc".to_string(), self.names[i].clone());
                    sink.report.invent(
                        "nodes",
                        "8 GPUs, 48 CPUs and 110 pods a node (only GPUs a virtual cluster are on record)",
                    );
                } else {
                    node.op = NodeOp::Remove;
                }
                if self.last.is_none() { sink.node_since(day, &node)? } else { sink.node(day, &node)? }
            }
        }
        self.last = Some(day);
        Ok(())
    }
}

fn job(sink: &mut Sink, row: &Table, has_nodes: bool) -> Result<(), TraceError> {
    let id = row.text(0).to_string();
    if id.is_empty() {
        return Err(row.error(Problem::EmptyField, 0, "a job id"));
    }
    let number = |sink: &mut Sink, column: usize, rule: &str| {
        if row.has(column) {
            return row.unsigned(column);
        }
        sink.report.invent("specs.requests", rule);
        Ok(0)
    };
    let gpus = number(sink, 3, "no GPUs: the log has no column gpu_num")?;
    let cpus = number(sink, 4, "no CPUs: the log has no column cpu_num")?;
    let nodes = number(sink, 5, "one node a job: the log has no column node_num")?.max(1);
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
    sink.expand(pods).map_err(|expected| row.error(Problem::OutOfRange, 5, expected))?;
    let pod = Pod {
        submit,
        app: format!("job-{id}"),
        queue: row.text(2).to_string(),
        user: row.text(1).to_string(),
        run_ns: match (start, end) {
            (Some(s), Some(e)) => Some((e - s) as u64),
            _ if !row.has(8) && !row.is_null(10) => Some(row.scaled(10, SECOND)?),
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
    let runs_on = pod.run_ns.is_none();
    let mut spec = SpecRow::default();
    if has_nodes && !row.is_null(2) {
        spec.node_selector.insert("vc".to_string(), row.text(2).to_string());
    }
    sink.rigid_job(pod, pods, end.filter(|_| runs_on), |k| {
        let mut requests = Resources::from([(CPU.to_string(), share(cpus, pods, k).saturating_mul(1000))]);
        if gpus > 0 {
            requests.insert(GPU.to_string(), share(gpus, pods, k));
        }
        SpecRow { requests, ..spec.clone() }
    })?;
    if runs_on && end.is_none() {
        sink.report.invent("pods.run_ns", "none: no end on record, runs to the end");
    }
    Ok(())
}
