//! Objects beside the pods: PodDisruptionBudgets in preemption, scheduling gates, profiles.
use super::*;
use podpace::cluster::{Amount, DisruptionBudget, SchedulingGate};
use podpace::scheduler::kube::NamedProfile;

fn app(name: &str, priority: i32, size: u64) -> PodSpec {
    PodSpec { labels: labels(&format!("app={name}")), ..sized(priority, size) }
}

/// A budget that allows so many disruptions of the pods of an application, of which so many run.
fn allows(name: &str, disruptions: u32, pods: u32) -> DisruptionBudget {
    DisruptionBudget {
        name: name.into(),
        namespace: "default".into(),
        selector: labels(&format!("app={name}")).into(),
        min_available: Some(Amount::Pods(pods - disruptions)),
        max_unavailable: None,
    }
}

type Pods = Vec<(usize, PodSpec, u64)>;

/// Victims by index among the existing pods, and the node that was nominated.
fn victims(
    nodes: usize,
    pods: &Pods,
    budgets: &[DisruptionBudget],
    pod: &PodSpec,
    seed: u64,
) -> (Vec<PodId>, Option<u32>) {
    let mut h = Harness::new(&Settings::default());
    h.rng = Streams::new(seed).stream("scheduler");
    h.cluster.disruption_budgets = budgets.to_vec();
    for _ in 0..nodes {
        let t = h.template(very_large_node());
        h.add_node(t, None);
    }
    for (node, spec, start) in pods {
        let spec = h.add_spec(spec.clone());
        let existing = h.add_bound_pod(spec, u32::try_from(*node).unwrap());
        h.cluster.pods.timeline_mut(existing).bound_ns = *start;
    }
    h.now = S;
    let spec = h.add_spec(pod.clone());
    let preemptor = h.add_pod(spec);
    h.start();
    h.run();
    let mut deleted = h.deleted.clone();
    deleted.sort_unstable();
    (deleted, h.node_of(preemptor))
}

/// `defaultpreemption/default_preemption_test.go`, TestDryRunPreemption and TestSelectBestCandidate, cases with budgets.
#[test]
fn budgets_decide_who_goes_and_where() {
    let two = |name: &str| -> Pods { vec![(0, app(name, MID, MEDIUM), 0), (0, app(name, MID, MEDIUM), 0)] };
    // "preemption with violation of same pdb": both have to go, one violates.
    let (gone, _) = victims(1, &two("foo"), &[allows("foo", 1, 2)], &sized(HIGH, VERY_LARGE), 1);
    assert_eq!(gone, [0, 1]);
    // One has to go. Without a budget the later one; with one that protects it, the other.
    let pods: Pods = vec![(0, app("a", MID, MEDIUM), 0), (0, app("b", MID, MEDIUM), 5)];
    let pod = sized(HIGH, LARGE);
    assert_eq!(victims(1, &pods, &[], &pod, 1).0, [1]);
    assert_eq!(victims(1, &pods, &[allows("b", 0, 1)], &pod, 1).0, [0]);
    assert_eq!(victims(1, &pods, &[allows("b", 1, 1)], &pod, 1).0, [1]);
    // Even one of higher priority goes before a protected one.
    let pods: Pods = vec![(0, app("a", MID, MEDIUM), 0), (0, app("b", LOW, MEDIUM), 0)];
    assert_eq!(victims(1, &pods, &[], &pod, 1).0, [1]);
    assert_eq!(victims(1, &pods, &[allows("b", 0, 1)], &pod, 1).0, [0]);
    // All protected: priorities decide again.
    assert_eq!(victims(1, &pods, &[allows("a", 0, 1), allows("b", 0, 1)], &pod, 1).0, [1]);
    // "A node with minimum number of PDB violations" comes before the lowest priorities.
    let pods: Pods = vec![(0, app("a", LOW, LARGE), 0), (1, app("b", MID, LARGE), 0)];
    for seed in 0..8 {
        assert_eq!(victims(2, &pods, &[], &pod, seed).1, Some(0));
        assert_eq!(victims(2, &pods, &[allows("a", 0, 1)], &pod, seed).1, Some(1));
    }
    // A budget of another namespace, without conditions, or whose pods are others protects nobody.
    let pods: Pods = vec![(0, app("a", MID, MEDIUM), 0), (0, app("b", MID, MEDIUM), 5)];
    let elsewhere = DisruptionBudget { namespace: "other".into(), ..allows("b", 0, 1) };
    let everybody = DisruptionBudget { selector: LabelSelector::default(), ..allows("b", 0, 1) };
    let nobody = DisruptionBudget { selector: LabelSelector::null(), ..allows("b", 0, 1) };
    for budget in [elsewhere, everybody, nobody, allows("c", 0, 1)] {
        assert_eq!(victims(1, &pods, &[budget], &pod, 1).0, [1]);
    }
    // One disruption for both pods: the more important takes it, and the other, whose loss would then violate, is spared first.
    let wide = DisruptionBudget { selector: select("app In a,b"), ..allows("ab", 1, 2) };
    let pods: Pods = vec![(0, app("a", MID, MEDIUM), 0), (0, app("b", MID, MEDIUM), 5)];
    assert_eq!(victims(1, &pods, std::slice::from_ref(&wide), &pod, 1).0, [0]);
    // A pod of two budgets violates if one of them has nothing left.
    assert_eq!(victims(1, &pods, &[wide, allows("a", 0, 1)], &pod, 1).0, [1]);
    // A pod without labels has no budget, whatever the selector says.
    let not_a = DisruptionBudget { selector: select("app NotIn x"), ..allows("a", 0, 2) };
    let pods: Pods = vec![(0, app("a", MID, MEDIUM), 5), (0, sized(MID, MEDIUM), 0)];
    assert_eq!(victims(1, &pods, &[not_a], &pod, 1).0, [1]);
}

