//! Formats without a shipped sample: documented rows in, expected pods out.

use std::path::{Path, PathBuf};

use podpace::trace::model::{
    Compression, Encoding, EventOp, Manifest, NodeOp, NodeRow, OutcomeRow, PodRow, SpecRow,
};
use podpace::trace::{self, ImportOptions, OnError, TraceError};

pub(crate) struct Imported {
    _dir: tempfile::TempDir,
    pub(crate) manifest: Manifest,
    pub(crate) pods: Vec<PodRow>,
    specs: Vec<SpecRow>,
    pub(crate) nodes: Vec<NodeRow>,
    pub(crate) outcomes: Vec<OutcomeRow>,
    deletions: Vec<(String, u64)>,
    bound: Vec<(String, String)>,
}

impl Imported {
    pub(crate) fn pod(&self, uid: &str) -> &PodRow {
        self.pods.iter().find(|p| p.uid == uid).unwrap_or_else(|| panic!("no pod {uid} in {:#?}", self.pods))
    }
    pub(crate) fn requests(&self, uid: &str, name: &str) -> u64 {
        self.specs[self.pod(uid).spec_id as usize].requests.get(name).copied().unwrap_or(0)
    }
    pub(crate) fn spec(&self, uid: &str) -> &SpecRow {
        &self.specs[self.pod(uid).spec_id as usize]
    }
    pub(crate) fn outcome(&self, uid: &str) -> &OutcomeRow {
        self.outcomes.iter().find(|o| o.uid == uid).unwrap()
    }
    pub(crate) fn deleted_at(&self, uid: &str) -> Option<u64> {
        self.deletions.iter().find(|(u, _)| u == uid).map(|d| d.1)
    }
    /// The node that a pod sits on from the beginning.
    pub(crate) fn bound_on(&self, uid: &str) -> Option<&str> {
        self.bound.iter().find(|(u, _)| u == uid).map(|(_, node)| node.as_str())
    }
    pub(crate) fn dropped(&self, table: &str, reason: &str) -> u64 {
        self.manifest.report.tables[table].dropped.get(reason).map_or(0, |d| d.count)
    }
}

fn write(dir: &Path, files: &[(&str, &str)]) -> Vec<PathBuf> {
    files
        .iter()
        .map(|(name, text)| {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        })
        .collect()
}

pub(crate) fn try_import(
    format: &str,
    files: &[(&str, &str)],
    options: &ImportOptions,
) -> Result<Imported, TraceError> {
    let dir = tempfile::tempdir().unwrap();
    let paths = write(&dir.path().join("in"), files);
    let out = dir.path().join("out");
    let manifest = trace::import(format, &paths, &out, options)?;
    let reader = trace::open(&out)?;
    let events: Vec<_> = reader.events()?.map(Result::unwrap).collect();
    Ok(Imported {
        manifest,
        pods: reader.pods()?.rows().map(Result::unwrap).collect(),
        specs: reader.specs()?,
        nodes: reader.nodes()?.map(Result::unwrap).collect(),
        outcomes: reader.outcomes()?.map(Result::unwrap).collect(),
        deletions: events
            .iter()
            .filter(|e| e.op == EventOp::PodDelete)
            .map(|e| (e.uid.clone(), e.t_ns))
            .collect(),
        bound: events
            .iter()
            .filter(|e| e.op == EventOp::PodBound)
            .map(|e| (e.uid.clone(), e.node.clone()))
            .collect(),
        _dir: dir,
    })
}

