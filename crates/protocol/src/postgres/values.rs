//! Values in binary as text, by the OIDs of their types.
//!
//! OIDs are those of `pg_type.dat`, which do not change. Layouts are those of the `…send` functions of each type, as the documentation of
//! libpq and of the types has them; The tests have vectors that a server wrote.

mod arrays;
mod numeric;
mod times;

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::fields::Fields;

/// Type of a value.
pub(super) type Oid = u32;

/// Whether values of the type are text in binary too.
pub(super) const fn is_text(oid: Oid) -> bool {
    // name, text, json, xml, unknown, bpchar, varchar
    matches!(oid, 19 | 25 | 114 | 142 | 705 | 1042 | 1043)
}

/// The value as `psql` shows it, in UTC; `None` for a type that is not known, or bytes that are not of it. `limit`: about how many bytes
/// of text are wanted.
pub(super) fn text(oid: Oid, bytes: &[u8], limit: usize) -> Option<String> {
    Some(match oid {
        // bool
        16 => match bytes {
            [0] => "f".to_owned(),
            [1] => "t".to_owned(),
            _ => return None,
        },
        // bytea
        17 => hex(bytes, limit),
        // "char"
        18 => string(bytes)?,
        oid if is_text(oid) => string(bytes)?,
        // jsonb: a version, then text.
        3802 => string(bytes.strip_prefix(&[1])?)?,
        // int8, int2, int4
        20 => i64::from_be_bytes(exact(bytes)?).to_string(),
        21 => i16::from_be_bytes(exact(bytes)?).to_string(),
        23 => i32::from_be_bytes(exact(bytes)?).to_string(),
        // oid, xid, cid; regproc, regclass, regtype, which psql shows by name
        24 | 26 | 28 | 29 | 2205 | 2206 => u32::from_be_bytes(exact(bytes)?).to_string(),
        // float4, float8
        700 => float(&format!("{:e}", f32::from_be_bytes(exact(bytes)?)), 6),
        701 => float(&format!("{:e}", f64::from_be_bytes(exact(bytes)?)), 15),
        // numeric
        1700 => numeric::text(bytes, limit)?,
        // money: how many digits are behind the point is a setting of the server.
        790 => i64::from_be_bytes(exact(bytes)?).to_string(),
        // uuid
        2950 => uuid(exact(bytes)?),
        // date, time, timetz, timestamp, timestamptz, interval
        1082 => times::date(bytes)?,
        1083 => times::time(i64::from_be_bytes(exact(bytes)?))?,
        1266 => times::time_with_zone(bytes)?,
        1114 => times::timestamp(bytes, "")?,
        1184 => times::timestamp(bytes, "+00")?,
        1186 => times::interval(bytes)?,
        // inet, cidr, macaddr
        869 | 650 => address(bytes)?,
        829 => octets(exact::<6>(bytes)?.as_slice()),
        774 => octets(exact::<8>(bytes)?.as_slice()),
        // bit, varbit
        1560 | 1562 => bits(bytes, limit)?,
        oid if arrays::is_array(oid) => arrays::text(bytes, limit)?,
        _ => return None,
    })
}

fn exact<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn string(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// A number that is written as `1.5e-5`, as PostgreSQL writes it: with so many digits before the point, or more than four zeros behind it,
/// with an exponent of two digits at least.
fn float(scientific: &str, digits: i32) -> String {
    let parts = scientific
        .split_once('e')
        .and_then(|(mantissa, exponent)| Some((mantissa, exponent.parse::<i32>().ok()?)));
    let Some((mantissa, exponent)) = parts else {
        return scientific.replace("inf", "Infinity");
    };
    if exponent < -4 || exponent >= digits {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let Ok(before) = usize::try_from(exponent) else {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        return format!("{sign}0.{zeros}{all}");
    };
    match all.split_at_checked(before + 1) {
        Some((whole, "")) => format!("{sign}{whole}"),
        Some((whole, fraction)) => format!("{sign}{whole}.{fraction}"),
        None => format!("{sign}{all:0<width$}", width = before + 1),
    }
}

/// `\xdeadbeef`
fn hex(bytes: &[u8], limit: usize) -> String {
    let mut text = String::from("\\x");
    for byte in bytes.iter().take(limit) {
        _ = write!(text, "{byte:02x}");
    }
    text
}

fn uuid(bytes: [u8; 16]) -> String {
    let number = u128::from_be_bytes(bytes);
    let part = |shift: u32, bits: u32| (number >> shift) & ((1 << bits) - 1);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        part(96, 32),
        part(80, 16),
        part(64, 16),
        part(48, 16),
        part(0, 48)
    )
}

/// Family, bits of the mask, whether it is a network, length, address.
fn address(bytes: &[u8]) -> Option<String> {
    let (&[family, mask, is_network, length], address) = bytes.split_first_chunk::<4>()?;
    let (address, whole) = match (family, length) {
        (2, 4) => (Ipv4Addr::from(exact::<4>(address)?).to_string(), 32),
        (3, 16) => (Ipv6Addr::from(exact::<16>(address)?).to_string(), 128),
        _ => return None,
    };
    Some(match is_network == 0 && mask == whole {
        true => address,
        false => format!("{address}/{mask}"),
    })
}

fn octets(bytes: &[u8]) -> String {
    let octets: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    octets.join(":")
}

/// Their number, then the bits, the first one highest.
fn bits(bytes: &[u8], limit: usize) -> Option<String> {
    let mut fields = Fields(bytes);
    let count = usize::try_from(fields.int32()?).ok()?;
    if fields.0.len() != count.div_ceil(8) {
        return None;
    }
    let bits = fields.0.iter().flat_map(|byte| {
        (0..8_u32)
            .rev()
            .map(move |bit| if byte >> bit & 1 == 0 { '0' } else { '1' })
    });
    Some(bits.take(count.min(limit)).collect())
}

#[cfg(test)]
mod tests;
