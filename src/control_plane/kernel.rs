//! The simulation kernel: clock, pending events, hosts and the processes on them.
//!
//! A [`Process`] is a component of the control plane as the kernel of a real machine sees it: it has a place on a
//! host, a meter with its unit costs, and it pays a **wake-up** (futex, inter-processor interrupt, cold caches,
//! Go's spinning threads) whenever work arrives while it sleeps. That one mechanism is why the same request costs
//! a busy process less CPU than an idle one: in the measured runs the API server spends three times as much CPU
//! a pod at 50 pods/s as at 400.
//!
//! No two wake-ups take the same time (depth of the idle state, what the caches still hold, whether the hypervisor has the core at hand).
//! On a host with noise each takes an exponential time with the profile's cost as its mean. Behind a token bucket on a machine that is
//! mostly idle this is what spreads the times of bindings: those of four measured runs at 50 and 100 a second lie 1.6 ms (root mean
//! square) off the bucket's span between the 10th and 90th percentile, the model's by 2 to 2.6 ms; with equal wake-ups by 0.6 ms.
//!
//! Left out: memory, network bandwidth, disk other than etcd's log.
//!
//! Cost: one queue operation and O(log jobs) a CPU job.
use super::stages::Kind as StageKind;
use crate::cost::{Meter, OpId, Picos, picos_to_nanos};
use crate::engine::{
    ComponentId, Discipline, EventQueue, HeapQueue, HostId, Hosts, MAX_CPU_NS, Nanos, RadixQueue, Rng,
    RunQueue,
};

/// A thing that will happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Event {
    /// A host's next job completes.
    Host {
        /// Which host.
        host: HostId,
        /// Stale unless it is the host's current generation.
        generation: u32,
    },
    /// Something happens to a request.
    Request {
        /// Its index.
        id: u32,
        /// What.
        what: RequestEvent,
    },
    /// etcd's fdatasync returns.
    EtcdSynced,
    /// etcd commits its backend batch.
    EtcdCommit,
    /// Seats held for a request's watch events are given back.
    SeatsReleased {
        /// Which.
        hold: super::apf::Hold,
        /// How often the server had been started anew when they were taken.
        epoch: u32,
    },
    /// The API server recomputes its priority levels' limits.
    LimitsAdjusted,
    /// The scheduler's process starts.
    SchedulerStarts,
    /// A timer of the scheduler.
    SchedulerTimer {
        /// The model's tag.
        tag: u64,
        /// How often its process had been started anew when it was set.
        epoch: u32,
    },
    /// A timer of Kueue's.
    Kueue {
        /// Which.
        tag: u32,
    },
    /// A pod or a batch is due to be created.
    Arrival {
        /// Index into the workload's arrivals.
        index: u32,
    },
    /// A node agent goes on with a pod (start-up done, run time over, deletion due).
    Agent {
        /// Pod.
        pod: u32,
        /// What is due.
        what: AgentEvent,
    },
    /// The limit of virtual time, or a check for progress.
    Watchdog,
    /// A watcher that is cut off tries again.
    Watch {
        /// Which.
        watcher: u32,
        /// Of which break.
        nth: u32,
    },
    /// A timer of one of the controller manager's controllers, or of somebody who drains nodes.
    Controller {
        /// Which.
        what: ControllerEvent,
        /// How often the manager had been started anew when it was set.
        epoch: u32,
    },
    /// A fault begins, goes on or ends.
    Fault {
        /// What happens.
        what: FaultEvent,
        /// Index of the fault in the plan, or of its occurrence.
        index: u32,
        /// The node, if it is about one.
        node: u32,
    },
    /// A timer of the node autoscaler's.
    Autoscaler {
        /// Which.
        what: AutoscalerEvent,
    },
}

/// What a node autoscaler waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum AutoscalerEvent {
    /// Its loop goes round, if nothing has made it go round since: `nth` is the number of the round.
    Round {
        /// Which round.
        nth: u32,
    },
    /// A batch of pods is complete, if none has come since.
    Batch {
        /// Which window.
        nth: u32,
    },
    /// Something decided is looked at again before it is done.
    Validate {
        /// Which decision.
        nth: u32,
    },
    /// A machine has started, and its kubelet registers its node.
    Registers {
        /// Which.
        machine: u32,
    },
    /// The removal of a node goes on.
    Removal {
        /// Node.
        node: u32,
    },
    /// The eviction of a pod is tried again.
    EvictAgain {
        /// Pod.
        pod: u32,
    },
}

