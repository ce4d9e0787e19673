//! A certificate authority and a server certificate, made with openssl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run_ok;

/// Names that the server certificate is for.
const NAMES: &str = "DNS:localhost,DNS:*.qtap.test,DNS:qtap.test,IP:127.0.0.1,IP:0:0:0:0:0:0:0:1,IP:10.91.0.1,IP:198.51.100.1";

/// Files in PEM.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// Certificate of the authority, for clients.
    pub authority: PathBuf,
    /// Certificate of the server.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in `folder`. ECDSA P-256, because its handshakes cost least.
    #[must_use]
    pub fn make(folder: &Path) -> Self {
        Self::with_key(
            folder,
            "ec",
            &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
        )
    }

    /// The same with an RSA key, for suites that need one.
    #[must_use]
    pub fn make_rsa(folder: &Path) -> Self {
        Self::with_key(folder, "rsa", &["-newkey", "rsa:2048"])
    }

    fn with_key(folder: &Path, prefix: &str, new_key: &[&str]) -> Self {
        let file = |name: &str| folder.join(format!("{prefix}-{name}"));
        let (authority, authority_key) = (file("ca.pem"), file("ca.key"));
        let (certificate, key, request) = (file("server.pem"), file("server.key"), file("server.csr"));
        let extensions = file("extensions");
        fs::write(
            &extensions,
            format!("subjectAltName={NAMES}\nextendedKeyUsage=serverAuth\n"),
        )
        .expect("write a file");
        run_ok(
            openssl(&[
                "req",
                "-x509",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=qtap e2e authority",
            ])
            .args(new_key)
            .arg("-keyout")
            .arg(&authority_key)
            .arg("-out")
            .arg(&authority),
        );
        run_ok(
            openssl(&["req", "-nodes", "-subj", "/CN=localhost"])
                .args(new_key)
                .arg("-keyout")
                .arg(&key)
                .arg("-out")
                .arg(&request),
        );
        run_ok(
            openssl(&["x509", "-req", "-days", "2", "-set_serial", "2"])
                .arg("-in")
                .arg(&request)
                .arg("-CA")
                .arg(&authority)
                .arg("-CAkey")
                .arg(&authority_key)
                .arg("-extfile")
                .arg(&extensions)
                .arg("-out")
                .arg(&certificate),
        );
        Self {
            authority,
            certificate,
            key,
        }
    }
}

fn openssl(arguments: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(arguments);
    command
}
