//! Numbers and names in few characters.

/// The beginning of a text, in at most `width` characters.
pub(super) fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

/// The end of a path tells more than its beginning.
pub(super) fn shorten_path(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(length - width.saturating_sub(1)).collect();
    format!("…{kept}")
}

/// In powers of 1024, three digits or four.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut units = UNITS.into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if value < 1023.5 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value < 9.95 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

/// Rounded down to a tenth: 100 % is every byte.
pub(super) fn percent(coverage: f64) -> String {
    let permille = (coverage * 1000.0).round().clamp(0.0, 1000.0);
    if permille >= 1000.0 {
        "100 %".to_owned()
    } else {
        format!("{:.1} %", permille / 10.0)
    }
}

/// In the largest unit of which there are two.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_digits_or_more() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 kB"),
            (10_239, "10 kB"),
            (1_048_575, "1.0 MB"),
            (5 << 30, "5.0 GB"),
            (u64::MAX, "16384 PB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
        assert_eq!(percent(0.9999), "100 %");
        assert_eq!(percent(0.999), "99.9 %");
        assert_eq!(percent(0.0), "0.0 %");
    }

    #[test]
    fn what_is_too_long_keeps_what_tells_most() {
        assert_eq!(shorten("openssl,gnutls", 8), "openssl…");
        assert_eq!(shorten_path("/usr/sbin/nginx", 8), "…n/nginx");
        assert_eq!(
            (shorten("a", 1), shorten_path("a", 1)),
            ("a".to_owned(), "a".to_owned())
        );
    }

    #[test]
    fn durations_have_one_unit() {
        for (seconds, expected) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7200, "2 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
    }
}