/// What a controller waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ControllerEvent {
    /// The node lifecycle controller looks at the nodes' leases.
    NodeMonitor,
    /// It hands `NoExecute` taints to nodes that wait for them.
    TaintPass,
    /// A pod's toleration of a taint is over.
    Evict {
        /// Pod.
        pod: u32,
    },
    /// A deletion that failed is tried again.
    EvictAgain {
        /// Pod.
        pod: u32,
    },
    /// Pods on nodes that are gone are collected.
    PodGc,
    /// An object is due in its controller's queue.
    Requeue {
        /// The object.
        owner: u32,
    },
    /// The load client tries again to create a pod.
    CreateAgain {
        /// Pod.
        pod: u32,
    },
    /// The load client tries again to delete a pod.
    DeleteAgain {
        /// Pod.
        pod: u32,
    },
    /// A command that drains nodes goes on, or its time for a node is over.
    DrainCommand {
        /// Which.
        command: u32,
    },
    /// It goes on with a pod.
    DrainPod {
        /// Pod.
        pod: u32,
    },
    /// A node is uncordoned.
    Uncordon {
        /// Node.
        node: u32,
    },
}

/// What happens to a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum FaultEvent {
    /// It is due: `index` is that of the plan.
    Due,
    /// An occurrence ends.
    Over,
    /// A node of an occurrence comes back, or comes to be.
    NodeBack,
    /// A node of an occurrence fails again.
    NodeAgain,
    /// A kubelet that is reached again, or is new, reports its node as ready.
    NodeReports,
    /// A kubelet tries again to register its node.
    NodeJoins,
    /// A component ends because it could not renew its lease; `node` says which.
    LeaseLost,
    /// A component's successor begins; `node` says which.
    Successor,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum RequestEvent {
    /// Its token is there.
    Token,
    /// The client's wait after a 429 is over.
    Retry,
    /// It has waited in its fair queue as long as it may.
    QueueTimeout,
    /// Its client hears that nobody listens.
    Refused,
    /// The dial that it has started is to be done by now.
    DialTimeout,
}

/// What a node agent does next with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum AgentEvent {
    /// The containers have started.
    Started,
    /// The run time is over.
    Finished,
    /// The load client deletes it.
    Delete,
    /// A pod that was deleted with a grace period has ended.
    Evicted,
    /// Its node has no room for it.
    Rejected,
    /// The delay of a stage is over; a node's has the node in the event's `pod`.
    Stage {
        /// What the stage is about.
        kind: StageKind,
        /// Of which timer; 0: the object is looked at.
        nth: u32,
    },
}

/// Index of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProcessId(u8);

/// A piece of CPU work, as it comes back when done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// The client encodes and writes a request.
    ClientSend(u32),
    /// The server reads and authenticates a request.
    ServerIngress(u32),
    /// The server runs admission and the handler up to etcd.
    ServerHandle(u32),
    /// The server encodes the answer and the watch events.
    ServerFinish(u32),
    /// The server answers 429.
    ServerReject(u32),
    /// The client's half of a TLS handshake (dial index).
    TlsClient(u32),
    /// The server's half of a TLS handshake (dial index).
    TlsServer(u32),
    /// etcd prepares a batch for its log.
    EtcdBatch,
    /// An informer handles a pod's change: watcher, change, pod.
    Informer(u64),
    /// The scheduler's own work.
    Scheduler(u64),
    /// The scheduler's start: CPU before its informers have synced.
    SchedulerStart,
    /// Work that nobody waits for.
    Background,
    /// A watcher that was cut off has decoded its lists.
    Listed {
        /// Which.
        watcher: u16,
        /// After which break.
        nth: u32,
    },
    /// Kueue's own work.
    Kueue(u32),
}

const KIND_SHIFT: u32 = 56;
const PROCESS_SHIFT: u32 = 48;
const PAYLOAD: u64 = (1 << PROCESS_SHIFT) - 1;

impl Job {
    fn encode(self, process: ProcessId) -> u64 {
        let (kind, payload) = match self {
            Self::ClientSend(id) => (0, u64::from(id)),
            Self::ServerIngress(id) => (1, u64::from(id)),
            Self::ServerHandle(id) => (2, u64::from(id)),
            Self::ServerFinish(id) => (3, u64::from(id)),
            Self::ServerReject(id) => (4, u64::from(id)),
            Self::TlsClient(id) => (5, u64::from(id)),
            Self::TlsServer(id) => (6, u64::from(id)),
            Self::EtcdBatch => (7, 0),
            Self::Informer(what) => (8, what),
            Self::Scheduler(tag) => (9, tag),
            Self::SchedulerStart => (10, 0),
            Self::Background => (11, 0),
            Self::Listed { watcher, nth } => (12, u64::from(watcher) << 32 | u64::from(nth)),
            Self::Kueue(tag) => (13, u64::from(tag)),
        };
        assert!(payload <= PAYLOAD, "a job's payload has 48 bits");
        kind << KIND_SHIFT | u64::from(process.0) << PROCESS_SHIFT | payload
    }

