//! Azure Traces for Packing 2020 (Protean, OSDI'20): VM requests and VM types.
//!
//! **Tables** (an SQLite file; import its tables as CSV with header: `sqlite3 -header -csv FILE 'select * from vm'`).
//! `vm`: vmId, tenantId, vmTypeId, priority (0 high, 1 low), starttime, endtime. `vmType`: id, vmTypeId, machineId, core,
//! memory, hdd, ssd, nic.
//!
//! **Units.** Times in fractional days since collection began; negative: before; empty: alive after 90 days. Resources
//! are fractions of one machine of hardware generation machineId: 1.0 becomes `cpu_unit_millicores` and
//! `memory_unit_bytes`.
//!
//! **Mapping.** A VM is a pod. A VM type has one row a machine generation that can hold it; requests come from the
//! generation that offers the most types, and for a type not offered there from its first generation. Priority:
//! high 1, low 0. VMs alive at the beginning enter at 0 with what is left of their life.
//!
//! **What it cannot tell.** The number of machines (the trace has no nodes), the intended life of evicted low-priority
//! VMs. SSD, HDD and NIC fractions are left out.
//!
//! Source: AzureTracesForPacking2020.md. No real file was at hand; tests use hand-written rows.

use std::collections::BTreeMap;

use super::{DAY, Importer, InputFile, Outcome, Pod, Sink, TraceError, classify};
use crate::trace::error::Problem;
use crate::trace::input::{Table, TableSchema, may, must};
use crate::trace::model::{CPU, MEMORY, Resources, SpecRow};

/// The importer.
pub struct AzurePacking;

static VM: TableSchema = TableSchema {
    name: "vm",
    hints: &["vm_requests", "vmrequests", "vms."],
    columns: &[
        must("vmId|vm_id"),
        may("tenantId|tenant_id"),
        must("vmTypeId|vm_type_id"),
        may("priority"),
        must("starttime|start_time"),
        must("endtime|end_time"),
    ],
    widths: &[6],
    looks: &[],
    delimiter: b',',
};

static VM_TYPE: TableSchema = TableSchema {
    name: "vmType",
    hints: &["vmtype", "vm_type"],
    columns: &[
        may("id"),
        must("vmTypeId|vm_type_id"),
        must("machineId|machine_id"),
        must("core"),
        must("memory"),
        may("hdd"),
        may("ssd"),
        may("nic"),
    ],
    widths: &[8],
    looks: &[],
    delimiter: b',',
};

impl Importer for AzurePacking {
    fn name(&self) -> &'static str {
        "azure-packing"
    }

    fn summary(&self) -> &'static str {
        "Azure Traces for Packing 2020: vm and vmType tables as CSV"
    }

    fn tested_on(&self) -> &'static str {
        "no real file; hand-written rows of the documented form"
    }

    fn import(&self, files: &[InputFile], sink: &mut Sink) -> Result<(), TraceError> {
        for file in files {
            let Ok(bytes) = file.open() else { continue };
            let mut start = [0u8; 16];
            let mut limited = std::io::Read::take(bytes, 16);
            let n = std::io::Read::read(&mut limited, &mut start).unwrap_or(0);
            if start[..n].starts_with(b"SQLite format 3") {
                return Err(TraceError::Usage(format!(
                    "{}: an SQLite file; export its tables first: sqlite3 -header -csv FILE 'select * from vm' > vm.csv, and the same for vmType",
                    file.display()
                )));
            }
        }
        let tables = classify(files, &[&VM_TYPE, &VM], sink)?;
        let mut types = Types::default();
        for (_, file) in tables.iter().filter(|(t, _)| *t == 0) {
            sink.each_row(file, &VM_TYPE, |sink, row| types.row(sink, row).map(|()| true))?;
        }
        types.choose(sink);
        if types.rows.is_empty() {
            sink.report.absent("vmType", "what VMs ask for is unknown: requests are empty");
        }
        for (_, file) in tables.iter().filter(|(t, _)| *t == 1) {
            sink.each_row(file, &VM, |sink, row| vm(sink, row, &types))?;
        }
        sink.report.absent(
            "nodes",
            "the trace does not say how many machines there are; give the scenario a cluster",
        );
        Ok(())
    }
}

#[derive(Default)]
struct Types {
    /// (core, memory) by type and machine generation.
    rows: BTreeMap<String, BTreeMap<String, (u64, u64)>>,
    spec: BTreeMap<String, u32>,
}

