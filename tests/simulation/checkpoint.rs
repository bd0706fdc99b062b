//! A run that stops and goes on is the run that never stopped: same bytes, whatever is in it and wherever it stops.
//! And a cluster snapshot holds what the cluster showed, in the form from which other runs begin.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use podpace::cluster::{NO_NODE, PodId, Stage};
use podpace::experiment::checkpoint::{Checkpoint, CheckpointError};
use podpace::experiment::output::{PodsFormat, Staging, digest};
use podpace::experiment::pause::{Paused, Pauses};
use podpace::experiment::run::{Completed, Environment, RunSpec};
use podpace::experiment::simulation::Simulation;
use podpace::experiment::snapshot;
use podpace::scenario::Document;
use podpace::trace::model::{Encoding, EventOp, EventRow, Manifest, NodeRow, PodRow, SpecRow};
use podpace::trace::{self, ImportOptions, TraceWriter, WriteOptions};

use crate::support::{code, podpace, stderr, stdout, tree, workspace};

const SECOND: u64 = 1_000_000_000;
const SCHEDULERS: [&str; 3] = ["first-fit", "kube-scheduler", "yunikorn"];

/// A scenario from its parts: lines of YAML.
fn scenario(folder: &Path, parts: &[&str]) -> RunSpec {
    let text =
        format!("apiVersion: podpace/v1\nkind: Scenario\nname: paused\nseed: 3\n{}\n", parts.join("\n"));
    let document = Document::parse("paused.yaml", &text, Some(folder)).unwrap();
    RunSpec::of_scenario(document).unwrap_or_else(|errors| panic!("{}\n{text}", errors[0]))
}

fn whole(spec: &RunSpec) -> Completed {
    spec.simulate(&Environment::built_in()).unwrap_or_else(|e| panic!("{e}"))
}

fn with(pauses: &Pauses, spec: &RunSpec) -> Paused {
    let paused = pauses.simulate(spec, &Environment::built_in()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(paused.failures, Vec::<String>::new());
    paused
}

/// In the middle of a scale-up, of a batch, of a drain.
#[test]
fn nodes_that_come_and_go_do_not_mind_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let groups = "nodeGroups: [{name: small, min: 1, max: 9, template: {allocatable: {cpu: 4, memory: 16Gi}}}, {name: other, max: 9, template: {allocatable: {cpu: 4, memory: 16Gi}}}], expander: random, scaleDown: {unneededTime: 2m, delayAfterAdd: 1m}";
    let pools = "nodePools: [{name: p, disruption: {consolidateAfter: 30s, budgets: [{nodes: 50%}]}, instanceTypes: [{name: s, price: 0.1, allocatable: {cpu: 4, memory: 16Gi}}, {name: l, price: 0.3, allocatable: {cpu: 16, memory: 64Gi}}]}]";
    for (kind, fields) in [("cluster-autoscaler", groups), ("karpenter", pools)] {
        let cluster = format!(
            "cluster: {{nodes: [], autoscaler: {{kind: {kind}, provisioning: {{p50: 40s, p99: 90s}}, {fields}}}}}"
        );
        let spec = scenario(
            folder.path(),
            &[
                &cluster,
                "controlPlane: {nodeLifecycle: {kind: kubelet}, apiServer: {profile: apiserver-1.36}}",
                "scheduler: {kind: kube-scheduler}",
                "workload: {deployments: [{name: web, replicas: 7, requests: {cpu: 900m, memory: 1Gi}}], jobs: [{name: batch, count: 3, completions: 12, parallelism: 12, requests: {cpu: 1500m, memory: 1Gi}, runTime: 90s}], arrivals: {interval: 4m}}",
                "stop: {when: time, limit: 25m}",
            ],
        );
        stop_and_go(folder.path(), &spec, &[12, 25, 45, 120, 333, 500, 700, 901]);
    }
}

/// Checkpoints at each of the times (given as parts of the run's length), each gone on with: to the end, and to the
/// next time, where the checkpoint must be the one of the run that did not stop.
fn stop_and_go(folder: &Path, spec: &RunSpec, per_mille: &[u64]) -> u64 {
    let uninterrupted = whole(spec);
    let expected = digest(&uninterrupted).unwrap();
    let end_ns = uninterrupted.finished.kernel.now();
    let file = |name: &str| folder.join(name);
    let mut previous: Option<PathBuf> = None;
    for (i, per_mille) in per_mille.iter().enumerate() {
        let at_ns = u64::try_from(u128::from(end_ns) * u128::from(*per_mille) / 1000).unwrap();
        let path = file(&format!("ck{i}"));
        let to = |path: &Path, resume: Option<PathBuf>| Pauses {
            resume,
            checkpoint: Some(path.to_owned()),
            checkpoint_at_ns: vec![at_ns],
            ..Pauses::default()
        };
        let _ = std::fs::remove_file(&path);
        let paused = with(&to(&path, None), spec);
        assert_eq!(digest(&paused.completed).unwrap(), expected, "a pause at {at_ns} ns changes the run");
        if !path.exists() {
            assert!(at_ns >= end_ns && paused.notes[0].contains("the run ended"), "{:?}", paused.notes);
            continue;
        }
        let resumed = with(&Pauses { resume: Some(path.clone()), ..Pauses::default() }, spec);
        assert_eq!(digest(&resumed.completed).unwrap(), expected, "gone on with from {at_ns} ns");
        assert_eq!(resumed.completed.summary, uninterrupted.summary);
        if let Some(previous) = previous.filter(|p| Checkpoint::read(p).unwrap().header().at_ns < at_ns) {
            let again = file("again");
            with(&to(&again, Some(previous)), spec);
            assert!(
                std::fs::read(&again).unwrap() == std::fs::read(&path).unwrap(),
                "the state at {at_ns} ns differs after a stop"
            );
        }
        previous = Some(path);
    }
    end_ns
}

