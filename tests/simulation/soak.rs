//! Whole simulations of random scenarios: the invariants of the model, and the fast engine against the plain one.
//!
//! The plain engine (`Simulation::plain`) has a binary heap of events, hosts that remember no completion, and schedulers
//! that search from scratch: kube-scheduler evaluates every node visited, YuniKorn scores and sorts all nodes for each ask.
//! Summary and timelines must be the same bytes. What both engines keep alike, counts by topology and what YuniKorn's queues
//! remember of asks that fit nowhere, `kube::differential` and `yunikorn::oracle` compare.
//!
//! ```sh
//! PODPACE_SOAK=10000 PODPACE_SEED=1 cargo test --release --test simulation soak -- --ignored --nocapture
//! ```

use std::collections::BTreeMap;

use podpace::cluster::{NO_NODE, PodId, Stage, Timeline};
use podpace::experiment::output::{write_pods_csv, write_series};
use podpace::experiment::run::sha256_hex;
use podpace::experiment::simulation::{Finished, Simulation};
use podpace::experiment::{report, telemetry};
use podpace::scenario::plan::Plan;
use podpace::scheduler::Registry;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::random_scenario::any_scenario;

/// Everything that a run came to, as text. Events handled are the engine's own affair.
fn everything(run: &Finished) -> String {
    let mut out = Vec::new();
    write_pods_csv(&mut out, run).unwrap();
    write_series(&mut out, run).unwrap();
    telemetry::write(&mut out, run).unwrap();
    let mut text = String::from_utf8(out).unwrap();
    for (name, value) in report::metrics(run).iter().filter(|(name, _)| *name != "events_handled") {
        text += &format!("{name} {value}\n");
    }
    text += &format!("{:?}\n{:?}\n{:?}\n", report::costs(run), report::bottleneck(run), run.pending_reasons);
    text
}

fn simulate(plan: &Plan, plain: bool) -> Finished {
    let registry = Registry::built_in();
    let simulation =
        if plain { Simulation::plain(plan, &registry) } else { Simulation::new(plan, &registry) };
    simulation.expect("built-in parts").run()
}

/// The first line that differs.
fn difference(fast: &str, plain: &str) -> String {
    let lines = fast.lines().zip(plain.lines()).enumerate();
    let first = lines.into_iter().find(|(_, (a, b))| a != b);
    first.map_or("one is longer".to_owned(), |(n, (a, b))| format!("line {n}:\nfast  {a}\nplain {b}"))
}

/// The laws that every run obeys, from what it leaves.
fn check_laws(plan: &Plan, run: &Finished) -> Result<(), String> {
    let pods = &run.cluster.pods;
    let law = |holds: bool, what: String| if holds { Ok(()) } else { Err(what) };
    let mut by_stage: BTreeMap<Stage, u64> = BTreeMap::new();
    // Node by node: (time, leaves first, pod).
    let mut moves: BTreeMap<u32, Vec<(u64, bool, PodId)>> = BTreeMap::new();
    for pod in 0..pods.len() as PodId {
        *by_stage.entry(pods.stage(pod)).or_default() += 1;
        let t: &Timeline = pods.timeline(pod);
        let order = [t.created_ns, t.queued_ns, t.assumed_ns, t.bound_ns, t.running_ns, t.finished_ns];
        let happened: Vec<u64> = order.into_iter().filter(|t| *t != u64::MAX).collect();
        // An informer may show a pod after the scheduler has gone on: only what follows from one another is in order.
        law(happened.is_sorted(), format!("pod {pod}: stages out of order: {t:?}"))?;
        law(
            (t.bound_ns == u64::MAX) == (pods.node(pod) == NO_NODE),
            format!("pod {pod}: node without binding"),
        )?;
        if t.bound_ns != u64::MAX {
            let node = moves.entry(pods.node(pod)).or_default();
            node.push((t.bound_ns, true, pod));
            if t.finished_ns != u64::MAX {
                node.push((t.finished_ns, false, pod));
            }
        }
    }
    let c = run.counts;
    law(by_stage.values().sum::<u64>() == c.total, "pods are lost".to_owned())?;
    let planned = by_stage.get(&Stage::Planned).copied().unwrap_or(0);
    law(planned + c.created == c.total, "created pods don't add up".to_owned())?;
    law(c.bound + c.failed <= c.created, format!("more is bound than created: {c:?}"))?;
    for (node, mut moves) in moves {
        moves.sort_unstable();
        let allocatable = &run.cluster.nodes.template(node).allocatable;
        let (mut cpu, mut memory, mut count) = (0, 0, 0);
        for (at, comes, pod) in moves {
            let requests = &pods.spec(pod).requests;
            if !comes {
                cpu -= requests.cpu_millicores;
                memory -= requests.memory_bytes;
                count -= 1;
                continue;
            }
            cpu += requests.cpu_millicores;
            memory += requests.memory_bytes;
            count += 1;
            let fits = cpu <= allocatable.cpu_millicores
                && memory <= allocatable.memory_bytes
                && count <= allocatable.pods;
            law(fits, format!("node {node} holds more than its allocatable at {at} ns"))?;
        }
    }
    // The bucket of bindings: in no window more than burst + qps t. (Patches and retries take tokens, too.)
    let limits = plan.scheduler.client;
    if limits.qps_milli > 0 {
        let mut sent: Vec<u64> = (0..pods.len() as PodId)
            .map(|p| pods.timeline(p).bind_sent_ns)
            .filter(|t| *t != u64::MAX)
            .collect();
        sent.sort_unstable();
        for (i, from) in sent.iter().enumerate() {
            for (n, to) in sent[i..].iter().enumerate() {
                let allowed = u128::from(limits.burst)
                    + u128::from(to - from) * u128::from(limits.qps_milli) / 1_000_000_000_000
                    + 1;
                law((n as u128) < allowed + 1, format!("{n} bindings sent from {from} to {to} ns"))?;
            }
        }
    }
    let waiting: u64 = run.pending_reasons.values().sum();
    law(
        waiting <= c.created.saturating_sub(c.bound) + c.failed,
        format!("{waiting} pods are said to be pending: {c:?}"),
    )
}

fn compare(random: &crate::random_scenario::Random) -> Result<(), TestCaseError> {
    let (_, plan) = random.plan().map_err(|error| {
        // Pods that are larger than every node are no scenario.
        if error.contains("make the nodes of `cluster` larger") {
            TestCaseError::reject("larger than every node")
        } else {
            TestCaseError::fail(error)
        }
    })?;
    let fast = simulate(&plan, false);
    check_laws(&plan, &fast).map_err(|law| TestCaseError::fail(format!("{law}\n{}", random.yaml())))?;
    let (fast, plain) = (everything(&fast), everything(&simulate(&plan, true)));
    if sha256_hex(fast.as_bytes()) != sha256_hex(plain.as_bytes()) {
        return Err(TestCaseError::fail(format!("{}\n{}", difference(&fast, &plain), random.yaml())));
    }
    Ok(())
}

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn soak(scenarios: u32) {
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&number("PODPACE_SEED", 1).to_le_bytes());
    let config = Config { cases: scenarios, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    if let Err(error) = runner.run(&any_scenario(), |random| compare(&random)) {
        panic!("{error}");
    }
    println!("{scenarios} random scenarios: laws hold, fast and plain engine agree");
}

#[test]
fn fast_and_plain_agree_on_random_scenarios() {
    soak(100);
}

#[test]
#[ignore = "minutes; PODPACE_SOAK says how many scenarios"]
fn soak_test() {
    soak(number("PODPACE_SOAK", 10_000));
}
