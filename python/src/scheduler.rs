//! Schedulers written in Python: a class that says which node a pod gets; everything around it is here.
//!
//! One cycle at a time, as in kube-scheduler: the pod with the smallest key (`Scheduler.order`; by default first come,
//! first served) is taken, `Scheduler.schedule` chooses a node, the operations that it charged take virtual CPU time of
//! the scheduler's process, then the pod is assumed and bound by a goroutine of its own. A pod without a node waits until
//! a pod leaves or a node comes or changes.
//!
//! The class sees what an informer shows and its own assumptions: [`Nodes`] is the scheduler's view, never the cluster's.
//! An exception ends the run and is raised where the run was asked for.
//!
//! Left out: preemption, gangs, checkpoints.
//!
//! Cost: a call into the interpreter a pod, under its lock: runs with such schedulers don't run at the same time. The
//! feasible nodes are found in Rust, O(nodes) where they are asked for.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt32Array, UInt64Array};
use podpace::cluster::{Cluster, NO_NODE, NodeId, PodId, PodSpec};
use podpace::cost::{CostProfile, Meter, OpId, picos_to_nanos};
use podpace::scheduler::{
    Action, BindOutcome, Built, Context, NodeChange, NodeTable, PendingReasons, Place, Places, Registry,
    SchedulerModel, kube,
};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;

use crate::table::{Table, arrow};

/// The payload with which a run unwinds whose scheduler raised an exception.
pub struct Raised(pub PyErr);

fn raise(error: PyErr) -> ! {
    std::panic::resume_unwind(Box::new(Raised(error)))
}

/// Registers a class: `make()` gives an instance for each run.
pub fn register(registry: &mut Registry, kind: &str, profile: CostProfile, make: Py<PyAny>) {
    let (name, make) = (kind.to_owned(), Arc::new(make));
    let factory = move |_: &_, meter: &mut Meter| -> Built {
        let costs: Vec<String> = meter.profile().costs().map(|(cost, _)| cost.to_owned()).collect();
        let operations = costs
            .into_iter()
            .map(|cost| Ok((cost.clone(), meter.operation(&cost)?)))
            .collect::<Result<_, _>>()?;
        Python::attach(|py| match Instance::new(py, &make) {
            Ok(instance) => Ok(Box::new(Model::new(name.clone(), operations, instance)) as Box<_>),
            Err(error) => raise(error),
        })
    };
    registry.register_with_profile(kind, factory, profile);
}

/// A pod as a scheduler sees it.
#[pyclass(frozen, get_all, module = "podpace._native")]
pub struct Pod {
    /// Number, in order of creation.
    id: u32,
    /// Application.
    app: String,
    /// Queue that the application asks for; empty: none.
    queue: String,
    /// Who submitted it; empty: nobody in particular.
    user: String,
    /// `spec.priority`.
    priority: i32,
    /// CPU requests, millicores.
    cpu_millicores: u64,
    /// Memory requests, bytes.
    memory_bytes: u64,
    /// Other requests by name.
    extended: BTreeMap<String, u64>,
    /// Labels.
    labels: BTreeMap<String, String>,
}

#[pymethods]
impl Pod {
    fn __repr__(&self) -> String {
        format!(
            "Pod({}, app={:?}, cpu={}m, memory={})",
            self.id, self.app, self.cpu_millicores, self.memory_bytes
        )
    }
}

impl Pod {
    fn new(cluster: &Cluster, pod: PodId) -> Self {
        let (spec, app) = (cluster.pods.spec(pod), &cluster.pods.apps()[cluster.pods.app_id(pod) as usize]);
        Self {
            id: pod,
            app: app.name.clone(),
            queue: app.queue.clone(),
            user: app.user.clone(),
            priority: spec.priority,
            cpu_millicores: spec.requests.cpu_millicores,
            memory_bytes: spec.requests.memory_bytes,
            extended: spec
                .requests
                .extended
                .iter()
                .map(|(id, value)| (cluster.resources.name(*id).to_owned(), *value))
                .collect(),
            labels: spec.labels.clone(),
        }
    }
}

#[derive(Default)]
struct View {
    table: NodeTable,
    names: Vec<String>,
    labels: Vec<BTreeMap<String, String>>,
    /// By spec: which nodes take it by name, labels and taints.
    allowed: BTreeMap<u32, Arc<Vec<bool>>>,
    /// Of the pod in its cycle.
    pod: Option<(PodSpec, Arc<Vec<bool>>)>,
}