const NODES: &str =
    "cluster: {nodes: [{count: 6, template: {allocatable: {cpu: 4, memory: 16Gi, pods: 20}}, zones: 2}]}";
const HOSTS: &str = "hosts: {vm: {cores: 2, noise: 5%}}";

/// Kinds of API server and node agents, as lines of YAML.
fn control_planes() -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    for (agents, of) in
        [("none", ""), ("kwok", ", host: vm"), ("hollow", ", startLatency: {p50: 1s, p99: 2s}")]
    {
        let lifecycle = format!("nodeLifecycle: {{kind: {agents}{of}}}");
        out.push((agents, format!("controlPlane: {{{lifecycle}}}")));
        for fair in [true, false] {
            let server = format!(
                "apiServer: {{profile: apiserver-1.36, host: vm, maxRequestsInflight: 4, maxMutatingRequestsInflight: 3, maxStreamsPerConnection: 5, priorityAndFairness: {fair}}}"
            );
            let etcd =
                "etcd: {profile: etcd-3.6, host: vm, fsync: {p50: 1ms, p99: 8ms}, members: 3, peerRtt: 1ms}";
            out.push((agents, format!("controlPlane: {{{server}, {etcd}, {lifecycle}}}")));
        }
    }
    out
}

fn small_trace(folder: &Path) {
    let options = WriteOptions { encoding: Encoding::Jsonl, ..WriteOptions::default() };
    let mut writer = TraceWriter::create(&folder.join("trace"), options).unwrap();
    let amounts = |cpu: u64, gib: u64| {
        BTreeMap::from([("cpu_millicores".to_owned(), cpu), ("memory_bytes".to_owned(), gib << 30)])
    };
    for (spec_id, cpu) in [(0, 500), (1, 1500)] {
        writer.spec(&SpecRow { spec_id, requests: amounts(cpu, 1), ..SpecRow::default() }).unwrap();
    }
    for seq in 0..4 {
        let name = format!("n{seq}");
        writer.node(&NodeRow { seq, name, allocatable: amounts(4000, 16), ..NodeRow::default() }).unwrap();
    }
    for seq in 0..30_u64 {
        // Among them a gang, which YuniKorn starts as one.
        let in_gang = (18..24).contains(&seq);
        let text = |text: &str| if in_gang { text.to_owned() } else { String::new() };
        let row = PodRow {
            app: text("train"),
            task_group: text("workers"),
            min_member: if in_gang { 6 } else { 0 },
            submit_ns: seq / 3 * SECOND,
            seq,
            uid: format!("u{seq}"),
            spec_id: u32::from(seq % 4 == 0),
            run_ns: (seq % 5 != 0).then_some((seq % 7 + 1) * SECOND),
            ..PodRow::default()
        };
        writer.pod(&row).unwrap();
    }
    let (op, uid, node) = (EventOp::PodBound, "u1".to_owned(), "n2".to_owned());
    writer.event(&EventRow { t_ns: 0, seq: 0, op, uid, node }).unwrap();
    writer.finish(Manifest::default()).unwrap();
}

/// Every scheduler with every control plane, each with one of the workloads in turn and stopped at three times.
#[test]
fn whatever_runs_goes_on_as_if_it_had_not_stopped() {
    let folder = tempfile::tempdir().unwrap();
    small_trace(folder.path());
    let workloads = [
        // ReplicaSets, with pods that repel each other: some fit nowhere until others are gone.
        "workload: {deployments: [{count: 3, replicas: 9, requests: {cpu: 700m, memory: 1Gi}, antiAffinity: required, runTime: {p50: 5s, p99: 20s}}]}\nstop: {when: allFinished, limit: 4m}",
        "workload: {trace: trace}\nstop: {when: time, limit: 40s}",
        // Arrivals by chance; the load client deletes.
        "workload: {pods: [{count: 40, apps: 3, requests: {cpu: 1, memory: 1Gi}, hold: {min: 2s, max: 9s}}], arrivals: {process: poisson, rate: 5}}\nstop: {when: allFinished, limit: 4m}",
        // A backlog that does not fit, over spread constraints.
        "workload: {start: backlog, pods: [{count: 50, requests: {cpu: 600m, memory: 1Gi}, topologySpread: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule}]}]}\nstop: {limit: 3m}",
    ];
    let mut runs = 0;
    let mut longest_ns = 0;
    for (s, scheduler) in SCHEDULERS.iter().enumerate() {
        for (c, (_, control_plane)) in control_planes().iter().enumerate() {
            for (w, workload) in workloads.iter().enumerate() {
                // Two of four workloads for each pair; over all pairs every workload meets each part.
                if (s + c + w) % 2 == 1 {
                    continue;
                }
                let nodes = if workload.contains("trace:") { "" } else { NODES };
                // First fit refuses what it does not look at.
                let softer =
                    workload.replace("required", "preferred").replace("DoNotSchedule", "ScheduleAnyway");
                let workload = if *scheduler == "first-fit" { &softer } else { *workload };
                let scheduler =
                    format!("scheduler: {{kind: {scheduler}, host: vm, client: {{qps: 20, burst: 10}}}}");
                let spec = scenario(folder.path(), &[HOSTS, nodes, control_plane, &scheduler, workload]);
                longest_ns = stop_and_go(folder.path(), &spec, &[120, 370, 810]).max(longest_ns);
                runs += 1;
            }
        }
    }
    assert!(runs >= 50 && longest_ns > 30 * SECOND, "{runs} runs, the longest {longest_ns} ns");
}

