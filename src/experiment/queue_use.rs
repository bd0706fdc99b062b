//! `queues.csv`: what each queue holds and who waits in it, over virtual time. Written if there are at least two queues.
//!
//! A pod belongs to the queue that its application asks for. From its creation to its binding it waits, then it holds its
//! requests until it ends. A queue's share is its dominant one: the larger of CPU and memory, of what all nodes
//! allocate. Times are those of the API server, as for `node_fill.csv`, and evenly spaced.
//!
//! Left out: placement rules of YuniKorn (an application that they move stands under the queue it asked for, one that
//! asks for none under `(none)`), extended resources, placeholders; queues past [`QUEUES`], the smallest first, are one.
//!
//! Cost: O(pods log pods) for their order, O(1) a change, O(queues) a row.
use std::collections::BTreeMap;
use std::io::{self, Write};

use super::even_rows;
use super::simulation::Finished;
use crate::cluster::{NO_NODE, PodId};
use crate::engine::Nanos;

/// Queues with columns of their own.
const QUEUES: usize = 24;
const REST: &str = "(other queues)";
const NONE: &str = "(none)";

/// Whether applications ask for different queues.
#[must_use]
pub fn applies(run: &Finished) -> bool {
    run.cluster.pods.apps().windows(2).any(|pair| pair[0].queue != pair[1].queue)
}

/// Name of each column's queue, and the column of each application.
fn columns(run: &Finished) -> (Vec<String>, Vec<usize>) {
    let pods = &run.cluster.pods;
    let name = |app: usize| match pods.apps()[app].queue.as_str() {
        "" => NONE,
        queue => queue,
    };
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for pod in 0..pods.first_placeholder() {
        *sizes.entry(name(pods.app_id(pod) as usize)).or_default() += 1;
    }
    let mut largest: Vec<(&str, u64)> = sizes.into_iter().collect();
    largest.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let rest = largest.len() > QUEUES;
    largest.truncate(QUEUES);
    let mut names: Vec<String> = largest.into_iter().map(|(name, _)| name.to_owned()).collect();
    names.sort();
    if rest {
        names.push(REST.to_owned());
    }
    let last = names.len().saturating_sub(1);
    let at = |app: usize| names.iter().position(|n| n == name(app)).unwrap_or(last);
    let of_app = (0..pods.apps().len()).map(at).collect();
    (names, of_app)
}

#[derive(Clone, Copy, Default)]
struct Use {
    waiting: u64,
    holding: u64,
    cpu: u64,
    memory: u64,
}

/// What happens to a pod, in the order in which it happens at one time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Created,
    Bound,
    Gone,
}

fn ppm(used: u64, of: u64) -> u64 {
    u64::try_from(u128::from(used) * 1_000_000 / u128::from(of.max(1))).unwrap_or(u64::MAX)
}

