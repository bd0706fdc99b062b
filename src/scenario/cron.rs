//! Schedules of CronJobs: five fields or a descriptor, and the times that they stand for.
//!
//! As robfig/cron's `ParseStandard` reads them, which Kubernetes uses: `*` and `?`, lists, ranges, steps (`3/5` is from 3 to the end), names of months and
//! days in any case, Sunday is 0 only; `@yearly` (`@annually`), `@monthly`, `@weekly`, `@daily` (`@midnight`), `@hourly`, `@every 90m`. If both day
//! fields are restricted, one of them has to fit, else both. A day field with a step is restricted. Times are UTC, or of a zone with a fixed offset:
//! `Etc/GMT-2` is two hours east.
//!
//! Left out: time zones whose offset changes, which need the time zone database; a zone before the schedule, which the API server refuses.
//!
//! Source: robfig/cron v3 `parser.go`, `spec.go`, `constantdelay.go`; the file `etcetera` of the time zone database.
//!
//! Cost: O(days + times).
use super::duration::DurationNs;
use crate::engine::{Nanos, SECOND};
use crate::trace::number::{civil_from_days, unix_ns};

/// The date of t = 0 of a scenario that does not say, in seconds since 1970: 2025-01-01T00:00:00Z.
pub const START_S: u64 = 1_735_689_600;

