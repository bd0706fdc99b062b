//! client-go's client-side rate limit.
//!
//! Models the token bucket that every request of one clientset passes (`golang.org/x/time/rate` under
//! `k8s.io/client-go/util/flowcontrol`): it starts full at `burst`, refills at `qps`, and who finds it empty
//! reserves the next token there will be and sleeps until then. Tokens are reserved in the order of the calls and
//! never given back: client-go waits with the request's context, which no client here cancels.
//!
//! Exact: tokens are counted in units of 10^-12, so that a nanosecond at any rate of whole thousandths per second
//! refills a whole number of them and nothing drifts. The real one computes in f64 and cuts the wait to whole
//! nanoseconds; here it is rounded up, so that a token is never used before it exists. The two differ by at most
//! 1 ns a request, and that does not add up.
//!
//! Cost: O(1) a request; one division if it has to wait.

/// Units of a token.
const TOKEN: i128 = 1_000_000_000_000;

/// A token bucket. Times are virtual ns and must not fall from call to call.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct TokenBucket {
    /// Thousandths of a token per second, which is units per ns; 0: no limit.
    qps_milli: u64,
    burst: u32,
    /// In units; negative once tokens of the future are reserved.
    tokens: i128,
    updated_ns: u64,
    reserved: u64,
    /// Units that found the bucket full.
    overflow: i128,
    /// Time until `throttled_until_ns` during which some request waited.
    throttled_ns: u64,
    throttled_until_ns: u64,
}

impl TokenBucket {
    /// client-go's default rate, in thousandths per second, where a client configures 0.
    pub const DEFAULT_QPS_MILLI: u64 = 5_000;
    /// client-go's default burst, where a client configures 0.
    pub const DEFAULT_BURST: u32 = 10;

    /// A full bucket of `burst` tokens that refills at `qps_milli` thousandths of a token per second. A `qps_milli`
    /// of 0 means no limit; a `burst` of 0 means the default. For what a client writes in its configuration, see
    /// [`from_client_config`](Self::from_client_config).
    pub fn new(qps_milli: u64, burst: u32) -> TokenBucket {
        let burst = if burst == 0 { Self::DEFAULT_BURST } else { burst };
        TokenBucket {
            qps_milli,
            burst,
            tokens: i128::from(burst) * TOKEN,
            updated_ns: 0,
            reserved: 0,
            overflow: 0,
            throttled_ns: 0,
            throttled_until_ns: 0,
        }
    }

    /// The bucket client-go builds for `QPS` (here in thousandths) and `Burst`: a QPS of 0 means 5 and a burst of 0
    /// means 10; only a negative QPS means no limit.
    pub fn from_client_config(qps_milli: i64, burst: u32) -> TokenBucket {
        match qps_milli {
            0 => TokenBucket::new(Self::DEFAULT_QPS_MILLI, burst),
            _ => TokenBucket::new(u64::try_from(qps_milli).unwrap_or(0), burst),
        }
    }

    /// A bucket that never makes anyone wait.
    pub fn unlimited() -> TokenBucket {
        TokenBucket::new(0, Self::DEFAULT_BURST)
    }

    /// Queries per second in thousandths; 0 if unlimited.
    pub fn qps_milli(&self) -> u64 {
        self.qps_milli
    }

    /// Whether it never makes anyone wait.
    pub fn is_unlimited(&self) -> bool {
        self.qps_milli == 0
    }

    /// Takes a token and returns the time from which it may be used: `now`, or later.
    pub fn reserve(&mut self, now: u64) -> u64 {
        self.reserved += 1;
        if self.is_unlimited() {
            return now;
        }
        let (tokens, overflow) = self.tokens_and_overflow(now);
        self.tokens = tokens - TOKEN;
        self.overflow = overflow;
        self.updated_ns = self.updated_ns.max(now);
        if self.tokens >= 0 {
            return now;
        }
        let wait_ns = self.tokens.unsigned_abs().div_ceil(u128::from(self.qps_milli));
        let granted_ns = self.updated_ns.saturating_add(u64::try_from(wait_ns).unwrap_or(u64::MAX));
        self.throttled_ns += granted_ns - now.max(self.throttled_until_ns).min(granted_ns);
        self.throttled_until_ns = self.throttled_until_ns.max(granted_ns);
        granted_ns
    }

