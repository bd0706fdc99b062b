//! Whole runs with Volcano: what must hold in each, and the times that its loops give.
use podpace::engine::{MILLISECOND, SECOND, Streams};
use podpace::experiment::simulation::{Ended, Finished, Simulation};
use podpace::scenario::plan::Plan;
use podpace::scheduler::Registry;
use proptest::prelude::*;

use crate::support;

/// The plan of a scenario, given its lines after the cluster.
fn plan(nodes: &str, rest: &str) -> Plan {
    support::plan(&[], &format!("seed: 7\ncluster: {{nodes: [{nodes}]}}\n{rest}")).unwrap()
}

fn run(nodes: &str, rest: &str) -> (Finished, Ended) {
    let plan = plan(nodes, rest);
    let finished = Simulation::new(&plan, &Registry::built_in()).unwrap().run();
    let ended = finished.ended;
    (finished, ended)
}

const NODE: &str = "{count: 10, template: {allocatable: {cpu: 4, memory: 8Gi}}}";

/// A pod waits for the next session, and sessions begin a period after the last has ended (`wait.Until(runOnce, schedulePeriod)`):
/// with an idle scheduler that is between no time and a period, and a bit for the session.
#[test]
fn a_pod_waits_for_the_next_session() {
    let rest = "scheduler: {kind: volcano}\nworkload: {jobs: [{count: 30, completions: 1, requests: {cpu: 1}, gang: {}}], arrivals: {interval: 1300ms}}";
    let (run, ended) = run(NODE, rest);
    assert_eq!(ended, Ended::Done);
    let pods = &run.cluster.pods;
    let waits: Vec<u64> = (0..30).map(|p| pods.timeline(p).bound_ns - pods.timeline(p).created_ns).collect();
    assert!(waits.iter().all(|w| *w < SECOND + 60 * MILLISECOND), "{waits:?}");
    let mean = waits.iter().sum::<u64>() / 30;
    assert!((300 * MILLISECOND..700 * MILLISECOND).contains(&mean), "{mean}");
}

/// The cache is bound from each 20 ms (`processBindTask`), so no bindings leave between.
#[test]
fn bindings_leave_in_beats_of_twenty_milliseconds() {
    let rest = "scheduler: {kind: volcano, host: s}\nhosts: {s: {cores: 2}}\nworkload: {start: backlog, jobs: [{count: 4, completions: 10, requests: {cpu: 1}, gang: {}}]}";
    let (run, _) = run(NODE, rest);
    let mut sent: Vec<u64> = (0..40).map(|p| run.cluster.pods.timeline(p).bind_sent_ns).collect();
    sent.sort_unstable();
    sent.dedup();
    assert!(sent.len() > 1);
    assert!(sent.windows(2).all(|w| w[1] - w[0] >= 20 * MILLISECOND), "{sent:?}");
}

/// `pg_controller_handler.go`: a bare pod costs two requests of a client with 50 a second, burst 100; the pods of an owner one each,
/// and one for their PodGroup.
#[test]
fn plain_pods_join_their_jobs_at_the_controllers_pace() {
    let nodes = "{count: 100, template: {allocatable: {cpu: 32, memory: 64Gi}}}";
    let last = |workload: &str| {
        let (run, ended) = run(nodes, &format!("scheduler: {{kind: volcano}}\nworkload: {workload}"));
        assert_eq!(ended, Ended::Done);
        (0..600).map(|p| run.cluster.pods.timeline(p).bound_ns).max().unwrap() / SECOND
    };
    let bare = last("{pods: [{count: 600, requests: {cpu: 1}}]}");
    let owned = last("{jobs: [{completions: 600, requests: {cpu: 1}}]}");
    let gang = last("{jobs: [{completions: 600, requests: {cpu: 1}, gang: {}}]}");
    assert!((22..24).contains(&bare), "(1200 - 100) / 50 s: {bare}");
    assert!((10..12).contains(&owned), "(601 - 100) / 50 s: {owned}");
    assert!(gang < 3, "{gang}");
}

/// A gang that can't be placed says so, and what it waits for.
#[test]
fn what_waits_says_why() {
    let reasons = |queue: &str, workload: &str| {
        let rest = format!("scheduler: {{kind: volcano, queues: [{queue}]}}\nworkload: {workload}");
        run(NODE, &rest).0.pending_reasons
    };
    let gang = |cpu: u32, pods: u32| {
        format!("{{jobs: [{{completions: {pods}, requests: {{cpu: {cpu}}}, gang: {{}}, queue: q}}]}}")
    };
    let why = reasons("{name: q}", &gang(3, 11));
    assert_eq!(why.get("gang: its pods do not fit at once"), Some(&11), "{why:?}");
    let why = reasons("{name: q, max: {cpu: 5}}", &gang(1, 6));
    assert_eq!(why.get("PodGroup not enqueued: quota of queue q"), Some(&6), "{why:?}");
    let why = reasons("{name: q}", &gang(1, 60));
    assert_eq!(why.get("PodGroup not enqueued: the cluster is overcommitted"), Some(&60), "{why:?}");
    let missing = "{jobs: [{completions: 3, requests: {cpu: 1}, gang: {minMember: 5}, queue: q}]}";
    let why = reasons("{name: q}", missing);
    assert_eq!(why.get("gang: 3 of 5 pods exist"), Some(&3), "{why:?}");
}

