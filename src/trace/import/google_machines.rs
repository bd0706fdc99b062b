//! Machines of Google's cells, 2011 and 2019: events in order of time become node rows.
//!
//! **Rows.** A machine joins with its addition, leaves with its removal, and changes with an update. An event without
//! capacity keeps the machine's last known one. A machine whose addition had none joins with its first update that has;
//! an addition of a machine that is there is an update.
//!
//! **Left out**, by reason: `no-capacity` (none was known yet), `not-there` (a removal of a machine that is not there).
//!
//! Cost: O(1) an event; memory: some 50 bytes a machine. Source: both traces' "format + schema" documents.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Node, Sink, TraceError};
use crate::trace::model::{CPU, MEMORY, NodeOp, PODS, Resources, label_value};

/// The table, in both data sets.
pub(super) const TABLE: &str = "machine_events";

/// What both data sets' values of machines and requests are.
pub(super) const SHARE: &str = "a share of the largest machine, at most 1";

/// Something happens to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MachineEvent {
    pub op: NodeOp,
    pub machine: u64,
    /// Millicores and bytes.
    pub capacity: Option<(u64, u64)>,
    /// Empty: not known.
    pub platform: String,
}

/// The machines so far.
#[derive(Default)]
pub(super) struct Machines {
    capacity: FxHashMap<u64, (u64, u64)>,
    alive: FxHashSet<u64>,
    /// Millicores and bytes of the machines at time 0.
    pub at_start: (u64, u64),
}

impl Machines {
    /// Takes the next event in order of time. Returns whether it was kept; if not, it has counted the reason.
    pub fn take(
        &mut self,
        sink: &mut Sink,
        time: i64,
        event: &MachineEvent,
        place: impl FnOnce() -> String,
    ) -> Result<bool, TraceError> {
        let machine = event.machine;
        let mut node = Node { op: NodeOp::Remove, name: format!("machine-{machine}"), ..Node::default() };
        if event.op == NodeOp::Remove {
            if !self.alive.remove(&machine) {
                sink.report.drop_row(TABLE, "not-there", place);
                return Ok(false);
            }
        } else {
            let (cpu, memory) = match (event.capacity, self.capacity.get(&machine)) {
                (Some(capacity), _) => capacity,
                (None, Some(&known)) => {
                    let rule = "the machine's last known capacity (record has none)";
                    sink.report.invent("nodes.allocatable", rule);
                    known
                }
                (None, None) => {
                    sink.report.drop_row(TABLE, "no-capacity", place);
                    return Ok(false);
                }
            };
            self.capacity.insert(machine, (cpu, memory));
            node.op = if self.alive.insert(machine) { NodeOp::Add } else { NodeOp::Update };
            if time == 0 {
                self.at_start.0 += cpu;
                self.at_start.1 += memory;
            }
            node.allocatable = Resources::from([
                (CPU.to_string(), cpu),
                (MEMORY.to_string(), memory),
                (PODS.to_string(), 110),
            ]);
            if !event.platform.is_empty() {
                node.labels = BTreeMap::from([("platform".to_string(), label_value(&event.platform))]);
            }
            sink.report.invent("nodes.allocatable.pods", "110, the kubelet's default");
        }
        sink.node(time, &node)?;
        Ok(true)
    }
}
