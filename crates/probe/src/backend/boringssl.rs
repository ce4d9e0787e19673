//! The read and write functions of BoringSSL where they have no names.
//!
//! Its errors say in which file of the source they were made, and why, by number. Of the functions of `ssl/ssl_lib.cc`, one complains about a
//! bad length: `SSL_write`. It and the function below `SSL_read` complain about a session that is not set up and about a handshake that
//! failed, and `SSL_read`, which calls that one, about a session of QUIC. `SSL_peek` does all that `SSL_read` does but to take away what it
//! read, which is a call more.
//!
//! *Measured* (Bun 1.4, Chromium 156, gRPC for Python 1.85, and curl_cffi 0.17, whose names agree): one function of each kind.

use std::collections::BTreeSet;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Register};
use memchr::memmem::Finder;
use qtap_capture::Hook;

use super::Inferred;
use crate::elf::{Elf, ElfError, Machine};
use crate::xref;

/// The end of the name of the file; what comes before it is the folder of the build.
const SOURCE: &[u8] = b"ssl/ssl_lib.cc\0";
/// Longest such name.
const MAX_NAME: u64 = 512;
/// Copies of the name that are followed.
const MAX_NAMES: usize = 8;
/// Bytes of a function that are looked at; the largest met has 1,000.
const MAX_FUNCTION: usize = 4096;

/// `ERR_R_SHOULD_NOT_HAVE_BEEN_CALLED`.
const NOT_FOR_QUIC: u32 = 66;
/// `SSL_R_BAD_LENGTH`, `SSL_R_SSL_HANDSHAKE_FAILURE`, `SSL_R_UNINITIALIZED`.
const BAD_LENGTH: u32 = 111;
const HANDSHAKE_FAILURE: u32 = 215;
const UNINITIALIZED: u32 = 226;

/// `SSL_read` calls what makes errors, what reads a record, what copies, and what takes away.
const CALLS_OF_READ: usize = 4;

/// Where sessions are read and written; or why that is not known.
pub(crate) fn find_calls(elf: &Elf<'_>) -> Result<Inferred<2>, ElfError> {
    if elf.machine != Machine::X86_64 {
        return Ok(Err(
            "its calls have no names, and are inferred on x86-64 only".to_owned()
        ));
    }
    let names: Vec<((), u64)> = names(elf)?.into_iter().map(|name| ((), name)).collect();
    let references: Vec<u64> = if names.is_empty() {
        Vec::new()
    } else {
        let found = xref::references(elf, &names)?;
        found.iter().map(|found| found.next_instruction).collect()
    };
    let mut functions = Vec::new();
    for start in xref::function_starts(elf, &references)? {
        let function = Function::read(elf, start)?;
        if references.iter().any(|at| (start..function.end).contains(at)) {
            functions.push(function);
        }
    }
    Ok(elect(&functions).map(|[read, write]| {
        [
            (Hook::SslRead, "SSL_read", read),
            (Hook::SslWrite, "SSL_write", write),
        ]
    }))
}

/// Where the names of the file begin.
fn names(elf: &Elf<'_>) -> Result<Vec<u64>, ElfError> {
    let finder = Finder::new(SOURCE);
    let mut ends = Vec::new();
    for segment in elf.text_segments() {
        elf.windows(segment, SOURCE.len(), |base, bytes, fresh| {
            let hits = finder.find_iter(bytes).take_while(|at| *at < fresh);
            ends.extend(hits.map(|at| base + at as u64).take(MAX_NAMES));
        })?;
    }
    let mut names = Vec::new();
    for end in ends.into_iter().take(MAX_NAMES) {
        let Some(offset) = elf.data_offset(end) else {
            continue;
        };
        let length = MAX_NAME.min(offset);
        let before = elf.read("name of a source file", offset - length, length, MAX_NAME)?;
        let folder = before.iter().rev().take_while(|byte| **byte != 0).count() as u64;
        names.push(end - folder);
    }
    Ok(names)
}

/// What of a function tells which it is.
#[derive(Debug)]
struct Function {
    start: u64,
    end: u64,
    /// What it calls; what is not called directly by the address of the call.
    calls: BTreeSet<u64>,
    /// Third arguments of calls that are constants.
    reasons: BTreeSet<u32>,
}

