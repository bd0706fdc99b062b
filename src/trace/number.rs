//! Exact numbers from text: decimals scaled to integers, Kubernetes quantities, dates.
//!
//! Floats never take part: `0.1` days is 8,640,000,000,000 ns and not a neighbour of it, on every machine. A decimal
//! is read as an integer mantissa and a power of ten, multiplied by the unit in 128 bits, and rounded half up once.
//! Digits past the 27th significant one cannot change a 64-bit result and only take part in rounding by truncation.
//! Everything is O(length of the text) and allocates nothing.

/// Why a text is not the number that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberError {
    /// Not a finite decimal number.
    Syntax,
    /// Below zero.
    Negative,
    /// Does not fit 64 bits after scaling.
    Range,
}

/// A decimal number: mantissa times ten to the exponent.
#[derive(Debug, Clone, Copy)]
struct Decimal {
    negative: bool,
    mantissa: u128,
    exponent: i32,
}

const MAX_DIGITS: u32 = 27;

fn parse_decimal(text: &str) -> Result<Decimal, NumberError> {
    let bytes = text.trim().as_bytes();
    let (negative, mut rest) = match bytes.first() {
        Some(b'-') => (true, &bytes[1..]),
        Some(b'+') => (false, &bytes[1..]),
        _ => (false, bytes),
    };
    let mut mantissa: u128 = 0;
    let mut digits = 0u32;
    let mut exponent = 0i32;
    let mut any = false;
    let mut after_point = false;
    while let Some((&c, tail)) = rest.split_first() {
        match c {
            b'0'..=b'9' => {
                any = true;
                if digits < MAX_DIGITS {
                    mantissa = mantissa * 10 + u128::from(c - b'0');
                    if mantissa != 0 {
                        digits += 1;
                    }
                    if after_point {
                        exponent = exponent.saturating_sub(1);
                    }
                } else if !after_point {
                    exponent = exponent.saturating_add(1);
                }
            }
            b'.' if !after_point => after_point = true,
            b'e' | b'E' if any => {
                let e: i32 =
                    std::str::from_utf8(tail).ok().and_then(|s| s.parse().ok()).ok_or(NumberError::Syntax)?;
                exponent = exponent.saturating_add(e);
                return Ok(Decimal { negative, mantissa, exponent });
            }
            _ => return Err(NumberError::Syntax),
        }
        rest = tail;
    }
    if !any {
        return Err(NumberError::Syntax);
    }
    Ok(Decimal { negative, mantissa, exponent })
}

fn pow10(n: u32) -> Option<u128> {
    10u128.checked_pow(n)
}

fn scale_magnitude(d: &Decimal, unit: u64) -> Result<u128, NumberError> {
    if d.mantissa == 0 || unit == 0 {
        return Ok(0);
    }
    // 27 digits fit 90 bits; with a 64-bit unit the product can pass 128 bits, so divide early when it would.
    let (mut m, mut e) = (d.mantissa, d.exponent);
    let product = loop {
        if let Some(p) = m.checked_mul(u128::from(unit)) {
            break p;
        }
        m /= 10;
        e = e.saturating_add(1);
    };
    if e >= 0 {
        let factor = u32::try_from(e).ok().and_then(pow10).ok_or(NumberError::Range)?;
        product.checked_mul(factor).ok_or(NumberError::Range)
    } else {
        match pow10(e.unsigned_abs()) {
            // Half up; the divisor is even, so its half is exact.
            Some(divisor) => Ok(product / divisor + u128::from(product % divisor >= divisor / 2)),
            None => Ok(0),
        }
    }
}

/// `text` times `unit`, rounded half up, as an unsigned integer: `scaled("0.5", 1000)` is 500.
pub fn scaled(text: &str, unit: u64) -> Result<u64, NumberError> {
    let d = parse_decimal(text)?;
    let magnitude = scale_magnitude(&d, unit)?;
    if d.negative && d.mantissa != 0 {
        return Err(NumberError::Negative);
    }
    u64::try_from(magnitude).map_err(|_| NumberError::Range)
}

