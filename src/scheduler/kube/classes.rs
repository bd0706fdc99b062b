//! Feasibility and resource score of every node for every class of equal pods, kept between cycles.
//!
//! Two pods are of one class if they ask for the same resources and are treated alike by the filters that look at
//! one node only. For a class, one byte a node in visiting order says whether the node is feasible (0: no) and what
//! NodeResourcesFit and NodeResourcesBalancedAllocation give it together (1 + 0 to 200). A cycle then reads summaries of
//! blocks of these bytes ([`scan`](super::scan)).
//! This is our own speed only: the outcome and the charged operations are those of an evaluation from scratch,
//! which the tests do beside it.
//!
//! Nodes that change go to a log; a class catches up with the log when it is used next. A class that is too far
//! behind, or has no table yet, is evaluated from scratch for the nodes visited, and gets a table once such work
//! adds up to that of making one.
//!
//! Cost: O(changed nodes x block) for a class that is used often, O(visited) otherwise. Tables take a byte a node and class,
//! at most [`TABLE_BYTES`] in all.
use std::collections::BTreeMap;

use crate::cluster::{Cluster, HostPort, NodeId, PodId, PodSpec, Resources, SpecId};
use std::sync::Arc;

use super::hints::PluginSet;
use super::image_locality::KnownNodes;
use super::node_affinity;
use super::node_ports;
use super::node_resources::{FitScore, NodeCache, Request, balanced_score, fit_score};
use super::profile::Profile;
use super::sampling::NodeOrder;
use super::scan::Scores;
use super::taint_toleration;
use super::{STATIC_FILTERS, static_rejection_by};

/// Index of a class.
pub type ClassId = usize;

/// Bytes that all tables may take together.
const TABLE_BYTES: usize = 256 << 20;

/// Why no node was feasible.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Diagnosis {
    /// Plugins that rejected nodes.
    pub plugins: PluginSet,
    /// How many nodes were rejected, by reason; a node may be short of several resources.
    pub reasons: BTreeMap<String, u64>,
}

impl Diagnosis {
    /// Counts rejections.
    pub fn count(&mut self, plugin: PluginSet, reason: &str, nodes: u64) {
        if nodes > 0 {
            self.plugins = self.plugins.with(plugin);
            *self.reasons.entry(reason.to_owned()).or_default() += nodes;
        }
    }
}

/// Rejections of many nodes, counted without looking at words.
#[derive(Clone, Debug, Default)]
pub struct Rejections {
    /// By plugin that looks at labels, taints or names.
    fixed: [u64; STATIC_FILTERS.len()],
    /// Too many pods, too little CPU, too little memory.
    short: [u64; 3],
    /// By extended resource of the request, in its order.
    short_extended: Vec<u64>,
    /// NodePorts.
    ports: u64,
}

impl Rejections {
    /// In words.
    #[must_use]
    pub fn diagnosis(&self, cluster: &Cluster, request: &Resources) -> Diagnosis {
        let mut diagnosis = Diagnosis::default();
        for (count, (plugin, reason)) in self.fixed.iter().zip(STATIC_FILTERS) {
            diagnosis.count(plugin, reason, *count);
        }
        diagnosis.count(PluginSet::PORTS, node_ports::REASON, self.ports);
        for (count, reason) in
            self.short.iter().zip(["Too many pods", "Insufficient cpu", "Insufficient memory"])
        {
            diagnosis.count(PluginSet::FIT, reason, *count);
        }
        for (count, (id, _)) in self.short_extended.iter().zip(&request.extended) {
            diagnosis.count(PluginSet::FIT, &format!("Insufficient {}", cluster.resources.name(*id)), *count);
        }
        diagnosis
    }
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Table {
    /// By place in the visiting order.
    scores: Scores,
    /// Nodes that the filters on labels and taints reject; empty if there are none.
    blocked: Vec<bool>,
    /// Changes applied.
    synced: u64,
    last_used: u64,
}

/// One class.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Class {
    /// A spec of the class without what classes ignore.
    spec: PodSpec,
    request: Request,
    by_node: bool,
    /// By template: verdict of the filters on labels and taints, once asked for.
    verdicts: Vec<Option<bool>>,
    /// By template: raw scores of (TaintToleration, NodeAffinity).
    preferences: Vec<Option<(i64, i64)>>,
    /// By template: score of ImageLocality, as of a version of the images and a number of nodes.
    image_scores: Vec<Option<(u64, usize, i64)>>,
    /// Whether all nodes are preferred alike, and for how many templates and which version of the images that was found.
    uniform: (usize, u64, bool),
    table: Option<Table>,
    work: u64,
    diagnosis: Option<(u64, Diagnosis)>,
}

