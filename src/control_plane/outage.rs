//! Outages: an API server that is away, an etcd that takes no writes, clients that end, watches that break.
//!
//! **API server.** When its process ends, whatever it was reading, handling or answering is lost and its callers get an
//! error; what it had handed to etcd is stored all the same, which nobody is told. All connections break. While it is away
//! connections are refused: requests fail at once, and whoever sent them tries again in its own way. A new process has
//! empty queues and an empty watch cache.
//!
//! **etcd** without a leader takes no writes: they fail at once (500), those under way are lost. Reads are served from the
//! watch cache.
//!
//! **A client's process** that ends takes along what it had not sent; what the server has is handled, and nobody hears.
//!
//! **Watches.** A watcher that is cut off tries to connect after 0.8 s, doubled up to 30 s, each wait lengthened at random
//! by up to as much again (`reflector.go`). After a break of the connection alone the watch goes on where it stopped if the
//! watch cache still has what was missed, which it keeps for 75 s (`eventFreshDuration` of `cacher`); else, and after a
//! restart of the server, the watcher lists everything: one request a kind (pods, nodes), whose cost grows with the objects
//! on both sides, and a **storm** where many do so at once: each kubelet has watches of its own and lists what is its own.
//! Then the informer hands on what has changed since: what came and went meanwhile is never seen, but for the
//! ReplicaSet controller, which notices what it waits to see (the real one when its expectations lapse, after 5 min).
//!
//! Left out: several API servers (one of three that goes away sends a third of the watches to the others), the time-outs of
//! connections that break without a word (TCP resets come at once), reading one's own writes from a cache that is behind.
//!
//! Cost: O(requests under way) an outage, O(objects missed) a watcher.
use std::collections::BTreeMap;

use super::apf::Admitter;
use super::controllers::doubled_ns;
use super::kernel::{Event, Job, Kernel, ProcessId, RequestEvent};
use super::{Caller, ClientId, ControlPlane, NODE_CHANGES, Outcome, Place, PodChange, Verb};
use crate::cluster::{NodeChange, NodeId, PodId};
use crate::engine::{MILLISECOND, Nanos, Rng, SECOND};

/// What a refused connection takes.
const REFUSED_NS: Nanos = MILLISECOND;
/// A reflector's first wait.
const FIRST_BACKOFF_NS: Nanos = 800 * MILLISECOND;
/// Its longest.
const LAST_BACKOFF_NS: Nanos = 30 * SECOND;
/// What the watch cache keeps.
const EVENTS_KEPT_NS: Nanos = 75 * SECOND;

/// What only outages need.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Outages {
    /// An admitter as a server has it when it starts; an input.
    #[serde(skip)]
    pub(super) fresh: Option<Box<Admitter>>,
    /// Waits of watchers that are cut off.
    backoff: Option<Rng>,
    /// How often the server's process has ended.
    pub(super) epoch: u32,
    /// Lists that watchers made.
    lists: u64,
    /// How often watchers were cut off.
    breaks: u64,
}

/// What an informer hands on after a list: nodes, then pods.
type Changes = (Vec<(NodeId, NodeChange)>, Vec<(PodId, PodChange)>);

/// Of a pod, over the time of a break: what there was to see.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Missed {
    added: bool,
    bound: bool,
    status: bool,
    gone: bool,
}

/// A watch that is broken.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Watch {
    /// Not before this time can it be set up again, even if the server is there.
    blocked_until_ns: Nanos,
    since_ns: Nanos,
    /// The server that it watched is no more.
    server_lost: bool,
    nth: u32,
    waits: u32,
    /// Lists that are not answered yet.
    lists_pending: u32,
    /// Objects of those that are.
    objects: u64,
    list_failed: bool,
    pods: BTreeMap<PodId, Missed>,
    nodes: BTreeMap<NodeId, (bool, NodeChange)>,
}

impl Watch {
    /// A change of a pod that it does not see.
    pub(super) fn miss(&mut self, pod: PodId, change: PodChange) {
        let missed = self.pods.entry(pod).or_default();
        match change {
            PodChange::Added => missed.added = true,
            PodChange::Bound => missed.bound = true,
            PodChange::Status => missed.status = true,
            PodChange::Gone => missed.gone = true,
        }
    }

    /// A change of a node that it does not see.
    pub(super) fn miss_node(&mut self, node: NodeId, change: NodeChange) {
        let missed = self.nodes.entry(node).or_insert((change == NodeChange::Added, change));
        missed.1 = change;
    }

