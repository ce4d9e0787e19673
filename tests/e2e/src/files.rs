//! Files and bytes that tests use.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::run_ok;

/// Folder of the Python programs.
#[must_use]
pub fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}

/// The virtual environment that `scripts/setup tests` makes: wheels that bring TLS libraries of their own.
#[must_use]
pub fn venv() -> PathBuf {
    let path = std::env::var_os("QTAP_E2E_VENV").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/e2e-venv"),
        PathBuf::from,
    );
    path.canonicalize().unwrap_or_else(|error| {
        panic!(
            "no virtual environment at {}: {error}; run scripts/setup tests",
            path.display()
        )
    })
}

/// Where `scripts/setup tests` installs clients of databases for Node: `NODE_PATH`.
#[must_use]
pub fn node_clients() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/e2e-node-clients/node_modules");
    path.canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}; run scripts/setup tests", path.display()))
}

/// A folder of the test's own, removed at its end.
#[must_use]
pub fn scratch() -> TempDir {
    tempfile::Builder::new()
        .prefix("qtap-e2e-")
        .tempdir()
        .expect("create a temporary folder")
}

/// SHA-256 in hex.
#[must_use]
pub fn hex_sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// `len` bytes without a pattern, the same at each call: a chain of SHA-256.
#[must_use]
pub fn deterministic_bytes(len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 32);
    let mut block = Sha256::digest(len.to_string());
    while bytes.len() < len {
        bytes.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    bytes.truncate(len);
    bytes
}

/// Path of a library as the loader finds it.
#[must_use]
pub fn system_library(name: &str) -> PathBuf {
    let cache = run_ok(Command::new("/sbin/ldconfig").arg("-p")).text();
    let line = cache
        .lines()
        .find(|line| line.trim_start().starts_with(name))
        .unwrap_or_else(|| panic!("no {name}"));
    std::fs::canonicalize(line.rsplit(" => ").next().expect("a library that exists"))
        .expect("a library that exists")
}
