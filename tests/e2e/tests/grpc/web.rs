//! gRPC-Web.

use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qtap_e2e::{
    Certificates, Nginx, Program, Transport, assert_healthy, free_port, programs, run_ok, scratch, until,
    wheels_python,
};
use serde_json::{Value, json};

use crate::expect::{assert_messages, of_method, shown};
use crate::programs::{START, agent};

/// gRPC-Web in its binary and its text form over HTTP/1.1, and over HTTP/2 and TLS behind nginx: the status is in the body.
#[test]
fn grpc_web_is_read_over_either_http() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let python = |mode: &str| {
        let mut command = Command::new(wheels_python());
        command
            .arg(programs().join("grpc/web.py"))
            .arg(mode)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    };
    let mut server = Program::start(python("server").stdin(Stdio::piped()));
    let line = server.line(START);
    let facts: Value = serde_json::from_str(line.strip_prefix("ready ").unwrap()).unwrap();
    let port = u16::try_from(facts["port"].as_u64().unwrap()).unwrap();
    let front = free_port();
    let proxy = format!(
        "server {{ listen 127.0.0.1:{front} ssl http2; ssl_certificate {}; ssl_certificate_key {}; \
         location / {{ proxy_pass http://127.0.0.1:{port}; proxy_http_version 1.1; }} }}",
        certificates.certificate.display(),
        certificates.key.display(),
    );
    let _nginx = Nginx::start(folder.path(), &proxy, &[front]);
    let agent = agent();
    let binary = run_ok(python("client").arg(format!("http://127.0.0.1:{port}")));
    let text = run_ok(python("text").args(["127.0.0.1", &port.to_string()]));
    let request = folder.path().join("request");
    std::fs::write(&request, b"\0\0\0\0\x03abc").unwrap();
    let curl = run_ok(
        Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--fail",
                "--http2",
                "--noproxy",
                "*",
                "--cacert",
            ])
            .arg(&certificates.authority)
            .args([
                "-H",
                "Content-Type: application/grpc-web+proto",
                "-H",
                "Accept: application/grpc-web+proto",
            ])
            .arg("--data-binary")
            .arg(format!("@{}", request.display()))
            .arg(format!("https://localhost:{front}/e2e.Web/Unary")),
    );
    assert!(
        curl.stdout.starts_with(b"\0\0\0\0\x03abc\x80"),
        "{:?}",
        curl.stdout
    );
    let runs = [(&binary, 3), (&text, 1), (&curl, 1)];
    until(Duration::from_secs(20), "every call", || {
        let events = agent.events();
        runs.iter().all(|(client, calls)| {
            let captures = events.of_pid(client.pid);
            captures
                .iter()
                .map(|capture| capture.requests.len())
                .sum::<usize>()
                == *calls
        })
    });
    let events = agent.stop();
    for (client, web, protocol) in [(&binary, "binary", "http1"), (&text, "text", "http1")] {
        let captures = events.of_pid(client.pid);
        for capture in &captures {
            assert_eq!(capture.connection["l7Protocol"], protocol);
        }
        for seen in client.json().as_array().unwrap() {
            let method = seen["method"].as_str().unwrap();
            let (event, artifact) = of_method(&captures, method);
            let what = format!("{method}, {web}: {event:#}");
            assert_eq!(
                (&event["grpc_web"], &event["grpcService"]),
                (&json!(web), &json!("e2e.Web")),
                "{what}"
            );
            assert_eq!(event["grpcStatus"], seen["status"].to_string(), "{what}");
            assert_eq!(
                (&event["grpcMessage"], &event["http_status"]),
                (&seen["message"], &json!(200)),
                "{what}"
            );
            let told = &event["messages"];
            let list = |key: &str| seen[key].as_array().unwrap().clone();
            assert_messages(
                method,
                &told["request"],
                &shown(&artifact["request"]),
                &list("sent"),
                &what,
            );
            assert_messages(
                method,
                &told["response"],
                &shown(&artifact["response"]),
                &list("received"),
                &what,
            );
        }
    }
    let captures = events.of_pid(curl.pid);
    let (event, artifact) = of_method(&captures, "Unary");
    assert_eq!(
        (&event["grpc_web"], &event["grpcStatusName"]),
        (&json!("binary"), &json!("OK"))
    );
    assert_eq!(artifact["request"]["protocol"], "http2");
    assert_eq!(
        artifact["response"]["messages"],
        json!([{"size": 3, "data": STANDARD.encode("abc")}])
    );
    assert_eq!(captures[0].connection["l7Protocol"], "http2");
    assert_healthy(&captures[0], Transport::Tls);
}
