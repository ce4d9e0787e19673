//! ELF files made to hurt: nothing may panic, hang or allocate without bound.

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
use qtap_probe::{Classification, ClassifyError, ElfError, classify, tls_libraries};

/// A file in memory with this content.
fn file(content: &[u8]) -> File {
    // SAFETY: the name is a valid C string; the descriptor is new and owned by the File alone.
    let mut file = unsafe {
        let descriptor = libc::memfd_create(c"qtap-probe-test".as_ptr(), libc::MFD_CLOEXEC);
        assert!(descriptor >= 0);
        File::from_raw_fd(descriptor)
    };
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    file
}

fn classified(content: &[u8]) -> Result<Classification, ClassifyError> {
    classify(&file(content))
}

/// A shared object with one executable and one read-only segment, in which label texts are handed to `log`.
struct Builder {
    code: Vec<u8>,
    texts: Vec<u8>,
}

const CODE: u64 = 0x1000;
const TEXTS: u64 = 0x4000;

impl Builder {
    fn new() -> Self {
        Self {
            code: vec![0xc3],
            texts: Vec::new(),
        }
    }

    /// A function that calls the first one with this label: `lea rsi, [rip + label]; mov rdi, rbx; call log; ret`.
    fn caller_of_log(&mut self, label: &str) {
        let text = TEXTS + self.texts.len() as u64;
        self.texts.extend_from_slice(label.as_bytes());
        self.texts.push(0);
        let here = CODE + self.code.len() as u64;
        let displacement = i32::try_from(text.cast_signed() - (here + 7).cast_signed()).unwrap();
        self.code.extend_from_slice(&[0x48, 0x8d, 0x35]);
        self.code.extend_from_slice(&displacement.to_le_bytes());
        self.code.extend_from_slice(&[0x48, 0x89, 0xdf]);
        let here = CODE + self.code.len() as u64;
        let displacement = i32::try_from(CODE.cast_signed() - (here + 5).cast_signed()).unwrap();
        self.code.push(0xe8);
        self.code.extend_from_slice(&displacement.to_le_bytes());
        self.code.push(0xc3);
    }