/// Delays that are under way, stages that wait for a worker, heartbeats, deletions with a grace period, failures by weight.
#[test]
fn stages_that_wait_do_not_mind_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let stages = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stages");
    let names = ["pod-general", "pod-chaos", "node-fast", "node-heartbeat"];
    let names: Vec<String> =
        names.iter().map(|name| format!("\"{}\"", stages.join(name).display())).collect();
    let plane = format!(
        "controlPlane: {{apiServer: {{profile: apiserver-1.36}}, nodeLifecycle: {{kind: kwok, stages: [{}]}}}}",
        names.join(", ")
    );
    let chaos = "labels: {pod-container-running-failed.stage.kwok.x-k8s.io: \"true\"}, annotations: {pod-container-running-failed.stage.kwok.x-k8s.io/weight: \"1\"}";
    let workload = format!(
        "workload: {{deployments: [{{name: web, replicas: 20, requests: {{cpu: 200m}}}}], jobs: [{{completions: 30, parallelism: 10, backoffLimit: 100, requests: {{cpu: 500m}}, {chaos}}}]}}"
    );
    let rest = "faults: [{kind: drain, at: 40s, nodes: {count: 1}}]\nstop: {when: time, limit: 3m}";
    for scheduler in ["kube-scheduler", "yunikorn"] {
        let scheduler = format!("scheduler: {{kind: {scheduler}}}");
        let spec = scenario(folder.path(), &[NODES, &plane, &scheduler, &workload, rest]);
        stop_and_go(folder.path(), &spec, &[5, 20, 55, 230, 260, 500, 900]);
    }
}

/// Times that are awkward: nothing has happened yet, the last event, after the end.
#[test]
fn the_first_and_the_last_moment() {
    let folder = tempfile::tempdir().unwrap();
    let workload =
        "workload: {pods: [{count: 20, requests: {cpu: 100m}, runTime: 3s}]}\nstop: {when: allFinished}";
    for scheduler in SCHEDULERS {
        let scheduler = format!("scheduler: {{kind: {scheduler}}}");
        let spec = scenario(folder.path(), &[NODES, &scheduler, workload]);
        stop_and_go(folder.path(), &spec, &[0, 999, 1000, 2000]);
    }
}

/// Nothing happens at the limit or long before it, and yet the cluster shows something then.
#[test]
fn the_moment_of_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let workload = "workload: {start: backlog, pods: [{count: 20, requests: {cpu: 100m}}]}\nstop: {when: time, limit: 50s}";
    let spec = scenario(folder.path(), &[NODES, "scheduler: {kind: first-fit}", workload]);
    let path = folder.path().join("ck");
    let pauses = Pauses {
        checkpoint: Some(path.clone()),
        checkpoint_at_ns: vec![49 * SECOND],
        snapshot: Some(folder.path().join("end")),
        snapshot_at_ns: vec![50 * SECOND],
        ..Pauses::default()
    };
    let paused = with(&pauses, &spec);
    assert!(paused.notes[1].ends_with("6 nodes, 20 pods bound, 0 pending"), "{:?}", paused.notes);
    let resumed = with(&Pauses { resume: Some(path), ..Pauses::default() }, &spec);
    let expected = digest(&whole(&spec)).unwrap();
    assert_eq!(
        [digest(&paused.completed).unwrap(), digest(&resumed.completed).unwrap()],
        [expected.clone(), expected]
    );
}

#[test]
fn a_run_with_drawn_costs_says_which_draw_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let workload = "workload: {pods: [{count: 20, requests: {cpu: 100m}, runTime: 30s}], arrivals: {process: constant, rate: 1}}";
    let spec = scenario(folder.path(), &[NODES, "scheduler: {kind: kube-scheduler}", workload]);
    let spec = RunSpec { draw: Some(3), ..spec };
    let path = folder.path().join("ck");
    let pauses =
        Pauses { checkpoint: Some(path.clone()), checkpoint_at_ns: vec![5 * SECOND], ..Pauses::default() };
    let paused = with(&pauses, &spec).completed;
    let resumed = with(&Pauses { resume: Some(path), ..Pauses::default() }, &spec).completed;
    let expected = whole(&spec);
    for run in [paused, resumed] {
        assert_eq!(run.summary.draw, Some(3));
        assert_eq!(digest(&run).unwrap(), digest(&expected).unwrap());
    }
}

