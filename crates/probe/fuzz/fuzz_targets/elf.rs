//! Arbitrary files against classification. The corpus begins with a small library that has what is looked for.
#![no_main]

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek, Write};

thread_local! {
    /// One file without a name, written anew for each input.
    static FILE: RefCell<File> = RefCell::new(tempfile::tempfile_in("/dev/shm").expect("a file in memory"));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    FILE.with_borrow_mut(|file| {
        file.set_len(0).expect("cut");
        file.rewind().expect("at the start");
        file.write_all(data).expect("written");
        if let Ok(found) = qtap_probe::classify(file) {
            for point in found.secrets.iter().chain(&found.fallback).chain(&found.calls) {
                assert!(point.offset < data.len() as u64, "{point:?} is outside the file");
            }
        }
    });
});
