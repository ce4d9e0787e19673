//! Code that refers to data and calls functions: x86-64 here, arm64 in [`arm64`].

use std::collections::HashMap;

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use memchr::memmem::Finder;

use super::arm64;
use crate::elf::{Elf, ElfError, Machine};

/// Bytes of code between a reference and the call that takes it.
const REACH: usize = 80;
/// Longest x86 instruction.
const MAX_INSTRUCTION: usize = 15;
/// References followed per file; the largest met had 9.
const MAX_REFERENCES: usize = 256;

/// An instruction that loads an address that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference<T> {
    /// What is at that address.
    pub(crate) target: T,
    /// Address behind the instruction.
    pub(crate) next_instruction: u64,
}

/// Finds the instructions that load one of the addresses of `targets`: on x86-64 `lea reg, [rip + disp32]`, and in files of fixed
/// address `mov reg, imm32`; on arm64 `adrp` with the `add` behind it. One pass over the code.
pub(crate) fn references<T: Copy + Ord>(
    elf: &Elf<'_>,
    targets: &[(T, u64)],
) -> Result<Vec<Reference<T>>, ElfError> {
    let by_address: HashMap<u64, T> = targets
        .iter()
        .map(|(target, address)| (*address, *target))
        .collect();
    let immediates: Vec<(T, [u8; 4])> = (targets.iter())
        .filter(|_| elf.fixed_address)
        .filter_map(|(target, address)| Some((*target, u32::try_from(*address).ok()?.to_le_bytes())))
        .collect();
    let mut found = Vec::new();
    for segment in elf.segments.iter().filter(|segment| segment.executable) {
        let overlap = match elf.machine {
            Machine::X86_64 => MAX_INSTRUCTION,
            Machine::Aarch64 => arm64::OVERLAP,
        };
        elf.windows(segment, overlap, |base, bytes, fresh| {
            if elf.machine == Machine::Aarch64 {
                arm64::references(base, bytes, fresh, &by_address, &mut found);
                return;
            }
            // `fresh` counts where the opcode byte is; its prefix may be in the overlap of the window before.
            for opcode in memchr::memchr_iter(0x8d, bytes).take_while(|at| *at <= fresh) {
                let Some(displacement) = lea_displacement(bytes, opcode) else {
                    continue;
                };
                let next_instruction = base.wrapping_add(opcode as u64 + 6);
                let address = next_instruction.wrapping_add_signed(i64::from(displacement));
                if let Some(target) = by_address.get(&address) {
                    found.push(Reference {
                        target: *target,
                        next_instruction,
                    });
                }
            }
            for (target, immediate) in &immediates {
                for at in Finder::new(immediate).find_iter(bytes) {
                    // `mov r32, imm32`.
                    let opcode = at.checked_sub(1).and_then(|before| bytes.get(before));
                    if opcode.is_some_and(|opcode| opcode & 0xf8 == 0xb8) {
                        found.push(Reference {
                            target: *target,
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
    if elf.machine == Machine::Aarch64 {
        return Ok(arm64::next_direct_target(address, &bytes));
    }
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
    direct_targets(elf, |target| {
        if let Some(count) = counts.get_mut(&target) {
            *count += 1;
        }
    })?;
    Ok(counts)
}

/// Tells where each direct call and jump goes. What only looks like one in the middle of an instruction is among them.
pub(super) fn direct_targets(elf: &Elf<'_>, mut visit: impl FnMut(u64)) -> Result<(), ElfError> {
    for segment in elf.segments.iter().filter(|segment| segment.executable) {
        elf.windows(segment, MAX_INSTRUCTION, |base, bytes, fresh| {
            if elf.machine == Machine::Aarch64 {
                arm64::direct_targets(base, bytes.get(..fresh).unwrap_or(bytes), &mut visit);
                return;
            }
            for at in memchr::memchr2_iter(0xe8, 0xe9, bytes).take_while(|at| *at < fresh) {
                let Some(displacement) = bytes.get(at + 1..at + 5).and_then(|bytes| bytes.try_into().ok())
                else {
                    continue;
                };
                let displacement = i64::from(i32::from_le_bytes(displacement));
                visit((base + at as u64 + 5).wrapping_add_signed(displacement));
            }
        })?;
    }
    Ok(())
}