/// All classes with the log of changed nodes.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Classes {
    profile: Arc<Profile>,
    fit_score: FitScore,
    /// Scores that don't go into a byte: every node is evaluated one by one.
    wide: bool,
    /// Nothing is remembered: an oracle.
    #[serde(skip)]
    plain: bool,
    classes: Vec<Class>,
    by_spec: BTreeMap<PodSpec, ClassId>,
    of_spec: Vec<ClassId>,
    /// Nodes changed, oldest first; the first has number `log_start`.
    log: Vec<NodeId>,
    log_start: u64,
    /// By node, the number of its last change, less what is above 32 bits: of a node's changes in the log, a class catches up with the
    /// last one only. A node whose room is taken as soon as it is free changes twice in a row.
    last_change: Vec<u32>,
    /// The nodes that a table catches up with, their places and bytes so far.
    #[serde(skip)]
    changes: Vec<(NodeId, usize, u8)>,
    table_bytes: usize,
    uses: u64,
}

/// What a cycle reads of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// [`Classes::table`] is up to date.
    Table,
    /// Nodes are to be evaluated one by one with [`Classes::evaluate`].
    OneByOne,
}

impl Classes {
    /// No classes yet.
    #[must_use]
    pub fn new(profile: Arc<Profile>, fit_score: FitScore, plain: bool) -> Self {
        let weights = profile.plugins.weights;
        Self {
            wide: plain || weights.fit + weights.balanced > 2,
            plain,
            profile,
            fit_score,
            classes: Vec::new(),
            by_spec: BTreeMap::new(),
            of_spec: Vec::new(),
            log: Vec::new(),
            log_start: 0,
            last_change: Vec::new(),
            changes: Vec::new(),
            table_bytes: 0,
            uses: 0,
        }
    }

    /// The class of a pod.
    pub fn of_pod(&mut self, cluster: &Cluster, pod: PodId) -> ClassId {
        let spec = cluster.pods.spec_id(pod) as usize;
        match self.of_spec.get(spec) {
            Some(&class) if class != usize::MAX => class,
            _ => self.add(cluster, cluster.pods.spec_id(pod)),
        }
    }

    fn add(&mut self, cluster: &Cluster, id: SpecId) -> ClassId {
        let spec = cluster.pods.spec_by_id(id);
        let key = PodSpec {
            priority: 0,
            labels: BTreeMap::new(),
            pod_affinity: Vec::new(),
            topology_spread: Vec::new(),
            never_preempts: false,
            namespace_name: String::new(),
            scheduler_name: String::new(),
            scheduling_gates: Vec::new(),
            termination_grace_s: None,
            controller_selector: None,
            ..spec.clone()
        };
        let next = self.classes.len();
        let class = *self.by_spec.entry(key.clone()).or_insert(next);
        if class == next {
            self.classes.push(Class {
                request: Request::new(cluster, &key.requests, &self.profile),
                // Verdicts by node are not remembered.
                by_node: self.plain || node_affinity::depends_on_the_node(&key, &self.profile),
                spec: key,
                verdicts: Vec::new(),
                preferences: Vec::new(),
                image_scores: Vec::new(),
                uniform: (usize::MAX, 0, true),
                table: None,
                work: 0,
                diagnosis: None,
            });
        }
        if self.of_spec.len() <= id as usize {
            self.of_spec.resize(id as usize + 1, usize::MAX);
        }
        self.of_spec[id as usize] = class;
        class
    }

