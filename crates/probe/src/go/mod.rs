//! Go programs: functions by name, stripped or not.
//!
//! Every Go program carries a table of its functions (`pclntab`), which its runtime needs for stack traces: neither `strip`
//! nor `-ldflags "-s -w"` nor `-buildmode=pie` takes it out. So: find the table by its header, the names in it, the
//! functions of those names, and, where the table counts from the start of the code, that start.
//!
//! `crypto/tls` hands every secret with its label and the client random to `(*Config).writeKeyLog`, whether or not the program
//! asked for a key log: 4 calls a TLS 1.3 handshake. A resumed TLS 1.2 session does not, but like every TLS 1.2 handshake derives
//! its keys in `keysFromMasterSecret`. Both have taken the same arguments since 1.17, the first Go that passes them in registers.
//! *Measured*: both are there, not inlined, in programs of Go 1.17.8, 1.18, 1.21.13, 1.24.11, 1.25.5 and 1.27.3, and their secrets
//! open the records of 1.17.8, 1.21.13, 1.24.11 and 1.27.3.
//!
//! Connections that are older than the probes are read at `(*Conn).Read` and `(*Conn).Write`: at entry and at every instruction
//! that returns, which [`code`] finds. A return probe would leave an address of its own on a stack that Go copies and walks.
//!
//! Sources: `debug/gosym/pclntab.go`, `runtime/symtab.go` and `internal/abi/symtab.go` of those versions.

mod build_info;
mod bytes;
mod code;
mod table;
mod text;

use qtap_capture::Hook;

use crate::elf::{Elf, ElfError, Machine};
use bytes::Reader;
use table::{Header, Kind, Names, Table};

/// `crypto/tls`, or a copy of it under another name, in a Go program.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct GoTls {
    /// `(*Config).writeKeyLog(label string, clientRandom, secret []byte)`: addresses, one for each copy of the package.
    pub(crate) key_logs: Vec<u64>,
    /// `keysFromMasterSecret(version, suite, masterSecret, clientRandom, serverRandom, …)`.
    pub(crate) master_keys: Vec<u64>,
    /// Why there are none.
    pub(crate) reason: Option<String>,
    /// Where calls that read and write are seen, all or none.
    pub(crate) calls: Vec<(Hook, u64)>,
    /// Why there are none.
    pub(crate) calls_reason: Option<String>,
}

/// The name under which a function is reported, of whichever copy of the package it is.
pub(crate) const KEY_LOG: &str = "crypto/tls.(*Config).writeKeyLog";
/// See [`KEY_LOG`].
pub(crate) const MASTER_KEYS: &str = "crypto/tls.keysFromMasterSecret";

/// See [`KEY_LOG`].
pub(crate) const READ: &str = "crypto/tls.(*Conn).Read";
/// See [`KEY_LOG`].
pub(crate) const WRITE: &str = "crypto/tls.(*Conn).Write";

/// Finds the TLS code of a Go program; `None` when it is no Go program or has no TLS. Reads the parts of the file that are not
/// code once, and of the function table what it needs; memory under 1 MiB.
pub(crate) fn find(elf: &Elf<'_>) -> Result<Option<GoTls>, ElfError> {
    let reader = Reader::new(elf);
    for header in table::headers(elf)? {
        match find_in(&reader, &header) {
            Ok(None) => {}
            // Bytes that look like a header and are none lead nowhere.
            Err(ElfError::Malformed(reason)) => {
                tracing::trace!(address = header.address, reason, "not a Go function table");
            }
            found => return found,
        }
    }
    Ok(None)
}

fn find_in(reader: &Reader<'_, '_>, header: &Header) -> Result<Option<GoTls>, ElfError> {
    let unsupported = |reason: &str| {
        Some(GoTls {
            reason: Some(reason.to_owned()),
            ..GoTls::default()
        })
    };
    let Some(table) = Table::parse(reader, header)? else {
        let has_tls = table::mentions_tls(reader, header)?;
        return Ok(has_tls.then(|| unsupported(STACK_ARGUMENTS)).flatten());
    };
    let names = Names::find(reader, &table)?;
    if !names.has_tls {
        return Ok(None);
    }
    if table.is_before_118() && !build_info::is_117_or_newer(reader)? {
        return Ok(unsupported(STACK_ARGUMENTS));
    }
    if table.is_before_118() && reader.elf.machine == Machine::Aarch64 {
        return Ok(unsupported(
            "built with a Go before 1.18, which passes arguments on the stack on arm64",
        ));
    }
    let functions = table.functions(reader, &names)?;
    let (mut key_logs, mut master_keys) = (Vec::new(), Vec::new());
    let (mut read, mut write) = (None, None);
    if !functions.is_empty() {
        let start = text::start(reader, &table)?;
        for function in functions {
            let Some(address) = start.address(function.entry) else {
                continue;
            };
            match function.kind {
                Kind::KeyLog => key_logs.push(address),
                Kind::MasterKeys => master_keys.push(address),
                Kind::Read => read = Some((address, function.size)),
                Kind::Write => write = Some((address, function.size)),
            }
        }
    }
    let (calls, calls_reason) = match calls(reader.elf, read, write) {
        Ok(calls) => (calls, None),
        Err(reason) => (Vec::new(), Some(reason)),
    };
    let reason = key_logs
        .is_empty()
        .then(|| "the function that is handed the secrets is not in the program's function table".to_owned());
    Ok(Some(GoTls {
        key_logs,
        master_keys,
        reason,
        calls,
        calls_reason,
    }))
}

/// Address and size of a function.
type Extent = (u64, u64);

/// The places of both functions, or why there are none: what is read without what is written is of no use. An error concerns
/// these alone.
fn calls(elf: &Elf<'_>, read: Option<Extent>, write: Option<Extent>) -> Result<Vec<(Hook, u64)>, String> {
    let (Some(read), Some(write)) = (read, write) else {
        return Err("the functions that read and write are not in the program's function table".to_owned());
    };
    let of_read = code::examine(elf, read.0, read.1)?;
    let of_write = code::examine(elf, write.0, write.1)?;
    let read_end = if of_read.keeps_arguments {
        Hook::GoReadEnd
    } else {
        Hook::GoReadEndPaired
    };
    let mut places = vec![(Hook::GoRead, read.0), (Hook::GoWrite, write.0)];
    for (hook, ends) in [(read_end, of_read.returns), (Hook::GoWriteEnd, of_write.returns)] {
        places.extend(ends.into_iter().map(|address| (hook, address)));
    }
    Ok(places)
}

const STACK_ARGUMENTS: &str =
    "built with Go 1.16 or older, which passes arguments on the stack; Go 1.17 or newer is needed";