#[test]
fn regular_checkpoints_replace_each_other_and_leave_the_run_alone() {
    let folder = tempfile::tempdir().unwrap();
    let workload = "workload: {pods: [{count: 20, requests: {cpu: 100m}, runTime: 30s}], arrivals: {process: constant, rate: 1}}\nstop: {when: allFinished}";
    let spec = scenario(folder.path(), &[NODES, "scheduler: {kind: first-fit}", workload]);
    let path = folder.path().join("ck");
    let pauses = Pauses {
        checkpoint: Some(path.clone()),
        checkpoint_every_ns: Some(10 * SECOND),
        ..Pauses::default()
    };
    let paused = with(&pauses, &spec);
    let expected = whole(&spec);
    assert_eq!(digest(&paused.completed).unwrap(), digest(&expected).unwrap());
    let end_s = expected.finished.kernel.now() / SECOND;
    assert!(paused.notes.len() as u64 >= end_s / 10 - 1, "{:?}", paused.notes);
    assert_eq!(Checkpoint::read(&path).unwrap().header().at_ns, (end_s - 1) / 10 * 10 * SECOND);
    // Nothing else is left in the folder.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    // A span without events is stepped over, however short the interval.
    let pauses = Pauses { checkpoint_every_ns: Some(1_000_000), ..pauses };
    assert!(with(&pauses, &spec).notes.len() < 300);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_scenarios_stop_at_random_times(
        scheduler in 0..3_usize,
        control_plane in 0..9_usize,
        nodes in 1..12_u32,
        pods in 2..60_u32,
        cpu in 50..2500_u32,
        qps in 1..60_u32,
        rate in 1..40_u32,
        live in any::<bool>(),
        run_s in prop::option::of(1..20_u32),
        seed in 0..1000_u64,
        times in prop::collection::btree_set(0..1000_u64, 1..4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let nodes = format!("cluster: {{nodes: [{{count: {nodes}, template: {{allocatable: {{cpu: 4, memory: 16Gi, pods: 30}}}}, zones: 3}}]}}");
        let scheduler = format!("scheduler: {{kind: {}, host: vm, client: {{qps: {qps}, burst: 5}}}}", SCHEDULERS[scheduler]);
        let run = run_s.map_or(String::new(), |s| format!(", runTime: {{min: 0s, max: {s}s}}"));
        let until = if run.is_empty() { "allBound" } else { "allFinished" };
        let start = if live { format!("arrivals: {{process: poisson, rate: {rate}}}") } else { "start: backlog".to_owned() };
        let workload = format!("workload: {{pods: [{{count: {pods}, apps: 2, requests: {{cpu: {cpu}m, memory: 1Gi}}{run}}}], {start}}}\nstop: {{when: {until}, limit: 3m}}");
        let control_planes = control_planes();
        let mut spec = scenario(folder.path(), &[HOSTS, &nodes, &control_planes[control_plane].1, &scheduler, &workload]);
        spec.seed = seed;
        let times: Vec<u64> = times.into_iter().collect();
        stop_and_go(folder.path(), &spec, &times);
    }
}

fn checkpoint_of_small(folder: &Path) {
    let output =
        podpace(folder, "run small.yaml --models models --out whole --checkpoint ck --checkpoint-at 1s");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

#[test]
fn the_command_goes_on_with_the_same_files() {
    let folder = workspace();
    checkpoint_of_small(folder.path());
    let plain = podpace(folder.path(), "run small.yaml --models models --out plain");
    let resumed = podpace(
        folder.path(),
        "run small.yaml --models models --resume ck --out resumed --verify-determinism",
    );
    assert_eq!(code(&resumed), 0, "{}", stderr(&resumed));
    assert_eq!(stdout(&resumed), stdout(&plain));
    let files = tree(&folder.path().join("plain"));
    assert!(files.len() >= 4);
    assert_eq!(tree(&folder.path().join("whole")), files);
    assert_eq!(tree(&folder.path().join("resumed")), files);
}

#[test]
fn what_does_not_fit_is_told_with_exit_code_2() {
    let folder = workspace();
    let path = folder.path();
    checkpoint_of_small(path);
    let error = |arguments: &str| {
        let output = podpace(path, &format!("run {arguments}"));
        let text = stderr(&output);
        assert_eq!(code(&output), 2, "{arguments}: {text}");
        assert!(stdout(&output).is_empty());
        text
    };
    for (arguments, expected) in [
        ("small.yaml --models models --resume ck --seed 8", "seed 7, here 8"),
        ("small.yaml --models models --resume ck --set scheduler.client.qps=51", "with other settings"),
        ("ideal.yaml --models models --resume ck", "scenario `small`, here `ideal`"),
        ("small.yaml --models models --resume absent", "absent: can't read the checkpoint"),
        ("small.yaml --models models --resume small.yaml", "is no checkpoint of podpace"),
        ("small.yaml --models models --checkpoint ck", "--checkpoint-at TIME or --checkpoint-every SPAN"),
        ("small.yaml --models models --checkpoint ck --checkpoint-every 0s", "more than 0s"),
        ("small.yaml --models models --checkpoint-at 1s", "--checkpoint <FILE>"),
        ("small.yaml --models models --snapshot s", "--snapshot-at"),
        ("small.yaml --models models --snapshot models --snapshot-at 1s", "models: already there"),
        (
            "study.yaml --models models --snapshot s --snapshot-at 1s",
            "of one run, and an experiment has many",
        ),
    ] {
        let text = error(arguments);
        assert!(text.contains(expected), "{arguments}: {text}");
    }
    let profile = path.join("models/etcd-test.yaml");
    let text = std::fs::read_to_string(&profile).unwrap();
    let costs = text.find("costs:").unwrap();
    let digit = costs + text[costs..].find("value: ").unwrap() + "value: ".len();
    std::fs::write(&profile, format!("{}9{}", &text[..digit], &text[digit..])).unwrap();
    assert!(
        error("small.yaml --models models --resume ck").contains("cost profile `etcd-test` has other costs")
    );
}

#[test]
fn a_damaged_checkpoint_is_an_error_wherever_the_damage_is() {
    let folder = workspace();
    checkpoint_of_small(folder.path());
    let path = folder.path().join("ck");
    let good = std::fs::read(&path).unwrap();
    assert!(Checkpoint::read(&path).is_ok());
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Checkpoint::read(&path).err().unwrap_or_else(|| panic!("{} damaged bytes were taken", bytes.len()))
    };
    // Cut anywhere; one bit turned anywhere.
    for end in (0..good.len()).step_by(29).chain(good.len() - 40..good.len()) {
        let error = read(&good[..end]);
        assert!(matches!(error, CheckpointError::Damaged(_) | CheckpointError::NotOne(_)), "{end}: {error}");
    }
    for at in (0..good.len()).step_by(17).chain(0..120) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        let error = read(&bytes);
        assert!(error.is_input(), "{at}: {error}");
    }
    let longer = [&good[..], b"x"].concat();
    assert!(matches!(read(&longer), CheckpointError::Damaged(_)));
    // Whole, but of another format or version: said as such.
    let magic = "podpace checkpoint\n".len();
    let mut other = good.clone();
    other[magic] += 1;
    assert!(
        matches!(read(&other), CheckpointError::Format { format, .. } if format == u32::from(other[magic]))
    );
    let version = podpace::experiment::run::VERSION;
    let at = good.windows(version.len()).position(|w| w == version.as_bytes()).unwrap();
    let mut other = good[..good.len() - 32].to_vec();
    other[at] = b'9';
    other.extend(sha256(&other));
    let error = read(&other);
    assert!(matches!(error, CheckpointError::Version { .. }), "{error}");
    assert!(error.to_string().contains("written by podpace 9"), "{error}");
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    let hex = podpace::experiment::run::sha256_hex(bytes);
    (0..32).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
}

