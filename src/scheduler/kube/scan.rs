//! Scans over bytes, one a node, in blocks that the compiler turns into vector instructions.
//!
//! A byte is 0 for a node that is not feasible, else a score. All functions look at a slice from its begin.
//!
//! Cost: O(bytes), some 16 of them an instruction.

/// Bytes a block; a block's counts fit into a byte.
const BLOCK: usize = 128;

/// Wrapping, as a checked addition would keep the compiler from using vectors; a block's count can't wrap.
#[inline]
fn count_where(bytes: &[u8], matches: impl Fn(u8) -> bool) -> usize {
    let in_block =
        |block: &[u8]| block.iter().fold(0_u8, |count, s| count.wrapping_add(u8::from(matches(*s))));
    bytes.chunks(BLOCK).fold(0_usize, |count, block| count + usize::from(in_block(block)))
}

/// How many bytes have to be visited to see `enough` that are not 0, and how many of those are seen.
#[must_use]
pub fn visit(bytes: &[u8], enough: usize) -> (usize, usize) {
    let mut seen = 0;
    let mut visited = 0;
    if enough == 0 {
        return (0, 0);
    }
    for block in bytes.chunks(BLOCK) {
        let here = count_where(block, |s| s != 0);
        if seen + here >= enough {
            for byte in block {
                visited += 1;
                seen += usize::from(*byte != 0);
                if seen == enough {
                    return (visited, seen);
                }
            }
        }
        seen += here;
        visited += block.len();
    }
    (visited, seen)
}

/// The largest byte, 0 if there is none.
#[must_use]
pub fn max(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |most, s| most.max(*s))
}

/// How many bytes are `value`.
#[must_use]
pub fn count(bytes: &[u8], value: u8) -> usize {
    count_where(bytes, |s| s == value)
}

/// Where the `nth` (from 0) byte is that is `value`.
#[must_use]
pub fn find_nth(bytes: &[u8], value: u8, mut nth: usize) -> Option<usize> {
    for (i, block) in bytes.chunks(BLOCK).enumerate() {
        let here = count_where(block, |s| s == value);
        if nth < here {
            let inside = block.iter().enumerate().filter(|(_, s)| **s == value).nth(nth)?.0;
            return Some(i * BLOCK + inside);
        }
        nth -= here;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn as_written_plainly(bytes in proptest::collection::vec(0_u8..4, 0..700), enough in 1_usize..300, nth in 0_usize..300) {
            let at = bytes.iter().enumerate().filter(|(_, b)| **b != 0).nth(enough - 1).map_or(bytes.len(), |(i, _)| i + 1);
            let seen = bytes[..at].iter().filter(|b| **b != 0).count();
            proptest::prop_assert_eq!(visit(&bytes, enough), (at, seen));
            proptest::prop_assert_eq!(max(&bytes), bytes.iter().copied().max().unwrap_or(0));
            proptest::prop_assert_eq!(count(&bytes, 2), bytes.iter().filter(|b| **b == 2).count());
            let expected = bytes.iter().enumerate().filter(|(_, b)| **b == 2).nth(nth).map(|(i, _)| i);
            proptest::prop_assert_eq!(find_nth(&bytes, 2, nth), expected);
        }
    }
}
