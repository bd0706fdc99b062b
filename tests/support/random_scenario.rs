//! Random scenarios: clusters, control planes, schedulers and workloads in all combinations, small enough to run hundreds.
#![allow(dead_code)]
use std::fmt::Write as _;

use podpace::experiment::run::{Environment, RunSpec};
use podpace::scenario::Document;
use podpace::scenario::plan::Plan;
use proptest::prelude::*;

/// One group of nodes.
#[derive(Clone, Debug)]
pub struct Nodes {
    pub count: u8,
    pub cpu: u8,
    pub memory_gib: u8,
    pub pods: u8,
    pub zones: u8,
    pub ssd: bool,
    /// 0: none; 1: NoSchedule; 2: PreferNoSchedule.
    pub taint: u8,
}

/// One group of pods.
#[derive(Clone, Debug)]
pub struct Pods {
    pub count: u8,
    pub apps: u8,
    pub cpu_millicores: u16,
    pub memory_mib: u16,
    pub priority: i8,
    /// Of runTime (even) or hold (odd), some kinds.
    pub lifetime: u8,
    /// 0: none; 1: required; 2: preferred.
    pub anti_affinity: u8,
    /// 0: none; 1: hard; 2: soft.
    pub spread: u8,
    pub by_zone: bool,
    pub needs_ssd: bool,
    pub tolerates: bool,
    pub queue: u8,
    pub port: bool,
}

/// A scenario's choices.
#[derive(Clone, Debug)]
pub struct Random {
    pub seed: u16,
    pub nodes: Vec<Nodes>,
    /// 0: ideal; 1: plain limits; 2: priority and fairness.
    pub server: u8,
    pub inflight: u8,
    pub cores: u8,
    /// none, hollow, kubelet, kwok.
    pub agents: u8,
    /// first-fit, kube-scheduler, yunikorn.
    pub scheduler: u8,
    pub qps: u16,
    pub burst: u8,
    pub percentage: u8,
    pub old: bool,
    pub flag: bool,
    pub max_cpu: u8,
    pub pods: Vec<Pods>,
    /// backlog, closed, constant, poisson, batch.
    pub arrivals: u8,
    pub rate: u8,
    pub deployments: bool,
    pub stop: u8,
}

prop_compose! {
    fn nodes()(
        count in 1u8..6, cpu in 1u8..8, memory_gib in 1u8..16, pods in 2u8..20, zones in 0u8..3,
        ssd in any::<bool>(), taint in prop_oneof![4 => Just(0u8), 1 => 1u8..3],
    ) -> Nodes {
        Nodes { count, cpu, memory_gib, pods, zones, ssd, taint }
    }
}

prop_compose! {
    fn pods()(
        count in 1u8..30, apps in 1u8..4, cpu_millicores in 0u16..2500, memory_mib in 0u16..4000,
        priority in prop_oneof![3 => Just(0i8), 1 => -5i8..20], lifetime in 0u8..8,
        anti_affinity in prop_oneof![4 => Just(0u8), 1 => 1u8..3],
        spread in prop_oneof![4 => Just(0u8), 1 => 1u8..3], by_zone in any::<bool>(),
        rare in (0u8..8, 0u8..4, 0u8..16), queue in 0u8..3,
    ) -> Pods {
        let (ssd, tolerates, port) = rare;
        Pods {
            count, apps: apps.min(count), cpu_millicores, memory_mib, priority, lifetime, anti_affinity, spread, by_zone,
            needs_ssd: ssd == 0, tolerates: tolerates == 0, queue, port: port == 0,
        }
    }
}

