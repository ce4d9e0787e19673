//! Function tables of Go programs: every layout, made here byte by byte, and hostile ones.
//!
//! Required: "Function addresses from pclntab of every header version." Real programs of Go are read in the end-to-end tests.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::FromRawFd;

use proptest::prelude::*;
use qtap_capture::Hook;
use qtap_probe::{Classification, Found, Implementation, classify};

/// Offsets in the file of the three segments: code, constants, data. Addresses are `BASE` higher.
const CODE: u64 = 0x1000;
const TABLE: u64 = 0x2000;
const DATA: u64 = 0x8000;
const END: u64 = 0x9000;
const BASE: u64 = 0x40_0000;
/// Where Go's own code starts in the code segment: behind that of C.
const TEXT: u64 = BASE + CODE + 0x40;

const KEY_LOG: &str = "crypto/tls.(*Config).writeKeyLog";
const MASTER_KEYS: &str = "crypto/tls.keysFromMasterSecret";
const CONNECTION: &str = "crypto/tls.(*Conn).Write";
const READ: &str = "crypto/tls.(*Conn).Read";

/// Who made the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    Go112,
    Go116,
    Go117,
    Go118,
    Go120,
    /// The start of the code is in the module data.
    Go126,
    /// The same in a position-independent program, whose pointers are in relocations alone.
    Go126Relocated,
}

struct Program {
    made: Made,
    functions: Vec<(String, u64)>,
}

