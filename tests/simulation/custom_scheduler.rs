//! Schedulers from outside: one type and one registration, or a program of its own.
use std::collections::VecDeque;
use std::path::Path;

use podpace::cluster::{Cluster, NodeId, PodId, Timeline};
use podpace::cost::{CostProfile, Meter, OpId, ProfileError};
use podpace::experiment::pause::Pauses;
use podpace::experiment::run::{Completed, Environment, RunError, RunSpec};
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

// ---- a scheduler that is a program of its own ----

/// Whether there is a Python; without one these tests say so and pass, as Rust is all that the project needs.
fn python() -> bool {
    let found = std::process::Command::new("python3").arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: there is no python3");
    }
    found
}

/// Files beside a scenario, and the scenario with this scheduler.
struct Program {
    folder: tempfile::TempDir,
}

impl Program {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("scheduler.py"), text).unwrap();
        Self { folder }
    }

    fn first_fit() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/custom-scheduler/first_fit.py");
        Self::new(&std::fs::read_to_string(path).unwrap())
    }

    fn spec(&self, scheduler: &str, rest: &str) -> RunSpec {
        let text = format!(
            "apiVersion: podpace/v1\nkind: Scenario\nname: t\nseed: 4\nscheduler: {{{scheduler}}}\n{rest}"
        );
        let document = Document::parse("t.yaml", &text, Some(self.folder.path())).unwrap();
        RunSpec::of_scenario(document).unwrap_or_else(|errors| panic!("{}\n{text}", errors[0]))
    }

    fn run(&self, scheduler: &str, rest: &str) -> Result<Completed, RunError> {
        self.spec(scheduler, rest).simulate(&Environment::built_in())
    }

    fn refused(&self) -> String {
        self.run(PYTHON, SMALL).err().expect("it is refused").to_string()
    }
}

const PYTHON: &str = "kind: process, command: [python3, scheduler.py], client: {qps: 20, burst: 5}";
const RUST: &str = "kind: first-fit, client: {qps: 20, burst: 5}";
const SMALL: &str = "cluster: {nodes: [{count: 2, template: {allocatable: {cpu: 1, memory: 64Gi}}}]}
workload: {pods: [{count: 3, requests: {cpu: 1}}], start: backlog}
";

/// A program that answers each line with what these expressions (of `events`) come to.
fn answering(actions: &str) -> Program {
    Program::new(&format!(
        "import json, sys
input()
print(json.dumps({{'protocol': 1}}), flush=True)
for line in sys.stdin:
    events = json.loads(line)['events']
    print(json.dumps({{'actions': {actions}}}), flush=True)
"
    ))
}

/// Nodes and timelines of all pods, metrics, and why pods are pending.
type Trail = (Vec<(u32, Timeline)>, Vec<(String, u64)>, PendingReasons);

/// Everything that the scheduler did: the pods' timelines, places and counted operations.
fn trail(run: &Completed) -> Trail {
    let pods = &run.finished.cluster.pods;
    let all = u32::try_from(pods.len()).unwrap();
    let operations = run.finished.kernel.processes().iter().filter(|p| p.name == "scheduler");
    let operations = operations
        .flat_map(|p| p.meter.accounts())
        .map(|a| (a.operation.clone(), a.count))
        .collect::<std::collections::BTreeMap<_, _>>();
    (
        (0..all).map(|p| (pods.node(p), *pods.timeline(p))).collect(),
        operations.into_iter().collect(),
        run.finished.pending_reasons.clone(),
    )
}

