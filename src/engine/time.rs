//! Virtual time: nanoseconds since the start of a run, in a `u64` (584 years).
//!
//! A plain integer and not a newtype: instants and spans are added, compared and divided everywhere, and the
//! `_ns` at the end of a name says what a bare number is. Overflow panics in release builds too (see
//! `overflow-checks` in `Cargo.toml`), so a wrapped clock cannot pass unseen.

/// An instant (since the start of the run) or a span, in nanoseconds.
pub type Nanos = u64;

/// One microsecond in nanoseconds.
pub const MICROSECOND: Nanos = 1_000;
/// One millisecond in nanoseconds.
pub const MILLISECOND: Nanos = 1_000_000;
/// One second in nanoseconds.
pub const SECOND: Nanos = 1_000_000_000;
/// One minute in nanoseconds.
pub const MINUTE: Nanos = 60 * SECOND;
/// One hour in nanoseconds.
pub const HOUR: Nanos = 60 * MINUTE;

/// Writes a span exactly, as Go's `time.Duration` prints it: `0s`, `850ns`, `1.5µs`, `2ms`, `1m30.25s`, `1h0m0s`.
///
/// No digit is dropped, so the text reads back as the same number of nanoseconds.
pub fn format_exact(span_ns: Nanos) -> String {
    if span_ns == 0 {
        return "0s".to_owned();
    }
    if span_ns < SECOND {
        let (unit_ns, name) = match span_ns {
            0..MICROSECOND => (1, "ns"),
            MICROSECOND..MILLISECOND => (MICROSECOND, "µs"),
            _ => (MILLISECOND, "ms"),
        };
        return format!("{}{name}", decimal(span_ns, unit_ns));
    }
    let (hours, minutes, rest_ns) = (span_ns / HOUR, span_ns % HOUR / MINUTE, span_ns % MINUTE);
    let seconds = decimal(rest_ns, SECOND);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// Writes a span for people, to three significant digits below a minute and to the second above:
/// `0s`, `850ns`, `1.23µs`, `45.7ms`, `12.3s`, `2m05s`, `26h03m20s`. Rounds half up.
pub fn format_short(span_ns: Nanos) -> String {
    // The rounding may carry into the next unit (999.6 ms is 1 s), so each unit is tried on the rounded value.
    for (unit_ns, name) in [(1, "ns"), (MICROSECOND, "µs"), (MILLISECOND, "ms"), (SECOND, "s")] {
        let limit = if unit_ns == SECOND { 60 } else { 1000 };
        let whole = span_ns / unit_ns;
        let step_ns = match whole {
            0..10 => unit_ns.div_ceil(100),
            10..100 => unit_ns.div_ceil(10),
            _ => unit_ns,
        };
        let rounded_ns = span_ns.saturating_add(step_ns / 2) / step_ns * step_ns;
        if rounded_ns < limit * unit_ns {
            return if span_ns == 0 {
                "0s".to_owned()
            } else {
                format!("{}{name}", decimal(rounded_ns, unit_ns))
            };
        }
    }
    let seconds = span_ns.saturating_add(SECOND / 2) / SECOND;
    let (hours, minutes, seconds) = (seconds / 3600, seconds % 3600 / 60, seconds % 60);
    if hours == 0 {
        format!("{minutes}m{seconds:02}s")
    } else {
        format!("{hours}h{minutes:02}m{seconds:02}s")
    }
}

/// `value / unit` as a decimal fraction without trailing zeros; `unit` is a power of ten.
fn decimal(value: u64, unit: u64) -> String {
    let (whole, fraction) = (value / unit, value % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    let fraction = format!("{fraction:0digits$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_is_what_go_prints() {
        let cases = [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (245_000_000_000, "4m5s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (480_000_000_001, "8m0.000000001s"),
            (HOUR, "1h0m0s"),
        ];
        for (span_ns, text) in cases {
            assert_eq!(format_exact(span_ns), text);
        }
    }

    #[test]
    fn short_rounds_and_carries() {
        let cases = [
            (0, "0s"),
            (850, "850ns"),
            (1_234, "1.23µs"),
            (45_678_000, "45.7ms"),
            (999_600_000, "1s"),
            (999_400_000, "999ms"),
            (9_996_000_000, "10s"),
            (12_345_000_000, "12.3s"),
            (59_960_000_000, "1m00s"),
            (125_000_000_000, "2m05s"),
            (93_800_000_000_000, "26h03m20s"),
        ];
        for (span_ns, text) in cases {
            assert_eq!(format_short(span_ns), text, "{span_ns}");
        }
        assert!(!format_short(u64::MAX).is_empty());
    }
}
