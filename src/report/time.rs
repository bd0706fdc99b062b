//! Dates of virtual times: RFC 3339 in UTC, by the proleptic Gregorian calendar.
use crate::engine::{Nanos, SECOND};

/// The date of t = 0 in seconds since 1970, unless the user names another: 2025-01-01T00:00:00Z.
pub use crate::scenario::START_S as EPOCH_S;

const DAY_S: u64 = 86_400;

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

const fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `2025-01-01T00:00:05.123456Z`: microseconds, as Kubernetes' MicroTime.
#[must_use]
pub fn rfc3339_micros(epoch_s: u64, at_ns: Nanos) -> String {
    let whole = rfc3339(epoch_s, at_ns);
    format!("{}.{:06}Z", whole.trim_end_matches('Z'), at_ns % SECOND / 1000)
}

/// `2025-01-01T00:00:05Z`: whole seconds, as Kubernetes' Time.
#[must_use]
pub fn rfc3339(epoch_s: u64, at_ns: Nanos) -> String {
    let seconds = epoch_s + at_ns / SECOND;
    let (mut days, second) = (seconds / DAY_S, seconds % DAY_S);
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    while days >= days_of_month(year, month) {
        days -= days_of_month(year, month);
        month += 1;
    }
    let (hour, minute) = (second / 3600, second % 3600 / 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{:02}Z", days + 1, second % 60)
}

/// Reads `2025-01-01T00:00:00Z`, or seconds since 1970.
///
/// # Errors
/// It is neither, or before 1970 or after 2200.
pub fn parse_epoch(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no date such as 2025-01-01T00:00:00Z (UTC, from 1970 to 2200)");
    let latest = 230 * 366 * DAY_S;
    if let Ok(seconds) = text.parse::<u64>() {
        return if seconds <= latest { Ok(seconds) } else { Err(wrong()) };
    }
    let (date, time) = text.strip_suffix('Z').and_then(|t| t.split_once('T')).ok_or_else(wrong)?;
    let numbers = |text: &str, separator: char| -> Option<[u64; 3]> {
        let parts: Option<Vec<u64>> = text
            .split(separator)
            .map(|part| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten())
            .collect();
        parts?.try_into().ok()
    };
    let [year, month, day] = numbers(date, '-').ok_or_else(wrong)?;
    let [hour, minute, second] = numbers(time, ':').ok_or_else(wrong)?;
    let is_valid = (1970..=2200).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !is_valid {
        return Err(wrong());
    }
    let days: u64 = (1970..year).map(|y| 365 + u64::from(is_leap(y))).sum::<u64>()
        + (1..month).map(|m| days_of_month(year, m)).sum::<u64>()
        + day
        - 1;
    Ok(days * DAY_S + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_back() {
        // Unix time by `date -u -d @SECONDS`.
        assert_eq!(rfc3339_micros(EPOCH_S, 5_123_456_789), "2025-01-01T00:00:05.123456Z");
        assert_eq!(rfc3339(951_782_400, 0), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(parse_epoch("2025-01-01T00:00:00Z"), Ok(EPOCH_S));
        assert_eq!(parse_epoch("2000-02-29T00:00:00Z"), Ok(951_782_400));
        assert_eq!(parse_epoch("86400"), Ok(86_400));
        for wrong in ["2025-02-29T00:00:00Z", "2025-01-01", "1969-12-31T23:59:59Z", "x", "2025-1-1T24:00:00Z"]
        {
            assert!(parse_epoch(wrong).unwrap_err().contains("2025-01-01T00:00:00Z"), "{wrong}");
        }
    }
}
