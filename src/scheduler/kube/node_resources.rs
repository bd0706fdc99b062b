//! NodeResourcesFit (filter and score) and NodeResourcesBalancedAllocation, over one node's row.
//!
//! Sources: `pkg/scheduler/framework/plugins/noderesources/{fit,least_allocated,most_allocated,balanced_allocation}.go`.
//! Fit scores with the requests that a container gets for scoring only when it asks for nothing (100m, 200 MiB);
//! the filter and BalancedAllocation use the plain requests. By default both look at CPU and memory alike; a profile
//! may weigh resources and name extended ones, which count only for pods that ask for them. RequestedToCapacityRatio
//! reads the used share from a line with corners (`requested_to_capacity_ratio.go`, `helper/shape_score.go`).
//!
//! Left out: defaults are per container in Kubernetes and per pod here (a spec holds the pod's sum); 1.20 used the
//! defaults for BalancedAllocation, too.
//!
//! Cost: O(1) a node, and O(extended resources) to filter.
use crate::cluster::{Cluster, HostPort, NodeId, PodSpec, Resources};

use crate::scheduler::ScoringStrategy;

use super::node_ports::NodePorts;
use super::profile::{Profile, ResourceWeight};

/// Default CPU request for scoring, millicores.
pub const DEFAULT_CPU_MILLICORES: u64 = 100;
/// Default memory request for scoring, bytes.
pub const DEFAULT_MEMORY_BYTES: u64 = 200 * 1024 * 1024;
/// The best score of a plugin.
pub const MAX_NODE_SCORE: i64 = 100;

/// What a pod asks for, as filter and scores see it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Request {
    /// Plain requests.
    pub plain: Resources,
    /// CPU for Fit's score, millicores.
    pub scored_cpu: u64,
    /// Memory for Fit's score, bytes.
    pub scored_memory: u64,
    /// Resources that Fit scores, if not just CPU and memory alike.
    fit: Option<Vec<(Scored, u64)>>,
    /// Resources that BalancedAllocation looks at, if not just CPU and memory.
    balanced: Option<Vec<(Scored, u64)>>,
    /// Asks for nothing that BalancedAllocation looks at, which then skips it.
    best_effort: bool,
}

/// A resource that counts in a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Scored {
    Cpu,
    Memory,
    /// Another one, and how much the pod asks for.
    Extended(u16, u64),
}

impl Request {
    /// Of a spec, as a profile's plugins see it.
    #[must_use]
    pub fn new(cluster: &Cluster, requests: &Resources, profile: &Profile) -> Self {
        let or = |value, default| if value == 0 { default } else { value };
        let scored = |resources: &[ResourceWeight]| -> Option<Vec<(Scored, u64)>> {
            let plain = resources.len() == 2
                && resources[0].weight == resources[1].weight
                && ["cpu", "memory"].iter().all(|name| resources.iter().any(|r| r.name == *name));
            (!plain).then(|| {
                resources
                    .iter()
                    .filter_map(|r| Some((Scored::of(cluster, requests, &r.name)?, r.weight)))
                    .collect()
            })
        };
        let balanced = scored(&profile.balanced_resources);
        let asks = |r: &(Scored, u64)| match r.0 {
            Scored::Cpu => requests.cpu_millicores > 0,
            Scored::Memory => requests.memory_bytes > 0,
            Scored::Extended(_, amount) => amount > 0,
        };
        let best_effort = match &balanced {
            None => requests.cpu_millicores == 0 && requests.memory_bytes == 0,
            Some(resources) => !resources.iter().any(asks),
        };
        let mut plain = requests.clone();
        plain.extended.retain(|(id, _)| profile.regards_resource(cluster.resources.name(*id)));
        Self {
            scored_cpu: or(requests.cpu_millicores, DEFAULT_CPU_MILLICORES),
            scored_memory: or(requests.memory_bytes, DEFAULT_MEMORY_BYTES),
            plain,
            fit: scored(&profile.fit_resources),
            balanced,
            best_effort,
        }
    }

    /// Asks for nothing: BalancedAllocation skips it.
    #[must_use]
    pub const fn is_best_effort(&self) -> bool {
        self.best_effort
    }
}