impl View {
    fn is_allowed(&self, node: usize) -> bool {
        self.pod.as_ref().is_some_and(|(spec, allowed)| {
            self.table.is_present(node as NodeId)
                && allowed.get(node).copied().unwrap_or(false)
                && self.table.fits(node as NodeId, spec)
        })
    }
}

/// The scheduler's view of the nodes: what is allocatable, and what its own placements use.
#[pyclass(frozen, module = "podpace._native")]
#[derive(Default)]
pub struct Nodes(Mutex<View>);

impl Nodes {
    fn lock(&self) -> MutexGuard<'_, View> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn column<T>(&self, node: usize, value: impl Fn(&View) -> T) -> PyResult<T> {
        let view = self.lock();
        if view.table.is_present(NodeId::try_from(node).unwrap_or(NO_NODE)) {
            Ok(value(&view))
        } else {
            Err(PyIndexError::new_err(format!("there is no node {node}")))
        }
    }
}

#[pymethods]
impl Nodes {
    /// How many nodes there are.
    fn __len__(&self) -> usize {
        self.lock().table.count()
    }

    /// Numbers of all nodes, ascending.
    fn ids(&self) -> Vec<usize> {
        let view = self.lock();
        (0..view.table.len()).filter(|node| view.table.is_present(*node as NodeId)).collect()
    }

    /// Whether the pod of this cycle fits: resources, node name, selectors, required node affinity, taints.
    fn fits(&self, node: usize) -> bool {
        self.lock().is_allowed(node)
    }

    /// Nodes that the pod of this cycle fits on, from `start` on and around, `limit` of them at most.
    #[pyo3(signature = (start=0, limit=None))]
    fn feasible(&self, start: usize, limit: Option<usize>) -> Vec<usize> {
        let view = self.lock();
        let len = view.table.len();
        let order = (0..len).map(|i| (start % len.max(1) + i) % len.max(1));
        order.filter(|node| view.is_allowed(*node)).take(limit.unwrap_or(usize::MAX)).collect()
    }

    /// CPU that nobody uses, millicores.
    fn cpu_free(&self, node: usize) -> PyResult<u64> {
        self.column(node, |v| v.table.cpu_capacity[node].saturating_sub(v.table.cpu_used[node]))
    }

    /// Memory that nobody uses, bytes.
    fn memory_free(&self, node: usize) -> PyResult<u64> {
        self.column(node, |v| v.table.memory_capacity[node].saturating_sub(v.table.memory_used[node]))
    }

    /// Allocatable CPU, millicores.
    fn cpu(&self, node: usize) -> PyResult<u64> {
        self.column(node, |v| v.table.cpu_capacity[node])
    }

    /// Allocatable memory, bytes.
    fn memory(&self, node: usize) -> PyResult<u64> {
        self.column(node, |v| v.table.memory_capacity[node])
    }

    /// Pods on it.
    fn pods(&self, node: usize) -> PyResult<u32> {
        self.column(node, |v| v.table.pods_used[node])
    }

    /// Its name.
    fn name(&self, node: usize) -> PyResult<String> {
        self.column(node, |v| v.names[node].clone())
    }

    /// Its labels.
    fn labels(&self, node: usize) -> PyResult<BTreeMap<String, String>> {
        self.column(node, |v| v.labels[node].clone())
    }

    /// All nodes as Arrow columns: `node`, `name`, `cpu`, `cpu_used`, `memory`, `memory_used`, `pods_used`, `fits`.
    fn table(&self) -> PyResult<Table> {
        let view = self.lock();
        let ids: Vec<usize> =
            (0..view.table.len()).filter(|node| view.table.is_present(*node as NodeId)).collect();
        let of = |column: &[u64]| -> ArrayRef {
            Arc::new(ids.iter().map(|node| Some(column[*node])).collect::<UInt64Array>())
        };
        let t = &view.table;
        let names: StringArray = ids.iter().map(|node| Some(view.names[*node].as_str())).collect();
        let pods: UInt32Array = ids.iter().map(|node| Some(t.pods_used[*node])).collect();
        let node: UInt64Array = ids.iter().map(|node| Some(*node as u64)).collect();
        let fits: UInt32Array = ids.iter().map(|node| Some(u32::from(view.is_allowed(*node)))).collect();
        let columns: [(&str, ArrayRef); 8] = [
            ("node", Arc::new(node)),
            ("name", Arc::new(names)),
            ("cpu", of(&t.cpu_capacity)),
            ("cpu_used", of(&t.cpu_used)),
            ("memory", of(&t.memory_capacity)),
            ("memory_used", of(&t.memory_used)),
            ("pods_used", Arc::new(pods)),
            ("fits", Arc::new(fits)),
        ];
        RecordBatch::try_from_iter(columns).map(Table).map_err(|error| arrow(&error))
    }
}

