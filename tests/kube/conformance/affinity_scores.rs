//! InterPodAffinity's scores, exactly: `interpodaffinity/scoring_test.go`, TestPreferredAffinity and
//! TestPreferredAffinityWithHardPodAffinitySymmetricWeight. Where the real plugin skips its score, all nodes have 0 here.
use super::*;
use podpace::cluster::Namespaces;

fn prefers(weight: i32, key: &str, selector: &str, anti: bool) -> PodAffinityTerm {
    let topology_key = key.to_owned();
    PodAffinityTerm {
        selector: select(selector),
        topology_key,
        anti,
        weight: Some(weight),
        ..Default::default()
    }
}

fn requires(key: &str, selector: &str) -> PodAffinityTerm {
    PodAffinityTerm { weight: None, ..prefers(1, key, selector, false) }
}

fn with(own: &str, terms: Vec<PodAffinityTerm>) -> PodSpec {
    PodSpec { pod_affinity: terms, ..labelled(own) }
}

fn within(namespace: &str, spec: PodSpec) -> PodSpec {
    PodSpec { namespace_name: namespace.into(), ..spec }
}

/// Namespaces of the real tests: two teams of two subteams each.
fn teams(cluster: &mut Cluster) {
    for team in ["team1", "team2"] {
        for subteam in ["subteam1", "subteam2"] {
            cluster.namespaces.insert(format!("{subteam}.{team}"), labels(&format!("team={team}")));
        }
    }
}

const S1: &str = "security=S1";
const S2: &str = "security=S2";
const CHINA: &str = "region=China";
const INDIA: &str = "region=India";
const AZ1: &str = "az=az1";
const AZ2: &str = "az=az2";

fn near_s1() -> Vec<PodAffinityTerm> {
    vec![prefers(5, "region", "security In S1", false)]
}

fn near_s2() -> Vec<PodAffinityTerm> {
    vec![prefers(6, "region", "security In S2", false)]
}

fn away_from(what: &str) -> Vec<PodAffinityTerm> {
    vec![prefers(5, "az", &format!("security In {what}"), true)]
}

fn near_s1_away_from_s2() -> Vec<PodAffinityTerm> {
    vec![prefers(8, "region", "security In S1", false), prefers(5, "az", "security In S2", true)]
}

/// The namespace `subteam2.team2` and all of team 1.
fn in_namespaces(anti: bool) -> Vec<PodAffinityTerm> {
    let namespaces =
        Namespaces { names: ["subteam2.team2".to_owned()].into(), selector: Some(select("team In team1")) };
    vec![PodAffinityTerm { namespaces, ..prefers(5, "region", "security In S1", anti) }]
}

type Case = (&'static str, PodSpec, Vec<(usize, PodSpec)>, Vec<&'static str>, Vec<i64>);

fn check(settings: &Settings, cases: Vec<Case>) {
    for (name, pod, existing, nodes, expected) in cases {
        let nodes: Vec<NodeTemplate> = nodes.into_iter().map(roomy).collect();
        let found = scores(settings, &nodes, &existing, &pod, teams);
        assert_eq!(found, expected.into_iter().map(Some).collect::<Vec<_>>(), "{name}");
    }
}

fn weighted(hard_pod_affinity_weight: i64) -> Settings {
    let mut settings = only(Weights { pod_affinity: 1, ..NO_SCORE });
    settings.kube.hard_pod_affinity_weight = hard_pod_affinity_weight;
    settings
}

#[test]
fn preferred_affinity() {
    let three = || vec![CHINA, INDIA, AZ1];
    let operators = || {
        vec![
            prefers(8, "region", "security NotIn S1 & security In S2", false),
            prefers(2, "region", "security Exists & wrongkey DoesNotExist", false),
        ]
    };
    let hard = || {
        vec![
            requires("region", "security In S1,value2"),
            requires("region", "security Exists & wrongkey DoesNotExist"),
        ]
    };
    let each = || vec![(0, labelled(S1)), (1, labelled(S2)), (2, labelled(S1))];
    check(
        &weighted(1),
        vec![
            ("no affinity", labelled(S1), vec![], three(), vec![0, 0, 0]),
            (
                "a node with the key and a matching pod; with another pod; without the key",
                with(S1, near_s1()),
                each(),
                three(),
                vec![100, 0, 0],
            ),
            (
                "all nodes of the region alike",
                with("", near_s1()),
                vec![(0, labelled(S1))],
                vec![CHINA, "region=China az=az1", INDIA],
                vec![100, 100, 0],
            ),
            (
                "the region with more matching pods",
                with(S1, near_s2()),
                [0, 0, 1, 2, 3, 4].map(|node| (node, labelled(S2))).into(),
                vec![CHINA, INDIA, CHINA, CHINA, INDIA],
                vec![100, 0, 100, 100, 0],
            ),
            ("operators, some do not match", with(S1, operators()), each(), three(), vec![20, 100, 0]),
            (
                "symmetry: preferences of existing pods",
                labelled(S2),
                vec![(0, with(S1, near_s1())), (1, with(S2, near_s2()))],
                three(),
                vec![0, 100, 0],
            ),
            (
                "symmetry with a namespace selector",
                within("subteam1.team1", labelled(S1)),
                vec![(0, with(S1, in_namespaces(false))), (1, with(S2, near_s2()))],
                three(),
                vec![100, 0, 0],
            ),
            (
                "anti-affinity: symmetry with a namespace selector",
                within("subteam1.team1", labelled(S1)),
                vec![(0, with(S1, in_namespaces(true))), (1, with(S2, near_s2()))],
                three(),
                vec![0, 100, 100],
            ),
            (
                "symmetry: required terms of existing pods",
                labelled(S1),
                vec![(0, with(S1, hard())), (1, with(S2, hard()))],
                three(),
                vec![100, 100, 0],
            ),
            (
                "some nodes of a region have pods with affinity, others not",
                labelled(S1),
                vec![(0, labelled(S1)), (1, with("", near_s1_away_from_s2()))],
                vec![CHINA, CHINA],
                vec![0, 0],
            ),
        ],
    );
}

