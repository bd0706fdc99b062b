//! How the priority levels lend each other seats.
//!
//! Every ten seconds each level's demand for seats (in use plus waiting) over the period is summed up as mean,
//! standard deviation and high watermark; mean plus deviation, smoothed so that it rises at once and falls with a
//! half-life of five minutes, becomes the level's target. The limits are then set in proportion to the targets, each
//! between a lower bound (what the level does not lend, or what it lately used up to its nominal limit) and its
//! maximum: water-filling. Requests of the exempt level are never limited; what they use is only taken into account
//! when it leaves too little for the others' lower bounds. Source: `updateBorrowingLocked` in
//! `k8s.io/apiserver/pkg/util/flowcontrol/apf_controller.go`, `conc_alloc.go`, `fairqueuing/integrator.go`.
//!
//! The integrals are exact integers; the rest is f64 with + - * / and square root only, summed in a fixed order
//! (the real server sums in the order of a Go map, so its last bit is not defined).
//!
//! Cost: a few multiplications per change of demand; O(levels²) per adjustment.

/// Smaller targets count as this, so that nothing divides by zero.
const MIN_TARGET: f64 = 0.001;
/// Half-life of five minutes at one step in ten seconds.
const SMOOTHING: f64 = 0.977;

/// Integrals over time of a level's demand for seats.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct SeatDemand {
    seats: u32,
    max_seats: u32,
    started_ns: u64,
    updated_ns: u64,
    integral: u128,
    integral_of_square: u128,
}

/// The moments of one period.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation {
    /// Mean plus standard deviation; None if the period has no length.
    envelope: Option<f64>,
    max_seats: u32,
}

impl SeatDemand {
    pub(super) fn new(now: u64) -> SeatDemand {
        SeatDemand {
            seats: 0,
            max_seats: 0,
            started_ns: now,
            updated_ns: now,
            integral: 0,
            integral_of_square: 0,
        }
    }

    pub(super) fn add(&mut self, now: u64, seats: u32) {
        self.advance(now);
        self.seats += seats;
        self.max_seats = self.max_seats.max(self.seats);
    }

    pub(super) fn subtract(&mut self, now: u64, seats: u32) {
        self.advance(now);
        self.seats -= seats;
    }

    fn advance(&mut self, now: u64) {
        let area = u128::from(self.seats) * u128::from(now.saturating_sub(self.updated_ns));
        self.integral += area;
        self.integral_of_square += area * u128::from(self.seats);
        self.updated_ns = now;
    }

    /// Ends a period and starts the next.
    pub(super) fn observe(&mut self, now: u64) -> Observation {
        self.advance(now);
        let duration = u128::from(now - self.started_ns);
        let envelope = (duration > 0).then(|| {
            let mean = self.integral as f64 / duration as f64;
            // duration² times the variance; never negative.
            let scaled_variance = (self.integral_of_square.checked_mul(duration))
                .and_then(|squares| squares.checked_sub(self.integral.checked_mul(self.integral)?))
                .map_or_else(
                    || (self.integral_of_square as f64 / duration as f64 - mean * mean).max(0.0),
                    |scaled| scaled as f64 / (duration as f64 * duration as f64),
                );
            mean + libm::sqrt(scaled_variance)
        });
        let observation = Observation { envelope, max_seats: self.max_seats };
        self.max_seats = self.seats;
        self.started_ns = now;
        self.integral = 0;
        self.integral_of_square = 0;
        observation
    }
}

/// What a level brings to an adjustment.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Borrower {
    pub(super) exempt: bool,
    pub(super) nominal: u32,
    pub(super) min: u32,
    pub(super) max: u32,
    high_watermark: u32,
    smoothed: f64,
}

impl Borrower {
    pub(super) fn new(exempt: bool, nominal: u32, min: u32, max: u32) -> Borrower {
        Borrower { exempt, nominal, min, max, high_watermark: 0, smoothed: 0.0 }
    }

