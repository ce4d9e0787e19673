//! Columns of results and parameters of statements: names, types and formats, and values of them as text (P-Pg8).

use std::borrow::Cow;
use std::sync::Arc;

use super::fields::Fields;
use super::values::{self, Oid};
use crate::command::{self, COLUMNS, NAME_BYTES, bytes_of, shown};

/// Columns whose types are remembered: more has no table of a server.
const KINDS: usize = 1664;
/// The format of values that are text.
const TEXT: u16 = 0;

/// What a client asked the values of a result, or sent those of parameters, to be written in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Formats {
    /// That was not seen.
    #[default]
    Unknown,
    /// All the same.
    All(u16),
    /// One each.
    Each(Arc<[u16]>),
}

impl Formats {
    /// A list of them: an empty one means text for all, one of one that for all.
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let count = fields.int16()?;
        let mut formats = Vec::with_capacity(usize::from(count).min(KINDS));
        for _ in 0..count {
            formats.push(fields.int16()?);
        }
        Some(match formats.as_slice() {
            [] => Self::All(TEXT),
            [format] => Self::All(*format),
            _ => Self::Each(formats.into()),
        })
    }

    fn of(&self, index: usize) -> Option<u16> {
        match self {
            Self::Unknown => None,
            Self::All(format) => Some(*format),
            Self::Each(formats) => formats.get(index).copied(),
        }
    }
}

/// Columns of a result.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    pub(super) names: Vec<String>,
    kinds: Vec<Oid>,
    /// Those of the result; of a statement they are not known before it is bound.
    formats: Formats,
    /// There are more.
    pub(super) is_cut: bool,
}

impl Columns {
    /// Of a `RowDescription`. `has_formats`: it is of a portal, or of a simple query.
    pub(super) fn read(mut fields: Fields<'_>, has_formats: bool) -> Self {
        let count = fields.int16().unwrap_or(0);
        let (mut columns, mut formats) = (Self::default(), Vec::new());
        for _ in 0..count {
            let name = fields.text();
            let (_table, _column) = (fields.int32(), fields.int16());
            let kind = fields.int32().map(i32::cast_unsigned);
            let (_size, _modifier) = (fields.int16(), fields.int32());
            let (Some(kind), Some(format)) = (kind, fields.int16()) else {
                columns.is_cut = true;
                break;
            };
            if columns.names.len() < COLUMNS {
                columns.names.push(shown(name, NAME_BYTES).0);
            } else {
                columns.is_cut = true;
            }
            if columns.kinds.len() < KINDS {
                columns.kinds.push(kind);
                formats.push(format);
            }
        }
        if has_formats {
            columns.formats = Formats::Each(formats.into());
        }
        columns
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        let names = self.names.iter().map(|name| name.len() + size_of::<String>());
        names.sum::<usize>() + self.kinds.len() * (size_of::<Oid>() + size_of::<u16>())
    }
}

/// Values of a `DataRow` as a line. `columns`: as far as known; `formats`: what was asked for when it was bound.
pub(super) fn line(
    mut fields: Fields<'_>,
    columns: Option<&Columns>,
    formats: &Formats,
    limit: usize,
) -> String {
    // The length of a value takes more bytes than what stands between two.
    let mut line = String::with_capacity(fields.0.len().min(limit));
    let count = fields.int16().unwrap_or(0);
    for index in 0..usize::from(count) {
        let kind = columns.and_then(|columns| columns.kinds.get(index)).copied();
        let described = columns.and_then(|columns| columns.formats.of(index));
        let format = described.or_else(|| formats.of(index));
        let Some(value) = value(&mut fields, kind, format, limit).filter(|_| line.len() <= limit) else {
            break;
        };
        line.push_str(if index == 0 { "" } else { " | " });
        line.push_str(&value);
    }
    line.push('\n');
    line
}

/// Values of the parameters of a `Bind`, from behind the names, and the formats of its result. `kinds`: their types as far as known.
pub(super) fn bound(
    fields: &mut Fields<'_>,
    kinds: &[Oid],
    is_shown: bool,
    limit: usize,
) -> (Vec<String>, Formats) {
    let mut parameters = Vec::new();
    let formats = pass_parameters(fields, |index, fields, formats| {
        let held: usize = parameters.iter().map(String::len).sum();
        if is_shown && held <= limit {
            let value = value(fields, kinds.get(index).copied(), formats.of(index), limit);
            parameters.extend(value.map(Cow::into_owned));
        }
    });
    if formats.is_none() && is_shown {
        parameters.push("…".to_owned());
    }
    (parameters, formats.unwrap_or_default())
}

/// Passes over the parameters, each of which is given to `take`. `None` if not all was kept.
fn pass_parameters(
    fields: &mut Fields<'_>,
    mut take: impl FnMut(usize, &mut Fields<'_>, &Formats),
) -> Option<Formats> {
    let formats = Formats::read(fields)?;
    for index in 0..usize::from(fields.int16()?) {
        let mut parameter = *fields;
        let length = usize::try_from(fields.int32()?).unwrap_or(0);
        if fields.bytes(length).len() < length {
            return None;
        }
        take(index, &mut parameter, &formats);
    }
    Formats::read(fields)
}

/// A value with its length before it, or what was kept of it.
fn value<'a>(
    fields: &mut Fields<'a>,
    kind: Option<Oid>,
    format: Option<u16>,
    limit: usize,
) -> Option<Cow<'a, str>> {
    let Ok(length) = usize::try_from(fields.int32()?) else {
        return Some("NULL".into());
    };
    let kept = fields.bytes(length);
    let is_whole = kept.len() == length;
    Some(match (format, kind) {
        (None | Some(TEXT), _) => command::value(kept, length),
        (Some(_), Some(kind)) if is_whole => values::text(kind, kept, limit)
            .unwrap_or_else(|| bytes_of(length))
            .into(),
        (Some(_), Some(kind)) if values::is_text(kind) => shown(kept, usize::MAX).0.into(),
        (Some(_), _) => bytes_of(length).into(),
    })
}