    /// What the informer hands on: changes of nodes, then of pods that are there, then of those that are not. Who `expects` what
    /// it has created hears that it is gone even if it never saw it.
    fn changes(&self, expects: bool) -> Changes {
        let mut nodes = Vec::new();
        for (node, (was_new, last)) in &self.nodes {
            match (was_new, last) {
                (true, NodeChange::Deleted) => {}
                (true, _) => nodes.push((*node, NodeChange::Added)),
                (false, last) => nodes.push((*node, *last)),
            }
        }
        let mut pods = Vec::new();
        for (pod, missed) in self.pods.iter().filter(|(_, missed)| !missed.gone) {
            if missed.bound {
                pods.push((*pod, PodChange::Bound));
            } else if missed.added {
                pods.push((*pod, PodChange::Added));
            } else if missed.status {
                pods.push((*pod, PodChange::Status));
            }
        }
        let gone = self.pods.iter().filter(|(_, missed)| missed.gone && (expects || !missed.added));
        pods.extend(gone.map(|(pod, _)| (*pod, PodChange::Gone)));
        (nodes, pods)
    }
}

impl ControlPlane {
    /// From now on servers may go away and watches break; waits are drawn from `backoff`. `lists_of` says whose tokens each
    /// watcher's lists take; `owners` is the watcher that expects to see what it has created.
    pub fn expect_outages(
        &mut self,
        kernel: &mut Kernel,
        backoff: Rng,
        lists_of: &[(usize, ClientId)],
        owners: usize,
    ) {
        self.watchers[owners].expects = true;
        self.outages.backoff = Some(backoff);
        self.outages.fresh = self.server.as_ref().map(|server| Box::new(server.admitter.clone()));
        for (watcher, client) in lists_of {
            let watcher = &mut self.watchers[*watcher];
            watcher.client = Some(*client);
            if let Some(process) = watcher.process {
                watcher.list_op = kernel.meter(process).operation_or_free("list_pod");
            }
        }
    }

    /// Whether the API server is away.
    #[must_use]
    pub const fn is_down(&self) -> bool {
        self.down
    }

    /// Lists that watchers have made after breaks, and breaks.
    #[must_use]
    pub const fn watch_counts(&self) -> (u64, u64) {
        (self.outages.lists, self.outages.breaks)
    }

    /// Watchers by name.
    pub fn watchers(&self) -> impl Iterator<Item = &str> {
        self.watchers.iter().map(|w| w.name.as_str())
    }

    /// Nobody waits for the request any more.
    pub(super) fn is_abandoned(&self, id: u32) -> bool {
        self.requests[id as usize].caller != Caller::Waits
    }

    /// Nobody listens: the client hears so a moment later.
    pub(super) fn refuse_connection(&mut self, kernel: &mut Kernel, id: u32) {
        self.requests[id as usize].place = Place::Waiting;
        kernel.at(kernel.now() + REFUSED_NS, Event::Request { id, what: RequestEvent::Refused });
    }

    /// etcd did not take a write: the server answers with an error.
    pub(super) fn fail_in_etcd(&mut self, kernel: &mut Kernel, id: u32) {
        let request = &mut self.requests[id as usize];
        request.failed = true;
        request.place = Place::Server;
        self.respond(kernel, id);
    }

    /// The API server's process ends.
    pub fn crash_server(&mut self, kernel: &mut Kernel) {
        let Some(server) = &mut self.server else { return };
        if self.down {
            return;
        }
        self.down = true;
        self.outages.epoch += 1;
        // Its work is lost; so are the halves of handshakes.
        kernel.kill(server.process);
        if let Some(fresh) = &self.outages.fresh {
            server.admitter = (**fresh).clone();
        }
        self.accounts.restarted();
        self.executing = 0;
        for at in 0..self.connections.len() {
            for id in self.connections[at].transport.break_all() {
                self.requests[id as usize].place = Place::Server;
            }
        }
        for id in 0..self.requests.len() as u32 {
            let request = &mut self.requests[id as usize];
            match request.place {
                Place::Server | Place::Stream => self.answer(id, false),
                Place::Queued => {
                    self.queued -= 1;
                    self.answer(id, false);
                }
                // Its client was told when an earlier server ended.
                Place::Etcd if request.caller == Caller::Told => {}
                Place::Etcd => {
                    // Told now, stored perhaps.
                    let told = request.caller == Caller::Waits;
                    request.caller = Caller::Told;
                    let (client, verb) = (request.client as usize, request.verb);
                    let (pod, node) = (request.pod, request.node);
                    self.in_flight -= 1;
                    if told {
                        self.clients[client].failures += 1;
                        let (ok, refusal) = (false, None);
                        self.outcomes.push_back(Outcome::Answered { client, verb, pod, node, ok, refusal });
                    }
                }
                Place::Free | Place::Waiting | Place::Encoding => {}
            }
        }
        for watcher in 0..self.watchers.len() {
            self.break_watch(kernel, watcher, true, kernel.now());
        }
    }

