//! A scheduler from outside the crate: one type, one registration, and scenarios select it by name.
use std::collections::VecDeque;
use std::path::Path;

use podpace::cluster::{Cluster, NodeId, PodId};
use podpace::cost::{CostProfile, Meter, OpId, ProfileError};
use podpace::experiment::pause::Pauses;
use podpace::experiment::run::{Environment, RunSpec};
use podpace::scenario::Document;
use podpace::scheduler::{
    Action, BindOutcome, Context, NodeChange, PendingReasons, SchedulerModel, Settings,
};

/// Deals pods to nodes in turn, without looking at what fits.
struct RoundRobin {
    nodes: Vec<NodeId>,
    turn: usize,
    queue: VecDeque<PodId>,
    in_cycle: Option<PodId>,
    deal: OpId,
}

impl RoundRobin {
    fn build(_: &Settings, meter: &mut Meter) -> Result<Box<dyn SchedulerModel>, ProfileError> {
        let deal = meter.operation("deal")?;
        Ok(Box::new(Self { nodes: Vec::new(), turn: 0, queue: VecDeque::new(), in_cycle: None, deal }))
    }

    fn next(&mut self, cx: &mut Context<'_>) {
        if self.in_cycle.is_none() && !self.nodes.is_empty() {
            self.in_cycle = self.queue.pop_front();
            if let Some(pod) = self.in_cycle {
                *cx.cycle_started = Some(pod);
                let cpu_ns = cx.meter.charge(self.deal, 1) / 1000;
                cx.cpu(cpu_ns, 1, 0);
            }
        }
    }
}

impl SchedulerModel for RoundRobin {
    fn kind(&self) -> &str {
        "round-robin"
    }
    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.next(cx);
    }
    fn on_node(&mut self, cx: &mut Context<'_>, node: NodeId, change: NodeChange) {
        if change == NodeChange::Added {
            self.nodes.push(node);
            self.next(cx);
        }
    }
    fn on_pod_pending(&mut self, cx: &mut Context<'_>, pod: PodId) {
        self.queue.push_back(pod);
        self.next(cx);
    }
    fn on_pod_bound(&mut self, _: &mut Context<'_>, _: PodId, _: NodeId) {}
    fn on_pod_gone(&mut self, _: &mut Context<'_>, _: PodId, _: NodeId) {}
    fn on_bind_done(&mut self, _: &mut Context<'_>, _: PodId, _: NodeId, _: BindOutcome) {}
    fn on_cpu_done(&mut self, cx: &mut Context<'_>, _: u64) {
        if let Some(pod) = self.in_cycle.take() {
            let node = self.nodes[self.turn % self.nodes.len()];
            self.turn += 1;
            cx.actions.push(Action::Assume { pod });
            cx.actions.push(Action::Bind { pod, node });
        }
        self.next(cx);
    }
    fn on_timer(&mut self, _: &mut Context<'_>, _: u64) {}
    fn pending_reasons(&self, _: &Cluster) -> PendingReasons {
        PendingReasons::new()
    }
    fn backlog(&self) -> u64 {
        self.queue.len() as u64
    }
}

const PROFILE: &str = "apiVersion: podpace/v1
kind: CostProfile
name: round-robin-1
component: scheduler
version: \"1\"
costs:
  deal: {value: 1ms, source: chosen for this test}
";

const SCENARIO: &str = "apiVersion: podpace/v1
kind: Scenario
name: dealt
cluster: {nodes: [{count: 4, template: {allocatable: {cpu: 32, memory: 64Gi}}}]}
scheduler: {kind: round-robin}
workload: {pods: [{count: 100, requests: {cpu: 100m, memory: 1Gi}}], start: backlog}
";

#[test]
fn a_scheduler_from_outside_runs_by_name() {
    let mut environment = Environment::built_in();
    let profile = CostProfile::parse(PROFILE, "round-robin-1.yaml").unwrap();
    environment.registry.register_with_profile("round-robin", RoundRobin::build, profile);
    let document = Document::parse("dealt.yaml", SCENARIO, Some(Path::new("."))).unwrap();
    let run = RunSpec::of_scenario(document).unwrap().simulate(&environment).unwrap();
    assert_eq!(run.summary.counts.bound, 100);
    assert_eq!(run.summary.scheduler.profile, "round-robin-1");
    let pods = &run.finished.cluster.pods;
    let mut per_node = [0; 4];
    for pod in 0..100 {
        per_node[pods.node(pod) as usize] += 1;
    }
    assert_eq!(per_node, [25; 4]);
    // 100 deals of a millisecond, one after the other.
    assert_eq!(run.summary.metrics["bound.last_s"].to_bits(), 0.1f64.to_bits());
}

#[test]
fn without_a_way_to_save_it_a_checkpoint_is_refused_before_the_run() {
    let mut environment = Environment::built_in();
    let profile = CostProfile::parse(PROFILE, "round-robin-1.yaml").unwrap();
    environment.registry.register_with_profile("round-robin", RoundRobin::build, profile);
    let document = Document::parse("dealt.yaml", SCENARIO, Some(Path::new("."))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checkpoint");
    let pauses =
        Pauses { checkpoint: Some(file.clone()), checkpoint_at_ns: vec![1_000_000], ..Pauses::default() };
    let error = pauses.simulate(&RunSpec::of_scenario(document).unwrap(), &environment).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("`round-robin`") && text.contains("SchedulerModel::save"), "{text}");
    assert!(!file.exists());
}

#[test]
fn without_its_registration_the_kind_is_told() {
    let document = Document::parse("dealt.yaml", SCENARIO, Some(Path::new("."))).unwrap();
    let error = RunSpec::of_scenario(document).unwrap().simulate(&Environment::built_in()).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("there is no scheduler `round-robin`") && text.contains("first-fit"), "{text}");
}