pub(crate) fn import(format: &str, files: &[(&str, &str)]) -> Imported {
    try_import(format, files, &ImportOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

const S: u64 = 1_000_000_000;

#[test]
fn alibaba_2017_plan_cpu_is_hundredths_of_a_core() {
    // Rows quoted in alibaba/clusterdata issue 11: the task asks for 100, its instances use about one core.
    let i = import(
        "alibaba-2017",
        &[
            ("server_event.csv", "0,1,add,,64,0.6899697150103833,0.31\n100,1,softerror,agent,,,\n"),
            (
                "batch_task.csv",
                "59581,59592,12702,79304,2,Terminated,100,0.005404705821447985\n6036,6046,4,6,452,Waiting,,\n",
            ),
            (
                "batch_instance.csv",
                "59581,59592,12702,79304,446,Terminated,1,1,1.01,0.12,0.035,0.031\n59582,0,12702,79304,928,Running,1,1,1.14,0.13,0.035,0.031\n0,0,4,6,,Ready,1,1,,,,\n",
            ),
            ("container_event.csv", "0,Create,7,1,8,0.1,0.1,0|1\n500,Remove,7,1,8,0.1,0.1,0|1\n"),
        ],
    );
    assert_eq!(i.pods.len(), 3);
    let first = i.pods.iter().find(|p| p.run_ns == Some(11 * S)).unwrap();
    assert_eq!(first.submit_ns, 59581 * S);
    assert_eq!(i.requests(&first.uid, "cpu_millicores"), 1000);
    assert_eq!(i.outcome(&first.uid).node, "machine-446");
    assert_eq!(i.dropped("batch_instance", "never-started"), 1);
    assert_eq!(i.pod("container-7").run_ns, Some(500 * S));
    assert_eq!((i.nodes.len(), i.nodes[1].op), (2, NodeOp::Update));
    assert!(i.nodes[1].taints.contains("NoSchedule"));
    assert_eq!(i.nodes[0].allocatable["cpu_millicores"], 64_000);
}

#[test]
fn alibaba_2018_joins_instances_to_tasks() {
    let task = "M1,2,j_1,1,Terminated,100,200,50,0.5\nR2_1,1,j_1,1,Terminated,200,300,100,1\ntask_x,1,j_2,1,Waiting,0,0,100,1\n";
    let instance = "ins_1,M1,j_1,1,Terminated,110,150,m_7,1,1,30,40,0.1,0.2\nins_2,M1,j_1,1,Terminated,120,200,m_8,1,1,30,40,0.1,0.2\n";
    let machines = "m_7,0,1,2,96,100,USING\nm_7,10,1,2,96,100,USING\n";
    let i = import(
        "alibaba-2018",
        &[("batch_task.csv", task), ("batch_instance.csv", instance), ("machine_meta.csv", machines)],
    );
    assert_eq!(i.pods.len(), 2);
    let p = i.pod("j_1/M1/ins_1");
    assert_eq!((p.submit_ns, p.run_ns), (100 * S, Some(40 * S)));
    assert_eq!(i.requests("j_1/M1/ins_1", "cpu_millicores"), 500);
    assert_eq!(i.requests("j_1/M1/ins_1", "memory_bytes"), (256u64 * (1 << 30) / 100).div_ceil(2));
    assert_eq!((i.nodes.len(), i.dropped("machine_meta", "repeated")), (1, 1));
    // A single part without instances: the task's instances are its pods.
    let i = import("alibaba-2018", &[("part.csv", task)]);
    assert_eq!(i.pods.len(), 3);
    assert_eq!(i.dropped("batch_task", "never-started"), 1);
    assert!(i.manifest.report.absent.contains_key("machine_meta"));
}

#[test]
fn azure_packing_days_and_fractions() {
    let i = import(
        "azure-packing",
        &[
            (
                "vm.csv",
                "vmId,tenantId,vmTypeId,priority,starttime,endtime\n0,9,1,0,-0.5,0.25\n1,9,1,1,0.1,\n2,9,77,1,0.1,0.2\n",
            ),
            (
                "vmType.csv",
                "id,vmTypeId,machineId,core,memory,hdd,ssd,nic\n0,1,16,0.5,0.25,,0.1,0.2\n1,1,17,0.125,0.1,,0.1,0.2\n2,2,16,1,1,,0,0\n",
            ),
        ],
    );
    assert_eq!(i.pods.len(), 2);
    assert_eq!((i.pod("vm-0").submit_ns, i.pod("vm-0").run_ns), (0, Some(21_600 * S)));
    assert_eq!((i.pod("vm-1").submit_ns, i.pod("vm-1").run_ns), (8640 * S, None));
    assert_eq!(i.requests("vm-0", "cpu_millicores"), 32_000, "machine 16 offers the most types");
    assert_eq!((i.pod("vm-0").priority, i.pod("vm-1").priority), (1, 0));
    assert_eq!(i.dropped("vm", "unknown-vm-type"), 1);
}

#[test]
fn azure_vmtable_buckets() {
    let i = import(
        "azure-vmtable",
        &[(
            "vmtable.csv",
            "v1,s,d,0,300,9.5,1.1,5.0,Interactive,4,32\nv2,s,d,600,2591700,9.5,1.1,5.0,Unknown,>24,>64\n",
        )],
    );
    assert_eq!(i.requests("v1", "cpu_millicores"), 4000);
    assert_eq!(i.requests("v2", "cpu_millicores"), 30_000);
    assert_eq!(i.requests("v2", "memory_bytes"), 70 << 30);
    assert_eq!(i.pod("v1").run_ns, Some(300 * S));
}

#[test]
fn google_2019_events_are_sorted_and_joined() {
    let i = import(
        "google-2019",
        &[
            (
                "instance_events-000.json",
                "{\"time\":\"700000000\",\"type\":\"6\",\"collection_id\":\"5\",\"collection_type\":\"0\",\"instance_index\":\"1\",\"priority\":\"200\",\"machine_id\":\"9\",\"resource_request\":{\"cpus\":0.01,\"memory\":0.002}}\n\
                 {\"time\":\"600000000\",\"type\":\"0\",\"collection_id\":\"5\",\"collection_type\":\"0\",\"instance_index\":\"1\",\"priority\":\"200\",\"resource_request\":{\"cpus\":0.01,\"memory\":0.002}}\n\
                 {\"time\":\"610000000\",\"type\":\"SCHEDULE\",\"collection_id\":\"5\",\"instance_index\":\"1\",\"priority\":\"200\",\"machine_id\":\"9\",\"resource_request\":{\"cpus\":0.01,\"memory\":0.002}}\n\
                 {\"time\":\"0\",\"type\":0,\"collection_id\":6,\"collection_type\":1,\"instance_index\":0,\"priority\":0}\n",
            ),
            (
                "collection_events-000.json",
                "{\"time\":\"0\",\"type\":\"0\",\"collection_id\":\"5\",\"user\":\"u=\",\"collection_name\":\"n\"}\n",
            ),
            (
                "machine_events.json",
                "{\"time\":\"0\",\"machine_id\":\"9\",\"type\":\"1\",\"switch_id\":\"x\",\"capacity\":{\"cpus\":0.5,\"memory\":0.25},\"platform_id\":\"p\"}\n",
            ),
        ],
    );
    assert_eq!(i.pods.len(), 1);
    let p = i.pod("5-1");
    assert_eq!((p.submit_ns, p.run_ns, p.priority, p.user.as_str()), (600 * S, Some(90 * S), 200, "u="));
    assert_eq!(i.outcome("5-1").bound_ns, Some(610 * S));
    assert_eq!(i.requests("5-1", "cpu_millicores"), 640);
    assert_eq!(i.dropped("instance_events", "alloc-set-instance"), 1);
    assert_eq!(i.nodes[0].allocatable["cpu_millicores"], 32_000);
}

#[test]
fn philly_attempts_are_gangs() {
    let i = import(
        "philly",
        &[
            (
                "cluster_job_log",
                r#"[{"status":"Pass","vc":"ee9e8c","jobid":"application_1_1","attempts":[{"start_time":"2017-10-07 01:12:09","end_time":"2017-10-07 01:13:23","detail":[{"ip":"m47","gpus":["gpu0","gpu1"]}]},{"start_time":"2017-10-07 01:13:30","end_time":"2017-10-09 06:53:12","detail":[{"ip":"m412","gpus":["gpu0"]},{"ip":"m413","gpus":["gpu0"]}]}],"submitted_time":"2017-10-07 01:11:39","user":"ce2f4c"},{"status":"Killed","vc":"x","jobid":"a2","attempts":[],"submitted_time":"2017-10-07 01:11:39","user":"u"}]"#,
            ),
            ("cluster_machine_list", "machineId,number of GPUs,single GPU mem\nm47,2, 12GB\nm412,8, 24GB\n"),
        ],
    );
    assert_eq!((i.pods.len(), i.nodes.len()), (3, 2));
    let first = i.pod("application_1_1-0-0");
    assert_eq!((first.submit_ns, first.run_ns, first.queue.as_str()), (0, Some(74 * S), "ee9e8c"));
    let second = i.pod("application_1_1-1-1");
    assert_eq!((second.submit_ns, second.min_member, second.task_group.as_str()), (104 * S, 2, "attempt-1"));
    assert_eq!(i.requests("application_1_1-0-0", "nvidia.com/gpu"), 2);
    assert_eq!(i.dropped("cluster_job_log", "no-attempt"), 1);
}

#[test]
fn helios_jobs_and_daily_nodes() {
    let i = import(
        "helios",
        &[
            (
                "Venus/cluster_log.csv",
                "job_id,user,vc,gpu_num,cpu_num,node_num,state,submit_time,start_time,end_time,duration,queue\n1425511,uXBbc,vcJkd,1,1,1,COMPLETED,2020-06-09 18:41:01,2020-06-09 18:41:01,2020-06-10 04:55:09,36848,0\n1425512,uVMrF,vchbv,16,16,2,FAILED,2020-06-09 18:41:27,2020-06-09 18:41:30,2020-06-09 18:45:36,246,3\n",
            ),
            (
                "Venus/cluster_gpu_number.csv",
                "date,vcJkd,vchbv,total\n2020-06-01,16,8,24\n2020-06-10,8,8,16\n",
            ),
        ],
    );
    assert_eq!(i.pods.len(), 3);
    assert_eq!(i.pod("job-1425511").run_ns, Some(36848 * S));
    assert_eq!(i.requests("job-1425512-0", "nvidia.com/gpu"), 8);
    assert_eq!(i.outcome("job-1425512-1").bound_ns, Some(29 * S));
    assert_eq!(i.nodes.iter().filter(|n| n.op == NodeOp::Add).count(), 3);
    assert_eq!(i.nodes.iter().filter(|n| n.op == NodeOp::Remove).count(), 1);
}

#[test]
fn wfcommons_children_follow_parents() {
    let new = r#"{"name":"w","schemaVersion":"1.5","workflow":{"specification":{"tasks":[{"id":"a","name":"a","parents":[],"children":["b"]},{"id":"b","name":"b","parents":["a"],"children":[]}]},"execution":{"makespanInSeconds":5,"executedAt":"2024-01-01T00:00:00Z","tasks":[{"id":"a","runtimeInSeconds":2.5,"coreCount":2,"memoryInBytes":1000,"executedAt":"2024-01-01T00:00:01Z","machines":["n1"]},{"id":"b","runtimeInSeconds":1}],"machines":[{"nodeName":"n1","cpu":{"coreCount":48},"memoryInBytes":2000}]}}}"#;
    let i = import("wfcommons", &[("w.json", new)]);
    assert_eq!((i.pod("w/b").submit_ns, i.pod("w/b").run_ns), (2_500_000_000, Some(S)));
    assert_eq!(i.requests("w/a", "cpu_millicores"), 2000);
    assert_eq!(i.outcome("w/a").running_ns, Some(S));
    assert_eq!(i.nodes.len(), 1);
    let old = r#"{"name":"o","workflow":{"tasks":[{"name":"x","runtime":3,"cores":1,"parents":[]},{"name":"y","runtime":1,"parents":["x"]}]}}"#;
    assert_eq!(import("wfcommons", &[("o.json", old)]).pod("o/y").submit_ns, 3 * S);
    let cycle = r#"{"name":"c","workflow":{"tasks":[{"name":"x","runtime":3,"parents":["y"]},{"name":"y","runtime":1,"parents":["x"]}]}}"#;
    assert!(try_import("wfcommons", &[("c.json", cycle)], &ImportOptions::default()).is_err());
}

const EVENTS: &str = r#"{"EventRecords":[
{"type":3,"objectID":"n1","timestampNano":1000000000000000000,"eventChangeType":2,"resource":{"resources":{"memory":{"value":33424998400},"pods":{"value":110},"vcore":{"value":8000}}}},
{"type":4,"objectID":"root.test","referenceID":"app-1","timestampNano":1000000001000000000,"eventChangeType":2,"eventChangeDetail":405},
{"type":2,"objectID":"app-1","timestampNano":1000000002000000000,"eventChangeType":2,"eventChangeDetail":201,"referenceID":"req-1","resource":{"resources":{"memory":{"value":10000000},"vcore":{"value":1000}}}},
{"type":2,"objectID":"app-1","timestampNano":1000000003000000000,"eventChangeType":2,"eventChangeDetail":200,"referenceID":"req-1-0","resource":{"resources":{"memory":{"value":10000000},"vcore":{"value":1000}}}},
{"type":3,"objectID":"n1:1234","timestampNano":1000000003000000001,"eventChangeType":2,"eventChangeDetail":303,"referenceID":"req-1-0"},
{"type":2,"objectID":"app-1","timestampNano":1000000009000000000,"eventChangeType":3,"eventChangeDetail":500,"referenceID":"req-1-0"}]}"#;

