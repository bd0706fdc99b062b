//! The control plane: clients, API server, etcd, watches, node agents and controllers.
//!
//! The life of a request, each step with its own module:
//! 1. the caller reserves a token of its clientset's bucket ([`token_bucket`]) and waits for it;
//! 2. the client's process encodes it, and it takes a stream of an HTTP/2 connection ([`transport`]), dialling
//!    and paying TLS handshakes where streams are short;
//! 3. the API server reads it and asks its admitter ([`apf`] or plain in-flight limits) for seats; it executes,
//!    waits in a fair queue, or is answered 429 with Retry-After, which the client honours up to ten times;
//! 4. admission and the handler cost server CPU, then etcd ([`etcd`]) stores it with whoever shares the sync;
//! 5. the server answers and delivers the change to every watcher, whose informer handles it one by one.
//!
//! [`ControlPlane`] joins the steps and reports to the simulation through [`Outcome`]s. A scenario without an
//! `apiServer` gets an ideal one: tokens still count, everything else takes no time.
//!
//! What a write does to pods and nodes that others write to as well, and what is refused, is [`store`]'s; a run without
//! faults and controllers has none. Reads are those that controllers and drains make; they cost a request, not etcd.
//!
//! Left out: admission webhooks, several API servers.
//!
//! Cost: about five queue operations a request; the ideal server none.
pub mod accounts;
pub mod apf;
pub mod controllers;
pub mod drain;
pub mod etcd;
pub mod evictions;
pub mod kernel;
pub mod node_agents;
pub mod outage;
pub mod quotas;
pub mod stages;
pub mod store;
pub mod token_bucket;
pub mod transport;

use std::collections::VecDeque;

use self::accounts::Accounts;
use self::apf::{Admission, Admitter, FlowId, Hold, RequestKind, Width};
use self::etcd::Etcd;
use self::kernel::{Event, Job, Kernel, ProcessId, RequestEvent};
use self::outage::Watch;
use self::store::{Refusal, Store};
use self::token_bucket::TokenBucket;
use self::transport::{ConnectionId, Transport};
use crate::cluster::{NodeChange, NodeId, PodId};
use crate::cost::{Meter, OpId, ProfileError};
use crate::engine::{Nanos, SECOND};

/// client-go gives a request up after this many answers with Retry-After (`maxRetries` 10 retries).
const MAX_ATTEMPTS: u8 = 11;
/// The API server's `--request-timeout`.
const REQUEST_TIMEOUT_NS: Nanos = 60 * SECOND;
/// net/http's TLSHandshakeTimeout as client-go sets it.
const TLS_HANDSHAKE_TIMEOUT_NS: Nanos = 10 * SECOND;

/// Mean size of a pod in memory, for the seats of a LIST: 1,000 pods reach the cap of a list from the watch cache.
const LIST_BYTES_PER_POD: u64 = 2_000;
/// In an informer's job: changes from here on are those of nodes.
const NODE_CHANGES: u64 = PodChange::ALL.len() as u64;

/// Index of a client.
pub type ClientId = usize;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum Verb {
    /// `POST pods`.
    CreatePod,
    /// `POST pods/binding`.
    Bind,
    /// `PATCH pods/status` by the scheduler (condition `PodScheduled`).
    PatchCondition,
    /// `PATCH pods/status` by a node agent: running.
    PatchRunning,
    /// `PATCH pods/status` by a node agent: succeeded.
    PatchSucceeded,
    /// `DELETE pods` that ends the pod.
    DeletePod,
    /// `DELETE pods` with a grace period: the node's agent is to end it.
    DeleteGracefully,
    /// `POST events`.
    CreateEvent,
    /// `PATCH pods/status`: failed.
    PatchFailed,
    /// `PATCH pods/status` by the node lifecycle controller: not ready.
    PatchNotReady,
    /// `GET pods`, one pod.
    GetPod,
    /// `GET pods`, as many as the request's `pod` says.
    List,
    /// `POST nodes`.
    CreateNode,
    /// `PATCH nodes`; the request's `pod` is its content ([`store::NodePatch`]).
    PatchNode,
    /// `DELETE nodes`.
    DeleteNode,
    /// A write to an object that no pod depends on: a status of a controller's object, an object created or deleted.
    PutObject,
    /// `POST pods/eviction`: a deletion with a grace period, if the pod's budget allows it.
    Evict,
}

/// Verbs with the operation that their handler costs, and another where a profile knows nothing of it (empty: nothing,
/// every request pays `ingress` and `respond`).
const VERBS: [(Verb, &str, &str); 17] = [
    (Verb::CreatePod, "create_pod", ""),
    (Verb::Bind, "bind", ""),
    (Verb::PatchCondition, "patch_status", ""),
    (Verb::PatchRunning, "patch_status", ""),
    (Verb::PatchSucceeded, "patch_status", ""),
    (Verb::DeletePod, "delete_pod", ""),
    (Verb::DeleteGracefully, "delete_pod", ""),
    (Verb::CreateEvent, "create_event", ""),
    (Verb::PatchFailed, "patch_status", ""),
    (Verb::PatchNotReady, "patch_status", ""),
    (Verb::GetPod, "get_pod", ""),
    (Verb::List, "list_pod", ""),
    (Verb::CreateNode, "create_node", "create_pod"),
    (Verb::PatchNode, "patch_node", "lease"),
    (Verb::DeleteNode, "delete_node", "delete_pod"),
    (Verb::PutObject, "put_object", "lease"),
    (Verb::Evict, "evict_pod", "delete_pod"),
];

