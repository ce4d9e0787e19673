//! s2n-tls in programs of the shape that a C compiler gives it: labels of the key schedule as blobs, with and without symbols.

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

/// The key-log labels have no end, as a space follows them; the blobs are constants that point to texts that are none.
const PROGRAM: &str = r#"
struct blob { unsigned char *data; unsigned size, allocated; unsigned long growable; };
#define LABEL(name, text) static unsigned char name##_data[] = text; \
	const struct blob name = { name##_data, sizeof(name##_data) - 1 };
LABEL(c_e, "c e traffic") LABEL(c_hs, "c hs traffic") LABEL(s_hs, "s hs traffic") LABEL(c_ap, "c ap traffic")
LABEL(s_ap, "s ap traffic") LABEL(exp_master, "exp master") LABEL(res_master, "res master") LABEL(traffic_upd, "traffic upd")
const char log_label[] = "CLIENT_HANDSHAKE_TRAFFIC_SECRET of the log, in s2n_tls13_secrets.c";
#define FUNCTION __attribute__((noipa))
FUNCTION long s2n_recv(long a) { return a + log_label[a]; }
FUNCTION long s2n_hkdf(const struct blob *label, long a) { return label->data[a] + a; }
FUNCTION long s2n_derive_secret_with_context(long connection, const struct blob *label) { return s2n_hkdf(label, connection) * 3; }
FUNCTION long s2n_prf(long a, long b) { return a * b; }
#define DERIVES(label) FUNCTION long derive_##label(long a) { return s2n_derive_secret_with_context(a, &label) + 1; }
DERIVES(c_e) DERIVES(c_hs) DERIVES(s_hs) DERIVES(c_ap) DERIVES(s_ap) DERIVES(exp_master) DERIVES(res_master)
FUNCTION long update(long a) { return s2n_hkdf(&traffic_upd, a) + 1; }
#ifdef ASTRAY
FUNCTION long astray(long a) { return s2n_hkdf(&c_ap, a) + 2; }
#else
#define astray(a) 0
#endif
int main(int n, char **arguments)
{
	return derive_c_e(n) + derive_c_hs(n) + derive_s_hs(n) + derive_c_ap(n) + derive_s_ap(n) + derive_exp_master(n)
		+ derive_res_master(n) + update(n) + s2n_recv(n) + s2n_prf(n, n) + astray(n);
}
"#;

fn compiled(folder: &Path, flags: &[&str]) -> Classification {
    let (source, program) = (folder.join("program.c"), folder.join("program"));
    File::create(&source)
        .unwrap()
        .write_all(PROGRAM.as_bytes())
        .unwrap();
    let done = Command::new("cc")
        .args(["-O2", "-w", "-o"])
        .arg(&program)
        .arg(&source)
        .args(flags)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    classify(&File::open(program).unwrap()).unwrap()
}

fn points(found: &Classification) -> Vec<(Hook, Found)> {
    found
        .secrets
        .iter()
        .map(|point| (point.hook, point.found))
        .collect()
}

#[test]
fn both_functions_are_found_by_name_in_the_full_symbol_table() {
    let folder = tempfile::tempdir().unwrap();
    let found = compiled(folder.path(), &["-fPIE", "-pie"]);
    assert_eq!(found.implementations, [Implementation::S2n]);
    assert_eq!(
        points(&found),
        [(Hook::S2nDerive, Found::Symbol), (Hook::S2nPrf, Found::Symbol)]
    );
    assert_eq!(found.unsupported(), None);
}

#[test]
fn without_symbols_every_label_agrees_on_the_function_that_derives() {
    let folder = tempfile::tempdir().unwrap();
    let expected = compiled(folder.path(), &["-fPIE", "-pie"]).secrets[0].offset;
    let found = compiled(folder.path(), &["-fPIE", "-pie", "-s"]);
    assert_eq!(found.implementations, [Implementation::S2n]);
    assert_eq!(points(&found), [(Hook::S2nDerive, Found::CrossReference)]);
    assert_eq!(found.secrets[0].offset, expected);
    assert_eq!(found.missing[0].symbol, "s2n_prf");
    assert_eq!(found.unsupported(), None, "TLS 1.3 is read");
}

/// One label of the seven is taken to another function too: nothing is probed, and the reason is told.
#[test]
fn a_label_that_goes_astray_gives_none() {
    let folder = tempfile::tempdir().unwrap();
    let found = compiled(folder.path(), &["-fPIE", "-pie", "-s", "-DASTRAY"]);
    assert_eq!(found.implementations, [Implementation::S2n]);
    assert!(found.secrets.is_empty(), "{:?}", found.secrets);
    let reason = found.unsupported().unwrap();
    assert!(reason.contains("do not agree"), "{reason}");
}
