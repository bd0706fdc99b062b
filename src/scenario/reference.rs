//! Reference workloads by which simulators are compared, defined bit by bit.
//!
//! Nodes have 16 CPU and 64 GiB. A linear congruential generator (x0 = 42, x = 6364136223846793005 x +
//! 1442695040888963407 mod 2^64, r(n) = (x >> 33) mod n) draws for each pod in order: CPU of 250, 500, 1000,
//! 2000 m, memory of 512, 1024, 2048, 4096 Mi, and a duration of 60 + r(541) s. **S-rate**: pod i arrives at
//! 10 s + i / rate. **S-burst**: all arrive at once and last 300 s; the third draw is discarded.
//!
//! The control plane is ideal, as it is in the peers' own comparison; the scheduler is charged its profile.
use super::plan::{
    AgentsPlan, ClientIdentity, ClientLimits, Creation, Lifetimes, Placement, Plan, Provenance,
    SchedulerPlan, StopWhen,
};
use crate::cluster::{App, Cluster, NodeTemplate, PodSpec, Resources};
use crate::control_plane::node_agents::AgentKind;
use crate::cost::{CostProfile, ProfileError, ProfileLibrary};
use crate::engine::{Nanos, SECOND};
use crate::scheduler::{Registry, Settings};

/// The generator of the reference workloads.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// How the pods arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// So many a second, from 10 s on.
    Rate(u64),
    /// All at 10 s.
    Burst,
}

/// The plan of a reference workload under a scheduler that charges its default profile, or nothing at all if
/// `free` (as the peers, whose schedulers take a fixed time or none).
///
/// # Errors
/// The scheduler's profile can't be found.
///
/// # Panics
/// If the scheduler is not registered.
pub fn plan(
    scheduler: &str,
    nodes: u32,
    pods: u32,
    arrivals: Arrivals,
    free: bool,
) -> Result<Plan, ProfileError> {
    const MI: u64 = 1 << 20;
    let registry = Registry::built_in();
    let registration = registry.get(scheduler).expect("a built-in scheduler");
    let profile = if free {
        CostProfile::free(&registration.default_profile)
    } else {
        ProfileLibrary::built_in().load(&registration.default_profile)?
    };
    let mut cluster = Cluster::default();
    let template = cluster.nodes.add_template(NodeTemplate {
        allocatable: Resources {
            cpu_millicores: 16_000,
            memory_bytes: 64 << 30,
            pods: 110,
            extended: Vec::new(),
        },
        ..NodeTemplate::default()
    });
    for i in 0..nodes {
        cluster.nodes.add(format!("node-{i:06}"), template, None);
    }
    let app = cluster.pods.add_app(App {
        name: "load".to_owned(),
        queue: "root.default".to_owned(),
        ..App::default()
    });
    let mut draw = Lcg(42);
    let mut times_ns: Vec<Nanos> = Vec::with_capacity(pods as usize);
    let mut run_ns: Vec<Nanos> = Vec::with_capacity(pods as usize);
    cluster.pods.reserve(pods as usize);
    for i in 0..u64::from(pods) {
        let cpu_millicores = [250, 500, 1000, 2000][draw.below(4) as usize];
        let memory_bytes = [512, 1024, 2048, 4096][draw.below(4) as usize] * MI;
        let duration_s = 60 + draw.below(541);
        let requests = Resources { cpu_millicores, memory_bytes, ..Resources::default() };
        let spec = cluster.pods.add_spec(PodSpec { requests, ..PodSpec::default() });
        cluster.pods.add(spec, app);
        let (at, lasts_s) = match arrivals {
            Arrivals::Rate(rate) => (10 * SECOND + i * SECOND / rate.max(1), duration_s),
            Arrivals::Burst => (10 * SECOND, 300),
        };
        times_ns.push(at);
        run_ns.push(lasts_s * SECOND);
    }
    let no_limit = ClientLimits::NONE;
    Ok(Plan {
        name: "reference".to_owned(),
        seed: 1,
        hosts: Vec::new(),
        cluster,
        api_server: None,
        controller_manager: None,
        kueue: None,
        autoscaler: None,
        changes: None,
        agents: AgentsPlan {
            kind: AgentKind::None,
            place: None,
            start_latency_ns: (0, 0),
            termination_latency_ns: None,
            heartbeats: false,
            client: no_limit,
            stages: None,
        },
        watchers: Vec::new(),
        load_client: (None, no_limit),
        record_seen: false,
        scheduler: SchedulerPlan {
            kind: scheduler.to_owned(),
            place: Placement { profile, host: None, max_threads: None },
            identity: ClientIdentity::KubeScheduler,
            client: no_limit,
            events_client: no_limit,
            controller_client: None,
            start_ns: 0,
            running_at_start: true,
            settings: Settings { settled: true, ..Settings::default() },
        },
        creation: Creation::Scheduled { times_ns: times_ns.into() },
        lifetimes: Lifetimes::Run(run_ns.into()),
        stop: StopWhen::AllFinished,
        // At 100,000 nodes a real scheduler takes weeks for ten million pods.
        limit_ns: 3650 * 24 * 3600 * SECOND,
        stall_ns: 3600 * SECOND,
        window_ns: 60 * SECOND,
        step_ns: SECOND,
        provenance: Provenance::default(),
    })
}