const DAY_S: i64 = 86_400;
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A field: values as bits, and whether it is `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field(u64, bool);

/// When something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schedule {
    /// Minute, hour, day of the month, month, day of the week.
    Fields([Field; 5]),
    /// Every so often.
    Every(Nanos),
}

const BOUNDS: [(u64, u64); 5] = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];

fn number(text: &str, names: &[&str], first: u64) -> Result<u64, String> {
    if let Some(at) = names.iter().position(|name| text.eq_ignore_ascii_case(name)) {
        return Ok(at as u64 + first);
    }
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.ok_or_else(|| format!("failed to parse int from {text}"))
}

fn field(text: &str, at: usize) -> Result<Field, String> {
    let (least, most) = BOUNDS[at];
    let names: &[&str] = match at {
        3 => &MONTHS,
        4 => &DAYS,
        _ => &[],
    };
    let mut out = Field(0, false);
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (range, step) = match part.split_once('/') {
            None => (part, None),
            Some((_, step)) if step.contains('/') => return Err(format!("too many slashes: {part}")),
            Some((range, step)) => (range, Some(number(step, &[], 0)?)),
        };
        let is_star = range == "*" || range == "?";
        let (from, to) = match range.split_once('-') {
            _ if is_star => (least, most),
            Some((_, to)) if to.contains('-') => return Err(format!("too many hyphens: {part}")),
            Some((from, to)) => (number(from, names, least)?, number(to, names, least)?),
            None => {
                let from = number(range, names, least)?;
                (from, if step.is_some() { most } else { from })
            }
        };
        if from < least {
            return Err(format!("beginning of range ({from}) below minimum ({least}): {part}"));
        }
        if to > most {
            return Err(format!("end of range ({to}) above maximum ({most}): {part}"));
        }
        if from > to {
            return Err(format!("beginning of range ({from}) beyond end of range ({to}): {part}"));
        }
        if step == Some(0) {
            return Err(format!("step of range should be a positive number: {part}"));
        }
        let step = step.unwrap_or(1);
        out.1 |= is_star && step == 1;
        let mut value = from;
        while value <= to {
            out.0 |= 1 << value;
            value = value.saturating_add(step);
        }
    }
    Ok(out)
}

impl Field {
    const fn has(self, value: u64) -> bool {
        self.0 >> value & 1 == 1
    }
}

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// What the API server says to it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.contains("TZ") {
            return Err("cannot use TZ or CRON_TZ in schedule, use timeZone field instead".to_owned());
        }
        if text.is_empty() {
            return Err("Required value".to_owned());
        }
        let spelled = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            _ => text,
        };
        if let Some(every) = spelled.strip_prefix("@every ") {
            let every: DurationNs =
                every.parse().map_err(|_| format!("failed to parse duration {spelled}"))?;
            // Whole seconds, at least one.
            return Ok(Self::Every((every.0 / SECOND).max(1) * SECOND));
        }
        if spelled.starts_with('@') {
            return Err(format!("unrecognized descriptor: {text}"));
        }
        let fields: Vec<&str> = spelled.split_whitespace().collect();
        let [a, b, c, d, e] = fields[..] else {
            return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
        };
        Ok(Self::Fields([field(a, 0)?, field(b, 1)?, field(c, 2)?, field(d, 3)?, field(e, 4)?]))
    }

    /// The times after 0 and up to the limit, on clocks that are so many seconds ahead of UTC; at most so many and one more.
    pub(super) fn times_ns(&self, start_s: u64, offset_s: i64, limit_ns: Nanos, most: usize) -> Vec<Nanos> {
        let [minutes, hours, days, months, weekdays] = match self {
            Self::Fields(fields) => *fields,
            Self::Every(every) => {
                return (1..=limit_ns / every).take(most.saturating_add(1)).map(|i| i * every).collect();
            }
        };
        let mut out = Vec::new();
        let start_s = i64::try_from(start_s).unwrap_or(i64::MAX / 2) + offset_s;
        let end_s = start_s.saturating_add_unsigned(limit_ns / SECOND);
        for day in start_s.div_euclid(DAY_S)..=end_s.div_euclid(DAY_S) {
            let (_, month, of_month) = civil_from_days(day);
            let (month, of_month) = (month as u64, of_month as u64);
            // 1970 began on a Thursday.
            let (by_date, by_name) = (days.has(of_month), weekdays.has((day + 4).rem_euclid(7) as u64));
            let fits = if days.1 || weekdays.1 { by_date && by_name } else { by_date || by_name };
            if !fits || !months.has(month) {
                continue;
            }
            for hour in (0..24).filter(|hour| hours.has(*hour)) {
                for minute in (0..60).filter(|minute| minutes.has(*minute)) {
                    let at_s = day * DAY_S + (hour * 3600 + minute * 60) as i64;
                    if at_s > start_s && at_s <= end_s {
                        out.push(start_s.abs_diff(at_s) * SECOND);
                        if out.len() > most {
                            return out;
                        }
                    }
                }
            }
        }
        out
    }
}

/// How many seconds clocks of a time zone are ahead of UTC; none: it is none with a fixed offset. The sign of `Etc/GMT-2` is that of POSIX.
pub(super) fn offset_s(zone: &str) -> Option<i64> {
    let zone = match zone.strip_prefix("Etc/") {
        Some(rest) => rest,
        None if zone.len() == 3 => zone,
        None => return None,
    };
    if ["UTC", "GMT"].contains(&zone) {
        return Some(0);
    }
    let rest = zone.strip_prefix("GMT")?;
    let (sign, hours, most) = match (rest.strip_prefix('+'), rest.strip_prefix('-')) {
        (Some(hours), _) => (-1, hours, 12),
        (_, Some(hours)) => (1, hours, 14),
        _ => return None,
    };
    let plain = hours.bytes().all(|b| b.is_ascii_digit()) && (hours.len() == 1 || !hours.starts_with('0'));
    hours.parse().ok().filter(|hours| plain && *hours <= most).map(|hours: i64| sign * hours * 3600)
}

/// Reads `2025-01-01T00:00:00Z`.
pub(super) fn start_s(text: &str) -> Option<u64> {
    let ns = unix_ns(text.strip_suffix('Z').filter(|rest| rest.contains('T'))?).ok()?;
    u64::try_from(ns).ok().map(|ns| ns / SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str, start: &str, limit_s: u64) -> Vec<u64> {
        seconds_ahead(text, start, 0, limit_s)
    }

    fn seconds_ahead(text: &str, start: &str, offset_s: i64, limit_s: u64) -> Vec<u64> {
        let (schedule, start_s) = (Schedule::parse(text).unwrap(), start_s(start).unwrap());
        schedule
            .times_ns(start_s, offset_s, limit_s * SECOND, 1000)
            .iter()
            .map(|time| time / SECOND)
            .collect()
    }

    /// Facts: robfig/cron `spec_test.go` (`TestNext`, `TestActivation`), with the dates' distance in seconds.
    #[test]
    fn times_are_those_of_robfig_cron() {
        let day = DAY_S as u64;
        for (text, start, limit, expected) in [
            ("0/15 * * * *", "2012-07-09T14:45:00Z", 900, vec![900]),
            ("0/15 * * * *", "2012-07-09T14:59:59Z", 1, vec![1]),
            ("20-35/15 * * * *", "2012-07-09T15:45:00Z", 3600, vec![2100, 3000]),
            ("0 0 * Feb Mon", "2012-07-09T23:35:00Z", 210 * day, vec![209 * day + 1500]),
            ("0 0 29 Feb ?", "2012-07-09T23:35:00Z", 1330 * day, vec![1329 * day + 1500]),
            ("0 0 31 4 *", "2012-07-09T23:35:00Z", 5000 * day, vec![]),
            ("30 08 ? Jul Sun", "2012-07-15T08:29:00Z", 60, vec![60]),
            ("30 08 15 Jul ?", "2012-07-16T08:29:00Z", 60, vec![]),
            // Both restricted: one of them is enough. The 15th was a Sunday.
            ("0 0 1,15 * Sun", "2012-07-14T00:00:00Z", 9 * day, vec![day, 8 * day]),
            ("0 0 */10 * Sun", "2012-07-14T00:00:00Z", 9 * day, vec![day, 7 * day, 8 * day]),
            ("0 0 * * Sun", "2012-07-14T00:00:00Z", 9 * day, vec![day, 8 * day]),
            ("@hourly", "2012-07-09T14:45:00Z", 4500, vec![900, 4500]),
            ("@every 90m", "2012-07-09T14:45:00Z", 10_800, vec![5400, 10_800]),
            ("@weekly", "2012-07-14T12:00:00Z", day, vec![day / 2]),
        ] {
            assert_eq!(seconds(text, start, limit), expected, "{text} from {start}");
        }
    }

    /// Facts: `etcetera` of the time zone database, whose zones run from 12 hours west to 14 hours east.
    #[test]
    fn zones_with_a_fixed_offset_are_known() {
        for (zone, hours) in [
            ("UTC", 0),
            ("Etc/UTC", 0),
            ("GMT", 0),
            ("Etc/GMT", 0),
            ("Etc/GMT-0", 0),
            ("Etc/GMT-2", 2),
            ("Etc/GMT+5", -5),
            ("Etc/GMT+12", -12),
            ("Etc/GMT-14", 14),
        ] {
            assert_eq!(offset_s(zone), Some(hours * 3600), "{zone}");
        }
        for zone in [
            "",
            "Local",
            "Europe/Paris",
            "GMT-2",
            "Etc/GMT-15",
            "Etc/GMT+13",
            "Etc/GMT-02",
            "Etc/GMT2",
            "Etc/GMT-",
            "utc",
            "EST",
        ] {
            assert_eq!(offset_s(zone), None, "{zone}");
        }
        // Midnight two hours east is 22 o'clock; the day of the week is theirs.
        let sundays = seconds_ahead("0 0 * * Sun", "2012-07-14T12:00:00Z", 2 * 3600, 7 * 86_400);
        assert_eq!(sundays, [10 * 3600]);
        assert_eq!(seconds_ahead("0 0 * * *", "1970-01-01T00:00:00Z", -12 * 3600, 86_400), [12 * 3600]);
        assert_eq!(seconds_ahead("@every 1h", "2012-07-14T12:00:00Z", 2 * 3600, 3600), [3600]);
    }

    /// `TestRange`, `TestParse`, `TestStandardSpecSchedule`, and `ValidateCronJob`.
    #[test]
    fn wrong_schedules_say_why() {
        for (text, says) in [
            ("5 j * * *", "failed to parse int from j"),
            ("* * * *", "expected exactly 5 fields, found 4"),
            ("0 5 * * * *", "expected exactly 5 fields, found 6"),
            ("1-- * * * *", "too many hyphens"),
            ("1/2/3 * * * *", "too many slashes"),
            ("5-3 * * * *", "beginning of range (5) beyond end of range (3)"),
            ("* * 0 * *", "below minimum (1)"),
            ("60 * * * *", "above maximum (59)"),
            ("* * * * 7", "above maximum (6)"),
            ("*/0 * * * *", "step of range should be a positive number"),
            ("@unrecognized", "unrecognized descriptor: @unrecognized"),
            ("@every soon", "failed to parse duration @every soon"),
            ("TZ=UTC 0 * * * *", "cannot use TZ or CRON_TZ in schedule"),
            ("", "Required value"),
        ] {
            let error = Schedule::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
