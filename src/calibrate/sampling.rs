//! `percentageOfNodesToScore` as kube-scheduler's own counters tell it, for runs whose file does not state it.
//!
//! kube-scheduler counts calls of its plugins (`scheduler_plugin_evaluation_total`): `Filter` and `Score` once a node, `PreFilter`
//! and `PreScore` once a pod. A search ends when `numFeasibleNodesToFind` nodes fit, and it is those that are scored. So `Score` over
//! `PreScore` of `NodeResourcesFit`, if it is the same for all pods and if the searches did not visit every node for want of
//! nodes that fit, is that number, and the setting follows from it and the number of nodes.
//!
//! This takes a *setting* from what was recorded, by counts and not by times: the same counts stand there however fast the run was.
//! Nothing else is taken from them. What the setting can't be told from (a plugin switched off, profiles that differ, pods for
//! which fewer nodes fit) is left at its default.
//!
//! Source: `pkg/scheduler/schedule_one.go` (`findNodesThatPassFilters`, `numFeasibleNodesToFind`),
//! `pkg/scheduler/metrics/metrics.go` of Kubernetes 1.36.
//!
//! Cost: O(bytes of the scrape).
use super::own::exposition::{Order, read};
use super::own::series::Samples;
use crate::scheduler::kube::num_feasible_nodes_to_find;

/// Calls of `NodeResourcesFit` in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Pods that were searched a node for.
    pub pre_filter: u64,
    /// Nodes visited for them.
    pub filter: u64,
    /// Pods with more than one node that fits.
    pub pre_score: u64,
    /// Nodes scored for them.
    pub score: u64,
}

impl Calls {
    /// As a scrape of kube-scheduler's metrics has them; none if it has none.
    ///
    /// # Errors
    /// A line that is no sample.
    pub fn of_scrape(text: &str) -> Result<Option<Self>, String> {
        let mut samples = Samples::default();
        read(text, Some(Order::After), &mut samples).map_err(|e| e.to_string())?;
        let count = |point: &str| {
            let labels = [("plugin", "NodeResourcesFit"), ("extension_point", point)];
            let series = samples.select("scheduler_plugin_evaluation_total", &labels);
            // One series a profile.
            series.filter_map(|(_, _, points)| points.last()).map(|p| p.value as u64).reduce(|a, b| a + b)
        };
        let points = (count("PreFilter"), count("Filter"), count("PreScore"), count("Score"));
        let (Some(pre_filter), Some(filter), Some(pre_score), Some(score)) = points else {
            return Ok(None);
        };
        Ok(Some(Self { pre_filter, filter, pre_score, score }))
    }

    /// The setting, if these calls tell it and it is not the default.
    #[must_use]
    pub fn percentage_of_nodes_to_score(self, nodes: u64) -> Option<u32> {
        if self.pre_score == 0 || !self.score.is_multiple_of(self.pre_score) {
            return None;
        }
        let found = self.score / self.pre_score;
        let stopped = self.filter < self.pre_filter.saturating_mul(nodes);
        if found < nodes && !stopped {
            return None;
        }
        let nodes = usize::try_from(nodes).ok()?;
        let finds = |percentage: u32| num_feasible_nodes_to_find(percentage, nodes) as u64 == found;
        if finds(0) {
            return None;
        }
        (1..=100).find(|percentage| finds(*percentage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(pods: u64, filter: u64, score: u64) -> Calls {
        Calls { pre_filter: pods, filter, pre_score: pods, score }
    }

    /// Counts of recorded runs of kube-scheduler 1.36: a search visits a few nodes more than it needs, as its workers stop later.
    #[test]
    fn recorded_counts() {
        assert_eq!(calls(3000, 6_000_000, 6_000_000).percentage_of_nodes_to_score(2000), Some(100));
        for (pods, nodes, filter, score) in [
            (4000, 1000, 1_686_739, 1_680_000),
            (4000, 3000, 3_128_488, 3_120_000),
            (3000, 2000, 2_043_000, 2_040_000),
            (4000, 100, 400_000, 400_000),
            (2000, 40, 80_000, 79_760),
        ] {
            let told = calls(pods, filter, score).percentage_of_nodes_to_score(nodes);
            assert_eq!(told, None, "{nodes} nodes: the default");
        }
    }

    #[test]
    fn what_the_real_rule_gives_for_each_share() {
        // 20 % of 5,000 nodes and 1 % of 1,000, where at least 100 nodes are found: 1 to 10 % do the same.
        assert_eq!(calls(10, 10_170, 10_000).percentage_of_nodes_to_score(5000), Some(20));
        assert_eq!(calls(10, 1_170, 1_000).percentage_of_nodes_to_score(1000), Some(1));
        // Adaptive at 5,000 nodes: 10 %.
        assert_eq!(calls(10, 5_170, 5_000).percentage_of_nodes_to_score(5000), None);
    }

    #[test]
    fn too_few_nodes_that_fit_tell_nothing() {
        // Every node was visited, 100 fit.
        assert_eq!(calls(10, 10_000, 1_000).percentage_of_nodes_to_score(1000), None);
        // Anti-affinity leaves fewer and fewer.
        assert_eq!(calls(3000, 1_927_742, 1_259_050).percentage_of_nodes_to_score(1000), None);
        assert_eq!(calls(0, 0, 0).percentage_of_nodes_to_score(1000), None);
    }

    #[test]
    fn a_scrape_is_read() {
        let line = |point: &str, profile: &str, value: &str| {
            format!(
                "scheduler_plugin_evaluation_total{{extension_point=\"{point}\",plugin=\"NodeResourcesFit\",profile=\"{profile}\"}} {value}\n"
            )
        };
        let mut text = "### https://127.0.0.1/metrics\n".to_owned();
        for (point, value) in [("PreFilter", "2"), ("Filter", "4e+03"), ("PreScore", "2"), ("Score", "4e+03")]
        {
            text += &line(point, "default-scheduler", value);
            text += &line(point, "other", value);
        }
        let want = Calls { pre_filter: 4, filter: 8000, pre_score: 4, score: 8000 };
        assert_eq!(Calls::of_scrape(&text), Ok(Some(want)));
        assert_eq!(Calls::of_scrape("scheduler_pending_pods 1\n"), Ok(None));
        assert!(Calls::of_scrape("scheduler_pending_pods\n").unwrap_err().starts_with("line 1"));
    }
}