/// An instance of the class, with what it overrides.
struct Instance {
    object: Py<PyAny>,
    has_order: bool,
    has_placed: bool,
    has_gone: bool,
}

impl Instance {
    fn new(py: Python<'_>, make: &Py<PyAny>) -> PyResult<Self> {
        let object = make.call0(py)?;
        let overrides = |name: &str| object.call_method1(py, "_overrides", (name,))?.extract::<bool>(py);
        let (has_order, has_placed, has_gone) =
            (overrides("order")?, overrides("placed")?, overrides("gone")?);
        Ok(Self { object, has_order, has_placed, has_gone })
    }
}

/// A key that sorts as its number does.
#[derive(Clone, Copy, PartialEq)]
struct Key(f64);
impl Eq for Key {}
impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// The model around the class.
struct Model {
    kind: String,
    operations: BTreeMap<String, OpId>,
    instance: Instance,
    nodes: Py<Nodes>,
    queue: BinaryHeap<Reverse<(Key, u64, PodId)>>,
    arrivals: u64,
    unschedulable: Vec<PodId>,
    in_cycle: Option<(PodId, NodeId)>,
    /// Whether something changed since the cycle began that may make room.
    changed: bool,
    places: Places,
}

impl Model {
    fn new(kind: String, operations: BTreeMap<String, OpId>, instance: Instance) -> Self {
        let nodes = Python::attach(|py| Py::new(py, Nodes::default())).unwrap_or_else(|error| raise(error));
        Self {
            kind,
            operations,
            instance,
            nodes,
            queue: BinaryHeap::new(),
            arrivals: 0,
            unschedulable: Vec::new(),
            in_cycle: None,
            changed: false,
            places: Places::default(),
        }
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.nodes.get().lock()
    }

    /// Notes where a pod is, and tells the class of nodes that it leaves and comes to.
    fn move_to(&mut self, cluster: &Cluster, pod: PodId, place: Place) {
        let (from, to) = (self.places.put(pod, place).node(), place.node());
        if from == to {
            return;
        }
        if let Some(node) = from {
            self.view().table.remove_pod(node, cluster.pods.spec(pod));
            self.tell(cluster, "gone", self.instance.has_gone, pod, node);
        }
        if let Some(node) = to {
            self.view().table.force_pod(node, cluster.pods.spec(pod));
            self.tell(cluster, "placed", self.instance.has_placed, pod, node);
        }
    }

    fn push(&mut self, cluster: &Cluster, pod: PodId) {
        let key = if self.instance.has_order {
            let key = Python::attach(|py| {
                self.instance.object.call_method1(py, "order", (Pod::new(cluster, pod),))?.extract::<f64>(py)
            });
            key.unwrap_or_else(|error| raise(error))
        } else {
            0.0
        };
        self.queue.push(Reverse((Key(key), self.arrivals, pod)));
        self.arrivals += 1;
    }

    /// Tells the class where a pod went, if it wants to know.
    fn tell(&self, cluster: &Cluster, what: &str, wanted: bool, pod: PodId, node: NodeId) {
        if wanted {
            let told = Python::attach(|py| {
                self.instance.object.call_method1(py, what, (Pod::new(cluster, pod), node)).map(drop)
            });
            told.unwrap_or_else(|error| raise(error));
        }
    }

    fn next_cycle(&mut self, cx: &mut Context<'_>) {
        if self.in_cycle.is_some() {
            return;
        }
        // Pods that were bound by someone else or are gone have left the queue's care.
        let pod = loop {
            let Some(Reverse((_, _, pod))) = self.queue.pop() else { return };
            if self.places.of(pod) == Place::Waiting {
                break pod;
            }
        };
        *cx.cycle_started = Some(pod);
        self.changed = false;
        let (spec, id) = (cx.cluster.pods.spec(pod), cx.cluster.pods.spec_id(pod));
        {
            let mut view = self.view();
            let len = view.table.len();
            let allowed = Arc::clone(view.allowed.entry(id).or_insert_with(|| {
                let allows = |node| kube::static_rejection(cx.cluster, spec, node as NodeId).is_none();
                Arc::new((0..len).map(allows).collect())
            }));
            view.pod = Some((spec.clone(), allowed));
        }
        let decided = Python::attach(|py| {
            let answer =
                self.instance.object.call_method1(py, "_cycle", (Pod::new(cx.cluster, pod), &self.nodes))?;
            let (node, charges): (Option<usize>, BTreeMap<String, u64>) = answer.extract(py)?;
            let mut cost = 0;
            for (operation, count) in charges {
                let id = self.operations.get(&operation).ok_or_else(|| {
                    let known: Vec<&str> = self.operations.keys().map(String::as_str).collect();
                    let known = known.join(", ");
                    PyValueError::new_err(format!(
                        "scheduler {}: charged `{operation}`, which its `costs` do not name; they name: {known}",
                        self.kind
                    ))
                })?;
                cost += cx.meter.charge(*id, count);
            }
            if let Some(node) = node.filter(|node| !self.view().is_allowed(*node)) {
                return Err(PyValueError::new_err(format!(
                    "scheduler {}: chose node {node} for pod {pod}, which does not fit there; choose one of \
                     nodes.feasible(), or return None",
                    self.kind
                )));
            }
            Ok((node.map_or(NO_NODE, |node| node as NodeId), cost))
        });
        let (node, cost) = decided.unwrap_or_else(|error| raise(error));
        self.in_cycle = Some((pod, node));
        cx.cpu(picos_to_nanos(cost), 1, 0);
    }