/// The program and `kind: first-fit` do the same at the same times.
#[test]
fn the_program_in_python_is_the_first_fit_in_rust() {
    if !python() {
        return;
    }
    let program = Program::first_fit();
    let taints = "cluster:
  nodes:
    - {count: 3, template: {allocatable: {cpu: 4, memory: 8Gi, pods: 6}}}
    - {count: 2, template: {allocatable: {cpu: 8, memory: 8Gi, gpu.example/a: 2}, labels: {size: large}}}
    - {count: 2, template: {allocatable: {cpu: 64, memory: 64Gi}, taints: [{key: k, effect: NoSchedule}]}}
";
    let cases = [
        // Bound from the bucket, more than fits: by cpu, by the number of pods, by an extended resource, by selectors.
        format!(
            "{taints}workload:
  pods:
    - {{count: 9, requests: {{cpu: 100m, memory: 1Gi}}}}
    - {{count: 3, requests: {{cpu: 3}}}}
    - {{count: 5, requests: {{cpu: 1, gpu.example/a: 1}}}}
    - {{count: 5, requests: {{cpu: 2}}, nodeSelector: {{size: large}}}}
    - {{count: 2, requests: {{cpu: 1}}, nodeSelector: {{size: small}}}}
    - {{count: 2, requests: {{cpu: 40}}}}
    - {{count: 2, requests: {{cpu: 40}}, tolerations: [{{key: k, operator: Exists}}]}}
  start: backlog
stop: {{when: time, limit: 40s}}
"
        ),
        // Pods that run and end make room; the API server refuses bindings when its queues are full.
        format!(
            "{taints}controlPlane:
  apiServer: {{profile: apiserver-1.36}}
  nodeLifecycle: {{kind: kubelet}}
workload:
  pods: [{{count: 60, requests: {{cpu: 1500m, memory: 1Gi}}, runTime: {{fixed: 3s}}}}]
  arrivals: {{process: poisson, rate: 10}}
stop: {{when: allFinished, limit: 5m}}
"
        ),
    ];
    for case in cases {
        let (python, rust) = (program.run(PYTHON, &case), program.run(RUST, &case));
        let (python, rust) =
            (python.unwrap_or_else(|e| panic!("{e}")), rust.unwrap_or_else(|e| panic!("{e}")));
        assert!(rust.summary.counts.bound > 10);
        assert_eq!(trail(&python), trail(&rust), "{case}");
        assert_eq!(trail(&python), trail(&program.run(PYTHON, &case).unwrap()), "the same bytes each time");
    }
}

/// What a real API server or node could not do ends the run, and says what was done.
#[test]
fn a_program_that_does_what_cannot_be_is_told() {
    if !python() {
        return;
    }
    let bind = "[{'do': 'bind', 'pod': e['id'], 'node': 0} for e in events if e['event'] == 'pod']";
    let twice =
        "[{'do': 'bind', 'pod': e['id'], 'node': n} for e in events if e['event'] == 'pod' for n in (0, 1)]";
    for (actions, expected) in [
        (bind, "binds pod 1 to node 0 (node-00000): Insufficient cpu"),
        (twice, "binds pod 0 twice: it is being bound to node 0"),
        ("[{'do': 'bind', 'pod': 9, 'node': 0}]", "wants to bind pod 9, which it was not shown"),
        (&bind.replace("'node': 0", "'node': 7"), "binds pod 0 to node 7, which is not there"),
        (
            "[{'do': 'work', 'ops': {'cycles': 1}, 'tag': 0}]",
            "charges `cycles`, which its cost profile does not have; it has cycle",
        ),
        ("[{'do': 'timer', 'at_ns': -5, 'tag': 0}]", "has answered what is no answer"),
        ("[{'do': 'bond', 'pod': 0, 'node': 0}]", "has answered what is no answer: unknown variant `bond`"),
        ("[{'do': 'bind', 'pod': 0, 'node': 0, 'force': 1}]", "unknown field `force`"),
    ] {
        let message = answering(actions).refused();
        assert!(message.contains(expected), "{actions}: {message}");
        assert!(message.contains("scheduler `python3 scheduler.py`"), "{message}");
    }
}

