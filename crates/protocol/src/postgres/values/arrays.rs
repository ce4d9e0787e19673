//! Arrays: the type of the elements is in the value.

use crate::postgres::fields::Fields;

/// Most dimensions (`MAXDIM`).
const DIMENSIONS: usize = 6;

/// Whether the type is an array of one of those that are known.
pub(super) const fn is_array(oid: u32) -> bool {
    matches!(
        oid,
        // json, xml, cidr, macaddr8
        199 | 143 | 651 | 775
        // money, bool, bytea, "char", name, int2, regproc, int4, text
        | 791 | 1000 | 1001 | 1002 | 1003 | 1005 | 1007 | 1008 | 1009
        // xid, cid, bpchar, varchar, int8, float4, float8, oid
        | 1011 | 1012 | 1014 | 1015 | 1016 | 1021 | 1022 | 1028
        // macaddr, inet, timestamp, date, time, timestamptz, interval, numeric
        | 1040 | 1041 | 1115 | 1182 | 1183 | 1185 | 1187 | 1231
        // timetz, bit, varbit, regclass, regtype, uuid, jsonb
        | 1270 | 1561 | 1563 | 2210 | 2211 | 2951 | 3807
    )
}

/// Number of dimensions, whether there are NULLs, type of the elements, length and first index of each dimension, elements with their
/// lengths. `{1,2,NULL}`; indexes that do not begin at 1 are left out.
pub(super) fn text(bytes: &[u8], limit: usize) -> Option<String> {
    let mut fields = Fields(bytes);
    let dimensions = usize::try_from(fields.int32()?).ok()?;
    let (_nulls, kind) = (fields.int32()?, fields.int32()?.cast_unsigned());
    if dimensions > DIMENSIONS || is_array(kind) {
        return None;
    }
    let mut lengths = Vec::new();
    for _ in 0..dimensions {
        lengths.push(
            usize::try_from(fields.int32()?)
                .ok()
                .filter(|length| *length > 0)?,
        );
        let _first = fields.int32()?;
    }
    let mut shown = String::new();
    let Some((_, outer)) = lengths.split_last() else {
        return fields.0.is_empty().then(|| "{}".to_owned());
    };
    // Elements between the brackets of each dimension.
    let mut spans = Vec::new();
    let mut span = 1_usize;
    for length in lengths.iter().rev() {
        span = span.checked_mul(*length)?;
        spans.push(span);
    }
    shown.push_str(&"{".repeat(outer.len() + 1));
    for index in 0..span {
        if index > 0 {
            let ended = spans.iter().filter(|span| index.is_multiple_of(**span)).count();
            shown.push_str(&"}".repeat(ended));
            shown.push(',');
            shown.push_str(&"{".repeat(ended));
        }
        if shown.len() > limit {
            shown.push('…');
            return Some(shown);
        }
        shown.push_str(&element(&mut fields, kind, limit)?);
    }
    shown.push_str(&"}".repeat(spans.len()));
    fields.0.is_empty().then_some(shown)
}

fn element(fields: &mut Fields<'_>, kind: u32, limit: usize) -> Option<String> {
    let Ok(length) = usize::try_from(fields.int32()?) else {
        return Some("NULL".to_owned());
    };
    if fields.0.len() < length {
        return None;
    }
    let text = super::text(kind, fields.bytes(length), limit)?;
    let is_plain = |text: &str| {
        !text.is_empty()
            && !text.eq_ignore_ascii_case("null")
            && !text.contains(|c: char| c.is_ascii_whitespace() || matches!(c, '{' | '}' | ',' | '"' | '\\'))
    };
    Some(if is_plain(&text) {
        text
    } else {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    })
}
