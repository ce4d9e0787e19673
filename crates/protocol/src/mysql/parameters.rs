//! Values that a prepared statement is run with (P-My4).
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_stmt_execute.html>

use std::collections::BTreeSet;

use super::fields::Fields;
use super::values::{Column, value};

/// The parameter count follows, as there can be attributes of the query among the parameters.
const HAS_COUNT: u8 = 8;
/// Set in a type for UNSIGNED.
const UNSIGNED: u16 = 0x8000;
/// Parameters whose values came apart that are remembered.
const LONG: usize = 256;

/// What is known of the parameters of a statement.
#[derive(Debug, Default)]
pub(super) struct Layout {
    count: u16,
    /// Their types, as the client said when it ran the statement before.
    kinds: Vec<Column>,
    /// Those whose values came by `COM_STMT_SEND_LONG_DATA`.
    long: BTreeSet<u16>,
}

impl Layout {
    pub(super) fn new(count: u16) -> Self {
        Self {
            count,
            ..Self::default()
        }
    }

    pub(super) fn held(&self) -> usize {
        self.kinds.len() * size_of::<Column>() + self.long.len() * size_of::<u16>()
    }

    /// The value of a parameter came, or a part of it.
    pub(super) fn sent_long(&mut self, index: u16) {
        if self.long.len() < LONG {
            self.long.insert(index);
        }
    }

    /// What came apart is forgotten.
    pub(super) fn reset(&mut self) {
        self.long.clear();
    }

    /// The values, from the flags of the command on, until they take `limit` bytes. What cannot be read, or was not kept, is `…`.
    /// `has_attributes`: both ends know attributes of queries.
    pub(super) fn read(&mut self, mut fields: Fields<'_>, has_attributes: bool, limit: usize) -> Vec<String> {
        let mut values = Vec::new();
        if self
            .values(&mut fields, has_attributes, limit, &mut values)
            .is_none()
        {
            values.push("…".to_owned());
        }
        self.long.clear();
        values
    }

    fn values(
        &mut self,
        fields: &mut Fields<'_>,
        has_attributes: bool,
        limit: usize,
        values: &mut Vec<String>,
    ) -> Option<()> {
        let flags = fields.byte()?;
        let _iterations = fields.int32()?;
        let has_count = has_attributes && flags & HAS_COUNT != 0;
        if self.count == 0 && !has_count {
            return Some(());
        }
        // Attributes of the query follow the parameters.
        let count = match has_count {
            true => usize::try_from(fields.number()?).ok()?,
            false => self.count.into(),
        };
        let nulls = fields.bytes(count.div_ceil(8))?;
        if fields.byte()? == 1 {
            self.kinds.clear();
            for index in 0..count {
                let kind = fields.int16()?;
                if has_attributes {
                    fields.string()?;
                }
                if index < self.count.into() {
                    self.kinds.push(Column {
                        kind: kind.to_le_bytes()[0],
                        is_unsigned: kind & UNSIGNED != 0,
                    });
                }
            }
        }
        for (index, kind) in (0..self.count).zip(&self.kinds) {
            let byte = nulls.get(usize::from(index / 8)).copied().unwrap_or(0);
            let held: usize = values.iter().map(String::len).sum();
            if held > limit {
                return None;
            }
            values.push(match () {
                () if byte & (1 << (index % 8)) != 0 => "NULL".to_owned(),
                () if self.long.contains(&index) => "(sent before)".to_owned(),
                () => value(fields, *kind)?,
            });
        }
        (self.kinds.len() == usize::from(self.count)).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flags, iterations, NULLs of three parameters, types of them, values.
    const FIRST: &[u8] = b"\0\x01\0\0\0\x02\x01\x03\x80\xfd\0\x05\0\xff\xff\xff\xff\0\0\0\0\0\0\x04\xc0";

    #[test]
    fn p_my4_types_are_remembered_for_the_next_run() {
        let mut layout = Layout::new(3);
        assert_eq!(
            layout.read(Fields(FIRST), false, 100),
            ["4294967295", "NULL", "-2.5"]
        );
        let again = b"\0\x01\0\0\0\x01\0\x03abc\0\0\0\0\0\0\xf8\x3f";
        assert_eq!(layout.read(Fields(again), false, 100), ["NULL", "abc", "1.5"]);
    }

    #[test]
    fn p_my4_attributes_of_the_query_are_no_parameters() {
        let mut layout = Layout::new(1);
        let run = b"\x08\x01\0\0\0\x02\0\x01\x01\0\0\xfe\0\x05trace\x07\x03abc";
        assert_eq!(layout.read(Fields(run), true, 100), ["7"]);
        let mut none = Layout::new(0);
        assert!(none.read(Fields(b"\0\x01\0\0\0"), true, 100).is_empty());
    }

    #[test]
    fn p_my4_what_is_missing_or_came_before_is_told() {
        let mut layout = Layout::new(3);
        assert_eq!(
            layout.read(Fields(&FIRST[..20]), false, 100),
            ["4294967295", "NULL", "…"]
        );
        layout.sent_long(2);
        let again = b"\0\x01\0\0\0\x02\0\x07\0\0\0";
        assert_eq!(
            layout.read(Fields(again), false, 100),
            ["7", "NULL", "(sent before)"]
        );
        assert_eq!(layout.read(Fields(again), false, 100), ["7", "NULL", "…"]);
        let mut unknown = Layout::new(2);
        assert_eq!(unknown.read(Fields(b"\0\x01\0\0\0\0\0abc"), false, 100), ["…"]);
        let mut long = Layout::new(2);
        let run = [&b"\0\x01\0\0\0\0\x01\xfd\0\xfd\0\x20"[..], &[b'x'; 32], b"\x01y"].concat();
        assert_eq!(
            long.read(Fields(&run), false, 10).last().map(String::as_str),
            Some("…")
        );
    }
}