impl Scored {
    /// Extended resources that the pod does not ask for do not count; ephemeral storage always does.
    fn of(cluster: &Cluster, requests: &Resources, name: &str) -> Option<Self> {
        match name {
            "cpu" => Some(Self::Cpu),
            "memory" => Some(Self::Memory),
            _ => {
                let ids = 0..u16::try_from(cluster.resources.len()).expect("interned as u16");
                let id = ids.into_iter().find(|id| cluster.resources.name(*id) == name)?;
                let amount = requests.extended(id);
                (amount > 0 || name == "ephemeral-storage").then_some(Self::Extended(id, amount))
            }
        }
    }
}

/// One node as the scheduler's cache has it, assumed pods included. A cache line.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
#[repr(align(64))]
pub struct Row {
    /// Allocatable CPU, millicores.
    pub cpu: u64,
    /// Allocatable memory, bytes.
    pub memory: u64,
    /// CPU in use, millicores.
    pub cpu_used: u64,
    /// Memory in use, bytes.
    pub memory_used: u64,
    /// CPU in use with scoring defaults.
    pub scored_cpu_used: u64,
    /// Memory in use with scoring defaults.
    pub scored_memory_used: u64,
    /// Allocatable pods.
    pub pods: u32,
    /// Pods on the node.
    pub pods_used: u32,
    /// Whether the node is known.
    pub present: bool,
}

/// The scheduler's cache of nodes: rows by node id.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct NodeCache {
    rows: Vec<Row>,
    /// By resource, then node: allocatable and used.
    extended: Vec<Vec<(u64, u64)>>,
    /// Ports taken.
    ports: NodePorts,
    /// Pods on nodes.
    pub pods: u64,
}

impl NodeCache {
    fn grow(&mut self, cluster: &Cluster, node: NodeId) {
        let len = node as usize + 1;
        // A resource that is first heard of now is on no node that is known already.
        if self.rows.len() < len {
            self.rows.resize(len, Row::default());
        }
        while self.extended.len() < cluster.resources.len() {
            self.extended.push(Vec::new());
        }
        for column in &mut self.extended {
            if column.len() < self.rows.len() {
                column.resize(self.rows.len(), (0, 0));
            }
        }
    }

    /// Adds or updates a node.
    pub fn set(&mut self, cluster: &Cluster, node: NodeId) {
        self.grow(cluster, node);
        let allocatable = &cluster.nodes.template(node).allocatable;
        let row = &mut self.rows[node as usize];
        row.cpu = allocatable.cpu_millicores;
        row.memory = allocatable.memory_bytes;
        row.pods = allocatable.pods;
        row.present = true;
        for (id, column) in self.extended.iter_mut().enumerate() {
            column[node as usize].0 = allocatable.extended(u16::try_from(id).expect("interned as u16"));
        }
    }

    /// Forgets a node; pods stay counted until they are seen to be gone.
    pub fn remove(&mut self, node: NodeId) {
        if let Some(row) = self.rows.get_mut(node as usize) {
            row.present = false;
        }
    }

    /// A node's row.
    #[inline]
    #[must_use]
    pub fn row(&self, node: NodeId) -> &Row {
        &self.rows[node as usize]
    }

    /// Puts a pod on a node, whether it fits or not.
    pub fn add_pod(&mut self, cluster: &Cluster, node: NodeId, spec: &PodSpec) {
        if self.rows.len() <= node as usize || self.extended.len() < cluster.resources.len() {
            self.grow(cluster, node);
        }
        self.change(node, spec, |used, by| used + by);
        self.rows[node as usize].pods_used += 1;
        self.pods += 1;
        self.ports.add(node, &spec.host_ports);
    }

    /// Takes a pod off a node.
    pub fn remove_pod(&mut self, node: NodeId, spec: &PodSpec) {
        self.change(node, spec, |used, by| used - by);
        self.rows[node as usize].pods_used -= 1;
        self.pods -= 1;
        self.ports.remove(node, &spec.host_ports);
    }

    fn change(&mut self, node: NodeId, spec: &PodSpec, with: impl Fn(u64, u64) -> u64) {
        let row = &mut self.rows[node as usize];
        let (cpu, memory) = (spec.requests.cpu_millicores, spec.requests.memory_bytes);
        row.cpu_used = with(row.cpu_used, cpu);
        row.memory_used = with(row.memory_used, memory);
        row.scored_cpu_used = with(row.scored_cpu_used, if cpu == 0 { DEFAULT_CPU_MILLICORES } else { cpu });
        row.scored_memory_used =
            with(row.scored_memory_used, if memory == 0 { DEFAULT_MEMORY_BYTES } else { memory });
        for (id, v) in &spec.requests.extended {
            let entry = &mut self.extended[*id as usize][node as usize];
            entry.1 = with(entry.1, *v);
        }
    }

