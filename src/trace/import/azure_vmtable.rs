//! Azure public VM traces of 2017 (V1) and 2019 (V2): `vmtable.csv`.
//!
//! **Table** (CSV without header, 11 columns): VM id, subscription, deployment, created (s), deleted (s), maximum,
//! average and 95th percentile CPU use, category (Interactive, Delay-insensitive, Unknown), cores, memory (GB). V2 has
//! buckets for the last two: the bucket's number, `>24` for cores and `>64` for memory.
//!
//! **Mapping.** A VM is a pod that runs from created to deleted; deployment is its application, subscription its user,
//! category a label. `>24` becomes 30 cores and `>64` 70 GB, as the data set's own analysis takes them.
//!
//! **What it cannot tell.** Nodes (none), how long a VM waited (created is when it was there), and real ends of VMs
//! alive at the end: they carry the trace's last time.
//!
//! Source: AzurePublicDatasetV1.md, AzurePublicDatasetV2.md. No real file was at hand; tests use hand-written rows.

use super::{GIB, Importer, InputFile, Outcome, Pod, SECOND, Sink, TraceError, classify};
use crate::trace::error::Problem;
use crate::trace::input::{Table, TableSchema, may, must};
use crate::trace::model::{CPU, MEMORY, Resources, SpecRow};

/// The importer.
pub struct AzureVmtable;

static VMS: TableSchema = TableSchema {
    name: "vmtable",
    hints: &["vmtable"],
    columns: &[
        must("vmid|vm_id|vm id"),
        may("subscriptionid|subscription_id|subscription id"),
        may("deploymentid|deployment_id|deployment id"),
        must("vmcreated|timestamp vm created|timestampvmcreated"),
        must("vmdeleted|timestamp vm deleted|timestampvmdeleted"),
        may("maxcpu|max cpu"),
        may("avgcpu|avg cpu"),
        may("p95maxcpu|p95 max cpu"),
        may("vmcategory|vm category"),
        must("vmcorecountbucket|vmcorecount|vm virtual core count bucket|vm virtual core count"),
        must("vmmemorybucket|vmmemory|vm memory (gbs) bucket|vm memory (gbs)"),
    ],
    widths: &[11],
    looks: &[],
    delimiter: b',',
};

impl Importer for AzureVmtable {
    fn name(&self) -> &'static str {
        "azure-vmtable"
    }

    fn summary(&self) -> &'static str {
        "Azure public VM traces 2017 and 2019: vmtable.csv"
    }

    fn tested_on(&self) -> &'static str {
        "no real file; hand-written rows of the documented form"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        for (_, file) in classify(files, &[&VMS], sink)? {
            sink.each_row(file, &VMS, |sink, row| vm(sink, row).map(|()| true))?;
        }
        sink.report.absent("nodes", "the trace publishes no machines; give the scenario a cluster");
        sink.report.note(
            "a VM alive at the end of the trace has the last time as its deletion: its run time is cut",
        );
        Ok(())
    }
}

fn bucket(
    sink: &mut Sink,
    row: &Table,
    column: usize,
    unit: u64,
    above: &str,
    rule: &str,
) -> Result<u64, TraceError> {
    let text = row.text(column).to_string();
    match text.strip_prefix('>') {
        None => row.scaled(column, unit),
        Some(_) => {
            sink.report.invent("specs.requests", rule);
            crate::trace::number::scaled(above, unit)
                .map_err(|_| row.error(Problem::NotANumber, column, "a bucket as 4 or >24"))
        }
    }
}

fn vm(sink: &mut Sink, row: &Table) -> Result<(), TraceError> {
    let id = row.text(0).to_string();
    if id.is_empty() {
        return Err(row.error(Problem::EmptyField, 0, "a VM id"));
    }
    let created = row.time(3, SECOND)?;
    let deleted = if row.is_null(4) { None } else { Some(row.time(4, SECOND)?) };
    if deleted.is_some_and(|d| d < created) {
        return Err(row.error(Problem::DeleteBeforeCreate, 4, "a deletion not before creation"));
    }
    let cpu = bucket(sink, row, 9, 1000, "30", "30 cores for the bucket >24")?;
    let memory = bucket(sink, row, 10, GIB, "70", "70 GB for the bucket >64")?;
    if !sink.first_seen(&id) {
        return Err(row.error(Problem::DuplicateId, 0, "each VM once"));
    }
    let requests = Resources::from([(CPU.to_string(), cpu), (MEMORY.to_string(), memory)]);
    let mut spec = SpecRow { requests, ..SpecRow::default() };
    if !row.is_null(8) {
        spec.labels.insert("category".to_string(), row.text(8).to_string());
    }
    if deleted.is_none() {
        sink.report.invent("pods.run_ns", "none: no deletion on record, runs to the end");
    }
    let pod = Pod {
        submit: created,
        uid: id,
        spec: sink.spec(spec),
        app: row.text(2).to_string(),
        user: row.text(1).to_string(),
        run_ns: deleted.map(|d| (d - created) as u64),
        outcome: Some(Outcome { running: Some(created), finished: deleted, ..Outcome::default() }),
        ..Pod::default()
    };
    sink.pod(&pod)
}
