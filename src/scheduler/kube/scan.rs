//! A byte a node, 0 if it is not feasible, else a score; searched in blocks.
//!
//! Each block knows its best score, how many nodes have it, and how many are feasible, so that a search reads three
//! bytes of a whole block and the block's own bytes only where it begins, ends, or holds the node that is drawn.
//! In a block, the compiler turns loops into vector instructions.
//!
//! Cost: a change O(1), or O(block) where it takes the block's last best score; a search O(nodes visited / block + block). A block is 128 nodes.
use std::ops::Range;

/// Nodes a block; its counts fit into a byte.
const BLOCK: usize = 128;

/// What is known of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Summary {
    /// Its best score, 0 if nothing is feasible.
    best: u8,
    /// How many bytes are the best score.
    of_best: u8,
    /// How many bytes are not 0.
    feasible: u8,
}

impl Summary {
    #[inline]
    fn of(block: &[u8]) -> Self {
        let best = block.iter().fold(0, |most, s| most.max(*s));
        Self { best, of_best: count(block, |s| s == best), feasible: count(block, |s| s != 0) }
    }
}

/// Wrapping, as a checked addition would keep the compiler from using vectors; a block's count can't wrap.
#[inline]
fn count(block: &[u8], matches: impl Fn(u8) -> bool) -> u8 {
    block.iter().fold(0_u8, |count, s| count.wrapping_add(u8::from(matches(*s))))
}

/// A score for each place of the visiting order.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(from = "Vec<u8>", into = "Vec<u8>")]
pub struct Scores {
    bytes: Vec<u8>,
    blocks: Vec<Summary>,
    feasible: usize,
}

impl From<Vec<u8>> for Scores {
    fn from(bytes: Vec<u8>) -> Self {
        let blocks: Vec<_> = bytes.chunks(BLOCK).map(Summary::of).collect();
        let feasible = blocks.iter().map(|b| usize::from(b.feasible)).sum();
        Self { bytes, blocks, feasible }
    }
}

impl From<Scores> for Vec<u8> {
    fn from(scores: Scores) -> Self {
        scores.bytes
    }
}

impl Scores {
    /// Places.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many places are feasible.
    #[must_use]
    pub fn feasible(&self) -> usize {
        self.feasible
    }

    /// The score at a place.
    #[inline]
    #[must_use]
    pub fn at(&self, place: usize) -> u8 {
        self.bytes[place]
    }

    /// The scores of a range of places.
    #[inline]
    #[must_use]
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Changes the score at a place.
    #[inline]
    pub fn set(&mut self, place: usize, score: u8) {
        if self.bytes[place] == score {
            return;
        }
        let before = std::mem::replace(&mut self.bytes[place], score);
        let block = place / BLOCK;
        let summary = &mut self.blocks[block];
        if before == 0 {
            summary.feasible += 1;
            self.feasible += 1;
        } else if score == 0 {
            summary.feasible -= 1;
            self.feasible -= 1;
        }
        if score > summary.best {
            (summary.best, summary.of_best) = (score, 1);
        } else if score == summary.best {
            summary.of_best += 1;
        } else if before == summary.best {
            summary.of_best -= 1;
            if summary.of_best == 0 {
                let end = self.bytes.len().min((block + 1) * BLOCK);
                *summary = Summary::of(&self.bytes[block * BLOCK..end]);
            }
        }
    }

