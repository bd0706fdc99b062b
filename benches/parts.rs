//! Speed of the parts that a simulation spends its time in: scheduling cycles, token buckets, priority and fairness,
//! YuniKorn's node order, reading a trace.
//!
//! `elements` are pods through a whole simulation, tokens, requests, allocations, or rows.
#![allow(clippy::disallowed_methods)]
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use podpace::cluster::{App, Cluster, NodeTemplate, PodSpec, Resources};
use podpace::control_plane::apf::{Apf, Identity, ResourceClass, Width};
use podpace::control_plane::token_bucket::TokenBucket;
use podpace::experiment::simulation::Simulation;
use podpace::scenario::reference::{Arrivals, plan};
use podpace::scheduler::yunikorn::{Core, Outcome, Version};
use podpace::scheduler::{Registry, Settings};
use podpace::trace::{self, ImportOptions, PodBatch};

/// Whole simulations with an ideal control plane: nearly all of it is the scheduler's cycle.
fn cycles(criterion: &mut Criterion) {
    const PODS: u32 = 5_000;
    let registry = Registry::built_in();
    let mut group = criterion.benchmark_group("cycle");
    group.sample_size(10).throughput(Throughput::Elements(u64::from(PODS)));
    for scheduler in ["kube-scheduler", "yunikorn", "first-fit"] {
        for nodes in [1_000, 5_000] {
            let arrivals = Arrivals::Rate(u64::from(nodes / 10));
            let plan = plan(scheduler, nodes, PODS, arrivals, scheduler == "first-fit").expect("a profile");
            group.bench_with_input(BenchmarkId::new(scheduler, nodes), &plan, |b, plan| {
                b.iter(|| Simulation::new(plan, &registry).expect("built in").run().counts.bound);
            });
        }
    }
    group.finish();
}

fn control_plane(criterion: &mut Criterion) {
    const REQUESTS: u64 = 100_000;
    let mut group = criterion.benchmark_group("control_plane");
    group.sample_size(10).throughput(Throughput::Elements(REQUESTS));
    group.bench_function("token_bucket", |b| {
        b.iter(|| {
            let mut bucket = TokenBucket::new(5_000_000, 100);
            (0..REQUESTS).fold(0, |last, i| last.max(bucket.reserve(i * 190_000)))
        });
    });
    // Ten times as many requests under way as there are seats: nearly all wait in fair queues.
    for (name, under_way) in [("apf, idle", 1), ("apf, queued", 2_000)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut apf = Apf::with_defaults(600);
                let identity = Identity::ServiceAccount { namespace: "yunikorn", name: "yunikorn" };
                let flow = apf.flow(identity, ResourceClass::Other, "default");
                let mut running = std::collections::VecDeque::new();
                let mut ready = Vec::new();
                let mut done = 0;
                for request in 0..REQUESTS as u32 {
                    let now = u64::from(request) * 1_000;
                    let width = Width::ONE;
                    match apf.arrive(now, flow, request, width, &mut ready) {
                        podpace::control_plane::apf::Admission::Execute => running.push_back(request),
                        podpace::control_plane::apf::Admission::Queued => {}
                        podpace::control_plane::apf::Admission::Rejected { .. } => done += 1,
                    }
                    running.extend(ready.drain(..));
                    if u64::from(request) >= under_way
                        && let Some(first) = running.pop_front()
                    {
                        apf.finish(now, first, &mut ready);
                        running.extend(ready.drain(..));
                        done += 1;
                    }
                }
                done
            });
        });
    }
    group.finish();
}

fn cluster(nodes: u32, pods: u32) -> Cluster {
    let mut cluster = Cluster::default();
    let resources = |cpu_millicores, memory_bytes, pods| Resources {
        cpu_millicores,
        memory_bytes,
        pods,
        ..Resources::default()
    };
    let template = cluster.nodes.add_template(NodeTemplate {
        allocatable: resources(16_000, 64 << 30, 110),
        ..NodeTemplate::default()
    });
    for node in 0..nodes {
        cluster.nodes.add(format!("node-{node:06}"), template, None);
    }
    let app = cluster.pods.add_app(App { name: "a".into(), queue: "root.default".into(), ..App::default() });
    for pod in 0..pods {
        let requests = resources(250 << (pod % 4), (512 << 20) << (pod / 4 % 4), 0);
        let spec = cluster.pods.add_spec(PodSpec { requests, ..PodSpec::default() });
        cluster.pods.add(spec, app);
    }
    cluster
}

/// An allocation and, later, its release: two changes of the order and the search for the first node that fits.
fn node_order(criterion: &mut Criterion) {
    const PODS: u32 = 20_000;
    let mut group = criterion.benchmark_group("yunikorn node order");
    group.sample_size(10).throughput(Throughput::Elements(u64::from(PODS)));
    for nodes in [1_000, 10_000, 100_000] {
        let cluster = cluster(nodes, PODS);
        let mut empty = Core::new(&Settings::default(), Version::default());
        for node in 0..nodes {
            empty.set_node(&cluster, node);
        }
        group.bench_with_input(BenchmarkId::from_parameter(nodes), &cluster, |b, cluster| {
            b.iter_batched_ref(
                || empty.clone(),
                |core| {
                    let mut placed = std::collections::VecDeque::new();
                    for pod in 0..PODS {
                        core.learn(cluster, pod);
                        core.add_app(cluster, cluster.pods.app_id(pod)).expect("a queue");
                        core.add_ask(cluster, pod);
                        if let Some(Outcome::Allocated(pod, _)) = core.try_allocate(cluster).0 {
                            placed.push_back(pod);
                        }
                        if placed.len() > 4_000
                            && let Some(first) = placed.pop_front()
                        {
                            core.release(cluster, first);
                        }
                    }
                    placed.len()
                },
                criterion::BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn trace_read(criterion: &mut Criterion) {
    const PODS: u64 = 200_000;
    let folder = tempfile::tempdir().expect("a folder");
    let spec = folder.path().join("spec.yaml");
    let text = format!(
        "apiVersion: podpace/v1\nkind: TraceSpec\npods: {PODS}\narrivals: {{process: poisson, rate: 500}}\nsizes: [{{requests: {{cpu: 1}}}}]\ndurations: {{distribution: lognormal, p50: 60s, p99: 20m}}\napps: {{pods: 50}}\n"
    );
    std::fs::write(&spec, text).expect("written");
    let out = folder.path().join("trace");
    trace::generate(&spec, 1, &out, &ImportOptions::default()).expect("a trace");
    let mut group = criterion.benchmark_group("trace");
    group.sample_size(10).throughput(Throughput::Elements(PODS));
    group.bench_function("read pods", |b| {
        b.iter(|| {
            let mut pods = trace::open(&out).expect("a trace").pods().expect("pods");
            let (mut batch, mut sum) = (PodBatch::default(), 0u64);
            while pods.next_batch(&mut batch).expect("rows") {
                sum = batch.submit_ns.iter().fold(sum, |sum, at| sum.wrapping_add(*at));
            }
            sum
        });
    });
    group.finish();
}

criterion_group!(benches, cycles, control_plane, node_order, trace_read);
criterion_main!(benches);