    /// A new API server is there.
    pub fn start_server(&mut self) {
        self.down = false;
    }

    /// The API server's work takes so much longer, in parts per million; 0: as long as it should.
    pub fn slow_server(&mut self, kernel: &mut Kernel, ppm: u64) {
        if let Some(server) = &self.server {
            kernel.set_slowdown(server.process, ppm);
        }
    }

    /// etcd's disk takes so much longer, in parts per million; 0: as long as it should.
    pub fn slow_etcd(&mut self, ppm: u64) {
        if let Some(server) = &mut self.server {
            server.etcd.set_slowdown(ppm);
        }
    }

    /// etcd takes no writes from now on.
    pub fn stop_etcd(&mut self, kernel: &mut Kernel) {
        let Some(server) = &mut self.server else { return };
        for id in server.etcd.stop() {
            if self.requests[id as usize].caller == Caller::Told {
                self.requests[id as usize].place = Place::Free;
                self.free.push(id);
            } else {
                self.fail_in_etcd(kernel, id);
            }
        }
    }

    /// etcd takes writes again.
    pub fn go_on_etcd(&mut self) {
        if let Some(server) = &mut self.server {
            server.etcd.go_on();
        }
    }

    /// A process with clients ends: what it had not sent is not sent, and it hears of nothing else.
    pub fn end_client(&mut self, kernel: &mut Kernel, process: ProcessId) {
        kernel.kill(process);
        let mine: Vec<bool> = self.clients.iter().map(|c| c.process == Some(process)).collect();
        let mut freed = Vec::new();
        for at in 0..self.connections.len() {
            if self.connections[at].process == Some(process) {
                freed.append(&mut self.connections[at].transport.break_all());
            }
        }
        for id in freed {
            self.requests[id as usize].caller = Caller::Gone;
            self.answer(id, false);
        }
        for id in 0..self.requests.len() as u32 {
            let request = &mut self.requests[id as usize];
            if request.place == Place::Free || !mine[request.client as usize] {
                continue;
            }
            match request.place {
                Place::Encoding => {
                    request.caller = Caller::Gone;
                    self.answer(id, false);
                }
                _ if request.caller == Caller::Waits => request.caller = Caller::Gone,
                _ => {}
            }
        }
        // Answers that had arrived are not read any more.
        let gone = |o: &Outcome| matches!(o, Outcome::Answered { client, .. } if mine[*client]);
        self.outcomes.retain(|o| !gone(o));
        for watcher in 0..self.watchers.len() {
            if self.watchers[watcher].process == Some(process) {
                // Its successor asks for everything.
                self.break_watch(kernel, watcher, true, Nanos::MAX);
            }
        }
    }

    /// The successor of a process has listed everything: from now on its watch shows what changes.
    pub fn watch_anew(&mut self, kernel: &mut Kernel, watcher: usize) {
        self.watchers[watcher].watch = None;
        if self.down {
            // It has listed, and found nobody when it wanted to watch.
            self.break_watch(kernel, watcher, true, kernel.now());
            return;
        }
        if let Some(client) = self.watchers[watcher].client {
            let transport = self.clients[client].transport;
            self.connections[transport].transport.connected();
        }
    }

    /// A watch breaks; it can't be set up again before `until_ns`.
    pub fn break_watch(&mut self, kernel: &mut Kernel, watcher: usize, server_lost: bool, until_ns: Nanos) {
        let now = kernel.now();
        self.outages.breaks += 1;
        let nth = u32::try_from(self.outages.breaks).unwrap_or(u32::MAX);
        let watch = self.watchers[watcher]
            .watch
            .get_or_insert_with(|| Box::new(Watch { since_ns: now, ..Watch::default() }));
        watch.server_lost |= server_lost;
        watch.blocked_until_ns = watch.blocked_until_ns.max(until_ns);
        (watch.nth, watch.waits, watch.lists_pending) = (nth, 0, 0);
        if until_ns < Nanos::MAX {
            self.wait_to_watch(kernel, watcher);
        }
    }

