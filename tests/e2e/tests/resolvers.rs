//! A resolver on loopback, as systemd-resolved is, and what the names it gives are good for (P-N1).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use qtap_e2e::{
    Agent, Capture, Config, Namespaces, Program, PythonServer, one, python, run_ok, scratch, until,
};
use serde_json::Value;

/// dnsmasq on 127.0.0.53 on the client's side, which asks it.
struct Resolver {
    _dnsmasq: Program,
    configuration: PathBuf,
}

impl Resolver {
    /// `loud.test` and `quiet.test` are the addresses of the server.
    fn start(namespaces: &Namespaces) -> Self {
        let configuration = Path::new("/etc/netns").join(namespaces.client_name());
        std::fs::create_dir_all(&configuration).expect("a folder for resolv.conf");
        std::fs::write(configuration.join("resolv.conf"), "nameserver 127.0.0.53\n").expect("resolv.conf");
        let mut dnsmasq = Command::new("dnsmasq");
        dnsmasq.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--user=root",
            "--local-ttl=120",
            "--listen-address=127.0.0.53",
        ]);
        dnsmasq.arg(format!("--host-record=loud.test,{}", Namespaces::PRIVATE_V4));
        dnsmasq.arg(format!("--host-record=quiet.test,{}", Namespaces::PUBLIC_V4));
        let dnsmasq = Program::start(&mut namespaces.client(&dnsmasq));
        let mut dig = Command::new("dig");
        dig.args(["+short", "+tries=1", "+time=2", "loud.test", "A"]);
        until(Duration::from_secs(10), "the resolver to answer", || {
            let answer = namespaces.client(&dig).output();
            answer.is_ok_and(|answer| answer.status.success() && !answer.stdout.is_empty())
        });
        Self {
            _dnsmasq: dnsmasq,
            configuration,
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        // Of no use to anybody when it cannot be removed.
        let _ = std::fs::remove_dir_all(&self.configuration);
    }
}

/// A request that does not say whom it is for: only DNS knows.
fn nameless(namespaces: &Namespaces, name: &str, port: u16) -> u32 {
    let mut client = Command::new("/usr/bin/python3");
    client.args([
        "-c",
        "import socket, sys\n\
         peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n\
         peer.sendall(b'GET /text/10 HTTP/1.0\\r\\nConnection: close\\r\\n\\r\\n')\n\
         while peer.recv(1000):\n\
         \x20   pass\n",
        name,
        &port.to_string(),
    ]);
    run_ok(&mut namespaces.client(&client)).pid
}

fn endpoint(capture: &Capture) -> &Value {
    &capture.connection["meta"]["endpointId"]
}

/// `ignore_loopback` leaves the resolver's own datagrams in sight, and stacks of endpoints go by the names it gave.
#[test]
fn names_of_a_resolver_on_loopback_choose_stacks() {
    let folder = scratch();
    let namespaces = Namespaces::create();
    let resolver = Resolver::start(&namespaces);
    let mut command = python("server.py");
    command.args(["--host", "::"]);
    let server = PythonServer::start_command(folder.path(), namespaces.server(&command));
    let agent = Agent::start(&Config {
        ignore_loopback: true,
        tap: "  endpoints:\n    - {domain: quiet.test, http: {stack: none}}\n".to_owned(),
        ..Config::default()
    });
    let loud = nameless(&namespaces, "loud.test", server.port);
    let quiet = nameless(&namespaces, "quiet.test", server.port);
    agent.wait_for_connections(&[loud, quiet], 2);
    let events = agent.stop();
    let of = |pid| one(&events.of_pid(pid)).clone();
    let (loud, quiet) = (of(loud), of(quiet));
    assert_eq!(endpoint(&loud), "loud.test", "{}", events.outline());
    assert_eq!(endpoint(&quiet), "quiet.test", "{}", events.outline());
    assert_eq!(
        (loud.requests.len(), quiet.requests.len()),
        (1, 0),
        "{}",
        events.outline()
    );
    assert_eq!(loud.requests[0]["endpointId"], "loud.test");
    assert_eq!(
        quiet.connection["transactions"], 1,
        "counted all the same: {quiet:#?}"
    );
    assert_eq!(quiet.connection["l7Protocol"], "http1");
    drop(resolver);
}