    fn decode(token: u64) -> (ProcessId, Self) {
        let payload = token & PAYLOAD;
        let id = payload as u32;
        let job = match token >> KIND_SHIFT {
            0 => Self::ClientSend(id),
            1 => Self::ServerIngress(id),
            2 => Self::ServerHandle(id),
            3 => Self::ServerFinish(id),
            4 => Self::ServerReject(id),
            5 => Self::TlsClient(id),
            6 => Self::TlsServer(id),
            7 => Self::EtcdBatch,
            8 => Self::Informer(payload),
            9 => Self::Scheduler(payload),
            10 => Self::SchedulerStart,
            12 => Self::Listed { watcher: (payload >> 32) as u16, nth: id },
            13 => Self::Kueue(id),
            _ => Self::Background,
        };
        (ProcessId((token >> PROCESS_SHIFT) as u8), job)
    }
}

/// A component of the control plane on a host.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Process {
    /// Name in results: `apiserver`, `etcd`, `scheduler`, ..
    pub name: String,
    /// Where its jobs run.
    pub component: ComponentId,
    /// Its host.
    pub host: HostId,
    /// Counters and unit costs.
    pub meter: Meter,
    wakeup: OpId,
    /// Whether it runs on more cores than one.
    is_parallel: bool,
    /// How much each wake-up takes; none: all the same.
    wakeups: Option<Rng>,
    last_done_ns: Nanos,
    background_milli_cores: u32,
    /// How much longer its work takes than it should, in parts per million; 0: as long as it should.
    slow_ppm: u64,
}

/// Clock, events, hosts and processes.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Kernel {
    now: Nanos,
    queue: RunQueue<Event>,
    hosts: Hosts,
    processes: Vec<Process>,
    dirty: Vec<HostId>,
    #[serde(skip)]
    finished: Vec<u64>,
    events_handled: u64,
}

impl Default for Kernel {
    fn default() -> Self {
        Self::new()
    }
}

