//! Soft spread constraints over a class's table, without a list of candidates: our own speed.
//!
//! What PodTopologySpread gives a node depends only on the node's *cell*: how many matching pods are on it, for a constraint
//! by host, and which domain it is in, for any other. All other scores are the node's byte in the table (`scan`). So the best
//! total of a cell is that of its best byte, and one pass over the visited nodes that keeps, by cell, the best byte and how
//! many nodes have it says all that scoring node by node would; the float arithmetic is done once a cell.
//!
//! Not for constraints that filter, for affinity, nor where cells would be more than the nodes to find.
//!
//! Cost: a pass over the visited nodes, some 3 ns each, and O(cells).
use crate::cluster::NodeId;
use crate::engine::Rng;

use super::node_resources::NodeCache;
use super::pod_topology_spread::{normalised, rounded, topology_weight};
use super::scan::Scores;
use super::topology::View;

/// A soft constraint.
#[derive(Debug)]
pub struct Axis<'a> {
    /// Its counts.
    pub view: View<'a>,
    /// By host: nodes differ by their own count, which is at most this; else by domain.
    pub most_by_host: Option<i64>,
    /// Domains that there may be.
    pub domains: usize,
    /// `maxSkew - 1`.
    pub more: f64,
}

impl Axis<'_> {
    /// Places along the axis; the first is that of nodes without the key.
    fn len(&self) -> usize {
        2 + self.most_by_host.map_or(self.domains, |most| usize::try_from(most).unwrap_or(usize::MAX - 2))
    }

    #[inline]
    fn at(&self, node: NodeId) -> u32 {
        match self.view.domain(node) {
            None => 0,
            Some(domain) if self.most_by_host.is_none() => 1 + domain,
            Some(domain) => 1 + self.view.count_of(domain) as u32,
        }
    }

    /// Pods in the domain of a place of the axis.
    fn count(&self, at: u32) -> i64 {
        if self.most_by_host.is_some() { i64::from(at - 1) } else { self.view.count_of(at - 1) }
    }
}

/// What the visited nodes of a cell have in common, and what there is to know of them.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    nodes: u32,
    /// Its best byte.
    best: u8,
    /// How many nodes have it.
    of_best: u32,
    /// The constraints' raw score; -1 if they ignore the nodes.
    raw: i64,
    /// Its best nodes are the best of all.
    wins: bool,
}

/// Memory of a search.
#[derive(Debug, Default)]
pub struct Scratch {
    cells: Vec<Cell>,
    /// Place, cell and byte of the feasible nodes.
    seen: Vec<(u32, u16, u8)>,
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Nodes scored.
    pub scored: u64,
    /// Pods on them.
    pub pods: u64,
    /// Place of the chosen one.
    pub place: Option<usize>,
}

/// The cells of one cycle.
#[derive(Debug)]
pub struct Cells<'a> {
    /// With the places along each.
    axes: Vec<(Axis<'a>, u32)>,
    /// A node needs only one of the constraints' keys.
    any_key: bool,
    len: usize,
}