    fn build(&self) -> Vec<u8> {
        let mut elf = vec![0; 0x5000];
        elf[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        elf[16..20].copy_from_slice(&[3, 0, 62, 0]);
        elf[32..40].copy_from_slice(&64u64.to_le_bytes());
        elf[54..58].copy_from_slice(&[56, 0, 2, 0]);
        for (at, flags, start, size) in [
            (64, 5u32, CODE, self.code.len()),
            (120, 4, TEXTS, self.texts.len()),
        ] {
            elf[at..at + 4].copy_from_slice(&1u32.to_le_bytes());
            elf[at + 4..at + 8].copy_from_slice(&flags.to_le_bytes());
            elf[at + 8..at + 16].copy_from_slice(&start.to_le_bytes());
            elf[at + 16..at + 24].copy_from_slice(&(start + 0x10_0000).to_le_bytes());
            elf[at + 32..at + 40].copy_from_slice(&(size as u64).to_le_bytes());
        }
        let (code, texts) = (usize::try_from(CODE).unwrap(), usize::try_from(TEXTS).unwrap());
        elf[code..code + self.code.len()].copy_from_slice(&self.code);
        elf[texts..texts + self.texts.len()].copy_from_slice(&self.texts);
        elf
    }
}

const LABELS: [&str; 7] = [
    "CLIENT_EARLY_TRAFFIC_SECRET",
    "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    "CLIENT_TRAFFIC_SECRET_0",
    "SERVER_TRAFFIC_SECRET_0",
    "EXPORTER_SECRET",
    "CLIENT_RANDOM",
];

fn stripped_boringssl() -> Builder {
    let mut builder = Builder::new();
    for label in LABELS {
        builder.caller_of_log(label);
    }
    builder
        .texts
        .extend_from_slice(b"third_party/boringssl/src/ssl/tls13_enc.cc\0");
    builder
}

#[test]
fn a_stripped_static_library_is_found_by_cross_reference() {
    let found = classified(&stripped_boringssl().build()).unwrap();

    assert_eq!(found.implementations[0].name(), "boringssl");
    assert_eq!(found.secrets.len(), 1);
    assert_eq!(found.secrets[0].offset, CODE, "file offset, not address");
    assert!(
        found
            .missing
            .iter()
            .any(|missing| missing.symbol == "SSL_read"
                && missing.reason.contains("no function of ssl_lib.cc"))
    );
}

#[test]
fn texts_in_the_code_segment_are_found_where_the_linker_made_no_other() {
    let mut elf = stripped_boringssl().build();
    // One segment for both, as linkers made them before 2018.
    elf[56] = 1;
    elf[96..104].copy_from_slice(&0x4000u64.to_le_bytes());

    assert_eq!(classified(&elf).unwrap().secrets[0].offset, CODE);
}

#[test]
fn labels_without_code_are_unsupported_with_a_reason() {
    let mut builder = stripped_boringssl();
    builder.code = vec![0xc3; 64];

    let found = classified(&builder.build()).unwrap();

    assert!(found.secrets.is_empty());
    assert!(
        found.unsupported().unwrap().contains("no code refers"),
        "{:?}",
        found.unsupported()
    );
}

#[test]
fn rust_labels_without_terminator_are_reported_as_rustls() {
    let mut builder = Builder::new();
    builder.texts = [
        LABELS.concat().as_bytes(),
        b"/rustls-0.23.46/src/tls13/key_schedule.rs",
    ]
    .concat();

    let found = classified(&builder.build()).unwrap();

    assert_eq!(found.implementations[0].name(), "rustls");
    assert_eq!(
        found.unsupported().unwrap(),
        "rustls without a place to probe: the table of key-log labels is not in the file"
    );
}

#[test]
fn what_is_not_elf_of_this_machine_says_so() {
    let mut elf = stripped_boringssl().build();
    elf[18] = 40;
    assert!(matches!(
        classified(&elf),
        Err(ClassifyError::Elf(ElfError::ForeignMachine(40)))
    ));
    elf[4] = 1;
    assert!(matches!(
        classified(&elf),
        Err(ClassifyError::Elf(ElfError::Class32))
    ));
    assert!(matches!(
        classified(b"#!/bin/sh\n"),
        Err(ClassifyError::Elf(ElfError::NotElf))
    ));
    assert!(matches!(
        classified(&[]),
        Err(ClassifyError::Elf(ElfError::NotElf))
    ));
}

#[test]
fn huge_sparse_segments_end_by_budget() {
    let mut elf = stripped_boringssl().build();
    elf[120 + 32..120 + 40].copy_from_slice(&u64::MAX.to_le_bytes());
    let sparse = file(&elf);
    sparse.set_len(1 << 40).unwrap();

    let refused = classify(&sparse);

    assert!(
        matches!(refused, Err(ClassifyError::Elf(ElfError::TooLarge { .. }))),
        "{refused:?}"
    );
}

#[test]
fn truncated_libraries_are_survived_at_every_length() {
    let path = tls_libraries()
        .unwrap()
        .into_iter()
        .find(|path| path.to_string_lossy().contains("libnettle"))
        .unwrap();
    let library = std::fs::read(path).unwrap();
    for length in (0..library.len()).step_by(9973) {
        let _: Result<Classification, ClassifyError> = classified(&library[..length]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_damage_to_headers_is_survived(damage in prop::collection::vec((0usize..232, any::<u8>()), 1..12)) {
        let mut elf = stripped_boringssl().build();
        for (at, byte) in damage {
            elf[at] = byte;
        }
        let _: Result<Classification, ClassifyError> = classified(&elf);
    }

    #[test]
    fn any_code_and_texts_are_survived(
        code in prop::collection::vec(any::<u8>(), 0..2000),
        label in 0usize..7,
        texts: Vec<u8>,
    ) {
        let mut builder = stripped_boringssl();
        builder.caller_of_log(LABELS[label]);
        builder.code.extend(code);
        builder.texts.extend(texts.into_iter().take(2000));
        let _: Result<Classification, ClassifyError> = classified(&builder.build());
    }

    #[test]
    fn any_damage_to_a_real_library_is_survived(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..64)) {
        static LIBRARY: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let library = LIBRARY.get_or_init(|| {
            let nettle = |path: &std::path::PathBuf| path.to_string_lossy().contains("libnettle");
            std::fs::read(tls_libraries().unwrap().iter().find(|path| nettle(path)).unwrap()).unwrap()
        });
        // The headers, the dynamic symbols and the section table are where it hurts.
        let mut damaged = library.clone();
        let tail = damaged.len() - 4096;
        for (index, byte) in damage {
            let at = index.index(8192);
            damaged[if at < 4096 { at } else { tail + at - 4096 }] = byte;
        }
        let _: Result<Classification, ClassifyError> = classified(&damaged);
    }
}
