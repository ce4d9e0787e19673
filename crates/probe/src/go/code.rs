//! Where a function of Go returns, and whether it keeps its arguments where they can be found then.
//!
//! The function table says where the function begins and where the next one does. Between is code that Go's own compiler made: no
//! data, no jump out of it but calls, and `int3` (x86-64) or zeros (arm64) behind its end. So it is decoded from one end to the other;
//! anything else is refused.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use crate::elf::{Elf, Machine};

/// `(*Conn).Read` has about 1 KiB, `Write` 2 KiB.
const MAX_SIZE: u64 = 64 * 1024;
/// Both have about ten.
const MAX_RETURNS: usize = 64;
const INT3: u8 = 0xcc;
/// `ret` by the link register.
const ARM64_RET: u32 = 0xd65f_03c0;

/// What was seen of a function.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Examined {
    /// Addresses of the instructions that return.
    pub(super) returns: Vec<u64>,
    /// Receiver, pointer and length of its slice are stored, before anything is called and on every way, in the places that its caller
    /// left for them: the words above the return address, in this order. Go's own traces of a stack read them there.
    pub(super) keeps_arguments: bool,
}

/// Looks at a function; or says why that makes no sense.
pub(super) fn examine(elf: &Elf<'_>, address: u64, size: u64) -> Result<Examined, String> {
    let at = format!("the function at {address:#x}");
    if size == 0 || size > MAX_SIZE {
        return Err(format!("{at} has {size} bytes"));
    }
    let offset = (elf.code_offset(address)).ok_or_else(|| format!("{at} is not in the code"))?;
    let code = (elf.read("a Go function", offset, size, MAX_SIZE))
        .map_err(|error| format!("{at} cannot be read: {error}"))?;
    let examined = match elf.machine {
        Machine::X86_64 => examine_x86(&code, address),
        Machine::Aarch64 => Some(examine_arm64(&code, address)),
    };
    let examined = examined.ok_or_else(|| format!("{at} has instructions that are not understood"))?;
    match examined.returns.len() {
        0 => Err(format!("{at} does not return")),
        count if count > MAX_RETURNS => Err(format!("{at} returns in {count} places")),
        _ => Ok(examined),
    }
}

/// `None` if it cannot be decoded to its end.
fn examine_x86(code: &[u8], address: u64) -> Option<Examined> {
    let padding = code.iter().rev().take_while(|byte| **byte == INT3).count();
    let code = code.get(..code.len() - padding)?;
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut returns = Vec::new();
    let mut prologue = Prologue::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            return None;
        }
        if instruction.flow_control() == FlowControl::Return {
            returns.push(instruction.ip());
        }
        prologue.follow(&instruction);
    }
    Some(Examined {
        returns,
        keeps_arguments: prologue.stored == [true; 3],
    })
}

/// The start of a function up to where its ways part, or something is called.
#[derive(Debug, Default)]
struct Prologue {
    /// What the stack pointer is more than at entry.
    stack: i64,
    /// One way has parted: to where the stack is made larger, and back to the beginning.
    checked: bool,
    is_over: bool,
    /// Receiver, pointer, length.
    stored: [bool; 3],
}

impl Prologue {
    fn follow(&mut self, instruction: &Instruction) {
        if self.is_over {
            return;
        }
        match instruction.flow_control() {
            FlowControl::Next => {}
            FlowControl::ConditionalBranch if !self.checked && self.stack == 0 => {
                self.checked = true;
                return;
            }
            _ => {
                self.is_over = true;
                return;
            }
        }
        if let Some(slot) = self.stored_to(instruction)
            && let Some(stored) = self.stored.get_mut(slot)
        {
            *stored = true;
        }
        if instruction.op0_register() == Register::RSP && instruction.op_count() > 1 {
            let immediate =
                is_immediate(instruction.op1_kind()).then(|| instruction.immediate(1).cast_signed());
            match (instruction.mnemonic(), immediate) {
                (Mnemonic::Sub, Some(bytes)) => self.stack -= bytes,
                (Mnemonic::Add, Some(bytes)) => self.stack += bytes,
                (Mnemonic::Cmp | Mnemonic::Test, _) => {}
                _ => self.is_over = true,
            }
        } else {
            self.stack += i64::from(instruction.stack_pointer_increment());
        }
    }

    /// Which argument `mov [rsp + …], register` stores in the place that is its own.
    fn stored_to(&self, instruction: &Instruction) -> Option<usize> {
        let is_store = instruction.mnemonic() == Mnemonic::Mov
            && instruction.op0_kind() == OpKind::Memory
            && instruction.memory_base() == Register::RSP
            && instruction.memory_index() == Register::None
            && instruction.op1_kind() == OpKind::Register;
        if !is_store {
            return None;
        }
        let above = self
            .stack
            .wrapping_add(instruction.memory_displacement64().cast_signed());
        match (instruction.op1_register(), above) {
            (Register::RAX, 8) => Some(0),
            (Register::RBX, 16) => Some(1),
            (Register::RCX, 24) => Some(2),
            _ => None,
        }
    }
}

