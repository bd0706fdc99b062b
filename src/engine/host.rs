//! Hosts: CPU time shared by the components (processes) placed on them.
//!
//! # The model
//! A **host** has `cores` and a speed (parts per million of the reference core). A **component** is a process
//! on it with a limit of parallelism `max_threads` (a Go program's GOMAXPROCS). A **job** is `cpu_ns` of work on
//! a reference core, spread evenly over its own `threads`. Sharing is two-level, as in a kernel that
//! schedules threads fairly and a runtime that multiplexes its tasks over them:
//!
//! - component i runs t_i = min(sum of its jobs' threads, max_threads_i) threads; the host T = sum of t_i;
//! - each running thread advances at speed · min(1, cores / T);
//! - in a component the jobs share the t_i threads' progress in proportion to their own threads.
//!
//! So a job of work w on m threads takes w / (m · speed) when nothing contends, and no job is ever faster.
//! [`Discipline::Sharing`] starts every job at once; [`Discipline::Fifo`] runs at most `max_threads` jobs and
//! lets the rest wait in order (a single-threaded loop is Fifo with one thread).
//!
//! **Background** load (heartbeats, lease renewals) may be a fluid: a demand of so many milli-cores that is
//! always there, counts towards T, and is slowed like any thread when the host is saturated. What it does not
//! get is lost, not caught up; it does not count towards its component's `max_threads`.
//!
//! Left out: context-switch and cache costs, time slices (sharing is perfectly smooth), I/O waits, cgroup quotas,
//! weights (nice, shares), NUMA and turbo.
//!
//! # How it is computed
//! Virtual time on two levels, so that a change touches one component and not every job. The host keeps
//! G, the progress of one thread since the start (its rate is speed · min(1, cores / T)). A component keeps
//! V, the service that each of its jobs' threads has had: dV = dG · t_i / n_i, where n_i is the sum of its jobs'
//! threads. A job finishes when V reaches its value at the start plus w / m: a heap by that target. Only
//! a change inside component i bends its V against G; when T changes, only the speed of G does.
//! The next completion of each component is thus known in G and stays valid while others come and go; the host
//! turns the earliest into a time.
//!
//! Cost: submit or complete O(log jobs of the component + components of the host), the second being a scan
//! of one integer each. No allocation once the heaps have grown.
//!
//! # Rounding
//! All integer. V and G count 1/4096 ns; rates have 36 binary digits and are rounded up, so that a job whose
//! exact end is a whole nanosecond ends there. Other jobs end in the first whole nanosecond after their exact
//! end. Beyond that an end may be early by the rate's rounding, one part in 2^36 · cores / T, and each change
//! inside its component may delay a job by under 1/4096 ns. The work a component does exceeds what its
//! finished jobs asked for by no more than this; it is asserted whenever a component falls idle.

use super::time::Nanos;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

/// Binary digits of V and G below one nanosecond.
const SERVICE_BITS: u32 = 12;
/// Binary digits of a rate.
const RATE_BITS: u32 = 36;
/// From (ns · rate) to service.
const SHIFT: u32 = RATE_BITS - SERVICE_BITS;
/// G and V restart from zero past this, long before they would overflow.
const REBASE_AT: u64 = 1 << 62;
/// The longest step of the clock in one piece.
const MAX_STEP_NS: Nanos = 1 << 46;
const PPM: u64 = 1_000_000;
/// Not reached: no completion is due, or none is scheduled.
const NEVER: u64 = u64::MAX;

/// A job's most work: 2^50 ns, 13 days of one core.
pub const MAX_CPU_NS: u64 = 1 << 50;
/// A host's most cores.
pub const MAX_CORES: u32 = 8192;
/// A host's greatest speed, in parts per million of the reference core: 16 times.
pub const MAX_SPEED_PPM: u32 = 16_000_000;

/// A host of [`Hosts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct HostId(u32);

/// A component of [`Hosts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct ComponentId(u32);

impl HostId {
    /// The position in order of [`Hosts::add_host`], from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl ComponentId {
    /// The position in order of [`Hosts::add_component`], from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// How a component runs its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Discipline {
    /// All at once; they share the component's threads.
    Sharing,
    /// At most `max_threads` jobs at once, the others wait in order of submission.
    Fifo,
}

#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Job {
    /// The component's V at which the job ends.
    target: u64,
    sequence: u64,
    token: u64,
    cpu_ns: u64,
    threads: u32,
}