/// `DryRunPreemption` and `candidateList.add` in `preemption.go`: as long as every node violates a budget the search goes on, but
/// of those nodes no more are kept than are enough. So the choice is among the first that the search came to, from a
/// random one on; with a list long enough it is the best of all. One that violates none is always found.
#[test]
fn no_more_candidates_that_violate_a_budget_are_kept_than_are_enough() {
    let chosen = |absolute: u32, protected: bool| -> BTreeSet<u32> {
        let of = |seed: u64| {
            let kube = Profile {
                min_candidate_nodes_percentage: 0,
                min_candidate_nodes_absolute: absolute,
                ..Profile::default()
            };
            let mut h = Harness::new(&Settings { kube, ..Settings::default() });
            h.rng = Streams::new(seed).stream("scheduler");
            h.cluster.disruption_budgets = vec![allows("a", 0, 6)];
            let t = h.template(very_large_node());
            for node in 0..6 {
                h.add_node(t, None);
                let name = if node == 5 && !protected { "b" } else { "a" };
                let spec = h.add_spec(app(name, LOW + node, LARGE));
                h.add_bound_pod(spec, u32::try_from(node).unwrap());
            }
            let spec = h.add_spec(sized(HIGH, LARGE));
            let preemptor = h.add_pod(spec);
            h.start();
            h.run();
            h.node_of(preemptor).expect("it preempts")
        };
        (0..32).map(of).collect()
    };
    assert_eq!(chosen(1, true), (0..6).collect(), "the first one that is found");
    assert_eq!(chosen(6, true), BTreeSet::from([0]), "the lowest priority of all");
    assert_eq!(chosen(1, false), BTreeSet::from([5]), "no budget is violated");
}

fn gate(name: &str, removed_after_ns: u64) -> SchedulingGate {
    SchedulingGate { name: name.into(), removed_after_ns }
}

/// `schedulinggates/scheduling_gates_test.go`, TestPreEnqueue, and the page "Pod Scheduling Readiness".
#[test]
fn gates_hold_pods_back() {
    let mut h = cluster(&Settings::default(), &[roomy("")], &[]);
    let free = h.add_spec(PodSpec::default());
    let gated = h.add_spec(PodSpec {
        scheduling_gates: vec![gate("foo", u64::MAX), gate("bar", S)],
        ..PodSpec::default()
    });
    let soon = h.add_spec(PodSpec {
        scheduling_gates: vec![gate("foo", 5 * S), gate("bar", 2 * S)],
        ..PodSpec::default()
    });
    let (free, gated, soon) = (h.add_pod(free), h.add_pod(gated), h.add_pod(soon));
    h.start();
    h.run_until(4 * S);
    assert!(h.node_of(free).is_some() && h.node_of(soon).is_none());
    assert!(h.scheduler.waits_for_time());
    let both = "waiting for scheduling gates: [foo bar]".to_owned();
    assert_eq!(h.reasons(), [(both.clone(), 2)]);
    assert_eq!((h.cycles.len(), h.patches.len(), h.events), (1, 0, 1), "no attempt, no condition, no event");
    h.run();
    // The last gate decides.
    assert_eq!(h.binds.iter().find(|b| b.1 == soon).map(|b| b.0 / S), Some(5));
    assert_eq!(h.node_of(gated), None);
    assert!(!h.scheduler.waits_for_time());
    assert_eq!(h.reasons(), [(both, 1)]);
    // Without the plugin nobody looks.
    let settings = Settings { disabled_plugins: vec!["SchedulingGates".into()], ..Settings::default() };
    let mut h = cluster(&settings, &[roomy("")], &[]);
    let spec = h.add_spec(PodSpec { scheduling_gates: vec![gate("foo", u64::MAX)], ..PodSpec::default() });
    let pod = h.add_pod(spec);
    h.start();
    h.run();
    assert!(h.node_of(pod).is_some());
}

