//! Native traces again: to change the encoding, or to check and renumber one written by hand.
//!
//! Pods are sorted by time, specs renumbered in order of first use and merged when equal; source, origin and report stay
//! those of the trace. Copying a trace that an importer wrote gives the same rows, and with the same encoding the same
//! bytes. Errors: pods whose spec or uid is not there or not unique, times that go back, outcomes and events of unknown
//! pods are left to `validate`.

use std::path::PathBuf;

use super::{Importer, InputFile, Node, Origin, Outcome, Pod, Sink, TraceError};
use crate::trace::error::{Problem, RowError};
use crate::trace::model::OutcomeRow;
use crate::trace::native::{self, PodBatch};

/// The importer.
pub struct Native;

/// Native traces are folders: they are not walked.
pub(super) fn folders(paths: &[PathBuf]) -> Result<Vec<InputFile>, TraceError> {
    if paths.len() != 1 {
        return Err(TraceError::Usage(format!("native: one trace folder at a time, found {}", paths.len())));
    }
    Ok(paths.iter().map(|p| InputFile::named(p)).collect())
}

impl Importer for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn summary(&self) -> &'static str {
        "podpace's own format (to change its encoding)"
    }

    fn tested_on(&self) -> &'static str {
        "every trace that the other importers write"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        let [folder] = files else { return Err(TraceError::Usage("native: name one trace folder".into())) };
        let reader = native::open(&folder.path)?;
        sink.origin = Origin::Relative(reader.manifest().origin_unix_ns);
        sink.keep_manifest(reader.manifest().clone());
        let time = |t: u64| i64::try_from(t).unwrap_or(i64::MAX);
        for row in reader.nodes()? {
            let n = row?;
            let node = Node {
                op: n.op,
                name: n.name,
                allocatable: n.allocatable,
                labels: n.labels,
                taints: n.taints,
            };
            sink.node(time(n.t_ns), &node)?;
        }
        for row in reader.events()? {
            let e = row?;
            sink.event(time(e.t_ns), e.op, &e.uid, &e.node)?;
        }
        let ids: Vec<u32> = reader.specs()?.into_iter().map(|s| sink.spec(s)).collect();
        let mut outcomes = reader.outcomes()?;
        let mut next: Option<OutcomeRow> = outcomes.next().transpose()?;
        let mut pods = reader.pods()?;
        let mut batch = PodBatch::default();
        let mut line = 0;
        while pods.next_batch(&mut batch)? {
            for i in 0..batch.len() {
                line += 1;
                let row = batch.row(i);
                let bad = |problem, field: &str, value: String, expected: &str| RowError {
                    problem,
                    file: pods.path().display().to_string(),
                    line,
                    field: field.to_string(),
                    value,
                    expected: expected.to_string(),
                };
                let Some(&spec) = ids.get(row.spec_id as usize) else {
                    let e =
                        bad(Problem::DanglingReference, "spec_id", row.spec_id.to_string(), "a row of specs");
                    sink.bad_file("pods", e.into())?;
                    continue;
                };
                if !sink.first_seen(&row.uid) {
                    let e = bad(Problem::DuplicateId, "uid", row.uid.clone(), "each uid once");
                    sink.bad_file("pods", e.into())?;
                    continue;
                }
                // Outcomes lie in the order of their pods.
                let outcome = match &next {
                    Some(o) if o.uid == row.uid => {
                        let o = next.take();
                        next = outcomes.next().transpose()?;
                        o
                    }
                    _ => None,
                };
                let pod = Pod {
                    submit: time(row.submit_ns),
                    uid: row.uid,
                    spec,
                    app: row.app,
                    task_group: row.task_group,
                    min_member: row.min_member,
                    queue: row.queue,
                    user: row.user,
                    priority: row.priority,
                    run_ns: row.run_ns,
                    outcome: outcome.map(|o| Outcome {
                        created: o.created_ns.map(time),
                        bound: o.bound_ns.map(time),
                        running: o.running_ns.map(time),
                        finished: o.finished_ns.map(time),
                        node: o.node,
                    }),
                };
                sink.pod(&pod)?;
            }
        }
        Ok(())
    }
}
