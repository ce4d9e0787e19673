//! Finding the function that TLS libraries hand their secrets to, without symbols.
//!
//! Every library that can write an NSS key log holds the label texts, and calls one internal function with
//! `(session, label, secret, length)` whether or not anybody wants a log. So: find the texts, the code that refers to
//! them, and the call that follows; let the labels vote.
//!
//! *Measured* with this code, secrets equal to a key log of the same connections: OpenSSL 1.1.1w and 3.0.22, GnuTLS
//! 3.7.1 and 3.7.9: 5 hits a TLS 1.3 handshake, 1 a full TLS 1.2 one. OpenSSL calls it for resumed TLS 1.2 sessions too, GnuTLS
//! does not. By the same method, elsewhere: BoringSSL in Bun, Chromium and gRPC, OpenSSL 3.5 and 4.0, Node 20.

mod arm64;
mod code;
mod function;
mod labels;
mod pointers;
mod vote;

pub(crate) use code::references;
pub(crate) use function::{function_start, function_starts};
pub(crate) use labels::LabelTexts;
pub(crate) use pointers::{loaded_words, pointer_at, slots_of};

use std::collections::BTreeSet;

use iced_x86::{Code, Instruction, Register};

use crate::elf::{Elf, ElfError};

/// Why no function was found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoFunction {
    #[error("no key-log label texts")]
    NoLabels,
    #[error("no code refers to the key-log label texts")]
    NoReferences,
    #[error("the references to the key-log label texts do not agree on a function ({references} references)")]
    NoAgreement { references: usize },
    #[error(transparent)]
    Elf(#[from] ElfError),
}

/// Whether an x86-64 instruction makes a register of 32 bits zero, as a compiler does.
pub(crate) fn is_zeroing(instruction: &Instruction, register: Register) -> bool {
    let is_xor = matches!(instruction.code(), Code::Xor_r32_rm32 | Code::Xor_rm32_r32);
    is_xor && instruction.op0_register() == register && instruction.op1_register() == register
}

/// The address of the function that is called with each label and its secret.
pub(crate) fn find_log_function(elf: &Elf<'_>, texts: &LabelTexts) -> Result<u64, NoFunction> {
    if texts.is_empty() {
        return Err(NoFunction::NoLabels);
    }
    let references = code::references(elf, &texts.found)?;
    if references.is_empty() {
        return Err(NoFunction::NoReferences);
    }
    let mut votes = Vec::with_capacity(references.len());
    for reference in &references {
        let target = code::next_direct_target(elf, reference.next_instruction)?;
        votes.push(vote::Vote {
            label: reference.target,
            target: target.filter(|target| elf.code_offset(*target).is_some()),
        });
    }
    let candidates = vote::candidates(&votes);
    let callers = code::count_callers(elf, &candidates)?;
    vote::elect(&votes, &callers).ok_or(NoFunction::NoAgreement {
        references: references.len(),
    })
}

/// The one function that is called behind every reference to one of `targets`, and by no other code; or why there is none. What a
/// target stands for votes once, however many places refer to it.
pub(crate) fn only_callee(elf: &Elf<'_>, targets: &[(usize, u64)]) -> Result<Result<u64, String>, ElfError> {
    let references = code::references(elf, targets)?;
    let mut calls = Vec::with_capacity(references.len());
    for reference in &references {
        let target = code::next_direct_target(elf, reference.next_instruction)?;
        calls.push((
            reference.target,
            target.filter(|target| elf.code_offset(*target).is_some()),
        ));
    }
    let candidates: BTreeSet<u64> = calls.iter().filter_map(|(_, callee)| *callee).collect();
    let callers = code::count_callers(elf, &Vec::from_iter(candidates))?;
    Ok(vote::agreed(&calls, &callers).ok_or_else(|| {
        format!(
            "the references to the labels of the key schedule do not agree on a function ({} references)",
            references.len()
        )
    }))
}