    pub(super) fn note(&mut self, observation: Observation) {
        self.high_watermark = observation.max_seats;
        if let Some(envelope) = observation.envelope {
            self.smoothed = envelope.max(SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * envelope);
        }
    }

    /// The lower bound of its next limit.
    fn lower(&self) -> u32 {
        self.min.max(self.nominal.min(self.high_watermark))
    }

    /// The next limit of the exempt level: what it used.
    fn used_by_exempt(&self) -> u32 {
        self.min.max(self.high_watermark)
    }

    /// What it asks for; the exempt level has no part in the division.
    fn claim(&self) -> Claim {
        if self.exempt {
            return Claim { target: 0.0, lower: 0.0, upper: 0.0 };
        }
        let lower = f64::from(self.lower());
        Claim { target: lower.max(self.smoothed), lower, upper: f64::from(self.max) }
    }
}

/// The next limit of each level, in order. `current` are the present ones; they stay where there is no solution.
pub(super) fn next_limits(levels: &[Borrower], current: &[u32]) -> Vec<u32> {
    let sum = |of: fn(&Borrower) -> u32, exempt: bool| -> i64 {
        levels.iter().filter(|l| l.exempt == exempt).map(|l| i64::from(of(l))).sum()
    };
    let nominal_sum: u32 = levels.iter().map(|l| l.nominal).sum();
    let remaining = i64::from(nominal_sum) - sum(Borrower::used_by_exempt, true);
    let (min_sum, lower_sum) = (sum(|l| l.min, false), sum(Borrower::lower, false));

    let limits: Vec<u32> = if remaining <= min_sum {
        levels.iter().map(|l| l.min).collect()
    } else if remaining <= lower_sum {
        let fraction = (remaining - min_sum) as f64 / (lower_sum - min_sum) as f64;
        levels.iter().map(|l| l.min + (f64::from(l.lower() - l.min) * fraction).round() as u32).collect()
    } else {
        // The sum to divide is the nominal one, whatever the exempt level uses.
        let claims: Vec<Claim> = levels.iter().map(Borrower::claim).collect();
        match fair_shares(f64::from(nominal_sum), &claims) {
            Some(shares) => shares.into_iter().map(|share| share.round() as u32).collect(),
            None => current.to_vec(),
        }
    };
    levels.iter().zip(limits).map(|(l, limit)| if l.exempt { l.used_by_exempt() } else { limit }).collect()
}

/// One party to a division: it gets `target` times a factor common to all, but at least `lower`, at most `upper`.
#[derive(Clone, Copy, Debug)]
struct Claim {
    target: f64,
    lower: f64,
    upper: f64,
}

impl Claim {
    fn target(&self) -> f64 {
        self.target.max(MIN_TARGET)
    }

    fn share(&self, factor: f64) -> f64 {
        (factor * self.target()).min(self.upper).max(self.lower)
    }
}