#[test]
fn yunikorn_events_become_pods() {
    let i = import("yunikorn-events", &[("events.json", EVENTS)]);
    let p = i.pod("req-1");
    assert_eq!(
        (p.submit_ns, p.run_ns, p.app.as_str(), p.queue.as_str()),
        (2 * S, Some(6 * S), "app-1", "root.test")
    );
    assert_eq!(i.outcome("req-1").node, "n1");
    assert_eq!(i.nodes[0].allocatable["cpu_millicores"], 8000);
}

const POD: &str = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-1","namespace":"shop","uid":"u1","creationTimestamp":"2024-01-01T00:00:10Z","labels":{"app":"web","pod-template-hash":"abc"},"ownerReferences":[{"kind":"ReplicaSet","name":"web-abc","controller":true}]},"spec":{"nodeName":"n1","priority":7,"containers":[{"name":"c","resources":{"requests":{"cpu":"250m","memory":"512Mi"}}}],"initContainers":[{"name":"i","resources":{"requests":{"cpu":"1","memory":"1Mi"}}}]},"status":{"phase":"Running","conditions":[{"type":"PodScheduled","status":"True","lastTransitionTime":"2024-01-01T00:00:11Z"}],"containerStatuses":[{"state":{"running":{"startedAt":"2024-01-01T00:00:13Z"}}}]}}"#;
const NODE: &str = r#"{"kind":"Node","metadata":{"name":"n1","creationTimestamp":"2023-12-31T00:00:00Z","labels":{"zone":"a"}},"spec":{"unschedulable":true},"status":{"allocatable":{"cpu":"4","memory":"16Gi","pods":"110"}}}"#;