/// `text` times `unit`, rounded half away from zero, as a signed integer.
pub fn scaled_signed(text: &str, unit: u64) -> Result<i64, NumberError> {
    let d = parse_decimal(text)?;
    let magnitude = i64::try_from(scale_magnitude(&d, unit)?).map_err(|_| NumberError::Range)?;
    Ok(if d.negative { -magnitude } else { magnitude })
}

/// An unsigned integer, digits only: the fast path of integer columns.
pub fn unsigned(text: &str) -> Result<u64, NumberError> {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return Err(NumberError::Syntax);
    }
    let mut n: u64 = 0;
    for &c in bytes {
        if !c.is_ascii_digit() {
            // Signs, spaces, "12.0" and "1e3" are rare: leave them to the slow path.
            return if fraction_of(text) { Err(NumberError::Syntax) } else { scaled(text, 1) };
        }
        n = n.checked_mul(10).and_then(|n| n.checked_add(u64::from(c - b'0'))).ok_or(NumberError::Range)?;
    }
    Ok(n)
}

/// Whether the decimal has a part behind the point that is not zero.
fn fraction_of(text: &str) -> bool {
    let Ok(d) = parse_decimal(text) else { return true };
    if d.exponent >= 0 {
        return false;
    }
    match pow10(d.exponent.unsigned_abs()) {
        Some(divisor) => !d.mantissa.is_multiple_of(divisor),
        None => d.mantissa != 0,
    }
}

/// A Kubernetes quantity times `unit`, rounded up as Kubernetes rounds: `quantity("250m", 1000)` is 250,
/// `quantity("1Gi", 1)` is 1,073,741,824.
pub fn quantity(text: &str, unit: u64) -> Result<u64, NumberError> {
    let text = text.trim();
    let split = text
        .char_indices()
        .find(|(i, c)| {
            c.is_ascii_alphabetic()
                && !(matches!(c, 'e' | 'E')
                    && text[i + 1..].starts_with(|n: char| n.is_ascii_digit() || n == '-' || n == '+'))
                || *c == 'µ'
        })
        .map_or(text.len(), |(i, _)| i);
    let (number, suffix) = text.split_at(split);
    let (multiplier, shift): (u128, i32) = match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" | "µ" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => return Err(NumberError::Syntax),
    };
    let d = parse_decimal(number)?;
    if d.negative && d.mantissa != 0 {
        return Err(NumberError::Negative);
    }
    let exponent = d.exponent.saturating_add(shift);
    let product = d
        .mantissa
        .checked_mul(multiplier)
        .and_then(|m| m.checked_mul(u128::from(unit)))
        .ok_or(NumberError::Range)?;
    let value = if exponent >= 0 {
        let factor = u32::try_from(exponent).ok().and_then(pow10).ok_or(NumberError::Range)?;
        product.checked_mul(factor).ok_or(NumberError::Range)?
    } else {
        match pow10(exponent.unsigned_abs()) {
            Some(divisor) => product.div_ceil(divisor),
            None => u128::from(product != 0),
        }
    };
    u64::try_from(value).map_err(|_| NumberError::Range)
}

const NS: i64 = 1_000_000_000;

/// Days from 1970-01-01 to a date of the Gregorian calendar (Howard Hinnant's algorithm).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y - era * 400;
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// ISO 8601's basic form, `20200401T035043+0000`, in the extended one.
fn extended(text: &str) -> Option<String> {
    if !text.is_ascii() {
        return None;
    }
    let basic =
        text.get(..8)?.bytes().all(|c| c.is_ascii_digit()) && matches!(text.as_bytes().get(8)?, b'T' | b't');
    let (time, zone) = (text.get(9..15)?, text.get(15..)?);
    let date = format!("{}-{}-{}", &text[..4], &text[4..6], &text[6..8]);
    basic.then(|| format!("{date}T{}:{}:{}{zone}", &time[..2], &time[2..4], &time[4..]))
}