fn put(bytes: &mut [u8], at: u64, value: u64) {
    let at = usize::try_from(at).unwrap();
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

impl Program {
    fn new(made: Made, functions: &[(&str, u64)]) -> Self {
        let mut all = vec![("runtime.text".to_owned(), 0)];
        all.extend(functions.iter().map(|(name, entry)| ((*name).to_owned(), *entry)));
        Self { made, functions: all }
    }

    fn tls(made: Made) -> Self {
        Self::new(made, &[(CONNECTION, 0x10), (KEY_LOG, 0x20), (MASTER_KEYS, 0x30)])
    }

    /// Header, names, list of functions, what is known of each.
    fn table(&self) -> Vec<u8> {
        let is_116 = matches!(self.made, Made::Go116 | Made::Go117);
        let magic = match self.made {
            Made::Go112 => 0xfb,
            Made::Go116 | Made::Go117 => 0xfa,
            Made::Go118 => 0xf0,
            Made::Go120 | Made::Go126 | Made::Go126Relocated => 0xf1,
        };
        let mut names = vec![0];
        let mut offsets = Vec::new();
        for (name, _) in &self.functions {
            offsets.push(u32::try_from(names.len()).unwrap());
            names.extend_from_slice(name.as_bytes());
            names.push(0);
        }
        names.resize(names.len().next_multiple_of(8), 0);
        let header = 8 + 8 * 8;
        let list_at = header + names.len() as u64;
        let count = self.functions.len() as u64;
        let (mut list, mut infos) = (Vec::new(), Vec::new());
        let list_size = if is_116 { 16 * count + 8 } else { 8 * count + 8 };
        for ((_, entry), name) in self.functions.iter().zip(offsets) {
            let info = list_size + infos.len() as u64;
            if is_116 {
                list.extend_from_slice(&(TEXT + entry).to_le_bytes());
                list.extend_from_slice(&info.to_le_bytes());
                infos.extend_from_slice(&(TEXT + entry).to_le_bytes());
            } else {
                list.extend_from_slice(&u32::try_from(*entry).unwrap().to_le_bytes());
                list.extend_from_slice(&u32::try_from(info).unwrap().to_le_bytes());
                infos.extend_from_slice(&u32::try_from(*entry).unwrap().to_le_bytes());
            }
            infos.extend_from_slice(&name.to_le_bytes());
            infos.resize(infos.len().next_multiple_of(8), 0);
        }
        list.extend_from_slice(&[0; 8]);
        let text = if matches!(self.made, Made::Go118 | Made::Go120) {
            TEXT
        } else {
            0
        };
        let words = if is_116 {
            [count, 1, header, list_at, list_at, list_at, list_at, 0]
        } else {
            [count, 1, text, header, list_at, list_at, list_at, list_at]
        };
        let mut bytes = vec![magic, 0xff, 0xff, 0xff, 0, 0, 1, 8];
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(names);
        bytes.extend(list);
        bytes.extend(infos);
        bytes
    }

    fn build(&self) -> Vec<u8> {
        self.build_around(&self.table())
    }

    fn build_around(&self, table: &[u8]) -> Vec<u8> {
        let relocated = self.made == Made::Go126Relocated;
        let mut elf = vec![0; usize::try_from(END).unwrap()];
        elf[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        elf[16..20].copy_from_slice(&[if relocated { 3 } else { 2 }, 0, 62, 0]);
        put(&mut elf, 32, 64);
        elf[54..58].copy_from_slice(&[56, 0, 3, 0]);
        for (number, (flags, start, end)) in [(5u8, CODE, TABLE), (4, TABLE, DATA), (6, DATA, END)]
            .into_iter()
            .enumerate()
        {
            let at = 64 + 56 * number as u64;
            put(&mut elf, at, 1 | (u64::from(flags) << 32));
            put(&mut elf, at + 8, start);
            put(&mut elf, at + 16, BASE + start);
            put(&mut elf, at + 32, end - start);
        }
        let at = usize::try_from(TABLE).unwrap() + 0x40;
        elf[at..at + table.len()].copy_from_slice(table);
        let module = DATA + 0x100;
        let pointers = [
            (module, BASE + TABLE + 0x40),
            (module + 20 * 8, TEXT),
            (module + 22 * 8, TEXT),
        ];
        if self.made == Made::Go126 {
            for (at, pointer) in pointers {
                put(&mut elf, at, pointer);
            }
        }
        if relocated {
            // One section of relocations, at the end of the constants.
            let (sections, relocations) = (DATA - 0x200, DATA - 0x100);
            put(&mut elf, 40, sections);
            elf[58..62].copy_from_slice(&[64, 0, 1, 0]);
            put(&mut elf, sections, 4 << 32);
            put(&mut elf, sections + 24, relocations);
            put(&mut elf, sections + 32, 24 * pointers.len() as u64);
            for (number, (at, pointer)) in pointers.into_iter().enumerate() {
                let entry = relocations + 24 * number as u64;
                put(&mut elf, entry, BASE + at);
                put(&mut elf, entry + 8, 8);
                put(&mut elf, entry + 16, pointer);
            }
        }
        if let Some(version) = match self.made {
            Made::Go116 => Some("go1.16.15"),
            Made::Go117 => Some("go1.17.8"),
            _ => None,
        } {
            let info = usize::try_from(DATA).unwrap();
            elf[info..info + 16].copy_from_slice(b"\xff Go buildinf:\x08\0");
            put(&mut elf, DATA + 16, BASE + DATA + 64);
            put(&mut elf, DATA + 64, BASE + DATA + 80);
            put(&mut elf, DATA + 72, version.len() as u64);
            elf[info + 80..info + 80 + version.len()].copy_from_slice(version.as_bytes());
        }
        elf
    }
}

fn classified(content: &[u8]) -> Classification {
    // SAFETY: the name is a valid C string; the descriptor is new and owned by the File alone.
    let mut file = unsafe {
        let descriptor = libc::memfd_create(c"qtap-probe-test".as_ptr(), libc::MFD_CLOEXEC);
        assert!(descriptor >= 0);
        File::from_raw_fd(descriptor)
    };
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    classify(&file).unwrap()
}

fn points(found: &Classification) -> Vec<(Hook, u64)> {
    found
        .secrets
        .iter()
        .map(|point| (point.hook, point.offset))
        .collect()
}

/// The file offset of a function that is so far behind the start of the code.
const fn offset(entry: u64) -> u64 {
    TEXT - BASE + entry
}

#[test]
fn functions_are_found_in_every_layout() {
    for made in [
        Made::Go117,
        Made::Go118,
        Made::Go120,
        Made::Go126,
        Made::Go126Relocated,
    ] {
        let found = classified(&Program::tls(made).build());

        assert_eq!(found.implementations, [Implementation::GoTls], "{made:?}");
        let expected = [(Hook::GoKeyLog, offset(0x20)), (Hook::GoMasterKeys, offset(0x30))];
        assert_eq!(points(&found), expected, "{made:?}");
        assert!(
            found
                .secrets
                .iter()
                .all(|point| point.found == Found::FunctionTable)
        );
        assert_eq!(found.unsupported(), None, "{made:?}");
    }
}

#[test]
fn programs_that_pass_arguments_on_the_stack_are_unsupported_with_a_reason() {
    for made in [Made::Go112, Made::Go116] {
        let found = classified(&Program::tls(made).build());

        assert_eq!(found.implementations, [Implementation::GoTls], "{made:?}");
        assert!(found.secrets.is_empty(), "{made:?}");
        let reason = found.unsupported().unwrap();
        assert!(reason.contains("Go 1.16 or older"), "{reason}");
    }
}

#[test]
fn a_program_without_the_function_is_unsupported_with_a_reason() {
    let found = classified(&Program::new(Made::Go120, &[(CONNECTION, 0x10)]).build());

    assert_eq!(found.implementations, [Implementation::GoTls]);
    let reason = found.unsupported().unwrap();
    assert!(reason.contains("not in the program's function table"), "{reason}");
}

#[test]
fn a_program_without_tls_is_irrelevant() {
    let found = classified(&Program::new(Made::Go120, &[("main.main", 0x10)]).build());

    assert!(!found.is_relevant(), "{found:?}");
}

#[test]
fn copies_of_the_package_are_found_and_functions_that_only_look_alike_are_not() {
    let program = Program::new(
        Made::Go120,
        &[
            (KEY_LOG, 0x20),
            (MASTER_KEYS, 0x30),
            ("example.test/fork/utls.(*Config).writeKeyLog", 0x40),
            ("example.test/fork/utls.keysFromMasterSecret", 0x50),
            ("example.test/other.keysFromMasterSecret", 0x60),
            ("crypto/tls.(*Config).writeKeyLogger", 0x70),
        ],
    );

    let expected = [
        (Hook::GoKeyLog, offset(0x20)),
        (Hook::GoKeyLog, offset(0x40)),
        (Hook::GoMasterKeys, offset(0x30)),
        (Hook::GoMasterKeys, offset(0x50)),
    ];
    assert_eq!(points(&classified(&program.build())), expected);
}

#[test]
fn bytes_that_look_like_a_header_do_not_hide_the_table() {
    let mut elf = Program::tls(Made::Go120).build();
    let at = usize::try_from(TABLE).unwrap();
    elf[at..at + 8].copy_from_slice(&[0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8]);
    elf[at + 8..at + 16].copy_from_slice(&[0xff; 8]);

    assert_eq!(points(&classified(&elf)).len(), 2);
}

#[test]
fn an_entry_outside_of_the_code_is_no_place_to_probe() {
    let found = classified(&Program::new(Made::Go120, &[(KEY_LOG, 0xf_0000)]).build());

    assert!(found.secrets.is_empty());
    assert!(found.unsupported().is_some());
}

/// With functions that read and write, whose code is at `code` from the start of Go's own.
fn with_calls(made: Made, code: &[(u64, &[u8])]) -> Vec<u8> {
    let functions = [
        (READ, 0x100),
        (CONNECTION, 0x140),
        (KEY_LOG, 0x180),
        (MASTER_KEYS, 0x1c0),
    ];
    let mut elf = Program::new(made, &functions).build();
    for (at, bytes) in code {
        let at = usize::try_from(offset(*at)).unwrap();
        elf[at..at + bytes.len()].copy_from_slice(bytes);
    }
    elf
}

fn calls(found: &Classification) -> Vec<(Hook, u64)> {
    let calls = found.calls.iter();
    calls.map(|point| (point.hook, point.offset)).collect()
}

/// `test eax, eax; je +1; ret; nop; ret`, and `int3` up to the next function.
fn two_returns() -> Vec<u8> {
    let mut code = vec![0x85, 0xc0, 0x74, 0x01, 0xc3, 0x90, 0xc3];
    code.resize(0x40, 0xcc);
    code
}

#[test]
fn calls_are_probed_at_entry_and_at_each_return_in_every_layout() {
    let code = two_returns();
    for made in [
        Made::Go117,
        Made::Go118,
        Made::Go120,
        Made::Go126,
        Made::Go126Relocated,
    ] {
        let found = classified(&with_calls(made, &[(0x100, &code), (0x140, &code)]));
        let expected = [
            (Hook::GoRead, offset(0x100)),
            (Hook::GoWrite, offset(0x140)),
            (Hook::GoReadEndPaired, offset(0x104)),
            (Hook::GoReadEndPaired, offset(0x106)),
            (Hook::GoWriteEnd, offset(0x144)),
            (Hook::GoWriteEnd, offset(0x146)),
        ];
        assert_eq!(calls(&found), expected, "{made:?}");
        assert_eq!(points(&found).len(), 2, "{made:?}");
    }
}

/// `sub rsp, 0x10; mov [rsp+0x18], rax; mov [rsp+0x20], rbx; mov [rsp+0x28], rcx; add rsp, 0x10; ret`.
#[test]
fn a_read_that_keeps_its_arguments_is_known() {
    let mut read = vec![0x48, 0x83, 0xec, 0x10];
    for store in [[0x44, 0x18], [0x5c, 0x20], [0x4c, 0x28]] {
        read.extend([0x48, 0x89, store[0], 0x24, store[1]]);
    }
    read.extend([0x48, 0x83, 0xc4, 0x10, 0xc3]);
    read.resize(0x40, 0xcc);
    let found = classified(&with_calls(
        Made::Go120,
        &[(0x100, &read), (0x140, &two_returns())],
    ));
    assert!(
        calls(&found).contains(&(Hook::GoReadEnd, offset(0x117))),
        "{found:?}"
    );
}

/// What is read without what is written is of no use, and secrets do without both.
#[test]
fn calls_are_all_or_none() {
    let code = two_returns();
    // The bytes of the other function are zeros, which is code that does not return.
    for present in [0x100, 0x140] {
        let found = classified(&with_calls(Made::Go120, &[(present, &code)]));
        assert_eq!(calls(&found), []);
        assert_eq!(points(&found).len(), 2);
        let missing = found
            .missing
            .iter()
            .find(|missing| missing.symbol == READ)
            .unwrap();
        assert!(missing.reason.contains("does not return"), "{missing:?}");
    }
}

fn made() -> impl Strategy<Value = Made> {
    proptest::sample::select(vec![
        Made::Go112,
        Made::Go116,
        Made::Go117,
        Made::Go118,
        Made::Go120,
        Made::Go126,
        Made::Go126Relocated,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Wherever among others the functions are.
    #[test]
    fn any_table_leads_to_its_functions(
        others in proptest::collection::vec("[a-z/.]{1,40}", 0..60),
        at in any::<proptest::sample::Index>(),
        entry in 0u64..0xf00,
    ) {
        let mut program = Program::new(Made::Go120, &[]);
        program.functions.extend(others.into_iter().map(|name| (name, 0x10)));
        let at = at.index(program.functions.len() + 1);
        program.functions.insert(at, (KEY_LOG.to_owned(), entry));
        prop_assert_eq!(points(&classified(&program.build())), [(Hook::GoKeyLog, offset(entry))]);
    }

    /// Nothing that a table says makes the reader panic, hang or probe what is no code.
    #[test]
    fn damaged_tables_lead_nowhere_else(
        made in made(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..12),
        word in proptest::option::of((0usize..8, any::<u64>())),
    ) {
        let program = Program::tls(made);
        let mut table = program.table();
        if let Some((word, value)) = word {
            put(&mut table, 8 + 8 * word as u64, value);
        }
        for (at, byte) in damage {
            let at = at.index(table.len());
            table[at] = byte;
        }
        let found = classified(&program.build_around(&table));
        for point in found.secrets.iter().chain(&found.calls) {
            prop_assert!((CODE..TABLE).contains(&point.offset), "{:?}", point);
        }
    }
}