#[test]
fn kubernetes_lists_in_json_and_yaml() {
    let list = format!(r#"{{"apiVersion":"v1","kind":"List","items":[{POD},{NODE}]}}"#);
    let i = import("k8s-list", &[("all.json", &list)]);
    let p = i.pod("u1");
    assert_eq!((p.submit_ns, p.app.as_str(), p.priority, p.run_ns), (0, "web", 7, None));
    assert_eq!(i.requests("u1", "cpu_millicores"), 1000, "the init container's 1 core is more than 250m");
    assert_eq!(i.requests("u1", "memory_bytes"), 512 << 20);
    assert_eq!(i.outcome("u1").running_ns, Some(3 * S));
    assert_eq!(i.nodes[0].t_ns, 0);
    assert!(i.nodes[0].taints.contains("unschedulable"));
    let yaml = "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: a\n    creationTimestamp: \"2024-01-01T00:00:10Z\"\n  spec:\n    containers:\n    - name: c\n      resources:\n        requests:\n          cpu: 100m\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: b\n    creationTimestamp: \"2024-01-01T00:00:12Z\"\n  spec:\n    containers:\n    - name: c\nkind: List\nmetadata:\n  resourceVersion: \"\"\n";
    let i = import("k8s-list", &[("all.yaml", yaml)]);
    assert_eq!(
        (i.pods.len(), i.pod("default/b").submit_ns, i.requests("default/a", "cpu_millicores")),
        (2, 2 * S, 100)
    );
    let manifests = "kind: Deployment\nmetadata:\n  name: d\nspec:\n  replicas: 3\n  template:\n    spec:\n      containers:\n      - name: c\n        resources: {requests: {cpu: 1}}\n---\nkind: Service\nmetadata: {name: s}\n";
    let i = import("k8s-list", &[("m.yaml", manifests)]);
    assert_eq!((i.pods.len(), i.requests("default/d-2", "cpu_millicores")), (3, 1000));
    assert_eq!(i.dropped("objects", "not-a-workload"), 1);
    // A Pod that does not exist yet stands beside it; those that exist are the pods of a Deployment that does, and of no other.
    let new = "kind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c}]}\n---\n";
    assert_eq!(import("k8s-list", &[("m.yaml", &(new.to_owned() + manifests))]).pods.len(), 4);
    let there = manifests.replace("name: d\n", "name: d\n  creationTimestamp: \"2024-01-01T00:00:00Z\"\n");
    for (text, pods) in [(manifests, 4), (&there, 1)] {
        assert_eq!(import("k8s-list", &[("all.json", &list), ("m.yaml", text)]).pods.len(), pods);
    }
    let options = ImportOptions { snapshot: true, ..ImportOptions::default() };
    let i = try_import("k8s-list", &[("all.json", &list)], &options).unwrap();
    assert_eq!(i.bound, [("u1".to_string(), "n1".to_string())]);
}

/// A placeholder is no pod of the workload; the outcomes of pods after it are exported all the same.
#[test]
fn exports_leave_out_placeholders_and_no_outcomes() {
    let options = ImportOptions {
        encoding: Encoding::Jsonl,
        compression: Compression::None,
        ..ImportOptions::default()
    };
    let list = format!(r#"{{"kind":"List","items":[{},{POD},{NODE}]}}"#, POD.replace("\"u1\"", "\"u0\""));
    let i = try_import("k8s-list", &[("all.json", &list)], &options).unwrap();
    let folder = i._dir.path().join("out");
    assert_eq!((i.outcomes.len(), i.pods[0].uid.as_str()), (2, "u0"));
    let held = r#"{"t_ns":0,"seq":0,"op":"placeholder-bound","uid":"u0","node":"n1"}"#;
    std::fs::write(folder.join("events.jsonl"), format!("{held}\n")).unwrap();
    let csv = i._dir.path().join("csv");
    trace::export(&folder, "csv", &csv, &options).unwrap();
    let rows = std::fs::read_to_string(csv.join("pods.csv")).unwrap();
    let rows: Vec<&str> = rows.lines().skip(1).collect();
    assert!(rows.len() == 1 && rows[0].contains(",u1,"), "{rows:?}");
    assert!(rows[0].ends_with(",1000000000,3000000000,,n1"), "{rows:?}");
    let swf = i._dir.path().join("pods.swf");
    trace::export(&folder, "swf", &swf, &options).unwrap();
    let text = std::fs::read_to_string(swf).unwrap();
    let jobs: Vec<&str> = text.lines().filter(|line| !line.starts_with(';')).collect();
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].split(' ').nth(2), Some("1"), "it waited for a second: {jobs:?}");
}

