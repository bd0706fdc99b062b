//! The core against a plain walk: every cycle sorts all queues, applications, asks and nodes anew and tries them
//! one by one, as the real core does. Decisions and counted operations must be the same.
use std::cmp::Reverse;
use std::collections::BTreeMap;

use podpace::cluster::{
    App, Cluster, HOSTNAME_LABEL, LabelSelector, NodeId, NodeTemplate, PodAffinityTerm, PodId, PodSpec,
    Resources, SpreadConstraint, Taint, TaintEffect, Toleration, ZONE_LABEL,
};
use podpace::scheduler::yunikorn::{Core, Work};
use podpace::scheduler::{AppSort, NodeSortPolicy, QueueConfig, Settings, kube};
use proptest::prelude::*;

struct Naive<'a> {
    settings: &'a Settings,
    priority_sort: bool,
    nodes: BTreeMap<NodeId, ()>,
    asks: Vec<PodId>,
    placed: Vec<(PodId, NodeId)>,
    app_order: Vec<u32>,
}

#[derive(Clone, Copy, Default)]
struct Use {
    cpu: u64,
    memory: u64,
    pods: u64,
}

#[allow(clippy::cast_precision_loss)]
impl Naive<'_> {
    fn in_use(&self, cluster: &Cluster, keep: impl Fn(PodId, NodeId) -> bool) -> Use {
        let mut sum = Use::default();
        for (pod, node) in self.placed.iter().filter(|(p, n)| keep(*p, *n)) {
            let _ = node;
            let r = &cluster.pods.spec(*pod).requests;
            sum = Use {
                cpu: sum.cpu + r.cpu_millicores,
                memory: sum.memory + r.memory_bytes,
                pods: sum.pods + 1,
            };
        }
        sum
    }

    fn score(&self, cluster: &Cluster, node: NodeId) -> f64 {
        let used = self.in_use(cluster, |_, n| n == node);
        let total = &cluster.nodes.template(node).allocatable;
        let share = |used: u64, total: u64| 1.0 - (total - used) as f64 / total as f64;
        let mean = (share(used.cpu, total.cpu_millicores) + share(used.memory, total.memory_bytes)) / 2.0;
        if self.settings.node_sort_policy == NodeSortPolicy::Fair { mean } else { 1.0 - mean }
    }

    fn has_room(&self, cluster: &Cluster, node: NodeId, spec: &PodSpec) -> bool {
        let used = self.in_use(cluster, |_, n| n == node);
        let total = &cluster.nodes.template(node).allocatable;
        used.pods < u64::from(total.pods)
            && used.cpu + spec.requests.cpu_millicores <= total.cpu_millicores
            && used.memory + spec.requests.memory_bytes <= total.memory_bytes
    }

    fn accepts(&self, cluster: &Cluster, node: NodeId, spec: &PodSpec) -> bool {
        if !self.settings.predicates {
            return true;
        }
        let label = |n: NodeId, key: &str| cluster.nodes.label(n, key).map(str::to_owned);
        let matching = |key: &str, value: &str, selector: &LabelSelector| {
            self.placed
                .iter()
                .filter(|(p, n)| {
                    label(*n, key).as_deref() == Some(value)
                        && selector.matches(&cluster.pods.spec(*p).labels)
                })
                .count()
        };
        if kube::static_rejection(cluster, spec, node).is_some() {
            return false;
        }
        for term in spec.pod_affinity.iter().filter(|t| t.weight.is_none()) {
            let here = label(node, &term.topology_key);
            let near = here.as_ref().map_or(0, |v| matching(&term.topology_key, v, &term.selector));
            if term.anti {
                if near > 0 {
                    return false;
                }
            } else {
                let any = self.placed.iter().any(|(p, n)| {
                    label(*n, &term.topology_key).is_some()
                        && term.selector.matches(&cluster.pods.spec(*p).labels)
                });
                let first = !any && term.selector.matches(&spec.labels);
                if here.is_none() || (near == 0 && !first) {
                    return false;
                }
            }
        }
        for (pod, other) in &self.placed {
            for term in cluster.pods.spec(*pod).pod_affinity.iter().filter(|t| t.weight.is_none() && t.anti) {
                let here = label(node, &term.topology_key);
                if here.is_some()
                    && here == label(*other, &term.topology_key)
                    && term.selector.matches(&spec.labels)
                {
                    return false;
                }
            }
        }
        for constraint in spec.topology_spread.iter().filter(|c| c.hard) {
            let Some(here) = label(node, &constraint.topology_key) else { return false };
            let mut domains: Vec<String> =
                self.nodes.keys().filter_map(|n| label(*n, &constraint.topology_key)).collect();
            domains.sort();
            domains.dedup();
            let count = |d: &String| matching(&constraint.topology_key, d, &constraint.selector);
            let least = domains.iter().map(count).min().unwrap_or(0);
            let own = usize::from(constraint.selector.matches(&spec.labels));
            if count(&here) + own > least + constraint.max_skew as usize {
                return false;
            }
        }
        true
    }

    fn queue_of(cluster: &Cluster, pod: PodId) -> &str {
        &cluster.pods.apps()[cluster.pods.app_id(pod) as usize].queue
    }

    fn under(queue: &str, name: &str) -> bool {
        queue == name || queue.starts_with(&format!("{name}."))
    }

    fn config(&self, name: &str) -> Option<&QueueConfig> {
        self.settings.queues.iter().find(|q| q.name == name)
    }

    fn totals(&self, cluster: &Cluster) -> (u64, u64) {
        self.nodes.keys().fold((0, 0), |sum, n| {
            let a = &cluster.nodes.template(*n).allocatable;
            (sum.0 + a.cpu_millicores, sum.1 + a.memory_bytes)
        })
    }

    fn total_pods(&self, cluster: &Cluster) -> u64 {
        self.nodes.keys().map(|n| u64::from(cluster.nodes.template(*n).allocatable.pods)).sum()
    }

    fn exceeds(&self, cluster: &Cluster, queue: &str, spec: &PodSpec) -> bool {
        let mut name = queue;
        loop {
            let max = if name == "root" {
                Some(self.totals(cluster))
            } else {
                self.config(name).and_then(|c| c.max)
            };
            if let Some((cpu, memory)) = max {
                let used = self.in_use(cluster, |p, _| Self::under(Self::queue_of(cluster, p), name));
                if used.cpu + spec.requests.cpu_millicores > cpu
                    || used.memory + spec.requests.memory_bytes > memory
                {
                    return true;
                }
            }
            match name.rsplit_once('.') {
                Some((above, _)) => name = above,
                None => return false,
            }
        }
    }

    fn cycle(&mut self, cluster: &Cluster, names: &[String]) -> (Option<(PodId, NodeId)>, Work) {
        let mut work = Work::default();
        let found = self.queue(cluster, "root", names, &mut work);
        if let Some((pod, node)) = found {
            self.asks.retain(|p| *p != pod);
            self.placed.push((pod, node));
        }
        (found, work)
    }

    fn queue(
        &self,
        cluster: &Cluster,
        name: &str,
        names: &[String],
        work: &mut Work,
    ) -> Option<(PodId, NodeId)> {
        let pending = |q: &str| -> Vec<PodId> {
            self.asks.iter().copied().filter(|p| Self::under(Self::queue_of(cluster, *p), q)).collect()
        };
        // Queues in order of creation: the configured ones come first.
        let mut children: Vec<&String> =
            names.iter().filter(|n| n.rsplit_once('.').is_some_and(|(above, _)| above == name)).collect();
        if children.is_empty() {
            return self.leaf(cluster, name, work);
        }
        children.retain(|c| !pending(c).is_empty());
        let key = |q: &String| {
            let priority = pending(q).iter().map(|p| cluster.pods.spec(*p).priority).max().unwrap_or(0);
            let config = self.config(q);
            let (cpu, memory) =
                config.and_then(|c| c.guaranteed.or(c.max)).unwrap_or_else(|| self.totals(cluster));
            let used = self.in_use(cluster, |p, _| Self::under(Self::queue_of(cluster, p), q));
            let of = |used: u64, total: u64| match (used, total) {
                (0, _) => 0.0,
                (_, 0) => 1.0,
                _ => used as f64 / total as f64,
            };
            let pods = of(used.pods, self.total_pods(cluster));
            let share = of(used.cpu, cpu).max(of(used.memory, memory)).max(pods);
            (if self.priority_sort { -i64::from(priority) } else { 0 }, share)
        };
        children.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap());
        children.into_iter().find_map(|c| self.queue(cluster, c, names, work))
    }

    fn leaf(&self, cluster: &Cluster, queue: &str, work: &mut Work) -> Option<(PodId, NodeId)> {
        let config = self.config(queue);
        let mut apps: Vec<u32> = (0..u32::try_from(cluster.pods.apps().len()).unwrap())
            .filter(|a| cluster.pods.apps()[*a as usize].queue == queue)
            .collect();
        let asks = |app: u32| -> Vec<PodId> {
            let mut asks: Vec<PodId> =
                self.asks.iter().copied().filter(|p| cluster.pods.app_id(*p) == app).collect();
            asks.sort_by_key(|p| Reverse(cluster.pods.spec(*p).priority));
            asks
        };
        let used = |app: u32| self.in_use(cluster, |p, _| cluster.pods.app_id(p) == app);
        work.apps_sorted +=
            apps.iter().filter(|a| !asks(**a).is_empty() || used(**a).pods > 0).count() as u64;
        apps.retain(|a| !asks(*a).is_empty());
        let key = |app: &u32| {
            let priority = if self.priority_sort {
                asks(*app).iter().map(|p| cluster.pods.spec(*p).priority).max().unwrap()
            } else {
                0
            };
            let mut shares = [0.0; 3];
            if config.is_some_and(|c| c.sort == AppSort::Fair) {
                let (cpu, memory) = config.and_then(|c| c.guaranteed).unwrap_or((1, 1));
                let u = used(*app);
                shares = [u.cpu as f64 / cpu as f64, u.memory as f64 / memory as f64, u.pods as f64];
                shares.sort_by(|a, b| b.partial_cmp(a).unwrap());
            }
            (-i64::from(priority), shares, self.app_order[*app as usize])
        };
        apps.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap());
        for app in apps {
            let asks = asks(app);
            work.asks_listed += asks.len() as u64;
            for pod in asks {
                let spec = cluster.pods.spec(pod);
                if self.exceeds(cluster, queue, spec) {
                    work.asks_skipped += 1;
                    continue;
                }
                work.asks_tried += 1;
                let mut nodes: Vec<(f64, &str, NodeId)> = self
                    .nodes
                    .keys()
                    .map(|n| (self.score(cluster, *n), cluster.nodes.get(*n).name.as_str(), *n))
                    .collect();
                nodes.sort_by(|a, b| a.partial_cmp(b).unwrap());
                let terms = spec.pod_affinity.iter().any(|t| t.weight.is_none())
                    || spec.topology_spread.iter().any(|c| c.hard);
                for (_, _, node) in nodes {
                    work.nodes_visited += 1;
                    if cluster.nodes.template(node).unschedulable || !self.has_room(cluster, node, spec) {
                        continue;
                    }
                    if self.settings.predicates {
                        work.predicates += 1;
                        work.affinity_predicates += u64::from(terms);
                    }
                    if self.accepts(cluster, node, spec) {
                        work.asks_skipped += used(app).pods;
                        return Some((pod, node));
                    }
                }
            }
        }
        None
    }
}

