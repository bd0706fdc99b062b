//! Pods that fail at random: how often.
use crate::support::{count, run, scenario};

/// A scenario of 20 nodes, and how many pods have failed in it, by seed.
fn failures(workload: &str, fault: &str, stop: &str, seeds: u64) -> Vec<u64> {
    let rest = format!(
        "cluster: {{nodes: [{{count: 20, template: {{allocatable: {{cpu: 4, memory: 16Gi, pods: 110}}}}}}]}}
controlPlane: {{nodeLifecycle: {{kind: kubelet}}}}
scheduler: {{kind: kube-scheduler}}
workload: {{{workload}}}
faults: [{{kind: podFailure, {fault}}}]
stop: {{when: time, limit: {stop}}}
"
    );
    let text = scenario("failures", &rest);
    (1..=seeds).map(|seed| count(&run(&format!("{text}seed: {seed}\n")), "pods.failed_phase")).collect()
}

/// The mean of counts that a Poisson process makes is within four of its standard errors; so is, by and large, their variance.
fn assert_poisson(counts: &[u64], expected: f64) {
    let n = counts.len() as f64;
    let mean = counts.iter().sum::<u64>() as f64 / n;
    let error = (expected / n).sqrt();
    assert!((mean - expected).abs() < 4.0 * error, "{mean} +- {error} and not {expected}: {counts:?}");
    let variance = counts.iter().map(|c| (*c as f64 - mean).powi(2)).sum::<f64>() / (n - 1.0);
    // The variance of such a variance is about 2 / (n - 1) of its square.
    let error = expected * (2.0 / (n - 1.0)).sqrt();
    assert!(
        (variance - expected).abs() < 4.0 * error,
        "{variance} +- {error} and not {expected}: {counts:?}"
    );
}

/// `mtbf` is of each pod: 20 pods for four hours, and those in the place of failed ones, are 80 pod-hours.
#[test]
fn pods_fail_at_the_rate_of_those_that_run() {
    let workload = "deployments: [{name: d, replicas: 20, requests: {cpu: 1}}]";
    assert_poisson(&failures(workload, "mtbf: 2h", "4h", 50), 40.0);
}

/// Five pods more each hour: 5 (4 + 3 + 2 + 1) pod-hours.
#[test]
fn pods_that_come_late_fail_too() {
    let workload =
        "deployments: [{name: d, replicas: 5, count: 4, requests: {cpu: 1}}], arrivals: {interval: 1h}";
    assert_poisson(&failures(workload, "mtbf: 2h", "4h", 50), 25.0);
}

/// Pods that nobody replaces become fewer: of 40 a share of 1 - e^(-t/mtbf) fails, which is binomial and no Poisson count.
#[test]
fn pods_that_are_gone_fail_no_more() {
    let workload = "pods: [{name: d, count: 40, requests: {cpu: 100m}}]";
    let counts = failures(workload, "mtbf: 2h", "2h", 50);
    let mean = counts.iter().sum::<u64>() as f64 / 50.0;
    let one = libm::exp(-1.0);
    let share = 1.0 - one;
    let (expected, error) = (40.0 * share, (40.0 * share * one / 50.0).sqrt());
    assert!((mean - expected).abs() < 4.0 * error, "{mean} +- {error} and not {expected}: {counts:?}");
}

/// Only pods with the labels fail, at their rate, and only from `from` to `to`.
#[test]
fn only_those_meant_fail() {
    let workload = "deployments: [{name: d, replicas: 20, requests: {cpu: 1}, labels: {tier: a}}, \
        {name: e, replicas: 30, requests: {cpu: 500m}}]";
    let fault = "mtbf: 1h, from: 1h, to: 3h, pods: {labels: {tier: a}}";
    assert_poisson(&failures(workload, fault, "4h", 40), 40.0);
}