#[test]
fn kubernetes_watch_events() {
    let pending = POD.replace(r#""nodeName":"n1","#, "").replace("\"Running\"", "\"Pending\"");
    let pending = &pending[..pending.find(r#","conditions""#).unwrap()];
    let lines = format!(
        "{{\"type\":\"ADDED\",\"ts\":\"2024-01-01T00:00:10.25Z\",\"object\":{NODE}}}\n{{\"type\":\"ADDED\",\"ts\":\"2024-01-01T00:00:10.5Z\",\"object\":{pending}}}}}}}\n{{\"type\":\"MODIFIED\",\"ts\":\"2024-01-01T00:00:11.5Z\",\"object\":{POD}}}\n{{\"type\":\"DELETED\",\"ts\":\"2024-01-01T00:01:11.5Z\",\"object\":{POD}}}\n"
    );
    let i = import("k8s-watch", &[("watch.jsonl", &lines)]);
    // The pod's creationTimestamp says :10, the event :10.5: it was created between them. Time 0 is when the node was seen.
    assert_eq!(i.outcome("u1").created_ns, Some(250_000_000), "{:?}", i.outcomes);
    assert_eq!(i.outcome("u1").bound_ns, Some(1_250_000_000), "{:?}", i.outcomes);
    assert_eq!(i.pod("u1").run_ns, Some(60 * S));
    let orphan = format!("{{\"type\":\"DELETED\",\"object\":{POD}}}\n");
    let e = try_import("k8s-watch", &[("watch.jsonl", &orphan)], &ImportOptions::default()).err().unwrap();
    assert_eq!(e.problem().unwrap().name(), "delete-before-create");
}

#[test]
fn kwok_snapshot_with_recording() {
    let text = format!(
        "{}\n---\nkind: Pod\nmetadata: {{name: old, namespace: default}}\nspec: {{nodeName: n1, containers: [{{name: c}}]}}\n---\napiVersion: action.kwok.x-k8s.io/v1alpha1\nkind: ResourcePatch\nresource: {{version: v1, resource: pods}}\ntarget: {{name: p, namespace: default}}\ndurationNanosecond: 2000000000\nmethod: create\ntemplate: {{metadata: {{name: p, namespace: default}}, spec: {{containers: [{{name: c, resources: {{requests: {{cpu: 500m}}}}}}]}}}}\n---\nkind: ResourcePatch\nresource: {{version: v1, resource: pods}}\ntarget: {{name: p, namespace: default}}\ndurationNanosecond: 3000000000\nmethod: patch\ntemplate: {{spec: {{nodeName: n1}}}}\n---\nkind: ResourcePatch\nresource: {{version: v1, resource: pods}}\ntarget: {{name: p, namespace: default}}\ndurationNanosecond: 5000000000\nmethod: delete\n",
        "---\nkind: Node\nmetadata: {name: n1}\nstatus: {allocatable: {cpu: 4}}"
    );
    let i = import("kwok-snapshot", &[("snapshot.yaml", &text)]);
    assert_eq!((i.pods.len(), i.nodes.len()), (2, 1));
    assert_eq!((i.pod("default/p").submit_ns, i.pod("default/p").run_ns), (2 * S, Some(2 * S)));
    assert_eq!(i.bound, [("default/old".to_string(), "n1".to_string())]);
}

#[test]
fn audit_bindings_and_deletions() {
    let event = |verb: &str, sub: &str, name: &str, t: &str, rest: &str| {
        format!(
            "{{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"auditID\":\"{verb}{sub}{t}\",\"stage\":\"ResponseComplete\",\"verb\":\"{verb}\",\"objectRef\":{{\"resource\":\"pods\",\"namespace\":\"d\",\"name\":\"{name}\",\"subresource\":\"{sub}\"}},\"responseStatus\":{{\"code\":201}},\"stageTimestamp\":\"2024-01-01T00:00:{t}Z\"{rest}}}\n"
        )
    };
    let log = event(
        "create",
        "",
        "",
        "01.5",
        r#","responseObject":{"metadata":{"name":"p","uid":"u"},"spec":{"containers":[{"resources":{"requests":{"cpu":"2"}}}]}}"#,
    ) + &event("create", "binding", "p", "02.5", r#","requestObject":{"target":{"name":"n9"}}"#)
        + &event("delete", "", "p", "09.5", "")
        + &event("delete", "", "q", "10.5", "");
    let i = import("audit", &[("audit.log", &log)]);
    assert_eq!(i.requests("u", "cpu_millicores"), 2000);
    assert_eq!(
        (i.outcome("u").bound_ns, i.outcome("u").node.as_str(), i.pod("u").run_ns),
        (Some(S), "n9", Some(7 * S))
    );
    assert_eq!(i.dropped("objects", "pod-created-before-the-log"), 1);
}

#[test]
fn kube_state_metrics_text() {
    let text = "# HELP x\nkube_pod_created{namespace=\"d\",pod=\"p\",uid=\"u\"} 1.7e+09 1700000030000\nkube_pod_status_scheduled_time{namespace=\"d\",pod=\"p\",uid=\"u\"} 1700000002 1700000030000\nkube_pod_container_resource_requests{namespace=\"d\",pod=\"p\",uid=\"u\",container=\"c\",resource=\"cpu\",unit=\"core\"} 0.25 1700000030000\nkube_pod_completion_time{namespace=\"d\",pod=\"p\",uid=\"u\"} 1700000012 1700000030000\nkube_node_status_allocatable{node=\"n\",resource=\"cpu\",unit=\"core\"} 4 1700000030000\nup{job=\"x\"} 1\n";
    let i = import("kube-state-metrics", &[("metrics.txt", text)]);
    assert_eq!((i.pod("u").run_ns, i.requests("u", "cpu_millicores")), (Some(10 * S), 250));
    assert_eq!(i.dropped("samples", "metric-not-used"), 1);
    assert_eq!(i.nodes.len(), 1);
    let api = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"kube_pod_info","namespace":"d","pod":"p","uid":"u","node":"n"},"values":[[1700000000,"1"],[1700000015,"1"]]},{"metric":{"__name__":"kube_pod_info","namespace":"d","pod":"q","uid":"v","node":"n"},"values":[[1700000000,"1"],[1700000030,"1"]]}]}}"#;
    let i = import("kube-state-metrics", &[("range.json", api)]);
    assert_eq!((i.pod("u").run_ns, i.pod("v").run_ns), (Some(15 * S), None));
}

#[test]
fn batsim_profiles_and_walltimes() {
    let text = r#"{"nb_res":4,"jobs":[{"id":"a","subtime":1.5,"walltime":30,"res":2,"profile":"delay"},{"id":"b","subtime":2,"walltime":5,"res":4,"profile":"seq"},{"id":"c","subtime":3,"walltime":7,"res":1,"profile":"flops"}],"profiles":{"delay":{"type":"delay","delay":20.2},"seq":{"type":"composed","repeat":2,"seq":["delay","delay"]},"flops":{"type":"parallel_homogeneous","cpu":1e6,"com":0}}}"#;
    let i = import("batsim", &[("w.json", text)]);
    assert_eq!((i.pod("job-a").submit_ns, i.pod("job-a").run_ns), (1_500_000_000, Some(20_200_000_000)));
    assert_eq!(i.pod("job-b").run_ns, Some(5 * S), "killed at its walltime");
    assert_eq!(i.pod("job-c").run_ns, Some(7 * S));
    assert_eq!(i.nodes[0].allocatable["cpu_millicores"], 4000);
}

