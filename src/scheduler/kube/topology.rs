//! Counts of pods by topology domain, kept as pods come and go: what InterPodAffinity and PodTopologySpread read.
//!
//! The real plugins walk nodes and pods in each cycle to make these counts, which is what the charged operations
//! say; the counts themselves are the same. A *table* counts, by value of one topology key,
//! - pods whose labels match a selector (a pod's own affinity, anti-affinity and spread constraints), or
//! - pods that bear a term with a selector (the terms of existing pods, which bind newcomers that match).
//!
//! An *axis* maps nodes to domains: by a label, among the nodes that a spread constraint looks at (its two inclusion
//! policies, all topology keys present).
//!
//! A selector is of labels and namespaces ([`PodSelector`]); labels of namespaces do not change while a run goes on.
//!
//! Cost: O(tables that match the pod) a pod; O(pods) when a table is made, and when a node with pods changes its
//! domain or is deleted. Pods and tables that have nothing to do with each other cost nothing.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster::{
    Cluster, HOSTNAME_LABEL, NodeId, NodeTemplate, PodId, PodSelector, PodSpec, SpecId, SpreadConstraint,
};

use super::hints::PluginSet;
use super::inter_pod_affinity::{AffinityFilter, AffinityPlan};
use super::node_affinity;
use super::pod_topology_spread::{self, SpreadFilter, SpreadPlan};
use super::profile::{Plugins, Profile};
use super::taint_toleration;

/// Index of a table.
pub type TableId = usize;
/// Pods that all of the selectors match.
pub type Selectors = Vec<PodSelector>;

/// No domain: the node lacks the label, is not looked at, or is not there.
const NO_DOMAIN: u32 = u32::MAX;

/// What a table counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Counts {
    /// Pods that match the selector.
    Matching,
    /// The same, with the smallest count of all domains at hand.
    Spread,
    /// Pods that bear the selector in a required anti-affinity term.
    RequiredAnti,
    /// Sum of the weights with which pods bear the selector in preferred terms (and 1 for required affinity).
    Preference,
}

/// Which nodes an axis has.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Eligible {
    /// Only its `nodeSelector` and required node affinity count, and its tolerations if taints do.
    spec: PodSpec,
    taints: bool,
    keys: Vec<String>,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Axis {
    key: String,
    eligible: Option<Eligible>,
    domain_of: Vec<u32>,
    values: BTreeMap<String, u32>,
    /// By domain: nodes in it.
    nodes: Vec<u32>,
}

impl Axis {
    fn domain(&mut self, cluster: &Cluster, node: NodeId, present: bool) -> u32 {
        if !present {
            return NO_DOMAIN;
        }
        let Some(value) = cluster.nodes.label(node, &self.key) else { return NO_DOMAIN };
        if let Some(eligible) = &self.eligible
            && !eligible.includes(cluster, cluster.nodes.template(node), node)
        {
            return NO_DOMAIN;
        }
        if self.key == HOSTNAME_LABEL {
            return node;
        }
        if let Some(domain) = self.values.get(value) {
            return *domain;
        }
        let next = u32::try_from(self.values.len()).expect("domains are limited");
        self.values.insert(value.to_owned(), next);
        next
    }

    fn set(&mut self, node: NodeId, domain: u32) {
        if self.domain_of.len() <= node as usize {
            self.domain_of.resize(node as usize + 1, NO_DOMAIN);
        }
        self.domain_of[node as usize] = domain;
        if domain != NO_DOMAIN {
            if self.nodes.len() <= domain as usize {
                self.nodes.resize(domain as usize + 1, 0);
            }
            self.nodes[domain as usize] += 1;
        }
    }
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Table {
    axis: usize,
    selectors: Selectors,
    what: Counts,
    counts: Vec<i64>,
    /// No domain has, or has had since the table was filled, a larger count.
    most: i64,
    /// Pods counted, each as often as it counts.
    pods: i64,
    /// How many domains have each count (only for [`Counts::Spread`]).
    histogram: BTreeMap<i64, u32>,
}

/// What there is to know of a spec.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Entry {
    known: bool,
    /// Tables looked at so far.
    seen: usize,
    /// Tables that a pod of the spec counts in, and how much.
    updates: Vec<(TableId, i64)>,
    affinity: AffinityPlan,
    spread: SpreadPlan,
}

/// What a pod has to regard.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// InterPodAffinity.
    pub affinity: &'a AffinityPlan,
    /// PodTopologySpread.
    pub spread: &'a SpreadPlan,
}