    /// NodePorts: whether a port that is asked for is taken.
    #[must_use]
    pub fn lacks_ports(&self, node: NodeId, ports: &[HostPort]) -> bool {
        self.ports.lacks(node, ports)
    }

    /// Whether the pod fits beside what is there.
    #[inline]
    #[must_use]
    pub fn fits(&self, node: NodeId, request: &Resources) -> bool {
        let row = &self.rows[node as usize];
        (row.pods_used < row.pods)
            & (row.cpu_used + request.cpu_millicores <= row.cpu || request.cpu_millicores == 0)
            & (row.memory_used + request.memory_bytes <= row.memory || request.memory_bytes == 0)
            && request.extended.iter().all(|(id, v)| !self.is_short_of(node, *id, *v))
    }

    /// Whether too many (pods, CPU, memory) are in use on a node for the request.
    #[inline]
    #[must_use]
    pub fn shortages(&self, node: NodeId, request: &Resources) -> [bool; 3] {
        let row = &self.rows[node as usize];
        [
            row.pods_used >= row.pods,
            request.cpu_millicores > 0 && row.cpu_used + request.cpu_millicores > row.cpu,
            request.memory_bytes > 0 && row.memory_used + request.memory_bytes > row.memory,
        ]
    }

    /// How much of an extended resource would be in use with `amount` more, and how much there is.
    #[must_use]
    pub fn extended_with(&self, node: NodeId, resource: u16, amount: u64) -> (u64, u64) {
        self.extended
            .get(resource as usize)
            .and_then(|column| column.get(node as usize))
            .map_or((amount, 0), |(capacity, used)| (used + amount, *capacity))
    }

    /// Whether too much of an extended resource is in use on a node.
    #[inline]
    #[must_use]
    pub fn is_short_of(&self, node: NodeId, resource: u16, amount: u64) -> bool {
        self.extended.get(resource as usize).is_none_or(|c| c[node as usize].1 + amount > c[node as usize].0)
    }
}

/// `part * 100 / capacity` in whole points, for parts up to the capacity. Exact: for capacities below 2^44 the
/// operands are exact in an `f64`, and the quotient is too far from the next integer to be rounded up to it.
#[inline]
fn points(part: u64, capacity: u64) -> u64 {
    if capacity < 1 << 44 {
        (float(part * 100) / float(capacity)) as i64 as u64
    } else {
        (u128::from(part) * 100 / u128::from(capacity)) as u64
    }
}

/// For amounts below 2^63; signed conversions are single instructions.
#[inline]
fn float(amount: u64) -> f64 {
    amount as i64 as f64
}

/// How NodeResourcesFit scores.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FitScore {
    /// Type of the strategy.
    pub strategy: ScoringStrategy,
    /// Corners of RequestedToCapacityRatio: (utilisation in per cent, score 0 to 100).
    pub shape: Vec<(i64, i64)>,
}

/// The line with corners at a utilisation: flat outside, integer interpolation (cut towards zero) between two.
fn on_shape(shape: &[(i64, i64)], utilisation: i64) -> i64 {
    let Some(at) = shape.iter().position(|(u, _)| utilisation <= *u) else {
        return shape.last().map_or(0, |(_, score)| *score);
    };
    let (u, score) = shape[at];
    match at.checked_sub(1).map(|before| shape[before]) {
        None => score,
        Some((u0, score0)) => score0 + (score - score0) * (utilisation - u0) / (u - u0),
    }
}