impl Job {
    /// Service that each thread of the job needs.
    #[inline]
    fn service(&self) -> u64 {
        let cpu = self.cpu_ns << SERVICE_BITS;
        if self.threads == 1 { cpu } else { cpu.div_ceil(u64::from(self.threads)) }
    }
}

/// Reversed, as the standard heap gives the greatest first: earliest target, then first submitted.
impl Ord for Job {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        (other.target, other.sequence).cmp(&(self.target, self.sequence))
    }
}
impl PartialOrd for Job {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Job {}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Component {
    name: String,
    host: u32,
    /// Position in the host's `due`.
    slot: u32,
    max_threads: u32,
    discipline: Discipline,
    background_milli: u32,
    /// n: sum of the running jobs' threads.
    job_threads: u64,
    /// t = min(n, max_threads).
    threads: u64,
    /// V as of `synced_at`.
    service: u64,
    /// The G up to which `service` and the sums below are brought.
    synced_at: u64,
    running: BinaryHeap<Job>,
    /// Fifo only; `target` is not set yet.
    waiting: VecDeque<Job>,
    /// Sum of t · dG: what its threads have done, in service units.
    work: u128,
    /// Sum of background milli-cores · dG.
    background_work_milli: u128,
    /// What finished (and cancelled) jobs were worth, in service units.
    settled: u128,
    /// By how much `work` may exceed `settled` when idle, from the roundings that happened.
    slack: u128,
    finished_cpu_ns: u128,
    finished_jobs: u64,
}

impl Component {
    /// Brings V and the sums up to the host's progress G.
    #[inline]
    fn sync(&mut self, progress: u64) {
        let step = progress - self.synced_at;
        if step == 0 {
            return;
        }
        self.synced_at = progress;
        self.background_work_milli += u128::from(step) * u128::from(self.background_milli);
        if self.job_threads == 0 {
            return;
        }
        self.work += u128::from(step) * u128::from(self.threads);
        if self.threads == self.job_threads {
            self.service += step;
        } else {
            self.service += mul_div_floor(step, self.threads, self.job_threads);
            self.slack += u128::from(self.job_threads);
        }
    }

    /// The G at which the first running job ends. Needs `sync`.
    #[inline]
    fn due(&self) -> u64 {
        self.due_of(self.running.peek().map(|first| first.target))
    }

    /// The G at which V reaches the target.
    #[inline]
    fn due_of(&self, target: Option<u64>) -> u64 {
        let Some(target) = target else { return NEVER };
        let left = target.saturating_sub(self.service);
        let step = if self.threads == self.job_threads {
            left
        } else {
            mul_div_ceil(left, self.job_threads, self.threads)
        };
        // A cap wakes the host too early, which is harmless.
        self.synced_at.saturating_add(step).min(NEVER - 1)
    }

    #[inline]
    fn start(&mut self, mut job: Job) {
        job.target = self.service + job.service();
        self.job_threads += u64::from(job.threads);
        self.threads = self.job_threads.min(u64::from(self.max_threads));
        self.running.push(job);
    }

    /// Takes finished jobs out and lets waiting ones in, until neither is left to do. Needs `sync`. The `rate` is the greatest that G
    /// may have had when they ended: now it may be less, if others began in the same nanosecond.
    #[inline]
    fn settle(&mut self, rate: u64, finished: &mut Vec<(u64, u64)>) {
        loop {
            while let Some(job) = self.running.peek().filter(|job| job.target <= self.service).copied() {
                self.running.pop();
                self.job_threads -= u64::from(job.threads);
                self.threads = self.job_threads.min(u64::from(self.max_threads));
                self.settled += u128::from(job.service()) * u128::from(job.threads);
                // Up to one nanosecond of the job's threads past its end, and one unit by rounding G up.
                self.slack += u128::from((rate >> SHIFT) + 2) * u128::from(job.threads);
                self.finished_cpu_ns += u128::from(job.cpu_ns);
                self.finished_jobs += 1;
                finished.push((job.sequence, job.token));
            }
            if self.waiting.is_empty() || self.running.len() >= self.max_threads as usize {
                break;
            }
            if let Some(job) = self.waiting.pop_front() {
                self.start(job);
            }
        }
        if self.running.is_empty() {
            self.fall_idle();
        }
    }

