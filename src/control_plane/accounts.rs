//! What the API server would say about its requests on `/metrics`: answers by verb and code, how long they took, and
//! per flow schema what was dispatched, queued and rejected.
//!
//! A request's duration runs from its arrival at the server to its answer and includes its wait in a fair queue, as
//! `apiserver_request_duration_seconds` does. A wait for seats counts from the arrival too, so that on a busy server it
//! includes the CPU time of reading the request. Bucket bounds are those of kube-apiserver 1.36.
//!
//! Left out: durations of answers 429 (the model does not keep their arrival); reads and watches, which are not modelled.
//!
//! Cost: O(buckets below its duration) a request.
use crate::engine::{MILLISECOND, Nanos, SECOND};
use crate::measure::Histogram;

use super::Verb;

/// Upper bounds of `apiserver_request_duration_seconds`.
pub const REQUEST_BOUNDS_NS: [Nanos; 23] = [
    5 * MILLISECOND,
    25 * MILLISECOND,
    50 * MILLISECOND,
    100 * MILLISECOND,
    200 * MILLISECOND,
    400 * MILLISECOND,
    600 * MILLISECOND,
    800 * MILLISECOND,
    SECOND,
    1250 * MILLISECOND,
    1500 * MILLISECOND,
    2 * SECOND,
    3 * SECOND,
    4 * SECOND,
    5 * SECOND,
    6 * SECOND,
    8 * SECOND,
    10 * SECOND,
    15 * SECOND,
    20 * SECOND,
    30 * SECOND,
    45 * SECOND,
    60 * SECOND,
];

/// Upper bounds of `apiserver_flowcontrol_request_wait_duration_seconds`.
pub const WAIT_BOUNDS_NS: [Nanos; 13] = [
    0,
    5 * MILLISECOND,
    20 * MILLISECOND,
    50 * MILLISECOND,
    100 * MILLISECOND,
    200 * MILLISECOND,
    500 * MILLISECOND,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    15 * SECOND,
    30 * SECOND,
];

/// Names of the verbs in telemetry, in order of [`Verb`]. An eviction counts as the deletion that it becomes.
const VERB_NAMES: [&str; 16] = [
    "create_pod",
    "bind",
    "patch_condition",
    "patch_running",
    "patch_succeeded",
    "delete_pod",
    "delete_gracefully",
    "create_event",
    "patch_failed",
    "patch_not_ready",
    "get_pod",
    "list",
    "create_node",
    "patch_node",
    "delete_node",
    "put_object",
];