/// Verbs whose cost every profile of an API server has.
const NEEDED_VERBS: usize = 8;

impl Verb {
    /// Whether it reads only: it costs a request but nothing in etcd.
    #[must_use]
    pub const fn is_read(self) -> bool {
        matches!(self, Self::GetPod | Self::List)
    }

    /// What watchers of nodes see of it.
    const fn node_change(self) -> Option<NodeChange> {
        match self {
            Self::CreateNode => Some(NodeChange::Added),
            Self::PatchNode => Some(NodeChange::Updated),
            Self::DeleteNode => Some(NodeChange::Deleted),
            _ => None,
        }
    }
}

/// The cost of a verb's handler.
fn server_op(meter: &mut Meter, at: usize) -> Result<OpId, ProfileError> {
    let (_, operation, instead) = VERBS[at];
    match meter.operation(operation) {
        Err(error) if at < NEEDED_VERBS => Err(error),
        Err(_) if !instead.is_empty() => meter.operation(instead),
        Err(_) => Ok(meter.operation_or_free(operation)),
        found => found,
    }
}

/// What watchers see of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum PodChange {
    /// Created, not bound.
    Added,
    /// `spec.nodeName` set.
    Bound,
    /// Only its status changed.
    Status,
    /// Finished or deleted.
    Gone,
}

impl PodChange {
    const ALL: [Self; 4] = [Self::Added, Self::Bound, Self::Status, Self::Gone];

    const fn of(verb: Verb) -> Option<Self> {
        match verb {
            Verb::CreatePod => Some(Self::Added),
            Verb::Bind => Some(Self::Bound),
            Verb::PatchCondition | Verb::PatchRunning | Verb::PatchNotReady | Verb::DeleteGracefully => {
                Some(Self::Status)
            }
            Verb::PatchSucceeded | Verb::PatchFailed | Verb::DeletePod => Some(Self::Gone),
            Verb::CreateEvent
            | Verb::GetPod
            | Verb::List
            | Verb::CreateNode
            | Verb::PatchNode
            | Verb::DeleteNode
            | Verb::PutObject => None,
            // Granted, it is a deletion.
            Verb::Evict => None,
        }
    }
}

/// What the control plane reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Outcome {
    /// A request left its token bucket.
    Sent {
        /// What it does.
        verb: Verb,
        /// About which pod.
        pod: PodId,
    },
    /// A write is stored in etcd.
    Stored {
        /// What it did.
        verb: Verb,
        /// To which pod.
        pod: PodId,
        /// Binding target.
        node: NodeId,
    },
    /// The caller has its answer.
    Answered {
        /// Who asked.
        client: ClientId,
        /// What.
        verb: Verb,
        /// About which pod.
        pod: PodId,
        /// Binding target.
        node: NodeId,
        /// Whether it succeeded.
        ok: bool,
        /// Why the server refused it, if it did.
        refusal: Option<Refusal>,
    },
    /// A watcher's informer has handled a change.
    Observed {
        /// Which watcher.
        watcher: usize,
        /// Which pod.
        pod: PodId,
        /// What changed.
        change: PodChange,
    },
    /// A watcher's informer has handled a change of a node.
    NodeObserved {
        /// Which watcher.
        watcher: usize,
        /// Which node.
        node: NodeId,
        /// What changed.
        change: NodeChange,
    },
}

/// Where a request is: what holds its id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Place {
    /// Nobody's.
    #[default]
    Free,
    /// Waits for a token, for its next try, or to hear that nobody listens: an event.
    Waiting,
    /// The client encodes it: a job of the client's.
    Encoding,
    /// Waits for a stream.
    Stream,
    /// The server reads, handles, answers or rejects it: a job of the server's.
    Server,
    /// In a fair queue.
    Queued,
    /// In etcd.
    Etcd,
}

/// Who waits for a request's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Caller {
    /// Its client.
    #[default]
    Waits,
    /// Nobody: the client's process has ended.
    Gone,
    /// Nobody: the client has been told that the server is lost, but what it wrote may still be stored.
    Told,
}

#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Request {
    pod: PodId,
    node: NodeId,
    connection: ConnectionId,
    /// While it waits for a stream, the latest dial that it has started.
    dial: u32,
    client: u8,
    verb: Verb,
    attempts: u8,
    ingress_charged: bool,
    refusal: Option<Refusal>,
    place: Place,
    caller: Caller,
    /// etcd did not take it.
    failed: bool,
    arrived_ns: Nanos,
}

