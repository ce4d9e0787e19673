//! The kernel side for the processors that this machine is not. Loading it needs such a machine; that it compiles and knows the
//! numbers of the system calls is seen here.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails says so"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

fn bpf() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../bpf")
}

#[test]
fn both_builds_compile_for_each_architecture() {
    let objects = tempfile::tempdir().unwrap();
    let include = format!("-I{}", bpf().display());
    for architecture in ["arm64"] {
        for legacy in [None, Some("-DQTAP_LEGACY")] {
            let object = objects.path().join("qtap.bpf.o");
            let target = format!("-D__TARGET_ARCH_{architecture}");
            let arguments = [include.as_str(), "-mcpu=v3", "-Wall", "-Werror", &target];
            SkeletonBuilder::new()
                .source(bpf().join("qtap.bpf.c"))
                .obj(&object)
                .clang_args(arguments.into_iter().chain(legacy))
                .build()
                .unwrap_or_else(|error| panic!("{architecture} {legacy:?}: {error:#}"));
            assert!(fs::metadata(&object).unwrap().len() > 0);
        }
    }
}

/// `[63] = CALL_READ` of the table for `architecture` in `bpf/syscalls.bpf.h`.
fn table(architecture: &str) -> BTreeMap<u32, String> {
    let text = fs::read_to_string(bpf().join("syscalls.bpf.h")).unwrap();
    let (_, rest) = text
        .split_once(&format!("defined(__TARGET_ARCH_{architecture})"))
        .unwrap();
    let (_, rest) = rest.split_once("syscall_calls[SYSCALL_TABLE]").unwrap();
    let (entries, _) = rest.split_once("};").unwrap();
    let entry = |part: &str| {
        let (number, call) = part.split_once("] = CALL_")?;
        Some((number.parse().unwrap(), call.split(',').next()?.to_lowercase()))
    };
    entries.split('[').filter_map(entry).collect()
}

/// arm64 has the numbers of `asm-generic/unistd.h`, as all newer architectures do.
#[test]
fn the_calls_of_arm64_have_its_numbers() {
    let header = fs::read_to_string("/usr/include/asm-generic/unistd.h").unwrap();
    let mut names = BTreeMap::new();
    for line in header.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("#define")
            && let Some(name) = words.next().and_then(|name| {
                name.strip_prefix("__NR_")
                    .or_else(|| name.strip_prefix("__NR3264_"))
            })
            && let Some(Ok(number)) = words.next().map(str::parse::<u32>)
        {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    let table = table("arm64");
    assert_eq!(table.len(), 19, "{table:?}");
    for (number, call) in table {
        // preadv, preadv2: on sockets they are readv.
        let name = names[&number].trim_start_matches('p').trim_end_matches('2');
        assert_eq!(name, call, "number {number}");
    }
}
