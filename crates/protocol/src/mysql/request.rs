//! Commands of the client.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase.html>

use super::fields::Fields;
use super::values;

/// Id of a prepared statement that means the one prepared last, in MariaDB.
pub(super) const LAST_PREPARED: u32 = u32::MAX;

/// What a command asks for: its first byte. Those that no client sends are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Quit,
    InitDb,
    Query,
    FieldList,
    CreateDb,
    DropDb,
    Refresh,
    Shutdown,
    Statistics,
    ProcessInfo,
    ProcessKill,
    Debug,
    Ping,
    ChangeUser,
    BinlogDump,
    TableDump,
    RegisterSlave,
    StmtPrepare,
    StmtExecute,
    StmtSendLongData,
    StmtClose,
    StmtReset,
    SetOption,
    StmtFetch,
    BinlogDumpGtid,
    ResetConnection,
    Clone,
    StmtBulkExecute,
}

impl Opcode {
    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0x01 => Self::Quit,
            0x02 => Self::InitDb,
            0x03 => Self::Query,
            0x04 => Self::FieldList,
            0x05 => Self::CreateDb,
            0x06 => Self::DropDb,
            0x07 => Self::Refresh,
            0x08 => Self::Shutdown,
            0x09 => Self::Statistics,
            0x0a => Self::ProcessInfo,
            0x0c => Self::ProcessKill,
            0x0d => Self::Debug,
            0x0e => Self::Ping,
            0x11 => Self::ChangeUser,
            0x12 => Self::BinlogDump,
            0x13 => Self::TableDump,
            0x15 => Self::RegisterSlave,
            0x16 => Self::StmtPrepare,
            0x17 => Self::StmtExecute,
            0x18 => Self::StmtSendLongData,
            0x19 => Self::StmtClose,
            0x1a => Self::StmtReset,
            0x1b => Self::SetOption,
            0x1c => Self::StmtFetch,
            0x1e => Self::BinlogDumpGtid,
            0x1f => Self::ResetConnection,
            0x20 => Self::Clone,
            0xfa => Self::StmtBulkExecute,
            _ => return None,
        })
    }

    /// Name in the documentation of the protocol.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Quit => "COM_QUIT",
            Self::InitDb => "COM_INIT_DB",
            Self::Query => "COM_QUERY",
            Self::FieldList => "COM_FIELD_LIST",
            Self::CreateDb => "COM_CREATE_DB",
            Self::DropDb => "COM_DROP_DB",
            Self::Refresh => "COM_REFRESH",
            Self::Shutdown => "COM_SHUTDOWN",
            Self::Statistics => "COM_STATISTICS",
            Self::ProcessInfo => "COM_PROCESS_INFO",
            Self::ProcessKill => "COM_PROCESS_KILL",
            Self::Debug => "COM_DEBUG",
            Self::Ping => "COM_PING",
            Self::ChangeUser => "COM_CHANGE_USER",
            Self::BinlogDump => "COM_BINLOG_DUMP",
            Self::TableDump => "COM_TABLE_DUMP",
            Self::RegisterSlave => "COM_REGISTER_SLAVE",
            Self::StmtPrepare => "COM_STMT_PREPARE",
            Self::StmtExecute => "COM_STMT_EXECUTE",
            Self::StmtSendLongData => "COM_STMT_SEND_LONG_DATA",
            Self::StmtClose => "COM_STMT_CLOSE",
            Self::StmtReset => "COM_STMT_RESET",
            Self::SetOption => "COM_SET_OPTION",
            Self::StmtFetch => "COM_STMT_FETCH",
            Self::BinlogDumpGtid => "COM_BINLOG_DUMP_GTID",
            Self::ResetConnection => "COM_RESET_CONNECTION",
            Self::Clone => "COM_CLONE",
            Self::StmtBulkExecute => "COM_STMT_BULK_EXECUTE",
        }
    }

    /// Why parsing ends with this command.
    pub(super) const fn ends_parsing(self) -> Option<&'static str> {
        match self {
            Self::BinlogDump | Self::BinlogDumpGtid => {
                Some("a stream of the binary log follows, which is not parsed")
            }
            Self::TableDump => Some("a dump of a table follows, which is not parsed"),
            Self::Clone => Some("a clone of the data follows, which is not parsed"),
            _ => None,
        }
    }
}

/// Skips the attributes that come before the text of a statement (P-My2), to what follows them. `is_agreed`: whether there are any,
/// where the capabilities are known; no text begins as they do. `None` when they are longer than what was kept.
pub(super) fn skip_attributes(payload: &[u8], is_agreed: Option<bool>) -> Option<&[u8]> {
    if !is_agreed.unwrap_or(matches!(payload, [0..=8, 1, ..])) {
        return Some(payload);
    }
    let mut fields = Fields(payload);
    let count = usize::try_from(fields.number()?).ok()?;
    let _sets = fields.number()?;
    if count == 0 {
        return Some(fields.0);
    }
    let nulls = fields.bytes(count.div_ceil(8))?;
    let has_types = fields.byte()? == 1;
    let mut kinds = Vec::new();
    for _ in 0..count {
        if has_types {
            kinds.push(fields.int16()?.to_le_bytes()[0]);
            fields.string()?;
        }
    }
    for (index, kind) in kinds.into_iter().enumerate() {
        let is_null = nulls
            .get(index / 8)
            .is_some_and(|byte| byte & (1 << (index % 8)) != 0);
        if !is_null {
            values::skip(&mut fields, kind)?;
        }
    }
    Some(fields.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_skipped_and_recognised() {
        let two = b"\x02\x01\x02\x01\xfe\0\x01a\x03\0\x01b\x03xyzselect 1";
        for (payload, agreed, expected) in [
            (&b"select 1"[..], Some(false), Some(&b"select 1"[..])),
            (b"\0\x01select 1", Some(true), Some(b"select 1")),
            (b"\0\x01select 1", None, Some(b"select 1")),
            (b"select 1", None, Some(b"select 1")),
            // The second is NULL.
            (two, Some(true), Some(b"select 1")),
            (&two[..8], Some(true), None),
        ] {
            assert_eq!(skip_attributes(payload, agreed), expected, "{payload:?}");
        }
    }
}
