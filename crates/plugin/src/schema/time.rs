//! Wall times.

use std::fmt;
use std::time::SystemTime;

use serde::{Serialize, Serializer};

/// A wall time: RFC 3339 in UTC with nine digits of a second, `2026-01-01T10:00:00.123456789Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A time outside of the years -9999 to 9999 can only come from a broken clock; its event is still worth having.
        let time = jiff::Timestamp::try_from(self.0).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{time:.9}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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
        ] {
            assert_eq!(
                Timestamp(UNIX_EPOCH + Duration::from_nanos(nanoseconds)).to_string(),
                text
            );
        }
    }
}