    /// Work conservation: what the threads did is what the jobs asked for, but for the stated rounding.
    fn fall_idle(&mut self) {
        assert!(
            self.settled <= self.work && self.work <= self.settled + self.slack,
            "{}: work is not conserved: done {}, asked {}, slack {} (1/4096 ns)",
            self.name,
            self.work,
            self.settled,
            self.slack
        );
        self.service = 0;
    }
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Host {
    name: String,
    cores: u32,
    speed_ppm: u32,
    /// dG/dt when no thread waits.
    full_rate: u64,
    /// dG/dt now.
    rate: u64,
    /// T in thousandths: running threads and background.
    threads_milli: u64,
    clock: Nanos,
    /// G as of `clock`, and its fraction below a service unit.
    progress: u64,
    fraction: u64,
    busy_milli_core_ns: u128,
    components: Vec<u32>,
    /// For each of `components`, the G of its next completion.
    due: Vec<u64>,
    /// When the wake-up event that was handed out fires.
    wakeup_at: Nanos,
    generation: u32,
    /// A change has happened since `take_wakeup`.
    changed: bool,
}

impl Host {
    fn capacity_milli(&self) -> u64 {
        u64::from(self.cores) * 1000
    }

    #[inline]
    fn change_threads(&mut self, from_milli: u64, to_milli: u64) {
        self.changed = true;
        if from_milli == to_milli {
            return;
        }
        self.threads_milli = self.threads_milli - from_milli + to_milli;
        let capacity = self.capacity_milli();
        self.rate = if self.threads_milli <= capacity {
            self.full_rate
        } else {
            (self.full_rate * capacity).div_ceil(self.threads_milli)
        };
    }

    /// The time at which G reaches `due`, rounded up.
    #[inline]
    fn time_of(&self, due: u64) -> Nanos {
        let left = due.saturating_sub(self.progress);
        if left == 0 {
            return self.clock;
        }
        let span = if left < 1 << (64 - SHIFT - 1) {
            ((left << SHIFT) - self.fraction).div_ceil(self.rate)
        } else {
            let span =
                ((u128::from(left) << SHIFT) - u128::from(self.fraction)).div_ceil(u128::from(self.rate));
            u64::try_from(span).unwrap_or(u64::MAX)
        };
        self.clock.saturating_add(span)
    }
}

/// All hosts of a simulation, their components and jobs. See the [module](self) for the model.
///
/// Use: after each [`submit`](Self::submit), [`complete`](Self::complete), [`set_background`](Self::set_background)
/// or [`cancel_all`](Self::cancel_all), ask [`take_wakeup`](Self::take_wakeup) for that host and schedule the
/// event it returns, if any; when the event fires call `complete`. Time must not pass otherwise (asserted).
///
/// ```
/// use podpace::engine::{Discipline, Hosts};
/// let mut hosts = Hosts::new();
/// let host = hosts.add_host("node", 1, 1_000_000);
/// let server = hosts.add_component(host, "server", None, Discipline::Sharing);
/// hosts.submit(0, server, 1_000, 1, 7); // two jobs of 1 µs share one core
/// hosts.submit(0, server, 1_000, 1, 8);
/// let (at, generation) = hosts.take_wakeup(host).unwrap();
/// assert_eq!(at, 2_000);
/// let mut finished = Vec::new();
/// hosts.complete(at, host, generation, &mut finished);
/// assert_eq!(finished, [7, 8]);
/// ```
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Hosts {
    hosts: Vec<Host>,
    components: Vec<Component>,
    next_sequence: u64,
    /// (sequence, token) of the jobs that `complete` found finished; kept for its memory.
    #[serde(skip)]
    scratch: Vec<(u64, u64)>,
    /// Nothing is remembered between calls: jobs are looked for one by one, completions computed anew.
    #[serde(skip)]
    plain: bool,
}

impl Hosts {
    /// No hosts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// No hosts yet; an oracle for comparisons: no heap orders the jobs and no completion is remembered.
    pub fn plain() -> Self {
        Self { plain: true, ..Self::default() }
    }

    /// Computes when each component of a host is due, without what is remembered of it.
    #[cold]
    fn recompute(&mut self, on: usize) {
        let host = &mut self.hosts[on];
        for (slot, component) in host.components.iter().enumerate() {
            let it = &self.components[*component as usize];
            host.due[slot] = it.due_of(it.running.iter().map(|job| job.target).min());
        }
    }

