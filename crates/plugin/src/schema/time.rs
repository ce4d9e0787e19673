//! Wall times.

use std::cell::Cell;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// A wall time: RFC 3339 in UTC with nine digits of a second, `2026-01-01T10:00:00.123456789Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub SystemTime);

thread_local! {
    /// The last second that was written, and its text `2026-01-01T10:00:00`: events come in crowds.
    static SECOND: Cell<(u64, [u8; 19])> = const { Cell::new((0, *b"1970-01-01T00:00:00")) };
}

/// Text of a second since 1970, if it lies in the years up to 9999.
fn second(seconds: u64) -> Option<[u8; 19]> {
    let (cached, text) = SECOND.get();
    if cached == seconds {
        return Some(text);
    }
    let time = jiff::Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
    let text = format!("{time:.0}").as_bytes().get(..19)?.try_into().ok()?;
    SECOND.set((seconds, text));
    Some(text)
}

impl Timestamp {
    /// In ASCII, for the years 1970 to 9999.
    fn text(&self) -> Option<[u8; 30]> {
        let since = self.0.duration_since(UNIX_EPOCH).ok()?;
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        let (whole, fraction) = text.split_first_chunk_mut::<19>()?;
        *whole = second(since.as_secs())?;
        let mut rest = since.subsec_nanos();
        for digit in fraction.iter_mut().rev().skip(1).take(9) {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Some(text)
    }
}

impl Timestamp {
    /// As JSON at the end of `out`.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        out.push(b'"');
        match self.text() {
            Some(text) => out.extend_from_slice(&text),
            None => out.extend_from_slice(self.to_string().as_bytes()),
        }
        out.push(b'"');
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.text()
            && let Ok(text) = std::str::from_utf8(&text)
        {
            return f.write_str(text);
        }
        // A time outside of the years -9999 to 9999 can only come from a broken clock; its event is still worth having.
        let time = jiff::Timestamp::try_from(self.0).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{time:.9}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.text() {
            Some(text) => serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default()),
            None => serializer.collect_str(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_have_nine_digits_and_are_utc() {
        for (nanoseconds, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (1_767_261_600_123_456_789, "2026-01-01T10:00:00.123456789Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (951_782_400_999_999_999, "2000-02-29T00:00:00.999999999Z"),
            (951_782_401_000_000_000, "2000-02-29T00:00:01.000000000Z"),
        ] {
            assert_eq!(
                Timestamp(UNIX_EPOCH + Duration::from_nanos(nanoseconds)).to_string(),
                text
            );
        }
    }

    #[test]
    fn times_before_1970_and_after_9999_are_written_too() {
        let before = UNIX_EPOCH - Duration::from_nanos(1);
        assert_eq!(Timestamp(before).to_string(), "1969-12-31T23:59:59.999999999Z");
        let beyond = UNIX_EPOCH + Duration::from_secs(300_000_000_000);
        assert!(Timestamp(beyond).to_string().starts_with("9999-12-3"));
    }
}
