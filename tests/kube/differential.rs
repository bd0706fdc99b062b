//! The fast scheduler against one written plainly, on random clusters: same nodes, same reasons, same operations.

use crate::support::naive::Naive;
use crate::support::{Harness, S, node, pod, resources};
use podpace::cluster::{
    Expression, HOSTNAME_LABEL, HostPort, LabelSelector, NAME_FIELD, Namespaces, NodeTemplate, Operator,
    PodAffinityTerm, PodSpec, Resources, Service, SpreadConstraint, Taint, TaintEffect, Term, Toleration,
    WeightedTerm, ZONE_LABEL,
};
use podpace::engine::{Rng, Streams};
use podpace::scheduler::kube::Weights;
use podpace::scheduler::{BindOutcome, ScoringStrategy, Settings};
use proptest::prelude::*;

const KEYS: [&str; 3] = [HOSTNAME_LABEL, ZONE_LABEL, "rack"];

fn labels(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn random_template(rng: &mut Rng, kinds: &Kinds) -> NodeTemplate {
    let mut template = node(1000 * (1 + rng.below(8)), 1024 * (1 + rng.below(8)));
    template.allocatable.pods = 2 + rng.below(12) as u32;
    if kinds.labels {
        if rng.chance(0.7) {
            template.labels.insert("rack".into(), format!("r{}", rng.below(3)));
        }
        if rng.chance(0.5) {
            template.labels.insert("disk".into(), ["ssd", "hdd"][rng.below(2) as usize].into());
        }
        if rng.chance(0.3) {
            let effect =
                [TaintEffect::NoSchedule, TaintEffect::PreferNoSchedule, TaintEffect::PreferNoSchedule]
                    [rng.below(3) as usize];
            template.taints.push(Taint { key: format!("t{}", rng.below(2)), value: "x".into(), effect });
        }
        template.unschedulable = rng.chance(0.1);
        if rng.chance(0.3) {
            template.allocatable.extended = vec![(0, 4)];
        }
        for image in 0..3 {
            if rng.chance(0.3) {
                template.images.insert(format!("i{image}:v1"), (100 + rng.below(900)) << 20);
            }
        }
    }
    template
}

/// Which features appear.
#[derive(Clone, Copy, Debug, Default)]
struct Kinds {
    labels: bool,
    topology: bool,
    /// No constraint that filters, no affinity: soft spread alone, on clusters large enough for tables.
    soft_spread: bool,
    /// Weights and arguments of a profile are drawn, too.
    profile: bool,
}

fn random_spec(rng: &mut Rng, kinds: &Kinds) -> PodSpec {
    let app = ["a", "b", "c"][rng.below(3) as usize];
    let mut spec = PodSpec {
        priority: [0, 0, 0, 10][rng.below(4) as usize],
        labels: labels(&[("app", app)]),
        ..pod([0, 100, 250, 1000][rng.below(4) as usize], [0, 128, 512, 1024][rng.below(4) as usize])
    };
    let selector = |rng: &mut Rng| {
        let app = ["a", "b", "c"][rng.below(3) as usize];
        let mut selector = LabelSelector::default();
        match rng.below(8) {
            0 => {}
            1 => selector.is_null = true,
            2..4 => selector.expressions.push(Expression {
                key: "app".into(),
                operator: [Operator::NotIn, Operator::In][rng.below(2) as usize],
                values: vec![app.into(), "c".into()],
            }),
            _ => selector.labels = labels(&[("app", app)]),
        }
        selector
    };
    let namespaces = |rng: &mut Rng| match rng.below(5) {
        0 => Namespaces { names: ["other".to_owned()].into(), selector: None },
        1 => {
            let selector = LabelSelector { labels: labels(&[("team", "x")]), ..LabelSelector::default() };
            Namespaces { selector: Some(selector), ..Namespaces::default() }
        }
        2 => Namespaces { selector: Some(LabelSelector::default()), ..Namespaces::default() },
        _ => Namespaces::default(),
    };
    if kinds.topology && rng.chance(0.3) {
        spec.namespace_name = ["other", "third"][rng.below(2) as usize].into();
    }
    if kinds.topology && rng.chance(0.3) {
        spec.controller_selector = Some(labels(&[("app", app)]).into());
    }
    if kinds.labels && rng.chance(0.4) {
        spec.images = (0..1 + rng.below(2)).map(|_| format!("i{}:v1", rng.below(3))).collect();
    }
    let key = |rng: &mut Rng| KEYS[rng.below(3) as usize].to_owned();
    if kinds.labels {
        if rng.chance(0.2) {
            spec.node_selector = labels(&[("disk", "ssd")]);
        }
        if rng.chance(0.2) {
            let zone = ["z0", "z1"][rng.below(2) as usize].to_owned();
            let e = Expression { key: ZONE_LABEL.into(), operator: Operator::NotIn, values: vec![zone] };
            spec.required_node_affinity = vec![Term { expressions: vec![e], ..Term::default() }];
        }
        if rng.chance(0.25) {
            // Nodes by name: of a DaemonSet, of several terms, of terms that conflict.
            for _ in 0..1 + rng.below(2) {
                let mut term = Term::default();
                for _ in 0..1 + rng.below(8) / 7 {
                    let values = (0..1 + rng.below(4)).map(|_| format!("node-{}", rng.below(20))).collect();
                    let operator = [Operator::In, Operator::NotIn][(rng.below(8) / 7) as usize];
                    term.fields.push(Expression { key: NAME_FIELD.into(), operator, values });
                }
                spec.required_node_affinity.push(term);
            }
        }
        if rng.chance(0.3) {
            let e = Expression { key: "rack".into(), operator: Operator::In, values: vec!["r0".into()] };
            let term = Term { expressions: vec![e], ..Term::default() };
            spec.preferred_node_affinity = vec![WeightedTerm { weight: 1 + rng.below(100) as i32, term }];
        }
        if rng.chance(0.4) {
            let key = format!("t{}", rng.below(2));
            spec.tolerations = vec![Toleration { key, exists: true, ..Toleration::default() }];
        }
        if rng.chance(0.2) {
            spec.requests.extended = vec![(0, 1 + rng.below(2))];
        }
        if rng.chance(0.2) {
            let ip = ["", "0.0.0.0", "10.0.0.1", "10.0.0.2"][rng.below(4) as usize].to_owned();
            let protocol = ["TCP", "UDP"][rng.below(2) as usize].to_owned();
            spec.host_ports.push(HostPort { port: 80 + rng.below(2) as u16, protocol, ip });
        }
        if rng.chance(0.05) {
            spec.node_name = Some("node-1".into());
        }
    }
    if kinds.topology {
        let terms = if kinds.soft_spread { 0 } else { rng.below(3) };
        for _ in 0..terms {
            spec.pod_affinity.push(PodAffinityTerm {
                selector: selector(rng),
                topology_key: key(rng),
                weight: rng.chance(0.6).then_some(1 + rng.below(20) as i32),
                anti: rng.chance(0.7),
                namespaces: namespaces(rng),
            });
        }
        for _ in 0..rng.below(3) {
            spec.topology_spread.push(SpreadConstraint {
                max_skew: 1 + rng.below(3) as u32,
                topology_key: key(rng),
                hard: !kinds.soft_spread && rng.chance(0.4),
                selector: selector(rng),
                min_domains: rng.below(5) as u32,
                ignore_node_affinity: rng.chance(0.3),
                honor_node_taints: rng.chance(0.3),
            });
        }
    }
    spec
}

fn compare(seed: u64, nodes: u64, steps: u64, percentage: u32, strategy: ScoringStrategy, kinds: Kinds) {
    let mut rng = Streams::new(seed).stream("test");
    let settings = Settings {
        percentage_of_nodes_to_score: percentage,
        scoring_strategy: strategy,
        // The plain scheduler does not preempt.
        disabled_plugins: vec!["DefaultPreemption".to_owned()],
        ..Settings::default()
    };
    let mut settings = settings;
    // The plain scheduler searches anew for each pod.
    settings.feature_gates.opportunistic_batching = Some(false);
    let mut naive = Naive::new(1, strategy, percentage);
    if kinds.profile {
        let mut weight = || 1 + rng.below(20) as i64;
        naive.weights = Weights {
            taints: weight(),
            affinity: weight(),
            fit: weight(),
            balanced: weight(),
            spread: weight(),
            pod_affinity: weight(),
            images: weight(),
        };
        if rng.chance(0.5) {
            let mut defaults = Vec::new();
            for (key, hard) in [("rack", true), (ZONE_LABEL, false), (HOSTNAME_LABEL, false)] {
                if rng.chance(0.5) {
                    let max_skew = 1 + rng.below(2) as u32;
                    defaults.push(SpreadConstraint {
                        max_skew,
                        topology_key: key.into(),
                        hard,
                        ..SpreadConstraint::default()
                    });
                }
            }
            naive.defaults = (defaults, false);
            settings.kube.default_constraints.clone_from(&naive.defaults.0);
            settings.kube.system_defaults = false;
        }
        naive.hard_weight = rng.below(3) as i64 * 10;
        settings.kube.plugins.weights = naive.weights;
        settings.kube.hard_pod_affinity_weight = naive.hard_weight;
    }
    let mut h = Harness::new(&settings);
    h.naive = Some(naive);
    h.cluster.resources.intern("nvidia.com/gpu");
    h.cluster.namespaces.insert("third".into(), labels(&[("team", "x")]));
    if kinds.topology && rng.chance(0.5) {
        let selector = labels(&[("app", "b")]);
        h.cluster.services.push(Service { namespace: "default".into(), selector });
    }
    let templates: Vec<u32> =
        (0..1 + rng.below(5)).map(|_| h.template(random_template(&mut rng, &kinds))).collect();
    let mut specs = Vec::new();
    let mut live = Vec::new();
    let mut present = Vec::new();
    let add_node = |h: &mut Harness, rng: &mut Rng, present: &mut Vec<u32>| {
        let zone = ["z0", "z1", "z2"][rng.below(3) as usize];
        let template = templates[rng.below(templates.len() as u64) as usize];
        present.push(h.add_node(template, rng.chance(0.8).then_some(zone)));
    };
    for _ in 0..nodes {
        add_node(&mut h, &mut rng, &mut present);
    }
    h.start();
    for _ in 0..steps {
        match rng.below(100) {
            0..4 => specs.push(h.add_spec(random_spec(&mut rng, &kinds))),
            4..60 if !specs.is_empty() => {
                for _ in 0..1 + rng.below(4) {
                    live.push(h.add_pod(specs[rng.below(specs.len() as u64) as usize]));
                }
            }
            60..85 if !live.is_empty() => {
                let at = rng.below(live.len() as u64) as usize;
                if h.node_of(live[at]).is_some() && h.cluster.pods.node(live[at]) != podpace::cluster::NO_NODE
                {
                    h.end_pod(live.swap_remove(at));
                }
            }
            85..87 => add_node(&mut h, &mut rng, &mut present),
            87..88 if present.len() > 1 => {
                let at = rng.below(present.len() as u64) as usize;
                h.delete_node(present.swap_remove(at));
            }
            88..90 if !specs.is_empty() && !present.is_empty() => {
                let tiny = h.add_spec(PodSpec { labels: labels(&[("app", "a")]), ..PodSpec::default() });
                let on = present[rng.below(present.len() as u64) as usize];
                live.push(h.add_bound_pod(tiny, on));
            }
            90..91 => h.outcomes.push(BindOutcome::Failed),
            _ => {
                let until = h.now + rng.below(3) * S / 2;
                h.run_until(until);
            }
        }
    }
    h.run();
    let naive = h.naive.as_ref().unwrap();
    // What the queue asks of pods that wait is not the search's, which is what is compared.
    for account in h.meter.accounts().iter().filter(|account| account.operation != "hint_pod") {
        let expected = naive.counts.get(account.operation.as_str()).copied().unwrap_or(0);
        assert_eq!(account.count, expected, "{}", account.operation);
    }
    let mut expected = std::collections::BTreeMap::new();
    for (pod, outcome) in &naive.expected {
        match outcome {
            Ok(_) => assert!(h.node_of(*pod).is_some(), "pod {pod} should have been bound"),
            Err(reason) => {
                assert!(!naive.is_placeable(&h.cluster, *pod), "pod {pod} waits though it fits");
                *expected.entry(reason.clone()).or_insert(0_u64) += 1;
            }
        }
    }
    assert_eq!(h.reasons(), expected.into_iter().collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn plain_pods(seed: u64, nodes in 0_u64..40, packs: bool) {
        let strategy = if packs { ScoringStrategy::MostAllocated } else { ScoringStrategy::LeastAllocated };
        compare(seed, nodes, 400, 0, strategy, Kinds::default());
    }

    #[test]
    fn sampled_nodes(seed: u64, nodes in 100_u64..300, percentage in 0_u32..60) {
        compare(seed, nodes, 120, percentage, ScoringStrategy::LeastAllocated, Kinds::default());
    }

    #[test]
    fn labels_and_taints(seed: u64, nodes in 1_u64..30) {
        compare(seed, nodes, 400, 0, ScoringStrategy::LeastAllocated, Kinds { labels: true, ..Kinds::default() });
    }

    #[test]
    fn profiles(seed: u64, nodes in 1_u64..16) {
        let kinds = Kinds { labels: true, topology: true, profile: true, ..Kinds::default() };
        compare(seed, nodes, 150, 0, ScoringStrategy::LeastAllocated, kinds);
    }

    #[test]
    fn soft_spread(seed: u64, nodes in 20_u64..130, percentage in 0_u32..60, profile: bool) {
        let kinds = Kinds { topology: true, soft_spread: true, profile, ..Kinds::default() };
        compare(seed, nodes, 100, percentage, ScoringStrategy::LeastAllocated, kinds);
    }

    #[test]
    fn affinity_and_spread(seed: u64, nodes in 1_u64..16) {
        compare(seed, nodes, 250, 0, ScoringStrategy::LeastAllocated, Kinds { labels: true, topology: true, ..Kinds::default() });
    }
}

#[test]
fn extended_resources_are_counted() {
    let mut h = Harness::new(&Settings::default());
    h.cluster.resources.intern("nvidia.com/gpu");
    let gpus = NodeTemplate {
        allocatable: Resources { extended: vec![(0, 4)], pods: 110, ..resources(32_000, 1 << 15) },
        ..NodeTemplate::default()
    };
    let t = h.template(gpus);
    h.add_node(t, None);
    let spec = h.add_spec(PodSpec {
        requests: Resources { extended: vec![(0, 3)], ..resources(100, 100) },
        ..PodSpec::default()
    });
    h.add_pod(spec);
    h.add_pod(spec);
    h.start();
    h.run();
    assert_eq!(h.reasons(), [("Insufficient nvidia.com/gpu".to_owned(), 1)]);
}