/// Unix time in ns of `2024-04-18T01:58:43Z`, `2024-04-18 01:58:43.5+02:00`, `20240418T015843+0000`,
/// `2020-06-09 18:41:01` (no zone: UTC). Anything after it is an error.
pub fn unix_ns(text: &str) -> Result<i64, NumberError> {
    let text = text.trim();
    if let Some(text) = extended(text) {
        return unix_ns(&text);
    }
    let b = text.as_bytes();
    let digits = |from: usize, to: usize| -> Result<i64, NumberError> {
        let part = b.get(from..to).ok_or(NumberError::Syntax)?;
        part.iter().try_fold(0i64, |n, c| {
            if c.is_ascii_digit() { Ok(n * 10 + i64::from(c - b'0')) } else { Err(NumberError::Syntax) }
        })
    };
    let at = |i: usize, any: &[u8]| b.get(i).is_some_and(|c| any.contains(c));
    if !(at(4, b"-/") && at(7, b"-/")) {
        return Err(NumberError::Syntax);
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let month_days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => return Err(NumberError::Syntax),
    };
    if day < 1 || day > month_days {
        return Err(NumberError::Syntax);
    }
    let mut seconds = days_from_civil(year, month, day) * 86_400;
    let mut nanos = 0i64;
    let mut i = 10;
    if b.len() > 10 {
        if !(at(10, b"Tt ") && at(13, b":") && at(16, b":")) {
            return Err(NumberError::Syntax);
        }
        let (h, m, s) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
        if h > 23 || m > 59 || s > 60 {
            return Err(NumberError::Syntax);
        }
        seconds += h * 3600 + m * 60 + s;
        i = 19;
        if at(i, b".,") {
            i += 1;
            let mut unit = NS / 10;
            while let Some(c) = b.get(i).filter(|c| c.is_ascii_digit()) {
                nanos += i64::from(c - b'0') * unit;
                unit /= 10;
                i += 1;
            }
        }
    }
    while at(i, b" ") {
        i += 1;
    }
    match &b[i..] {
        b"" | b"Z" | b"z" | b"UTC" => {}
        b"PDT" => seconds += 7 * 3600,
        b"PST" => seconds += 8 * 3600,
        zone if matches!(zone[0], b'+' | b'-') => {
            let h = digits(i + 1, i + 3)?;
            let colon = usize::from(zone.get(3) == Some(&b':'));
            let (m, end) =
                if zone.len() > 3 { (digits(i + 3 + colon, i + 5 + colon)?, 5 + colon) } else { (0, 3) };
            // Nothing follows, or the zone's name as Go writes it: `+0200 CEST`.
            let name = &zone[end..];
            let is_name = name.len() > 1 && name[0] == b' ' && name[1..].iter().all(u8::is_ascii_uppercase);
            if h > 23 || m > 59 || !(name.is_empty() || is_name) {
                return Err(NumberError::Syntax);
            }
            let offset = h * 3600 + m * 60;
            seconds += if zone[0] == b'+' { -offset } else { offset };
        }
        _ => return Err(NumberError::Syntax),
    }
    seconds.checked_mul(NS).and_then(|n| n.checked_add(nanos)).ok_or(NumberError::Range)
}

/// Unix time in ns of a date, or of a Unix number in s, ms, us or ns, told by its size.
pub fn unix_ns_of_any_size(text: &str) -> Result<i64, NumberError> {
    let text = text.trim();
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-') || text.get(4..5) == Some("-") {
        return unix_ns(text);
    }
    if let Some(text) = extended(text) {
        return unix_ns(&text);
    }
    let whole = scaled_signed(text, 1)?.unsigned_abs();
    let unit = match whole {
        ..100_000_000_000 => 1_000_000_000,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        _ => 1,
    };
    scaled_signed(text, unit)
}

/// Year, month and day of the month of a day since 1970 (proleptic Gregorian calendar, years from March on).
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