/// One clientset of a process.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Client {
    /// Name in results.
    pub name: String,
    /// Its token bucket.
    pub bucket: TokenBucket,
    process: Option<ProcessId>,
    transport: usize,
    flow: FlowId,
    encode: [OpId; VERBS.len()],
    /// Requests given up.
    pub failures: u64,
    /// Answers 429.
    pub rejections: u64,
}

/// Somebody who watches pods.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Watcher {
    /// Name in results.
    pub name: String,
    process: Option<ProcessId>,
    ops: [OpId; 4],
    /// Cost of a node's change; none: it does not watch nodes.
    node_op: Option<OpId>,
    /// What it has missed, while it is cut off.
    watch: Option<Box<Watch>>,
    /// Whose tokens its lists take; none: nobody's, it never has to list.
    client: Option<ClientId>,
    /// Cost of an object in a list.
    list_op: OpId,
    /// It waits to see what it has created.
    expects: bool,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Server {
    process: ProcessId,
    admitter: Admitter,
    etcd: Etcd,
    ingress: OpId,
    respond: OpId,
    reject: OpId,
    watch_event: OpId,
    tls_handshake: OpId,
    verbs: [OpId; VERBS.len()],
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Dial {
    transport: usize,
    process: ProcessId,
    started_ns: Nanos,
    /// Of the transport's connections: a dial that began before they broke leads nowhere.
    epoch: u32,
}

/// The connections of one process with their handshake cost.
#[derive(serde::Serialize, serde::Deserialize)]
struct Connections {
    transport: Transport,
    process: Option<ProcessId>,
    tls_handshake: Option<OpId>,
}

/// Clients, API server, etcd and watchers.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct ControlPlane {
    server: Option<Server>,
    clients: Vec<Client>,
    connections: Vec<Connections>,
    watchers: Vec<Watcher>,
    requests: Vec<Request>,
    free: Vec<u32>,
    dials: Vec<Dial>,
    #[serde(skip)]
    ready: Vec<u32>,
    #[serde(skip)]
    stored: Vec<u32>,
    #[serde(skip)]
    served: Vec<(u32, ConnectionId)>,
    #[serde(skip)]
    again: Vec<u32>,
    outcomes: VecDeque<Outcome>,
    in_flight: u64,
    queued: u64,
    executing: u64,
    backing_off: u64,
    accounts: Accounts,
    /// What is stored, where others than the scheduler and the load client write.
    store: Option<Box<Store>>,
    /// The server is down.
    down: bool,
    outages: outage::Outages,
}

/// What an API server is made of.
pub struct ServerParts {
    /// Its process.
    pub process: ProcessId,
    /// Priority and fairness, plain limits, or none.
    pub admitter: Admitter,
    /// Its etcd.
    pub etcd: Etcd,
}

impl ControlPlane {
    /// A control plane without an API server: every request takes effect at once.
    #[must_use]
    pub fn ideal() -> Self {
        Self {
            server: None,
            clients: Vec::new(),
            connections: Vec::new(),
            watchers: Vec::new(),
            requests: Vec::new(),
            free: Vec::new(),
            dials: Vec::new(),
            ready: Vec::new(),
            stored: Vec::new(),
            served: Vec::new(),
            again: Vec::new(),
            outcomes: VecDeque::new(),
            in_flight: 0,
            queued: 0,
            executing: 0,
            backing_off: 0,
            accounts: Accounts::default(),
            store: None,
            down: false,
            outages: outage::Outages::default(),
        }
    }

    /// A control plane with an API server.
    ///
    /// # Errors
    /// The API server's profile lacks an operation.
    pub fn with_server(kernel: &mut Kernel, parts: ServerParts) -> Result<Self, ProfileError> {
        let meter = kernel.meter(parts.process);
        let mut verbs = Vec::new();
        for at in 0..VERBS.len() {
            verbs.push(server_op(meter, at)?);
        }
        let server = Server {
            process: parts.process,
            admitter: parts.admitter,
            etcd: parts.etcd,
            ingress: meter.operation("ingress")?,
            respond: meter.operation("respond")?,
            reject: meter.operation("reject")?,
            watch_event: meter.operation("watch_event")?,
            tls_handshake: meter.operation("tls_handshake")?,
            verbs: verbs.try_into().expect("one a verb"),
        };
        kernel.at(kernel.now() + apf::ADJUST_PERIOD_NS, Event::LimitsAdjusted);
        Ok(Self { server: Some(server), ..Self::ideal() })
    }

    /// Whether the API server is the ideal one.
    #[must_use]
    pub const fn is_ideal(&self) -> bool {
        self.server.is_none()
    }

    /// Takes over what a checkpoint leaves to the inputs (priority levels) from a control plane built from them.
    pub fn keep_inputs_of(&mut self, built: Self) {
        self.accounts.keep_inputs_of(built.accounts);
        self.outages.fresh = built.outages.fresh;
        if let (Some(server), Some(built)) = (&mut self.server, built.server) {
            server.admitter.keep_inputs_of(built.admitter);
        }
    }