    /// Requests that hold a reservation but may not go yet.
    pub fn waiting(&self, now: u64) -> u64 {
        if self.is_unlimited() {
            return 0;
        }
        let (tokens, _) = self.tokens_and_overflow(now);
        tokens.min(0).unsigned_abs().div_ceil(TOKEN.unsigned_abs()) as u64
    }

    /// Whether there are any, without counting them.
    #[inline]
    pub fn is_waiting(&self, now: u64) -> bool {
        self.throttled_until_ns > now
    }

    /// Requests that may have gone by `now`, since the start.
    pub fn granted(&self, now: u64) -> u64 {
        self.reserved - self.waiting(now)
    }

    /// Time, in ns, during which at least one request waited for a token, from the start until `now`: the bucket
    /// bounded its client's progress then.
    pub fn throttled_ns(&self, now: u64) -> u64 {
        self.throttled_ns - self.throttled_until_ns.saturating_sub(now)
    }

    /// The part of the tokens refilled since time 0 that was used, 0 to 1: 1 if the bucket was never full.
    pub fn utilisation(&self, now: u64) -> f64 {
        let refilled = i128::from(now) * i128::from(self.qps_milli);
        if refilled == 0 {
            return 0.0;
        }
        let (_, overflow) = self.tokens_and_overflow(now);
        (refilled - overflow) as f64 / refilled as f64
    }

