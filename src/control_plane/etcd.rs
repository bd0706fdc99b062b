//! etcd: group commit of the write-ahead log, and the backend's batch.
//!
//! One raft loop takes everything proposed since its last turn, writes it and calls fdatasync once; requests that
//! arrive meanwhile share the next sync. There is no timer and no minimum batch, so a lone write pays one sync
//! and a crowd shares it. With followers, the leader sends before its own write: a batch takes the longer of
//! its own sync and (round trip + the fastest quorum member's sync). Every 100 ms a dirty backend (bbolt) is
//! committed; that costs CPU but answers do not wait for it.
//! Source: etcd `server/etcdserver/raft.go`, `server/storage/wal/wal.go`, `server/storage/backend/backend.go`.
//!
//! An etcd without a leader, or one that is away, takes no writes: proposals fail at once, and those under way are lost.
//!
//! Left out: snapshots, compaction, defragmentation, size-dependent costs.
//!
//! Cost: O(1) a request plus one CPU job and one event a sync.
use super::kernel::{Event, Job, Kernel, ProcessId};
use crate::cost::{OpId, ProfileError};
use crate::engine::{
    MILLISECOND, Nanos, Rng,
    random::{LogNormal, MAX_SPAN_NS},
};
use crate::measure::Histogram;

const BACKEND_COMMIT_INTERVAL_NS: Nanos = 100 * MILLISECOND;

/// Upper bounds of `etcd_disk_wal_fsync_duration_seconds`: 1 ms doubled up to 8.192 s.
pub const FSYNC_BOUNDS_NS: [Nanos; 14] = {
    let mut bounds = [MILLISECOND; 14];
    let mut i = 1;
    while i < bounds.len() {
        bounds[i] = bounds[i - 1] * 2;
        i += 1;
    }
    bounds
};

/// How long the disk takes, and how many members there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EtcdSettings {
    /// Median and 99th percentile of fdatasync in ns; none: `--unsafe-no-fsync`.
    pub fsync: Option<(Nanos, Nanos)>,
    /// Members.
    pub members: u32,
    /// Round trip between members in ns.
    pub peer_rtt_ns: Nanos,
}

/// The etcd process.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Etcd {
    process: ProcessId,
    fsync: Option<LogNormal>,
    members: u32,
    peer_rtt_ns: Nanos,
    rng: Rng,
    waiting: Vec<u32>,
    in_batch: Vec<u32>,
    /// It takes no writes: no leader, or nobody there.
    down: bool,
    /// How much longer a sync takes than it should, in parts per million; 0: as long as it should.
    slow_ppm: u64,
    syncing: bool,
    commit_pending: bool,
    entry: OpId,
    batch: OpId,
    commit: OpId,
    syncs: u64,
    entries: u64,
    sync_busy_ns: u64,
    fsyncs: Histogram,
}

impl Etcd {
    /// An idle etcd.
    ///
    /// # Errors
    /// The profile lacks `entry`, `batch` or `commit`.
    pub fn new(
        kernel: &mut Kernel,
        process: ProcessId,
        settings: EtcdSettings,
        rng: Rng,
    ) -> Result<Self, ProfileError> {
        let meter = kernel.meter(process);
        Ok(Self {
            entry: meter.operation("entry")?,
            batch: meter.operation("batch")?,
            commit: meter.operation("commit")?,
            process,
            fsync: settings.fsync.map(|(p50, p99)| LogNormal::new(p50, p99)),
            members: settings.members,
            peer_rtt_ns: settings.peer_rtt_ns,
            rng,
            waiting: Vec::new(),
            in_batch: Vec::new(),
            down: false,
            slow_ppm: 0,
            syncing: false,
            commit_pending: false,
            syncs: 0,
            entries: 0,
            sync_busy_ns: 0,
            fsyncs: Histogram::new(&FSYNC_BOUNDS_NS),
        })
    }

    /// Syncs take so much longer from now on, in parts per million; 0: as long as they should.
    pub fn set_slowdown(&mut self, ppm: u64) {
        self.slow_ppm = ppm;
    }