/// Divides `total` so that the shares add up to it. None if the bounds do not allow that.
///
/// The sum of shares is a rising, piecewise linear function of the common factor, with a corner wherever a claim
/// leaves its lower bound or meets its upper one: find the piece that crosses `total`, then solve it.
fn fair_shares(total: f64, claims: &[Claim]) -> Option<Vec<f64>> {
    const TOLERANCE: f64 = 1e-7;
    let sum_at = |factor: f64| claims.iter().map(|c| c.share(factor)).sum::<f64>();
    let sum_of = |f: fn(&Claim) -> f64| claims.iter().map(f).sum::<f64>();
    let (lower_sum, upper_sum) = (sum_of(|c| c.lower), sum_of(|c| c.upper));
    if lower_sum - total > TOLERANCE || total - upper_sum > TOLERANCE {
        return None;
    }
    if total - lower_sum < TOLERANCE {
        return Some(claims.iter().map(|c| c.lower).collect());
    }
    if upper_sum - total < TOLERANCE {
        return Some(claims.iter().map(|c| c.upper).collect());
    }
    let mut corners: Vec<f64> =
        claims.iter().flat_map(|c| [c.lower / c.target(), c.upper / c.target()]).collect();
    corners.sort_by(f64::total_cmp);
    let end = corners.partition_point(|&corner| sum_at(corner) < total);
    let (from, to) = (if end == 0 { 0.0 } else { corners[end - 1] }, corners.get(end).copied()?);
    // In this piece a claim either stays at a bound or moves with the factor.
    let moves = |c: &Claim| c.lower / c.target() <= from && c.upper / c.target() >= to;
    let moving: f64 = claims.iter().filter(|c| moves(c)).map(Claim::target).sum();
    let fixed: f64 = claims.iter().filter(|c| !moves(c)).map(|c| c.share(from)).sum();
    let factor = if moving > 0.0 { (total - fixed) / moving } else { to };
    Some(claims.iter().map(|c| c.share(factor)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    /// The eight default levels on a server of 600 seats, in the order of `config::LEVELS`.
    fn default_levels() -> Vec<Borrower> {
        [(0, 0), (74, 50), (98, 73), (25, 25), (98, 49), (245, 24), (49, 24), (13, 13)]
            .into_iter()
            .enumerate()
            .map(|(index, (nominal, min))| Borrower::new(index == 0, nominal, min, nominal + 600))
            .collect()
    }

    fn demand(level: &mut Borrower, smoothed: f64, high_watermark: u32) {
        level.note(Observation { envelope: Some(smoothed), max_seats: high_watermark });
    }

    #[test]
    fn an_idle_server_gives_in_proportion_to_what_is_not_lendable() {
        assert_eq!(next_limits(&default_levels(), &[0; 8]), [0, 117, 170, 58, 114, 56, 56, 30]);
    }

    #[test]
    fn a_busy_level_takes_what_the_idle_ones_lend() {
        let mut levels = default_levels();
        demand(&mut levels[5], 245.0, 300);
        let limits = next_limits(&levels, &[0; 8]);
        // Lower bound 245; the others keep their minimum's share: factor 602 / (245 + 234).
        assert_eq!(limits, [0, 63, 92, 31, 62, 308, 30, 16]);
        // With a backlog of 20,000 it gets all but what the others do not lend.
        demand(&mut levels[5], 20_000.0, 20_000);
        assert_eq!(next_limits(&levels, &[0; 8]), [0, 50, 73, 25, 49, 368, 24, 13]);
    }

    #[test]
    fn a_borrower_stops_at_its_maximum() {
        let mut levels = default_levels();
        levels[4].max = 120;
        demand(&mut levels[4], 1000.0, 1000);
        let limits = next_limits(&levels, &[0; 8]);
        assert_eq!(limits[4], 120);
        // 602 - 120 = 482 over minima that add up to 209.
        assert_eq!(limits, [0, 115, 168, 58, 120, 55, 55, 30]);
    }

    #[test]
    fn exempt_use_counts_only_when_it_eats_into_the_lower_bounds() {
        let mut levels = default_levels();
        // remaining 602 - 343 = 259 is still above the minima's 258, and the sum divided stays 602.
        demand(&mut levels[0], 300.0, 343);
        assert_eq!(next_limits(&levels, &[0; 8]), [343, 117, 170, 58, 114, 56, 56, 30]);
        // Half of what workload-low's lower bound has above its minimum is left: 24 + 221/2, rounded up.
        demand(&mut levels[0], 300.0, 602 - 258 - 110);
        demand(&mut levels[5], 245.0, 245);
        let limits = next_limits(&levels, &[0; 8]);
        assert_eq!(limits, [234, 50, 73, 25, 49, 134, 24, 13]);
        demand(&mut levels[0], 500.0, 500);
        assert_eq!(next_limits(&levels, &[0; 8]), [500, 50, 73, 25, 49, 24, 24, 13]);
    }

    #[test]
    fn demand_rises_at_once_and_halves_in_five_minutes() {
        let mut level = Borrower::new(false, 100, 50, 700);
        demand(&mut level, 100.0, 100);
        assert!((level.smoothed - 100.0).abs() < 1e-12);
        for _ in 0..30 {
            demand(&mut level, 0.0, 0);
        }
        assert!((level.smoothed - 50.0).abs() < 0.5, "{}", level.smoothed);
    }

    #[test]
    fn a_period_is_summed_up_by_mean_deviation_and_maximum() {
        let mut integral = SeatDemand::new(0);
        integral.add(0, 10);
        integral.subtract(5 * SECOND, 10);
        let first = integral.observe(10 * SECOND);
        // Half the time 10, half 0: mean 5, deviation 5.
        assert!((first.envelope.unwrap() - 10.0).abs() < 1e-12);
        assert_eq!(first.max_seats, 10);
        // The next period's maximum starts at the present value.
        integral.add(10 * SECOND, 3);
        integral.subtract(20 * SECOND, 1);
        integral.observe(20 * SECOND);
        let last = integral.observe(30 * SECOND);
        assert!((last.envelope.unwrap() - 2.0).abs() < 1e-12);
        assert_eq!(last.max_seats, 2);
        assert!(integral.observe(30 * SECOND).envelope.is_none());
    }

    fn claim() -> impl Strategy<Value = Claim> {
        (0.0..100.0f64, 0.0..200.0f64, 0.0..300.0f64).prop_map(|(lower, more, room)| Claim {
            lower: lower.floor(),
            target: lower.floor() + if more < 50.0 { 0.0 } else { more },
            upper: lower.floor() + room.floor(),
        })
    }

    proptest! {
        /// Water-filling against bisection of the common factor.
        #[test]
        fn shares_are_those_of_the_one_factor_that_fits(claims in prop::collection::vec(claim(), 1..9), at in 0.0..1.0f64) {
            let lower: f64 = claims.iter().map(|c| c.lower).sum();
            let upper: f64 = claims.iter().map(|c| c.upper).sum();
            let total = (lower + (upper - lower) * at).round();
            let shares = fair_shares(total, &claims).unwrap();
            prop_assert!((shares.iter().sum::<f64>() - total).abs() < 1e-6);
            let (mut low, mut high) = (0.0, 1e6);
            for _ in 0..200 {
                let factor = (low + high) / 2.0;
                let sum: f64 =
                    claims.iter().map(|c| (factor * c.target.max(0.001)).clamp(c.lower, c.upper)).sum();
                if sum < total { low = factor } else { high = factor }
            }
            for (claim, share) in claims.iter().zip(&shares) {
                let expected = (high * claim.target.max(0.001)).clamp(claim.lower, claim.upper);
                prop_assert!((share - expected).abs() < 1e-5, "{claim:?}: {share}, expected {expected}");
            }
            prop_assert!(fair_shares(lower - 1.0, &claims).is_none());
            prop_assert!(fair_shares(upper + 1.0, &claims).is_none());
        }

        /// Whatever the demand, limits stay between minimum and maximum, and add up to about the nominal sum while
        /// the exempt level leaves the lower bounds alone.
        #[test]
        fn limits_stay_within_bounds(wishes in prop::collection::vec((0.0..2000.0f64, 0u32..2000), 8)) {
            let mut levels = default_levels();
            for (level, (smoothed, max)) in levels.iter_mut().zip(&wishes) {
                demand(level, *smoothed, *max);
            }
            let limits = next_limits(&levels, &[0; 8]);
            for (level, limit) in levels.iter().zip(&limits).skip(1) {
                prop_assert!((level.min..=level.max).contains(limit));
            }
            let sum: u32 = limits[1..].iter().sum();
            prop_assert!(sum <= 602 + 7);
        }
    }
}
