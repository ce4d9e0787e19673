//! `numeric`: digits of base 10,000.

use std::fmt::Write;

use crate::postgres::fields::Fields;

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const MINUS_INFINITY: u16 = 0xf000;
/// Most decimal digits behind the point.
const SCALE: u16 = 0x3fff;

/// Number of digits, power of the first, sign, decimal digits behind the point, digits.
/// More than `limit` decimal digits are not written out.
pub(super) fn text(bytes: &[u8], limit: usize) -> Option<String> {
    let mut fields = Fields(bytes);
    let (count, weight, sign, scale) = (fields.int16()?, fields.int16()?, fields.int16()?, fields.int16()?);
    let weight = weight.cast_signed();
    let places = usize::try_from(weight).unwrap_or(0) * 4 + usize::from(scale);
    if fields.0.len() != usize::from(count) * 2 || scale > SCALE || places > limit {
        return None;
    }
    match sign {
        NAN => return Some("NaN".to_owned()),
        INFINITY => return Some("Infinity".to_owned()),
        MINUS_INFINITY => return Some("-Infinity".to_owned()),
        0 | NEGATIVE => {}
        _ => return None,
    }
    let mut digits = Vec::with_capacity(count.into());
    while let Some(digit) = fields.int16() {
        if digit > 9999 {
            return None;
        }
        digits.push(digit);
    }
    // Of the power `power` of 10,000.
    let digit = |power: i32| {
        let index = usize::try_from(i32::from(weight) - power).ok()?;
        digits.get(index).copied()
    };
    let mut shown = String::new();
    if sign == NEGATIVE {
        shown.push('-');
    }
    _ = write!(shown, "{}", digit(i32::from(weight.max(0))).unwrap_or(0));
    for power in (0..i32::from(weight)).rev() {
        _ = write!(shown, "{:04}", digit(power).unwrap_or(0));
    }
    if scale == 0 {
        return Some(shown);
    }
    let mut fraction = String::new();
    for power in 1..=i32::from(scale).div_euclid(4) + 1 {
        _ = write!(fraction, "{:04}", digit(-power).unwrap_or(0));
    }
    fraction.truncate(scale.into());
    shown.push('.');
    shown.push_str(&fraction);
    Some(shown)
}
