//! Sizes in bytes as people write them (`surface.md` §1.4).

use thiserror::Error;

/// Largest size accepted, inclusive.
pub const MAX_SIZE: u64 = 2 << 30;

/// Why a text is not a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SizeError {
    /// No number at the start.
    #[error("a size is a number with an optional unit b, kb, mb or gb, such as 2mb")]
    NotANumber,
    /// A unit other than b, kb, mb, gb.
    #[error("the unit of a size is b, kb, mb or gb (powers of 1024)")]
    UnknownUnit,
    /// Below zero.
    #[error("a size cannot be negative")]
    Negative,
    /// Above [`MAX_SIZE`].
    #[error("a size can be 2gb at most")]
    TooLarge,
}

/// Bytes of a size such as `512`, `64 KB` or `1.5mb`: units are powers of 1024, a fraction of a byte is cut off.
///
/// ```
/// assert_eq!(qtap_config::parse_size("1.5mb"), Ok(1_572_864));
/// ```
///
/// # Errors
/// [`SizeError`] says which rule is broken.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(SizeError::Negative);
    }
    let digits_end = text
        .find(|char: char| !char.is_ascii_digit() && char != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let unit_bytes: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        _ if number.is_empty() => return Err(SizeError::NotANumber),
        "" | "b" => 1,
        "kb" => 1 << 10,
        "mb" => 1 << 20,
        "gb" => 1 << 30,
        _ => return Err(SizeError::UnknownUnit),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return Err(SizeError::NotANumber);
    }
    let whole: u64 = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_| SizeError::TooLarge)?,
    };
    let bytes = whole.checked_mul(unit_bytes).ok_or(SizeError::TooLarge)?;
    let bytes = bytes
        .checked_add(fraction_bytes(fraction, unit_bytes))
        .ok_or(SizeError::TooLarge)?;
    if bytes > MAX_SIZE || (bytes == MAX_SIZE && fraction.bytes().any(|digit| digit != b'0')) {
        return Err(SizeError::TooLarge);
    }
    Ok(bytes)
}

/// `0.fraction` of a unit, exact for 18 digits; further ones are below a byte.
fn fraction_bytes(fraction: &str, unit_bytes: u64) -> u64 {
    let (value, scale) = fraction
        .bytes()
        .take(18)
        .fold((0u128, 1u128), |(value, scale), digit| {
            (value * 10 + u128::from(digit - b'0'), scale * 10)
        });
    u64::try_from(value * u128::from(unit_bytes) / scale).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024_and_truncated() {
        let cases: [(&str, Result<u64, SizeError>); 24] = [
            ("0", Ok(0)),
            ("512", Ok(512)),
            ("512b", Ok(512)),
            (" 64 KB ", Ok(65536)),
            ("2mb", Ok(2 << 20)),
            ("2MB", Ok(2 << 20)),
            ("1.5mb", Ok(1_572_864)),
            (".5kb", Ok(512)),
            ("1.kb", Ok(1024)),
            ("1.9", Ok(1)),
            ("0.0001kb", Ok(0)),
            ("2gb", Ok(2 << 30)),
            ("2gb ", Ok(2 << 30)),
            ("2.0000000001gb", Err(SizeError::TooLarge)),
            ("2147483649", Err(SizeError::TooLarge)),
            ("99999999999999999999999", Err(SizeError::TooLarge)),
            ("-1", Err(SizeError::Negative)),
            ("", Err(SizeError::NotANumber)),
            ("mb", Err(SizeError::NotANumber)),
            ("1.2.3mb", Err(SizeError::NotANumber)),
            (".", Err(SizeError::NotANumber)),
            ("1kib", Err(SizeError::UnknownUnit)),
            ("1k", Err(SizeError::UnknownUnit)),
            ("1tb", Err(SizeError::UnknownUnit)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_size(text), expected, "{text:?}");
        }
    }
}
