//! HTTP/2.

use std::path::Path;
use std::process::Command;

use qtap_e2e::{
    Agent, Certificates, Config, Curl, Nginx, PythonServer, Side, Transport, assert_complete, assert_healthy,
    deterministic_bytes, free_port, hex_sha256, one, run_ok, scratch, single, wait_for_both_ends,
};

/// nginx with HTTP/2 in cleartext and over TLS, and documents `f/0` to `f/199` of different lengths.
fn http2_nginx(folder: &Path, certificates: &Certificates, upstream: u16) -> (Nginx, u16, u16) {
    let (plain, tls) = (free_port(), free_port());
    let servers = format!(
        "http2_max_concurrent_streams 256; gzip_types *; gzip_min_length 1;\n\
         server {{ listen 127.0.0.1:{plain} http2; }}\n\
         server {{ listen 127.0.0.1:{tls} ssl http2; ssl_certificate {}; ssl_certificate_key {}; \
         location /zipped/ {{ gzip on; }} location /sink {{ proxy_pass http://127.0.0.1:{upstream}; }} }}",
        certificates.certificate.display(),
        certificates.key.display()
    );
    let nginx = Nginx::start(folder, &servers, &[plain, tls]);
    for number in 0..200 {
        nginx.put(&format!("f/{number}"), &deterministic_bytes(number * 331));
    }
    (nginx, plain, tls)
}

/// "200 concurrent HTTP/2 streams", over TLS and with prior knowledge in cleartext.
#[test]
fn two_hundred_concurrent_streams_do_not_mix() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let (_nginx, plain, tls) = http2_nginx(folder.path(), &certificates, 1);
    let agent = Agent::start(&Config::default());
    for (scheme, port) in [("http", plain), ("https", tls)] {
        let urls: String = (0..200)
            .map(|number| format!("{scheme}://127.0.0.1:{port}/f/{number}\n"))
            .collect();
        let list = folder.path().join(format!("urls-{scheme}"));
        std::fs::write(&list, urls).unwrap();
        let finished = run_ok(
            Command::new("h2load")
                .args(["-n", "200", "-c", "1", "-m", "200", "-i"])
                .arg(&list),
        );
        assert!(
            finished.text().contains("200 succeeded, 0 failed"),
            "{}",
            finished.text()
        );
        wait_for_both_ends(&agent, port, 1);
    }
    let events = agent.stop();
    for (port, transport) in [(plain, Transport::Plain), (tls, Transport::Tls)] {
        for side in [Side::Client, Side::Server] {
            let captures = events.of_port(port, side);
            let capture = one(&captures);
            assert_healthy(capture, transport);
            assert_eq!(capture.connection["l7Protocol"], "http2");
            let mut numbers: Vec<usize> = capture
                .transactions
                .iter()
                .map(|transaction| {
                    let number = transaction["request"]["path"].as_str().unwrap()["/f/".len()..]
                        .parse()
                        .unwrap();
                    let body = deterministic_bytes(number * 331);
                    assert_complete(
                        transaction,
                        None,
                        (number > 0).then(|| hex_sha256(&body)).as_deref(),
                    );
                    number
                })
                .collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..200).collect::<Vec<_>>());
        }
    }
}

/// HTTP/2 bodies in both directions, large ones under flow control, and gzip (P-2h).
#[test]
fn http2_bodies_are_exact() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let upstream = PythonServer::http(folder.path());
    let (nginx, plain, tls) = http2_nginx(folder.path(), &certificates, upstream.port);
    let document = deterministic_bytes(3_000_000);
    let text = "a text that compresses well\n".repeat(3000);
    nginx.put("large", &document);
    nginx.put("zipped/text", text.as_bytes());
    let upload = folder.path().join("upload");
    std::fs::write(&upload, &document).unwrap();
    let agent = Agent::start(&Config {
        limits: "body: 4mb".to_owned(),
        ..Config::default()
    });
    let data = format!("@{}", upload.display());
    let answer = hex_sha256(hex_sha256(&document).as_bytes());
    let (large, zipped) = (hex_sha256(&document), hex_sha256(text.as_bytes()));
    type Case<'a> = (String, Vec<&'a str>, u16, Option<&'a str>, Option<&'a str>);
    let cases: [Case<'_>; 4] = [
        (
            format!("http://h2.qtap.test:{plain}/large"),
            vec!["--http2-prior-knowledge"],
            plain,
            None,
            Some(&large),
        ),
        (
            format!("https://h2.qtap.test:{tls}/large"),
            vec!["--http2"],
            tls,
            None,
            Some(&large),
        ),
        (
            format!("https://h2.qtap.test:{tls}/zipped/text"),
            vec!["--http2", "--compressed"],
            tls,
            None,
            Some(&zipped),
        ),
        (
            format!("https://h2.qtap.test:{tls}/sink"),
            vec!["--http2", "--data-binary", &data],
            tls,
            Some(&large),
            Some(&answer),
        ),
    ];
    let mut pids = Vec::new();
    for (url, arguments, ..) in &cases {
        let (curl, _) = Curl::new(folder.path(), url)
            .authority(&certificates.authority)
            .args(arguments)
            .args(&["-o", "/dev/null"])
            .run();
        pids.push(curl.pid);
    }
    wait_for_both_ends(&agent, plain, 1);
    wait_for_both_ends(&agent, tls, 3);
    let events = agent.stop();
    for (pid, (url, _, port, request, response)) in pids.iter().zip(&cases) {
        let capture = single(&events, *pid);
        assert_healthy(
            &capture,
            if *port == tls {
                Transport::Tls
            } else {
                Transport::Plain
            },
        );
        assert_complete(&capture.transactions[0], *request, *response);
        assert_eq!(capture.transactions[0]["request"]["url"], *url);
    }
}
