//! What addresses are called: answers of a real resolver, asked by real programs (P-N1).

use std::process::Command;

use qtap_e2e::{Agent, Capture, Config, Curl, Namespaces, PythonServer, Resolver, python, run_ok, scratch};
use serde_json::Value;

fn endpoint(capture: &Capture) -> &Value {
    &capture.connection["meta"]["endpointId"]
}

#[test]
fn connections_are_called_by_what_their_program_asked_for() {
    let folder = scratch();
    let namespaces = Namespaces::create();
    let resolver = Resolver::dnsmasq(&namespaces);
    let mut command = python("server.py");
    command.args(["--host", "::"]);
    let server = PythonServer::start_command(folder.path(), namespaces.server(&command));
    let agent = Agent::start(&Config::default());

    // No host in what it sends: only DNS knows.
    let mut raw = Command::new("python3");
    raw.args([
        "-c",
        "import socket, sys\n\
         peer = socket.create_connection(('www.test', int(sys.argv[1])))\n\
         peer.sendall(b'\\x00\\x01\\x02 no protocol at all\\n')\n\
         peer.shutdown(socket.SHUT_WR)\n\
         peer.recv(1000)\n\
         print(peer.getsockname()[1])\n",
        &server.port.to_string(),
    ]);
    let raw = run_ok(&mut namespaces.client(&raw));
    let url = format!("http://api.test:{}/text/10", server.port);
    let other = Curl::new(folder.path(), &url)
        .args(&["-4", "-H", "Host: elsewhere.test", "-o", "/dev/null"])
        .command();
    let other = run_ok(&mut namespaces.client(&other));
    // Nobody asked for this address.
    let url = format!("http://{}:{}/text/10", Namespaces::PUBLIC_V4, server.port);
    let unnamed = Curl::new(folder.path(), &url)
        .args(&["-o", "/dev/null"])
        .command();
    let unnamed = run_ok(&mut namespaces.client(&unnamed));

    agent.wait_for_connections(&[raw.pid, other.pid, unnamed.pid], 3);
    let answers = agent.system_metric("qtap_engine_dns_answers_total", &[]);
    assert!(answers >= 2.0, "{answers} answers were read");
    let lost = agent.system_metric("qtap_engine_dns_unreadable_total", &[]);
    assert!(lost.abs() < f64::EPSILON, "{lost} answers were not understood");
    let events = agent.stop();
    let capture = |pid| {
        let [capture]: [Capture; 1] = events.of_pid(pid).try_into().expect("one connection");
        capture
    };
    assert_eq!(endpoint(&capture(raw.pid)), "www.test", "{}", events.outline());
    assert_eq!(endpoint(&capture(other.pid)), "api.test", "{}", events.outline());
    assert_eq!(
        endpoint(&capture(unnamed.pid)),
        Namespaces::PUBLIC_V4,
        "{}",
        events.outline()
    );
    drop(resolver);
}
