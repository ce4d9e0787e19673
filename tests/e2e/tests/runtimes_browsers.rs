//! Browsers without a screen: Chromium, with BoringSSL linked in and stripped, and Firefox, with an NSS of its own.
//!
//! Required: "Chromium headless", "Firefox ESR".

use std::process::Command;

use qtap_e2e::{Bench, Late, Row, Side, Zoo, read_by_secrets, read_late};

const DEBIAN: &str = "Debian, linked in, stripped";
const OWN_NSS: &str = "Debian, NSS of its own";

fn browser(bench: &Bench, mode: &str, address: &str) -> Command {
    bench.client("/usr/bin/python3", "browser.py", mode, address)
}

const fn row(
    name: &'static str,
    protocol: &'static str,
    client: fn(&Bench, &str) -> Command,
    (implementation, build): (&'static str, &'static str),
) -> Row {
    Row {
        name,
        build,
        side: Side::Client,
        protocol,
        implementation,
        client,
        server: None,
        late: Late::Calls,
    }
}

fn rows() -> Vec<Row> {
    const CHROMIUM: (&str, &str) = ("boringssl", DEBIAN);
    const FIREFOX: (&str, &str) = ("nss", OWN_NSS);
    vec![
        row(
            "Chromium `fetch`",
            "http1",
            |b, a| browser(b, "chromium-http1", a),
            CHROMIUM,
        ),
        row(
            "Chromium `fetch`",
            "http2",
            |b, a| browser(b, "chromium-http2", a),
            CHROMIUM,
        ),
        row(
            "Firefox `fetch`",
            "http1",
            |b, a| browser(b, "firefox-http1", a),
            FIREFOX,
        ),
        row(
            "Firefox `fetch`",
            "http2",
            |b, a| browser(b, "firefox-http2", a),
            FIREFOX,
        ),
    ]
}

/// Both, over both versions of HTTP, whole and exact, by secrets alone.
#[test]
fn browsers_are_read_by_secrets() {
    let mut zoo = Zoo::open("browsers");
    read_by_secrets(&mut zoo, &rows());
    zoo.finish();
}

/// Connections older than the agent are read by calls.
#[test]
fn browsers_are_read_by_calls_when_the_agent_comes_late() {
    let mut zoo = Zoo::open("browsers-late");
    read_late(&mut zoo, &rows());
    zoo.finish();
}
