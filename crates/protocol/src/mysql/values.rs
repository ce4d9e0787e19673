//! Columns and rows, in text and in binary.
//! <https://mariadb.com/docs/server/reference/clientserver-protocol/4-server-response-packets/resultset-row>

use std::borrow::Cow;

use super::fields::Fields;
use crate::command::{self, COLUMNS, NAME_BYTES, shown};

/// Columns whose types are remembered: more has no table of a server.
const KINDS: usize = 4096;

/// What a definition of a column says that is needed to read its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) kind: u8,
    pub(super) is_unsigned: bool,
}

/// Columns of a result.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    pub(super) names: Vec<String>,
    columns: Vec<Column>,
    /// Not all could be read.
    is_cut: bool,
}

impl Columns {
    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        let names: usize = self
            .names
            .iter()
            .map(|name| name.len() + size_of::<String>())
            .sum();
        names + self.columns.len() * size_of::<Column>()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// A definition. Returns whether its name is kept.
    pub(super) fn define(&mut self, definition: &[u8], has_metadata: Option<bool>) -> bool {
        let parsed = define(definition, has_metadata);
        self.is_cut |= parsed.is_none() || self.columns.len() >= KINDS;
        let Some((name, column)) = parsed.filter(|_| !self.is_cut) else {
            return false;
        };
        self.columns.push(column);
        let has_room = self.names.len() < COLUMNS;
        if has_room {
            self.names.push(shown(name, NAME_BYTES).0);
        }
        has_room
    }

    /// A row as a line; of values that are no text the length.
    pub(super) fn line(&self, row: &[u8], is_binary: bool) -> String {
        let mut line = Line::with_room(row.len() + 3 * self.columns.len());
        let mut fields = Fields(row);
        let read = if is_binary && !self.is_cut && !self.columns.is_empty() {
            binary(&mut fields, &self.columns, &mut line)
        } else if is_binary {
            None
        } else {
            text(&mut fields, &mut line)
        };
        let mut line = line.text;
        if read.is_none() {
            line.push_str(if line.is_empty() { "…" } else { " | …" });
        }
        line.push('\n');
        line
    }
}

/// Values side by side.
struct Line {
    text: String,
    is_begun: bool,
}

impl Line {
    fn with_room(bytes: usize) -> Self {
        Self {
            text: String::with_capacity(bytes),
            is_begun: false,
        }
    }

    fn add(&mut self, value: &str) {
        if std::mem::replace(&mut self.is_begun, true) {
            self.text.push_str(" | ");
        }
        self.text.push_str(value);
    }
}

/// Name and kind of a column.
fn define(definition: &[u8], has_metadata: Option<bool>) -> Option<(&[u8], Column)> {
    let mut fields = Fields(definition);
    let (_catalog, _schema, _table, _original) = (
        fields.string()?,
        fields.string()?,
        fields.string()?,
        fields.string()?,
    );
    let (name, _original) = (fields.string()?, fields.string()?);
    // MariaDB puts its extended metadata before the fixed part, which begins with its length.
    let is_fixed = |bytes: &[u8]| matches!(bytes, [12, _, _, _, _, _, _, _, _, _, _, 0, 0, ..]);
    if has_metadata.unwrap_or(!is_fixed(fields.0)) {
        fields.string()?;
    }
    fields.number()?;
    fields.bytes(6)?;
    let (kind, flags) = (fields.byte()?, fields.int16()?);
    let column = Column {
        kind,
        is_unsigned: flags & 0x20 != 0,
    };
    Some((name, column))
}

fn text(fields: &mut Fields<'_>, line: &mut Line) -> Option<()> {
    while let Some(first) = fields.0.first() {
        if *first == 0xfb {
            fields.byte();
            line.add("NULL");
        } else {
            line.add(&string(fields)?);
        }
    }
    Some(())
}

/// NULLs are bits, of which the first two are not used.
fn binary(fields: &mut Fields<'_>, columns: &[Column], line: &mut Line) -> Option<()> {
    fields.byte()?;
    let nulls = fields.bytes((columns.len() + 9) / 8)?;
    for (index, column) in columns.iter().enumerate() {
        let bit = index + 2;
        let is_null = nulls
            .get(bit / 8)
            .is_some_and(|byte| byte & (1 << (bit % 8)) != 0);
        if is_null {
            line.add("NULL");
        } else {
            line.add(&value(fields, *column)?);
        }
    }
    Some(())
}

