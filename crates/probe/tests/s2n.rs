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
FUNCTION int blob_init(struct blob *blob, unsigned char *data, unsigned size) { blob->data = data; blob->size = size; return 0; }
FUNCTION int s2n_prf(void *connection, struct blob *secret, struct blob *label, struct blob *a, struct blob *b, struct blob *c, struct blob *out)
{ return label->data[0] + secret->size + a->size + b->size + (c ? c->size : 0) + out->size + (connection != 0); }
#ifdef ASTRAY_PRF
FUNCTION int other_prf(void *connection, struct blob *secret, struct blob *label, struct blob *a, struct blob *b, struct blob *c, struct blob *out)
{ return label->data[0] * secret->size * a->size * b->size * (c ? c->size : 0) * out->size; }
#else
#define other_prf s2n_prf
#endif
#define TAKES(name, text, prf) FUNCTION int name(void *connection, struct blob *secret, struct blob *random, struct blob *out) { \
	unsigned char bytes[] = text; struct blob label; \
	if (blob_init(&label, bytes, sizeof(bytes) - 1)) return -1; \
	return prf(connection, secret, &label, random, random + 1, 0, out) + label.size; }
TAKES(master_secret, "master secret", other_prf) TAKES(key_expansion, "key expansion", s2n_prf)
/* A constant that is only compared with, and a call of another that lacks its sixth argument. */
FUNCTION int is_key_expansion(const char *label) { return !__builtin_memcmp(label, "key expansion", 13); }
FUNCTION int unrelated(int a, int b, int c, int d, int e, int f) { return a + b + c + d + e + f; }
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
		+ derive_res_master(n) + update(n) + s2n_recv(n) + astray(n) + is_key_expansion(arguments[0]) + unrelated(n, n, n, n, n, 0)
		+ master_secret(arguments, (void *)arguments, (void *)arguments, (void *)arguments)
		+ key_expansion(arguments, (void *)arguments, (void *)arguments, (void *)arguments);
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
    let offsets =
        |found: &Classification| -> Vec<u64> { found.secrets.iter().map(|point| point.offset).collect() };
    let expected = compiled(folder.path(), &["-fPIE", "-pie"]);
    let found = compiled(folder.path(), &["-fPIE", "-pie", "-s"]);
    assert_eq!(found.implementations, [Implementation::S2n]);
    assert_eq!(
        points(&found),
        [
            (Hook::S2nDerive, Found::CrossReference),
            (Hook::S2nPrf, Found::CrossReference)
        ]
    );
    assert_eq!(offsets(&found), offsets(&expected));
    assert_eq!(found.unsupported(), None);
}

/// TLS 1.3 is read without it.
#[test]
fn labels_of_the_prf_that_do_not_agree_give_none() {
    let folder = tempfile::tempdir().unwrap();
    let found = compiled(folder.path(), &["-fPIE", "-pie", "-s", "-DASTRAY_PRF"]);
    assert_eq!(points(&found), [(Hook::S2nDerive, Found::CrossReference)]);
    assert_eq!(found.missing[0].symbol, "s2n_prf");
    let reason = &found.missing[0].reason;
    assert!(reason.contains("do not agree"), "{reason}");
    assert_eq!(found.unsupported(), None);
}

/// One label of the seven is taken to another function too: none is probed for them, and the reason is told.
#[test]
fn a_label_that_goes_astray_gives_none() {
    let folder = tempfile::tempdir().unwrap();
    let found = compiled(folder.path(), &["-fPIE", "-pie", "-s", "-DASTRAY"]);
    assert_eq!(found.implementations, [Implementation::S2n]);
    assert_eq!(points(&found), [(Hook::S2nPrf, Found::CrossReference)]);
    let reason = &found.missing[0].reason;
    assert!(reason.contains("do not agree"), "{reason}");
}