/// NodeResourcesFit's score, 0 to 100.
#[inline]
#[must_use]
pub fn fit_score(how: &FitScore, nodes: &NodeCache, node: NodeId, request: &Request) -> u64 {
    let row = nodes.row(node);
    if how.strategy != ScoringStrategy::RequestedToCapacityRatio && request.fit.is_none() {
        return plain_fit_score(how.strategy, row, request);
    }
    let alike = [(Scored::Cpu, 1), (Scored::Memory, 1)];
    let resources = request.fit.as_deref().unwrap_or(&alike);
    let (mut sum, mut weights) = (0, 0);
    for (resource, weight) in resources {
        let (requested, capacity) = match resource {
            Scored::Cpu => (row.scored_cpu_used + request.scored_cpu, row.cpu),
            Scored::Memory => (row.scored_memory_used + request.scored_memory, row.memory),
            Scored::Extended(id, amount) => nodes.extended_with(node, *id, *amount),
        };
        if capacity == 0 {
            continue;
        }
        let score = match how.strategy {
            ScoringStrategy::LeastAllocated => points(capacity.saturating_sub(requested), capacity),
            ScoringStrategy::MostAllocated => points(requested.min(capacity), capacity),
            ScoringStrategy::RequestedToCapacityRatio => {
                let utilisation = points(requested.min(capacity), capacity);
                // A resource that scores nothing does not weigh, either.
                match on_shape(&how.shape, i64::try_from(utilisation).expect("at most 100")) {
                    0 => continue,
                    score => u64::try_from(score).expect("scores are not negative"),
                }
            }
        };
        sum += score * weight;
        weights += weight;
    }
    match (weights, how.strategy) {
        (0, _) => 0,
        (_, ScoringStrategy::RequestedToCapacityRatio) => (sum * 2 + weights) / (weights * 2),
        _ => sum / weights,
    }
}

/// The same for CPU and memory alike.
#[inline]
fn plain_fit_score(strategy: ScoringStrategy, row: &Row, request: &Request) -> u64 {
    let of = |requested: u64, capacity: u64| match strategy {
        ScoringStrategy::MostAllocated => points(requested.min(capacity), capacity),
        _ => points(capacity.saturating_sub(requested), capacity),
    };
    let cpu = row.scored_cpu_used + request.scored_cpu;
    let memory = row.scored_memory_used + request.scored_memory;
    match (row.cpu, row.memory) {
        (0, 0) => 0,
        (0, capacity) => of(memory, capacity),
        (capacity, 0) => of(cpu, capacity),
        (cpu_capacity, memory_capacity) => (of(cpu, cpu_capacity) + of(memory, memory_capacity)) / 2,
    }
}

/// NodeResourcesBalancedAllocation's score, 0 to 100: the closer the used fractions of resources, the better.
#[inline]
#[must_use]
pub fn balanced_score(nodes: &NodeCache, node: NodeId, request: &Request) -> u64 {
    let row = nodes.row(node);
    let Some(resources) = &request.balanced else { return plain_balanced_score(row, request) };
    let fractions: Vec<f64> = resources
        .iter()
        .map(|(resource, _)| match resource {
            Scored::Cpu => (row.cpu_used + request.plain.cpu_millicores, row.cpu),
            Scored::Memory => (row.memory_used + request.plain.memory_bytes, row.memory),
            Scored::Extended(id, amount) => nodes.extended_with(node, *id, *amount),
        })
        .filter(|(_, capacity)| *capacity > 0)
        .map(|(requested, capacity)| (float(requested) / float(capacity)).min(1.0))
        .collect();
    let std = match fractions.as_slice() {
        [] | [_] => 0.0,
        [a, b] => ((a - b) / 2.0).abs(),
        all => {
            let count = all.len() as f64;
            let mean = all.iter().sum::<f64>() / count;
            libm::sqrt(all.iter().map(|f| (f - mean) * (f - mean)).sum::<f64>() / count)
        }
    };
    ((1.0 - std) * 100.0) as i64 as u64
}

