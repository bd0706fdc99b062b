//! Expanders: which of the node groups that would help is made larger.
//!
//! Each filter leaves the best of the options, the next one chooses among those, and what is left at the end is a matter of
//! chance (stream `autoscaler.expander`).
//!
//! Source: autoscaler 1.36.1 `expander/{waste,mostpods,leastnodes,priority,random}`, `expander/factory/chain.go`. The share that
//! least-waste compares is computed as there, in the same order of floating-point operations, because equal shares are ties.
//!
//! Left out: `price`, `grpc`; a node's capacity, for which its allocatable is taken.
//!
//! Cost: O(options x pods).
use super::config::Expander;
use crate::engine::Rng;

/// A node group that would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which group.
    pub group: usize,
    /// So many new nodes.
    pub nodes: u32,
    /// Pods that they would take.
    pub pods: u32,
    /// What these request: millicores, bytes.
    pub requested: (u64, u64),
    /// What a node has: millicores, bytes.
    pub node: (u64, u64),
    /// The group's priority.
    pub priority: Option<i64>,
}

/// Share of CPU and memory that an offer leaves unused, added up.
fn waste(offer: &Offer) -> f64 {
    let share = |has: u64, requested: u64| {
        let available = has as f64 * f64::from(offer.nodes);
        (available - requested as f64) / available
    };
    share(offer.node.0, offer.requested.0) + share(offer.node.1, offer.requested.1)
}

fn keep_least<T: PartialOrd + Copy>(offers: &mut Vec<Offer>, score: impl Fn(&Offer) -> T) {
    let least = offers.iter().map(&score).reduce(|a, b| if b < a { b } else { a });
    offers.retain(|offer| least.is_some_and(|least| score(offer) == least));
}

/// The chosen one; none if there is none.
#[must_use]
pub fn choose(expanders: &[Expander], mut offers: Vec<Offer>, rng: &mut Rng) -> Option<Offer> {
    for expander in expanders {
        match expander {
            Expander::Random => break,
            Expander::MostPods => keep_least(&mut offers, |offer| u32::MAX - offer.pods),
            Expander::LeastNodes => keep_least(&mut offers, |offer| offer.nodes),
            Expander::LeastWaste => keep_least(&mut offers, waste),
            Expander::Priority => {
                let most = offers.iter().filter_map(|offer| offer.priority).max();
                if most.is_some() {
                    offers.retain(|offer| offer.priority == most);
                }
            }
        }
        if offers.len() == 1 {
            return offers.pop();
        }
    }
    match offers.len() as u64 {
        0 => None,
        some => Some(offers[rng.below(some) as usize]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Streams;

    fn offer(group: usize, nodes: u32, pods: u32, requested: (u64, u64), node: (u64, u64)) -> Offer {
        Offer { group, nodes, pods, requested, node, priority: None }
    }

    fn chosen(expanders: &[Expander], offers: &[Offer]) -> Vec<usize> {
        let mut groups: Vec<usize> = (0..40)
            .filter_map(|seed| choose(expanders, offers.to_vec(), &mut Streams::new(seed).stream("t")))
            .map(|offer| offer.group)
            .collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// `TestLeastWaste` of `expander/waste/waste_test.go`: a pod of 500m and 1000Mi; nodes for 16 such pods, with twice the memory, with half
    /// the CPU.
    #[test]
    fn least_waste_takes_the_node_that_is_filled_best() {
        let (cpu, memory) = (500, 1000 << 20);
        let node = |group, cpus, memories| offer(group, 1, 1, (cpu, memory), (cpus * cpu, memories * memory));
        let (balanced, high_memory, low_cpu) = (node(0, 16, 16), node(1, 16, 32), node(2, 8, 16));
        assert_eq!(chosen(&[Expander::LeastWaste], &[balanced]), [0]);
        assert_eq!(chosen(&[Expander::LeastWaste], &[balanced, high_memory]), [0]);
        assert_eq!(chosen(&[Expander::LeastWaste], &[balanced, high_memory, low_cpu]), [2]);
    }

    /// Ties are broken at random by the strategy at the end of the chain (`factory/chain.go`).
    #[test]
    fn equal_shares_are_a_matter_of_chance() {
        let a = offer(0, 1, 1, (500, 1 << 30), (1_000, 2 << 30));
        let b = offer(1, 1, 2, (1_000, 2 << 30), (2_000, 4 << 30));
        assert_eq!(chosen(&[Expander::LeastWaste], &[a, b]), [0, 1]);
        assert_eq!(chosen(&[Expander::LeastWaste, Expander::MostPods], &[a, b]), [1]);
        assert_eq!(chosen(&[Expander::Random], &[a, b]), [0, 1]);
        assert_eq!(chosen(&[Expander::LeastNodes], &[offer(0, 3, 1, (1, 1), (1, 1)), b]), [1]);
    }

    /// `TestPriorityExpander..`: the highest priority that matches; groups that the ConfigMap does not name are not used, unless none is named.
    #[test]
    fn priorities_leave_out_groups_without_one() {
        let with = |group, priority| Offer { priority, ..offer(group, 1, 1, (1, 1), (2, 2)) };
        let expanders = [Expander::Priority];
        assert_eq!(chosen(&expanders, &[with(0, Some(5)), with(1, Some(50)), with(2, None)]), [1]);
        assert_eq!(chosen(&expanders, &[with(0, Some(5)), with(2, None)]), [0]);
        assert_eq!(chosen(&expanders, &[with(0, Some(5)), with(1, Some(5)), with(2, Some(1))]), [0, 1]);
        assert_eq!(chosen(&expanders, &[with(1, None), with(2, None)]), [1, 2]);
        assert_eq!(chosen(&expanders, &[]), [0_usize; 0]);
    }
}
