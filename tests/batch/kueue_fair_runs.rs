//! Kueue's fair sharing in whole runs, and what is wrong with its objects and its configuration.
use podpace::engine::SECOND;
use podpace::experiment::simulation::{Ended, Finished, Simulation};
use podpace::scenario::plan::Plan;
use podpace::scheduler::Registry;

use crate::support;

const OBJECTS: &str = "
apiVersion: kueue.x-k8s.io/v1beta2
kind: ResourceFlavor
metadata: {name: default}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: Cohort
metadata: {name: all}
spec:
  resourceGroups:
    - {coveredResources: [cpu], flavors: [{name: default, resources: [{name: cpu, nominalQuota: 16}]}]}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: Cohort
metadata: {name: research}
spec: {parentName: all, fairSharing: {weight: WEIGHT}}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: x}
spec:
  cohortName: all
  namespaceSelector: {}
  fairSharing: {weight: \"1\"}
  resourceGroups:
    - {coveredResources: [cpu], flavors: [{name: default, resources: [{name: cpu, nominalQuota: 0}]}]}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: y}
spec:
  cohortName: research
  namespaceSelector: {}
  preemption: {reclaimWithinCohort: Any}
  resourceGroups:
    - {coveredResources: [cpu], flavors: [{name: default, resources: [{name: cpu, nominalQuota: 0}]}]}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {name: x, namespace: default}
spec: {clusterQueue: x}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {name: y, namespace: default}
spec: {clusterQueue: y}
";

const STRATEGIES: &str =
    "fairSharing: {preemptionStrategies: [LessThanOrEqualToFinalShare, LessThanInitialShare]}";

/// x's four jobs of 4 CPUs have all that there is when y's come.
const JOBS: &str = "controlPlane: {apiServer: {}, nodeLifecycle: {kind: kwok}}\nstop: {when: allFinished, limit: 10m}\nworkload: {jobs: [{count: 4, completions: 4, requests: {cpu: 1}, queue: x, runTime: 60s}, {count: 4, completions: 4, requests: {cpu: 1}, queue: y, runTime: 60s}], arrivals: {interval: 5s}}";

fn plan(objects: &str, fair: &str, rest: &str) -> Result<Plan, String> {
    let text = format!(
        "cluster: {{nodes: [{{count: 2, template: {{allocatable: {{cpu: 8, memory: 32Gi}}}}}}]}}\nscheduler: {{kind: kube-scheduler, kueue: {{{fair}, objects: [queues.yaml]}}}}\n{rest}"
    );
    support::plan(&[("queues.yaml", objects)], &text)
}

fn simulation(weight: &str) -> Simulation {
    let plan = plan(&OBJECTS.replace("WEIGHT", weight), STRATEGIES, JOBS).unwrap();
    Simulation::new(&plan, &Registry::built_in()).unwrap()
}

/// Two queues without quota share their cohort's by weight: of x's four jobs the last ones go, as many as y's have a right to (weight 100: all by
/// `LessThanInitialShare`); they begin again when there is quota.
#[test]
fn a_cohort_is_shared_by_weight() {
    for (weight, preempted) in [("\"0\"", 0), ("330m", 1), ("1", 2), ("3", 3), ("100", 4)] {
        let run = simulation(weight).run();
        assert_eq!(run.ended, Ended::Done, "{weight}");
        let admissions = run.admissions.as_ref().unwrap();
        assert_eq!(admissions.preemptions, Some(preempted), "{weight}");
        let ran = |pod: u32| {
            let timeline = run.cluster.pods.timeline(pod);
            timeline.finished_ns - timeline.bound_ns
        };
        let whole = (0..16).filter(|pod| ran(*pod) >= 60 * SECOND).collect::<Vec<u32>>();
        assert_eq!(whole, (0..16 - 4 * preempted as u32).collect::<Vec<_>>(), "{weight}");
        assert_eq!(run.cluster.pods.len(), 32 + 4 * preempted as usize, "{weight}");
    }
}

/// A run that pauses among evictions is the one that does not.
#[test]
fn fair_sharing_survives_a_pause() {
    let registry = Registry::built_in();
    let plan = plan(&OBJECTS.replace("WEIGHT", "3"), STRATEGIES, JOBS).unwrap();
    let times = |run: &Finished| -> Vec<_> {
        (0..run.cluster.pods.len() as u32).map(|p| *run.cluster.pods.timeline(p)).collect()
    };
    let whole = simulation("3").run();
    for pause_ms in [12_000, 20_050, 21_000, 25_100, 30_500, 70_000] {
        let mut first = Simulation::new(&plan, &registry).unwrap();
        assert_eq!(first.advance(pause_ms * SECOND / 1000), None);
        let mut bytes = Vec::new();
        first.save(&mut bytes).unwrap();
        let again = Simulation::restore(&plan, &registry, &bytes).unwrap().run();
        assert_eq!(times(&whole), times(&again), "{pause_ms} ms");
        assert_eq!(whole.admissions, again.admissions, "{pause_ms} ms");
    }
}