/// Writes the table: `t_ns`, then for each queue `NAME.waiting` and `NAME.holding` (pods) and `NAME.share_ppm`.
///
/// # Errors
/// The writer's.
pub fn write(out: &mut (dyn Write + Send), run: &Finished) -> io::Result<()> {
    let (pods, nodes) = (&run.cluster.pods, &run.cluster.nodes);
    let mut changes: Vec<(Nanos, What, PodId)> = Vec::new();
    for pod in 0..pods.first_placeholder() {
        let t = pods.timeline(pod);
        let on_node = pods.node(pod) != NO_NODE;
        // Pods that were running when the run began have no times.
        let there = on_node && t.created_ns == u64::MAX;
        let times = [
            (if there { 0 } else { t.created_ns }, What::Created),
            (if there { 0 } else { t.bound_ns }, What::Bound),
            (t.finished_ns, What::Gone),
        ];
        changes.extend(times.into_iter().filter(|(at, _)| *at != u64::MAX).map(|(at, what)| (at, what, pod)));
    }
    changes.sort_unstable();
    let (mut cpu, mut memory) = (0u64, 0u64);
    for node in 0..nodes.len() {
        let allocatable = &nodes.template(node as u32).allocatable;
        cpu = cpu.saturating_add(allocatable.cpu_millicores);
        memory = memory.saturating_add(allocatable.memory_bytes);
    }
    let (names, of_app) = columns(run);
    let mut queues = vec![Use::default(); names.len()];
    let columns = names
        .iter()
        .flat_map(|name| ["waiting", "holding", "share_ppm"].map(|what| format!("{name}.{what}")));
    let mut changes = changes.into_iter().peekable();
    even_rows::write(out, columns, run.kernel.now(), |at| {
        while let Some((_, what, pod)) = changes.next_if(|(time, ..)| *time <= at) {
            let (requests, timeline) = (&pods.spec(pod).requests, pods.timeline(pod));
            let queue = &mut queues[of_app[pods.app_id(pod) as usize]];
            let was_bound = timeline.bound_ns != u64::MAX || timeline.created_ns == u64::MAX;
            match what {
                What::Created => queue.waiting += 1,
                What::Bound => {
                    queue.waiting -= 1;
                    queue.holding += 1;
                    queue.cpu += requests.cpu_millicores;
                    queue.memory += requests.memory_bytes;
                }
                What::Gone if was_bound => {
                    queue.holding -= 1;
                    queue.cpu -= requests.cpu_millicores;
                    queue.memory -= requests.memory_bytes;
                }
                What::Gone => queue.waiting -= 1,
            }
        }
        let row = queues.iter().flat_map(|queue| {
            [queue.waiting, queue.holding, ppm(queue.cpu, cpu).max(ppm(queue.memory, memory))]
        });
        row.collect::<Vec<u64>>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::run::{Environment, RunSpec};
    use crate::scenario::Document;

    fn table(queues: &[&str], pods: &str) -> (bool, Vec<String>, Vec<Vec<u64>>) {
        let queues: Vec<String> = queues.iter().map(|name| format!("{{name: {name}}}")).collect();
        let text = format!(
            "apiVersion: podpace/v1\nkind: Scenario\nname: queues\n\
             cluster: {{nodes: [{{count: 10, template: {{allocatable: {{cpu: 10, memory: 100Gi}}}}}}]}}\n\
             scheduler: {{kind: yunikorn, client: {{qps: 10, burst: 1}}, queues: [{}]}}\n\
             workload: {{pods: [{pods}], start: backlog}}\n",
            queues.join(", ")
        );
        let spec = RunSpec::of_scenario(Document::parse("queues.yaml", &text, None).unwrap()).unwrap();
        let run = spec.simulate(&Environment::built_in()).unwrap().finished;
        let mut bytes = Vec::new();
        write(&mut bytes, &run).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let mut lines = text.lines();
        let head = lines.next().unwrap().split(',').map(str::to_owned).collect();
        let rows = lines.map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect()).collect();
        (applies(&run), head, rows)
    }

    #[test]
    fn everybody_waits_then_holds() {
        let (applies, head, rows) = table(
            &["root.a", "root.b"],
            "{count: 20, queue: root.a, requests: {cpu: 1, memory: 1Gi}}, \
             {count: 10, queue: root.b, requests: {cpu: 1, memory: 20Gi}}",
        );
        assert!(applies);
        let columns = ["root.a.waiting", "root.a.holding", "root.a.share_ppm"];
        assert_eq!(head[1..4], columns.map(str::to_owned));
        assert_eq!((rows[0][1], rows[0][4]), (20, 10));
        let last = rows.last().unwrap();
        // 20 of 100 cores; 200 of 1000 GiB.
        assert_eq!(last[1..], [0, 20, 200_000, 0, 10, 200_000]);
        for row in &rows {
            assert_eq!(row[1] + row[2], 20);
            assert_eq!(row[4] + row[5], 10);
        }
    }

    #[test]
    fn many_queues_become_few_columns() {
        let names: Vec<String> = (0..40).map(|i| format!("root.q{i:02}")).collect();
        let pods: Vec<String> = names
            .iter()
            .enumerate()
            .map(|(i, name)| format!("{{count: {}, queue: {name}, requests: {{cpu: 1m}}}}", i % 3 + 1))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (_, head, rows) = table(&names, &pods.join(", "));
        assert_eq!(head.len(), 1 + 3 * (QUEUES + 1));
        assert_eq!(head.last().unwrap(), "(other queues).share_ppm");
        let total: u64 = rows[0].iter().skip(1).step_by(3).sum();
        assert_eq!(total, (0..40).map(|i| i % 3 + 1).sum::<u64>());
    }

    #[test]
    fn with_one_queue_there_is_no_table() {
        assert!(!table(&["root.a"], "{count: 2, queue: root.a, requests: {cpu: 1}}").0);
    }
}
