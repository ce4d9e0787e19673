//! NSS: keys live behind handles in softoken, and their bytes are seen where softoken calls freebl, through a table of functions.
//! libnss3 says which key is being made. All are probed only where libssl3 is mapped.
//!
//! *Measured* (NSS 3.87.1, 3.110, Firefox ESR 153): the same slots; the table only grows at its end.
//!
//! Calls: an application reads and writes descriptors of NSPR, which carry plaintext above and ciphertext below by the same functions.
//! Inside of libssl3 a socket has a table of operations (`sslSocketOps`), one for sockets with TLS and one for those without. Of the first,
//! `ssl_SecureRead` is `ssl_SecureRecv` without flags, and so with writing: by that it is told from the second, and nothing is seen twice.
//! *Measured* (NSS 3.87.1, Firefox ESR 153): one such table in each.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, OpKind, Register};
use qtap_capture::Hook;

use super::{Backend, Findings, Inferred, Source};
use crate::elf::{Elf, ElfError, Machine};
use crate::implementation::{Crypto, Implementation};
use crate::xref;

pub(super) const BACKEND: Backend = Backend {
    implementation: Implementation::Nss,
    crypto: Some(Crypto::Nss),
    find,
};

const GET_VECTOR: &str = "FREEBL_GetVector";
/// Bytes of [`GET_VECTOR`] that are read.
const GET_VECTOR_BYTES: usize = 256;
/// Offsets in the table.
const HMAC_FINISH: u64 = 0x480;
const TLS_P_HASH: u64 = 0x578;

/// Words of `sslSocketOps`: connect, accept, bind, listen, shutdown, close, recv, send, read, write, getpeername, getsockname.
const OPERATIONS: usize = 12;
/// The one that nobody sets.
const ACCEPT: usize = 1;
const CLOSE: usize = 5;
const RECV: usize = 6;
const SEND: usize = 7;
/// Bytes of data that are looked through for it: libssl3 has 20 KB.
const OPERATIONS_DATA: u64 = 1 << 20;

/// Where a socket with TLS is read, written and closed.
pub(crate) fn find_calls(elf: &Elf<'_>) -> Result<Inferred<3>, ElfError> {
    if elf.machine != Machine::X86_64 {
        return Ok(Err(
            "the operations of NSS are understood on x86-64 only".to_owned()
        ));
    }
    let mut tables = Vec::new();
    for segment in elf.segments.iter().filter(|segment| segment.writable) {
        let words = xref::loaded_words(elf, segment, OPERATIONS_DATA)?;
        for table in words.windows(OPERATIONS) {
            if is_secure(elf, table)? {
                tables.push([RECV, SEND, CLOSE].map(|at| table.get(at).copied()));
            }
        }
    }
    Ok(match *tables {
        [[Some(recv), Some(send), Some(close)]] => Ok([
            (Hook::NssRecv, "ssl_SecureRecv", recv),
            (Hook::NssSend, "ssl_SecureSend", send),
            (Hook::NssClose, "ssl_SecureClose", close),
        ]),
        _ => Err(format!(
            "{} tables of operations of sockets with TLS, not one",
            tables.len()
        )),
    })
}

/// Whether `table` has the operations of sockets with TLS.
fn is_secure(elf: &Elf<'_>, table: &[u64]) -> Result<bool, ElfError> {
    let is_set = |(index, word): (usize, &u64)| (index == ACCEPT) != elf.code_offset(*word).is_some();
    let &[.., recv, send, read, write, _, _] = table else {
        return Ok(false);
    };
    Ok(table.iter().enumerate().all(is_set) && passes_on(elf, read, recv)? && passes_on(elf, write, send)?)
}

/// Whether the function at `from` is the one at `to` with 0 for its fourth argument.
fn passes_on(elf: &Elf<'_>, from: u64, to: u64) -> Result<bool, ElfError> {
    let code = elf.code_at(from, 16)?;
    let mut decoder = Decoder::with_ip(64, &code, from, DecoderOptions::NONE);
    let mut first = decoder.decode();
    if first.code() == Code::Endbr64 {
        first = decoder.decode();
    }
    let second = decoder.decode();
    Ok(xref::is_zeroing(&first, Register::ECX)
        && second.flow_control() == FlowControl::UnconditionalBranch
        && second.near_branch_target() == to)
}

/// The files come in two: libnss3 has the one function, libfreeblpriv3 the table.
fn find(source: &Source<'_, '_>, findings: &mut Findings) {
    let Some(get_vector) = source.symbols.get(GET_VECTOR) else {
        findings.named(source, Hook::NssDerive, "PK11_DeriveWithFlags");
        return;
    };
    let slot = |offset| function_of(source.elf, get_vector, offset);
    findings.inferred(Hook::NssHmacFinish, "HMAC_Finish", slot(HMAC_FINISH));
    findings.inferred(Hook::NssTlsPrf, "TLS_P_hash", slot(TLS_P_HASH));
}

/// The function at `offset` of the table that the function at `get_vector` returns.
fn function_of(elf: &Elf<'_>, get_vector: u64, offset: u64) -> Result<Result<u64, String>, ElfError> {
    if elf.machine != Machine::X86_64 {
        return Ok(Err("the table of freebl is understood on x86-64 only".to_owned()));
    }
    let code = elf.code_at(get_vector, GET_VECTOR_BYTES)?;
    let Some(table) = returned_address(get_vector, &code) else {
        return Ok(Err(format!("{GET_VECTOR} returns no constant")));
    };
    // It begins with its length and its version, of 16 bits each.
    let length = elf
        .data_offset(table)
        .map(|offset| elf.read("table of freebl", offset, 4, 4))
        .transpose()?
        .and_then(|head| Some(u64::from(u16::from_le_bytes(*head.first_chunk()?))));
    if length.is_none_or(|length| length < offset + 8) {
        return Ok(Err(format!("the table of freebl has no entry at {offset:#x}")));
    }
    Ok(match xref::pointer_at(elf, table + offset)? {
        Some(function) if elf.code_offset(function).is_some() => Ok(function),
        _ => Err(format!(
            "the entry of freebl's table at {offset:#x} points to no code"
        )),
    })
}

/// What the last `lea rax` before a `ret` loads.
fn returned_address(address: u64, code: &[u8]) -> Option<u64> {
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let mut loaded = None;
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return None;
        }
        let is_load = instruction.code() == Code::Lea_r64_m
            && instruction.op0_register() == Register::RAX
            && instruction.op1_kind() == OpKind::Memory
            && instruction.is_ip_rel_memory_operand();
        if is_load {
            loaded = Some(instruction.ip_rel_memory_address());
        }
        if instruction.flow_control() == FlowControl::Return && loaded.is_some() {
            return loaded;
        }
    }
    None
}
