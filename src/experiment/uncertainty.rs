//! What the unit costs' uncertainty does to a prediction.
//!
//! A cost profile states a 90 % interval for those constants whose uncertainty is known. A **draw** takes each of them from
//! a log-normal distribution that is as wide as the interval (the two halves may differ in width) and whose **mean** is the
//! value. Not its median: what runs tell is sums (CPU seconds are counts times costs, added up), the values are fitted so that
//! sums come out right, and the sum of a dozen draws keeps to the sum of their means. With the values as medians predicted
//! throughputs were 4 to 6 % lower with draws than with the values themselves. The distribution is moved down for that, by a fifth at most.
//!
//! Each constant has a random stream of its own, named after profile and constant, and every draw runs with the same seed:
//! draws differ by the constants alone (common random numbers). Draws 2k and 2k + 1 of a seed are **antithetic**: as far above in the one
//! as below in the other, constant by constant, so that the median over a few dozen draws hardly depends on how many they are.
//!
//! Constants are drawn one by one: errors that belong together (two costs of which only the sum is known) partly cancel in
//! reality, so ranges are rather too wide than too narrow. Constants without an interval stay as they are; how many is said.
//!
//! Also here: conditions of a run beyond the range in which a profile was calibrated.
//!
//! Cost: one run a draw, in parallel.
use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::{Environment, RunError, RunSpec, simulate};
use super::simulation::Finished;
use super::{report, sweep::Statistics};
use crate::cost::{CostProfile, RANGES};
use crate::engine::{Streams, random};
use crate::scenario::plan::{Placement, Plan};

/// The normal distribution's 95th percentile.
const Z95: f64 = 1.644_853_626_951_472_2;
/// A draw's mean is moved to its value by no more than this: an interval beyond a factor of three is no fit's, and its mean lies
/// where a few dozen draws never come.
const MOST_MOVED: f64 = 1.25;
/// A condition is beyond its calibrated range if it is larger by more than this factor.
const BEYOND: f64 = 1.2;

fn placements_mut(plan: &mut Plan) -> Vec<&mut Placement> {
    let mut all = vec![&mut plan.scheduler.place];
    if let Some(server) = &mut plan.api_server {
        all.push(&mut server.server);
        all.push(&mut server.etcd);
    }
    all.extend(plan.controller_manager.as_mut().map(|(place, ..)| place));
    all.extend(plan.agents.place.as_mut());
    all.extend(plan.watchers.iter_mut().filter_map(|w| w.place.as_mut()));
    all.extend(plan.load_client.0.as_mut());
    all
}

/// How far a constant may be off: standard deviations of its logarithm below and above the middle.
#[derive(Clone, Copy, Debug)]
struct Widths {
    below: f64,
    above: f64,
}

impl Widths {
    fn of(value: f64, low: f64, high: f64) -> Self {
        let width = |end: f64| libm::fabs(libm::log(end / value)) / Z95;
        // An interval from zero on is taken to reach a tenth of the value.
        Self { below: width(low.max(value / 10.0)), above: width(high) }
    }

    /// The factor at `z` standard deviations; over all `z` its mean is 1, but for very wide intervals.
    fn factor(self, z: f64) -> f64 {
        let half = |width: f64, side: f64| libm::exp(width * width / 2.0) * random::normal_cdf(side * width);
        let mean = half(self.below, -1.0) + half(self.above, 1.0);
        libm::exp(z * if z < 0.0 { self.below } else { self.above }) / mean.min(MOST_MOVED)
    }
}

fn draw_profile(profile: &mut CostProfile, streams: &Streams, draw: u64) {
    let drawn: Vec<(String, u64)> = profile
        .costs()
        .filter_map(|(name, cost)| {
            let (low, high) = cost.interval_ps?;
            let value = cost.value_ps as f64;
            if cost.value_ps == 0 {
                return None;
            }
            let z = streams.stream_n(&format!("uncertainty.{}.{name}", profile.name), draw / 2).normal();
            let z = if draw.is_multiple_of(2) { z } else { -z };
            let factor = Widths::of(value, low as f64, high as f64).factor(z);
            Some((name.to_owned(), libm::round(value * factor) as u64))
        })
        .collect();
    for (name, ps) in drawn {
        profile.set_cost_ps(&name, ps);
    }
}

