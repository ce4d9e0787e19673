//! Arbitrary bytes as the function table of a Go program, in an otherwise whole program.
#![no_main]

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek, Write};

thread_local! {
    /// One file without a name, written anew for each input.
    static FILE: RefCell<File> = RefCell::new(tempfile::tempfile_in("/dev/shm").expect("a file in memory"));
}

const CODE: usize = 0x1000;
const DATA: usize = 0x2000;
const BASE: u64 = 0x40_0000;

/// Code, and a segment of this data, which linkers write to as well: header of the table, module data, build information.
fn program(data: &[u8]) -> Vec<u8> {
    let mut elf = vec![0; DATA];
    elf[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    elf[16..20].copy_from_slice(&[2, 0, 62, 0]);
    elf[32] = 64;
    elf[54..58].copy_from_slice(&[56, 0, 2, 0]);
    for (at, flags, start, size) in [(64, 5, CODE, DATA - CODE), (120, 6, DATA, data.len())] {
        elf[at] = 1;
        elf[at + 4] = flags;
        let words = [(8, start as u64), (16, BASE + start as u64), (32, size as u64)];
        for (field, word) in words {
            elf[at + field..at + field + 8].copy_from_slice(&word.to_le_bytes());
        }
    }
    elf.extend_from_slice(data);
    elf
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    FILE.with_borrow_mut(|file| {
        file.set_len(0).expect("cut");
        file.rewind().expect("at the start");
        file.write_all(&program(data)).expect("written");
        if let Ok(found) = qtap_probe::classify(file) {
            for point in found.secrets {
                let offset = usize::try_from(point.offset).expect("an offset in memory");
                assert!((CODE..DATA).contains(&offset), "{point:?} is no code");
            }
        }
    });
});
