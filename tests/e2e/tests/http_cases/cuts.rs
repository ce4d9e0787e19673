//! Bytes that cannot be seen, and ends before the end.

use std::time::Duration;

use qtap_e2e::{
    Agent, Config, Curl, PythonServer, Transport, assert_complete, assert_healthy, assert_sums, hex_sha256,
    one, scratch, single, wait_for_both_ends,
};
use serde_json::json;

use crate::site::Site;

/// "Bytes without a user buffer (sendfile, splice) counted as a gap of known length."
#[test]
fn a_body_sent_by_sendfile_is_a_gap_of_its_length() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let agent = Agent::start(&Config::default());
    let url = format!("http://sendfile.qtap.test:{}/sendfile/100000", server.port);
    let (curl, _) = Curl::new(folder.path(), &url)
        .args(&["--next", "-sS", "--noproxy", "*", "--resolve"])
        .args(&[
            &format!("sendfile.qtap.test:{}:127.0.0.1", server.port),
            &format!("http://sendfile.qtap.test:{}/bytes/10", server.port),
        ])
        .run();
    wait_for_both_ends(&agent, server.port, 1);
    let events = agent.stop();
    let client = events.of_pid(curl.pid);
    assert_healthy(one(&client), Transport::Plain);
    assert_complete(
        &client[0].transactions[0],
        None,
        Some(&hex_sha256(&curl.stdout[..100_000])),
    );
    let accepted = events.of_pid(server.pid());
    let accepted = one(&accepted);
    assert_eq!(accepted.status(), "degraded");
    assert!(
        accepted.reasons().contains(&"unreadable_bytes"),
        "{:#}",
        accepted.connection
    );
    assert_eq!(accepted.connection["health"]["gapBytes"], 100_000);
    assert_sums(accepted);
    let [sendfile, after] = &accepted.transactions[..] else {
        panic!("{:#?}", accepted.transactions)
    };
    assert_eq!(
        (&sendfile["incomplete"], &sendfile["gap_bytes"]),
        (&json!(true), &json!(100_000))
    );
    assert_eq!(sendfile["response"]["body_gap_bytes"], 100_000);
    assert_complete(after, None, Some(&hex_sha256(&curl.stdout[100_000..])));
}

/// "A capped call": a body written in calls larger than `tap.limits.call` is a gap of what is beyond, not a wrong body.
#[test]
fn a_call_beyond_its_cap_leaves_a_gap() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let agent = Agent::start(&Config {
        limits: "body: 4mb, call: 64kb".to_owned(),
        ..Config::default()
    });
    let url = format!("http://capped.qtap.test:{}/bytes/1000000", server.port);
    let (_, _) = Curl::new(folder.path(), &url).run();
    wait_for_both_ends(&agent, server.port, 1);
    let events = agent.stop();
    let accepted = single(&events, server.pid());
    assert_sums(&accepted);
    assert_eq!(accepted.status(), "degraded");
    assert!(
        accepted.reasons().contains(&"call_cap"),
        "{:#}",
        accepted.connection
    );
    let transaction = &accepted.transactions[0];
    assert_eq!(transaction["incomplete"], true);
    assert_eq!(
        transaction["gap_bytes"],
        accepted.connection["health"]["gapBytes"]
    );
    assert_eq!(transaction["response"]["body_size_total"], 1_000_000);
}

/// A client that ends in the middle of a response: the transaction says so, and nothing waits for the rest.
#[test]
fn a_client_that_goes_away_is_canceled() {
    let site = Site::new();
    let agent = Agent::start(&Config::default());
    for (scheme, server, _) in site.each() {
        let url = format!("{scheme}://gone.qtap.test:{}/bytes/1000?delay=30", server.port);
        let mut command = Curl::new(site.folder.path(), &url)
            .authority(&site.certificates.authority)
            .args(&["--max-time", "0.5"])
            .command();
        let finished = qtap_e2e::run(&mut command);
        assert!(!finished.status.success());
        agent.wait_for_connections(&[finished.pid], 1);
        let events = agent.events();
        let captures = events.of_pid(finished.pid);
        agent.wait_for("the canceled transaction", Duration::from_secs(5), |events| {
            events
                .of_pid(finished.pid)
                .iter()
                .any(|capture| capture.transactions.len() == 1)
        });
        assert_eq!(captures.len(), 1);
        let events = agent.events();
        let capture = single(&events, finished.pid);
        assert_eq!(
            capture.transactions[0]["outcome"], "canceled",
            "{:#}",
            capture.transactions[0]
        );
        assert_eq!(capture.transactions[0]["status_unknown"], true);
    }
    let _ = agent.stop();
}
