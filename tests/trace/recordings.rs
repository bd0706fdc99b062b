//! Recordings of live clusters as collectors deliver them: in several files, out of order, twice, at every level.

use super::formats::import;

const S: u64 = 1_000_000_000;

#[test]
fn kube_state_metrics_of_version_1_have_uids_in_one_series_only() {
    let text = "kube_pod_info{namespace=\"d\",pod=\"p\",uid=\"u\",node=\"n\",created_by_name=\"web-1\"} 1 1700000030000\n\
        kube_pod_created{namespace=\"d\",pod=\"p\"} 1.7e+09 1700000030000\n\
        kube_pod_owner{namespace=\"d\",pod=\"p\",owner_name=\"web\"} 1 1700000030000\n\
        kube_pod_status_scheduled_time{namespace=\"d\",pod=\"p\"} 1700000002 1700000030000\n\
        kube_pod_container_resource_requests_cpu_cores{namespace=\"d\",pod=\"p\",container=\"c\"} 0.25 1700000030000\n\
        kube_pod_completion_time{namespace=\"d\",pod=\"p\"} 1700000012 1700000030000\n";
    let i = import("kube-state-metrics", &[("metrics.txt", text)]);
    assert_eq!(i.pods.len(), 1, "{:?}", i.pods);
    let p = i.pod("u");
    assert_eq!((p.run_ns, p.app.as_str(), i.outcome("u").node.as_str()), (Some(10 * S), "web", "n"));
    assert_eq!(i.requests("u", "cpu_millicores"), 250);
}

#[test]
fn kube_state_metrics_are_named_by_their_file_before_its_folders() {
    let rows = "timestamp,value,namespace,pod\n1700000000,1700000000,d,p\n1700000060,1700000000,d,p\n";
    for name in [
        "kube_state_metrics/kube_pod_created.csv",
        "kube_state_metrics/kube_pod_created/2024.csv",
        "kube_pod_created/kube_state_metrics.csv",
    ] {
        let i = import("kube-state-metrics", &[(name, rows)]);
        assert_eq!(i.pods.len(), 1, "{name}");
    }
}

/// Timestamps are milliseconds in Prometheus' own text, seconds in OpenMetrics.
#[test]
fn kube_state_metrics_as_openmetrics() {
    let text = |t: [&str; 2]| {
        format!(
            "# TYPE kube_pod_info gauge\nkube_pod_info{{namespace=\"d\",pod=\"p\",uid=\"u\"}} 1 {0}\n\
             kube_pod_info{{namespace=\"d\",pod=\"p\",uid=\"u\"}} 1 {1}\n\
             kube_pod_info{{namespace=\"d\",pod=\"q\",uid=\"v\"}} 1 {0} # {{trace=\"x\"}} 1\n\
             kube_pod_info{{namespace=\"d\",pod=\"q\",uid=\"v\"}} 1 1700000090\n# EOF\n",
            t[0], t[1]
        )
    };
    for times in [["1700000000.000", "1700000060.000"], ["1700000000000", "1700000060000"]] {
        let i = import("kube-state-metrics", &[("metrics.txt", &text(times))]);
        assert_eq!((i.pod("u").run_ns, i.pod("v").run_ns), (Some(60 * S), None), "{times:?}");
        assert_eq!(i.manifest.origin_unix_ns, Some(1_700_000_000 * S as i64));
    }
}