/// A random batch load in three queues.
fn random(seed: u64) -> (String, String) {
    let mut rng = Streams::new(seed).stream("test");
    let nodes = format!(
        "{{count: {}, template: {{allocatable: {{cpu: {}, memory: 32Gi, pods: {}}}}}}}",
        3 + rng.below(30),
        2 + rng.below(15),
        4 + rng.below(30)
    );
    let caps = 4 + rng.below(60);
    let guarantee = rng.below(8);
    let mut jobs = String::new();
    for index in 0..3 + rng.below(8) {
        let pods = 1 + rng.below(12);
        let gang = match rng.below(3) {
            0 => String::new(),
            1 => ", gang: {}".to_owned(),
            _ => format!(", gang: {{minMember: {}}}", 1 + rng.below(pods)),
        };
        jobs += &format!(
            "    - {{name: job{index}, count: {}, completions: {pods}, requests: {{cpu: {}m, memory: {}Mi}}, priority: {}, queue: q{}, runTime: {{min: 1s, max: {}s}}{gang}}}\n",
            1 + rng.below(4),
            100 * rng.below(30),
            100 * rng.below(20),
            rng.below(3),
            rng.below(3),
            2 + rng.below(40),
        );
    }
    let server =
        if rng.chance(0.5) { "controlPlane: {apiServer: {}, nodeLifecycle: {kind: kwok}}\n" } else { "" };
    let start = if rng.chance(0.5) { "backlog" } else { "live" };
    let rest = format!(
        "{server}scheduler:\n  kind: volcano\n  queues: [{{name: q0, weight: 3}}, {{name: q1, max: {{cpu: {caps}}}}}, {{name: q2, guaranteed: {{cpu: {guarantee}}}}}]\nstop: {{when: allFinished, limit: 400s}}\nworkload:\n  start: {start}\n  jobs:\n{jobs}"
    );
    (nodes, rest)
}

/// At no time has queue q1 more CPU than its capability; of a gang, all of its least number are assumed at
/// once; no pod is bound twice and no node overfull (asserted by the simulation).
fn holds(seed: u64) {
    let (nodes, rest) = random(seed);
    let plan = plan(&nodes, &rest);
    let run = Simulation::new(&plan, &Registry::built_in()).unwrap().run();
    let pods = &run.cluster.pods;
    let cap = rest.split("max: {cpu: ").nth(1).and_then(|t| t.split('}').next()).unwrap();
    let cap: u64 = cap.parse::<u64>().unwrap() * 1000;
    let mut changes: Vec<(u64, bool, u64)> = Vec::new();
    for pod in 0..run.counts.total as u32 {
        let t = pods.timeline(pod);
        if pods.apps()[pods.app_id(pod) as usize].queue == "q1" && t.bound_ns != u64::MAX {
            let cpu = pods.spec(pod).requests.cpu_millicores;
            changes.push((t.bound_ns, true, cpu));
            if t.finished_ns != u64::MAX {
                changes.push((t.finished_ns, false, cpu));
            }
        }
    }
    changes.sort_unstable();
    let mut used = 0;
    for (at, more, cpu) in changes {
        used = if more { used + cpu } else { used - cpu };
        assert!(used <= cap, "seed {seed}: queue q1 has {used} of {cap} at {at}\n{rest}");
    }
    for (id, app) in pods.apps().iter().enumerate() {
        let Some(gang) = app.task_groups.first() else { continue };
        // A pod without requests counts as ready while it is pending (`IsReady`): nothing holds such gangs together.
        let request = &pods.spec_by_id(gang.spec).requests;
        if request.cpu_millicores == 0 && request.memory_bytes == 0 {
            continue;
        }
        let of_app = (0..run.counts.total as u32).filter(|p| pods.app_id(*p) as usize == id);
        let assumed: Vec<u64> =
            of_app.map(|p| pods.timeline(p).assumed_ns).filter(|at| *at != u64::MAX).collect();
        if let Some(first) = assumed.iter().min() {
            let at_once = assumed.iter().filter(|at| *at == first).count() as u32;
            assert!(at_once >= gang.min_member, "seed {seed}: {at_once} of {}\n{rest}", gang.min_member);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn gangs_are_whole_and_queues_within_their_capability(seed in 0_u64..1_000_000) {
        holds(seed);
    }
}

/// A run that pauses and goes on, in the midst of sessions and of their writes, is the one that does not.
#[test]
fn a_run_that_is_saved_goes_on_as_it_would_have() {
    let registry = Registry::built_in();
    for seed in 100..104 {
        let (nodes, rest) = random(seed);
        let plan = plan(&nodes, &rest);
        let times = |run: Finished| -> Vec<_> {
            (0..run.counts.total as u32).map(|p| *run.cluster.pods.timeline(p)).collect()
        };
        let whole = times(Simulation::new(&plan, &registry).unwrap().run());
        for at in [3 * MILLISECOND, 800 * MILLISECOND, 5 * SECOND + 11 * MILLISECOND] {
            let mut first = Simulation::new(&plan, &registry).unwrap();
            if first.advance(at).is_some() {
                continue;
            }
            let mut bytes = Vec::new();
            first.save(&mut bytes).unwrap();
            let again = Simulation::restore(&plan, &registry, &bytes).unwrap().run();
            assert!(whole == times(again), "seed {seed} at {at}");
        }
    }
}

/// As long as nothing is remembered that matters: the run without any memory has the same bytes.
#[test]
fn a_plain_run_is_the_same_run() {
    for seed in 0..8 {
        let (nodes, rest) = random(seed);
        let plan = plan(&nodes, &rest);
        let times = |run: Finished| -> Vec<(u64, u64)> {
            let pods = &run.cluster.pods;
            (0..run.counts.total as u32)
                .map(|p| (pods.timeline(p).bound_ns, u64::from(pods.node(p))))
                .collect()
        };
        let fast = times(Simulation::new(&plan, &Registry::built_in()).unwrap().run());
        let slow = times(Simulation::plain(&plan, &Registry::built_in()).unwrap().run());
        assert_eq!(fast, slow, "seed {seed}");
    }
}