/// A table by node, for as long as no pod comes or goes: what a cycle looks up for each node is found once.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    domain_of: &'a [u32],
    counts: &'a [i64],
}

impl View<'_> {
    /// The domain of a node; none if it is in none.
    #[inline]
    #[must_use]
    pub fn domain(self, node: NodeId) -> Option<u32> {
        let domain = *self.domain_of.get(node as usize)?;
        (domain != NO_DOMAIN).then_some(domain)
    }

    /// The count of a domain.
    #[inline]
    #[must_use]
    pub fn count_of(self, domain: u32) -> i64 {
        self.counts.get(domain as usize).copied().unwrap_or(0)
    }

    /// The count of a node's domain; none if the node is in no domain.
    #[inline]
    #[must_use]
    pub fn count_at(self, node: NodeId) -> Option<i64> {
        self.domain(node).map(|d| self.count_of(d))
    }
}

/// The filters that look at other pods, for one cycle: [`Plan::rejects`] without the reason.
#[derive(Debug)]
pub struct Filter<'a> {
    spread: Option<SpreadFilter<'a>>,
    affinity: Option<AffinityFilter<'a>>,
}

impl Filter<'_> {
    /// Whether all filters pass the node.
    #[inline]
    #[must_use]
    pub fn admits(&self, cluster: &Cluster, node: NodeId) -> bool {
        self.spread.as_ref().is_none_or(|f| f.admits(cluster, node))
            && self.affinity.as_ref().is_none_or(|f| f.admits(node))
    }
}

impl<'a> Plan<'a> {
    /// The filters of a cycle; none of them is kept that rejects nothing.
    #[must_use]
    pub fn filter(self, plugins: &Plugins, topology: &'a Topology) -> Filter<'a> {
        Filter {
            spread: if plugins.spread { self.spread.filter(topology) } else { None },
            affinity: if plugins.pod_affinity { self.affinity.filter(topology) } else { None },
        }
    }

    /// Which filter that looks at other pods rejects a node, and why.
    #[inline]
    #[must_use]
    pub fn rejects(
        &self,
        plugins: &Plugins,
        cluster: &Cluster,
        topology: &Topology,
        node: NodeId,
    ) -> Option<(PluginSet, &'static str)> {
        if plugins.spread
            && let Some(reason) = self.spread.rejects(cluster, topology, node)
        {
            return Some((PluginSet::SPREAD, reason));
        }
        if !plugins.pod_affinity {
            return None;
        }
        self.affinity.rejects(topology, node).map(|reason| (PluginSet::POD_AFFINITY, reason))
    }

    /// Whether a reason of [`rejects`](Self::rejects) stays true when pods leave.
    #[must_use]
    pub fn is_for_good(&self, reason: &str) -> bool {
        self.spread.is_for_good(reason) || self.affinity.is_for_good(reason)
    }
}

/// All tables.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Topology {
    profile: Arc<Profile>,
    present: Vec<bool>,
    axes: Vec<Axis>,
    axis_index: BTreeMap<(String, Option<Eligible>), usize>,
    tables: Vec<Table>,
    table_index: BTreeMap<(usize, Selectors, Counts), TableId>,
    entries: Vec<Entry>,
    /// Pods on nodes that are being deleted.
    terminating: BTreeSet<PodId>,
    stale: bool,
    /// Pods on nodes that have a required anti-affinity term.
    pub pods_with_required_anti: u64,
    /// Pods on nodes that have any affinity or anti-affinity term.
    pub pods_with_affinity: u64,
}

impl Topology {
    /// No tables.
    #[must_use]
    pub fn new(profile: Arc<Profile>) -> Self {
        Self {
            profile,
            present: Vec::new(),
            axes: Vec::new(),
            axis_index: BTreeMap::new(),
            tables: Vec::new(),
            table_index: BTreeMap::new(),
            entries: Vec::new(),
            terminating: BTreeSet::new(),
            stale: false,
            pods_with_required_anti: 0,
            pods_with_affinity: 0,
        }
    }