    /// A pod came to or left a node.
    #[inline]
    pub fn pods_changed(&mut self, node: NodeId) {
        let at = node as usize;
        if self.last_change.len() <= at {
            self.last_change.resize(at + 1, 0);
        }
        self.last_change[at] = self.log_end() as u32;
        self.log.push(node);
    }

    /// A node's labels, taints or allocatable may have changed.
    pub fn node_changed(&mut self, cluster: &Cluster, order: &NodeOrder, node: NodeId) {
        if let Some(at) = order.position(node) {
            for class in &mut self.classes {
                if let Some(table) = &mut class.table {
                    let blocked = is_blocked(
                        &self.profile,
                        cluster,
                        &class.spec,
                        class.by_node,
                        &mut class.verdicts,
                        node,
                    );
                    if blocked && table.blocked.is_empty() {
                        table.blocked.resize(table.scores.len(), false);
                    }
                    if let Some(b) = table.blocked.get_mut(at) {
                        *b = blocked;
                    }
                }
            }
        }
        self.pods_changed(node);
    }

    /// The visiting order was rebuilt: tables start anew.
    pub fn order_changed(&mut self) {
        for class in &mut self.classes {
            class.table = None;
            class.diagnosis = None;
        }
        self.table_bytes = 0;
        self.log_start += self.log.len() as u64;
        self.log.clear();
    }

    fn log_end(&self) -> u64 {
        self.log_start + self.log.len() as u64
    }

    /// Makes the class ready for a cycle that visits about `visited` nodes.
    pub fn prepare(
        &mut self,
        cluster: &Cluster,
        nodes: &NodeCache,
        order: &NodeOrder,
        id: ClassId,
        visited: usize,
    ) -> View {
        self.uses += 1;
        if self.wide {
            return View::OneByOne;
        }
        // Changes that no table could be worth catching up with are dropped.
        if self.log.len() > 4 * order.list().len() + 1024 {
            let drop = self.log.len() / 2;
            self.log.drain(..drop);
            self.log_start += drop as u64;
        }
        let end = self.log_end();
        let limit = visited.max(64) as u64;
        let class = &mut self.classes[id];
        if let Some(table) = &mut class.table
            && table.synced >= self.log_start
            && end - table.synced <= limit
        {
            let from = usize::try_from(table.synced - self.log_start).expect("within the log");
            // The bytes as they are come first, in a loop of nothing else: those that are in no cache are fetched together.
            self.changes.clear();
            for (number, node) in (table.synced..).zip(&self.log[from..]) {
                if self.last_change[*node as usize] != number as u32 {
                    continue;
                }
                if let Some(at) = order.position(*node) {
                    self.changes.push((*node, at, table.scores.at(at)));
                }
            }
            for (node, at, before) in &self.changes {
                let score = if table.blocked.get(*at).copied().unwrap_or(false) {
                    0
                } else {
                    byte(resource_score(
                        &self.profile,
                        &self.fit_score,
                        nodes,
                        (&class.request, &class.spec.host_ports),
                        *node,
                    ))
                };
                if score != *before {
                    table.scores.set(*at, score);
                }
            }
            table.synced = end;
            table.last_used = self.uses;
        } else {
            class.work += visited as u64;
            if class.work < order.list().len() as u64 {
                return View::OneByOne;
            }
            self.build(cluster, nodes, order, id);
        }
        View::Table
    }

    /// A score a node in visiting order; only after [`prepare`](Self::prepare) has said so.
    ///
    /// # Panics
    /// There is no table.
    #[inline]
    #[must_use]
    pub fn table(&self, id: ClassId) -> &Scores {
        &self.classes[id].table.as_ref().expect("prepared").scores
    }

