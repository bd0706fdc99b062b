//! Speed of the engine: the event queue on two known models, hosts at rest and saturated, random draws.
//!
//! `elements` are events (a pop and a push), jobs (a submit, its completion and wake-ups), or draws.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use podpace::engine::reference::{hold, mm10};
use podpace::engine::{Discipline, EventQueue, HeapQueue, Hosts, RadixQueue, SECOND, Streams};

fn queues(criterion: &mut Criterion) {
    const CUSTOMERS: u64 = 100_000;
    const EVENTS: u64 = 1_000_000;
    let mut group = criterion.benchmark_group("mm10");
    group.sample_size(10).throughput(Throughput::Elements(2 * CUSTOMERS));
    group.bench_function("radix", |b| b.iter(|| mm10(&mut RadixQueue::new(), CUSTOMERS)));
    group.bench_function("heap", |b| b.iter(|| mm10(&mut HeapQueue::new(), CUSTOMERS)));
    group.finish();

    let mut group = criterion.benchmark_group("hold");
    group.sample_size(10).throughput(Throughput::Elements(EVENTS));
    for pending in [10, 1_000, 5_000, 100_000] {
        group.bench_with_input(BenchmarkId::new("radix", pending), &pending, |b, &pending| {
            b.iter(|| hold(&mut RadixQueue::new(), pending, EVENTS));
        });
        group.bench_with_input(BenchmarkId::new("heap", pending), &pending, |b, &pending| {
            b.iter(|| hold(&mut HeapQueue::new(), pending, EVENTS));
        });
    }
    group.finish();
}

/// Keeps `jobs` jobs of 1 to 101 µs alive over `components` components until so many have finished.
fn closed_loop(cores: u32, components: u64, jobs: u64, finish: u64) -> u64 {
    let mut hosts = Hosts::new();
    let host = hosts.add_host("host", cores, 1_000_000);
    let components: Vec<_> =
        (0..components).map(|_| hosts.add_component(host, "component", None, Discipline::Sharing)).collect();
    let mut rng = podpace::engine::reference::SplitMix64::new(42);
    let mut queue = RadixQueue::new();
    let mut finished: Vec<u64> = (0..jobs).collect();
    let mut done = 0;
    loop {
        for token in finished.drain(..) {
            let component = components[token as usize % components.len()];
            hosts.submit(queue.now(), component, 1_000 + rng.next_u64() % 100_000, 1, token);
        }
        if let Some((at, generation)) = hosts.take_wakeup(host) {
            queue.push(at, generation);
        }
        let (now, generation) = queue.pop().expect("jobs are running");
        hosts.complete(now, host, generation, &mut finished);
        done += finished.len() as u64;
        if done >= finish {
            return now;
        }
    }
}

fn hosts(criterion: &mut Criterion) {
    const JOBS: u64 = 100_000;
    let mut group = criterion.benchmark_group("host");
    group.sample_size(10).throughput(Throughput::Elements(JOBS));
    for (cores, jobs) in [(32, 8), (32, 30), (2, 200), (2, 10_000)] {
        let name = format!("{cores} cores, 5 components, {jobs} jobs");
        group.bench_function(name, |b| b.iter(|| closed_loop(cores, 5, jobs, JOBS)));
    }
    group.finish();
}

fn draws(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("random");
    group.throughput(Throughput::Elements(1));
    let mut rng = Streams::new(42).stream("bench");
    group.bench_function("next_u64", |b| b.iter(|| rng.next_u64()));
    group.bench_function("below", |b| b.iter(|| rng.below(5_000)));
    group.bench_function("exponential", |b| b.iter(|| rng.exponential(SECOND)));
    group.bench_function("lognormal", |b| b.iter(|| rng.lognormal(1_000_000, 8_000_000)));
    group.finish();
}

criterion_group!(benches, queues, hosts, draws);
criterion_main!(benches);