    /// A node came, changed or went; `has_pods` whether pods are on it.
    pub fn node_changed(&mut self, cluster: &Cluster, node: NodeId, present: bool, has_pods: bool) {
        if self.present.len() <= node as usize {
            self.present.resize(node as usize + 1, false);
        }
        self.present[node as usize] = present;
        for (i, axis) in self.axes.iter_mut().enumerate() {
            let before = axis.domain_of.get(node as usize).copied().unwrap_or(NO_DOMAIN);
            let after = axis.domain(cluster, node, present);
            if before == after {
                continue;
            }
            self.stale |= has_pods;
            axis.set(node, after);
            let emptied = before != NO_DOMAIN && {
                axis.nodes[before as usize] -= 1;
                axis.nodes[before as usize] == 0
            };
            let opened = after != NO_DOMAIN && axis.nodes[after as usize] == 1;
            for table in self.tables.iter_mut().filter(|t| t.axis == i && t.what == Counts::Spread) {
                if emptied {
                    let count = table.count(before);
                    table.count_domains(count, false);
                }
                if opened {
                    let count = table.count(after);
                    table.count_domains(count, true);
                }
            }
        }
    }

    /// A pod came to a node (`sign` 1) or left it (-1).
    pub fn pods_changed(&mut self, cluster: &Cluster, pod: PodId, node: NodeId, sign: i64) {
        let id = cluster.pods.spec_id(pod);
        let spec = cluster.pods.spec_by_id(id);
        if !spec.pod_affinity.is_empty() {
            self.pods_with_affinity = self.pods_with_affinity.wrapping_add_signed(sign);
            if spec.pod_affinity.iter().any(|t| t.anti && t.weight.is_none()) {
                self.pods_with_required_anti = self.pods_with_required_anti.wrapping_add_signed(sign);
            }
        }
        if !self.terminating.is_empty() && self.terminating.contains(&pod) {
            self.change(cluster, id, node, sign, |axis| axis.eligible.is_none());
        } else {
            self.change(cluster, id, node, sign, |_| true);
        }
    }

    /// A pod that was being deleted is gone.
    pub fn terminated(&mut self, pod: PodId) {
        self.terminating.remove(&pod);
    }

    #[inline]
    fn change(
        &mut self,
        cluster: &Cluster,
        id: SpecId,
        node: NodeId,
        sign: i64,
        concerns: impl Fn(&Axis) -> bool,
    ) {
        if self.tables.is_empty() || self.stale {
            return;
        }
        self.look(cluster, id);
        for (table, weight) in &self.entries[id as usize].updates {
            let table = &mut self.tables[*table];
            let axis = &self.axes[table.axis];
            if concerns(axis) {
                let domain = axis.domain_of.get(node as usize).copied().unwrap_or(NO_DOMAIN);
                table.add(domain, sign * weight, sign);
            }
        }
    }

    /// Makes the tables that a spec needs; `placed` gives the pods on nodes.
    pub fn learn<P: Iterator<Item = (PodId, NodeId)>>(
        &mut self,
        cluster: &Cluster,
        id: SpecId,
        placed: impl Fn() -> P,
    ) {
        if self.entries.len() <= id as usize {
            self.entries.resize(id as usize + 1, Entry::default());
        }
        if !self.entries[id as usize].known {
            self.entries[id as usize].known = true;
            let spec = cluster.pods.spec_by_id(id);
            let first_new = self.tables.len();
            let profile = Arc::clone(&self.profile);
            let plugins = profile.plugins;
            if (plugins.pod_affinity || plugins.weights.pod_affinity > 0) && !spec.pod_affinity.is_empty() {
                let (plan, bears) = AffinityPlan::new(self, cluster, spec, profile.hard_pod_affinity_weight);
                let entry = &mut self.entries[id as usize];
                entry.affinity = plan;
                entry.updates.extend(bears);
            }
            if (plugins.spread || plugins.weights.spread > 0)
                && pod_topology_spread::constrains(cluster, &profile, spec)
            {
                self.entries[id as usize].spread = SpreadPlan::new(self, cluster, &profile, spec);
            }
            if self.tables.len() > first_new && !self.stale {
                self.fill(cluster, first_new, placed());
            }
        }
        if self.stale {
            self.rebuild(cluster, placed());
        }
        if !self.tables.is_empty() {
            self.look(cluster, id);
        }
    }