#[test]
fn what_can_not_be_written_on_the_way_does_not_cost_the_result() {
    let folder = workspace();
    let command =
        "run small.yaml --models models --out result --checkpoint absent/ck --checkpoint-at 1s --quiet";
    let output = podpace(folder.path(), command);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("absent/ck"), "{}", stderr(&output));
    assert!(folder.path().join("result/manifest.json").exists());
}

/// A scenario in which a snapshot finds pods of every kind.
fn mixed(folder: &Path) -> RunSpec {
    let control_plane = "controlPlane: {nodeLifecycle: {kind: hollow, startLatency: 4s}}";
    let nodes = "cluster: {nodes: [{count: 3, name: big, template: {allocatable: {cpu: 4, memory: 16Gi, pods: 20, nvidia.com/gpu: 2}, labels: {disk: ssd}, taints: [{key: gpu, value: \"yes\", effect: NoSchedule}]}, zones: 3}, {count: 1, template: {allocatable: {cpu: 1, memory: 1Gi, pods: 5}, unschedulable: true}}]}";
    let shape = "requests: {cpu: 700m, memory: 1Gi, nvidia.com/gpu: 1}, priority: 5, tolerations: [{key: gpu, operator: Exists}], nodeSelector: {disk: ssd}, antiAffinity: preferred, topologySpread: [{maxSkew: 2, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule}], nodeAffinity: {required: [{matchExpressions: [{key: disk, operator: In, values: [ssd, nvme]}]}]}";
    let workload = format!(
        "workload: {{pods: [{{count: 20, apps: 2, runTime: 6s, {shape}}}], arrivals: {{process: constant, rate: 1}}}}\nstop: {{when: allFinished, limit: 10m}}"
    );
    scenario(folder, &[nodes, control_plane, "scheduler: {kind: kube-scheduler}", &workload])
}

