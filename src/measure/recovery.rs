//! How long it takes until as many pods are bound, and run, as before a fault.
//!
//! A pod **serves** from its binding on while its node is in order and nobody deletes it. When a fault begins, a [`Case`]
//! notes how many pods serve, and how many of them run; it is closed when that many serve and run again and the fault
//! itself is over, if it has an end of its own that matters (a server that is down). What happens in between by itself
//! changes the goal: a pod that ends as it should, and a pod that is lost and that nobody replaces, lower it by one.
//!
//! When an object has become smaller, nobody can tell any more who was to come for a pod that is gone: the cases that are open
//! then are **set aside**, without times.
//!
//! Two faults at once share the pods that come back: each case has its own goal and looks at all pods.
//!
//! Cost: O(1) a change of a pod, times the cases that are open; O(pods) bytes.
use std::collections::BTreeMap;

use crate::engine::Nanos;

const BOUND: u8 = 1;
const RUNNING: u8 = 2;

/// Index of a case.
pub type CaseId = u32;

/// One fault and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Case {
    /// When it began, ns.
    pub at_ns: Nanos,
    /// Pods that served before it.
    pub bound_before: u64,
    /// Those of them that ran.
    pub running_before: u64,
    /// Pods that it took out of service.
    pub pods_lost: u64,
    /// When as many served again, ns; none: not yet, or set aside.
    pub bound_again_ns: Option<Nanos>,
    /// When as many ran again, ns; none: not yet, or set aside.
    pub running_again_ns: Option<Nanos>,
    /// When the first pod was bound after it was over, ns; none: not yet.
    pub next_bound_ns: Option<Nanos>,
    goal_bound: u64,
    goal_running: u64,
    set_aside: bool,
    /// It has an end of its own and has not reached it.
    lasts: bool,
}

impl Case {
    /// Whether it is closed.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.bound_again_ns.is_some() && self.running_again_ns.is_some()
    }
}

/// Who serves, and the cases so far.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Recovery {
    bound: u64,
    running: u64,
    /// By pod.
    flags: Vec<u8>,
    /// Pods out of service that may come back or be replaced: since when, and whether they ran.
    out: BTreeMap<u32, (Nanos, bool)>,
    cases: Vec<Case>,
    open: Vec<CaseId>,
    /// Cases after which no pod has been bound yet.
    unproven: Vec<CaseId>,
    /// Some pod has been bound since the last look.
    has_bound: bool,
    /// Pods taken out of service that nobody replaced.
    abandoned: u64,
}

impl Recovery {
    fn slot(&mut self, pod: u32) -> &mut u8 {
        let at = pod as usize;
        if self.flags.len() <= at {
            self.flags.resize(at + 1, 0);
        }
        &mut self.flags[at]
    }

    /// A fault begins. `lasts`: it is not over before [`over`](Self::over) says so.
    pub fn begin(&mut self, now: Nanos, lasts: bool) -> CaseId {
        self.cases.push(Case {
            at_ns: now,
            bound_before: self.bound,
            running_before: self.running,
            goal_bound: self.bound,
            goal_running: self.running,
            lasts,
            ..Case::default()
        });
        let id = CaseId::try_from(self.cases.len() - 1).expect("faults are limited");
        self.open.push(id);
        self.unproven.push(id);
        id
    }

    /// A fault that lasted is over.
    pub fn over(&mut self, case: CaseId, now: Nanos) {
        self.cases[case as usize].lasts = false;
        self.settle(now);
    }

    /// A pod is bound to a node that is in order.
    pub fn serves(&mut self, pod: u32) {
        let flags = self.slot(pod);
        if *flags & BOUND == 0 {
            *flags |= BOUND;
            self.bound += 1;
            self.out.remove(&pod);
        }
    }

    /// A pod is bound: a scheduler is at work.
    pub fn binds(&mut self) {
        self.has_bound = true;
    }

    /// A pod that serves runs.
    pub fn runs(&mut self, pod: u32) {
        let flags = self.slot(pod);
        if *flags & (BOUND | RUNNING) == BOUND {
            *flags |= RUNNING;
            self.running += 1;
        }
    }

    /// Stops counting a pod; says whether it served, and ran.
    fn stop(&mut self, pod: u32) -> (bool, bool) {
        let flags = std::mem::take(self.slot(pod));
        let (bound, running) = (flags & BOUND != 0, flags & RUNNING != 0);
        self.bound -= u64::from(bound);
        self.running -= u64::from(running);
        (bound, running)
    }

    /// A pod serves no longer: its node fails, or it is deleted. A fault may be to blame.
    pub fn lost(&mut self, pod: u32, now: Nanos, case: Option<CaseId>) {
        let (bound, running) = self.stop(pod);
        if bound {
            self.out.insert(pod, (now, running));
            if let Some(case) = case {
                self.cases[case as usize].pods_lost += 1;
            }
        }
    }

    /// A pod ends as it should.
    pub fn left(&mut self, pod: u32, now: Nanos) {
        let (bound, running) = self.stop(pod);
        self.lower(now, bound, running);
        if let Some((since_ns, ran)) = self.out.remove(&pod) {
            self.lower(since_ns, true, ran);
        }
    }

