//! s2n-tls: linked into what uses it, with or without symbols. Its functions for the key log are handed the secrets too, but the
//! labels that they write are put together on the stack; so the functions that derive are probed.
//!
//! TLS 1.3: each traffic secret is derived by one function, which takes the label of RFC 8446 as a blob: a constant that points to the
//! text. Without symbols it is the function that is called behind every reference to one of those blobs, and by nobody else.
//! *Measured* (the copy in awscrt 0.38.1, stripped): 7 references, one function.
//!
//! TLS 1.2: its PRF takes the label of RFC 5246 as a blob too, but the text is put together on the stack, from a constant of eight bytes in the
//! code and the rest. Without symbols it is the function that is called next with nothing for its sixth argument, the third seed, which
//! both "key expansion" and "master secret" are without. *Measured* (the same copy): one constant of each, one function.

use std::collections::BTreeSet;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};
use memchr::memmem::Finder;
use qtap_capture::Hook;

use super::{Backend, Findings, Source};
use crate::classify::Found;
use crate::elf::{Elf, ElfError, Machine};
use crate::implementation::Implementation;
use crate::xref;

pub(super) const BACKEND: Backend = Backend {
    implementation: Implementation::S2n,
    crypto: None,
    find,
};

const DERIVE: &str = "s2n_derive_secret_with_context";
const PRF: &str = "s2n_prf";

/// What it derives: labels of RFC 8446 §7.1, as they lie in memory.
const LABELS: [&[u8]; 7] = [
    b"c e traffic\0",
    b"c hs traffic\0",
    b"s hs traffic\0",
    b"c ap traffic\0",
    b"s ap traffic\0",
    b"exp master\0",
    b"res master\0",
];
/// How labels of the PRF begin.
const PRF_LABELS: [&[u8; 8]; 2] = [b"key expa", b"master s"];
/// Bytes of code behind such a constant that are looked at: the call is 310 bytes away at most.
const PRF_CODE: usize = 1024;
/// `movabs r64, imm64`: bytes before the constant.
const MOVABS: u64 = 2;

/// Copies of a text that are followed.
const MAX_TEXTS: usize = 16;

fn find(source: &Source<'_, '_>, findings: &mut Findings) {
    match source.symbols.get(DERIVE) {
        Some(address) => findings
            .functions
            .push((Hook::S2nDerive, address, DERIVE, Found::Symbol)),
        None => {
            let derive = blobs(source.elf).and_then(|blobs| xref::only_callee(source.elf, &blobs));
            findings.inferred(Hook::S2nDerive, DERIVE, derive);
        }
    }
    match source.symbols.get(PRF) {
        Some(address) => findings
            .functions
            .push((Hook::S2nPrf, address, PRF, Found::Symbol)),
        None => findings.inferred(Hook::S2nPrf, PRF, find_prf(source.elf)),
    }
}

/// The function that is called with both labels; or why there is none.
fn find_prf(elf: &Elf<'_>) -> Result<Result<u64, String>, ElfError> {
    if elf.machine != Machine::X86_64 {
        return Ok(Err(format!("{PRF} has no name, and is inferred on x86-64 only")));
    }
    let mut votes = [const { BTreeSet::new() }; PRF_LABELS.len()];
    for (label, constant) in prf_constants(elf)? {
        let start = constant.saturating_sub(MOVABS);
        let callee = call_without_sixth_argument(start, &elf.code_at(start, PRF_CODE)?);
        if let (Some(callee), Some(votes)) = (callee, votes.get_mut(label))
            && elf.code_offset(callee).is_some()
        {
            votes.insert(callee);
        }
    }
    let [expansion, master] = votes.map(|votes| (votes.len() == 1).then(|| votes.first().copied()).flatten());
    Ok(match (expansion, master) {
        (Some(prf), Some(same)) if prf == same => Ok(prf),
        _ => Err("the labels of the PRF of TLS 1.2 do not agree on a function".to_owned()),
    })
}

/// Constants in the code with which a label of the PRF begins: which label, and where.
fn prf_constants(elf: &Elf<'_>) -> Result<Vec<(usize, u64)>, ElfError> {
    let finders = PRF_LABELS.map(Finder::new);
    let mut constants = Vec::new();
    for segment in elf.segments.iter().filter(|segment| segment.executable) {
        elf.windows(segment, 8, |base, bytes, fresh| {
            for (label, finder) in finders.iter().enumerate() {
                let hits = finder.find_iter(bytes).take_while(|at| *at < fresh);
                constants.extend(hits.map(|at| (label, base + at as u64)).take(MAX_TEXTS));
            }
        })?;
    }
    constants.truncate(PRF_LABELS.len() * MAX_TEXTS);
    Ok(constants)
}

/// What the code at `start` calls first without a sixth argument. The code has to begin with a constant that it then stores: others are
/// compared with something.
fn call_without_sixth_argument(start: u64, code: &[u8]) -> Option<u64> {
    let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
    let constant = decoder.decode();
    if constant.code() != Code::Mov_r64_imm64 {
        return None;
    }
    let register = constant.op0_register();
    let (mut is_stored, mut is_zeroed) = (false, false);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        is_stored |= stores(&instruction, register);
        is_zeroed |= xref::is_zeroing(&instruction, Register::R9D);
        match instruction.flow_control() {
            FlowControl::Call if is_stored && is_zeroed => return Some(instruction.near_branch_target()),
            FlowControl::Next | FlowControl::ConditionalBranch => {}
            // Nothing is known of the register behind it.
            _ => is_zeroed = false,
        }
        if instruction.is_invalid() {
            return None;
        }
    }
    None
}

fn stores(instruction: &Instruction, register: Register) -> bool {
    instruction.code() == Code::Mov_rm64_r64
        && instruction.op0_kind() == OpKind::Memory
        && instruction.op1_register() == register
}

/// The blobs that point to the labels: which label, and where the blob is.
fn blobs(elf: &Elf<'_>) -> Result<Vec<(usize, u64)>, ElfError> {
    let finders = LABELS.map(Finder::new);
    let mut texts = Vec::new();
    // The texts are not constants to the compiler: they lie among data that can be written to.
    for segment in &elf.segments {
        elf.windows(segment, 16, |base, bytes, fresh| {
            for (label, finder) in finders.iter().enumerate() {
                let hits = finder.find_iter(bytes).take_while(|at| *at < fresh);
                texts.extend(hits.map(|at| (label, base + at as u64)).take(MAX_TEXTS));
            }
        })?;
    }
    texts.truncate(LABELS.len() * MAX_TEXTS);
    let mut blobs = Vec::new();
    for (label, text) in texts {
        blobs.extend(xref::slots_of(elf, text)?.into_iter().map(|blob| (label, blob)));
    }
    Ok(blobs)
}
