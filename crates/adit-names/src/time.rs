//! Times as IPNS records spell them: RFC 3339 with up to nine digits of a second.

use std::time::{Duration, SystemTime};

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years start in March here, so that a leap day
/// is the last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The date of a day counted from 1970-01-01; the inverse of [`days`].
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// Reads a time. `None` where the text is not one, or lies before 1970.
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let bytes = text.as_bytes();
    let number = |from: usize, len: usize| -> Option<i64> {
        let digits = bytes.get(from..from + len)?;
        digits.iter().all(u8::is_ascii_digit).then_some(())?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    let mark = |at: usize, any: &[u8]| bytes.get(at).is_some_and(|byte| any.contains(byte)).then_some(());
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    mark(4, b"-").and(mark(7, b"-")).and(mark(10, b"Tt")).and(mark(13, b":")).and(mark(16, b":"))?;
    if !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // A day that the month does not have comes back as another one.
    let midnight = days(year, month, day);
    if date(midnight) != (year, month, day) {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0;
    if bytes.get(at) == Some(&b'.') {
        let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) {
            return None;
        }
        nanos = number(at + 1, digits)? as u32 * 10u32.pow(9 - digits as u32);
        at += 1 + digits;
    }
    let offset = match bytes.get(at)? {
        b'Z' | b'z' if at + 1 == bytes.len() => 0,
        sign @ (b'+' | b'-') if at + 6 == bytes.len() => {
            mark(at + 3, b":")?;
            let (hours, minutes) = (number(at + 1, 2)?, number(at + 4, 2)?);
            let seconds = hours * 3600 + minutes * 60;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    let seconds = midnight * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(SystemTime::UNIX_EPOCH + Duration::new(u64::try_from(seconds).ok()?, nanos))
}

/// Writes a time in UTC, as Go's `RFC3339Nano` does: no trailing zeros. Times before 1970 become 1970.
pub fn format_rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // Four digits of a year are all that the format has.
    let seconds = since.as_secs().min(253_402_300_799) as i64;
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if since.subsec_nanos() > 0 {
        let digits = format!("{:09}", since.subsec_nanos());
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64, nanos: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)
    }

    #[test]
    fn known_times_are_read_and_written() {
        for (text, time) in [
            ("1970-01-01T00:00:00Z", at(0, 0)),
            ("2000-02-29T23:59:59Z", at(951_868_799, 0)),
            ("2024-03-01T00:00:00.5Z", at(1_709_251_200, 500_000_000)),
            ("2123-01-02T03:04:05.000000001Z", at(4_828_302_245, 1)),
        ] {
            assert_eq!(parse_rfc3339(text), Some(time), "{text}");
            assert_eq!(format_rfc3339(time), text);
        }
        assert_eq!(parse_rfc3339("2024-03-01T02:00:00+02:00"), Some(at(1_709_251_200, 0)));
        assert_eq!(parse_rfc3339("2024-02-29T23:00:00.0-01:00"), Some(at(1_709_251_200, 0)));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2024-03-01",
            "2024-03-01T00:00:00",
            "2024-03-01 00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-03-01T24:00:00Z",
            "2024-03-01T00:00:00.Z",
            "2024-03-01T00:00:00.1234567890Z",
            "2024-03-01T00:00:00Zjunk",
            "1969-12-31T23:59:59Z",
            "+024-03-01T00:00:00Z",
            "2024-03-01T00:00:00é",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_time_until_the_year_9999_comes_back(seconds in 0u64..253_402_300_800, nanos in 0u32..1_000_000_000) {
            let time = at(seconds, nanos);
            prop_assert_eq!(parse_rfc3339(&format_rfc3339(time)), Some(time));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = parse_rfc3339(&text);
        }
    }
}
