//! A pod's life, step by step, with what held each step up.
//!
//! The steps are the intervals between the stages of its timeline; what held one up is the station, of those that
//! concern the step, at which somebody waited for more than half of it.
//!
//! Cost: O(stations x log intervals) a pod.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::simulation::Finished;
use crate::cluster::PodId;
use crate::measure::Station;

/// One step of a pod's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What happened meanwhile.
    pub step: String,
    /// Begin, ns.
    pub from_ns: u64,
    /// End, ns; none: it has not ended.
    pub to_ns: Option<u64>,
    /// Where requests or pods waited during most of it, if anywhere that concerns this step.
    pub held_up_by: Option<String>,
}

/// A pod's life, step by step. Steps that it never began are left out.
#[must_use]
pub fn waterfall(run: &Finished, pod: PodId) -> Vec<Step> {
    const CAPACITY: &[Station] = &[Station::Capacity, Station::Backoff, Station::Scheduler];
    const REQUEST: &[Station] = &[Station::Streams, Station::Seats, Station::RetryAfter];
    let t = run.cluster.pods.timeline(pod);
    let mut stages: Vec<(&str, u64, u64, &[Station])> = Vec::new();
    let jobs = run.admissions.iter().flat_map(|admissions| &admissions.jobs);
    if let Some((.., job)) = jobs.into_iter().find(|(from, to, _)| (*from..*to).contains(&pod)) {
        stages.push(("its job waits for quota", job.created_ns, job.admitted_ns, &[]));
        stages.push(("its job is unsuspended", job.admitted_ns, job.started_ns, &[]));
        stages.push((
            "the Job controller creates it",
            job.started_ns,
            t.created_ns,
            &[Station::CreationTokens],
        ));
    }
    let of_pod: [(&str, u64, u64, &[Station]); 7] = [
        ("on its way to the scheduler", t.created_ns, t.queued_ns, &[]),
        ("in the scheduler's queue", t.queued_ns, t.cycle_ns, CAPACITY),
        ("scheduling cycle", t.cycle_ns, t.assumed_ns, CAPACITY),
        ("waits for a token of the client", t.assumed_ns, t.bind_sent_ns, &[Station::BindTokens]),
        ("binding request", t.bind_sent_ns, t.bound_ns, REQUEST),
        ("starts on its node", t.bound_ns, t.running_ns, &[]),
        ("runs", t.running_ns, t.finished_ns, &[]),
    ];
    stages.extend(of_pod);
    let end = run.kernel.now();
    stages
        .into_iter()
        .filter(|(_, from, ..)| *from != u64::MAX)
        .map(|(step, from_ns, to, stations)| {
            let to_ns = (to != u64::MAX).then_some(to);
            let until = to_ns.unwrap_or(end).max(from_ns);
            let most = stations
                .iter()
                .map(|s| (run.stations.get(*s).overlap(from_ns, until), *s))
                .max_by_key(|(busy, s)| (*busy, std::cmp::Reverse(*s)))
                .filter(|(busy, _)| *busy * 2 > until - from_ns);
            let held_up_by = most.map(|(_, station)| station.name().to_owned());
            Step { step: step.to_owned(), from_ns, to_ns, held_up_by }
        })
        .collect()
}
