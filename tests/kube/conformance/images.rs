//! ImageLocality: `imagelocality/image_locality_test.go`, TestImageLocalityPriority, with exact scores.
use super::*;

fn node(images: &[(&str, u64)]) -> NodeTemplate {
    let images = images.iter().map(|(name, mib)| (format!("gcr.io/{name}:latest"), mib << 20)).collect();
    NodeTemplate { images, ..roomy("") }
}

fn pod(images: &[&str]) -> PodSpec {
    let name = |i: &&str| podpace::scheduler::kube::normalised_name(&format!("gcr.io/{i}"));
    PodSpec { images: images.iter().map(name).collect(), ..PodSpec::default() }
}

#[test]
fn image_locality_score() {
    let first = node(&[("40", 40), ("300", 300), ("2000", 2000)]);
    let second = node(&[("250", 250), ("10", 10)]);
    let none = node(&[]);
    let settings = only(Weights { images: 1, ..NO_SCORE });
    for (name, images, nodes, expected) in [
        // The real table's pods have two containers: (125 - 23) of (2000 - 23) MiB is 5 of 100; with thresholds a container,
        // as since 1.20.
        ("two images on two nodes, the larger wins", vec!["40", "250"], vec![&first, &second], vec![0, 5]),
        // (170 - 23) / 1977.
        ("two images on one node", vec!["40", "300"], vec![&first, &second], vec![7, 0]),
        // (1000 - 23) / 1977.
        ("a large image", vec!["10", "2000"], vec![&first, &second], vec![49, 0]),
        // (2000 / 3 - 23) / 1977.
        ("a node without images", vec!["10", "2000"], vec![&first, &second, &none], vec![32, 0, 0]),
        // One container: (1000 - 23) / 977.
        ("the limit of one container", vec!["2000"], vec![&first, &second], vec![100, 0]),
        ("an image that nobody has", vec!["99"], vec![&first, &second], vec![0, 0]),
        ("no containers known", vec![], vec![&first, &second], vec![0, 0]),
    ] {
        let nodes: Vec<NodeTemplate> = nodes.into_iter().cloned().collect();
        let found = scores(&settings, &nodes, &[], &pod(&images), |_| {});
        assert_eq!(found, expected.into_iter().map(Some).collect::<Vec<_>>(), "{name}");
    }
}

/// TestNormalizedImageName.
#[test]
fn names_of_images() {
    for (name, normalised) in [
        ("root", "root:latest"),
        ("root:tag", "root:tag"),
        ("gcr.io:5000/root", "gcr.io:5000/root:latest"),
        ("root@sha256:3eb3f6c1f1e2c8f5", "root@sha256:3eb3f6c1f1e2c8f5"),
    ] {
        assert_eq!(podpace::scheduler::kube::normalised_name(name), normalised);
    }
}