    /// What a pod of a spec has to regard; none if nothing. The spec must have been [learnt](Self::learn).
    #[must_use]
    pub fn plan(&self, id: SpecId) -> Option<Plan<'_>> {
        if self.tables.is_empty() {
            return None;
        }
        let entry = &self.entries[id as usize];
        let regards = entry.affinity.regards_anything(self) || entry.spread.regards_anything();
        regards.then_some(Plan { affinity: &entry.affinity, spread: &entry.spread })
    }

    /// The table of a selector over a topology key; made empty if there is none.
    pub fn table(
        &mut self,
        cluster: &Cluster,
        key: &str,
        eligible: Option<Eligible>,
        selectors: Selectors,
        what: Counts,
    ) -> TableId {
        let axis = self.axis(cluster, key, eligible);
        let next = self.tables.len();
        let id = *self.table_index.entry((axis, selectors.clone(), what)).or_insert(next);
        if id == next {
            let mut table = Table {
                axis,
                selectors,
                what,
                counts: Vec::new(),
                most: 0,
                pods: 0,
                histogram: BTreeMap::new(),
            };
            table.open_domains(&self.axes[axis]);
            self.tables.push(table);
        }
        id
    }

    fn axis(&mut self, cluster: &Cluster, key: &str, eligible: Option<Eligible>) -> usize {
        let next = self.axes.len();
        let id = *self.axis_index.entry((key.to_owned(), eligible.clone())).or_insert(next);
        if id == next {
            let mut axis = Axis {
                key: key.to_owned(),
                eligible,
                domain_of: Vec::new(),
                values: BTreeMap::new(),
                nodes: Vec::new(),
            };
            for (node, present) in self.present.iter().enumerate() {
                let node = NodeId::try_from(node).expect("nodes are limited");
                let domain = axis.domain(cluster, node, *present);
                axis.set(node, domain);
            }
            self.axes.push(axis);
        }
        id
    }

    /// Lets a spec see the tables made since it was looked at last.
    fn look(&mut self, cluster: &Cluster, id: SpecId) {
        if self.entries.len() <= id as usize {
            self.entries.resize(id as usize + 1, Entry::default());
        }
        let entry = &mut self.entries[id as usize];
        let spec = cluster.pods.spec_by_id(id);
        for (at, table) in self.tables.iter().enumerate().skip(entry.seen) {
            if !table.matches(cluster, spec) {
                continue;
            }
            match table.what {
                Counts::Matching | Counts::Spread => entry.updates.push((at, 1)),
                Counts::RequiredAnti => entry.affinity.existing_anti.push(at),
                Counts::Preference => entry.affinity.existing_preferences.push(at),
            }
        }
        entry.seen = self.tables.len();
    }

    /// Counts the pods that are there in the tables from `first` on.
    fn fill(&mut self, cluster: &Cluster, first: usize, placed: impl Iterator<Item = (PodId, NodeId)>) {
        let tables = &mut self.tables[first..];
        let mut of_spec: Vec<Option<Vec<usize>>> = vec![None; cluster.pods.spec_count()];
        for (pod, node) in placed {
            let spec = cluster.pods.spec_id(pod) as usize;
            let matching = of_spec[spec].get_or_insert_with(|| {
                let spec = cluster.pods.spec(pod);
                let counts = |t: &Table| matches!(t.what, Counts::Matching | Counts::Spread);
                (0..tables.len())
                    .filter(|t| counts(&tables[*t]) && tables[*t].matches(cluster, spec))
                    .collect()
            });
            let terminating = self.terminating.contains(&pod);
            for table in matching.iter() {
                let table = &mut tables[*table];
                let axis = &self.axes[table.axis];
                if !(terminating && axis.eligible.is_some()) {
                    table.add(axis.domain_of.get(node as usize).copied().unwrap_or(NO_DOMAIN), 1, 1);
                }
            }
        }
    }

    fn rebuild(&mut self, cluster: &Cluster, placed: impl Iterator<Item = (PodId, NodeId)>) {
        self.stale = false;
        for table in &mut self.tables {
            table.counts.clear();
            table.most = 0;
            table.pods = 0;
            table.histogram.clear();
            table.open_domains(&self.axes[table.axis]);
        }
        for (pod, node) in placed {
            let id = cluster.pods.spec_id(pod);
            let terminating = self.terminating.contains(&pod);
            self.change(cluster, id, node, 1, |axis| !(terminating && axis.eligible.is_some()));
        }
    }

    /// A table by node.
    #[inline]
    #[must_use]
    pub fn view(&self, table: TableId) -> View<'_> {
        let table = &self.tables[table];
        View { domain_of: &self.axes[table.axis].domain_of, counts: &table.counts }
    }

    /// A pod is being deleted: spread constraints no longer count it.
    pub fn terminating(&mut self, cluster: &Cluster, pod: PodId, node: NodeId) {
        let id = cluster.pods.spec_id(pod);
        self.change(cluster, id, node, -1, |axis| axis.eligible.is_some());
        self.terminating.insert(pod);
    }

    /// The count of a node's domain; none if the node is in no domain.
    #[inline]
    #[must_use]
    pub fn count_at(&self, table: TableId, node: NodeId) -> Option<i64> {
        self.view(table).count_at(node)
    }

    /// `ignorePreferredTermsOfExistingPods`: terms of existing pods score only for pods with preferences of their own.
    #[must_use]
    pub fn ignores_existing(&self) -> bool {
        self.profile.ignore_preferred_terms_of_existing_pods
    }

    /// Whether no pod counts in a table.
    #[inline]
    #[must_use]
    pub fn is_empty(&self, table: TableId) -> bool {
        self.tables[table].pods == 0
    }

    /// The smallest count of a domain (only for [`Counts::Spread`]); none if there is no domain.
    #[inline]
    #[must_use]
    pub fn smallest(&self, table: TableId) -> Option<i64> {
        self.tables[table].histogram.keys().next().copied()
    }

    /// How many domains there are (only for [`Counts::Spread`]).
    #[inline]
    #[must_use]
    pub fn open_domains(&self, table: TableId) -> u32 {
        self.tables[table].histogram.values().sum()
    }

    /// What no domain's count is above.
    #[must_use]
    pub fn most(&self, table: TableId) -> i64 {
        self.tables[table].most
    }

    /// Whether the table is by host name.
    #[must_use]
    pub fn is_by_host(&self, table: TableId) -> bool {
        self.axes[self.tables[table].axis].key == HOSTNAME_LABEL
    }

    /// Number of domains ever seen in a table's axis.
    #[must_use]
    pub fn domains(&self, table: TableId) -> usize {
        self.axes[self.tables[table].axis].nodes.len()
    }
}

