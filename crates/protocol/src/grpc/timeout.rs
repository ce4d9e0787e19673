//! `grpc-timeout`: how long the client will wait (P-G6).

use std::time::Duration;

/// Most digits of a timeout.
const MAX_DIGITS: usize = 8;
/// Clients round timeouts up to three digits, by at most one part in a hundred, to keep header tables small.
const ROUNDED_PARTS: u32 = 100;
/// What a timer and a write may be apart; of a short timeout at most a quarter of it.
const TIMER_SLACK: Duration = Duration::from_millis(10);

/// The value of a `grpc-timeout` field: up to eight digits and a unit. `None` if it is not one.
///
/// ```
/// use std::time::Duration;
/// use qtap_protocol::grpc::timeout;
///
/// assert_eq!(timeout(b"250m"), Some(Duration::from_millis(250)));
/// ```
#[must_use]
pub fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.trim_ascii().split_last()?;
    let is_number = (1..=MAX_DIGITS).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    if !is_number {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(amount * 3600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// Whether a timeout as declared had passed after so long: a client that gives up then says no more than that it cancels.
#[must_use]
pub fn has_passed(timeout: Duration, elapsed: Duration) -> bool {
    let slack = timeout / ROUNDED_PARTS + TIMER_SLACK.min(timeout / 4);
    elapsed + slack >= timeout
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P-G6
    #[test]
    fn p_g6_timeouts_have_eight_digits_and_a_unit() {
        for (value, expected) in [
            ("1S", Some(Duration::from_secs(1))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("5M", Some(Duration::from_secs(300))),
            ("150m", Some(Duration::from_millis(150))),
            ("7u", Some(Duration::from_micros(7))),
            ("0n", Some(Duration::ZERO)),
            (" 1S ", Some(Duration::from_secs(1))),
            ("123456789S", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("1.5S", None),
            ("", None),
        ] {
            assert_eq!(timeout(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn a_timeout_has_passed_though_it_was_rounded_up() {
        let ms = Duration::from_millis;
        assert!(has_passed(ms(200), ms(200)));
        assert!(has_passed(ms(5_000), ms(4_950)));
        assert!(!has_passed(ms(5_000), ms(4_900)));
        assert!(!has_passed(ms(200), ms(150)));
        assert!(!has_passed(ms(10), ms(5)));
    }
}