    fn build(&mut self, cluster: &Cluster, nodes: &NodeCache, order: &NodeOrder, id: ClassId) {
        let len = order.list().len();
        if self.classes[id].table.is_none() {
            while self.table_bytes + len > TABLE_BYTES {
                let oldest = self
                    .classes
                    .iter_mut()
                    .filter_map(|c| c.table.as_ref().map(|t| t.last_used).map(|used| (used, c)))
                    .min_by_key(|(used, _)| *used);
                let Some((_, oldest)) = oldest else { break };
                oldest.table = None;
                self.table_bytes -= len;
            }
            self.table_bytes += len;
        }
        let end = self.log_end();
        let class = &mut self.classes[id];
        class.work = 0;
        let mut blocked = Vec::new();
        let scores: Vec<u8> = order
            .list()
            .iter()
            .enumerate()
            .map(|(at, node)| {
                if is_blocked(&self.profile, cluster, &class.spec, class.by_node, &mut class.verdicts, *node)
                {
                    if blocked.is_empty() {
                        blocked.resize(len, false);
                    }
                    blocked[at] = true;
                    0
                } else {
                    byte(resource_score(
                        &self.profile,
                        &self.fit_score,
                        nodes,
                        (&class.request, &class.spec.host_ports),
                        *node,
                    ))
                }
            })
            .collect();
        class.table = Some(Table { scores: scores.into(), blocked, synced: end, last_used: self.uses });
    }

    /// What a pod of the class asks for.
    #[must_use]
    pub fn requests(&self, id: ClassId) -> &Resources {
        &self.classes[id].request.plain
    }

    /// Feasibility and score of one node, from scratch.
    pub fn evaluate(&mut self, cluster: &Cluster, nodes: &NodeCache, id: ClassId, node: NodeId) -> u64 {
        let class = &mut self.classes[id];
        if is_blocked(&self.profile, cluster, &class.spec, class.by_node, &mut class.verdicts, node) {
            0
        } else {
            resource_score(
                &self.profile,
                &self.fit_score,
                nodes,
                (&class.request, &class.spec.host_ports),
                node,
            )
        }
    }

    /// Whether the filters on names, labels and taints reject a node, whatever runs there.
    pub fn is_blocked_for_good(&mut self, cluster: &Cluster, id: ClassId, node: NodeId) -> bool {
        let class = &mut self.classes[id];
        is_blocked(&self.profile, cluster, &class.spec, class.by_node, &mut class.verdicts, node)
    }

    /// Whether TaintToleration, NodeAffinity and ImageLocality give every node the same score.
    pub fn prefers_all_alike(&mut self, cluster: &Cluster, known: &KnownNodes, id: ClassId) -> bool {
        let class = &mut self.classes[id];
        let templates = cluster.nodes.templates();
        if self.plain || (class.uniform.0, class.uniform.1) != (templates.len(), known.version) {
            let weights = &self.profile.plugins.weights;
            let taints = weights.taints == 0
                || templates.iter().all(|t| taint_toleration::raw_score(&class.spec.tolerations, t) == 0);
            let affinity = weights.affinity == 0
                || class.spec.preferred_node_affinity.is_empty() && self.profile.added_preferred.is_empty();
            let images = weights.images == 0 || !known.have_any(&class.spec.images);
            class.uniform = (templates.len(), known.version, taints && affinity && images);
        }
        class.uniform.2
    }

    /// Score of ImageLocality for a node of `nodes` in all.
    pub fn image_score(
        &mut self,
        cluster: &Cluster,
        known: &KnownNodes,
        id: ClassId,
        node: NodeId,
        nodes: usize,
    ) -> i64 {
        let class = &mut self.classes[id];
        let template = cluster.nodes.get(node).template as usize;
        if class.image_scores.len() <= template {
            class.image_scores.resize(template + 1, None);
        }
        match class.image_scores[template] {
            Some((version, of, score)) if (version, of) == (known.version, nodes) => score,
            _ => {
                let score = known.score(&class.spec, cluster.nodes.template(node), nodes);
                class.image_scores[template] = Some((known.version, nodes, score));
                score
            }
        }
    }

    /// Whether a class has images that some node has.
    #[must_use]
    pub fn has_known_images(&self, known: &KnownNodes, id: ClassId) -> bool {
        known.have_any(&self.classes[id].spec.images)
    }

    /// Raw scores of TaintToleration and NodeAffinity for a node.
    pub fn preferences(&mut self, cluster: &Cluster, id: ClassId, node: NodeId) -> (i64, i64) {
        let class = &mut self.classes[id];
        let spec = &class.spec;
        let compute = || {
            (
                taint_toleration::raw_score(&spec.tolerations, cluster.nodes.template(node)),
                node_affinity::raw_score(cluster, spec, &self.profile, node),
            )
        };
        if class.by_node {
            return compute();
        }
        let template = cluster.nodes.get(node).template as usize;
        if class.preferences.len() <= template {
            class.preferences.resize(template + 1, None);
        }
        *class.preferences[template].get_or_insert_with(compute)
    }

