//! Stacks of their own for calls.

use qtap_e2e::{Agent, Certificates, Config, scratch};

use crate::expect::{client_end, end, server_end};
use crate::programs::{Client, Library, Server};

/// `tap.grpc.stack` decides for calls alone, by what they are and not by their port.
#[test]
fn calls_go_to_the_stack_of_grpc_and_requests_to_that_of_http() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = Server::start(Library::Python, &certificates);
    let config = Config {
        tap: "  grpc: {stack: none}\n".to_owned(),
        ..Config::default()
    };
    let python = Library::Python;
    let mut client = Client::spawn(python.command("client"), python, (python, server.plain), None);
    client.welcome();
    let agent = Agent::start(&config);
    let runs = [client.go()];
    let events = end(agent, &runs);
    server.stop();
    for capture in [client_end(&events, &runs[0]), server_end(&events, &runs[0])].concat() {
        assert_eq!(
            (capture.requests.len(), capture.transactions.len()),
            (0, 0),
            "{capture:#?}"
        );
        assert_eq!(capture.connection["l7Protocol"], "grpc");
    }
}