    fn retry(&mut self, cx: &mut Context<'_>) {
        self.changed = true;
        for pod in std::mem::take(&mut self.unschedulable) {
            self.push(cx.cluster, pod);
        }
        self.next_cycle(cx);
    }
}

impl SchedulerModel for Model {
    fn kind(&self) -> &str {
        &self.kind
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.next_cycle(cx);
    }

    fn on_node(&mut self, cx: &mut Context<'_>, node: NodeId, change: NodeChange) {
        {
            let mut view = self.view();
            view.allowed.clear();
            match change {
                NodeChange::Deleted => view.table.remove(node),
                NodeChange::Added | NodeChange::Updated => {
                    view.table.set(cx.cluster, node);
                    let at = node as usize;
                    if view.names.len() <= at {
                        view.names.resize(at + 1, String::new());
                        view.labels.resize(at + 1, BTreeMap::new());
                    }
                    view.names[at].clone_from(&cx.cluster.nodes.get(node).name);
                    view.labels[at].clone_from(&cx.cluster.nodes.template(node).labels);
                }
            }
        }
        self.retry(cx);
    }

    fn on_pod_pending(&mut self, cx: &mut Context<'_>, pod: PodId) {
        self.push(cx.cluster, pod);
        self.next_cycle(cx);
    }

    fn on_pod_bound(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId) {
        if self.places.of(pod) != Place::Gone {
            self.move_to(cx.cluster, pod, Place::On(node));
        }
    }

    fn on_pod_gone(&mut self, cx: &mut Context<'_>, pod: PodId, _node: NodeId) {
        self.move_to(cx.cluster, pod, Place::Gone);
        self.unschedulable.retain(|p| *p != pod);
        self.retry(cx);
    }

    fn on_bind_done(&mut self, cx: &mut Context<'_>, pod: PodId, node: NodeId, outcome: BindOutcome) {
        // The informer may have shown meanwhile that it is bound after all, or gone.
        if outcome == BindOutcome::Failed && self.places.of(pod) == Place::Assumed(node) {
            self.move_to(cx.cluster, pod, Place::Waiting);
            self.push(cx.cluster, pod);
            self.next_cycle(cx);
        }
    }

    fn on_cpu_done(&mut self, cx: &mut Context<'_>, _tag: u64) {
        let Some((pod, node)) = self.in_cycle.take() else { return };
        // The node may have left, or been filled by somebody else, while the cycle took its time.
        let fits = node != NO_NODE && {
            let view = self.view();
            view.table.is_present(node) && view.table.fits(node, cx.cluster.pods.spec(pod))
        };
        if self.places.of(pod) != Place::Waiting {
            // Bound by someone else or gone while the cycle ran.
        } else if fits {
            self.move_to(cx.cluster, pod, Place::Assumed(node));
            cx.actions.push(Action::Assume { pod });
            cx.actions.push(Action::Bind { pod, node });
        } else if node == NO_NODE && !self.changed {
            self.unschedulable.push(pod);
        } else {
            self.push(cx.cluster, pod);
        }
        self.next_cycle(cx);
    }

    fn on_timer(&mut self, _cx: &mut Context<'_>, _tag: u64) {}

    fn pending_reasons(&self, _cluster: &Cluster) -> PendingReasons {
        let waiting = self.unschedulable.len() as u64;
        if waiting == 0 {
            PendingReasons::new()
        } else {
            [(format!("{} found no node", self.kind), waiting)].into()
        }
    }

    fn backlog(&self) -> u64 {
        self.queue.len() as u64
    }
}