/// The account of a verb.
const fn account_of(verb: Verb) -> usize {
    match verb {
        Verb::Evict => Verb::DeleteGracefully as usize,
        verb => verb as usize,
    }
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct VerbAccount {
    answered: u64,
    timed_out: u64,
    rejected: u64,
    duration: Histogram,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct FlowAccount {
    #[serde(skip)]
    schema: &'static str,
    #[serde(skip)]
    level: &'static str,
    dispatched: u64,
    executing: u64,
    in_queue: u64,
    rejected_queue_full: u64,
    rejected_time_out: u64,
    wait: Histogram,
}

/// Accounts of one API server.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Accounts {
    verbs: Vec<VerbAccount>,
    flows: Vec<FlowAccount>,
    /// By client: its flow's account.
    of_client: Vec<Option<usize>>,
    /// How often a flow began or ended to have requests in queue.
    waiting_changes: u64,
}

impl Default for Accounts {
    fn default() -> Self {
        let verb = || VerbAccount {
            answered: 0,
            timed_out: 0,
            rejected: 0,
            duration: Histogram::new(&REQUEST_BOUNDS_NS),
        };
        Self {
            verbs: VERB_NAMES.iter().map(|_| verb()).collect(),
            flows: Vec::new(),
            of_client: Vec::new(),
            waiting_changes: 0,
        }
    }
}

impl Accounts {
    /// Takes over what a checkpoint leaves to the inputs (the names of flow schemas and levels).
    pub(super) fn keep_inputs_of(&mut self, built: Self) {
        for (flow, built) in self.flows.iter_mut().zip(built.flows) {
            (flow.schema, flow.level) = (built.schema, built.level);
        }
    }

    /// The next client's flow schema and priority level; none without priority and fairness.
    pub(super) fn add_client(&mut self, flow: Option<(&'static str, &'static str)>) {
        let account = flow.map(|(schema, level)| {
            self.flows.iter().position(|f| f.schema == schema && f.level == level).unwrap_or_else(|| {
                self.flows.push(FlowAccount {
                    schema,
                    level,
                    dispatched: 0,
                    executing: 0,
                    in_queue: 0,
                    rejected_queue_full: 0,
                    rejected_time_out: 0,
                    wait: Histogram::new(&WAIT_BOUNDS_NS),
                });
                self.flows.len() - 1
            })
        });
        self.of_client.push(account);
    }

    fn flow(&mut self, client: u8) -> Option<&mut FlowAccount> {
        let at = (*self.of_client.get(usize::from(client))?)?;
        self.flows.get_mut(at)
    }

    /// Requests that wait in fair queues, by priority level; a level may come twice.
    pub fn waiting(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.flows.iter().map(|flow| (flow.level, flow.in_queue))
    }

    /// A number that changes whenever a flow begins or ends to have requests in [`waiting`](Self::waiting).
    #[inline]
    pub const fn waiting_changes(&self) -> u64 {
        self.waiting_changes
    }

    /// A request's handler starts after `wait_ns` at the server.
    #[inline]
    pub(super) fn dispatched(&mut self, client: u8, wait_ns: Nanos, was_queued: bool) {
        if let Some(flow) = self.flow(client) {
            flow.dispatched += 1;
            flow.executing += 1;
            flow.in_queue -= u64::from(was_queued);
            flow.wait.observe(wait_ns);
            let last = was_queued && flow.in_queue == 0;
            self.waiting_changes += u64::from(last);
        }
    }

    /// A request waits in a fair queue.
    pub(super) fn queued(&mut self, client: u8) {
        if let Some(flow) = self.flow(client) {
            flow.in_queue += 1;
            let first = flow.in_queue == 1;
            self.waiting_changes += u64::from(first);
        }
    }

    /// A request gets 429, at once or after it has waited too long.
    pub(super) fn rejected(&mut self, client: u8, verb: Verb, has_waited: bool) {
        self.verbs[account_of(verb)].rejected += 1;
        if let Some(flow) = self.flow(client) {
            if has_waited {
                flow.in_queue -= 1;
                flow.rejected_time_out += 1;
                let last = flow.in_queue == 0;
                self.waiting_changes += u64::from(last);
            } else {
                flow.rejected_queue_full += 1;
            }
        }
    }

    /// A request is answered.
    #[inline]
    pub(super) fn answered(&mut self, client: u8, verb: Verb, duration_ns: Nanos, in_time: bool) {
        let account = &mut self.verbs[account_of(verb)];
        account.duration.observe(duration_ns);
        if in_time {
            account.answered += 1;
        } else {
            account.timed_out += 1;
        }
        if let Some(flow) = self.flow(client) {
            flow.executing -= 1;
        }
    }

    /// The server is a new process: nothing executes and nothing waits.
    pub(super) fn restarted(&mut self) {
        for flow in &mut self.flows {
            (flow.executing, flow.in_queue) = (0, 0);
        }
        self.waiting_changes += 1;
    }

    /// Names of the columns that [`Accounts::row`] fills.
    pub fn columns(&self, columns: &mut Vec<String>) {
        for name in VERB_NAMES {
            let verb = format!("request.{name}");
            columns.extend(["answered", "timed_out", "rejected_429"].map(|what| format!("{verb}.{what}")));
            Histogram::columns(&format!("{verb}.duration"), &REQUEST_BOUNDS_NS, columns);
        }
        for flow in &self.flows {
            let name = format!("flow.{}.{}", flow.schema, flow.level);
            let what = ["dispatched", "executing", "in_queue", "rejected_queue_full", "rejected_time_out"];
            columns.extend(what.map(|what| format!("{name}.{what}")));
            Histogram::columns(&format!("{name}.wait"), &WAIT_BOUNDS_NS, columns);
        }
    }

    /// The accounts now.
    pub fn row(&self, row: &mut Vec<u64>) {
        for verb in &self.verbs {
            row.extend([verb.answered, verb.timed_out, verb.rejected]);
            verb.duration.row(row);
        }
        for flow in &self.flows {
            row.extend([flow.dispatched, flow.executing, flow.in_queue]);
            row.extend([flow.rejected_queue_full, flow.rejected_time_out]);
            flow.wait.row(row);
        }
    }
}