    /// A pod that is out of service is gone, and nobody replaces it.
    pub fn abandoned(&mut self, pod: u32) {
        if let Some((since_ns, ran)) = self.out.remove(&pod) {
            self.abandoned += 1;
            self.lower(since_ns, true, ran);
        }
    }

    /// A pod that is out of service is gone, and another comes in its place.
    pub fn replaced(&mut self, pod: u32) {
        self.out.remove(&pod);
    }

    /// Goals of the cases that counted a pod which served until `until_ns`.
    fn lower(&mut self, until_ns: Nanos, bound: bool, running: bool) {
        for case in &self.open {
            let case = &mut self.cases[*case as usize];
            if case.at_ns <= until_ns {
                case.goal_bound = case.goal_bound.saturating_sub(u64::from(bound));
                case.goal_running = case.goal_running.saturating_sub(u64::from(running));
            }
        }
    }

    /// An object has become smaller: cases that are open wait for nobody.
    pub fn set_aside(&mut self) {
        for case in &self.open {
            self.cases[*case as usize].set_aside = true;
        }
    }

    /// Closes the cases whose goals are met. To be called after changes, when all of a moment have happened.
    pub fn settle(&mut self, now: Nanos) {
        let (bound, running, cases) = (self.bound, self.running, &mut self.cases);
        self.open.retain(|case| {
            let case = &mut cases[*case as usize];
            if case.set_aside {
                return case.lasts;
            }
            if !case.lasts {
                if case.bound_again_ns.is_none() && bound >= case.goal_bound {
                    case.bound_again_ns = Some(now);
                }
                if case.running_again_ns.is_none() && running >= case.goal_running {
                    case.running_again_ns = Some(now);
                }
            }
            !case.is_closed()
        });
        if std::mem::take(&mut self.has_bound) {
            self.unproven.retain(|case| {
                let case = &mut cases[*case as usize];
                if !case.lasts && now > case.at_ns {
                    case.next_bound_ns = Some(now);
                }
                case.next_bound_ns.is_none()
            });
        }
    }

    /// Whether some case is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether a fault that has an end of its own has not reached it.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        self.open.iter().any(|case| self.cases[*case as usize].lasts)
    }

    /// All cases, in order of their begin.
    #[must_use]
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// Pods that serve, and those of them that run.
    #[must_use]
    pub const fn serving(&self) -> (u64, u64) {
        (self.bound, self.running)
    }

    /// Pods that were lost and that nobody replaced.
    #[must_use]
    pub const fn abandoned_count(&self) -> u64 {
        self.abandoned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving(pods: u32) -> Recovery {
        let mut recovery = Recovery::default();
        for pod in 0..pods {
            recovery.serves(pod);
            recovery.runs(pod);
        }
        recovery
    }

    #[test]
    fn a_case_is_closed_when_as_many_serve_and_run_as_before() {
        let mut recovery = serving(10);
        let case = recovery.begin(100, false);
        for pod in 0..3 {
            recovery.lost(pod, 100, Some(case));
        }
        recovery.settle(100);
        assert!(recovery.is_open());
        for (at, pod) in [(110, 10), (120, 11), (130, 12)] {
            recovery.replaced(pod - 10);
            recovery.serves(pod);
            recovery.settle(at);
        }
        assert_eq!(recovery.cases()[0].bound_again_ns, Some(130));
        assert_eq!(recovery.cases()[0].running_again_ns, None);
        (10..13).for_each(|pod| recovery.runs(pod));
        recovery.settle(140);
        assert_eq!(recovery.cases()[0].running_again_ns, Some(140));
        assert_eq!(recovery.cases()[0].pods_lost, 3);
        assert!(!recovery.is_open());
    }

    #[test]
    fn a_case_that_is_set_aside_waits_for_nobody_and_has_no_times() {
        let mut recovery = serving(10);
        let (fails, server) = (recovery.begin(100, false), recovery.begin(110, true));
        recovery.lost(0, 100, Some(fails));
        recovery.set_aside();
        recovery.settle(120);
        assert!(recovery.is_open(), "the server is down");
        recovery.over(server, 130);
        assert!(!recovery.is_open());
        for case in recovery.cases() {
            assert_eq!((case.bound_again_ns, case.running_again_ns), (None, None));
        }
        let later = recovery.begin(140, false);
        recovery.settle(140);
        assert_eq!(recovery.cases()[later as usize].running_again_ns, Some(140));
    }

    #[test]
    fn pods_that_end_or_are_not_replaced_lower_the_goal() {
        let mut recovery = serving(5);
        let case = recovery.begin(100, false);
        recovery.lost(0, 100, Some(case));
        recovery.lost(1, 100, Some(case));
        recovery.left(4, 110);
        recovery.abandoned(0);
        recovery.settle(120);
        assert!(recovery.is_open(), "pod 1 may come back");
        recovery.serves(1);
        recovery.runs(1);
        recovery.settle(130);
        assert!(!recovery.is_open());
        assert_eq!(recovery.abandoned_count(), 1);
        assert_eq!(recovery.serving(), (3, 3));
    }

    #[test]
    fn a_fault_that_lasts_is_not_recovered_from_before_its_end() {
        let mut recovery = serving(2);
        let case = recovery.begin(100, true);
        recovery.settle(150);
        assert!(recovery.is_open());
        recovery.over(case, 200);
        assert_eq!(recovery.cases()[0].bound_again_ns, Some(200));
    }
}
