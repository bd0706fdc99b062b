//! The samples that ship with podpace import, check and summarise; a snapshot-free summary of each is asserted.

use podpace::trace::{self, ImportOptions};

use crate::shipped;

#[test]
fn shipped_samples_import_and_validate() {
    for (format, path, pods, nodes) in [
        ("google-2011", "google-2011", 0, 0),
        ("simkube", "simkube/dsb-scaling.sktrace", 54, 0),
        ("simkube", "simkube/bare-pods.sktrace", 4, 0),
        ("simkube", "simkube/cronjob.sktrace", 3, 0),
        ("audit", "audit", 2, 0),
        ("k8s-list", "kubectl", 10, 0),
        ("opendc", "opendc/bitbrains-small", 50, 0),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("t");
        let m = trace::import(format, &[shipped(path)], &out, &ImportOptions::default())
            .unwrap_or_else(|e| panic!("{format} {path}: {e}"));
        if pods > 0 {
            assert_eq!((m.counts.pods, m.counts.nodes), (pods, nodes), "{path}");
        }
        let findings = trace::validate(&out).unwrap();
        println!("{path}: {findings}");
        assert!(!findings.has_errors(), "{path}");
        let stats = trace::stats(&out).unwrap();
        assert_eq!(stats.counts.pods, m.counts.pods);
        assert_eq!(stats.arrivals.iter().sum::<u64>(), m.counts.pods);
        assert!(!stats.to_string().is_empty() && !m.report.to_string().is_empty());
    }
}

#[test]
fn shipped_specs_generate() {
    for spec in ["generate/nightly-batch.yaml", "generate/diurnal-services.yaml"] {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("t");
        let m = trace::generate(&shipped(spec), 1, &out, &ImportOptions::default())
            .unwrap_or_else(|e| panic!("{e}"));
        assert!(m.counts.pods >= 20_000, "{spec}: {:?}", m.counts);
        assert!(!trace::validate(&out).unwrap().has_errors());
    }
}