impl Kernel {
    /// An empty kernel at time zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            now: 0,
            queue: RunQueue::Radix(RadixQueue::new()),
            hosts: Hosts::new(),
            processes: Vec::new(),
            dirty: Vec::new(),
            finished: Vec::new(),
            events_handled: 0,
        }
    }

    /// An empty kernel whose queue and hosts are the oracles of the fast ones.
    #[must_use]
    pub fn plain() -> Self {
        Self { queue: RunQueue::Heap(HeapQueue::new()), hosts: Hosts::plain(), ..Self::new() }
    }

    /// Virtual time.
    #[must_use]
    pub const fn now(&self) -> Nanos {
        self.now
    }

    /// Events handled so far.
    #[must_use]
    pub const fn events_handled(&self) -> u64 {
        self.events_handled
    }

    /// Adds a host.
    pub fn add_host(&mut self, name: &str, cores: u32, speed_ppm: u32) -> HostId {
        self.hosts.add_host(name, cores, speed_ppm)
    }

    /// Places a process on a host.
    ///
    /// # Panics
    /// Past 256 processes.
    pub fn add_process(
        &mut self,
        name: &str,
        host: HostId,
        max_threads: Option<u32>,
        mut meter: Meter,
    ) -> ProcessId {
        let component = self.hosts.add_component(host, name, max_threads, Discipline::Fifo);
        let wakeup = meter.operation_or_free("wakeup");
        let is_parallel = self.hosts.cores(host) > 1 && max_threads != Some(1);
        self.processes.push(Process {
            name: name.to_owned(),
            component,
            host,
            meter,
            wakeup,
            is_parallel,
            wakeups: None,
            last_done_ns: 0,
            background_milli_cores: 0,
            slow_ppm: 0,
        });
        ProcessId(u8::try_from(self.processes.len() - 1).expect("processes are few"))
    }

    /// From now on a process's wake-ups differ: each takes an exponential time whose mean is the profile's cost.
    pub fn vary_wakeups(&mut self, process: ProcessId, rng: Rng) {
        self.processes[process.0 as usize].wakeups = Some(rng);
    }

    /// One process.
    #[must_use]
    pub fn process(&self, id: ProcessId) -> &Process {
        &self.processes[id.0 as usize]
    }

    /// A process's meter.
    pub fn meter(&mut self, id: ProcessId) -> &mut Meter {
        &mut self.processes[id.0 as usize].meter
    }

    /// All processes.
    #[must_use]
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// Ids of all processes.
    pub fn process_ids(&self) -> impl Iterator<Item = ProcessId> + use<> {
        (0..self.processes.len()).map(|i| ProcessId(i as u8))
    }

    /// The hosts.
    #[must_use]
    pub const fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Schedules an event.
    #[inline]
    pub fn at(&mut self, at: Nanos, event: Event) {
        self.queue.push(at, event);
    }

    /// Charges one operation of a process and submits it as a job.
    #[inline]
    pub fn charge_cpu(&mut self, process: ProcessId, op: OpId, job: Job) {
        let cost = self.processes[process.0 as usize].meter.charge(op, 1);
        self.cpu_picos(process, cost, job);
    }

    /// Submits work given in picoseconds.
    #[inline]
    pub fn cpu_picos(&mut self, process: ProcessId, picos: Picos, job: Job) {
        self.cpu(process, picos_to_nanos(picos), 1, job);
    }

    /// Submits work; a sleeping process pays its wake-up on top, unless it has one core: what costs is Go's runtime, which wakes threads
    /// that look for work to take over (`wakep` of `runtime/proc.go`), and with GOMAXPROCS 1 there are none.
    #[inline]
    pub fn cpu(&mut self, process: ProcessId, cpu_ns: u64, threads: u32, job: Job) {
        let it = &mut self.processes[process.0 as usize];
        let mut cpu_ns = cpu_ns;
        if it.is_parallel && it.last_done_ns < self.now && self.hosts.running_jobs(it.component) == 0 {
            let mean_ns = picos_to_nanos(it.meter.charge(it.wakeup, 1));
            cpu_ns += it.wakeups.as_mut().map_or(mean_ns, |rng| rng.exponential(mean_ns));
        }
        if it.slow_ppm > 0 {
            let slowed = u128::from(cpu_ns) * u128::from(it.slow_ppm) / 1_000_000;
            cpu_ns = slowed.min(u128::from(MAX_CPU_NS)) as u64;
        }
        self.hosts.submit(self.now, it.component, cpu_ns.min(MAX_CPU_NS), threads, job.encode(process));
        if !self.dirty.contains(&it.host) {
            self.dirty.push(it.host);
        }
    }

    /// Work of a process takes so much longer from now on, in parts per million; 0: as long as it should.
    pub fn set_slowdown(&mut self, process: ProcessId, ppm: u64) {
        self.processes[process.0 as usize].slow_ppm = ppm;
    }

    /// A process dies: its work is not done. Returns what it would have done, in order.
    pub fn kill(&mut self, process: ProcessId) -> Vec<Job> {
        let (component, host) = {
            let it = self.process(process);
            (it.component, it.host)
        };
        let mut tokens = Vec::new();
        self.hosts.cancel_all(self.now, component, &mut tokens);
        if !self.dirty.contains(&host) {
            self.dirty.push(host);
        }
        tokens.into_iter().map(|token| Job::decode(token).1).collect()
    }

    /// Adds to a process's fluid background demand.
    pub fn add_background(&mut self, process: ProcessId, milli_cores: u32) {
        let it = &mut self.processes[process.0 as usize];
        it.background_milli_cores = it.background_milli_cores.saturating_add(milli_cores);
        let milli_cores = it.background_milli_cores;
        self.hosts.set_background(self.now, it.component, milli_cores);
        if !self.dirty.contains(&it.host) {
            self.dirty.push(it.host);
        }
    }

    /// Whether the process's host has more runnable threads than cores.
    #[inline]
    #[must_use]
    pub fn is_saturated(&self, process: ProcessId) -> bool {
        let host = self.processes[process.0 as usize].host;
        self.hosts.threads_milli(host) > u64::from(self.hosts.cores(host)) * 1000
    }

    /// Whether work of the process waits for a core: its host is saturated, or its own threads are all busy.
    #[inline]
    #[must_use]
    pub fn is_short_of_cpu(&self, process: ProcessId) -> bool {
        self.is_saturated(process) || self.hosts.waiting_jobs(self.process(process).component) > 0
    }

    /// The next event, with the clock set to its time. [`Event::Host`] is resolved into jobs by
    /// [`finish_jobs`](Self::finish_jobs).
    #[inline]
    pub fn next_event(&mut self) -> Option<Event> {
        for host in self.dirty.drain(..) {
            if let Some((at, generation)) = self.hosts.take_wakeup(host) {
                self.queue.push(at, Event::Host { host, generation });
            }
        }
        let (at, event) = self.queue.pop()?;
        self.now = at;
        self.events_handled += 1;
        Some(event)
    }

    /// The jobs that end at a host's wake-up, in order of submission.
    #[inline]
    pub fn finish_jobs(&mut self, host: HostId, generation: u32) -> usize {
        self.finished.clear();
        self.hosts.complete(self.now, host, generation, &mut self.finished);
        if !self.dirty.contains(&host) {
            self.dirty.push(host);
        }
        self.finished.len()
    }

    /// One of the jobs found by [`finish_jobs`](Self::finish_jobs).
    #[inline]
    pub fn finished_job(&mut self, index: usize) -> (ProcessId, Job) {
        let (process, job) = Job::decode(self.finished[index]);
        self.processes[process.0 as usize].last_done_ns = self.now;
        (process, job)
    }

    /// Takes over what a checkpoint leaves to the inputs (cost profiles) from a kernel built from them.
    ///
    /// # Errors
    /// The processes or their operations are not the same.
    pub fn keep_inputs_of(&mut self, built: Self) -> Result<(), String> {
        let names = |kernel: &Self| kernel.processes.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
        let (saved, expected) = (names(self), names(&built));
        if saved != expected {
            return Err(format!("processes {}, expected {}", saved.join(", "), expected.join(", ")));
        }
        for (process, built) in self.processes.iter_mut().zip(built.processes) {
            process.meter.keep_profile_of(built.meter);
        }
        Ok(())
    }

    /// Brings all hosts' accounts to now.
    pub fn settle(&mut self) {
        for host in self.hosts.host_ids() {
            self.hosts.advance(self.now, host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_survive_their_encoding() {
        let process = ProcessId(3);
        for job in [
            Job::ClientSend(7),
            Job::ServerFinish(u32::MAX),
            Job::EtcdBatch,
            Job::Informer(PAYLOAD),
            Job::Scheduler(12),
            Job::SchedulerStart,
            Job::Background,
            Job::Listed { watcher: u16::MAX, nth: u32::MAX },
        ] {
            assert_eq!(Job::decode(job.encode(process)), (process, job));
        }
    }

    /// Work that always finds its process asleep: as many wake-ups as jobs.
    fn woken(cores: u32, rng: Option<Rng>) -> Vec<Nanos> {
        let mut kernel = Kernel::new();
        let host = kernel.add_host("h", cores, 1_000_000);
        let text = "apiVersion: podpace/v1\nkind: CostProfile\nname: p\ncomponent: p\nversion: \"1\"\ndescription: p\ncosts:\n  wakeup: {value: 800us, source: test}\n";
        let profile = crate::cost::CostProfile::parse(text, "p.yaml").unwrap();
        let process = kernel.add_process("p", host, None, Meter::new(profile));
        if let Some(rng) = rng {
            kernel.vary_wakeups(process, rng);
        }
        let mut spans = Vec::new();
        for i in 1..=4000 {
            kernel.at(i * 100 * 1_000_000, Event::Watchdog);
        }
        let mut since = 0;
        while let Some(event) = kernel.next_event() {
            match event {
                Event::Watchdog => {
                    since = kernel.now();
                    kernel.cpu(process, 0, 1, Job::Background);
                }
                Event::Host { host, generation } => {
                    for i in 0..kernel.finish_jobs(host, generation) {
                        kernel.finished_job(i);
                        spans.push(kernel.now() - since);
                    }
                }
                _ => {}
            }
        }
        spans
    }

    /// `wakep` of Go's `runtime/proc.go` starts a thread to look for work if a P is idle; with GOMAXPROCS 1 none is.
    #[test]
    fn a_process_with_one_core_wakes_no_other_threads() {
        assert!(woken(1, None).iter().all(|span| *span == 0));
    }

    #[test]
    fn wakeups_differ_where_there_is_noise() {
        let equal = woken(2, None);
        assert!(equal.len() == 4000 && equal.iter().all(|span| *span == 800_000));
        let mut varied = woken(2, Some(crate::engine::Streams::new(1).stream("host.wakeup.p")));
        assert_eq!(varied.len(), 4000);
        let mean = varied.iter().sum::<Nanos>() / 4000;
        assert!((760_000..840_000).contains(&mean), "the same CPU in the mean: {mean}");
        varied.sort_unstable();
        // Of an exponential distribution: ln 2 and ln 100 times the mean.
        assert!((500_000..610_000).contains(&varied[2000]), "{}", varied[2000]);
        assert!((3_200_000..4_200_000).contains(&varied[3960]), "{}", varied[3960]);
    }

    #[test]
    fn events_stay_small() {
        assert!(size_of::<Event>() <= 16);
    }
}