    /// Adds a host with this many cores of this speed (1,000,000 ppm is the reference core).
    ///
    /// # Panics
    /// Unless `cores` is in 1..=[`MAX_CORES`] and `speed_ppm` in 1..=[`MAX_SPEED_PPM`]: check input before.
    pub fn add_host(&mut self, name: &str, cores: u32, speed_ppm: u32) -> HostId {
        assert!((1..=MAX_CORES).contains(&cores), "host {name}: {cores} cores, expected 1 to {MAX_CORES}");
        assert!(
            (1..=MAX_SPEED_PPM).contains(&speed_ppm),
            "host {name}: speed {speed_ppm} ppm, expected 1 to {MAX_SPEED_PPM}"
        );
        let full_rate = (u64::from(speed_ppm) << RATE_BITS).div_ceil(PPM);
        self.hosts.push(Host {
            name: name.to_owned(),
            cores,
            speed_ppm,
            full_rate,
            rate: full_rate,
            threads_milli: 0,
            clock: 0,
            progress: 0,
            fraction: 0,
            busy_milli_core_ns: 0,
            components: Vec::new(),
            due: Vec::new(),
            wakeup_at: NEVER,
            generation: 0,
            changed: false,
        });
        HostId(u32::try_from(self.hosts.len() - 1).expect("fewer than 2^32 hosts"))
    }

    /// Adds a component to a host. `max_threads` defaults to the host's cores.
    ///
    /// # Panics
    /// When `max_threads` is 0: check input before.
    pub fn add_component(
        &mut self,
        host: HostId,
        name: &str,
        max_threads: Option<u32>,
        discipline: Discipline,
    ) -> ComponentId {
        let id = u32::try_from(self.components.len()).expect("fewer than 2^32 components");
        let on = &mut self.hosts[host.index()];
        let max_threads = max_threads.unwrap_or(on.cores);
        assert!(max_threads > 0, "component {name}: max_threads is 0, expected at least 1");
        self.components.push(Component {
            name: name.to_owned(),
            host: host.0,
            slot: on.components.len() as u32,
            max_threads,
            discipline,
            background_milli: 0,
            job_threads: 0,
            threads: 0,
            service: 0,
            synced_at: on.progress,
            running: BinaryHeap::new(),
            waiting: VecDeque::new(),
            work: 0,
            background_work_milli: 0,
            settled: 0,
            slack: 0,
            finished_cpu_ns: 0,
            finished_jobs: 0,
        });
        on.components.push(id);
        on.due.push(NEVER);
        ComponentId(id)
    }

    /// Gives a component a job: `cpu_ns` of work on a reference core, spread over `threads`. The `token` comes
    /// back from [`complete`](Self::complete). A job of no work finishes at `now`, through a wake-up too.
    ///
    /// # Panics
    /// When `threads` is 0, `cpu_ns` exceeds [`MAX_CPU_NS`], or time went backwards or past a wake-up.
    #[inline]
    pub fn submit(&mut self, now: Nanos, component: ComponentId, cpu_ns: u64, threads: u32, token: u64) {
        assert!(threads > 0, "a job needs a thread");
        assert!(cpu_ns <= MAX_CPU_NS, "a job of {cpu_ns} CPU-ns, expected at most {MAX_CPU_NS}");
        let on = self.components[component.index()].host as usize;
        self.bring_to(now, on);
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let it = &mut self.components[component.index()];
        let job = Job { target: 0, sequence, token, cpu_ns, threads };
        if it.discipline == Discipline::Fifo && it.running.len() >= it.max_threads as usize {
            it.waiting.push_back(job);
            return;
        }
        let host = &mut self.hosts[on];
        let before = it.threads;
        it.sync(host.progress);
        it.start(job);
        host.due[it.slot as usize] = it.due();
        host.change_threads(before * 1000, it.threads * 1000);
    }

    /// The event to schedule for the host's next completion, as (time, generation): `None` if an event handed
    /// out before comes soon enough, or nothing runs. At most one event is current; each one handed
    /// out makes those before it stale, and an event may fire before anything has finished.
    #[inline]
    pub fn take_wakeup(&mut self, host: HostId) -> Option<(Nanos, u32)> {
        if self.plain {
            self.recompute(host.index());
        }
        let host = &mut self.hosts[host.index()];
        if !std::mem::take(&mut host.changed) && !self.plain {
            return None;
        }
        let due = host.due.iter().copied().min().unwrap_or(NEVER);
        if due == NEVER {
            return None;
        }
        let at = host.time_of(due);
        if at >= host.wakeup_at {
            return None;
        }
        host.wakeup_at = at;
        host.generation = host.generation.wrapping_add(1);
        Some((at, host.generation))
    }

