//! Dates, times and intervals: microseconds and days since 2000-01-01, UTC.

use crate::postgres::fields::Fields;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;
/// Days from 0000-03-01 to 2000-01-01 of the Gregorian calendar.
const EPOCH_DAYS: i64 = 730_425;

fn int64(bytes: &[u8]) -> Option<i64> {
    bytes.try_into().ok().map(i64::from_be_bytes)
}

/// `date`
pub(super) fn date(bytes: &[u8]) -> Option<String> {
    let days = bytes.try_into().ok().map(i32::from_be_bytes)?;
    Some(match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        days => {
            let (date, era) = calendar(days.into());
            date + era
        }
    })
}

/// `timestamp`, followed by the name of its zone.
pub(super) fn timestamp(bytes: &[u8], zone: &str) -> Option<String> {
    let micros = int64(bytes)?;
    Some(match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        micros => {
            let (date, era) = calendar(micros.div_euclid(DAY));
            format!("{date} {}{zone}{era}", clock(micros.rem_euclid(DAY)))
        }
    })
}

/// `time`, which reaches to 24:00:00.
pub(super) fn time(micros: i64) -> Option<String> {
    (0..=DAY).contains(&micros).then(|| clock(micros))
}

/// `timetz`: the time, and seconds west of Greenwich.
pub(super) fn time_with_zone(bytes: &[u8]) -> Option<String> {
    let (micros, zone) = bytes.split_first_chunk()?;
    let zone = -zone
        .try_into()
        .ok()
        .map(i32::from_be_bytes)?
        .clamp(-86_400, 86_400);
    let time = time(i64::from_be_bytes(*micros))?;
    let (sign, seconds) = (if zone < 0 { '-' } else { '+' }, zone.abs());
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    Some(match minutes {
        0 => format!("{time}{sign}{hours:02}"),
        minutes => format!("{time}{sign}{hours:02}:{minutes:02}"),
    })
}

/// `interval`: microseconds, days, months.
pub(super) fn interval(bytes: &[u8]) -> Option<String> {
    let bytes: &[u8; 16] = bytes.try_into().ok()?;
    let mut fields = Fields(bytes);
    let micros = int64(fields.bytes(8))?;
    let (days, months) = (fields.int32()?, fields.int32()?);
    match (micros, days, months) {
        (i64::MAX, i32::MAX, i32::MAX) => return Some("infinity".to_owned()),
        (i64::MIN, i32::MIN, i32::MIN) => return Some("-infinity".to_owned()),
        _ => {}
    }
    let mut shown = String::new();
    let mut was_negative = false;
    for (number, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if number != 0 {
            let (gap, plural) = (
                if shown.is_empty() { "" } else { " " },
                if number == 1 { "" } else { "s" },
            );
            let sign = if was_negative && number > 0 { "+" } else { "" };
            shown.push_str(&format!("{gap}{sign}{number} {unit}{plural}"));
            was_negative = number < 0;
        }
    }
    if micros != 0 || shown.is_empty() {
        let gap = if shown.is_empty() { "" } else { " " };
        let sign = match micros < 0 {
            true => "-",
            false if was_negative => "+",
            false => "",
        };
        shown.push_str(&format!("{gap}{sign}{}", clock_of(micros.unsigned_abs())));
    }
    Some(shown)
}

/// `10:20:30.000007`, without zeros at the end.
fn clock(micros: i64) -> String {
    clock_of(micros.unsigned_abs())
}

fn clock_of(micros: u64) -> String {
    let second = SECOND.unsigned_abs();
    let (seconds, rest) = (micros / second, micros % second);
    let mut shown = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    if rest > 0 {
        shown.push_str(format!(".{rest:06}").trim_end_matches('0'));
    }
    shown
}

/// Day of the Gregorian calendar, and what marks years before its first. In eras of 400 years that begin in March, so that the day
/// that may be missing is the last of its year.
fn calendar(days: i64) -> (String, &'static str) {
    const ERA: i64 = 146_097;
    let days = days + EPOCH_DAYS;
    let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (day - day / 1460 + day / 36_524 - day / (ERA - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on have 31, 30, 31, 30, 31 days, and once more.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, is_next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    match year + era * 400 + is_next {
        year @ 1.. => (format!("{year:04}-{month:02}-{day:02}"), ""),
        year => (format!("{:04}-{month:02}-{day:02}", 1 - year), " BC"),
    }
}
