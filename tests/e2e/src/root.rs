//! Roots other than this one.

use std::path::Path;
use std::process::Command;

use crate::{Certificates, run_ok};

/// Puts curl into `root`, with its own copy of everything that it maps, and the authority as `/ca.pem`.
///
/// # Panics
/// When something is missing.
pub fn root_with_curl(root: &Path, certificates: &Certificates) {
    let listed = run_ok(Command::new("ldd").arg("/usr/bin/curl")).text();
    let mut files: Vec<&str> = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .collect();
    files.extend(["/usr/bin/curl", "/bin/sleep", "/bin/sh"]);
    for file in files {
        let target = root.join(file.trim_start_matches('/'));
        std::fs::create_dir_all(target.parent().expect("a folder")).expect("a root that can be written to");
        std::fs::copy(file, &target).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    std::fs::copy(&certificates.authority, root.join("ca.pem")).expect("the authority");
}

/// Shell words that fetch 5,000 bytes from the server on `port`, within such a root.
#[must_use]
pub fn fetch_in_root(port: u16) -> String {
    format!(
        "/usr/bin/curl -sS --noproxy '*' --cacert /ca.pem --resolve root.qtap.test:{port}:127.0.0.1 https://root.qtap.test:{port}/bytes/5000 -o /out"
    )
}