/// Amounts that no process could work off end the run with what was asked, and neither panic nor go on for ever; the
/// largest that are accepted run.
#[test]
fn a_program_that_asks_for_too_much_is_told() {
    if !python() {
        return;
    }
    let limit = "one `work` may take at most 562949953421312 ns (6.5 days) in all";
    let started = |act: &str| format!("[{{{act}}} for e in events if e['event'] == 'start']");
    for (act, expected) in [
        ("'do': 'work', 'ns': 2**64 - 1, 'tag': 0", format!("asks with `work` for {} ns; {limit}", u64::MAX)),
        ("'do': 'work', 'ns': 2**49 + 1, 'tag': 0", format!("for 562949953421313 ns; {limit}")),
        (
            "'do': 'work', 'ns': 2**49, 'ops': {'cycle': 1}, 'tag': 0",
            format!("for 562949953421312 ns; {limit}"),
        ),
        (
            "'do': 'work', 'ops': {'cycle': 2**64 - 1}, 'tag': 0",
            format!("asks with `work` for {} operations `cycle`; {limit}", u64::MAX),
        ),
        (
            "'do': 'work', 'ops': {'cycle': 1, 'node_visited': 2**54}, 'tag': 0",
            format!("for 18014398509481984 operations `node_visited`; {limit}"),
        ),
        (
            "'do': 'events', 'count': 2**32 - 1",
            "asks with `events` for 4294967295 Events; at most 1000000 may be sent at once".to_owned(),
        ),
        ("'do': 'events', 'count': 1_000_001", "asks with `events` for 1000001 Events".to_owned()),
        ("'do': 'events', 'count': 2**32", "has answered what is no answer".to_owned()),
    ] {
        let message = answering(&started(act)).refused();
        assert!(message.contains(&expected), "{act}: {message}");
    }
    for act in [
        "'do': 'work', 'ns': 2**49, 'threads': 2**32 - 1, 'tag': 0",
        "'do': 'work', 'ns': 2**49 - 10**9, 'ops': {'cycle': 1}, 'tag': 0",
        "'do': 'timer', 'at_ns': 2**64 - 1, 'tag': 0",
    ] {
        let run = answering(&started(act)).run(PYTHON, SMALL).unwrap_or_else(|e| panic!("{act}: {e}"));
        assert_eq!(run.summary.counts.bound, 0, "{act}");
    }
}

/// A program that ends, does not answer, or speaks another version.
#[test]
fn a_program_that_does_not_answer_is_told() {
    if !python() {
        return;
    }
    let message = Program::new("input()").refused();
    assert!(
        message.contains("has ended (exit status: 0) instead of answering `{\"protocol\":1"),
        "{message}"
    );
    let message = Program::new("print('{\"protocol\": 2}', flush=True)\ninput()\ninput()").refused();
    assert!(message.contains("speaks version 2 of the protocol; podpace speaks 1"), "{message}");
    let message = Program::new("print('hello', flush=True)\ninput()\ninput()").refused();
    assert!(message.contains("has answered what is no answer") && message.contains("`hello`"), "{message}");
    let slow = Program::new("import time\ntime.sleep(60)");
    let message = slow.run(&format!("{PYTHON}, answerTimeout: 300ms"), SMALL).err().unwrap().to_string();
    assert!(message.contains("has not answered `{\"protocol\":1"), "{message}");
    assert!(message.ends_with("within 300ms"), "{message}");
    let absent = slow.run("kind: process, command: [no-such-program]", SMALL).err().unwrap();
    assert!(absent.to_string().contains("can't be started"), "{absent}");
}

/// A program that neither reads, nor ends when its output does, nor stops writing, holds the run up no longer than
/// `answerTimeout` and the second that it has to end.
#[test]
fn a_program_that_hangs_is_ended() {
    if !python() {
        return;
    }
    let many = SMALL.replace("count: 3", "count: 3000");
    for (text, scenario, expected) in [
        // The line with 3,000 pods does not fit into a pipe.
        (
            "import time\ninput()\nprint('{\"protocol\": 1}', flush=True)\ntime.sleep(600)",
            many.as_str(),
            "has not answered `{\"now_ns\":0",
        ),
        ("import os, time\ninput()\nos.close(1)\ntime.sleep(600)", SMALL, "has closed its output instead"),
        (
            "input()\nprint('{\"protocol\": 2}', flush=True)\nwhile True: print('x' * 1000, flush=True)",
            SMALL,
            "speaks version 2",
        ),
        ("import os, time\nos.close(0)\ntime.sleep(600)", SMALL, "has not answered `{\"protocol\":1"),
    ] {
        let (done, finished) = std::sync::mpsc::channel();
        let (program, scenario) = (Program::new(text), scenario.to_owned());
        std::thread::spawn(move || {
            let run = program.run(&format!("{PYTHON}, answerTimeout: 3s"), &scenario);
            done.send(run.err().map(|error| error.to_string())).unwrap();
        });
        let message = finished.recv_timeout(std::time::Duration::from_secs(60)).expect("it does not hang");
        assert!(message.as_ref().is_some_and(|m| m.contains(expected)), "{text}: {message:?}");
    }
}