fn is_immediate(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Immediate8to64 | OpKind::Immediate32to64 | OpKind::Immediate64
    )
}

/// Instructions of 4 bytes. Not seen on a machine of this kind: tested with bytes that Go's compiler made for it.
fn examine_arm64(code: &[u8], address: u64) -> Examined {
    let words = code.as_chunks::<4>().0.iter().zip(0u64..);
    let returns = words
        .filter(|(word, _)| u32::from_le_bytes(**word) == ARM64_RET)
        .map(|(_, at)| address + 4 * at);
    Examined {
        returns: returns.collect(),
        keeps_arguments: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: u64 = 0x40_1000;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits.as_chunks::<2>().0.iter();
        pairs
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// The start of `(*Conn).Read` as Go 1.21.13 compiled it, up to the first call, and a return.
    const READ_121: &str = "493b6610 0f869a030000 55 4889e5 4883ec60 66440fd67c2458 48898c2480000000 4889442470 48895c2478 c644241f00
        48c744242000000000 440f117c2438 90 488d1d69ae1d00 488d0d92b83c00 e88d070000 c3";
    /// As Go 1.27.3 did.
    const READ_127: &str =
        "493b6610 0f8651030000 55 4889e5 4883ec58 66440fd67c2450 4889442468 48894c2478 48895c2470 c644241f00
        48c744242000000000 440f117c2430 90 488d1d8c195500 488d0db5715c00 e810070000 c3";
    /// The start of `(*Conn).Write` as Go 1.27.3 compiled it: the receiver stays in a register.
    const WRITE_127: &str = "4c8d6424b8 4d3b6610 0f86b3070000 55 4889e5 4881ecc0000000 48899c24d8000000 440f11bc24b0000000 c644242f00
        48c744243000000000 440f117c2460 90 eb03 4c89c0 c3";
    /// The order of older versions: `sub rsp, 0x68; mov [rsp+0x60], rbp; lea rbp, [rsp+0x60]`.
    const READ_117: &str = "493b6610 0f868a030000 4883ec68 48896c2460 488d6c2460 4889442470 48898c2480000000 48895c2478 e800000000 c3";

    #[test]
    fn arguments_are_known_to_be_kept_where_they_are_stored_before_the_first_call() {
        for prologue in [READ_117, READ_121, READ_127] {
            let found = examine_x86(&hex(prologue), ADDRESS).unwrap();
            assert!(found.keeps_arguments, "{prologue}");
        }
        assert!(!examine_x86(&hex(WRITE_127), ADDRESS).unwrap().keeps_arguments);
    }

    #[test]
    fn arguments_of_which_one_is_not_stored_in_its_place_are_not_known_to_be_kept() {
        let all = "4883ec60 4889442468 48895c2470 48894c2478 e800000000 c3";
        assert!(examine_x86(&hex(all), ADDRESS).unwrap().keeps_arguments);
        for (what, code) in [
            ("a missing one", "4883ec60 4889442468 48895c2470 e800000000 c3"),
            (
                "another place",
                "4883ec60 4889442468 48895c2470 48894c2470 e800000000 c3",
            ),
            (
                "another register",
                "4883ec60 4889442468 48895c2470 4889542478 e800000000 c3",
            ),
            (
                "behind a call",
                "4883ec60 4889442468 48895c2470 e800000000 48894c2478 c3",
            ),
            (
                "on one way only",
                "4883ec60 4889442468 48895c2470 7405 48894c2478 e800000000 c3",
            ),
            (
                "behind a jump",
                "4883ec60 4889442468 48895c2470 eb00 48894c2478 e800000000 c3",
            ),
            (
                "a stack that moved by what is not known",
                "4829c4 4889442468 48895c2470 48894c2478 e800000000 c3",
            ),
        ] {
            let found = examine_x86(&hex(code), ADDRESS).unwrap();
            assert!(!found.keeps_arguments, "{what}");
        }
    }

    #[test]
    fn every_return_is_found_and_padding_is_none() {
        // test al, al; je +1; ret; mov eax, 0xc3c3c3c3 (no return in there); ret; int3 …
        let code = "84c0 7401 c3 b8c3c3c3c3 c3 cccccccccc";
        let found = examine_x86(&hex(code), ADDRESS).unwrap();
        assert_eq!(found.returns, [ADDRESS + 4, ADDRESS + 10]);
    }

    #[test]
    fn code_that_cannot_be_decoded_to_its_end_is_refused() {
        for code in ["c3 06", "c3 48b8112233"] {
            assert_eq!(examine_x86(&hex(code), ADDRESS), None, "{code}");
        }
    }

    /// `cmp w0, #0; b.eq +8; ret; movz x0, #0xc0; ret; ret x1; zeros`, from the encoding of the architecture.
    #[test]
    fn returns_of_arm64_are_found() {
        let code = "1f000071 40000054 c0035fd6 001880d2 c0035fd6 20005fd6 00000000";
        let found = examine_arm64(&hex(code), ADDRESS);
        assert_eq!(found.returns, [ADDRESS + 8, ADDRESS + 16]);
    }
}