    /// The blocks that a range touches, each with the part of it that is in the range.
    #[inline]
    fn parts(&self, range: Range<usize>) -> impl Iterator<Item = Part<'_>> {
        let first = range.start / BLOCK;
        let end = range.end.div_ceil(BLOCK);
        self.blocks[first..end.max(first)].iter().enumerate().map(move |(i, summary)| {
            let whole = (first + i) * BLOCK..((first + i + 1) * BLOCK).min(self.bytes.len());
            let inside = whole.start.max(range.start)..whole.end.min(range.end);
            let known = (inside == whole).then_some(*summary);
            Part { begin: inside.start, bytes: &self.bytes[inside], known }
        })
    }

    /// How many places from `start` on, up to the end, have to be visited to see `enough` feasible ones, and how many
    /// of those are seen.
    #[must_use]
    pub fn visit(&self, start: usize, end: usize, enough: usize) -> (usize, usize) {
        if enough == 0 {
            return (0, 0);
        }
        let mut seen = 0;
        for part in self.parts(start..end) {
            let here = part.feasible();
            if seen + here >= enough {
                let inside = part.nth(enough - seen - 1, |s| s != 0);
                return (part.begin + inside + 1 - start, enough);
            }
            seen += here;
        }
        (end.saturating_sub(start), seen)
    }

    /// The best score in a range and how many places have it; (0, 0) if none is feasible.
    #[must_use]
    pub fn best(&self, range: Range<usize>) -> (u8, usize) {
        let mut found = (0_u8, 0_usize);
        for part in self.parts(range) {
            let summary = part.known.unwrap_or_else(|| Summary::of(part.bytes));
            if summary.best > found.0 {
                found = (summary.best, 0);
            }
            if summary.best == found.0 && found.0 > 0 {
                found.1 += usize::from(summary.of_best);
            }
        }
        found
    }

    /// The `nth` place (from 0) in a range that has the range's best score, which is `best`.
    #[must_use]
    pub fn nth_of_best(&self, range: Range<usize>, best: u8, mut nth: usize) -> Option<usize> {
        for part in self.parts(range) {
            let here = match part.known {
                Some(summary) if summary.best < best => 0,
                Some(summary) => usize::from(summary.of_best),
                None => usize::from(count(part.bytes, |s| s == best)),
            };
            if nth < here {
                return Some(part.begin + part.nth(nth, |s| s == best));
            }
            nth -= here;
        }
        None
    }
}

/// A block, or the part of it that a search is about.
struct Part<'a> {
    /// Place of its first byte.
    begin: usize,
    bytes: &'a [u8],
    /// For a whole block.
    known: Option<Summary>,
}

impl Part<'_> {
    #[inline]
    fn feasible(&self) -> usize {
        usize::from(self.known.map_or_else(|| count(self.bytes, |s| s != 0), |s| s.feasible))
    }

    /// Where the `nth` match is, which exists.
    fn nth(&self, nth: usize, matches: impl Fn(u8) -> bool) -> usize {
        let mut matching = self.bytes.iter().enumerate().filter(|(_, s)| matches(**s));
        matching.nth(nth).expect("as many as were counted").0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn as_written_plainly(
            bytes in proptest::collection::vec(0_u8..4, 0..700),
            changes in proptest::collection::vec((0_usize..700, 0_u8..4), 0..20),
            enough in 0_usize..300,
            nth in 0_usize..300,
            cut in (0.0..1.0_f64, 0.0..1.0_f64),
        ) {
            let mut plain = bytes.clone();
            let places = plain.len();
            let mut scores = Scores::from(bytes);
            for (at, score) in changes.into_iter().filter(|(at, _)| *at < places) {
                plain[at] = score;
                scores.set(at, score);
            }
            proptest::prop_assert_eq!(&scores, &Scores::from(plain.clone()));
            let at = |share: f64| (share * places as f64) as usize;
            let (start, end) = (at(cut.0.min(cut.1)), at(cut.0.max(cut.1)));
            let part = &plain[start..end];

            let visited = match enough {
                0 => 0,
                _ => part.iter().enumerate().filter(|(_, b)| **b != 0).nth(enough - 1).map_or(part.len(), |(i, _)| i + 1),
            };
            let seen = part[..visited].iter().filter(|b| **b != 0).count();
            proptest::prop_assert_eq!(scores.visit(start, end, enough), (visited, seen));

            let best = part.iter().copied().max().unwrap_or(0);
            let of_best = part.iter().filter(|b| **b == best && best > 0).count();
            proptest::prop_assert_eq!(scores.best(start..end), (best, of_best));
            if best > 0 {
                let expected = part.iter().enumerate().filter(|(_, b)| **b == best).nth(nth).map(|(i, _)| start + i);
                proptest::prop_assert_eq!(scores.nth_of_best(start..end, best, nth), expected);
            }
            proptest::prop_assert_eq!(scores.feasible(), plain.iter().filter(|b| **b != 0).count());
        }
    }
}