/// A pod that was gated keeps the time of its arrival in activeQ (`scheduling_queue.go`: `Timestamp` is that of Add).
#[test]
fn a_gated_pod_keeps_its_place() {
    let mut h = cluster(&Settings::default(), &[roomy("")], &[]);
    let gated = h.add_spec(PodSpec { scheduling_gates: vec![gate("foo", S)], ..PodSpec::default() });
    let free = h.add_spec(PodSpec::default());
    let first = h.add_pod(gated);
    h.run_until(S / 2);
    let second = h.add_pod(free);
    h.run_until(2 * S);
    h.start();
    h.run();
    assert_eq!(h.cycles.iter().map(|c| c.1).collect::<Vec<_>>(), [first, second]);
}

/// Several profiles (`schedule_one_test.go`, TestSchedulerMultipleProfilesScheduling): each pod is scheduled by the one that
/// it names; queue, cache and rotation are shared.
#[test]
fn pods_choose_their_profile() {
    let named = |name: &str| PodSpec { scheduler_name: name.into(), ..PodSpec::default() };
    let added = |node: &str| Profile {
        added_required: vec![term(&format!("metadata.name In {node}"))],
        ..Profile::default()
    };
    let other = |name: &str, node: &str| NamedProfile {
        scheduler_name: name.into(),
        profile: added(node),
        ..NamedProfile::default()
    };
    let settings = Settings {
        scheduler_name: "match-node2".into(),
        kube: added("node-1"),
        more_profiles: vec![other("match-node3", "node-2"), other("default-scheduler", "node-0")],
        ..Settings::default()
    };
    let mut h = cluster(&settings, &vec![roomy(""); 3], &[]);
    let mut pods = Vec::new();
    for (name, node) in
        [("match-node2", 1), ("match-node3", 2), ("", 0), ("default-scheduler", 0), ("match-node3", 2)]
    {
        let spec = h.add_spec(named(name));
        pods.push((h.add_pod(spec), node));
    }
    h.start();
    h.run();
    for (pod, node) in pods {
        assert_eq!(h.node_of(pod), Some(node));
    }
}

/// Pods of one profile count for the others: anti-affinity of an existing pod binds a newcomer of another profile, and a
/// profile without that filter does not look.
#[test]
fn profiles_share_the_cluster() {
    let plain = NamedProfile {
        scheduler_name: "careless".into(),
        profile: Profile {
            plugins: Plugins { pod_affinity: false, weights: NO_SCORE, ..Plugins::DEFAULT },
            ..Profile::default()
        },
        ..NamedProfile::default()
    };
    let same = NamedProfile { scheduler_name: "careful".into(), ..NamedProfile::default() };
    let settings = Settings { more_profiles: vec![plain, same], ..Settings::default() };
    let repels =
        PodSpec { pod_affinity: vec![near("app=a", HOSTNAME_LABEL, true, None)], ..labelled("app=a") };
    for (name, fits) in [("", false), ("careful", false), ("careless", true)] {
        let mut h = cluster(&settings, &[roomy("")], &[]);
        let first = h.add_spec(PodSpec { scheduler_name: "careless".into(), ..repels.clone() });
        let first = h.add_pod(first);
        h.start();
        h.run();
        assert_eq!(h.node_of(first), Some(0));
        let second = h.add_spec(PodSpec { scheduler_name: name.into(), ..labelled("app=a") });
        let second = h.add_pod(second);
        h.run();
        assert_eq!(h.node_of(second).is_some(), fits, "{name}");
    }
}

/// Each profile has its own percentage of nodes; the place where the search goes on is shared (`nextStartNodeIndex`).
#[test]
fn profiles_have_their_own_percentage() {
    let all = NamedProfile {
        scheduler_name: "all".into(),
        percentage_of_nodes_to_score: 100,
        ..NamedProfile::default()
    };
    let settings =
        Settings { percentage_of_nodes_to_score: 10, more_profiles: vec![all], ..Settings::default() };
    let mut h = cluster(&settings, &vec![roomy(""); 1000], &[]);
    let some = h.add_spec(PodSpec::default());
    let every = h.add_spec(PodSpec { scheduler_name: "all".into(), ..PodSpec::default() });
    h.add_pod(some);
    h.start();
    h.run();
    assert_eq!(h.count("filter_node"), 100);
    h.add_pod(every);
    h.run();
    assert_eq!(h.count("filter_node"), 1100);
}