impl Eligible {
    /// Nodes that a constraint of the spec counts: its inclusion policies allow them and they have all the keys.
    #[must_use]
    pub fn new<'a>(
        spec: &PodSpec,
        constraint: &SpreadConstraint,
        keys: impl Iterator<Item = &'a str>,
    ) -> Self {
        let mut keys: Vec<String> = keys.map(str::to_owned).collect();
        keys.sort();
        keys.dedup();
        let mut only = PodSpec::default();
        if !constraint.ignore_node_affinity {
            only.node_selector.clone_from(&spec.node_selector);
            only.required_node_affinity.clone_from(&spec.required_node_affinity);
        }
        if constraint.honor_node_taints {
            only.tolerations.clone_from(&spec.tolerations);
        }
        Self { spec: only, taints: constraint.honor_node_taints, keys }
    }

    /// Whether it counts a node, of which a scheduler knows this template.
    #[must_use]
    pub fn includes(&self, cluster: &Cluster, template: &NodeTemplate, node: NodeId) -> bool {
        self.keys.iter().all(|k| cluster.nodes.label(node, k).is_some())
            && node_affinity::matches(cluster, &self.spec, node)
            && !(self.taints && taint_toleration::rejects(&self.spec, template))
    }

    /// Whether it counts every node that has a label of this key.
    #[must_use]
    pub fn is_every(&self, key: &str) -> bool {
        let is_there = |k: &String| k == key || k == HOSTNAME_LABEL;
        !self.taints && self.spec == PodSpec::default() && self.keys.iter().all(is_there)
    }
}

impl Table {
    fn matches(&self, cluster: &Cluster, spec: &PodSpec) -> bool {
        self.selectors.iter().all(|s| s.matches(cluster, spec))
    }

    #[inline]
    fn count(&self, domain: u32) -> i64 {
        self.counts.get(domain as usize).copied().unwrap_or(0)
    }

    fn add(&mut self, domain: u32, by: i64, sign: i64) {
        if domain == NO_DOMAIN {
            return;
        }
        let at = domain as usize;
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        let before = self.counts[at];
        self.counts[at] += by;
        self.most = self.most.max(self.counts[at]);
        self.pods += sign;
        if self.what == Counts::Spread {
            self.count_domains(before, false);
            self.count_domains(before + by, true);
        }
    }

    fn count_domains(&mut self, count: i64, more: bool) {
        let domains = self.histogram.entry(count).or_insert(0);
        if more {
            *domains += 1;
        } else {
            *domains -= 1;
            if *domains == 0 {
                self.histogram.remove(&count);
            }
        }
    }

    fn open_domains(&mut self, axis: &Axis) {
        if self.what == Counts::Spread {
            let domains = axis.nodes.iter().filter(|n| **n > 0).count();
            if domains > 0 {
                self.histogram.insert(0, u32::try_from(domains).expect("domains are limited"));
            }
        }
    }
}
