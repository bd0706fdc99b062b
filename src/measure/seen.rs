//! What the load client's watch showed of each pod, and when.
//!
//! A recorder that measures a real cluster does not see a binding when etcd has stored it but when its own informer has
//! handled the event: after the API server has encoded and sent it and its process has had a core for it. On a busy
//! machine that is tens of milliseconds later, and the recorder's delay is part of every time it writes down.
//! Predictions for measured runs are compared in these terms; everything else counts from etcd.
//!
//! Cost: 24 bytes a pod, only where a plan asks for it.
use crate::cluster::PodId;
use crate::engine::Nanos;

/// Times at which the load client saw something of each pod, ns; `u64::MAX`: not yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Seen {
    /// Created.
    pub created_ns: Vec<Nanos>,
    /// Bound.
    pub bound_ns: Vec<Nanos>,
    /// Running.
    pub running_ns: Vec<Nanos>,
    /// How many it saw bound.
    pub bound: u64,
    /// How many it saw running.
    pub running: u64,
}

impl Seen {
    /// Nothing seen of so many pods.
    #[must_use]
    pub fn of(pods: usize) -> Self {
        let never = || vec![Nanos::MAX; pods];
        Self { created_ns: never(), bound_ns: never(), running_ns: never(), bound: 0, running: 0 }
    }

    /// A creation is shown.
    #[inline]
    pub fn created(&mut self, pod: PodId, now: Nanos) {
        first(&mut self.created_ns, pod, now);
    }

    /// A binding is shown.
    #[inline]
    pub fn bound(&mut self, pod: PodId, now: Nanos) {
        self.bound += u64::from(first(&mut self.bound_ns, pod, now));
    }

    /// A pod is shown running.
    #[inline]
    pub fn running(&mut self, pod: PodId, now: Nanos) {
        self.running += u64::from(first(&mut self.running_ns, pod, now));
    }
}

/// Notes the first time; whether it was.
#[inline]
fn first(times: &mut [Nanos], pod: PodId, now: Nanos) -> bool {
    match times.get_mut(pod as usize) {
        Some(time) if *time == Nanos::MAX => {
            *time = now;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_counts() {
        let mut seen = Seen::of(2);
        seen.bound(1, 7);
        seen.bound(1, 9);
        // A pod that came later, such as a placeholder, is nobody's.
        seen.bound(2, 9);
        assert_eq!((seen.bound_ns, seen.bound), (vec![Nanos::MAX, 7], 1));
    }
}
