//! rustls' functions in programs of the shape that a Rust compiler gives them: labels without an end, a table of pointers to them,
//! no symbols.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use qtap_capture::Hook;
use qtap_probe::{Classification, Found, Implementation, classify};

/// `derive` is `derive_logged_secret`, `block` is `make_key_block`.
const PROGRAM: &str = r#"
static const char texts[] = "CLIENT_EARLY_TRAFFIC_SECRETCLIENT_HANDSHAKE_TRAFFIC_SECRETSERVER_HANDSHAKE_TRAFFIC_SECRET"
	"CLIENT_TRAFFIC_SECRET_0SERVER_TRAFFIC_SECRET_0EXPORTER_SECRETrustls-0.23/src/tls13/key_schedule.rskey expansion!";
static const char *const table[] = { texts, texts + 27, texts + 58, texts + 89, texts + 112, texts + 135 };
__attribute__((noipa)) long use(const char *text, long a, long b) { return text[a] + b; }
__attribute__((noipa)) long other(long a) { return use("other", a, 1) + use("other", a, 2); }
__attribute__((noipa)) long derive(long kind, long a) { long n = use(table[kind], a, 1); return n + use(table[kind], n, a); }
__attribute__((noipa)) long block(long a) { long n = use(texts + 187, a, 1); return n + use(texts, n & 1, a); }
#ifdef TWICE
__attribute__((noipa)) long again(long kind, long a) { long n = use(table[kind], a, 3); return n + use(table[kind], n, a); }
#else
#define again(kind, a) 0
#endif
int main(int count, char **arguments)
{
	return derive(count % 6, count) + block(count) + other(count) + again(count % 6, count);
}
"#;

fn compiled(folder: &Path, name: &str, flags: &[&str]) -> Classification {
    let (source, program) = (folder.join("program.c"), folder.join(name));
    File::create(&source)
        .unwrap()
        .write_all(PROGRAM.as_bytes())
        .unwrap();
    let done = Command::new("cc")
        .args(["-O2", "-s", "-w", "-o"])
        .arg(&program)
        .arg(&source)
        .args(flags)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    classify(&File::open(program).unwrap()).unwrap()
}

/// Aligned and unaligned functions, relocated and packed pointers.
#[test]
fn both_functions_are_found_without_symbols() {
    let folder = tempfile::tempdir().unwrap();
    for flags in [
        &["-fPIE", "-pie"][..],
        &["-fPIE", "-pie", "-falign-functions=1"],
        &["-fPIE", "-pie", "-Wl,-z,pack-relative-relocs"],
    ] {
        let found = compiled(folder.path(), "program", flags);
        assert_eq!(found.implementations, [Implementation::Rustls]);
        let hooks: Vec<Hook> = found.secrets.iter().map(|point| point.hook).collect();
        assert_eq!(
            hooks,
            [Hook::RustlsDerive, Hook::RustlsKeyBlock],
            "{flags:?}: {:?}",
            found.missing
        );
        assert!(
            found
                .secrets
                .iter()
                .all(|point| point.found == Found::CrossReference)
        );
        assert_eq!(found.unsupported(), None);
    }
}

/// Nothing says which of two it is, so it is neither.
#[test]
fn a_table_that_two_functions_use_gives_none() {
    let folder = tempfile::tempdir().unwrap();
    let found = compiled(folder.path(), "program", &["-fPIE", "-pie", "-DTWICE"]);
    assert!(found.secrets.is_empty(), "{:?}", found.secrets);
    let reason = found.unsupported().unwrap();
    assert!(reason.contains("used by 2 functions"), "{reason}");
}