/// The same for CPU and memory.
#[inline]
fn plain_balanced_score(row: &Row, request: &Request) -> u64 {
    if row.cpu == 0 || row.memory == 0 {
        return 100;
    }
    let fraction = |used: u64, capacity: u64| (float(used) / float(capacity)).min(1.0);
    let cpu = fraction(row.cpu_used + request.plain.cpu_millicores, row.cpu);
    let memory = fraction(row.memory_used + request.plain.memory_bytes, row.memory);
    let std = ((cpu - memory) / 2.0).abs();
    ((1.0 - std) * 100.0) as i64 as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cpu: u64, memory: u64, cpu_used: u64, memory_used: u64) -> Row {
        Row {
            cpu,
            memory,
            cpu_used,
            memory_used,
            scored_cpu_used: cpu_used,
            scored_memory_used: memory_used,
            pods: 110,
            pods_used: 0,
            present: true,
        }
    }

    fn request(cpu: u64, memory: u64) -> Request {
        let plain = Resources { cpu_millicores: cpu, memory_bytes: memory, ..Resources::default() };
        Request {
            plain,
            scored_cpu: cpu,
            scored_memory: memory,
            fit: None,
            balanced: None,
            best_effort: false,
        }
    }

    /// The table of `least_allocated_test.go`: capacities, use before, request, score.
    #[test]
    fn least_allocated_values_of_kubernetes() {
        for (node, ask, score) in [
            (row(4000, 10_000, 0, 0), request(0, 0), 100),
            (row(4000, 10_000, 0, 0), request(3000, 5000), 37),
            (row(6000, 10_000, 0, 0), request(3000, 5000), 50),
            (row(10_000, 20_000, 6000, 0), request(0, 0), 70),
            (row(10_000, 20_000, 6000, 5000), request(0, 0), 57),
            (row(10_000, 20_000, 3000, 0), request(3000, 5000), 57),
            (row(10_000, 20_000, 3000, 5000), request(3000, 5000), 45),
            (row(10_000, 50_000, 3000, 5000), request(3000, 5000), 60),
            (row(4000, 10_000, 3000, 0), request(3000, 0), 50),
            (row(4000, 10_000, 3000, 5000), request(3000, 0), 25),
            (row(0, 0, 3000, 5000), request(0, 0), 0),
        ] {
            assert_eq!(
                plain_fit_score(ScoringStrategy::LeastAllocated, &node, &ask),
                score,
                "{node:?} {ask:?}"
            );
        }
    }

    /// Rows of `most_allocated_test.go`.
    #[test]
    fn most_allocated_values_of_kubernetes() {
        for (node, ask, score) in [
            (row(4000, 10_000, 0, 0), request(0, 0), 0),
            (row(4000, 10_000, 0, 0), request(3000, 5000), 62),
            (row(6000, 10_000, 0, 0), request(3000, 5000), 50),
            (row(10_000, 20_000, 6000, 0), request(0, 0), 30),
            (row(10_000, 20_000, 6000, 5000), request(0, 0), 42),
            (row(10_000, 20_000, 3000, 0), request(3000, 5000), 42),
            (row(10_000, 20_000, 3000, 5000), request(3000, 5000), 55),
        ] {
            assert_eq!(
                plain_fit_score(ScoringStrategy::MostAllocated, &node, &ask),
                score,
                "{node:?} {ask:?}"
            );
        }
    }

    /// The CPU and memory rows of `balanced_allocation_test.go`.
    #[test]
    fn balanced_allocation_values_of_kubernetes() {
        for (node, ask, score) in [
            (row(4000, 10_000, 0, 0), request(3000, 5000), 87),
            (row(6000, 10_000, 0, 0), request(3000, 5000), 100),
            (row(10_000, 20_000, 3000, 0), request(3000, 5000), 82),
            (row(10_000, 20_000, 3000, 5000), request(3000, 5000), 95),
            (row(10_000, 50_000, 3000, 5000), request(3000, 5000), 80),
            (row(6000, 10_000, 3000, 0), request(3000, 0), 50),
            (row(6000, 10_000, 3000, 5000), request(3000, 0), 75),
            (row(3500, 40_000, 0, 0), request(3000, 5000), 63),
        ] {
            assert_eq!(plain_balanced_score(&node, &ask), score, "{node:?} {ask:?}");
        }
    }

    #[test]
    fn pods_without_requests_score_as_100m_and_200_mib() {
        let r = Request::new(&Cluster::default(), &Resources::default(), &Profile::default());
        assert_eq!((r.scored_cpu, r.scored_memory), (100, 209_715_200));
        assert!(r.is_best_effort());
    }

    /// `TestBrokenLinearFunction` (`requested_to_capacity_ratio_test.go`): corners, then (share, score).
    #[test]
    fn broken_lines_of_kubernetes() {
        type Points = Vec<(i64, i64)>;
        let cases: [(Points, Points); 3] = [
            (
                vec![(10, 1), (90, 9)],
                vec![(0, 1), (9, 1), (10, 1), (15, 1), (19, 1), (20, 2), (89, 8), (90, 9), (99, 9), (100, 9)],
            ),
            (vec![(0, 2), (40, 10), (100, 0)], vec![(0, 2), (20, 6), (30, 8), (40, 10), (70, 5), (100, 0)]),
            (vec![(0, 2), (40, 2), (100, 2)], vec![(0, 2), (20, 2), (30, 2), (40, 2), (70, 2), (100, 2)]),
        ];
        for (shape, points) in cases {
            for (share, score) in points {
                assert_eq!(on_shape(&shape, share), score, "{shape:?} at {share}");
            }
        }
    }

    /// `TestRequestedToCapacityRatioScoringStrategy`, `TestResourceBinPackingSingleExtended` and
    /// `TestResourceBinPackingMultipleExtended` (the same file); weights of the last are 3 and 5.
    #[test]
    fn requested_to_capacity_ratio_values_of_kubernetes() {
        let cores = 1000;
        let score = |allocatable: Resources, used: Resources, asked: Resources, profile: &Profile| {
            let mut cluster = Cluster::default();
            let (foo, bar) =
                (cluster.resources.intern("intel.com/foo"), cluster.resources.intern("intel.com/bar"));
            assert_eq!((foo, bar), (0, 1));
            let template = crate::cluster::NodeTemplate { allocatable, ..Default::default() };
            let template = cluster.nodes.add_template(template);
            let node = cluster.nodes.add("n".to_owned(), template, None);
            let mut nodes = NodeCache::default();
            nodes.set(&cluster, node);
            nodes.add_pod(&cluster, node, &PodSpec { requests: used, ..PodSpec::default() });
            let request = Request::new(&cluster, &asked, profile);
            let how = FitScore {
                strategy: ScoringStrategy::RequestedToCapacityRatio,
                shape: profile.fit_shape.clone(),
            };
            fit_score(&how, &nodes, node, &request)
        };
        let plain =
            |cpu, memory| Resources { cpu_millicores: cpu, memory_bytes: memory, ..Resources::default() };
        let least = Profile { fit_shape: vec![(0, 100), (100, 0)], ..Profile::default() };
        let big = 1 << 40;
        for (cpu, memory, used, asked, expected) in [
            (4000 * cores, 10_000 * big, plain(1, 1), plain(0, 0), 100),
            (4000 * cores, 10_000, plain(1, 1), plain(3000 * cores, 5000), 38),
            (6000 * cores, 10_000, plain(1, 1), plain(3000 * cores, 5000), 50),
        ] {
            // A pod asks for a byte beside what the real one leaves out: that is far below a point.
            let memory = memory.max(10_000);
            assert_eq!(score(plain(cpu, memory), used, asked, &least), expected);
        }
        let weigh = |list: &[(&str, u64)]| {
            list.iter()
                .map(|(name, weight)| ResourceWeight { name: (*name).to_owned(), weight: *weight })
                .collect()
        };
        let both = |foo, bar| Resources {
            extended: [(0, foo), (1, bar)].into_iter().filter(|r| r.1 > 0).collect(),
            ..Resources::default()
        };
        // Scores of the real test are out of 10 and its shape ends at 1, which stands for 10 of 100.
        let rising = vec![(0, 0), (100, 10)];
        let single = Profile {
            fit_resources: weigh(&[("intel.com/foo", 1)]),
            fit_shape: rising.clone(),
            ..Profile::default()
        };
        for (has, used, asked, expected) in [
            (8, 0, 0, 0),
            (4, 0, 0, 0),
            (8, 0, 2, 2),
            (4, 0, 2, 5),
            (4, 2, 2, 10),
            (8, 0, 4, 5),
            (4, 0, 4, 10),
        ] {
            assert_eq!(
                score(both(has, 0), both(used, 0), both(asked, 0), &single),
                expected,
                "{has} {used} {asked}"
            );
        }
        let double = Profile {
            fit_resources: weigh(&[("intel.com/foo", 3), ("intel.com/bar", 5)]),
            fit_shape: rising,
            ..Profile::default()
        };
        for (has, used, asked, expected) in
            [((8, 4), (0, 0), (0, 0), 0), ((8, 4), (0, 0), (2, 2), 4), ((4, 8), (0, 0), (2, 2), 3)]
        {
            let [has, used, asked] = [has, used, asked].map(|(foo, bar)| both(foo, bar));
            assert_eq!(score(has, used, asked, &double), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn points_are_the_integer_quotient(capacity in 1_u64..(1 << 44), share in 0.0..1.2_f64) {
            let requested = (capacity as f64 * share) as u64;
            let part = requested.min(capacity);
            proptest::prop_assert_eq!(points(part, capacity), (u128::from(part) * 100 / u128::from(capacity)) as u64);
        }

        #[test]
        fn points_are_exact_at_the_steps(step in 0_u64..=100, unit in 1_u64..(1 << 37), off in -1_i64..=1) {
            let capacity = unit * 100;
            let part = (unit * step).saturating_add_signed(off).min(capacity);
            proptest::prop_assert_eq!(points(part, capacity), part * 100 / capacity);
        }
    }
}