    fn wait_to_watch(&mut self, kernel: &mut Kernel, watcher: usize) {
        let Some(rng) = &mut self.outages.backoff else { return };
        let Some(watch) = &mut self.watchers[watcher].watch else { return };
        let wait_ns = doubled_ns(FIRST_BACKOFF_NS, watch.waits, LAST_BACKOFF_NS);
        watch.waits += 1;
        let at = kernel.now() + wait_ns + rng.below(wait_ns);
        kernel.at(at, Event::Watch { watcher: watcher as u32, nth: watch.nth });
    }

    /// A watcher that is cut off tries again. `pods` and `nodes`: how many there are to list; `kubelets`: by how many
    /// watchers it stands for.
    pub fn on_watch(&mut self, kernel: &mut Kernel, watcher: usize, nth: u32, sizes: ListSizes) {
        let (now, down) = (kernel.now(), self.down);
        let Some(watch) = &mut self.watchers[watcher].watch else { return };
        if watch.nth != nth || watch.lists_pending > 0 {
            return;
        }
        if down || watch.blocked_until_ns > now {
            self.wait_to_watch(kernel, watcher);
            return;
        }
        let resumes = !watch.server_lost && now - watch.since_ns <= EVENTS_KEPT_NS;
        let client = self.watchers[watcher].client;
        let watches_nodes = self.watchers[watcher].node_op.is_some();
        let Some(client) = client.filter(|_| !resumes) else {
            self.hand_on(kernel, watcher);
            return;
        };
        let lists: Vec<u32> = if sizes.kubelets > 0 {
            vec![sizes.pods.div_ceil(sizes.kubelets); sizes.kubelets as usize]
        } else if watches_nodes {
            vec![sizes.pods, sizes.nodes]
        } else {
            vec![sizes.pods]
        };
        if let Some(watch) = &mut self.watchers[watcher].watch {
            watch.lists_pending = lists.len() as u32;
            (watch.list_failed, watch.objects) = (false, 0);
        }
        self.outages.lists += lists.len() as u64;
        for objects in lists {
            self.submit(kernel, client, Verb::List, objects, watcher as NodeId);
        }
    }

    /// A list of a watcher was answered. All are decoded when the last one is.
    pub fn on_list_answered(&mut self, kernel: &mut Kernel, watcher: usize, objects: u32, ok: bool) {
        let Some(watch) = self.watchers[watcher].watch.as_mut().filter(|w| w.lists_pending > 0) else {
            return;
        };
        watch.lists_pending -= 1;
        watch.list_failed |= !ok;
        watch.objects += u64::from(objects);
        if watch.lists_pending > 0 {
            return;
        }
        if watch.list_failed {
            self.wait_to_watch(kernel, watcher);
            return;
        }
        let (objects, nth) = (watch.objects, watch.nth);
        let it = &self.watchers[watcher];
        match it.process {
            Some(process) if it.list_op != crate::cost::OpId::NONE => {
                let cost = kernel.meter(process).charge(it.list_op, objects);
                kernel.cpu_picos(process, cost, Job::Listed { watcher: watcher as u16, nth });
            }
            _ => self.hand_on(kernel, watcher),
        }
    }

    /// A watcher has decoded its lists.
    pub(super) fn on_listed(&mut self, kernel: &mut Kernel, watcher: usize, nth: u32) {
        // The server may have gone again meanwhile; then a new break has begun, after which it lists again.
        if self.watchers[watcher].watch.as_ref().is_some_and(|watch| watch.nth == nth) {
            self.hand_on(kernel, watcher);
        }
    }

    /// The watch stands again: the informer hands on what has changed.
    fn hand_on(&mut self, kernel: &mut Kernel, watcher: usize) {
        let Some(watch) = self.watchers[watcher].watch.take() else { return };
        if let Some(client) = self.watchers[watcher].client {
            let transport = self.clients[client].transport;
            self.connections[transport].transport.connected();
        }
        let (nodes, pods) = watch.changes(self.watchers[watcher].expects);
        let it = &self.watchers[watcher];
        for (node, change) in nodes {
            let Some(op) = it.node_op else { break };
            match it.process {
                Some(process) => {
                    let code = NODE_CHANGES + change as u64;
                    let payload = (watcher as u64) << 40 | code << 36 | u64::from(node);
                    kernel.charge_cpu(process, op, Job::Informer(payload));
                }
                None => self.outcomes.push_back(Outcome::NodeObserved { watcher, node, change }),
            }
        }
        for (pod, change) in pods {
            match it.process {
                Some(process) => {
                    let payload = (watcher as u64) << 40 | (change as u64) << 36 | u64::from(pod);
                    kernel.charge_cpu(process, it.ops[change as usize], Job::Informer(payload));
                }
                None => self.outcomes.push_back(Outcome::Observed { watcher, pod, change }),
            }
        }
    }
}

