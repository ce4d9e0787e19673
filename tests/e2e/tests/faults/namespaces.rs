//! Namespaces that go while connections are open.

use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::{
    Agent, Certificates, Config, Load, Namespaces, Program, PythonServer, client, python, scratch,
};
use rustix::process::Signal;

/// "mount/network namespace gone while connections are open": client and server live in network namespaces, the client in a
/// mount namespace too; all go at once, by SIGKILL, with a request answered and the connection kept.
#[test]
fn connections_of_namespaces_that_are_gone_come_to_an_end() {
    let load = Load::new();
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let agent = Agent::start(&Config::default());
    let namespaces = Namespaces::create();
    let server = namespaces.server(
        python("server.py")
            .args(["--host", Namespaces::PRIVATE_V4])
            .arg("--cert")
            .arg(&certificates.certificate)
            .arg("--key")
            .arg(&certificates.key),
    );
    let server = PythonServer::start_command(folder.path(), server);
    let url = format!("https://{}:{}/bytes/5000", Namespaces::PRIVATE_V4, server.port);
    let mut request = client("requests");
    request
        .args([&url, "--count", "2", "--gate", "--ca"])
        .arg(&certificates.authority);
    let inside = namespaces.client(&request);
    let mut command = Command::new("unshare");
    command
        .args(["-m"])
        .arg(inside.get_program())
        .args(inside.get_args());
    for (name, value) in inside.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut program = Program::start(command.stdin(Stdio::piped()));
    assert_eq!(program.line(Duration::from_secs(30)), "done 1");
    let (client_pid, server_pid) = (program.pid(), server.pid());
    program.signal(Signal::KILL);
    drop(server);
    drop(program);
    drop(namespaces);
    agent.wait_for_connections(&[client_pid], 1);
    agent.wait_for_connections(&[server_pid], 1);
    let _ = load.probe(&agent, "after");
    let events = agent.stop();
    for pid in [client_pid, server_pid] {
        let captures = events.of_pid(pid);
        let capture = qtap_e2e::one(&captures);
        qtap_e2e::assert_sums(capture);
        // What was exchanged before is there.
        let transaction = qtap_e2e::one(&capture.transactions);
        assert_eq!(transaction["response"]["status"], 200);
        assert_eq!(transaction["outcome"], "complete");
    }
}
