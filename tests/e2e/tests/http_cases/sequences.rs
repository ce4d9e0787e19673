//! Many transactions on one connection.

use qtap_e2e::{
    Agent, Config, Finished, PythonServer, Side, Transport, assert_healthy, assert_truth, client, headers_of,
    one, run_ok, wait_for_both_ends,
};

use crate::site::Site;

/// "1,000 requests on one keep-alive connection".
#[test]
fn a_thousand_requests_on_one_connection_are_a_thousand_transactions() {
    many_on_one_connection("http-client", 1000, |number, transaction| {
        assert_eq!(
            headers_of(&transaction["request"])["x-number"],
            [number.to_string()]
        );
    });
}

/// "100 pipelined".
#[test]
fn a_hundred_pipelined_requests_are_a_hundred_transactions() {
    many_on_one_connection("pipeline", 100, |number, transaction| {
        assert_eq!(
            transaction["request"]["path"],
            format!("/bytes/{}?n={number}", 600)
        );
    });
}

fn many_on_one_connection(mode: &str, count: usize, expect: impl Fn(usize, &serde_json::Value)) {
    let site = Site::new();
    let agent = Agent::start(&Config::default());
    let mut clients: Vec<(&PythonServer, Transport, Finished)> = Vec::new();
    for (scheme, server, transport) in site.each() {
        let url = format!("{scheme}://many.qtap.test:{}/bytes/600", server.port);
        let finished = run_ok(
            client(mode)
                .arg(&url)
                .args(["--count", &count.to_string(), "--ca"])
                .arg(&site.certificates.authority),
        );
        wait_for_both_ends(&agent, server.port, 1);
        clients.push((server, transport, finished));
    }
    let events = agent.stop();
    for (server, transport, finished) in clients {
        let truths = server.truths("transaction", count);
        for (pid, side) in [(finished.pid, Side::Client), (server.pid(), Side::Server)] {
            let captures = events.of_pid(pid);
            let capture = one(&captures);
            assert_healthy(capture, transport);
            assert_eq!(
                (capture.requests.len(), capture.transactions.len()),
                (count, count)
            );
            assert_eq!(capture.connection["transactions"], count);
            for (number, (transaction, truth)) in capture.transactions.iter().zip(&truths).enumerate() {
                assert_truth(transaction, truth, side);
                expect(number, transaction);
            }
        }
    }
}