impl Function {
    /// From its start to the first end of the flow behind which it does not jump itself.
    fn read(elf: &Elf<'_>, start: u64) -> Result<Self, ElfError> {
        let code = elf.code_at(start, MAX_FUNCTION)?;
        let mut decoder = Decoder::with_ip(64, &code, start, DecoderOptions::NONE);
        let mut function = Self {
            start,
            end: start,
            calls: BTreeSet::new(),
            reasons: BTreeSet::new(),
        };
        let limit = start + code.len() as u64;
        let mut furthest = start;
        while decoder.can_decode() {
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                break;
            }
            function.end = instruction.next_ip();
            furthest = furthest.max(function.note(&instruction, limit));
            let goes_on = matches!(
                instruction.flow_control(),
                FlowControl::Next
                    | FlowControl::Call
                    | FlowControl::IndirectCall
                    | FlowControl::ConditionalBranch
            );
            if !goes_on && function.end > furthest {
                break;
            }
        }
        Ok(function)
    }

    /// Notes what an instruction tells; returns where it jumps to inside of the function.
    fn note(&mut self, instruction: &Instruction, limit: u64) -> u64 {
        match instruction.flow_control() {
            FlowControl::Call => {
                self.calls.insert(instruction.near_branch_target());
            }
            FlowControl::IndirectCall => {
                self.calls.insert(instruction.ip());
            }
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                let target = instruction.near_branch_target();
                return if target < limit { target } else { self.start };
            }
            _ if instruction.code() == Code::Mov_r32_imm32 && instruction.op0_register() == Register::EDX => {
                self.reasons.insert(instruction.immediate32());
            }
            _ => {}
        }
        self.start
    }

    fn gives(&self, reasons: &[u32]) -> bool {
        reasons.iter().all(|reason| self.reasons.contains(reason))
    }
}

/// The functions that read and write.
fn elect(functions: &[Function]) -> Result<[u64; 2], String> {
    let only = |what: &str, is_it: &dyn Fn(&Function) -> bool| {
        let mut found = functions.iter().filter(|function| is_it(function));
        match (found.next(), found.next()) {
            (Some(function), None) => Ok(function.start),
            (None, _) => Err(format!("no function of ssl_lib.cc is {what}")),
            _ => Err(format!("more than one function of ssl_lib.cc may be {what}")),
        }
    };
    let write = only("SSL_write", &|function| {
        function.gives(&[NOT_FOR_QUIC, UNINITIALIZED, HANDSHAKE_FAILURE, BAD_LENGTH])
    })?;
    let below = only("the one below SSL_read", &|function| {
        function.start != write
            && function.gives(&[UNINITIALIZED, HANDSHAKE_FAILURE])
            && !function.gives(&[NOT_FOR_QUIC])
    })?;
    let read = only("SSL_read", &|function| {
        function.gives(&[NOT_FOR_QUIC])
            && function.calls.contains(&below)
            && function.calls.len() >= CALLS_OF_READ
    })?;
    Ok([read, write])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(start: u64, reasons: &[u32], calls: &[u64]) -> Function {
        Function {
            start,
            end: start + 0x80,
            calls: calls.iter().copied().collect(),
            reasons: reasons.iter().copied().collect(),
        }
    }

    fn write() -> Function {
        function(0x4000, &[66, 111, 215, 226], &[1, 2])
    }

    fn below() -> Function {
        function(0x3000, &[215, 226], &[1, 2])
    }

    #[test]
    fn reading_is_told_from_peeking_by_what_it_takes_away() {
        let (read, peek) = (
            function(0x1000, &[66], &[1, 2, 3, 0x3000]),
            function(0x2000, &[66], &[1, 2, 0x3000]),
        );
        assert_eq!(elect(&[read, peek, below(), write()]), Ok([0x1000, 0x4000]));
    }

    #[test]
    fn what_is_not_certain_is_left_alone() {
        let read = || function(0x1000, &[66], &[1, 2, 3, 0x3000]);
        let other = || function(0x2000, &[66], &[4, 5, 6, 0x3000]);
        assert!(
            elect(&[read(), other(), below(), write()]).is_err(),
            "two may be it"
        );
        assert!(elect(&[read(), write()]).is_err(), "nothing below");
        assert!(elect(&[read(), below()]).is_err(), "none writes");
        assert!(elect(&[below(), write()]).is_err(), "none reads");
        let peek = function(0x2000, &[66], &[1, 2, 0x3000]);
        assert!(elect(&[peek, below(), write()]).is_err(), "only one that peeks");
    }
}
