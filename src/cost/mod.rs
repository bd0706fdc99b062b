//! What work costs: operation counters, unit costs and where each number came from.
//!
//! A model counts operations of the *real* implementation (nodes visited, filters run, comparisons of a sort,
//! requests served) and a [`CostProfile`] says what one of each costs. [`Meter`] joins the two: it charges an
//! operation, remembers how often, and returns the CPU time in picoseconds. Nothing here measures our own code.
//!
//! Left out: caches, garbage collection and memory bandwidth appear only through the unit costs and through a
//! host's run-to-run noise.
//!
//! Cost: O(1) a charge; a meter holds one counter and one unit cost an operation.
mod meter;
mod profile;

pub use meter::{Charged, Meter, OpId};
pub use profile::{Cost, CostProfile, ProfileError, ProfileLibrary, RANGES};

/// CPU work in picoseconds: unit costs reach below a nanosecond, sums of 2^63 ps are 106 days.
pub type Picos = u64;

/// Picoseconds in one nanosecond.
pub const PICOS_PER_NANO: u64 = 1_000;

/// Rounds a sum of picoseconds to the nanoseconds that a host's job takes (half up).
#[must_use]
pub const fn picos_to_nanos(picos: Picos) -> u64 {
    (picos + PICOS_PER_NANO / 2) / PICOS_PER_NANO
}