    /// Handles a wake-up event: appends the tokens of the jobs that end at `now`, in order of submission.
    /// Does nothing if a later event has replaced this one.
    #[inline]
    pub fn complete(&mut self, now: Nanos, host: HostId, generation: u32, finished: &mut Vec<u64>) {
        let on = host.index();
        if self.hosts[on].generation != generation || self.hosts[on].wakeup_at == NEVER {
            return;
        }
        self.bring_to(now, on);
        if self.plain {
            self.recompute(on);
        }
        let host = &mut self.hosts[on];
        host.wakeup_at = NEVER;
        host.changed = true;
        self.scratch.clear();
        let rate = host.full_rate;
        for slot in 0..host.due.len() {
            if host.due[slot] > host.progress {
                continue;
            }
            let it = &mut self.components[host.components[slot] as usize];
            let before = it.threads;
            it.sync(host.progress);
            if self.plain {
                // Any order of the jobs will do: the earliest is looked for.
                let mut jobs = std::mem::take(&mut it.running).into_vec();
                jobs.sort_unstable_by_key(|job| (job.target, job.sequence));
                it.running = jobs.into_iter().collect();
            }
            it.settle(rate, &mut self.scratch);
            host.due[slot] = it.due();
            host.change_threads(before * 1000, it.threads * 1000);
        }
        if self.scratch.len() > 1 {
            self.scratch.sort_unstable();
        }
        finished.extend(self.scratch.iter().map(|&(_, token)| token));
    }

    /// Sets a component's fluid background demand from `now` on.
    pub fn set_background(&mut self, now: Nanos, component: ComponentId, milli_cores: u32) {
        let on = self.components[component.index()].host as usize;
        self.bring_to(now, on);
        let it = &mut self.components[component.index()];
        let host = &mut self.hosts[on];
        it.sync(host.progress);
        host.change_threads(u64::from(it.background_milli), u64::from(milli_cores));
        it.background_milli = milli_cores;
    }

    /// Ends every job of a component at `now` without finishing it (the process died): appends their tokens in
    /// order of submission.
    pub fn cancel_all(&mut self, now: Nanos, component: ComponentId, cancelled: &mut Vec<u64>) {
        let on = self.components[component.index()].host as usize;
        self.bring_to(now, on);
        let it = &mut self.components[component.index()];
        let host = &mut self.hosts[on];
        it.sync(host.progress);
        self.scratch.clear();
        for job in it.running.drain() {
            let left = job.target.saturating_sub(it.service);
            it.settled += u128::from(job.service() - left) * u128::from(job.threads);
            it.slack += u128::from((host.full_rate >> SHIFT) + 2) * u128::from(job.threads);
            self.scratch.push((job.sequence, job.token));
        }
        self.scratch.extend(it.waiting.drain(..).map(|job| (job.sequence, job.token)));
        self.scratch.sort_unstable();
        cancelled.extend(self.scratch.iter().map(|&(_, token)| token));
        let before = it.threads;
        it.job_threads = 0;
        it.threads = 0;
        it.fall_idle();
        host.due[it.slot as usize] = NEVER;
        host.change_threads(before * 1000, 0);
    }

    /// Brings a host's clock and its components' sums to `now`, so that what the methods below return is as of `now`.
    pub fn advance(&mut self, now: Nanos, host: HostId) {
        self.bring_to(now, host.index());
        let host = &self.hosts[host.index()];
        for &component in &host.components {
            self.components[component as usize].sync(host.progress);
        }
    }

    /// CPU time of a component in core-ns of its host, background included, as of the last change or `advance`.
    pub fn busy_core_ns(&self, component: ComponentId) -> u64 {
        let it = &self.components[component.index()];
        self.core_ns(it.host as usize, it.work * 1000 + it.background_work_milli)
    }

    /// Thousandths of service in core-ns of a host.
    fn core_ns(&self, host: usize, milli: u128) -> u64 {
        let speed_ppm = self.hosts[host].speed_ppm;
        let core_ns = (milli >> SERVICE_BITS) * u128::from(PPM) / (1000 * u128::from(speed_ppm));
        u64::try_from(core_ns).expect("busy time fits in u64")
    }

    /// Core-ns during which the host's cores were busy, background included, as of the last change or `advance`.
    pub fn host_busy_core_ns(&self, host: HostId) -> u64 {
        u64::try_from(self.hosts[host.index()].busy_milli_core_ns / 1000).expect("busy time fits in u64")
    }