/// `2024-04-18T01:58:43Z`, for Unix ns; fractions only when there are any.
pub fn rfc3339(unix_ns: i64) -> String {
    let seconds = unix_ns.div_euclid(NS);
    let nanos = unix_ns.rem_euclid(NS);
    let days = seconds.div_euclid(86_400);
    let rest = seconds.rem_euclid(86_400);
    let (year, month, day) = civil_from_days(days);
    let fraction = if nanos == 0 { String::new() } else { format!(".{nanos:09}") };
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}{fraction}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// A duration as Go writes it (`1h30m`, `250ms`, `1.5s`) in ns.
pub fn duration_ns(text: &str) -> Result<u64, NumberError> {
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(NumberError::Syntax);
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(NumberError::Syntax)?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(NumberError::Syntax),
        };
        total = total.checked_add(scaled(number, unit)?).ok_or(NumberError::Range)?;
        rest = tail;
    }
    Ok(total)
}

/// Ns as people read them: `1h30m`, `2.5s`, `340ms`.
pub fn duration_text(ns: u64) -> String {
    let s = 1_000_000_000;
    match ns {
        0 => "0s".to_string(),
        n if n < 1_000 => format!("{n}ns"),
        n if n < 1_000_000 => format!("{}us", n / 1_000),
        n if n < s => format!("{}ms", n / 1_000_000),
        n if n < 60 * s => format!("{}.{}s", n / s, n % s / 100_000_000),
        n if n < 3600 * s => format!("{}m{}s", n / (60 * s), n / s % 60),
        n if n < 86_400 * s => format!("{}h{}m", n / (3600 * s), n / (60 * s) % 60),
        n => format!("{}d{}h", n / (86_400 * s), n / (3600 * s) % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_scale_exactly() {
        assert_eq!(scaled("0.1", 86_400_000_000_000), Ok(8_640_000_000_000));
        assert_eq!(scaled("3.815e-06", 1_000_000_000), Ok(3815));
        assert_eq!(scaled("0.0125", 64_000), Ok(800));
        assert_eq!(scaled("475.00000000000006", 1_000_000_000), Ok(475_000_000_000));
        assert_eq!(scaled("0.49", 1), Ok(0));
        assert_eq!(scaled("0.5", 1), Ok(1));
        assert_eq!(scaled("1e400", 1), Err(NumberError::Range));
        assert_eq!(scaled("1e-400", u64::MAX), Ok(0));
        for bad in ["", "NaN", "nan", "inf", "-", ".", "1.2.3", "12a", "0x10", "1e", "e5"] {
            assert_eq!(scaled(bad, 1), Err(NumberError::Syntax), "{bad}");
        }
        assert_eq!(scaled("-1", 1), Err(NumberError::Negative));
        assert_eq!(scaled("-0", 1), Ok(0));
        assert_eq!(scaled_signed("-0.0104", 86_400), Ok(-899));
        assert_eq!(unsigned("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(unsigned("18446744073709551616"), Err(NumberError::Range));
        assert_eq!(unsigned("12.0"), Ok(12));
        assert_eq!(unsigned("12.5"), Err(NumberError::Syntax));
        assert_eq!(unsigned("-3"), Err(NumberError::Negative));
    }

    #[test]
    fn quantities_read_as_kubernetes_reads_them() {
        assert_eq!(quantity("250m", 1000), Ok(250));
        assert_eq!(quantity("2", 1000), Ok(2000));
        assert_eq!(quantity("0.1", 1000), Ok(100));
        assert_eq!(quantity("1Gi", 1), Ok(1 << 30));
        assert_eq!(quantity("500Mi", 1), Ok(500 << 20));
        assert_eq!(quantity("1e3", 1), Ok(1000));
        assert_eq!(quantity("1E", 1), Ok(1_000_000_000_000_000_000));
        assert_eq!(quantity("12E6", 1), Ok(12_000_000));
        assert_eq!(quantity("1n", 1000), Ok(1), "rounds up");
        assert_eq!(quantity("1.5Ki", 1), Ok(1536));
        assert_eq!(quantity("1Zi", 1), Err(NumberError::Syntax));
        assert_eq!(quantity("-1", 1), Err(NumberError::Negative));
    }

    #[test]
    fn durations() {
        assert_eq!(duration_ns("1h30m"), Ok(5_400_000_000_000));
        assert_eq!(duration_ns("1.5s"), Ok(1_500_000_000));
        assert_eq!(duration_ns("250ms"), Ok(250_000_000));
        for bad in ["", "5", "s", "1d", "-1s", "1s2"] {
            assert!(duration_ns(bad).is_err(), "{bad}");
        }
        assert_eq!(duration_text(5_400_000_000_000), "1h30m");
    }

    #[test]
    fn dates() {
        assert_eq!(unix_ns("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(unix_ns("2013-01-01 00:22:27+01:00"), Ok(1_356_996_147 * NS));
        assert_eq!(unix_ns("2018-10-26T09:09:28.664442Z"), Ok(1_540_544_968_664_442_000));
        assert_eq!(unix_ns("2017-10-03 00:08:00 PDT"), unix_ns("2017-10-03T07:08:00Z"));
        assert_eq!(unix_ns("20200401T035043+0000"), unix_ns("2020-04-01T03:50:43Z"));
        assert_eq!(unix_ns("20200401T035043.5Z"), unix_ns("2020-04-01T03:50:43.5Z"));
        assert_eq!(unix_ns("20201301T035043Z"), Err(NumberError::Syntax));
        assert_eq!(unix_ns("2024-02-30T00:00:00Z"), Err(NumberError::Syntax));
        assert_eq!(unix_ns("yesterday"), Err(NumberError::Syntax));
        for zone in ["+00", "+0000", "-00:00", " +0000 UTC"] {
            assert_eq!(unix_ns(&format!("1970-01-01T00:00:00{zone}")), Ok(0), "{zone}");
        }
        for zone in ["+00:00junk", "+00:000", "+00:0", "+0:00", "+000", "+24:00", "+00:60", "+00 x"] {
            let wanted = Err(NumberError::Syntax);
            assert_eq!(unix_ns(&format!("1970-01-01T00:00:00{zone}")), wanted, "{zone}");
        }
        let second = 1_713_394_966;
        for (text, ns) in [
            ("1713394966", second * NS),
            ("1713394966.846", second * NS + 846_000_000),
            ("1713394966846", second * NS + 846_000_000),
            ("1713394966846000", second * NS + 846_000_000),
            ("1713394966846000001", second * NS + 846_000_001),
            ("1.713394966846e12", second * NS + 846_000_000),
            ("2024-04-17T23:02:46Z", second * NS),
            ("20240417T230246Z", second * NS),
        ] {
            assert_eq!(unix_ns_of_any_size(text), Ok(ns), "{text}");
        }
        assert!(unix_ns_of_any_size("").is_err() && unix_ns_of_any_size("soon").is_err());
        assert_eq!(rfc3339(1_540_544_968_664_442_000), "2018-10-26T09:09:28.664442000Z");
    }

    proptest! {
        #[test]
        fn scaling_agrees_with_integers(n in 0u64..1_000_000_000, places in 0u32..6) {
            let text = format!("{}.{:0width$}", n, 0, width = places.max(1) as usize);
            prop_assert_eq!(scaled(&text, 1000), Ok(n * 1000));
        }

        #[test]
        fn dates_round_trip(n in -4_000_000_000_000_000_000i64..4_000_000_000_000_000_000) {
            prop_assert_eq!(unix_ns(&rfc3339(n)), Ok(n));
        }

        #[test]
        fn no_text_panics(s in "\\PC*") {
            let _ = scaled(&s, 1_000_000);
            let _ = scaled_signed(&s, u64::MAX);
            let _ = quantity(&s, 1000);
            let _ = unix_ns(&s);
            let _ = unsigned(&s);
        }
    }
}