#[test]
fn pods_that_never_start_are_deleted() {
    let rows = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\np1,1000,10,2,500,T4|P100,BE,Pending,5,9,\n";
    let i = import("openb", &[("openb_pod_list.csv", rows)]);
    assert_eq!((i.deleted_at("p1"), i.pod("p1").run_ns), (Some(9 * S), None));
    assert_eq!(i.requests("p1", "alibabacloud.com/gpu-milli"), 1000);
    assert!(i.specs[0].affinity.contains(r#"["T4","P100"]"#));
}

#[test]
fn skipping_counts_bad_rows() {
    let rows = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\np1,1000,10,0,0,,BE,Running,5,9,6\np2,NaN,10,0,0,,BE,Running,5,9,6\np3,1000,10,0,0,,BE,Running,9,5,9\np1,1000,10,0,0,,BE,Running,5,9,6\n";
    let options = ImportOptions { on_error: OnError::Skip, ..ImportOptions::default() };
    let i = try_import("openb", &[("openb_pod_list.csv", rows)], &options).unwrap();
    assert_eq!(i.pods.len(), 1);
    assert_eq!(
        (
            i.dropped("pods", "not-a-number"),
            i.dropped("pods", "delete-before-create"),
            i.dropped("pods", "duplicate-id")
        ),
        (1, 1, 1)
    );
}

/// Files without header and with names that say nothing: tables of the same width are told apart by what they hold.
#[test]
fn tables_without_header_are_known_by_their_values() {
    let m = import("google-2011", &[("a.csv", "0,6251,1,2,abc,def\n0,625,2,3,xxy=,aa\n")]).manifest;
    assert!(m.report.notes.iter().any(|n| n.starts_with("task_constraints")), "{:?}", m.report);
    let m =
        import("google-2011", &[("b", "0,5,0,HofLGzk1Or/8Ildj2+Lqv0UGGvY82NLoni8+J/Yy0RU=,0.5,0.2493\n")])
            .manifest;
    assert_eq!(m.counts.nodes, 1);
    let nodes = "openb-node-0000,32000,262144,0,\nopenb-node-0001,64000,262144,2,P100\n";
    let pods = "openb-pod-0000,12000,16384,1,1000\n";
    let m = import("openb", &[("n.txt", nodes), ("p.txt", pods)]).manifest;
    assert_eq!((m.counts.nodes, m.counts.pods), (2, 1));
    // Usage tables have the width of others.
    for (format, usage) in [
        ("alibaba-2018", "m_1,10,30,40,,,20,30,5\n"),
        ("alibaba-2017", "0,1,27,40,20,30,5,1\n"),
        ("alibaba-2017", "39600,5,12.6,0.4,0.2,1.2,1.1,1.0,0.9,0.01,1.2,0.02\n"),
    ] {
        let m = import(format, &[("x.csv", usage)]).manifest;
        assert_eq!((m.counts.pods, m.counts.nodes), (0, 0), "{usage}");
        assert!(m.report.notes.iter().any(|n| n.starts_with("usage tables")), "{:?}", m.report);
    }
    let m = import("alibaba-2017", &[("c.csv", "0,Create,1,1,4,0.2,0.1,1|2\n")]).manifest;
    assert_eq!((m.counts.pods, m.report.tables["container_event"].kept), (1, 1));
    // What fits no table is refused and not guessed.
    let none = try_import("openb", &[("x.csv", "a,b,c,d,e\n")], &ImportOptions::default());
    assert!(matches!(none, Err(TraceError::Usage(_))), "{:?}", none.err());
}

/// Header names as others wrote them, and columns that are not there.
#[test]
fn headers_may_be_written_otherwise_and_columns_be_absent() {
    let task = "task_create_time, task_end_time, job_id, task_id,number_of_instances, status, \
        number_of_cpus_requested_per_instance_in_the_task,normalized_memory_requested_per_instance_in_the_task\n\
        6457,6533,3,5,1,Terminated,50,0.5\n";
    let t = import("alibaba-2017", &[("t.csv", task)]);
    assert_eq!(t.requests("3-5", "cpu_millicores"), 500);
    let list = "name,cpu_milli,memory_mib,num_gpu,qos\np,1000,1024,2,LS\n";
    let t = import("openb", &[("list.csv", list)]);
    assert_eq!(t.requests("p", "alibabacloud.com/gpu-milli"), 2000);
    assert!(t.manifest.report.invented.contains_key("specs.requests.gpu-milli"));
    let log = "job_id,vc,gpu_num,submit_time,duration\nj,v,4,2020-04-01 00:00:10,90\n";
    let t = import("helios", &[("cluster_log.csv", log)]);
    assert_eq!((t.pod("job-j").run_ns, t.requests("job-j", "nvidia.com/gpu")), (Some(90_000_000_000), 4));
    let dlrm = "instance_sn,app_name,cpu_request,creation_time\ni,a,12,5\n";
    let t = import("dlrm", &[("d.csv", dlrm)]);
    assert_eq!((t.requests("i", "cpu_millicores"), t.pod("i").submit_ns), (12_000, 5_000_000_000));
}

#[test]
fn measured_runs_bring_inputs_and_outcomes() {
    let rows = "pod,app,create_sent_us,create_acked_us,created_seen_us,bound_seen_us,running_seen_us,deleted_seen_us,node,hold_ms\n\
        0,0,-1000,10,20,500,,900,00003,400\n1,0,2000,2500,2600,,,,,0\n";
    let conditions = r#"{"nodes": 8, "cpu_request": "100m", "mem_request": "500Mi", "hetero": false, "too_big_every": 0,
        "constraint": "antiaffinity", "preload": true}"#;
    let t = import("measured", &[("r.json", conditions), ("r.pods.csv", rows)]);
    assert_eq!((t.pods.len(), t.nodes.len()), (2, 8));
    assert_eq!((t.pod("pod-1").submit_ns, t.pod("pod-0").run_ns), (3_000_000, Some(400_000_000)));
    assert_eq!(t.requests("pod-0", "memory_bytes"), 500 << 20);
    let outcome = t.outcome("pod-0");
    assert_eq!(
        (outcome.created_ns, outcome.bound_ns, outcome.node.as_str()),
        (Some(1_020_000), Some(1_500_000), "node-00003")
    );
    assert!(t.specs[0].affinity.contains("podAntiAffinity"));
}

/// The kubelet's clock may be behind the scheduler's: a trace says so and stays valid.
#[test]
fn clocks_that_differ_are_put_in_order() {
    let late = POD.replace("00:00:11Z", "00:00:15Z");
    let i = import("k8s-list", &[("p.json", &late)]);
    let outcome = i.outcome("u1");
    assert_eq!(
        (outcome.bound_ns, outcome.running_ns),
        (Some(5 * S), Some(5 * S)),
        "the start is on record as :13"
    );
    assert!(i.manifest.report.invented.contains_key("outcomes"));
}

#[test]
fn a_template_that_cannot_be_read_is_a_counted_row() {
    let manifest = "kind: Deployment\nmetadata:\n  name: d\nspec:\n  template:\n    spec:\n      containers:\n      - name: c\n        resources: {requests: {cpu: NaN}}\n";
    let options = ImportOptions { on_error: OnError::Skip, ..ImportOptions::default() };
    let i = try_import("k8s-list", &[("m.yaml", manifest)], &options).unwrap();
    assert_eq!((i.pods.len(), i.dropped("objects", "not-a-number")), (0, 1));
}

#[test]
fn two_pods_of_one_uid_are_one() {
    let text = "kube_pod_created{namespace=\"d\",pod=\"p\",uid=\"u\"} 1.7e+09 1700000030000\nkube_pod_created{namespace=\"d\",pod=\"q\",uid=\"u\"} 1.7e+09 1700000030000\n";
    let i = import("kube-state-metrics", &[("metrics.txt", text)]);
    assert_eq!(i.pods.len(), 1);
    assert_eq!(i.manifest.report.left_out["pods with the uid of another"].count, 1);
}

const LOG: &str = "; MaxProcs: 8\n1 0 0 60 4 -1 -1 4 -1 -1 1 1 1 -1 1 1 -1 -1\n";

/// Archive logs have dots in their names, and either file may be packed.
#[test]
fn swf_machines_are_those_beside_the_log() {
    use std::io::Write;
    let packed = |text: &str| {
        let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        e.write_all(text.as_bytes()).unwrap();
        e.finish().unwrap()
    };
    let log = "NASA-iPSC-1993-3.1-cln.swf";
    let clusters = "0 c 3 4 1 1024\n";
    for (log_packing, machines_packing) in [("", ""), ("", ".gz"), (".gz", ""), (".gz", ".gz")] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("in");
        std::fs::create_dir(&folder).unwrap();
        let put = |name: String, text: &str| {
            let bytes = if name.ends_with(".gz") { packed(text) } else { text.as_bytes().to_vec() };
            std::fs::write(folder.join(&name), bytes).unwrap();
            folder.join(name)
        };
        let path = put(format!("{log}{log_packing}"), LOG);
        put(format!("{log}.machines{machines_packing}"), clusters);
        // Named alone, and found in the folder.
        for (k, input) in [path, folder.clone()].into_iter().enumerate() {
            let out = dir.path().join(format!("out{k}"));
            let m = trace::import("swf", &[input], &out, &ImportOptions::default())
                .unwrap_or_else(|e| panic!("{log_packing} {machines_packing}: {e}"));
            assert_eq!((m.counts.nodes, m.counts.pods), (3, 1), "{log_packing} {machines_packing} {k}");
        }
    }
}

