//! x86-64 code that refers to texts and calls functions.

use std::collections::HashMap;

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use memchr::memmem::Finder;

use super::labels::{Label, LabelTexts};
use crate::elf::{Elf, ElfError};

/// Bytes of code between a reference and the call that takes it.
const REACH: usize = 80;
/// Longest x86 instruction.
const MAX_INSTRUCTION: usize = 15;
/// References followed per file; the largest met had 9.
const MAX_REFERENCES: usize = 256;

/// An instruction that loads the address of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    pub(super) label: Label,
    /// Address behind it.
    pub(super) next_instruction: u64,
}

/// Finds `lea reg, [rip + disp32]`, and in files of fixed address `mov reg, imm32`, whose target is a label.
pub(super) fn references(elf: &Elf<'_>, texts: &LabelTexts) -> Result<Vec<Reference>, ElfError> {
    let labels: HashMap<u64, Label> = texts
        .found
        .iter()
        .map(|(label, address)| (*address, *label))
        .collect();
    let immediates: Vec<(Label, [u8; 4])> = (texts.found.iter())
        .filter(|_| elf.fixed_address)
        .filter_map(|(label, address)| Some((*label, u32::try_from(*address).ok()?.to_le_bytes())))
        .collect();
    let mut found = Vec::new();
    for segment in elf.segments.iter().filter(|segment| segment.executable) {
        elf.windows(segment, MAX_INSTRUCTION, |base, bytes, fresh| {
            // `fresh` counts where the opcode byte is; its prefix may be in the overlap of the window before.
            for opcode in memchr::memchr_iter(0x8d, bytes).take_while(|at| *at <= fresh) {
                let Some(displacement) = lea_displacement(bytes, opcode) else {
                    continue;
                };
                let next = base.wrapping_add(opcode as u64 + 6);
                if let Some(label) = labels.get(&next.wrapping_add_signed(i64::from(displacement))) {
                    found.push(Reference {
                        label: *label,
                        next_instruction: next,
                    });
                }
            }
            for (label, immediate) in &immediates {
                for at in Finder::new(immediate).find_iter(bytes) {
                    // `mov r32, imm32`.
                    let opcode = at.checked_sub(1).and_then(|before| bytes.get(before));
                    if opcode.is_some_and(|opcode| opcode & 0xf8 == 0xb8) {
                        found.push(Reference {
                            label: *label,
                            next_instruction: base + at as u64 + 4,
                        });
                    }
                }
            }
        })?;
        found.sort_unstable();
        found.dedup();
        found.truncate(MAX_REFERENCES);
    }
    Ok(found)
}

/// The displacement of `REX.W 8D /r` with mod 00 and rm 101, whose opcode byte is at `opcode`.
fn lea_displacement(bytes: &[u8], opcode: usize) -> Option<i32> {
    let rex = bytes.get(opcode.checked_sub(1)?)?;
    let modrm = bytes.get(opcode + 1)?;
    if rex & 0xf8 != 0x48 || modrm & 0xc7 != 0x05 {
        return None;
    }
    let displacement = bytes.get(opcode + 2..opcode + 6)?.try_into().ok()?;
    Some(i32::from_le_bytes(displacement))
}

/// The target of the first direct call or tail jump at or behind `address`, within reach and before the code ends in
/// something else.
pub(super) fn next_direct_target(elf: &Elf<'_>, address: u64) -> Result<Option<u64>, ElfError> {
    let bytes = elf.code_at(address, REACH + MAX_INSTRUCTION)?;
    let mut decoder = Decoder::with_ip(64, &bytes, address, DecoderOptions::NONE);
    while decoder.can_decode() && decoder.position() < REACH {
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return Ok(None);
        }
        match instruction.flow_control() {
            FlowControl::Call | FlowControl::UnconditionalBranch => {
                return Ok(Some(instruction.near_branch_target()));
            }
            FlowControl::Next | FlowControl::ConditionalBranch => {}
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// How many direct calls and jumps go to each of `functions`.
pub(super) fn count_callers(elf: &Elf<'_>, functions: &[u64]) -> Result<HashMap<u64, usize>, ElfError> {
    let mut counts: HashMap<u64, usize> = functions.iter().map(|function| (*function, 0)).collect();
    if counts.is_empty() {
        return Ok(counts);
    }
    for segment in elf.segments.iter().filter(|segment| segment.executable) {
        elf.windows(segment, MAX_INSTRUCTION, |base, bytes, fresh| {
            for at in memchr::memchr2_iter(0xe8, 0xe9, bytes).take_while(|at| *at < fresh) {
                let Some(displacement) = bytes.get(at + 1..at + 5).and_then(|bytes| bytes.try_into().ok())
                else {
                    continue;
                };
                let displacement = i64::from(i32::from_le_bytes(displacement));
                let target = (base + at as u64 + 5).wrapping_add_signed(displacement);
                if let Some(count) = counts.get_mut(&target) {
                    *count += 1;
                }
            }
        })?;
    }
    Ok(counts)
}
