//! The function that an instruction is in.

use super::code::direct_targets;
use crate::elf::{Elf, ElfError, Machine};

/// A function that is looked for may begin this much before the instruction.
const MAX_FUNCTION: u64 = 16 * 1024;

/// The start of the function with the instruction before `address`: the nearest call target before it that begins like a function,
/// behind the end of something else. Programs without unwind tables have no better evidence, and those built for size do not
/// align their functions.
pub(crate) fn function_start(elf: &Elf<'_>, address: u64) -> Result<Option<u64>, ElfError> {
    Ok(function_starts(elf, &[address])?.first().copied())
}

/// The same for many addresses, in one pass over the code: the starts, each once.
pub(crate) fn function_starts(elf: &Elf<'_>, addresses: &[u64]) -> Result<Vec<u64>, ElfError> {
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    let mut targets = Vec::new();
    direct_targets(elf, |target| {
        let next = sorted.partition_point(|address| *address <= target);
        if sorted
            .get(next)
            .is_some_and(|address| address - target <= MAX_FUNCTION)
        {
            targets.push(target);
        }
    })?;
    targets.sort_unstable();
    targets.dedup();
    let mut starts = Vec::new();
    for address in sorted {
        let before = targets.partition_point(|target| *target < address);
        let near = targets.get(..before).unwrap_or_default().iter().rev();
        for target in near.take_while(|target| address - **target <= MAX_FUNCTION) {
            if begins_function(elf, *target)? {
                starts.push(*target);
                break;
            }
        }
    }
    starts.dedup();
    Ok(starts)
}

/// Whether a call target begins like a function, behind the end of something else.
fn begins_function(elf: &Elf<'_>, target: u64) -> Result<bool, ElfError> {
    let Some(before) = target.checked_sub(8) else {
        return Ok(false);
    };
    let bytes = elf.code_at(before, 16)?;
    let (before, at) = bytes.split_at_checked(8).unwrap_or_default();
    Ok(match elf.machine {
        Machine::X86_64 => is_end(before) && is_prologue(at),
        Machine::Aarch64 => is_arm64_prologue(at),
    })
}

/// Whether x86-64 code ends in something behind which a function can begin: padding, or an instruction that does not go on.
fn is_end(code: &[u8]) -> bool {
    match *code {
        // ret, int3, nop; ud2; jmp rel32, jmp rel8.
        [.., 0xc3 | 0xcc | 0x90] | [.., 0x0f, 0x0b] | [.., 0xe9, _, _, _, _] | [.., 0xeb, _] => true,
        // The long nops, which end in zeros.
        [.., 0x0f, 0x1f, 0] | [.., 0x0f, 0x1f, 0x40, 0] | [.., 0x0f, 0x1f, 0x44, 0, 0] => true,
        [.., 0x0f, 0x1f, 0x80, 0, 0, 0, 0] | [.., 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0] => true,
        // A call of what does not return: direct, or jmp and call through memory or a register.
        [.., 0xe8, _, _, _, _] | [.., 0xff, 0x15 | 0x25, _, _, _, _] => true,
        [.., 0xff, modrm] => modrm & 0x38 == 0x10 || modrm & 0x38 == 0x20,
        _ => false,
    }
}

/// Whether x86-64 code begins with saving registers or making room on the stack.
fn is_prologue(code: &[u8]) -> bool {
    matches!(
        *code,
        // push r64; push r8 and up; sub rsp, imm; endbr64.
        [0x50..=0x57, ..]
            | [0x41, 0x50..=0x57, ..]
            | [0x48, 0x81 | 0x83, 0xec, ..]
            | [0xf3, 0x0f, 0x1e, 0xfa, ..]
    )
}

/// The same for arm64.
fn is_arm64_prologue(code: &[u8]) -> bool {
    let Some(word) = code.first_chunk().copied().map(u32::from_le_bytes) else {
        return false;
    };
    // stp x, x, [sp, #-n]!; sub sp, sp, #n; paciasp; bti c.
    word & 0xffc0_03e0 == 0xa980_03e0
        || word & 0xff80_03ff == 0xd100_03ff
        || matches!(word, 0xd503_233f | 0xd503_245f)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    /// A file with this code at address 0x1000.
    fn file_with(code: &[u8]) -> File {
        let mut bytes = vec![0_u8; 0x1000];
        bytes[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0");
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&1_u16.to_le_bytes());
        let length = code.len() as u64;
        let header = [(1_u64 | 5 << 32), 0x1000, 0x1000, 0x1000, length, length, 0x1000];
        for (at, word) in header.iter().enumerate() {
            bytes[64 + 8 * at..][..8].copy_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(code);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    #[test]
    fn arm64_functions_begin_with_the_stack() {
        // `stp x29, x30, [sp, #-32]!`, `sub sp, sp, #0x60`, `paciasp`; `mov x0, x19`.
        for word in [0xa9be_7bfd_u32, 0xd101_83ff, 0xd503_233f] {
            assert!(is_arm64_prologue(&word.to_le_bytes()), "{word:#x}");
        }
        assert!(!is_arm64_prologue(&0xaa13_03e0_u32.to_le_bytes()));
    }

    /// Two functions behind padding, the second called from the first; and what looks like a call to the middle of it.
    #[test]
    fn the_start_is_a_call_target_behind_an_end() {
        let mut code = vec![0x90; 0x80];
        code[0] = 0xe8;
        code[1..5].copy_from_slice(&(0x20_i32 - 5).to_le_bytes());
        code[5] = 0xc3;
        code[0x1f] = 0xcc;
        code[0x20..0x60].fill(0x50);
        // Goes to 0x1040, in the middle of code.
        code[0x10] = 0xe8;
        code[0x11..0x15].copy_from_slice(&(0x40_i32 - 0x15).to_le_bytes());
        let file = file_with(&code);
        let length = file.metadata().unwrap().len();
        let elf = Elf::parse(&file, length).unwrap();
        assert_eq!(function_start(&elf, 0x1058).unwrap(), Some(0x1020));
        assert_eq!(function_start(&elf, 0x1018).unwrap(), None);
    }
}