/// How much there is to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListSizes {
    /// Pods.
    pub pods: u32,
    /// Nodes.
    pub nodes: u32,
    /// Kubelets that the watcher stands for, each with a list of its own; 0: it is one program.
    pub kubelets: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{CostProfile, Meter};
    use crate::engine::Streams;

    #[test]
    fn what_came_and_went_is_never_seen() {
        let mut watch = Watch::default();
        for (pod, changes) in [
            (0, &[PodChange::Added, PodChange::Bound, PodChange::Gone][..]),
            (1, &[PodChange::Added, PodChange::Bound, PodChange::Status]),
            (2, &[PodChange::Bound]),
            (3, &[PodChange::Status, PodChange::Gone]),
            (4, &[PodChange::Added]),
            (5, &[PodChange::Status]),
        ] {
            changes.iter().for_each(|change| watch.miss(pod, *change));
        }
        for (node, changes) in [
            (0, &[NodeChange::Updated, NodeChange::Updated][..]),
            (1, &[NodeChange::Added, NodeChange::Updated]),
            (2, &[NodeChange::Added, NodeChange::Deleted]),
            (3, &[NodeChange::Updated, NodeChange::Deleted]),
        ] {
            changes.iter().for_each(|change| watch.miss_node(node, *change));
        }
        let (nodes, pods) = watch.changes(false);
        assert_eq!(nodes, [(0, NodeChange::Updated), (1, NodeChange::Added), (3, NodeChange::Deleted)]);
        assert_eq!(
            pods,
            [
                (1, PodChange::Bound),
                (2, PodChange::Bound),
                (4, PodChange::Added),
                (5, PodChange::Status),
                (3, PodChange::Gone)
            ]
        );
    }

    /// A watcher that has its lists and decodes them; `breaks`: meanwhile the connection breaks again. Says when the lists are
    /// decoded, ns, and whether the watch stands then.
    fn decoded(breaks: bool) -> (Nanos, bool) {
        let mut kernel = Kernel::new();
        let host = kernel.add_host("h", 1, 1_000_000);
        let text = "apiVersion: podpace/v1\nkind: CostProfile\nname: p\ncomponent: p\nversion: \"1\"\ncosts:\n  list_pod: {value: 1ms, source: test}\n";
        let profile = CostProfile::parse(text, "p.yaml").unwrap();
        let process = kernel.add_process("p", host, None, Meter::new(profile));
        let mut plane = ControlPlane::ideal();
        let watcher = plane.add_watcher(&mut kernel, "w", Some(process));
        plane.watchers[watcher].list_op = kernel.meter(process).operation("list_pod").unwrap();
        plane.outages.backoff = Some(Streams::new(1).stream("control_plane.backoff"));
        plane.break_watch(&mut kernel, watcher, true, 0);
        plane.watchers[watcher].watch.as_mut().unwrap().lists_pending = 2;
        plane.on_list_answered(&mut kernel, watcher, 100, true);
        plane.on_list_answered(&mut kernel, watcher, 20, true);
        if breaks {
            plane.break_watch(&mut kernel, watcher, true, 0);
        }
        while let Some(event) = kernel.next_event() {
            let Event::Host { host, generation } = event else { continue };
            if kernel.finish_jobs(host, generation) > 0 {
                let (_, job) = kernel.finished_job(0);
                plane.on_job(&mut kernel, job);
                return (kernel.now(), plane.watchers[watcher].watch.is_none());
            }
        }
        panic!("nothing was decoded");
    }

    /// A reflector decodes every list that it asked for (pods, nodes), and one whose watch breaks lists again: what it had
    /// listed says nothing of what comes after (`ListAndWatch` of `reflector.go`).
    #[test]
    fn lists_are_decoded_whole_and_a_break_meanwhile_begins_anew() {
        assert_eq!(decoded(false), (120 * MILLISECOND, true));
        assert_eq!(decoded(true), (120 * MILLISECOND, false));
    }
}