impl Types {
    fn row(&mut self, sink: &mut Sink, row: &Table) -> Result<(), TraceError> {
        let mut share = |column: usize, unit: u64| {
            if row.is_null(column) {
                sink.report.invent("specs.requests", "0: the field is empty");
                return Ok(0);
            }
            let n = row.scaled(column, unit)?;
            if n > unit {
                return Err(row.error(Problem::OutOfRange, column, "a fraction of a machine, at most 1"));
            }
            Ok(n)
        };
        let cpu = share(3, UNIT)?;
        let memory = share(4, UNIT)?;
        let by_machine = self.rows.entry(row.text(1).to_string()).or_default();
        if by_machine.insert(row.text(2).to_string(), (cpu, memory)).is_some() {
            return Err(row.error(Problem::DuplicateId, 1, "each VM type once a machine"));
        }
        Ok(())
    }

    fn choose(&mut self, sink: &mut Sink) {
        let mut offered: BTreeMap<&str, u64> = BTreeMap::new();
        for machine in self.rows.values().flat_map(BTreeMap::keys) {
            *offered.entry(machine).or_insert(0) += 1;
        }
        let Some(best) =
            offered.iter().max_by_key(|(m, n)| (**n, std::cmp::Reverse(**m))).map(|(m, _)| m.to_string())
        else {
            return;
        };
        let mut elsewhere = 0;
        for (name, machines) in &self.rows {
            let share = machines.get(&best).or_else(|| {
                elsewhere += 1;
                machines.values().next()
            });
            let Some(&(cpu, memory)) = share else { continue };
            let of = |share: u64, unit: u64| {
                (u128::from(share) * u128::from(unit)).div_ceil(u128::from(UNIT)) as u64
            };
            let requests = Resources::from([
                (CPU.to_string(), of(cpu, sink.options.cpu_unit_millicores)),
                (MEMORY.to_string(), of(memory, sink.options.memory_unit_bytes)),
            ]);
            self.spec.insert(name.clone(), sink.spec(SpecRow { requests, ..SpecRow::default() }));
        }
        sink.report.note(format!(
            "requests are fractions of machine generation {best}, which offers the most VM types; {elsewhere} types take another generation's"
        ));
    }
}

/// Fractions are kept in billionths until the unit is applied.
const UNIT: u64 = 1_000_000_000;

fn vm(sink: &mut Sink, row: &Table, types: &Types) -> Result<bool, TraceError> {
    let id = row.text(0).to_string();
    if id.is_empty() {
        return Err(row.error(Problem::EmptyField, 0, "a VM id"));
    }
    let start = row.signed_time(4, DAY)?;
    let end = if row.is_null(5) { None } else { Some(row.signed_time(5, DAY)?) };
    if end.is_some_and(|e| e < start) {
        return Err(row.error(Problem::DeleteBeforeCreate, 5, "an end not before the start"));
    }
    let priority = match row.text(3) {
        _ if !row.has(3) => {
            sink.report.invent("pods.priority", "0: the table has no column priority");
            0
        }
        "0" | "0.0" => 1,
        "1" | "1.0" => 0,
        _ => return Err(row.error(Problem::UnknownCode, 3, "0 (high) or 1 (low)")),
    };
    let spec = match types.spec.get(row.text(2)) {
        Some(&spec) => spec,
        None if types.rows.is_empty() => sink.spec(SpecRow::default()),
        None => {
            let place = row.place();
            sink.report.drop_row("vm", "unknown-vm-type", || place);
            return Ok(false);
        }
    };
    if end.is_some_and(|e| e <= 0) && start < 0 {
        let place = row.place();
        sink.report.drop_row("vm", "ended-before-the-beginning", || place);
        return Ok(false);
    }
    if !sink.first_seen(&id) {
        return Err(row.error(Problem::DuplicateId, 0, "each VM once"));
    }
    let from = start.max(0);
    if start < 0 {
        sink.report.invent("pods.submit_ns", "0: it was alive when collection began (negative start)");
    }
    if end.is_none() {
        sink.report.invent("pods.run_ns", "none: alive after the last day, runs to the end");
    }
    let pod = Pod {
        submit: from,
        uid: format!("vm-{id}"),
        spec,
        user: if row.is_null(1) { String::new() } else { format!("tenant-{}", row.text(1)) },
        priority,
        run_ns: end.map(|e| (e.max(from) - from) as u64),
        outcome: Some(Outcome { created: Some(from), finished: end, ..Outcome::default() }),
        ..Pod::default()
    };
    sink.pod(&pod)?;
    Ok(true)
}