impl<'a> Cells<'a> {
    /// Along the axes of all constraints, in their order; none if there would be more than `most`.
    #[must_use]
    pub fn new(axes: Vec<Axis<'a>>, any_key: bool, most: usize) -> Option<Self> {
        let len = axes.iter().try_fold(1_usize, |len, axis| len.checked_mul(axis.len()))?;
        if len > most.min(usize::from(u16::MAX)) {
            return None;
        }
        let with_len = |axis: Axis<'a>| {
            let len = axis.len() as u32;
            (axis, len)
        };
        Some(Self { axes: axes.into_iter().map(with_len).collect(), any_key, len })
    }

    #[inline]
    fn cell_of(&self, node: NodeId) -> u32 {
        self.axes.iter().fold(0, |cell, (axis, len)| cell * len + axis.at(node))
    }

    /// Where a cell lies along each axis, the last one first.
    fn places(&self, cell: usize) -> impl Iterator<Item = u32> {
        let mut rest = cell as u32;
        self.axes.iter().rev().map(move |(_, len)| {
            let at = rest % len;
            rest /= len;
            at
        })
    }

    /// Scores the feasible nodes of `ranges` of the visiting order and draws one of the best.
    pub fn choose(
        &self,
        table: &Scores,
        order: &[NodeId],
        nodes: &NodeCache,
        ranges: [std::ops::Range<usize>; 2],
        weight: i64,
        (scratch, rng): (&mut Scratch, &mut Rng),
    ) -> Found {
        let Scratch { cells, seen } = scratch;
        cells.clear();
        cells.resize(self.len, Cell::default());
        seen.clear();
        let mut pods = 0;
        for range in ranges {
            for (place, (byte, node)) in
                range.clone().zip(table.bytes(range.clone()).iter().zip(&order[range]))
            {
                if *byte == 0 {
                    continue;
                }
                let at = self.cell_of(*node);
                let cell = &mut cells[at as usize];
                cell.nodes += 1;
                if *byte > cell.best {
                    (cell.best, cell.of_best) = (*byte, 0);
                }
                cell.of_best += u32::from(*byte == cell.best);
                pods += u64::from(nodes.row(*node).pods_used);
                seen.push((place as u32, at as u16, *byte));
            }
        }
        match seen.as_slice() {
            [] => return Found { scored: 0, pods, place: None },
            [(only, ..)] => return Found { scored: 0, pods, place: Some(*only as usize) },
            _ => {}
        }
        let ties = self.score(cells, weight);
        let nth = usize::try_from(rng.below(ties)).expect("below a count");
        let mut best = seen.iter().filter(|(_, cell, byte)| {
            let cell = &cells[usize::from(*cell)];
            cell.wins && *byte == cell.best
        });
        let place = best.nth(nth).expect("counted").0;
        Found { scored: seen.len() as u64, pods, place: Some(place as usize) }
    }

    /// Finds the cells that win; says how many nodes have the best total.
    fn score(&self, cells: &mut [Cell], weight: i64) -> u64 {
        let mut scored = 0;
        // By axis, which of its places are occupied.
        let mut occupied: Vec<Vec<bool>> =
            self.axes.iter().map(|(_, len)| vec![false; *len as usize]).collect();
        for (at, cell) in cells.iter_mut().enumerate().filter(|(_, cell)| cell.nodes > 0) {
            // A node without the first key is without any, unless one of them is enough.
            if !self.any_key && self.places(at).last() == Some(0) {
                cell.raw = -1;
                continue;
            }
            scored += cell.nodes as usize;
            for (place, occupied) in self.places(at).zip(occupied.iter_mut().rev()) {
                occupied[place as usize] = true;
            }
        }
        let weights: Vec<f64> = self
            .axes
            .iter()
            .zip(&occupied)
            .map(|((axis, _), occupied)| {
                let domains = || {
                    occupied[1..].iter().filter(|o| **o).count() + usize::from(self.any_key && occupied[0])
                };
                topology_weight(if axis.most_by_host.is_some() { scored } else { domains() })
            })
            .collect();
        let (mut least, mut most) = (i64::MAX, 0);
        let mut along = vec![0; self.axes.len()];
        for (at, cell) in cells.iter_mut().enumerate().filter(|(_, cell)| cell.nodes > 0 && cell.raw >= 0) {
            for (place, along) in self.places(at).zip(along.iter_mut().rev()) {
                *along = place;
            }
            // Summed in the constraints' order.
            let scores = self.axes.iter().zip(&along).zip(&weights).filter(|((_, place), _)| **place > 0);
            let score = scores
                .map(|(((axis, _), place), weight)| axis.count(*place) as f64 * weight + axis.more)
                .sum();
            cell.raw = rounded(score);
            least = least.min(cell.raw);
            most = most.max(cell.raw);
        }
        let total = |cell: &Cell| {
            let spread = if cell.raw >= 0 { weight * normalised(least, most, cell.raw) } else { 0 };
            i64::from(cell.best) + spread
        };
        let best = cells.iter().filter(|cell| cell.nodes > 0).map(total).max();
        let mut ties = 0;
        for cell in cells.iter_mut().filter(|cell| cell.nodes > 0) {
            cell.wins = Some(total(cell)) == best;
            ties += if cell.wins { u64::from(cell.of_best) } else { 0 };
        }
        ties
    }
}