prop_compose! {
    /// Any scenario.
    pub fn any_scenario()(
        seed in 1u16..1000, nodes in prop::collection::vec(nodes(), 1..4), server in 0u8..3, inflight in 1u8..30,
        cores in 1u8..6, agents in 0u8..4, scheduler in 0u8..3,
    )(
        qps in prop_oneof![Just(0u16), 1u16..300], burst in 1u8..60, percentage in prop_oneof![Just(0u8), 1u8..101],
        old in any::<bool>(), flag in any::<bool>(), max_cpu in prop_oneof![2 => Just(0u8), 1 => 1u8..12],
        pods in prop::collection::vec(pods(), 1..5), arrivals in 0u8..5, rate in 1u8..60,
        deployments in prop_oneof![4 => Just(false), 1 => Just(true)], stop in 0u8..3,
        seed in Just(seed), nodes in Just(nodes), server in Just(server), inflight in Just(inflight), cores in Just(cores),
        agents in Just(agents), scheduler in Just(scheduler),
    ) -> Random {
        Random {
            seed, nodes, server, inflight, cores, agents, scheduler, qps, burst, percentage, old, flag, max_cpu, pods,
            arrivals, rate, deployments, stop,
        }
    }
}

impl Random {
    /// As a scenario file.
    pub fn yaml(&self) -> String {
        let mut y = format!("apiVersion: podpace/v1\nkind: Scenario\nname: random\nseed: {}\n", self.seed);
        let _ = writeln!(y, "hosts: {{vm: {{cores: {}, noise: 3%}}}}\ncluster:\n  nodes:", self.cores);
        for (at, n) in self.nodes.iter().enumerate() {
            let labels = if n.ssd { ", labels: {disk: ssd}" } else { "" };
            let taints = match n.taint {
                0 => String::new(),
                1 => ", taints: [{key: t, value: x, effect: NoSchedule}]".to_owned(),
                _ => ", taints: [{key: t, value: x, effect: PreferNoSchedule}]".to_owned(),
            };
            let zones = if n.zones == 0 { String::new() } else { format!(", zones: {}", n.zones) };
            let _ = writeln!(
                y,
                "    - {{name: g{at}, count: {}{zones}, template: {{allocatable: {{cpu: {}, memory: {}Gi, pods: {}}}{labels}{taints}}}}}",
                n.count, n.cpu, n.memory_gib, n.pods
            );
        }
        y += "controlPlane:\n";
        if self.server > 0 {
            let _ = writeln!(
                y,
                "  apiServer: {{host: vm, maxRequestsInflight: {0}, maxMutatingRequestsInflight: {0}, priorityAndFairness: {1}, maxStreamsPerConnection: 5}}\n  etcd: {{host: vm, fsync: {{p50: 1ms, p99: 8ms}}}}",
                self.inflight,
                self.server == 2
            );
        }
        let agents = ["none", "hollow", "kubelet", "kwok"][usize::from(self.agents)];
        let host = if agents == "kwok" && self.server > 0 { ", host: vm" } else { "" };
        let _ = writeln!(y, "  nodeLifecycle: {{kind: {agents}{host}}}");
        let client = if self.qps == 0 {
            String::new()
        } else {
            format!(", client: {{qps: {}, burst: {}}}", self.qps, self.burst)
        };
        let percentage = self.percentage;
        let more = match self.scheduler {
            0 => "kind: first-fit".to_owned(),
            1 => {
                let profile = if self.old { "kube-scheduler-1.20" } else { "kube-scheduler-1.36" };
                let strategy = if self.flag { "MostAllocated" } else { "LeastAllocated" };
                format!(
                    "kind: kube-scheduler, profile: {profile}, percentageOfNodesToScore: {percentage}, scoringStrategy: {strategy}"
                )
            }
            _ => {
                let (profile, sort) =
                    if self.old { ("yunikorn-2021-11", "fullsort") } else { ("yunikorn-1.8", "btree") };
                let policy = if self.flag { "binpacking" } else { "fair" };
                let max = if self.max_cpu == 0 {
                    String::new()
                } else {
                    format!(", max: {{cpu: {}}}", self.max_cpu)
                };
                format!(
                    "kind: yunikorn, profile: {profile}, nodeSort: {sort}, nodeSortPolicy: {policy}, predicates: {}, queues: [{{name: root.a, sort: fair}}, {{name: root.b{max}}}]",
                    !percentage.is_multiple_of(4)
                )
            }
        };
        let _ = writeln!(y, "scheduler: {{{more}, host: vm{client}}}\nworkload:");
        let list = if self.deployments { "deployments" } else { "pods" };
        let _ = writeln!(y, "  {list}:");
        for (at, p) in self.pods.iter().enumerate() {
            let lifetime = match p.lifetime {
                0 => ", runTime: 3s",
                2 => ", runTime: {p50: 5s, p99: 40s}",
                4 => ", runTime: {min: 0s, max: 20s}",
                _ => "",
            };
            let key = if p.by_zone { "topology.kubernetes.io/zone" } else { "kubernetes.io/hostname" };
            // First fit refuses what it does not look at.
            let first_fit = self.scheduler == 0;
            let anti = ["", if first_fit { "preferred" } else { "required" }, "preferred"]
                [usize::from(p.anti_affinity)];
            let anti = if anti.is_empty() {
                String::new()
            } else {
                format!(", antiAffinity: {{mode: {anti}, topologyKey: {key}}}")
            };
            let when = ["", if first_fit { "ScheduleAnyway" } else { "DoNotSchedule" }, "ScheduleAnyway"]
                [usize::from(p.spread)];
            let spread = if when.is_empty() {
                String::new()
            } else {
                format!(", topologySpread: [{{maxSkew: 1, topologyKey: {key}, whenUnsatisfiable: {when}}}]")
            };
            let selector = if p.needs_ssd { ", nodeSelector: {disk: ssd}" } else { "" };
            let tolerations = if p.tolerates { ", tolerations: [{key: t, operator: Exists}]" } else { "" };
            let port = if p.port && !first_fit { ", hostPorts: [8080]" } else { "" };
            let queue = if self.scheduler == 2 {
                ["", ", queue: root.a", ", queue: root.b"]
                    [usize::from(if self.max_cpu == 0 { p.queue } else { p.queue.max(1) })]
            } else {
                ""
            };
            let queue = if self.scheduler == 2 && queue.is_empty() { ", queue: root.a" } else { queue };
            let size = if self.deployments {
                format!("replicas: {}", p.count)
            } else {
                format!("count: {}, apps: {}", p.count, p.apps)
            };
            let _ = writeln!(
                y,
                "    - {{name: w{at}, {size}, requests: {{cpu: {}m, memory: {}Mi}}, priority: {}{lifetime}{anti}{spread}{selector}{tolerations}{port}{queue}}}",
                p.cpu_millicores, p.memory_mib, p.priority
            );
        }
        let arrivals = match self.arrivals {
            _ if self.deployments => "",
            0 => "start: backlog",
            1 => "",
            2 => "arrivals: {process: constant, rate: RATE}",
            3 => "arrivals: {process: poisson, rate: RATE}",
            _ => "arrivals: {process: batch, batchSize: 7, interval: 2s}",
        };
        if !arrivals.is_empty() {
            let _ = writeln!(y, "  {}", arrivals.replace("RATE", &self.rate.to_string()));
        }
        let when = match self.stop {
            1 if self.agents > 0 => "allRunning",
            2 if self.pods.iter().all(|p| [0, 2, 4].contains(&p.lifetime)) => "allFinished",
            _ => "allBound",
        };
        let _ = writeln!(y, "stop: {{when: {when}, limit: 20m}}");
        y
    }

    /// Parsed, checked and resolved; what is wrong, if the choices contradict each other.
    pub fn plan(&self) -> Result<(RunSpec, Plan), String> {
        let yaml = self.yaml();
        let wrong = |what: String| format!("{what}\n{yaml}");
        let document = Document::parse("random.yaml", &yaml, None).map_err(|e| wrong(e[0].to_string()))?;
        let spec = RunSpec::of_scenario(document).map_err(|e| wrong(e[0].to_string()))?;
        let plan = spec.plan(&Environment::built_in()).map_err(|e| wrong(e.to_string()))?;
        Ok((spec, plan))
    }
}