    /// From now on writes are not taken; those under way are lost. Returns them.
    pub fn stop(&mut self) -> Vec<u32> {
        self.down = true;
        let mut lost = std::mem::take(&mut self.in_batch);
        lost.append(&mut self.waiting);
        lost
    }

    /// Writes are taken again.
    pub fn go_on(&mut self) {
        self.down = false;
    }

    /// Proposes a write for a request; false: it is not taken.
    pub fn propose(&mut self, kernel: &mut Kernel, request: u32) -> bool {
        if self.down {
            return false;
        }
        self.waiting.push(request);
        if !self.commit_pending {
            self.commit_pending = true;
            kernel.at(kernel.now() + BACKEND_COMMIT_INTERVAL_NS, Event::EtcdCommit);
        }
        if !self.syncing {
            self.start_batch(kernel);
        }
        true
    }

    fn start_batch(&mut self, kernel: &mut Kernel) {
        self.syncing = true;
        std::mem::swap(&mut self.waiting, &mut self.in_batch);
        let entries = self.in_batch.len() as u64;
        self.syncs += 1;
        self.entries += entries;
        let meter = kernel.meter(self.process);
        let cost = meter.charge(self.batch, 1) + meter.charge(self.entry, entries);
        kernel.cpu_picos(self.process, cost, Job::EtcdBatch);
    }

    /// The batch's CPU work is done: the disk goes on.
    pub fn on_batch_written(&mut self, kernel: &mut Kernel) {
        let own = self.sync_ns();
        // With --unsafe-no-fsync etcd observes nothing.
        if self.fsync.is_some() {
            self.fsyncs.observe(own);
        }
        let wait = if self.members > 1 {
            // A majority besides the leader: the k-th fastest of the followers, with k = members / 2.
            let mut followers: Vec<Nanos> = (1..self.members).map(|_| self.sync_ns()).collect();
            followers.sort_unstable();
            own.max(self.peer_rtt_ns + followers[(self.members / 2) as usize - 1])
        } else {
            own
        };
        self.sync_busy_ns = self.sync_busy_ns.saturating_add(wait);
        kernel.at(kernel.now() + wait, Event::EtcdSynced);
    }

    fn sync_ns(&mut self) -> Nanos {
        let ns = self.fsync.map_or(0, |distribution| distribution.sample(&mut self.rng));
        if self.slow_ppm == 0 {
            return ns;
        }
        let slowed = u128::from(ns) * u128::from(self.slow_ppm) / 1_000_000;
        u64::try_from(slowed).map_or(MAX_SPAN_NS, |ns| ns.min(MAX_SPAN_NS))
    }

    /// fdatasync has returned: the batch's requests are stored. The next batch starts if anyone waits.
    pub fn on_synced(&mut self, kernel: &mut Kernel, stored: &mut Vec<u32>) {
        stored.append(&mut self.in_batch);
        self.syncing = false;
        if !self.waiting.is_empty() {
            self.start_batch(kernel);
        }
    }

    /// The backend commits its batch.
    pub fn on_commit(&mut self, kernel: &mut Kernel) {
        self.commit_pending = false;
        kernel.charge_cpu(self.process, self.commit, Job::Background);
    }

    /// Spans of fdatasync on the leader's disk.
    #[must_use]
    pub const fn fsyncs(&self) -> &Histogram {
        &self.fsyncs
    }

    /// Requests that are in it: being written, or waiting for the next sync.
    #[inline]
    #[must_use]
    pub fn pending(&self) -> u64 {
        (self.waiting.len() + self.in_batch.len()) as u64
    }

    /// Requests that wait for the next sync.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Syncs so far.
    #[must_use]
    pub const fn syncs(&self) -> u64 {
        self.syncs
    }

    /// Entries so far.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// Time spent in fdatasync, ns.
    #[must_use]
    pub const fn sync_busy_ns(&self) -> u64 {
        self.sync_busy_ns
    }
}
