//! Importers on real samples: counts agree with where they came from.
//!
//! Samples that are too large or not free to ship are read from `PODPACE_TRACES` (or the folder beside the checkout)
//! when they are there, and passed over when not.

use std::path::PathBuf;

use podpace::trace::model::{Encoding, Manifest};
use podpace::trace::{self, ImportOptions};

use crate::samples;

fn import(format: &str, paths: &[PathBuf]) -> (tempfile::TempDir, Manifest) {
    let dir = tempfile::tempdir().unwrap();
    let options = ImportOptions { encoding: Encoding::Parquet, ..ImportOptions::default() };
    let manifest =
        trace::import(format, paths, &dir.path().join("trace"), &options).unwrap_or_else(|e| panic!("{e}"));
    println!("{format}:\n{}{:?}\n", manifest.report, manifest.counts);
    (dir, manifest)
}

#[test]
fn openb_has_1523_nodes_and_8152_pods() {
    let Some(s) = samples() else { return };
    let (_dir, m) = import("openb", &[s.join("openb")]);
    assert_eq!((m.counts.nodes, m.counts.pods), (1523, 8152));
    let (_dir, m) = import("openb", &[s.join("openb/variants/openb_pod_list_cpu050.csv.gz")]);
    assert_eq!((m.counts.nodes, m.counts.pods), (0, 7439));
    let (_dir, m) = import(
        "openb",
        &[
            s.join("openb/variants/openb_pod_list_multigpu20.csv.gz"),
            s.join("openb/openb_node_list_gpu_node.csv"),
        ],
    );
    assert_eq!((m.counts.nodes, m.counts.pods), (1213, 8324));
}

#[test]
fn swf_has_all_jobs() {
    let Some(s) = samples() else { return };
    let (_dir, m) = import("swf", &[s.join("swf/NASA-iPSC-1993-3.1-cln.swf.gz")]);
    assert_eq!(m.report.tables["jobs"].kept, 18239);
    assert_eq!(m.counts.pods, 18239);
    let (_dir, m) = import("swf", &[s.join("swf/wagap-2013.swf.gz")]);
    assert_eq!(m.report.tables["jobs"].read, 17900);
    assert_eq!(m.counts.nodes, 68);
}

#[test]
fn google_2011_has_all_tasks() {
    let Some(s) = samples() else { return };
    let (_dir, m) = import("google-2011", &[s.join("google-2011")]);
    assert_eq!(m.report.tables["machine_events"].read, 37780);
    assert_eq!(m.counts.nodes, 12583);
    assert_eq!(m.report.tables["task_events"].read, 688_564);
    assert_eq!(m.counts.pods, 282_755, "one pod a submission");
}

#[test]
fn simkube_traces() {
    let Some(s) = samples() else { return };
    for (name, events, objects) in [
        ("dsb-scaling.sktrace", 19, 46),
        ("bare-pods.sktrace", 4, 0),
        ("cronjob.sktrace", 3, 0),
        ("ci-action-cronjob.sktrace", 0, 0),
        ("testutils-large_trace.json.gz", 89, 250),
        ("testutils-trace.json", 1, 0),
        ("testutils-validation_trace.json", 1, 1),
    ] {
        let (_dir, m) = import("simkube", &[s.join("simkube").join(name)]);
        if events > 0 {
            assert_eq!(m.report.tables["events"].read, events, "{name}");
        }
        if objects > 0 {
            assert_eq!(m.report.tables["objects"].read, objects, "{name}");
        }
        assert!(m.counts.pods > 0, "{name}");
    }
}

#[test]
fn kubectl_dump_and_audit_events() {
    let Some(s) = samples() else { return };
    let (_dir, m) = import("k8s-list", &[s.join("kube-state-metrics/kubectl_get_pods_jobs.json")]);
    assert_eq!((m.counts.pods, m.counts.outcomes), (10, 10));
    let (_dir, m) = import("audit", &[s.join("k8s-audit/audit2rbac-demo.log")]);
    assert_eq!(m.report.tables["objects"].read, 37);
    let (_dir, m) = import("audit", &[s.join("k8s-audit/falco")]);
    // 46 events and a file that is none; ten pod creations, one of them in two files.
    assert_eq!(m.report.tables["objects"].files, 47);
    assert_eq!(m.counts.pods, 9);
    assert_eq!(m.report.tables["objects"].dropped["repeated-event"].count, 1);
    let (_dir, m) = import("audit", &[s.join("k8s-audit/khi")]);
    assert_eq!(m.counts.pods, 1);
}

#[test]
fn dlrm_has_23871_instances() {
    let Some(s) = samples() else { return };
    let (_dir, m) = import("dlrm", &[s.join("alibaba-gpu-v2025-dlrm")]);
    assert_eq!(m.counts.pods, 23871);
}

#[test]
fn kube_state_metrics_parquet() {
    let Some(s) = samples() else { return };
    let (_dir, m) = import(
        "kube-state-metrics",
        &[s.join("kube-state-metrics/prom2parquet_kube_job_owner_2024041723.parquet")],
    );
    assert_eq!(m.report.tables["samples"].kept, 3480);
    assert!(m.counts.pods > 0);
}