fn deployment(name: &str, replicas: u64) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"{name}","namespace":"n"}},"spec":{{"replicas":{replicas},"template":{{"metadata":{{}},"spec":{{"containers":[]}}}}}}}}"#
    )
}

#[test]
fn simkube_replicas_beyond_all_bounds_are_refused() {
    let trace = |replicas: u64| {
        let first = format!(r#"{{"ts":1,"applied_objs":[{}],"deleted_objs":[]}}"#, deployment("a", 10));
        let second =
            format!(r#"{{"ts":2,"applied_objs":[{}],"deleted_objs":[]}}"#, deployment("b", replicas));
        format!(
            r#"{{"version":2,"config":{{"trackedObjects":{{}}}},"events":[{first},{second}],"pod_lifecycles":{{}}}}"#
        )
    };
    assert_eq!(import("simkube", &[("x.json", &trace(5))]).pods.len(), 15);
    for replicas in [999_991, 1_000_000, 1 << 60] {
        let text = trace(replicas);
        let e =
            try_import("simkube", &[("x.json", &text)], &ImportOptions::default()).err().unwrap().to_string();
        for part in ["out-of-range", "spec.replicas", &replicas.to_string(), "999,990"] {
            assert!(e.contains(part), "{e}");
        }
        let skip = ImportOptions { on_error: OnError::Skip, ..ImportOptions::default() };
        let i = try_import("simkube", &[("x.json", &text)], &skip).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((i.pods.len(), i.dropped("objects", "out-of-range")), (10, 1));
    }
}

/// BigQuery exports have no order, and events without capacity.
#[test]
fn google_2019_machine_events_are_sorted() {
    let row = |time: u64, machine: u64, kind: u64, capacity: &str| {
        format!(r#"{{"time":"{time}","machine_id":"{machine}","type":"{kind}","switch_id":"x"{capacity}}}"#)
    };
    let whole = r#","capacity":{"cpus":0.5,"memory":0.25}"#;
    let half = r#","capacity":{"cpus":0.25,"memory":0.25}"#;
    let nothing = r#","capacity":{"cpus":null,"memory":null}"#;
    let rows = [
        row(900_000_000, 1, 3, half),
        row(950_000_000, 1, 3, ""),
        row(0, 1, 1, whole),
        // Left and came back, without a capacity; leaves twice.
        row(700_000_000, 2, 1, nothing),
        row(650_000_000, 2, 2, ""),
        row(600_000_000, 2, 1, whole),
        row(800_000_000, 2, 2, ""),
        row(850_000_000, 2, 2, ""),
        // An addition without capacity: it joins with its first update.
        row(600_000_000, 3, 1, ""),
        row(610_000_000, 3, 3, half),
        row(620_000_000, 3, 1, half),
    ];
    let i = import("google-2019", &[("machine_events.json", &(rows.join("\n") + "\n"))]);
    assert!(!trace::validate(&i._dir.path().join("out")).unwrap().has_errors());
    let of = |name: &str| -> Vec<(u64, NodeOp, u64)> {
        let rows = i.nodes.iter().filter(|n| n.name == name);
        rows.map(|n| (n.t_ns / S, n.op, n.allocatable.get("cpu_millicores").copied().unwrap_or(0))).collect()
    };
    use NodeOp::{Add, Remove, Update};
    assert_eq!(of("machine-1"), [(0, Add, 32_000), (900, Update, 16_000), (950, Update, 16_000)]);
    let second = [(600, Add, 32_000), (650, Remove, 0), (700, Add, 32_000), (800, Remove, 0)];
    assert_eq!(of("machine-2"), second);
    assert_eq!(of("machine-3"), [(610, Add, 16_000), (620, Update, 16_000)]);
    let table = &i.manifest.report.tables["machine_events"];
    assert_eq!((table.read, table.kept), (11, 9));
    assert_eq!(i.dropped("machine_events", "not-there"), 1);
    assert_eq!(i.dropped("machine_events", "no-capacity"), 1);
    assert!(table.dropped["not-there"].first.ends_with("machine_events.json:8"), "{table:?}");
}

fn philly_job(submitted: &str, attempts: &[(&str, &str)]) -> Result<Imported, TraceError> {
    let attempts: Vec<String> = attempts
        .iter()
        .map(|(start, end)| {
            format!(r#"{{"start_time":"{start}","end_time":"{end}","detail":[{{"ip":"m","gpus":["g"]}}]}}"#)
        })
        .collect();
    let text = format!(
        r#"[{{"status":"Pass","vc":"v","jobid":"j","attempts":[{}],"submitted_time":"{submitted}","user":"u"}}]"#,
        attempts.join(",")
    );
    try_import("philly", &[("cluster_job_log", &text)], &ImportOptions::default())
}

#[test]
fn philly_times_are_pacific_and_an_hour_comes_twice() {
    // (submitted, started, ended), and seconds of wait and run.
    for (times, wait, run) in [
        (("2017-10-07 01:11:39", "2017-10-07 01:12:09", "2017-10-07 01:13:23"), 30, 74),
        (("2017-11-05 01:50:00", "2017-11-05 01:10:00", "2017-11-05 01:20:00"), 1200, 600),
        (("2017-11-05 00:30:00", "2017-11-05 01:50:00", "2017-11-05 01:10:00"), 4800, 1200),
        (("2017-11-05 01:30:00", "2017-11-05 01:40:00", "2017-11-05 01:50:00"), 600, 600),
        (("2017-11-05 00:59:00", "2017-11-05 02:00:00", "2017-11-05 02:00:01"), 7260, 1),
        (("2017-11-04 12:00:00", "2017-11-05 12:00:00", "2017-11-05 12:00:01"), 25 * 3600, 1),
    ] {
        let i = philly_job(times.0, &[(times.1, times.2)]).unwrap_or_else(|e| panic!("{times:?}: {e}"));
        let outcome = i.outcome("j-0-0");
        let waited = outcome.running_ns.unwrap() - outcome.created_ns.unwrap();
        assert_eq!((waited / S, i.pod("j-0-0").run_ns), (wait, Some(run * S)), "{times:?}");
    }
    let origin = |time: &str| philly_job(time, &[(time, time)]).unwrap().manifest.origin_unix_ns.unwrap();
    assert_eq!(origin("2017-10-03 00:08:00"), 1_507_014_480 * S as i64, "PDT is 7 h behind");
    assert_eq!(origin("2017-11-27 00:04:00"), 1_511_769_840 * S as i64, "PST is 8 h behind");
    assert_eq!(origin("2017-10-03 00:08:00 PDT"), origin("2017-10-03 00:08:00"));
    // The second attempt follows the first.
    let attempts =
        [("2017-11-05 01:40:00", "2017-11-05 01:50:00"), ("2017-11-05 01:10:00", "2017-11-05 01:20:00")];
    let i = philly_job("2017-11-05 01:30:00", &attempts).unwrap();
    assert_eq!(i.outcome("j-1-0").running_ns, Some(40 * 60 * S));
    for (submitted, start, end, field) in [
        ("2017-10-07 01:00:00", "2017-10-07 00:50:00", "2017-10-07 02:00:00", "attempts[0].start_time"),
        ("2017-10-07 01:00:00", "2017-10-07 01:50:00", "2017-10-07 01:40:00", "attempts[0].end_time"),
        ("2017-11-05 02:10:00", "2017-11-05 01:50:00", "2017-11-05 02:20:00", "attempts[0].start_time"),
    ] {
        let e = philly_job(submitted, &[(start, end)]).err().unwrap().to_string();
        let value = if field.ends_with("start_time") { start } else { end };
        assert!(e.contains("delete-before-create") && e.contains(field) && e.contains(value), "{e}");
    }
}

/// What ran before a cut table begins enters at its first time.
#[test]
fn alibaba_2018_containers_of_a_cut_table() {
    let rows = "c_1,m_1,50,app_1,stopped,400,800,1.5\nc_2,m_1,40,app_2,started,400,800,1.5\nc_3,m_2,90,app_3,stopped,400,800,1.5\nc_3,m_2,60,app_3,started,400,800,1.5\n";
    let i = import("alibaba-2018", &[("container_meta.csv", rows)]);
    let life = |uid: &str| (i.pod(uid).submit_ns / S, i.deleted_at(uid).map(|t| t / S));
    assert_eq!(life("c_1"), (40, Some(50)));
    assert_eq!(life("c_2"), (40, None));
    assert_eq!(life("c_3"), (60, Some(90)), "rows are in order of containers, not of time");
    let rules = &i.manifest.report.invented["pods.submit_ns"];
    assert!(rules.iter().any(|r| r.count == 1 && r.rule.contains("came before")), "{rules:?}");
    assert!(!trace::validate(&i._dir.path().join("out")).unwrap().has_errors());
}
