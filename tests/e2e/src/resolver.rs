//! Name servers of the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::{Certificates, Namespaces, Program, scratch, until};

/// A name server on the server's side, and the client's side set to ask it. It knows `test`: `api.test` is the server with both of its
/// private addresses, `www.test` another name for it, `text.test` has a text, `long.test` more of them than a datagram takes without
/// EDNS.
pub struct Resolver {
    /// The server.
    pub program: Program,
    configuration: PathBuf,
    _folder: TempDir,
}

/// What a text of `long.test` is.
const LONG: &str =
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

impl Resolver {
    /// dnsmasq, which answers what comes over TCP in a process of its own.
    #[must_use]
    pub fn dnsmasq(namespaces: &Namespaces) -> Self {
        let mut dnsmasq = Command::new("dnsmasq");
        dnsmasq.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--user=root",
            "--local-ttl=120",
            "--local=/test/",
            "--cname=www.test,api.test",
            "--txt-record=text.test,one,two words",
            "--mx-host=mail.test,mx.test,10",
            "--srv-host=_xmpp._tcp.test,api.test,5222,1,5",
        ]);
        dnsmasq.arg(format!("--listen-address={}", Namespaces::PRIVATE_V4));
        dnsmasq.arg(format!("--listen-address={}", Namespaces::PRIVATE_V6));
        dnsmasq.arg(format!(
            "--host-record=api.test,{},{}",
            Namespaces::PRIVATE_V4,
            Namespaces::PRIVATE_V6
        ));
        dnsmasq.arg(format!("--txt-record=long.test{}", format!(",{LONG}").repeat(12)));
        Self::start(namespaces, &dnsmasq, scratch())
    }

    /// Unbound, whose threads answer over both.
    #[must_use]
    pub fn unbound(namespaces: &Namespaces) -> Self {
        Self::unbound_with(namespaces, scratch(), "")
    }

    /// The same, over TLS on port 853 too (RFC 7858).
    #[must_use]
    pub fn unbound_with_tls(namespaces: &Namespaces, certificates: &Certificates) -> Self {
        let options = format!(
            "  interface: {}@853\n  tls-port: 853\n  tls-service-pem: \"{}\"\n  tls-service-key: \"{}\"\n",
            Namespaces::PRIVATE_V4,
            certificates.certificate.display(),
            certificates.key.display()
        );
        Self::unbound_with(namespaces, scratch(), &options)
    }

    fn unbound_with(namespaces: &Namespaces, folder: TempDir, options: &str) -> Self {
        let file = folder.path().join("unbound.conf");
        let (v4, v6) = (Namespaces::PRIVATE_V4, Namespaces::PRIVATE_V6);
        let long = format!("  local-data: 'long.test. 120 IN TXT \"{LONG}\"'\n").replace(
            LONG,
            &std::iter::repeat_n(LONG, 12).collect::<Vec<_>>().join("\" \""),
        );
        let text = format!(
            "server:\n  directory: \"{}\"\n  chroot: \"\"\n  username: \"\"\n  pidfile: \"\"\n  do-daemonize: no\n  use-syslog: no\n  \
             module-config: \"iterator\"\n  num-threads: 2\n{options}  interface: {v4}\n  interface: {v6}\n  access-control: 0.0.0.0/0 allow\n  \
             access-control: ::/0 allow\n  local-zone: \"test.\" static\n  local-data: \"api.test. 120 IN A {v4}\"\n  \
             local-data: \"api.test. 120 IN AAAA {v6}\"\n{long}remote-control:\n  control-enable: no\n",
            folder.path().display()
        );
        std::fs::write(&file, text).expect("unbound.conf");
        let mut unbound = Command::new("unbound");
        unbound.args(["-d", "-p", "-c"]).arg(file);
        Self::start(namespaces, &unbound, folder)
    }

    fn start(namespaces: &Namespaces, server: &Command, folder: TempDir) -> Self {
        // ip-netns(8): what lies there takes the place of the file in /etc.
        let configuration = Path::new("/etc/netns").join(namespaces.client_name());
        std::fs::create_dir_all(&configuration).expect("a folder for resolv.conf");
        let file = format!("nameserver {}\n", Namespaces::PRIVATE_V4);
        std::fs::write(configuration.join("resolv.conf"), file).expect("resolv.conf");
        let program = Program::start(&mut namespaces.server(server));
        until(Duration::from_secs(10), "the resolver to answer", || {
            namespaces
                .client(&dig(&["api.test", "A"]))
                .output()
                .is_ok_and(|out| out.status.success())
        });
        Self {
            program,
            configuration,
            _folder: folder,
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        // Of no use to anybody when it cannot be removed.
        let _ = std::fs::remove_dir_all(&self.configuration);
    }
}

/// dig with `arguments`, one try of two seconds each.
#[must_use]
pub fn dig(arguments: &[&str]) -> Command {
    let mut dig = Command::new("dig");
    dig.args(["+short", "+tries=1", "+time=2"]).args(arguments);
    dig
}