    /// Counts why a node is not feasible, as far as the class decides it; says whether it is not.
    pub fn explain(
        &mut self,
        cluster: &Cluster,
        nodes: &NodeCache,
        id: ClassId,
        node: NodeId,
        rejections: &mut Rejections,
    ) -> bool {
        let class = &mut self.classes[id];
        let none_blocked = class.table.as_ref().is_some_and(|t| t.blocked.is_empty());
        if !none_blocked
            && is_blocked(&self.profile, cluster, &class.spec, class.by_node, &mut class.verdicts, node)
        {
            if let Some(filter) = static_rejection_by(&self.profile, cluster, &class.spec, node) {
                rejections.fixed[filter] += 1;
            }
            return true;
        }
        if self.profile.plugins.ports && nodes.lacks_ports(node, &class.spec.host_ports) {
            rejections.ports += 1;
            return true;
        }
        if !self.profile.plugins.fit {
            return false;
        }
        let mut rejected = false;
        for (count, short) in rejections.short.iter_mut().zip(nodes.shortages(node, &class.request.plain)) {
            *count += u64::from(short);
            rejected |= short;
        }
        let extended = &class.request.plain.extended;
        rejections.short_extended.resize(extended.len(), 0);
        for (count, (id, amount)) in rejections.short_extended.iter_mut().zip(extended) {
            let short = nodes.is_short_of(node, *id, *amount);
            *count += u64::from(short);
            rejected |= short;
        }
        rejected
    }

    /// Why no node was feasible for a pod whose class alone decides; remembered until a node changes.
    pub fn diagnose(
        &mut self,
        cluster: &Cluster,
        nodes: &NodeCache,
        order: &NodeOrder,
        id: ClassId,
    ) -> &Diagnosis {
        let end = self.log_end();
        if self.plain || self.classes[id].diagnosis.as_ref().is_none_or(|(at, _)| *at != end) {
            let mut rejections = Rejections::default();
            for node in order.list() {
                self.explain(cluster, nodes, id, *node, &mut rejections);
            }
            let diagnosis = rejections.diagnosis(cluster, &self.classes[id].request.plain);
            self.classes[id].diagnosis = Some((end, diagnosis));
        }
        &self.classes[id].diagnosis.as_ref().expect("just made").1
    }
}

fn is_blocked(
    profile: &Profile,
    cluster: &Cluster,
    spec: &PodSpec,
    by_node: bool,
    verdicts: &mut Vec<Option<bool>>,
    node: NodeId,
) -> bool {
    let compute = || static_rejection_by(profile, cluster, spec, node).is_some();
    if by_node {
        return compute();
    }
    let template = cluster.nodes.get(node).template as usize;
    if verdicts.len() <= template {
        verdicts.resize(template + 1, None);
    }
    *verdicts[template].get_or_insert_with(compute)
}

/// 0 if the pod does not fit, else 1 + the weighed scores of Fit and BalancedAllocation.
#[inline]
fn resource_score(
    profile: &Profile,
    how: &FitScore,
    nodes: &NodeCache,
    class: (&Request, &[HostPort]),
    node: NodeId,
) -> u64 {
    let (request, ports) = class;
    if profile.plugins.ports && nodes.lacks_ports(node, ports) {
        return 0;
    }
    if profile.plugins.fit && !nodes.fits(node, &request.plain) {
        return 0;
    }
    let weights = &profile.plugins.weights;
    let mut score = 1;
    if weights.fit > 0 {
        score += weights.fit.unsigned_abs() * fit_score(how, nodes, node, request);
    }
    if weights.balanced > 0 && !request.is_best_effort() {
        score += weights.balanced.unsigned_abs() * balanced_score(nodes, node, request);
    }
    score
}

#[inline]
fn byte(score: u64) -> u8 {
    u8::try_from(score).expect("at most 201")
}