fn labels(app: u32) -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), format!("a{app}"))])
}

fn affinity(app: u32, key: &str, anti: bool) -> PodAffinityTerm {
    let selector = labels(app).into();
    PodAffinityTerm { selector, topology_key: key.to_owned(), anti, ..PodAffinityTerm::default() }
}

/// One of a few dozen specs: sizes, priorities, tolerations and demands on other pods.
fn spec(app: u32, size: u32, flavour: u32, priority: i32) -> PodSpec {
    let mut spec = PodSpec { priority, labels: labels(app), ..PodSpec::default() };
    spec.requests = Resources {
        cpu_millicores: [100, 300, 700, 2000][size as usize % 4],
        memory_bytes: [400, 100, 900, 500][size as usize % 4],
        ..Resources::default()
    };
    match flavour {
        0 => spec.tolerations.push(Toleration { key: "t".into(), exists: true, ..Toleration::default() }),
        1 => spec.pod_affinity.push(affinity(app, HOSTNAME_LABEL, true)),
        2 => spec.pod_affinity.push(affinity(app, ZONE_LABEL, true)),
        3 => spec.pod_affinity.push(affinity(app, ZONE_LABEL, false)),
        4 => spec.topology_spread.push(SpreadConstraint {
            max_skew: 1,
            topology_key: ZONE_LABEL.to_owned(),
            hard: true,
            selector: labels(app).into(),
            ..SpreadConstraint::default()
        }),
        _ => {}
    }
    spec
}

