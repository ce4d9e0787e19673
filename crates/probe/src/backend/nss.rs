//! NSS: keys live behind handles in softoken, and their bytes are seen where softoken calls freebl, through a table of functions.
//! libnss3 says which key is being made. All are probed only where libssl3 is mapped.
//!
//! *Measured* (NSS 3.87.1, 3.110, Firefox ESR 153): the same slots; the table only grows at its end.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, OpKind, Register};
use qtap_capture::Hook;

use super::{Backend, Findings, Source};
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