#[test]
fn a_snapshot_holds_what_the_cluster_shows() {
    let folder = tempfile::tempdir().unwrap();
    let spec = mixed(folder.path());
    let environment = Environment::built_in();
    let plan = spec.plan(&environment).unwrap();
    let mut simulation = Simulation::new(&plan, &environment.registry).unwrap();
    let at_ns = 13 * SECOND + SECOND / 2;
    assert_eq!(simulation.advance(at_ns), None);
    let path = folder.path().join("snapshot");
    let counts = snapshot::write(&path, &simulation, at_ns, |_| Ok(())).unwrap();
    let findings = trace::validate(&path).unwrap();
    assert!(!findings.has_errors(), "{findings}");

    let pods = &simulation.cluster().pods;
    let ids = || 0..pods.len() as PodId;
    let there = |p: &PodId| !matches!(pods.stage(*p), Stage::Planned | Stage::Finished | Stage::Failed);
    let bound: Vec<PodId> = ids().filter(|p| there(p) && pods.node(*p) != NO_NODE).collect();
    let pending: Vec<PodId> = ids().filter(|p| there(p) && pods.node(*p) == NO_NODE).collect();
    for stage in [Stage::Planned, Stage::Queued, Stage::Bound, Stage::Running, Stage::Finished] {
        assert!(ids().any(|p| pods.stage(p) == stage), "no pod is {stage:?}");
    }
    assert_eq!((counts.nodes, counts.bound, counts.pending), (4, bound.len() as u64, pending.len() as u64));

    let reader = trace::open(&path).unwrap();
    let rows: Vec<PodRow> = reader.pods().unwrap().rows().map(Result::unwrap).collect();
    let sits: BTreeMap<String, String> =
        reader.events().unwrap().map(|e| e.unwrap()).map(|e| (e.uid, e.node)).collect();
    assert_eq!(rows.len(), bound.len() + pending.len());
    for row in &rows {
        let pod: PodId = row.uid.strip_prefix("pod-").unwrap().parse().unwrap();
        let node = pods.node(pod);
        let name = (node != NO_NODE).then(|| simulation.cluster().nodes.get(node).name.clone());
        assert_eq!(sits.get(&row.uid), name.as_ref());
        assert_eq!((row.submit_ns, row.priority, row.queue.as_str()), (0, 5, "root.default"));
        // What is left of six seconds, for those that run.
        let running_ns = pods.timeline(pod).running_ns;
        let left_ns = if running_ns == u64::MAX { 6 * SECOND } else { running_ns + 6 * SECOND - at_ns };
        assert_eq!(row.run_ns, Some(left_ns), "{}", row.uid);
    }

    // As a list of Kubernetes objects and back: the same pods on the same nodes.
    let (list, back) = (folder.path().join("list"), folder.path().join("back"));
    trace::export(&path, "k8s", &list, &ImportOptions::default()).unwrap();
    let options = ImportOptions { snapshot: true, ..ImportOptions::default() };
    trace::import("k8s-list", &[list.join("nodes.yaml"), list.join("pods.yaml")], &back, &options).unwrap();
    let nodes_of = |path: &Path| {
        let mut nodes: Vec<String> =
            trace::open(path).unwrap().events().unwrap().map(|event| event.unwrap().node).collect();
        nodes.sort();
        nodes
    };
    assert_eq!(nodes_of(&back), nodes_of(&path));

    // Everything of specs and nodes comes back.
    let text = "cluster: {}\nscheduler: {kind: kube-scheduler}\nworkload: {trace: snapshot}\nstop: {when: allFinished}";
    let next = scenario(folder.path(), &[text]);
    let again = next.plan(&environment).unwrap();
    let (old, new) = (&simulation.cluster().nodes, &again.cluster.nodes);
    assert_eq!(new.len(), old.len());
    for node in 0..3 {
        let (a, b) = (old.template(node), new.template(node));
        assert_eq!((&old.get(node).name, &a.taints), (&new.get(node).name, &b.taints));
        assert_eq!((a.allocatable.cpu_millicores, a.allocatable.pods), (b.allocatable.cpu_millicores, 20));
        assert_eq!(
            (&a.labels, old.label(node, "topology.kubernetes.io/zone")),
            (&b.labels, new.label(node, "topology.kubernetes.io/zone"))
        );
    }
    // As in an import of kubectl's list, `unschedulable` is the taint that Kubernetes sets with it.
    assert_eq!(new.template(3).taints[0].key, "node.kubernetes.io/unschedulable");
    let (old, new) = (pods.spec(0), again.cluster.pods.spec(0));
    assert_eq!(old, new);

    // And a run that starts from it ends with every pod bound once.
    let run = whole(&next);
    assert_eq!(run.summary.counts.total, pending.len() as u64);
    assert_eq!(run.summary.counts.finished, pending.len() as u64);
    let stages = (0..run.finished.cluster.pods.len() as PodId).map(|p| run.finished.cluster.pods.stage(p));
    assert!(stages.into_iter().all(|stage| stage == Stage::Finished));
}

#[test]
fn snapshots_of_several_times_lie_side_by_side_and_equal_runs_write_equal_ones() {
    let folder = tempfile::tempdir().unwrap();
    let spec = mixed(folder.path());
    let pauses = |name: &str| Pauses {
        snapshot: Some(folder.path().join(name)),
        snapshot_at_ns: vec![5 * SECOND, 9 * SECOND, 9999 * SECOND],
        ..Pauses::default()
    };
    let paused = with(&pauses("a"), &spec);
    with(&pauses("b"), &spec);
    assert_eq!(digest(&paused.completed).unwrap(), digest(&whole(&spec)).unwrap());
    let files = tree(&folder.path().join("a"));
    assert_eq!(files, tree(&folder.path().join("b")));
    assert!(files.keys().any(|f| f.starts_with("5s")) && files.keys().any(|f| f.starts_with("9s")));
    assert!(
        paused.notes.iter().any(|n| n.starts_with("warning: no snapshot at 2h46m39s")),
        "{:?}",
        paused.notes
    );
    // From the one into the other: a snapshot of a run that starts from a snapshot.
    let text = "cluster: {}\nscheduler: {kind: yunikorn}\nworkload: {trace: a/9s}\nstop: {when: allFinished}";
    let next = scenario(folder.path(), &[text]);
    let pauses =
        Pauses { snapshot: Some(folder.path().join("c")), snapshot_at_ns: vec![SECOND], ..Pauses::default() };
    with(&pauses, &next);
    let findings = trace::validate(&folder.path().join("c")).unwrap();
    assert!(!findings.has_errors(), "{findings}");
}

/// The folder of a snapshot is also where the run itself goes on.
#[test]
fn a_snapshot_goes_on_with_the_run_it_was_taken_of() {
    let folder = tempfile::tempdir().unwrap();
    let spec = mixed(folder.path());
    let path = folder.path().join("s");
    let taken =
        Pauses { snapshot: Some(path.clone()), snapshot_at_ns: vec![9 * SECOND], ..Pauses::default() };
    with(&taken, &spec);
    let resumed = with(&Pauses { resume: Some(path.clone()), ..Pauses::default() }, &spec);
    assert_eq!(digest(&resumed.completed).unwrap(), digest(&whole(&spec)).unwrap());
    // It is no part of the trace: neither its checks nor its hash see it.
    let findings = trace::validate(&path).unwrap();
    assert!(!findings.has_errors(), "{findings}");
    let next = "cluster: {}\nscheduler: {kind: yunikorn}\nworkload: {trace: s}\nstop: {when: allFinished}";
    let inputs = |spec: &RunSpec| whole(spec).summary.inputs;
    let with_it = inputs(&scenario(folder.path(), &[next]));
    std::fs::remove_file(path.join("run.checkpoint")).unwrap();
    assert_eq!(inputs(&scenario(folder.path(), &[next])), with_it);
}