#[derive(Clone, Debug)]
enum Op {
    Ask { app: u32, size: u32, flavour: u32, priority: i32 },
    Cycles(u32),
    Release(usize),
    RemoveNode(u32),
    AddNode(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0_u32..6, 0_u32..4, 0_u32..9, 0_i32..3)
            .prop_map(|(app, size, flavour, priority)| Op::Ask { app, size, flavour, priority }),
        4 => (1_u32..4).prop_map(Op::Cycles),
        2 => any::<usize>().prop_map(Op::Release),
        1 => any::<u32>().prop_map(Op::RemoveNode),
        1 => any::<u32>().prop_map(Op::AddNode),
    ]
}

fn queue(name: &str, sort: AppSort, guaranteed: Option<(u64, u64)>, max: Option<(u64, u64)>) -> QueueConfig {
    QueueConfig { name: name.to_owned(), sort, guaranteed, max }
}

fn check(ops: &[Op], nodes: usize, policy: NodeSortPolicy, predicates: bool, priority_sort: bool) {
    let mut cluster = Cluster::default();
    let template = |cpu, memory, tainted: bool, unschedulable| NodeTemplate {
        taints: if tainted {
            vec![Taint { key: "t".into(), value: String::new(), effect: TaintEffect::NoSchedule }]
        } else {
            Vec::new()
        },
        unschedulable,
        allocatable: Resources { cpu_millicores: cpu, memory_bytes: memory, pods: 5, ..Resources::default() },
        ..NodeTemplate::default()
    };
    let templates = [
        template(1000, 1000, false, false),
        template(3000, 1500, false, false),
        template(1500, 4000, true, false),
        template(4000, 4000, false, true),
    ]
    .map(|t| cluster.nodes.add_template(t));
    let zones = ["z0", "z1", "z2"].map(|z| cluster.nodes.add_zone(z));
    for i in 0..nodes {
        let template = templates[[0, 1, 0, 2, 1, 0, 3, 2][i % 8]];
        cluster.nodes.add(format!("n{}", (i * 17) % nodes), template, Some(zones[i % 3]));
    }
    let settings = Settings {
        predicates,
        node_sort_policy: policy,
        queues: vec![
            queue("root.a", AppSort::Fair, None, Some((3000, 3000))),
            queue("root.b.c", AppSort::Fair, Some((1000, 2000)), None),
            queue("root.b.d", AppSort::Fifo, None, Some((2500, 2500))),
        ],
        ..Settings::default()
    };
    let names: Vec<String> =
        ["root.a", "root.b", "root.b.c", "root.b.d", "root.e"].iter().map(|n| (*n).to_owned()).collect();
    for queue in ["root.a", "root.b.c", "root.b.d", "root.e", "root.a", "root.b.c"] {
        cluster.pods.add_app(App { name: "x".into(), queue: queue.to_owned(), ..App::default() });
    }
    let mut core = Core::new(&settings, priority_sort);
    let mut naive = Naive {
        settings: &settings,
        priority_sort,
        nodes: BTreeMap::new(),
        asks: Vec::new(),
        placed: Vec::new(),
        app_order: vec![u32::MAX; 6],
    };
    for node in 0..u32::try_from(nodes).unwrap() {
        core.set_node(&cluster, node);
        naive.nodes.insert(node, ());
    }
    let mut next_app = 0;
    for op in ops {
        match op {
            Op::Ask { app, size, flavour, priority } => {
                let spec = cluster.pods.add_spec(spec(*app, *size, *flavour, *priority));
                let pod = cluster.pods.add(spec, *app);
                core.learn(&cluster, pod);
                core.add_app(&cluster, *app).unwrap();
                core.add_ask(&cluster, pod);
                if naive.app_order[*app as usize] == u32::MAX {
                    naive.app_order[*app as usize] = next_app;
                    next_app += 1;
                }
                naive.asks.push(pod);
            }
            Op::Cycles(count) => {
                for _ in 0..*count {
                    let (found, mut work) = core.try_allocate(&cluster);
                    let (expected, expected_work) = naive.cycle(&cluster, &names);
                    assert_eq!(found, expected);
                    work.repeated_asks_listed = 0;
                    assert_eq!(work, expected_work);
                    assert_eq!(core.pending(), naive.asks.len() as u64);
                }
            }
            Op::Release(which) => {
                if !naive.placed.is_empty() {
                    let (pod, _) = naive.placed.remove(which % naive.placed.len());
                    core.release(&cluster, pod);
                }
            }
            Op::RemoveNode(node) => {
                let node = node % u32::try_from(nodes).unwrap();
                core.remove_node(node);
                naive.nodes.remove(&node);
            }
            Op::AddNode(node) => {
                let node = node % u32::try_from(nodes).unwrap();
                core.set_node(&cluster, node);
                naive.nodes.insert(node, ());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn decisions_and_counts_are_those_of_a_plain_walk(
        ops in prop::collection::vec(op(), 1..120),
        nodes in 1_usize..14,
        binpacking in any::<bool>(),
        predicates in any::<bool>(),
        priority_sort in any::<bool>(),
    ) {
        let policy = if binpacking { NodeSortPolicy::BinPacking } else { NodeSortPolicy::Fair };
        check(&ops, nodes, policy, predicates, priority_sort);
    }
}

/// Enough nodes for several blocks of the order.
#[test]
fn many_nodes() {
    for policy in [NodeSortPolicy::Fair, NodeSortPolicy::BinPacking] {
        let ask = |i: u32| Op::Ask { app: i % 6, size: i * 5 % 4, flavour: 5 + i % 3, priority: 0 };
        let mut ops: Vec<Op> = (0..150).map(ask).collect();
        ops.push(Op::Cycles(60));
        ops.extend((0..20).map(|i| Op::Release(i * 13)));
        ops.push(Op::Cycles(100));
        check(&ops, 400, policy, true, true);
    }
}
