//! How commands and replies begin: to recognise a connection, and to find the next message after a loss (P-My8).

use super::request::Opcode;
use crate::detect::Fit;

/// Characters of a statement that are looked at.
const TEXT_BYTES: usize = 8;

/// Whether `bytes` begin a command of a client. Answers [`Fit::Yes`] before the packet is over, or right at its end.
pub(super) fn command(bytes: &[u8]) -> Fit {
    let Some((length, sequence, payload)) = header(bytes) else {
        return Fit::Maybe;
    };
    if sequence != 0 || length == 0 {
        return Fit::No;
    }
    let Some((first, rest)) = payload.split_first() else {
        return Fit::Maybe;
    };
    let is_fixed = |fits: bool| if fits { Fit::Yes } else { Fit::No };
    let Some(opcode) = Opcode::from_byte(*first) else {
        return Fit::No;
    };
    match opcode {
        Opcode::Query | Opcode::StmtPrepare => statement(rest, length - 1),
        Opcode::InitDb | Opcode::FieldList | Opcode::CreateDb | Opcode::DropDb | Opcode::ChangeUser => {
            match length {
                2..=1024 => texts(rest, length - 1),
                _ => Fit::No,
            }
        }
        // Nothing follows it.
        Opcode::Quit => Fit::No,
        Opcode::Statistics | Opcode::ProcessInfo | Opcode::Debug | Opcode::Ping | Opcode::ResetConnection => {
            is_fixed(length == 1)
        }
        Opcode::Refresh | Opcode::Shutdown => is_fixed(length <= 2),
        Opcode::ProcessKill | Opcode::StmtClose | Opcode::StmtReset => is_fixed(length == 5),
        Opcode::SetOption => is_fixed(length == 3),
        Opcode::StmtFetch => is_fixed(length == 9),
        Opcode::StmtSendLongData | Opcode::StmtBulkExecute | Opcode::RegisterSlave => is_fixed(length >= 7),
        Opcode::BinlogDump | Opcode::TableDump | Opcode::BinlogDumpGtid | Opcode::Clone => {
            is_fixed((2..=1 << 16).contains(&length))
        }
        // Id, flags, and an iteration count that is always 1.
        Opcode::StmtExecute => match rest {
            _ if length < 10 => Fit::No,
            [_, _, _, _, flags, ..] if *flags > 0x0f => Fit::No,
            [_, _, _, _, _, 1, 0, 0, 0, ..] => Fit::Yes,
            [_, _, _, _, _, count @ ..] if !b"\x01\0\0\0".starts_with(count) => Fit::No,
            _ => Fit::Maybe,
        },
    }
}

/// Text of a statement, after attributes if there are any.
fn statement(bytes: &[u8], length: u32) -> Fit {
    match bytes {
        // Attributes begin with their number and the number of sets, which is 1.
        [0, 1, rest @ ..] if length > 2 => texts(rest, length - 2),
        [0] => Fit::Maybe,
        [1..=8, 1, ..] if length > 8 => Fit::Yes,
        [1..=8] => Fit::Maybe,
        _ => texts(bytes, length),
    }
}

/// Characters, as many as there are in `length` bytes or as are looked at.
fn texts(bytes: &[u8], length: u32) -> Fit {
    let wanted = usize::try_from(length).unwrap_or(usize::MAX).min(TEXT_BYTES);
    let looked_at = bytes.get(..wanted).unwrap_or(bytes);
    let is_text = |(index, byte): (usize, &u8)| match byte {
        b' '..=b'~' | b'\t' | b'\n' | b'\r' => true,
        // Names end in NUL, what follows them may be anything.
        0 => index > 0,
        0x80.. => true,
        _ => false,
    };
    let end = looked_at.iter().position(|byte| *byte == 0).unwrap_or(wanted);
    let text = looked_at.get(..end).unwrap_or(looked_at);
    match text.iter().enumerate().all(is_text) && looked_at.first() != Some(&0) {
        false => Fit::No,
        true if bytes.len() >= wanted || end < wanted => Fit::Yes,
        true => Fit::Maybe,
    }
}

/// Whether `bytes` begin a reply of a server, with this sequence number if it is known.
pub(super) fn reply(bytes: &[u8], expected: Option<u8>) -> Fit {
    let Some((length, sequence, payload)) = header(bytes) else {
        return Fit::Maybe;
    };
    if expected.is_some_and(|expected| expected != sequence) || length == 0 {
        return Fit::No;
    }
    let is_fixed = |fits: bool| if fits { Fit::Yes } else { Fit::No };
    let Some((first, rest)) = payload.split_first() else {
        return Fit::Maybe;
    };
    match (*first, rest) {
        (0, _) => is_fixed((7..1 << 20).contains(&length)),
        (0xff, [low, high, ..]) => {
            is_fixed((1000..=20_000).contains(&u16::from_le_bytes([*low, *high])) && length < 1 << 10)
        }
        (0xff, _) => is_fixed(length >= 3).min(Fit::Maybe),
        (0xfe, _) => is_fixed(length == 5 || (7..1 << 16).contains(&length)),
        (0xfb, _) => is_fixed((2..4096).contains(&length)),
        // A definition of a column.
        (3, [b'd', b'e', b'f', ..]) => is_fixed(length > 20),
        (3, _) if length > 20 && b"def".starts_with(rest) => Fit::Maybe,
        // A count of columns, and whether their definitions follow.
        (1..=0xfa, _) if length == 1 => Fit::Yes,
        (1..=0xfa, [flag, ..]) if length == 2 => is_fixed(*flag <= 1),
        (1..=0xfa, []) if length == 2 => Fit::Maybe,
        (0xfc, _) => is_fixed(matches!(length, 3 | 4)),
        _ => Fit::No,
    }
}

/// Length, sequence number, and what follows.
pub(super) const fn header(bytes: &[u8]) -> Option<(u32, u8, &[u8])> {
    match bytes {
        [a, b, c, sequence, payload @ ..] => Some((u32::from_le_bytes([*a, *b, *c, 0]), *sequence, payload)),
        _ => None,
    }
}