/// YuniKorn's gangs: the places that placeholders hold when the snapshot is taken are held in the run that starts from
/// it, and the gang's pods come for them.
#[test]
fn a_running_gang_keeps_its_places() {
    let folder = tempfile::tempdir().unwrap();
    // Four members fill the cluster; the pods come one a second from 0 on, so that at 2.5 s a placeholder waits for the last one.
    let text = "cluster: {nodes: [{count: 2, template: {allocatable: {cpu: 4, memory: 16Gi, pods: 20}}}]}\nscheduler: {kind: yunikorn}\nworkload: {pods: [{count: 4, apps: 1, requests: {cpu: 2, memory: 1Gi}, gang: {minMember: 4}, runTime: 60s}], arrivals: {process: constant, rate: 1}}\nstop: {when: allFinished, limit: 10m}";
    let spec = scenario(folder.path(), &[text]);
    let path = folder.path().join("s");
    let environment = Environment::built_in();
    let plan = spec.plan(&environment).unwrap();
    let mut simulation = Simulation::new(&plan, &environment.registry).unwrap();
    let at_ns = 2 * SECOND + SECOND / 2;
    assert_eq!(simulation.advance(at_ns), None);
    let counts = snapshot::write(&path, &simulation, at_ns, |_| Ok(())).unwrap();
    assert!(counts.placeholders > 0, "{counts}");
    assert_eq!(counts.bound, 4, "pods and placeholders together: {counts}");
    let findings = trace::validate(&path).unwrap();
    assert!(!findings.has_errors(), "{findings}");
    let next = "cluster: {}\nscheduler: {kind: yunikorn}\nworkload: {trace: s}\nstop: {when: allFinished, limit: 10m}";
    let next = scenario(folder.path(), &[next]);
    assert_eq!(whole(&next).summary.counts.total, counts.pending, "placeholders are no pods of the workload");
    stop_and_go(folder.path(), &next, &[0, 500]);
}

/// The shim takes placeholders up again when it starts (`Application.skipReservationStage`): pods of the gang come into
/// their places, others do not.
#[test]
fn places_that_are_held_when_a_run_begins_are_for_the_gang() {
    let folder = tempfile::tempdir().unwrap();
    let options = WriteOptions { encoding: Encoding::Jsonl, ..WriteOptions::default() };
    let mut writer = TraceWriter::create(&folder.path().join("trace"), options).unwrap();
    let amounts = |cpu: u64| BTreeMap::from([("cpu_millicores".to_owned(), cpu), ("pods".to_owned(), 20)]);
    let requests = BTreeMap::from([("cpu_millicores".to_owned(), 2000)]);
    writer.spec(&SpecRow { requests, ..SpecRow::default() }).unwrap();
    let node = NodeRow { name: "n".to_owned(), allocatable: amounts(4000), ..NodeRow::default() };
    writer.node(&node).unwrap();
    let pods =
        [("p0", 0, "train"), ("p1", 0, "train"), ("other", 0, ""), ("g0", 5, "train"), ("g1", 5, "train")];
    for (seq, (uid, second, app)) in (0..).zip(pods) {
        let gang = !app.is_empty();
        let row = PodRow {
            submit_ns: second * SECOND,
            seq,
            uid: uid.to_owned(),
            app: app.to_owned(),
            task_group: if gang { "workers".to_owned() } else { String::new() },
            min_member: if gang { 2 } else { 0 },
            run_ns: Some(60 * SECOND),
            ..PodRow::default()
        };
        writer.pod(&row).unwrap();
    }
    for (seq, uid) in [(0, "p0"), (1, "p1")] {
        let (op, uid, node) = (EventOp::PlaceholderBound, uid.to_owned(), "n".to_owned());
        writer.event(&EventRow { t_ns: 0, seq, op, uid, node }).unwrap();
    }
    writer.finish(Manifest::default()).unwrap();
    let findings = trace::validate(&folder.path().join("trace")).unwrap();
    assert!(!findings.has_errors(), "{findings}");
    let bound_s = |scheduler: &str| -> (Vec<u64>, usize) {
        let text = format!(
            "cluster: {{}}\nscheduler: {{kind: {scheduler}}}\nworkload: {{trace: trace}}\nstop: {{when: allFinished, limit: 10m}}"
        );
        let run = whole(&scenario(folder.path(), &[&text]));
        let pods = &run.finished.cluster.pods;
        let of = |p: PodId| pods.timeline(p).bound_ns / SECOND;
        let work: Vec<u64> = (0..pods.len() as PodId).filter(|p| !pods.is_placeholder(*p)).map(of).collect();
        (work, run.summary.notes.iter().filter(|n| n.contains("placeholders of gangs")).count())
    };
    let (yunikorn, notes) = bound_s("yunikorn");
    assert_eq!(notes, 0);
    let [other, g0, g1] = yunikorn[..] else { panic!("{yunikorn:?}") };
    assert!(other >= 65 && (5..12).contains(&g0) && (5..12).contains(&g1), "{yunikorn:?}");
    // Others know no gangs: the places are free for whoever comes.
    let (kube, notes) = bound_s("kube-scheduler");
    assert_eq!((kube[0], notes), (0, 1), "{kube:?}");
}