/// A value with its length before it.
fn string<'a>(fields: &mut Fields<'a>) -> Option<Cow<'a, str>> {
    let length = usize::try_from(fields.number()?).ok()?;
    Some(command::value(fields.up_to(length), length))
}

/// A binary value.
pub(super) fn value(fields: &mut Fields<'_>, column: Column) -> Option<String> {
    let signed = !column.is_unsigned;
    Some(match column.kind {
        0x01 => {
            let byte = fields.byte()?;
            if signed {
                byte.cast_signed().to_string()
            } else {
                byte.to_string()
            }
        }
        0x02 | 0x0d => {
            let number = fields.int16()?;
            if signed {
                number.cast_signed().to_string()
            } else {
                number.to_string()
            }
        }
        0x03 | 0x09 => {
            let number = fields.int32()?;
            if signed {
                number.cast_signed().to_string()
            } else {
                number.to_string()
            }
        }
        0x08 => {
            let number = fields.int64()?;
            if signed {
                number.cast_signed().to_string()
            } else {
                number.to_string()
            }
        }
        0x04 => f32::from_bits(fields.int32()?).to_string(),
        0x05 => f64::from_bits(fields.int64()?).to_string(),
        0x06 => "NULL".to_owned(),
        0x07 | 0x0a | 0x0c => date(fields, column.kind)?,
        0x0b => time(fields)?,
        _ => string(fields)?.into_owned(),
    })
}

fn date(fields: &mut Fields<'_>, kind: u8) -> Option<String> {
    let length = fields.byte()?;
    let mut part = Fields(fields.bytes(length.into())?);
    let (year, month, day) = match length {
        0 => (0, 0, 0),
        _ => (part.int16()?, part.byte()?, part.byte()?),
    };
    let date = format!("{year:04}-{month:02}-{day:02}");
    if kind == 0x0a {
        return Some(date);
    }
    let (hour, minute, second) = match length {
        0..=4 => (0, 0, 0),
        _ => (part.byte()?, part.byte()?, part.byte()?),
    };
    Some(match part.int32() {
        Some(micros) => format!("{date} {hour:02}:{minute:02}:{second:02}.{micros:06}"),
        None => format!("{date} {hour:02}:{minute:02}:{second:02}"),
    })
}

fn time(fields: &mut Fields<'_>) -> Option<String> {
    let length = fields.byte()?;
    let mut part = Fields(fields.bytes(length.into())?);
    if length == 0 {
        return Some("00:00:00".to_owned());
    }
    let sign = if part.byte()? == 0 { "" } else { "-" };
    let hours = u64::from(part.int32()?) * 24 + u64::from(part.byte()?);
    let (minute, second) = (part.byte()?, part.byte()?);
    Some(match part.int32() {
        Some(micros) => format!("{sign}{hours:02}:{minute:02}:{second:02}.{micros:06}"),
        None => format!("{sign}{hours:02}:{minute:02}:{second:02}"),
    })
}