    /// Core-ns that went to the background of the host's components, as of the last change or `advance`.
    pub fn host_background_core_ns(&self, host: HostId) -> u64 {
        let components = &self.hosts[host.index()].components;
        let milli = components.iter().map(|&it| self.components[it as usize].background_work_milli).sum();
        self.core_ns(host.index(), milli)
    }

    /// Sum of `cpu_ns` over the component's finished jobs.
    pub fn cpu_ns_done(&self, component: ComponentId) -> u64 {
        u64::try_from(self.components[component.index()].finished_cpu_ns).expect("CPU time fits in u64")
    }

    /// How many jobs of the component have finished.
    pub fn jobs_done(&self, component: ComponentId) -> u64 {
        self.components[component.index()].finished_jobs
    }

    /// Jobs that run now.
    pub fn running_jobs(&self, component: ComponentId) -> usize {
        self.components[component.index()].running.len()
    }

    /// Jobs that wait for their turn; always 0 with [`Discipline::Sharing`].
    pub fn waiting_jobs(&self, component: ComponentId) -> usize {
        self.components[component.index()].waiting.len()
    }

    /// T: the host's running threads, in thousandths (background is fractional). Above 1000 · cores it is saturated.
    pub fn threads_milli(&self, host: HostId) -> u64 {
        self.hosts[host.index()].threads_milli
    }

    /// The host a component is on.
    pub fn host_of(&self, component: ComponentId) -> HostId {
        HostId(self.components[component.index()].host)
    }

    /// The host's name.
    pub fn host_name(&self, host: HostId) -> &str {
        &self.hosts[host.index()].name
    }

    /// The host's cores.
    pub fn cores(&self, host: HostId) -> u32 {
        self.hosts[host.index()].cores
    }

    /// The component's name.
    pub fn component_name(&self, component: ComponentId) -> &str {
        &self.components[component.index()].name
    }

    /// Every host, in order of creation.
    pub fn host_ids(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.hosts.len() as u32).map(HostId)
    }

    /// Every component, in order of creation.
    pub fn component_ids(&self) -> impl Iterator<Item = ComponentId> + use<> {
        (0..self.components.len() as u32).map(ComponentId)
    }

    /// Moves a host's clock, G and busy time to `now`.
    #[inline]
    fn bring_to(&mut self, now: Nanos, on: usize) {
        let host = &mut self.hosts[on];
        if now == host.clock {
            return;
        }
        assert!(now > host.clock, "host {}: time went back from {} to {now} ns", host.name, host.clock);
        assert!(
            !host.changed && now <= host.wakeup_at,
            "host {}: a wake-up was not taken or not handled before {now} ns",
            host.name
        );
        let busy_milli = host.threads_milli.min(host.capacity_milli());
        while host.clock < now {
            let span = (now - host.clock).min(MAX_STEP_NS);
            let step = u128::from(span) * u128::from(host.rate) + u128::from(host.fraction);
            host.progress += (step >> SHIFT) as u64;
            host.fraction = step as u64 & ((1 << SHIFT) - 1);
            host.busy_milli_core_ns += u128::from(span) * u128::from(busy_milli);
            host.clock += span;
            if host.progress >= REBASE_AT {
                rebase(host, &mut self.components);
            }
        }
    }
}

/// Restarts G and the V of the host's components from zero.
#[cold]
fn rebase(host: &mut Host, components: &mut [Component]) {
    for (slot, &id) in host.components.iter().enumerate() {
        let it = &mut components[id as usize];
        it.sync(host.progress);
        let service = it.service;
        // Shifting every target alike keeps the heap's order. A target already reached stays reached.
        it.running = std::mem::take(&mut it.running)
            .into_iter()
            .map(|job| Job { target: job.target.saturating_sub(service), ..job })
            .collect();
        it.service = 0;
        it.synced_at = 0;
        host.due[slot] = it.due();
    }
    host.progress = 0;
}

/// a · b / c rounded down, for b <= c.
#[inline]
fn mul_div_floor(a: u64, b: u64, c: u64) -> u64 {
    match a.checked_mul(b) {
        Some(product) => product / c,
        None => (u128::from(a) * u128::from(b) / u128::from(c)) as u64,
    }
}

/// a · b / c rounded up, at most `u64::MAX`.
#[inline]
fn mul_div_ceil(a: u64, b: u64, c: u64) -> u64 {
    match a.checked_mul(b) {
        Some(product) => product.div_ceil(c),
        None => {
            let quotient = (u128::from(a) * u128::from(b)).div_ceil(u128::from(c));
            u64::try_from(quotient).unwrap_or(u64::MAX)
        }
    }
}