#[test]
fn results_of_a_resumed_run_are_written_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let spec = mixed(folder.path());
    let pauses = Pauses {
        checkpoint: Some(folder.path().join("ck")),
        checkpoint_at_ns: vec![7 * SECOND],
        ..Pauses::default()
    };
    with(&pauses, &spec);
    let resume = Pauses { resume: Some(folder.path().join("ck")), ..Pauses::default() };
    let resumed = with(&resume, &spec);
    for (name, completed) in [("whole", &whole(&spec)), ("resumed", &resumed.completed)] {
        let mut staging = Staging::new(&folder.path().join(name)).unwrap();
        staging.run("", completed, PodsFormat::Csv).unwrap();
        staging.publish().unwrap();
    }
    assert_eq!(tree(&folder.path().join("whole")), tree(&folder.path().join("resumed")));
}

/// So is what is lost and missed while servers are away, and who takes over.
#[test]
fn a_run_with_outages_goes_on_as_if_it_had_not_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let workload = "workload: {deployments: [{count: 2, replicas: 12, requests: {cpu: 400m, memory: 1Gi}, runTime: {min: 5m, max: 40m}}]}";
    let plane = "controlPlane: {apiServer: {profile: apiserver-1.36}, nodeLifecycle: {kind: kubelet}}";
    let faults = "faults:
  - {kind: apiServerRestart, at: 1s, duration: 40s}
  - {kind: etcdOutage, at: 3m, duration: 20s}
  - {kind: watchDisconnect, at: 5m, duration: 100s}
  - {kind: podFailure, every: 1m, to: 15m}
  - {kind: schedulerRestart, every: 3m, to: 15m}
  - {kind: controllerManagerLeaderChange, at: 8m}
  - {kind: etcdSlow, at: 9m, factor: 50, duration: 2m}
  - {kind: apiServerSlow, at: 10m, factor: 50, duration: 2m}
stop: {when: time, limit: 20m}";
    for scheduler in SCHEDULERS {
        let scheduler = format!("scheduler: {{kind: {scheduler}}}");
        let spec = scenario(folder.path(), &[NODES, plane, &scheduler, workload, faults]);
        stop_and_go(folder.path(), &spec, &[5, 20, 40, 155, 160, 290, 405, 480, 520, 700]);
    }
}

/// So are StatefulSets, Jobs and CronJobs, and who waits for whom.
#[test]
fn a_run_with_objects_goes_on_as_if_it_had_not_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let workload = "workload: {statefulSets: [{count: 2, replicas: 4, requests: {cpu: 400m}}], jobs: [{count: 3, completions: 9, parallelism: 3, backoffLimit: 5, runTime: {min: 20s, max: 200s}, requests: {cpu: 400m}}], cronJobs: [{schedule: '* * * * *', runTime: 80s}, {schedule: '@every 45s', concurrencyPolicy: Forbid, runTime: 70s}, {schedule: '*/2 * * * *', concurrencyPolicy: Replace, runTime: 130s}], arrivals: {interval: 7s}}";
    let plane = "controlPlane: {apiServer: {profile: apiserver-1.36}, nodeLifecycle: {kind: kubelet}}";
    let faults = "faults:
  - {kind: podFailure, every: 20s, to: 8m}
  - {kind: nodeFailure, at: 2m, duration: 6m}
  - {kind: controllerManagerLeaderChange, at: 4m}
stop: {when: time, limit: 20m}";
    for scheduler in SCHEDULERS {
        let scheduler = format!("scheduler: {{kind: {scheduler}}}");
        let spec = scenario(folder.path(), &[NODES, plane, &scheduler, workload, faults]);
        stop_and_go(folder.path(), &spec, &[3, 15, 70, 200, 245, 400]);
    }
}

/// Faults, controllers and the pods that they make are part of the state.
#[test]
fn a_run_with_faults_goes_on_as_if_it_had_not_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let workload = "workload: {deployments: [{count: 2, replicas: 12, requests: {cpu: 400m, memory: 1Gi}, runTime: {min: 5m, max: 40m}}]}";
    let faults = "faults:
  - {kind: nodeFailure, at: 1m, duration: 12m}
  - {kind: nodePartition, at: 3m, duration: 200s}
  - {kind: nodeFlap, at: 5m, duration: 70s, pause: 40s, times: 3}
  - {kind: podFailure, every: 2m, to: 15m}
  - {kind: nodeAdd, at: 8m}
  - {kind: nodeRemove, at: 9m}
  - {kind: drain, at: 11m, nodes: {count: 3}, atOnce: 2, duration: 2m}
stop: {when: time, limit: 25m}";
    for scheduler in SCHEDULERS {
        for server in ["", "apiServer: {profile: apiserver-1.36}, "] {
            for agents in ["kubelet", "kwok"] {
                let plane = format!("controlPlane: {{{server}nodeLifecycle: {{kind: {agents}}}}}");
                let scheduler = format!("scheduler: {{kind: {scheduler}}}");
                let spec = scenario(folder.path(), &[NODES, &plane, &scheduler, workload, faults]);
                stop_and_go(folder.path(), &spec, &[30, 150, 290, 480, 700]);
            }
        }
    }
}