/// Passes over a binary value.
pub(super) fn skip(fields: &mut Fields<'_>, kind: u8) -> Option<()> {
    let length = match kind {
        0x06 => 0,
        0x01 => 1,
        0x02 | 0x0d => 2,
        0x03 | 0x04 | 0x09 => 4,
        0x05 | 0x08 => 8,
        0x07 | 0x0a | 0x0b | 0x0c => fields.byte()?.into(),
        _ => usize::try_from(fields.number()?).ok()?,
    };
    fields.bytes(length).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_values_of_every_kind() {
        for (kind, bytes, shown) in [
            (0x01, &b"\xff"[..], "-1"),
            (0x81, b"\xff", "255"),
            (0x02, b"\xfe\xff", "-2"),
            (0x8d, b"\xea\x07", "2026"),
            (0x03, b"\xfd\xff\xff\xff", "-3"),
            (0x83, b"\xff\xff\xff\xff", "4294967295"),
            (0x08, b"\xfc\xff\xff\xff\xff\xff\xff\xff", "-4"),
            (0x88, b"\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
            (0x04, b"\0\0\xc0\x3f", "1.5"),
            (0x05, b"\0\0\0\0\0\0\x04\xc0", "-2.5"),
            (0x0a, b"\x04\xea\x07\x0b\x1c", "2026-11-28"),
            (0x0a, b"\0", "0000-00-00"),
            (0x0c, b"\x04\xea\x07\x0b\x1c", "2026-11-28 00:00:00"),
            (0x07, b"\x07\xea\x07\x0b\x1c\x0a\x14\x1e", "2026-11-28 10:20:30"),
            (
                0x0c,
                b"\x0b\xea\x07\x0b\x1c\x0a\x14\x1e\x07\0\0\0",
                "2026-11-28 10:20:30.000007",
            ),
            (0x0b, b"\0", "00:00:00"),
            (0x0b, b"\x08\x01\x02\0\0\0\x03\x04\x05", "-51:04:05"),
            (0x0b, b"\x0c\0\0\0\0\0\x03\x04\x05\x07\0\0\0", "03:04:05.000007"),
            (0x7d, b"\x03abc", "abc"),
            (0xfd, b"\x03abc", "abc"),
            (0xf6, b"\x041.50", "1.50"),
            (0xfc, b"\x02\xff\xfe", "(2 bytes)"),
            (0xfd, b"\x09abc", "abc"),
        ] {
            // The highest bit of small kinds stands for UNSIGNED.
            let is_unsigned = (0x80..0x90).contains(&kind);
            let column = Column {
                kind: if is_unsigned { kind & 0x7f } else { kind },
                is_unsigned,
            };
            assert_eq!(
                value(&mut Fields(bytes), column).as_deref(),
                Some(shown),
                "{kind:#x} {bytes:?}"
            );
            if bytes.len() > 1 && shown != "abc" {
                let mut rest = Fields(bytes);
                assert_eq!(
                    skip(&mut rest, column.kind).map(|()| rest.0.len()),
                    Some(0),
                    "{kind:#x}"
                );
            }
        }
    }

    #[test]
    fn rows_in_binary_have_a_map_of_nulls() {
        let column = |kind| Column {
            kind,
            is_unsigned: false,
        };
        let columns = Columns {
            columns: vec![column(0x03), column(0xfd), column(0xfd)],
            ..Columns::default()
        };
        // Bits 2 to 4; the second is NULL.
        assert_eq!(columns.line(b"\0\x08\x07\0\0\0\x02ab", true), "7 | NULL | ab\n");
        assert_eq!(columns.line(b"\0\x08\x07\0\0", true), "…\n");
        assert_eq!(Columns::default().line(b"\0\x08\x07\0\0", true), "…\n");
    }

    #[test]
    fn rows_in_text() {
        let columns = Columns::default();
        assert_eq!(
            columns.line(b"\x011\xfb\x06gr\xc3\xbc\xc3\x9f\x02\xff\xfe", false),
            "1 | NULL | grüß | (2 bytes)\n"
        );
        assert_eq!(columns.line(b"\x011\x09cut", false), "1 | cut\n");
    }

    #[test]
    fn definitions_with_and_without_extended_metadata() {
        let names = b"\x03def\x01s\x01t\x01t\x02id\x02id";
        let fixed = b"\x0c\x21\0\x0b\0\0\0\x03\x20\0\0\0\0";
        let expected = Some((
            &b"id"[..],
            Column {
                kind: 3,
                is_unsigned: true,
            },
        ));
        let plain = [&names[..], fixed].concat();
        let extended = [&names[..], b"\x06\0\x04uuid", fixed].concat();
        let empty = [&names[..], b"\0", fixed].concat();
        for (definition, agreed) in [
            (&plain, Some(false)),
            (&plain, None),
            (&extended, Some(true)),
            (&extended, None),
            (&empty, Some(true)),
            (&empty, None),
        ] {
            assert_eq!(define(definition, agreed), expected, "{definition:?}");
        }
        assert_eq!(define(&plain[..10], None), None);
    }
}