    /// Tokens, and units lost to a full bucket, as of `now`.
    fn tokens_and_overflow(&self, now: u64) -> (i128, i128) {
        let elapsed_ns = now.saturating_sub(self.updated_ns);
        let refilled = self.tokens + i128::from(elapsed_ns) * i128::from(self.qps_milli);
        let full = i128::from(self.burst) * TOKEN;
        (refilled.min(full), self.overflow + (refilled - full).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn five_thousand_binds_at_50_per_second_take_98_seconds() {
        let mut bucket = TokenBucket::new(50_000, 100);
        let times: Vec<u64> = (0..5000).map(|_| bucket.reserve(0)).collect();
        assert!(times[..100].iter().all(|&t| t == 0));
        assert_eq!(times[100], SECOND / 50);
        assert_eq!(times[4999], 98 * SECOND);
        assert_eq!(bucket.waiting(0), 4900);
        assert_eq!(bucket.waiting(49 * SECOND), 2450);
        assert_eq!(bucket.granted(49 * SECOND), 2550);
        assert_eq!(bucket.throttled_ns(49 * SECOND), 49 * SECOND);
        assert_eq!(bucket.throttled_ns(200 * SECOND), 98 * SECOND);
    }

    #[test]
    fn an_idle_bucket_saves_no_more_than_the_burst() {
        let mut bucket = TokenBucket::new(20_000, 30);
        for _ in 0..30 {
            assert_eq!(bucket.reserve(0), 0);
        }
        let hour = 3600 * SECOND;
        assert_eq!((0..31).filter(|_| bucket.reserve(hour) == hour).count(), 30);
    }

    #[test]
    fn a_rate_that_does_not_divide_a_second_does_not_drift() {
        // 3 per second: no nanosecond is exact, yet the 3,000,000th token comes after exactly 10^6 seconds.
        let mut bucket = TokenBucket::new(3_000, 1);
        assert_eq!(bucket.reserve(0), 0);
        let mut last = 0;
        for _ in 0..3_000_000 {
            last = bucket.reserve(last);
        }
        assert_eq!(last, 1_000_000 * SECOND);
        assert!((bucket.utilisation(last) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_bucket_that_is_half_used_says_so() {
        let mut bucket = TokenBucket::new(10_000, 10);
        for tick in 0..1000 {
            bucket.reserve(tick * SECOND / 5);
        }
        let end = 200 * SECOND;
        assert!((bucket.utilisation(end) - 0.5).abs() < 0.01, "{}", bucket.utilisation(end));
        assert_eq!(bucket.throttled_ns(end), 0);
    }

    #[test]
    fn client_config_of_0_means_the_default_and_negative_means_no_limit() {
        let mut default = TokenBucket::from_client_config(0, 0);
        assert_eq!((0..12).map(|_| default.reserve(0)).max(), Some(2 * SECOND / 5));
        let mut unlimited = TokenBucket::from_client_config(-1_000, 0);
        assert!((0..10_000).all(|_| unlimited.reserve(7) == 7));
        assert_eq!(unlimited.waiting(7), 0);
        assert!(TokenBucket::new(0, 5).is_unlimited());
        assert!(TokenBucket::unlimited().is_unlimited());
    }

    /// x/time/rate in f64, as written there.
    struct Real {
        limit: f64,
        burst: f64,
        tokens: f64,
        last: u64,
    }

    impl Real {
        fn reserve(&mut self, now: u64) -> u64 {
            let elapsed_s = (now - self.last) as f64 / 1e9;
            self.tokens = (self.tokens + elapsed_s * self.limit).min(self.burst) - 1.0;
            self.last = now;
            if self.tokens < 0.0 { now + (-self.tokens / self.limit * 1e9) as u64 } else { now }
        }
    }

    proptest! {
        #[test]
        fn never_more_than_burst_plus_rate_times_window(
            qps_milli in 1u64..2_000_000,
            burst in 1u32..50,
            gaps in prop::collection::vec(prop_oneof![Just(0u64), 0u64..1_000_000, 0u64..2_000_000_000], 1..200),
        ) {
            let mut bucket = TokenBucket::new(qps_milli, burst);
            let mut now = 0;
            let grants: Vec<u64> = gaps.iter().map(|gap| { now += gap; bucket.reserve(now) }).collect();
            // In the order of the calls.
            prop_assert!(grants.is_sorted());
            for (i, &from) in grants.iter().enumerate() {
                for (j, &to) in grants.iter().enumerate().skip(i) {
                    let allowed = i128::from(burst) * TOKEN + i128::from(to - from) * i128::from(qps_milli);
                    prop_assert!((j - i + 1) as i128 * TOKEN <= allowed + i128::from(qps_milli));
                }
            }
        }

        #[test]
        fn agrees_with_the_float_one_to_a_nanosecond_and_its_rounding(
            qps_milli in 100u64..2_000_000,
            burst in 1u32..50,
            gaps in prop::collection::vec(prop_oneof![Just(0u64), 0u64..1_000_000, 0u64..2_000_000_000], 1..200),
        ) {
            let mut bucket = TokenBucket::new(qps_milli, burst);
            let mut real = Real { limit: qps_milli as f64 / 1e3, burst: f64::from(burst), tokens: f64::from(burst), last: 0 };
            let mut now = 0;
            for gap in gaps {
                now += gap;
                let (ours, theirs) = (bucket.reserve(now), real.reserve(now));
                prop_assert!(ours.abs_diff(theirs) <= 3, "{ours} {theirs}");
            }
        }

        #[test]
        fn waiting_counts_the_reservations_of_the_future(
            qps_milli in 1u64..2_000_000,
            burst in 1u32..20,
            calls in 1usize..100,
            later in 0u64..100_000_000_000,
        ) {
            let mut bucket = TokenBucket::new(qps_milli, burst);
            let grants: Vec<u64> = (0..calls).map(|_| bucket.reserve(5)).collect();
            let now = 5 + later;
            let waiting = grants.iter().filter(|&&at| at > now).count() as u64;
            prop_assert_eq!(bucket.waiting(now), waiting);
            prop_assert_eq!(bucket.is_waiting(now), waiting > 0);
            prop_assert_eq!(bucket.granted(now), calls as u64 - waiting);
        }
    }
}