/// Draws every constant with an interval, in every profile of a plan. The same seed and draw give the same constants.
pub fn draw_constants(plan: &mut Plan, seed: u64, draw: u64) {
    let streams = Streams::new(seed);
    for place in placements_mut(plan) {
        draw_profile(&mut place.profile, &streams, draw);
    }
}

/// A metric with its uncertainty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Band {
    /// With the constants as they are.
    pub value: f64,
    /// Median over draws.
    pub median: f64,
    /// 5th percentile.
    pub p5: f64,
    /// 95th percentile.
    pub p95: f64,
}

/// Metrics over draws.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Uncertainty {
    /// Draws.
    pub draws: u64,
    /// Constants that were drawn.
    pub drawn: u64,
    /// Constants above zero that have no interval.
    pub without_interval: u64,
    /// Metrics that all draws have.
    pub metrics: BTreeMap<String, Band>,
    /// Their values in order of draws: two results with the same seed share their draws, and `podpace diff` pairs them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Vec<f64>>,
}

/// Runs a scenario with `draws` draws of its constants, on the current pool of threads. `done()` is called after every run.
///
/// # Errors
/// Something can't be looked up or a profile lacks a cost.
pub fn uncertainty(
    spec: &RunSpec,
    environment: &Environment,
    draws: u64,
    done: impl Fn() + Sync,
) -> Result<Uncertainty, RunError> {
    let mut plan = RunSpec { draw: None, ..spec.clone() }.plan(environment)?;
    let (mut names, mut without) = (BTreeSet::new(), BTreeSet::new());
    for place in placements_mut(&mut plan) {
        for (name, cost) in place.profile.costs().filter(|(_, cost)| cost.value_ps > 0) {
            let set = if cost.interval_ps.is_some() { &mut names } else { &mut without };
            set.insert(format!("{}.{name}", place.profile.name));
        }
    }
    let run = |plan: &Plan| -> Result<BTreeMap<String, f64>, RunError> {
        let finished = simulate(plan, &environment.registry)
            .map_err(|source| RunError::Build { run: spec.name.clone(), source })?;
        done();
        Ok(report::metrics(&finished).iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    let as_it_is = run(&plan)?;
    let all: Vec<BTreeMap<String, f64>> = (0..draws)
        .into_par_iter()
        .map(|draw| {
            let mut plan = plan.clone();
            draw_constants(&mut plan, spec.seed, draw);
            run(&plan)
        })
        .collect::<Result<_, _>>()?;
    let mut metrics = BTreeMap::new();
    let mut values = BTreeMap::new();
    for (name, value) in as_it_is {
        let Some(of) = all.iter().map(|m| m.get(&name).copied()).collect::<Option<Vec<f64>>>() else {
            continue;
        };
        let s = Statistics::of(&of);
        metrics.insert(name.clone(), Band { value, median: s.median, p5: s.p5, p95: s.p95 });
        values.insert(name, of);
    }
    let (drawn, without_interval) = (names.len() as u64, without.len() as u64);
    Ok(Uncertainty { draws, drawn, without_interval, metrics, values })
}

/// Conditions of a run beyond what its profiles were calibrated with, as sentences: more nodes, pods, applications, a faster client or
/// more cores than any run that the constants were fitted to.
#[must_use]
pub fn extrapolations(run: &Finished) -> Vec<String> {
    let bucket = &run.control_plane.clients()[run.bind_client].bucket;
    let qps = if bucket.is_unlimited() { 0 } else { bucket.qps_milli() / 1000 };
    let pods = &run.cluster.pods;
    let apps: BTreeSet<u32> = (0..run.counts.total as u32).map(|pod| pods.app_id(pod)).collect();
    let hosts = run.kernel.hosts();
    let mut sentences = Vec::new();
    let estimated: BTreeMap<&str, &str> = (run.kernel.processes().iter())
        .map(|process| process.meter.profile())
        .filter_map(|profile| Some((profile.name.as_str(), profile.estimated.as_deref()?)))
        .collect();
    for (profile, why) in estimated {
        sentences.push(format!("{profile} is not calibrated: {why}"));
    }
    for range in RANGES {
        // The profiles by the largest value that each has seen, and this run's value.
        let mut beyond: BTreeMap<(u64, u64), BTreeSet<&str>> = BTreeMap::new();
        for process in run.kernel.processes() {
            let profile = process.meter.profile();
            let value = match range {
                "nodes" => run.cluster.nodes.len() as u64,
                "pods" => run.counts.total,
                "qps" => qps,
                "apps" => apps.len() as u64,
                // Cores without a limit are no condition of a real machine.
                _ if hosts.host_name(process.host) == "unlimited" => 0,
                _ => u64::from(hosts.cores(process.host)),
            };
            if let Some((_, (_, most))) = profile.calibrated().find(|(name, _)| *name == range)
                && value as f64 > most as f64 * BEYOND
            {
                beyond.entry((most, value)).or_default().insert(&profile.name);
            }
        }
        for ((most, value), profiles) in beyond {
            sentences.push(format!(
                "{} times beyond the calibrated {}: {value}, and {} fitted up to {most}; costs are extrapolated",
                times(value as f64 / most.max(1) as f64),
                what(range),
                were(&profiles)
            ));
        }
    }
    sentences
}

/// What was, or were: `a was`, `a and b were`, `a, b and c were`.
fn were(names: &BTreeSet<&str>) -> String {
    let names: Vec<&str> = names.iter().copied().collect();
    match names.split_last() {
        Some((last, [])) => format!("{last} was"),
        Some((last, rest)) => format!("{} and {last} were", rest.join(", ")),
        None => String::new(),
    }
}

/// A factor as people say it: 5, 1.7.
fn times(factor: f64) -> String {
    if factor >= 10.0 || (factor - libm::round(factor)).abs() < 0.05 {
        format!("{factor:.0}")
    } else {
        format!("{factor:.1}")
    }
}

fn what(range: &str) -> &'static str {
    match range {
        "nodes" => "node count",
        "pods" => "number of pods",
        "qps" => "qps of the scheduler's client",
        "apps" => "number of applications",
        _ => "number of cores",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_joined_as_people_say_it() {
        let said = |names: &[&'static str]| were(&names.iter().copied().collect());
        assert_eq!(said(&["a"]), "a was");
        assert_eq!(said(&["a", "b"]), "a and b were");
        assert_eq!(said(&["a", "b", "c"]), "a, b and c were");
    }

    #[test]
    fn every_condition_beyond_its_range_is_told() {
        let text = "apiVersion: podpace/v1\nkind: Scenario\nname: case\nhosts: {vm: {cores: 8}}\n\
                    cluster: {nodes: [{count: 500, template: {allocatable: {cpu: 32, memory: 64Gi, pods: 110}}}]}\n\
                    scheduler: {kind: first-fit, host: vm, client: {qps: 170, burst: 10}}\n\
                    workload: {start: backlog, pods: [{count: 60, apps: 30, requests: {cpu: 100m}}]}\n";
        let document = crate::scenario::Document::parse("case.yaml", text, None).unwrap();
        let spec = RunSpec::of_scenario(document).unwrap();
        let mut plan = spec.plan(&Environment::built_in()).map_err(|e| e.to_string()).unwrap();
        let ranges = [("nodes", 100), ("pods", 50), ("qps", 100), ("apps", 10), ("cores", 2)];
        for (name, most) in ranges {
            plan.scheduler.place.profile.set_calibrated(name, (1, most));
        }
        let run = simulate(&plan, &Environment::built_in().registry).map_err(|e| e.to_string()).unwrap();
        assert_eq!(
            extrapolations(&run),
            [
                "5 times beyond the calibrated node count: 500, and first-fit was fitted up to 100; costs are extrapolated",
                "1.7 times beyond the calibrated qps of the scheduler's client: 170, and first-fit was fitted up to 100; costs are extrapolated",
                "3 times beyond the calibrated number of applications: 30, and first-fit was fitted up to 10; costs are extrapolated",
                "4 times beyond the calibrated number of cores: 8, and first-fit was fitted up to 2; costs are extrapolated",
            ]
        );
        // 60 pods are exactly 1.2 times as many: still inside.
        for (name, _) in ranges {
            plan.scheduler.place.profile.set_calibrated(name, (1, 1000));
        }
        let run = simulate(&plan, &Environment::built_in().registry).map_err(|e| e.to_string()).unwrap();
        assert!(extrapolations(&run).is_empty());
    }

    fn profile(costs: &str) -> CostProfile {
        let head =
            "apiVersion: podpace/v1\nkind: CostProfile\nname: t\ncomponent: test\nversion: \"1\"\ncosts:\n";
        CostProfile::parse(&format!("{head}{costs}"), "t.yaml").unwrap()
    }

    /// The drawn values of a constant, in order of draws.
    fn drawn(profile: &CostProfile, name: &str, draws: u64) -> Vec<f64> {
        (0..draws)
            .map(|draw| {
                let mut drawn = profile.clone();
                draw_profile(&mut drawn, &Streams::new(7), draw);
                drawn.cost_ps(name).unwrap() as f64 / 1e6
            })
            .collect()
    }

    #[test]
    fn draws_are_as_wide_as_the_interval_and_their_mean_is_the_value() {
        let profile = profile(
            "  a: {value: 2us, low: 1us, high: 5us, source: here}\n  b: {value: 5us, source: here}\n  c: {value: 3us, low: 2us, high: 4500ns, source: here}\n  d: {value: 3us, low: 0ns, high: 6us, source: here}\n",
        );
        assert!(drawn(&profile, "b", 50).iter().all(|us| (us - 5.0).abs() < 1e-9), "no interval, no draw");
        for (name, value, below, above) in [("a", 2.0, 2.0, 2.5), ("c", 3.0, 1.5, 1.5), ("d", 3.0, 10.0, 2.0)]
        {
            let mut values = drawn(&profile, name, 4000);
            let mean = values.iter().sum::<f64>() / 4000.0;
            assert!((mean / value - 1.0).abs() < 0.04, "{name}: {mean} {value}");
            values.sort_unstable_by(f64::total_cmp);
            let near = |got: f64, want: f64| assert!((got / want - 1.0).abs() < 0.12, "{name}: {got} {want}");
            near(values[2000] / values[200], below);
            near(values[3800] / values[2000], above);
        }
        assert_eq!(drawn(&profile, "a", 4), drawn(&profile, "a", 4));
    }

    #[test]
    fn very_wide_intervals_keep_their_middle_near_the_value() {
        let profile = profile("  a: {value: 1us, low: 0ns, high: 30us, source: here}\n");
        let mut values = drawn(&profile, "a", 400);
        values.sort_unstable_by(f64::total_cmp);
        assert!((0.75..=1.0).contains(&values[200]), "{}", values[200]);
    }

    /// A process's CPU is a sum over its constants: draws must not move its middle away from what was fitted.
    #[test]
    fn a_sum_of_draws_stays_in_the_middle() {
        let names: Vec<String> = (0..12).map(|n| format!("cost_{n}")).collect();
        let costs: String = names
            .iter()
            .map(|name| format!("  {name}: {{value: 10us, low: 5us, high: 20us, source: here}}\n"))
            .collect();
        let profile = profile(&costs);
        let mut sums: Vec<f64> = (0..40)
            .map(|draw| {
                let mut drawn = profile.clone();
                draw_profile(&mut drawn, &Streams::new(7), draw);
                names.iter().map(|name| drawn.cost_ps(name).unwrap() as f64 / 1e6).sum()
            })
            .collect();
        sums.sort_unstable_by(f64::total_cmp);
        let median = sums[20];
        assert!((median / 120.0 - 1.0).abs() < 0.05, "{median}");
    }

    #[test]
    fn two_draws_in_a_row_are_antithetic() {
        let profile = profile("  a: {value: 2us, low: 1us, high: 4us, source: here}\n");
        let values = drawn(&profile, "a", 40);
        let middle = 2.0 * Widths::of(2.0, 1.0, 4.0).factor(0.0);
        for pair in values.chunks(2) {
            assert!((pair[0] * pair[1] / (middle * middle) - 1.0).abs() < 1e-5, "{pair:?}");
        }
        assert!(
            values.chunks(2).any(|pair| pair[0] > pair[1]) && values.chunks(2).any(|pair| pair[0] < pair[1])
        );
    }
}
