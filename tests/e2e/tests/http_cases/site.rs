//! Servers that all cases share.

use qtap_e2e::{
    Agent, Certificates, Config, Curl, Events, PythonServer, Side, Transport, assert_healthy, assert_truth,
    one, scratch, single, wait_for_both_ends,
};

/// A cleartext and a TLS server with the same answers.
pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) certificates: Certificates,
    pub(crate) plain: PythonServer,
    pub(crate) tls: PythonServer,
}

impl Site {
    pub(crate) fn new() -> Self {
        let folder = scratch();
        let certificates = Certificates::make(folder.path());
        let plain = PythonServer::http(folder.path());
        let tls = PythonServer::https(folder.path(), &certificates, &[]);
        Self {
            folder,
            certificates,
            plain,
            tls,
        }
    }

    pub(crate) fn each(&self) -> [(&'static str, &PythonServer, Transport); 2] {
        [
            ("http", &self.plain, Transport::Plain),
            ("https", &self.tls, Transport::Tls),
        ]
    }

    /// Runs curl for each of `cases` (path, arguments) in cleartext and over TLS, one connection each, and checks both ends
    /// against what the server says. The events are returned for more.
    pub(crate) fn curl_cases(&self, config: &Config, cases: &[(&str, &[&str])]) -> Events {
        let agent = Agent::start(config);
        let mut clients = Vec::new();
        for (scheme, server, transport) in self.each() {
            for (index, (path, arguments)) in cases.iter().enumerate() {
                let url = format!("{scheme}://case.qtap.test:{}{path}", server.port);
                let (curl, _) = Curl::new(self.folder.path(), &url)
                    .authority(&self.certificates.authority)
                    .args(&["--http1.1", "-o", "/dev/null"])
                    .args(arguments)
                    .run();
                clients.push((transport, server, index, curl.pid));
            }
        }
        for (_, server, _) in self.each() {
            wait_for_both_ends(&agent, server.port, cases.len());
        }
        let events = agent.stop();
        for (transport, server, index, pid) in clients {
            let truth = &server.truths("transaction", cases.len())[index];
            let capture = single(&events, pid);
            assert_healthy(&capture, transport);
            assert_truth(&capture.transactions[0], truth, Side::Client);
            let accepted = &events.of_port(server.port, Side::Server)[index];
            assert_healthy(accepted, transport);
            assert_truth(one(&accepted.transactions), truth, Side::Server);
        }
        events
    }
}