#[test]
fn preferred_anti_affinity() {
    let brothers = |nodes: &[usize]| nodes.iter().map(|n| (*n, labelled(S1))).collect::<Vec<_>>();
    check(
        &weighted(1),
        vec![
            (
                "a node without the pods that it avoids",
                with(S1, away_from("S1")),
                vec![(0, labelled(S1)), (1, labelled(S2))],
                vec![AZ1, CHINA],
                vec![0, 100],
            ),
            (
                "a node without the key, whoever runs there",
                with(S1, away_from("S1")),
                brothers(&[0, 1]),
                vec![AZ1, CHINA],
                vec![0, 100],
            ),
            (
                "the node with fewer of them",
                with(S1, away_from("S1")),
                vec![(0, labelled(S1)), (0, labelled(S1)), (1, labelled(S2))],
                vec![AZ1, INDIA],
                vec![0, 100],
            ),
            (
                "symmetry: aversions of existing pods",
                labelled(S2),
                vec![(0, with(S1, away_from("S2"))), (1, with(S2, away_from("S1")))],
                vec![AZ1, AZ2],
                vec![0, 100],
            ),
            (
                "affinity and anti-affinity",
                with(S1, near_s1_away_from_s2()),
                brothers(&[0, 1]),
                vec![CHINA, AZ1],
                vec![100, 0],
            ),
            (
                "the same labels as its brothers: near by region, apart by zone",
                with(S1, near_s1_away_from_s2()),
                brothers(&[0, 0, 1, 2, 2, 3, 4]),
                vec!["region=China az=az1", INDIA, CHINA, CHINA, INDIA],
                vec![100, 0, 100, 100, 0],
            ),
            (
                "affinity, anti-affinity and both symmetries: 8, -5, 8, -5",
                with(S1, near_s1_away_from_s2()),
                vec![
                    (0, labelled(S1)),
                    (1, labelled(S2)),
                    (2, with("", near_s1_away_from_s2())),
                    (3, with("", away_from("S1"))),
                ],
                vec![CHINA, AZ1, INDIA, AZ2],
                vec![100, 0, 100, 0],
            ),
        ],
    );
}

#[test]
fn preferred_terms_with_namespaces() {
    let newcomer = |anti| within("subteam1.team1", with(S1, in_namespaces(anti)));
    let existing = |third: &str| {
        vec![
            (0, within("subteam1.team1", labelled(S1))),
            (0, within("subteam1.team1", labelled(S1))),
            (0, within(third, labelled(S1))),
            (1, within("subteam2.team1", labelled(S1))),
        ]
    };
    let nodes = || vec![CHINA, INDIA];
    check(
        &weighted(1),
        vec![
            ("by label", newcomer(false), existing("subteam1.team2"), nodes(), vec![100, 0]),
            ("by label and by name", newcomer(false), existing("subteam2.team2"), nodes(), vec![100, 0]),
            ("anti: by label", newcomer(true), existing("subteam1.team2"), nodes(), vec![0, 100]),
            ("anti: by label and by name", newcomer(true), existing("subteam2.team2"), nodes(), vec![0, 100]),
        ],
    );
}

#[test]
fn preferred_terms_of_existing_pods_may_be_ignored() {
    let existing = || vec![(0, with(S1, near_s1_away_from_s2())), (1, with(S2, near_s2()))];
    for (ignore, expected) in [(true, vec![0, 0]), (false, vec![0, 100])] {
        let mut settings = weighted(1);
        settings.kube.ignore_preferred_terms_of_existing_pods = ignore;
        check(&settings, vec![("ignored or not", labelled(S2), existing(), vec![CHINA, INDIA], expected)]);
    }
}

#[test]
fn required_terms_of_existing_pods_weigh() {
    let hard = || {
        let namespaces = Namespaces {
            names: ["default".to_owned(), "subteam2.team2".to_owned()].into(),
            selector: Some(select("team In team1")),
        };
        with("", vec![PodAffinityTerm { namespaces, ..requires("region", "service In S1") }])
    };
    let newcomer = |namespace: &str| within(namespace, labelled("service=S1"));
    for (name, weight, namespace, expected) in [
        ("default weight", 1, "default", [100, 100, 0]),
        ("no weight", 0, "default", [0, 0, 0]),
        ("no such namespace", 1, "subteam1.team2", [0, 0, 0]),
        ("by label of the namespace", 1, "subteam1.team1", [100, 100, 0]),
        ("by name of the namespace", 1, "subteam2.team2", [100, 100, 0]),
    ] {
        let existing = vec![(0, hard()), (1, hard())];
        let nodes = vec![CHINA, INDIA, AZ1];
        check(&weighted(weight), vec![(name, newcomer(namespace), existing, nodes, expected.into())]);
    }
}
