//! InterPodAffinity with selectors and namespaces in full: `interpodaffinity/filtering_test.go`,
//! TestRequiredAffinitySingleNode and TestRequiredAffinityMultipleNodes.
use super::*;
use podpace::cluster::Namespaces;

const SCAN: &str = "service In securityscan,value2";
const VIRUS: &str = "service In antivirusscan,value2";

/// Required terms: `region: service In a,b | zone: x Exists`.
fn terms(text: &str, anti: bool) -> Vec<PodAffinityTerm> {
    let term = |t: &str| {
        let (key, selector) = t.split_once(':').unwrap();
        PodAffinityTerm {
            selector: select(selector),
            topology_key: key.trim().to_owned(),
            anti,
            ..PodAffinityTerm::default()
        }
    };
    text.split('|').filter(|t| !t.trim().is_empty()).map(term).collect()
}

fn pod(own: &str, affinity: &str, anti: &str) -> PodSpec {
    let mut pod_affinity = terms(affinity, false);
    pod_affinity.extend(terms(anti, true));
    PodSpec { pod_affinity, ..labelled(own) }
}

#[test]
fn required_terms_on_one_node() {
    let (service, security) = ("service=securityscan", "security=S1");
    let at = |key: &str, selector: &str| format!("{key}: {selector}");
    let (region_scan, zone_scan, node_virus) = (at("region", SCAN), at("zone", SCAN), at("node", VIRUS));
    let existing = || vec![(0, labelled(service))];
    let mut elsewhere = existing();
    elsewhere[0].1.namespace_name = "ns".into();
    let mut in_another = pod(security, &region_scan, "");
    in_another.pod_affinity[0].namespaces.names = ["DiffNameSpace".to_owned()].into();
    let operators = "region: service Exists & wrongkey DoesNotExist | region: service In securityscan & service NotIn WrongValue";
    let one_differs = "region: service Exists & wrongkey DoesNotExist | region: service In securityscan2 & service NotIn WrongValue";
    let symmetric = |own: &str, anti: &str| vec![(0, pod(own, "", anti))];
    let two = "zone: service Exists | zone: security Exists";
    let (abc, def) = ("zone: abc Exists | zone: def Exists", "zone: abc Exists | zone: def Exists");
    type Case = (&'static str, PodSpec, Vec<(usize, PodSpec)>, bool);
    let cases: Vec<Case> = vec![
        ("no rules, no existing pods", labelled(""), vec![], true),
        ("In matches", pod(security, &region_scan, ""), existing(), true),
        ("NotIn matches", pod(security, "region: service NotIn securityscan3,value3", ""), existing(), true),
        ("another namespace", in_another, elsewhere, false),
        ("In does not match", pod(service, &at("region", VIRUS), ""), existing(), false),
        ("several operators and terms", pod(security, operators, ""), existing(), true),
        ("expressions are ANDed", pod(security, one_differs, ""), existing(), false),
        ("affinity and anti-affinity", pod(security, &region_scan, &node_virus), existing(), true),
        ("and symmetry", pod(security, &region_scan, &node_virus), symmetric(service, &node_virus), true),
        ("anti-affinity is not met", pod(security, &region_scan, &zone_scan), existing(), false),
        (
            "symmetry is not met",
            pod(service, &region_scan, &node_virus),
            symmetric(service, &zone_scan),
            false,
        ),
        (
            "its own labels don't match its NotIn",
            pod(service, "region: service NotIn securityscan,value2", ""),
            vec![],
            false,
        ),
        ("existing anti-affinity", labelled(service), symmetric(service, &zone_scan), false),
        (
            "existing anti-affinity that does not match",
            labelled(service),
            symmetric(service, "zone: service NotIn securityscan,value2"),
            true,
        ),
        (
            "anti-affinity with two terms, one matches",
            pod(service, "", "region: service Exists | region: security Exists"),
            symmetric(security, "zone: security Exists"),
            false,
        ),
        ("symmetry a1", pod(service, "", two), symmetric(security, "zone: security Exists"), false),
        ("symmetry a2", pod(security, "", "zone: security Exists"), symmetric(service, two), false),
        ("symmetry b1", pod("abc xyz", "", abc), symmetric("def xyz", def), false),
        ("symmetry b2", pod("def xyz", "", abc), symmetric("abc xyz", def), false),
        (
            "no label selector at all matches nobody",
            {
                let mut p = pod(security, &region_scan, "");
                p.pod_affinity[0].selector = LabelSelector::null();
                p
            },
            existing(),
            false,
        ),
        ("an empty label selector matches everybody", pod("", "region:", ""), existing(), true),
    ];
    for (name, pod, existing, fits) in cases {
        let found = feasible(&Settings::default(), &[roomy("region=r1 zone=z11")], &existing, &pod);
        assert_eq!(!found.is_empty(), fits, "{name}");
    }
}

#[test]
fn required_terms_on_several_nodes() {
    let china = ["region=China", "region=China az=az1", "region=India"];
    let one_zone = ["region=r1 zone=z1", "region=r1 zone=z1"];
    let two_zones = ["region=r1 zone=z1", "region=r1 zone=z2"];
    let three = ["region=r1 zone=z1", "region=r1 zone=z2", "region=r1 zone=z3"];
    let within = |namespace: &str, mut spec: PodSpec| {
        spec.namespace_name = namespace.to_owned();
        spec
    };
    type Case = (&'static str, Vec<&'static str>, PodSpec, Vec<(usize, PodSpec)>, Vec<usize>);
    let cases: Vec<Case> = vec![
        (
            "all nodes of the region of a matching pod",
            china.to_vec(),
            pod("", "region: foo In bar", ""),
            on("0:foo=bar"),
            vec![0, 1],
        ),
        (
            "the first pod of a collection goes anywhere",
            vec!["zone=az1", "zone=az2"],
            pod("foo=bar service=securityscan", "zone: foo In bar | zone: service In securityscan", ""),
            on("0:foo=bar"),
            vec![0, 1],
        ),
        (
            "anti-affinity over the region",
            two_zones.to_vec(),
            pod("", "", "region: foo In abc"),
            on("0:foo=abc"),
            vec![],
        ),
        (
            "any term of the anti-affinity counts",
            two_zones.to_vec(),
            pod("", "", "region: foo In abc | zone: service In securityscan"),
            on("0:foo=abc,service=securityscan"),
            vec![],
        ),
        ("one region is left", china.to_vec(), pod("", "", "region: foo In abc"), on("0:foo=abc"), vec![2]),
        (
            "a pod of another namespace repels nobody here",
            china.to_vec(),
            within("NS1", pod("foo=123", "", "region: foo In bar")),
            vec![
                (0, within("NS1", labelled("foo=bar"))),
                (2, within("NS2", pod("", "", "region: foo In 123"))),
            ],
            vec![2],
        ),
        (
            "an existing term over a key that no node has",
            one_zone.to_vec(),
            labelled("foo"),
            vec![(0, pod("", "", "invalid-node-label: foo Exists"))],
            vec![0, 1],
        ),
        (
            "a term of its own over a key that no node has",
            one_zone.to_vec(),
            pod("", "", "invalid-node-label: foo Exists"),
            on("0:foo"),
            vec![0, 1],
        ),
        (
            "each existing pod forbids another domain",
            two_zones.to_vec(),
            labelled("foo bar"),
            vec![(0, pod("", "", "zone: foo Exists")), (0, pod("", "", "region: bar Exists"))],
            vec![],
        ),
        (
            "its own terms forbid both",
            two_zones.to_vec(),
            pod("", "", "zone: foo Exists | region: bar Exists"),
            on("0:foo 1:bar"),
            vec![],
        ),
        (
            "an existing pod's terms, one over an unknown key",
            two_zones.to_vec(),
            labelled("foo bar"),
            vec![(0, pod("", "", "invalid-node-label: foo Exists | zone: bar Exists"))],
            vec![1],
        ),
        (
            "its own terms, one over an unknown key",
            two_zones.to_vec(),
            pod("", "", "invalid-node-label: foo Exists | zone: bar Exists"),
            on("0:foo,bar"),
            vec![1],
        ),
        (
            "an existing pod's terms, both valid",
            two_zones.to_vec(),
            labelled("foo bar"),
            vec![(0, pod("", "", "region: foo Exists | zone: bar Exists"))],
            vec![],
        ),
        (
            "its own terms, both valid",
            two_zones.to_vec(),
            pod("", "", "region: foo Exists | zone: bar Exists"),
            on("0:foo,bar"),
            vec![],
        ),
        (
            "existing pods leave the third zone",
            three.to_vec(),
            labelled("foo bar"),
            vec![
                (0, pod("", "", "zone: foo Exists | zone: labelA Exists")),
                (1, pod("", "", "zone: bar Exists | zone: labelB Exists")),
            ],
            vec![2],
        ),
        (
            "affinity: one pod matches all terms",
            one_zone.to_vec(),
            pod("", "region: foo Exists | zone: bar Exists", ""),
            on("0:foo,bar"),
            vec![0, 1],
        ),
        (
            "affinity: two pods together don't",
            one_zone.to_vec(),
            pod("", "region: foo Exists | zone: bar Exists", ""),
            on("0:foo 1:bar"),
            vec![],
        ),
    ];
    for (name, nodes, pod, existing, expected) in cases {
        let nodes: Vec<NodeTemplate> = nodes.into_iter().map(roomy).collect();
        let existing: Vec<(usize, PodSpec)> = existing
            .into_iter()
            .map(|(node, mut spec)| {
                spec.labels = spec.labels.into_iter().collect();
                (node, spec)
            })
            .collect();
        assert_eq!(feasible(&Settings::default(), &nodes, &existing, &pod), expected, "{name}");
    }
}

/// Cases of `filtering_test.go` with `namespaces` and `namespaceSelector` (KEP 2249). Namespaces: `subteam1.team1` and
/// `subteam2.team1` with `team: team1`, `subteam1.team2` with `team: team2`.
#[test]
fn namespaces_by_name_and_by_label() {
    let team = |name: &str| Some(LabelSelector::from(labels(&format!("team={name}"))));
    let names = |text: &str| {
        text.split_whitespace().map(str::to_owned).collect::<std::collections::BTreeSet<String>>()
    };
    for (name, names, selector, pod_in, matches) in [
        ("neither: its own namespace", names(""), None, "subteam1.team1", true),
        ("neither: not another one", names(""), None, "subteam2.team1", false),
        ("by name", names("subteam2.team1"), None, "subteam2.team1", true),
        ("by name, not its own then", names("subteam2.team1"), None, "subteam1.team1", false),
        ("by label", names(""), team("team1"), "subteam2.team1", true),
        ("by label, no match", names(""), team("team1"), "subteam1.team2", false),
        ("name or label", names("subteam1.team2"), team("team1"), "subteam1.team2", true),
        ("name or label, the label", names("subteam1.team2"), team("team1"), "subteam2.team1", true),
        ("an empty selector: all", names(""), Some(LabelSelector::default()), "elsewhere", true),
        (
            "by the label that each has",
            names(""),
            Some(select("kubernetes.io/metadata.name In elsewhere")),
            "elsewhere",
            true,
        ),
    ] {
        for anti in [false, true] {
            let mut h = Harness::new(&Settings::default());
            for (namespace, team) in
                [("subteam1.team1", "team1"), ("subteam2.team1", "team1"), ("subteam1.team2", "team2")]
            {
                h.cluster.namespaces.insert(namespace.into(), labels(&format!("team={team}")));
            }
            let t = h.template(roomy("zone=z"));
            h.add_node(t, None);
            let existing = PodSpec { namespace_name: pod_in.into(), ..labelled("foo") };
            let existing = h.add_spec(existing);
            h.add_bound_pod(existing, 0);
            let term = PodAffinityTerm {
                selector: select("foo Exists"),
                topology_key: "zone".into(),
                anti,
                namespaces: Namespaces { names: names.clone(), selector: selector.clone() },
                ..PodAffinityTerm::default()
            };
            let newcomer = PodSpec {
                namespace_name: "subteam1.team1".into(),
                pod_affinity: vec![term],
                ..PodSpec::default()
            };
            let spec = h.add_spec(newcomer);
            let pod = h.add_pod(spec);
            h.start();
            h.run();
            assert_eq!(h.node_of(pod).is_some(), matches != anti, "{name}, anti: {anti}");
        }
    }
}

/// The same for the terms of existing pods: they bind newcomers of the namespaces that they name.
#[test]
fn existing_terms_look_into_namespaces() {
    let team = Namespaces { selector: Some(labels("team=team1").into()), ..Namespaces::default() };
    for (name, namespaces, newcomer_in, fits) in [
        ("its own namespace only", Namespaces::default(), "subteam2.team1", true),
        ("its own namespace", Namespaces::default(), "subteam1.team1", false),
        ("by label", team.clone(), "subteam2.team1", false),
        ("by label, no match", team, "subteam1.team2", true),
    ] {
        let mut h = Harness::new(&Settings::default());
        for (namespace, team) in
            [("subteam1.team1", "team1"), ("subteam2.team1", "team1"), ("subteam1.team2", "team2")]
        {
            h.cluster.namespaces.insert(namespace.into(), labels(&format!("team={team}")));
        }
        let t = h.template(roomy("zone=z"));
        h.add_node(t, None);
        let term = PodAffinityTerm {
            selector: select("foo Exists"),
            topology_key: "zone".into(),
            anti: true,
            namespaces,
            ..PodAffinityTerm::default()
        };
        let existing = PodSpec {
            namespace_name: "subteam1.team1".into(),
            pod_affinity: vec![term],
            ..PodSpec::default()
        };
        let existing = h.add_spec(existing);
        h.add_bound_pod(existing, 0);
        let newcomer = h.add_spec(PodSpec { namespace_name: newcomer_in.into(), ..labelled("foo") });
        let pod = h.add_pod(newcomer);
        h.start();
        h.run();
        assert_eq!(h.node_of(pod).is_some(), fits, "{name}");
    }
}
