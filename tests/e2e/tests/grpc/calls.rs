//! Calls of every kind and library, and those on a connection that is older than the agent.

use qtap_e2e::{Certificates, Transport, assert_healthy, scratch};
use serde_json::{Value, json};

use crate::expect::{assert_access_log, assert_call, assert_server, client_end, end, server_end, sum};
use crate::programs::{Client, Library, Run, Server, TYPES, agent};

/// "All four call kinds, statuses, messages counted and sized, gzip, deadlines, cancellation", grpcio and grpc-js, each with each.
#[test]
fn every_call_of_every_library_is_told_as_the_programs_saw_it() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let libraries = [Library::Python, Library::Node];
    let servers = libraries.map(|library| (library, Server::start(library, &certificates)));
    let mut clients = Vec::new();
    for (server, started) in &servers {
        for library in libraries {
            for transport in [Transport::Plain, Transport::Tls] {
                let authority = (transport == Transport::Tls).then_some(&*certificates.authority);
                let to = (*server, started.port(transport));
                clients.push(Client::spawn(library.command("client"), library, to, authority));
            }
        }
    }
    clients.iter_mut().for_each(Client::welcome);
    let agent = agent();
    let runs: Vec<Run> = clients.into_iter().map(Client::go).collect();
    let events = end(agent, &runs);
    for run in &runs {
        for captures in [client_end(&events, run), server_end(&events, run)] {
            for capture in &captures {
                assert_healthy(capture, run.transport);
                assert_eq!(capture.connection["l7Protocol"], "grpc", "{}", run.what);
                assert!(
                    capture
                        .requests
                        .iter()
                        .all(|event| event["type"] == "grpc_request")
                );
            }
            let calls: usize = captures.iter().map(|capture| capture.requests.len()).sum();
            assert_eq!(calls, TYPES.len(), "{}", run.what);
            for (method, call_type) in TYPES {
                assert_call(&captures, method, call_type, run);
            }
            assert_access_log(&events, &captures, &run.what);
        }
    }
    for (library, server) in servers {
        let seen = server.stop();
        assert_server(&seen, &runs, library);
    }
}

/// P-G7: the agent comes while the connection is under way, so the tables that its first heads filled are unknown. Every later call is
/// told, its messages are counted exactly, and what is not known is not made up.
#[test]
fn calls_on_a_connection_older_than_the_agent_are_counted_and_nothing_is_made_up() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    for library in [Library::Python, Library::Node] {
        let server = Server::start(library, &certificates);
        let mut command = library.command("client");
        command.env("HOLD", "1");
        let mut client = Client::spawn(command, library, (library, server.plain), None);
        client.welcome();
        let agent = agent();
        let run = client.go();
        let runs = [run];
        let events = end(agent, &runs);
        server.stop();
        for captures in [client_end(&events, &runs[0]), server_end(&events, &runs[0])] {
            let older = captures
                .iter()
                .find(|capture| capture.connection["joinedMidstream"] == true);
            let older = older.unwrap_or_else(|| panic!("no older connection: {captures:#?}"));
            let calls: Vec<&Value> = captures.iter().flat_map(|capture| &capture.requests).collect();
            let told: Vec<String> = calls.iter().map(|call| call.to_string()).collect();
            for call in &calls {
                let (method, status) = (call["grpcMethod"].as_str(), call["grpcStatus"].as_str());
                let Some(method) = method.filter(|method| *method != "*") else {
                    assert_eq!(call["headers_partial"], true, "{call:#}");
                    continue;
                };
                let seen = &runs[0].seen[method];
                if call["grpc_status_unknown"] == true {
                    assert_eq!(
                        (status, &call["headers_partial"]),
                        (Some(""), &json!(true)),
                        "{call:#}"
                    );
                } else {
                    assert_eq!(status, Some(&*seen["status"].to_string()), "{call:#}");
                }
            }
            // Both ways, told by nothing but their own bytes where the heads say nothing.
            for method in ["Up", "Down", "Both"] {
                let seen = &runs[0].seen[method];
                let count = |key: &str| seen[key].as_array().unwrap().len();
                let is_it = |call: &&&Value| {
                    let messages = &call["messages"];
                    messages["request"]["count"] == count("sent")
                        && messages["response"]["count"] == count("received")
                        && messages["request"]["bytes"] == sum(seen["sent"].as_array().unwrap())
                        && messages["response"]["bytes"] == sum(seen["received"].as_array().unwrap())
                };
                assert_eq!(calls.iter().filter(is_it).count(), 1, "{method}: {told:#?}");
            }
            assert_eq!(older.connection["l7Protocol"], "grpc");
        }
    }
}