/// Without `fairSharing` weights are checked and count for nothing, as in Kueue; the configuration of v1beta1 may say that it is off.
#[test]
fn weights_alone_change_nothing() {
    let end = OBJECTS.find("---\napiVersion: kueue.x-k8s.io/v1beta2\nkind: Cohort").unwrap();
    let queues = OBJECTS.find("---\napiVersion: kueue.x-k8s.io/v1beta2\nkind: ClusterQueue").unwrap();
    let objects = format!("{}{}", &OBJECTS[..end], &OBJECTS[queues..])
        .replace("cohortName: research", "cohortName: all")
        .replacen("nominalQuota: 0", "nominalQuota: 16", 1);
    let times = |objects: &str, fair: &str| -> Vec<_> {
        let plan = plan(objects, fair, JOBS).unwrap();
        let run = Simulation::new(&plan, &Registry::built_in()).unwrap().run();
        (0..32).map(|p| *run.cluster.pods.timeline(p)).collect()
    };
    let off = "fairSharing: {enable: false}";
    let plain =
        times(&objects.replace("fairSharing: {weight: \"1\"}", "queueingStrategy: BestEffortFIFO"), off);
    assert_eq!(plain, times(&objects.replace("weight: \"1\"", "weight: 0.5"), off));
    assert_eq!(plain, times(&objects, "profile: kueue-0.19"));
}

/// What Kueue refuses, and what is not modelled, is named with its place.
#[test]
fn what_is_wrong_with_fair_sharing_is_said() {
    let objects = OBJECTS.replace("WEIGHT", "2");
    let changed = |from: &str, to: &str| {
        assert!(objects.contains(from), "{from}");
        objects.replacen(from, to, 1)
    };
    let weight = |to: &str| changed("weight: \"1\"", &format!("weight: {to}"));
    let root = "{name: default, resources: [{name: cpu, nominalQuota: 16}]}";
    for (objects, says, field) in [
        (weight("-1"), "must be greater than or equal to 0", "spec.fairSharing.weight"),
        (weight("1n"), "when not 0, weight must be > 10e-9", "spec.fairSharing.weight"),
        (weight("heavy"), "heavy", "spec.fairSharing.weight"),
        (weight("[1]"), "expected a quantity", "spec.fairSharing.weight"),
        (changed("weight: 2", "weight: -2"), "must be greater than or equal to 0", "spec.fairSharing.weight"),
        (changed("fairSharing: {weight: \"1\"}", "fairSharing: {wight: 1}"), "wight", "spec.fairSharing"),
        (
            changed(
                "fairSharing: {weight: \"1\"}",
                "admissionScope: {admissionMode: UsageBasedAdmissionFairSharing}",
            ),
            "not modelled: admission fair sharing",
            "spec.admissionScope",
        ),
        (
            changed("{clusterQueue: x}", "{clusterQueue: x, fairSharing: {weight: 2}}"),
            "not modelled: admission fair sharing",
            "spec.fairSharing",
        ),
        (
            changed("metadata: {name: research}", "metadata: {name: all}"),
            "a second Cohort `all`",
            "metadata.name",
        ),
        (changed("parentName: all", "parentName: research"), "stands above itself", "spec.parentName"),
        (
            changed(
                "metadata: {name: all}\nspec:\n",
                "metadata: {name: all}\nspec:\n  parentName: research\n",
            ),
            "stands above itself",
            "spec.parentName",
        ),
        (
            changed(root, &root.replace("16", "16, borrowingLimit: 1")),
            "borrowingLimit must be nil when parent is empty",
            "spec.resourceGroups[0].flavors[0].resources[0].borrowingLimit",
        ),
        (
            changed(root, &root.replace("default", "defualt")),
            "there is no ResourceFlavor `defualt`",
            "spec.resourceGroups[0].flavors[0].name",
        ),
        (
            changed(root, &format!("{root}, {root}")),
            "flavor `default` is listed twice",
            "spec.resourceGroups[0].flavors[1].name",
        ),
    ] {
        let error = plan(&objects, STRATEGIES, JOBS).map(|_| ()).expect_err(says);
        assert!(error.contains(says) && error.contains(field) && error.contains("help: "), "{says}: {error}");
        assert!(error.contains("queues.yaml:"), "{error}");
    }
    // A Cohort may lend more than its own, which its children have.
    let lends = changed(
        "spec: {parentName: all, fairSharing: {weight: 2}}",
        "spec: {parentName: all, resourceGroups: [{coveredResources: [cpu], flavors: [{name: default, resources: [{name: cpu, nominalQuota: 1, lendingLimit: 2, borrowingLimit: 9}]}]}]}",
    );
    assert_eq!(plan(&lends, STRATEGIES, JOBS).map(|_| ()), Ok(()));
    for (fair, says) in [
        ("fairSharing: {}", "preemptionStrategies: must be specified"),
        ("fairSharing: {preemptionStrategies: []}", "preemptionStrategies: must be specified"),
        ("fairSharing: {preemptionStrategies: [Fairly]}", "preemptionStrategies: unsupported value"),
        (
            "fairSharing: {preemptionStrategies: [LessThanInitialShare, LessThanOrEqualToFinalShare]}",
            "preemptionStrategies: unsupported value",
        ),
        ("fairSharing: {enabled: true}", "enabled"),
        ("admissionFairSharing: {usageHalfLifeTime: 1h}", "admissionFairSharing"),
    ] {
        let error = plan(&objects, fair, JOBS).map(|_| ()).expect_err(says);
        assert!(error.contains(says) && error.contains("help: "), "{says}: {error}");
    }
    for fair in [
        "fairSharing: {enable: false}",
        "fairSharing: {enable: true}",
        "fairSharing: {preemptionStrategies: [LessThanInitialShare]}",
    ] {
        assert_eq!(plan(&objects, fair, JOBS).map(|_| ()), Ok(()), "{fair}");
    }
}