/// Its state goes into a checkpoint if it can be saved; else that is told before the run.
#[test]
fn a_program_is_saved_if_it_can_be() {
    if !python() {
        return;
    }
    let pauses = |folder: &Path, resume: bool| Pauses {
        resume: resume.then(|| folder.join("ck")),
        checkpoint: (!resume).then(|| folder.join("ck")),
        checkpoint_at_ns: if resume { Vec::new() } else { vec![2_500_000_000] },
        ..Pauses::default()
    };
    let unable = Program::first_fit();
    let error = pauses(unable.folder.path(), false)
        .simulate(&unable.spec(PYTHON, SMALL), &Environment::built_in())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("checkpoint") && error.contains("\"checkpoint\": true"), "{error}");

    // Pods are bound one a second to the nodes in turn; the turn is its state.
    let able = Program::new(
        "import json, sys
input()
print(json.dumps({'protocol': 1, 'checkpoint': True}), flush=True)
state = {'turn': 0, 'pods': []}
for line in sys.stdin:
    line, actions = json.loads(line), []
    if 'save' in line:
        print(json.dumps({'state': state}), flush=True)
        continue
    if 'restore' in line:
        state = line['restore']
        print('{}', flush=True)
        continue
    for event in line['events']:
        if event['event'] == 'pod':
            state['pods'].append(event['id'])
        if event['event'] in ('start', 'timer') and state['pods']:
            actions += [{'do': 'bind', 'pod': state['pods'].pop(0), 'node': state['turn'] % 2},
                        {'do': 'timer', 'at_ns': line['now_ns'] + 1_000_000_000, 'tag': 0}]
            state['turn'] += 1
    print(json.dumps({'actions': actions, 'backlog': len(state['pods']), 'waits_for_time': True}), flush=True)
",
    );
    let case = SMALL.replace("cpu: 1,", "cpu: 10,").replace("count: 3", "count: 6");
    let spec = able.spec(PYTHON, &case);
    let whole = spec.simulate(&Environment::built_in()).unwrap();
    assert_eq!(whole.summary.counts.bound, 6);
    let folder = able.folder.path();
    let paused =
        pauses(folder, false).simulate(&spec, &Environment::built_in()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(paused.failures, Vec::<String>::new());
    let resumed =
        pauses(folder, true).simulate(&spec, &Environment::built_in()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(trail(&resumed.completed), trail(&whole));
}

/// `command` is a field of `process`, which needs it.
#[test]
fn wrong_fields_of_a_program_are_told() {
    let errors = |scheduler: &str| {
        let text =
            format!("apiVersion: podpace/v1\nkind: Scenario\nname: t\nscheduler: {{{scheduler}}}\n{SMALL}");
        let document = Document::parse("t.yaml", &text, Some(Path::new("."))).unwrap();
        RunSpec::of_scenario(document).err().unwrap()[0].to_string()
    };
    let text = errors("kind: process");
    assert!(text.contains("t.yaml:4:") && text.contains("command: [python3, first_fit.py]"), "{text}");
    let text = errors("kind: yunikorn, command: [a]");
    assert!(text.contains("a field of process, but the scheduler's kind is `yunikorn`"), "{text}");
    let text = errors("kind: process, command: [a], answerTimeout: 0s");
    assert!(text.contains("more than 0s"), "{text}");
    let text = errors("kind: process, command: [a], queues: [{name: root.a}]");
    assert!(text.contains("a field of yunikorn"), "{text}");
}