    /// From now on several write: the API server looks at what is stored.
    pub fn keep_store(&mut self, store: Store) {
        self.store = Some(Box::new(store));
    }

    /// Whether it keeps what is stored.
    #[must_use]
    pub const fn has_store(&self) -> bool {
        self.store.is_some()
    }

    /// What is stored.
    ///
    /// # Panics
    /// In a run that keeps none.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("a run with several writers keeps a store")
    }

    /// What is stored, to be noted in.
    ///
    /// # Panics
    /// In a run that keeps none.
    pub fn store_mut(&mut self) -> &mut Store {
        self.store.as_mut().expect("a run with several writers keeps a store")
    }

    /// A watcher watches nodes, too.
    pub fn watch_nodes(&mut self, kernel: &mut Kernel, watcher: usize) {
        let watcher = &mut self.watchers[watcher];
        let op = watcher.process.map(|p| kernel.meter(p).operation_or_free("informer_node"));
        watcher.node_op = Some(op.unwrap_or(OpId::NONE));
    }

    /// The admitter, to register flows.
    pub fn admitter(&mut self) -> Option<&mut Admitter> {
        self.server.as_mut().map(|s| &mut s.admitter)
    }

    /// The admitter, to read its accounts.
    #[must_use]
    pub fn admitter_status(&self) -> Option<&Admitter> {
        self.server.as_ref().map(|s| &s.admitter)
    }

    /// etcd, to read its accounts.
    #[must_use]
    pub fn etcd(&self) -> Option<&Etcd> {
        self.server.as_ref().map(|s| &s.etcd)
    }

    /// Adds the connections of a process; its clientsets share them.
    pub fn add_transport(
        &mut self,
        kernel: &mut Kernel,
        process: Option<ProcessId>,
        max_streams: u32,
    ) -> usize {
        let tls_handshake = process.map(|p| kernel.meter(p).operation_or_free("tls_handshake"));
        self.connections.push(Connections { transport: Transport::new(max_streams), process, tls_handshake });
        self.connections.len() - 1
    }

    /// Adds a clientset. `process` pays for encoding (none: free).
    ///
    /// # Panics
    /// Past 256 clients.
    pub fn add_client(
        &mut self,
        kernel: &mut Kernel,
        name: &str,
        process: Option<ProcessId>,
        transport: usize,
        bucket: TokenBucket,
        flow: FlowId,
    ) -> ClientId {
        let encode = VERBS.map(|(_, operation, _)| match process {
            Some(p) => kernel.meter(p).operation_or_free(&format!("{operation}_request")),
            None => OpId::NONE,
        });
        assert!(self.clients.len() < 256, "clients are few");
        self.accounts.add_client(match self.admitter_status() {
            Some(Admitter::Apf(apf)) => Some((apf.schema_name(flow), apf.level_name(flow))),
            _ => None,
        });
        self.clients.push(Client {
            name: name.to_owned(),
            bucket,
            process,
            transport,
            flow,
            encode,
            failures: 0,
            rejections: 0,
        });
        self.clients.len() - 1
    }

    /// Adds a watcher of all pods.
    pub fn add_watcher(&mut self, kernel: &mut Kernel, name: &str, process: Option<ProcessId>) -> usize {
        let ops = ["informer_added", "informer_bound", "informer_status", "informer_gone"]
            .map(|operation| process.map_or(OpId::NONE, |p| kernel.meter(p).operation_or_free(operation)));
        let (name, list_op) = (name.to_owned(), OpId::NONE);
        let (node_op, watch, client, expects) = (None, None, None, false);
        self.watchers.push(Watcher { name, process, ops, node_op, watch, client, list_op, expects });
        self.watchers.len() - 1
    }

    /// Requests by verb and flow, as the API server would account for them.
    #[must_use]
    pub const fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Clients in order of their ids.
    #[must_use]
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// Connections open and dials started, over all processes.
    #[must_use]
    pub fn connection_counts(&self) -> (u64, u64) {
        self.connections.iter().fold((0, 0), |(open, dials), c| {
            (open + c.transport.connections() as u64, dials + c.transport.dials_started())
        })
    }

    /// Requests under way (token waits and retries included).
    #[must_use]
    pub const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// The next report, oldest first.
    #[inline]
    pub fn next_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    /// Requests that wait in fair queues.
    #[must_use]
    pub const fn queued(&self) -> u64 {
        self.queued
    }

    /// Whether most requests that the API server handles are in etcd.
    #[inline]
    #[must_use]
    pub fn is_in_etcd(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.etcd.pending() * 2 > self.executing)
    }

    /// Requests that wait after a 429.
    #[must_use]
    pub const fn backing_off(&self) -> u64 {
        self.backing_off
    }

    /// Requests that wait for a stream of a connection.
    #[must_use]
    pub fn waiting_for_streams(&self) -> usize {
        self.connections.iter().map(|c| c.transport.waiting()).sum()
    }

    /// Issues a request.
    pub fn submit(&mut self, kernel: &mut Kernel, client: ClientId, verb: Verb, pod: PodId, node: NodeId) {
        self.in_flight += 1;
        let request = Request {
            pod,
            node,
            connection: 0,
            dial: 0,
            client: client as u8,
            verb,
            attempts: 0,
            ingress_charged: false,
            refusal: None,
            place: Place::Waiting,
            caller: Caller::Waits,
            failed: false,
            arrived_ns: 0,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.requests[id as usize] = request;
                id
            }
            None => {
                self.requests.push(request);
                (self.requests.len() - 1) as u32
            }
        };
        self.take_token(kernel, id);
    }

    fn take_token(&mut self, kernel: &mut Kernel, id: u32) {
        let client = self.requests[id as usize].client as usize;
        let at = self.clients[client].bucket.reserve(kernel.now());
        if at <= kernel.now() {
            self.send(kernel, id);
        } else {
            self.requests[id as usize].place = Place::Waiting;
            kernel.at(at, Event::Request { id, what: RequestEvent::Token });
        }
    }

    fn send(&mut self, kernel: &mut Kernel, id: u32) {
        let Request { verb, pod, client, .. } = self.requests[id as usize];
        self.outcomes.push_back(Outcome::Sent { verb, pod });
        let client = &self.clients[client as usize];
        self.requests[id as usize].place = Place::Encoding;
        match client.process {
            Some(process) => kernel.charge_cpu(process, client.encode[verb as usize], Job::ClientSend(id)),
            None => self.on_client_sent(kernel, id),
        }
    }

    fn on_client_sent(&mut self, kernel: &mut Kernel, id: u32) {
        if self.server.is_none() {
            if self.commit(id) {
                self.notify_watchers(kernel, id);
            }
            self.answer(id, true);
            return;
        }
        if self.down {
            self.refuse_connection(kernel, id);
            return;
        }
        let transport = self.clients[self.requests[id as usize].client as usize].transport;
        self.requests[id as usize].place = Place::Stream;
        match self.connections[transport].transport.acquire(id) {
            Some(connection) => self.arrive(kernel, id, connection),
            None => self.dial(kernel, transport, id),
        }
    }

    /// A dial of a request: the client's half of the handshake, then the server's. Both cost CPU; the order stands for the
    /// round trips.
    fn dial(&mut self, kernel: &mut Kernel, transport: usize, id: u32) {
        let Some(server) = &self.server else { return };
        let server_process = server.process;
        let at = u32::try_from(self.dials.len()).expect("dials are limited");
        let epoch = self.connections[transport].transport.epoch();
        self.dials.push(Dial { transport, process: server_process, started_ns: kernel.now(), epoch });
        self.requests[id as usize].dial = at;
        let late = Event::Request { id, what: RequestEvent::DialTimeout };
        kernel.at(kernel.now() + TLS_HANDSHAKE_TIMEOUT_NS, late);
        match (self.connections[transport].process, self.connections[transport].tls_handshake) {
            (Some(process), Some(op)) => kernel.charge_cpu(process, op, Job::TlsClient(at)),
            _ => kernel.charge_cpu(server_process, server.tls_handshake, Job::TlsServer(at)),
        }
    }

    fn on_dialled(&mut self, kernel: &mut Kernel, dial: u32) {
        let Dial { transport, started_ns, epoch, .. } = self.dials[dial as usize];
        if epoch != self.connections[transport].transport.epoch() {
            return;
        }
        if kernel.now() - started_ns >= TLS_HANDSHAKE_TIMEOUT_NS {
            // The client has closed the connection; the server has spent the work.
            return;
        }
        let mut served = std::mem::take(&mut self.served);
        let mut again = std::mem::take(&mut self.again);
        self.connections[transport].transport.dialled(&mut served, &mut again);
        for id in again.drain(..) {
            self.dial(kernel, transport, id);
        }
        self.again = again;
        for (id, connection) in served.drain(..) {
            self.arrive(kernel, id, connection);
        }
        self.served = served;
    }

    /// The request is on the wire and reaches the server. A server with idle cores reads it at once, so that its
    /// cost joins the handler's; a busy one spends the reading before it decides on seats.
    fn arrive(&mut self, kernel: &mut Kernel, id: u32, connection: ConnectionId) {
        let Some(server) = &self.server else { return };
        let (process, ingress) = (server.process, server.ingress);
        let request = &mut self.requests[id as usize];
        request.connection = connection;
        request.place = Place::Server;
        request.arrived_ns = kernel.now();
        request.ingress_charged = kernel.is_saturated(process);
        if request.ingress_charged {
            kernel.charge_cpu(process, ingress, Job::ServerIngress(id));
        } else {
            self.admit(kernel, id);
        }
    }

    fn admit(&mut self, kernel: &mut Kernel, id: u32) {
        let Some(server) = &mut self.server else { return };
        let request = self.requests[id as usize];
        let flow = self.clients[request.client as usize].flow;
        let mut ready = std::mem::take(&mut self.ready);
        let width = Width::mutating(self.watchers.len() as u32, server.admitter.max_seats(flow));
        let width = if PodChange::of(request.verb).is_some() { width } else { Width::ONE };
        let (kind, width) = match request.verb {
            Verb::List => {
                let bytes = u64::from(request.pod) * LIST_BYTES_PER_POD;
                (RequestKind::ReadOnly, Width::list(bytes, true, server.admitter.max_seats(flow)))
            }
            Verb::GetPod => (RequestKind::ReadOnly, Width::ONE),
            _ => (RequestKind::Mutating, width),
        };
        match server.admitter.arrive(kernel.now(), flow, id, kind, width, &mut ready) {
            Admission::Execute => {
                self.accounts.dispatched(request.client, kernel.now() - request.arrived_ns, false);
                self.handle(kernel, id);
            }
            Admission::Queued => {
                self.queued += 1;
                self.requests[id as usize].place = Place::Queued;
                self.accounts.queued(request.client);
                let at = (request.arrived_ns + apf::QUEUE_WAIT_LIMIT_NS).max(kernel.now());
                kernel.at(at, Event::Request { id, what: RequestEvent::QueueTimeout });
            }
            Admission::Rejected { retry_after_s } => {
                self.accounts.rejected(request.client, request.verb, false);
                self.reject(kernel, id, retry_after_s);
            }
        }
        self.run_ready(kernel, ready);
    }

    fn run_ready(&mut self, kernel: &mut Kernel, mut ready: Vec<u32>) {
        for id in ready.drain(..) {
            self.queued -= 1;
            let request = &self.requests[id as usize];
            self.accounts.dispatched(request.client, kernel.now() - request.arrived_ns, true);
            self.handle(kernel, id);
        }
        self.ready = ready;
    }

    fn handle(&mut self, kernel: &mut Kernel, id: u32) {
        let Some(server) = &self.server else { return };
        let request = &mut self.requests[id as usize];
        request.place = Place::Server;
        self.executing += 1;
        let meter = kernel.meter(server.process);
        let objects = if request.verb == Verb::List { u64::from(request.pod) } else { 1 };
        let mut cost = meter.charge(server.verbs[request.verb as usize], objects);
        if !request.ingress_charged {
            cost += meter.charge(server.ingress, 1);
        }
        kernel.cpu_picos(server.process, cost, Job::ServerHandle(id));
    }

    fn reject(&mut self, kernel: &mut Kernel, id: u32, retry_after_s: u32) {
        let Some(server) = &self.server else { return };
        let request = &mut self.requests[id as usize];
        request.place = Place::Server;
        // From here on the arrival time is of no use; the field carries the wait.
        let meter = kernel.meter(server.process);
        let mut cost = meter.charge(server.reject, 1);
        if !request.ingress_charged {
            cost += meter.charge(server.ingress, 1);
        }
        request.arrived_ns = u64::from(retry_after_s) * SECOND;
        kernel.cpu_picos(server.process, cost, Job::ServerReject(id));
    }

    fn on_rejected(&mut self, kernel: &mut Kernel, id: u32) {
        let request = &mut self.requests[id as usize];
        request.attempts += 1;
        let (attempts, wait_ns, connection) = (request.attempts, request.arrived_ns, request.connection);
        let client = request.client as usize;
        let transport = self.clients[client].transport;
        self.clients[client].rejections += 1;
        if self.requests[id as usize].caller != Caller::Waits {
            self.answer(id, false);
            return;
        }
        self.connections[transport].transport.release(connection);
        if attempts >= MAX_ATTEMPTS {
            self.answer(id, false);
        } else {
            self.backing_off += 1;
            self.requests[id as usize].place = Place::Waiting;
            kernel.at(kernel.now() + wait_ns, Event::Request { id, what: RequestEvent::Retry });
        }
    }

    /// The write takes effect, unless what is stored forbids it; says whether it does.
    #[inline]
    fn commit(&mut self, id: u32) -> bool {
        let request = &mut self.requests[id as usize];
        if let Some(store) = &mut self.store {
            match store.take(request.verb, request.pod, request.node) {
                Ok(verb) => request.verb = verb,
                Err(refusal) => {
                    request.refusal = Some(refusal);
                    return false;
                }
            }
        }
        let Request { verb, pod, node, .. } = *request;
        if !verb.is_read() {
            self.outcomes.push_back(Outcome::Stored { verb, pod, node });
        }
        true
    }

    /// The handler has run. What can't be written is refused before it reaches etcd; reads don't go there.
    fn on_handled(&mut self, kernel: &mut Kernel, id: u32) {
        let request = &mut self.requests[id as usize];
        let store = self.store.as_ref();
        request.refusal = store.and_then(|s| s.refuses(request.verb, request.pod, request.node));
        if request.refusal.is_some() || request.verb.is_read() {
            self.respond(kernel, id);
        } else if let Some(server) = &mut self.server {
            request.place = Place::Etcd;
            if !server.etcd.propose(kernel, id) {
                self.fail_in_etcd(kernel, id);
            }
        }
    }

    fn on_stored(&mut self, kernel: &mut Kernel, id: u32) {
        let committed = self.commit(id);
        let request = &mut self.requests[id as usize];
        if request.caller == Caller::Told {
            // The server that had asked is no more; whoever watches now has missed it.
            request.place = Place::Free;
            if committed {
                self.notify_watchers(kernel, id);
            }
            self.free.push(id);
            return;
        }
        request.place = Place::Server;
        self.respond(kernel, id);
    }

    /// The server encodes the answer, and what watchers are to see.
    fn respond(&mut self, kernel: &mut Kernel, id: u32) {
        let Some(server) = &self.server else { return };
        let Request { verb, refusal, failed, .. } = self.requests[id as usize];
        let meter = kernel.meter(server.process);
        let mut cost = meter.charge(server.respond, 1);
        if refusal.is_none() && !failed {
            if PodChange::of(verb).is_some() {
                cost += meter.charge(server.watch_event, self.watchers.len() as u64);
            } else if verb.node_change().is_some() {
                let watchers = self.watchers.iter().filter(|w| w.node_op.is_some()).count() as u64;
                cost += meter.charge(server.watch_event, watchers);
            }
        }
        kernel.cpu_picos(server.process, cost, Job::ServerFinish(id));
    }

    fn notify_node_watchers(&mut self, kernel: &mut Kernel, node: NodeId, change: NodeChange) {
        for (at, watcher) in self.watchers.iter_mut().enumerate() {
            let Some(op) = watcher.node_op else { continue };
            if let Some(watch) = &mut watcher.watch {
                watch.miss_node(node, change);
                continue;
            }
            match watcher.process {
                Some(process) => {
                    let change = NODE_CHANGES + change as u64;
                    let payload = (at as u64) << 40 | change << 36 | u64::from(node);
                    kernel.charge_cpu(process, op, Job::Informer(payload));
                }
                None => self.outcomes.push_back(Outcome::NodeObserved { watcher: at, node, change }),
            }
        }
    }

    fn notify_watchers(&mut self, kernel: &mut Kernel, id: u32) {
        let Request { verb, pod, node, .. } = self.requests[id as usize];
        let Some(change) = PodChange::of(verb) else {
            if let Some(change) = verb.node_change() {
                self.notify_node_watchers(kernel, node, change);
            }
            return;
        };
        for (at, watcher) in self.watchers.iter_mut().enumerate() {
            if let Some(watch) = &mut watcher.watch {
                watch.miss(pod, change);
                continue;
            }
            match watcher.process {
                Some(process) => {
                    let payload = (at as u64) << 40 | (change as u64) << 36 | u64::from(pod);
                    kernel.charge_cpu(process, watcher.ops[change as usize], Job::Informer(payload));
                }
                None => self.outcomes.push_back(Outcome::Observed { watcher: at, pod, change }),
            }
        }
    }

    fn on_finished(&mut self, kernel: &mut Kernel, id: u32) {
        let request = self.requests[id as usize];
        let transport = self.clients[request.client as usize].transport;
        if request.caller == Caller::Waits {
            self.connections[transport].transport.release(request.connection);
        }
        self.executing -= 1;
        let duration_ns = kernel.now() - request.arrived_ns;
        let in_time = duration_ns <= REQUEST_TIMEOUT_NS;
        self.accounts.answered(request.client, request.verb, duration_ns, in_time);
        if request.refusal.is_none() && !request.failed {
            self.notify_watchers(kernel, id);
        }
        let Some(server) = &mut self.server else { return };
        let mut ready = std::mem::take(&mut self.ready);
        if let Some(linger) = server.admitter.finish(kernel.now(), id, &mut ready) {
            let epoch = self.outages.epoch;
            kernel.at(linger.until_ns, Event::SeatsReleased { hold: linger.hold, epoch });
        }
        self.run_ready(kernel, ready);
        self.answer(id, in_time && !request.failed);
    }

    fn answer(&mut self, id: u32, ok: bool) {
        let Request { verb, pod, node, client, refusal, caller, .. } = self.requests[id as usize];
        self.requests[id as usize].place = Place::Free;
        self.free.push(id);
        self.in_flight -= 1;
        if caller != Caller::Waits {
            return;
        }
        let client = client as usize;
        if !ok {
            self.clients[client].failures += 1;
        }
        let ok = ok && refusal.is_none();
        self.outcomes.push_back(Outcome::Answered { client, verb, pod, node, ok, refusal });
    }

    /// Handles an event of a request.
    pub fn on_request_event(&mut self, kernel: &mut Kernel, id: u32, what: RequestEvent) {
        match what {
            RequestEvent::Token if self.is_abandoned(id) => self.answer(id, false),
            RequestEvent::Token => self.send(kernel, id),
            RequestEvent::Refused => self.answer(id, false),
            RequestEvent::DialTimeout => {
                let Request { place, dial, client, .. } = self.requests[id as usize];
                // Another connection may have served it, it may have dialled again since, or a later request may have the id.
                if place == Place::Stream
                    && self.dials[dial as usize].started_ns + TLS_HANDSHAKE_TIMEOUT_NS == kernel.now()
                {
                    let transport = self.clients[client as usize].transport;
                    self.connections[transport].transport.give_up(id);
                    self.answer(id, false);
                }
            }
            RequestEvent::Retry => {
                self.backing_off -= 1;
                if self.is_abandoned(id) {
                    self.answer(id, false);
                    return;
                }
                self.requests[id as usize].ingress_charged = false;
                self.take_token(kernel, id);
            }
            RequestEvent::QueueTimeout => {
                let Some(server) = &mut self.server else { return };
                let now = kernel.now();
                let Some(queued_ns) = server.admitter.waits_since(id) else { return };
                // A later request may have the id by now.
                if self.requests[id as usize].arrived_ns + apf::QUEUE_WAIT_LIMIT_NS > now {
                    return;
                }
                if let Some(retry_after_s) = server.admitter.expire(now, id, queued_ns) {
                    self.queued -= 1;
                    let request = &self.requests[id as usize];
                    self.accounts.rejected(request.client, request.verb, true);
                    self.reject(kernel, id, retry_after_s);
                }
            }
        }
    }

    /// Seats held for a request's watch events are given back.
    pub fn on_seats_released(&mut self, kernel: &mut Kernel, hold: Hold, epoch: u32) {
        // Seats of a server that is no more.
        if epoch != self.outages.epoch {
            return;
        }
        let Some(server) = &mut self.server else { return };
        let mut ready = std::mem::take(&mut self.ready);
        server.admitter.release(kernel.now(), hold, &mut ready);
        self.run_ready(kernel, ready);
    }

    /// The API server recomputes its limits; every ten seconds.
    pub fn on_limits_adjusted(&mut self, kernel: &mut Kernel) {
        let Some(server) = &mut self.server else { return };
        let mut ready = std::mem::take(&mut self.ready);
        server.admitter.adjust(kernel.now(), &mut ready);
        kernel.at(kernel.now() + apf::ADJUST_PERIOD_NS, Event::LimitsAdjusted);
        self.run_ready(kernel, ready);
    }

    /// etcd's disk has answered.
    pub fn on_etcd_synced(&mut self, kernel: &mut Kernel) {
        let Some(server) = &mut self.server else { return };
        let mut stored = std::mem::take(&mut self.stored);
        server.etcd.on_synced(kernel, &mut stored);
        for id in stored.drain(..) {
            self.on_stored(kernel, id);
        }
        self.stored = stored;
    }

    /// etcd's backend commits.
    pub fn on_etcd_commit(&mut self, kernel: &mut Kernel) {
        if let Some(server) = &mut self.server {
            server.etcd.on_commit(kernel);
        }
    }

    /// Handles a finished job; returns it if it is not the control plane's.
    pub fn on_job(&mut self, kernel: &mut Kernel, job: Job) -> Option<Job> {
        match job {
            Job::ClientSend(id) => self.on_client_sent(kernel, id),
            Job::ServerIngress(id) => self.admit(kernel, id),
            Job::ServerHandle(id) => self.on_handled(kernel, id),
            Job::ServerFinish(id) => self.on_finished(kernel, id),
            Job::ServerReject(id) => self.on_rejected(kernel, id),
            Job::TlsClient(dial) => {
                let Dial { transport, process, epoch, .. } = self.dials[dial as usize];
                if let Some(server) = &self.server
                    && epoch == self.connections[transport].transport.epoch()
                    && !self.down
                {
                    kernel.charge_cpu(process, server.tls_handshake, Job::TlsServer(dial));
                }
            }
            Job::TlsServer(dial) => self.on_dialled(kernel, dial),
            Job::EtcdBatch => {
                if let Some(server) = &mut self.server {
                    server.etcd.on_batch_written(kernel);
                }
            }
            Job::Informer(payload) => {
                let (watcher, id) = ((payload >> 40) as usize, payload as u32);
                let change = payload >> 36 & 0xf;
                self.outcomes.push_back(match change {
                    NODE_CHANGES.. => {
                        let change = NodeChange::ALL[(change - NODE_CHANGES) as usize];
                        Outcome::NodeObserved { watcher, node: id, change }
                    }
                    _ => Outcome::Observed { watcher, pod: id, change: PodChange::ALL[change as usize] },
                });
            }
            Job::Listed { watcher, nth } => self.on_listed(kernel, usize::from(watcher), nth),
            Job::Background => {}
            other => return Some(other),
        }
        None
    }
}

#[cfg(test)]
mod tests;
