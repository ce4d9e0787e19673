//! Java: its TLS is byte code in the JVM, which nothing reads from outside; that is said, with the reason.
//!
//! Required: "Java | recognised and reported as `java_tls_unsupported` with the reason".

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::{
    Agent, Certificates, Column, Config, Found, Program, PythonServer, Runtime, Side, Zoo, http_get, one,
    run_ok, scratch, until,
};
use serde_json::{Value, json};

/// Java's own key tool, which fetches revocation lists over HTTPS: a client without a compiler.
fn client(folder: &Path, certificates: &Certificates, url: &str) -> Command {
    let store = folder.join("authority.p12");
    run_ok(
        Command::new("keytool")
            .args([
                "-importcert",
                "-noprompt",
                "-alias",
                "authority",
                "-storetype",
                "PKCS12",
            ])
            .args(["-storepass", "changeit", "-keystore"])
            .arg(&store)
            .arg("-file")
            .arg(&certificates.authority),
    );
    let mut command = Command::new("keytool");
    command
        .args(["-printcrl", "-file", url])
        .arg(format!("-J-Djavax.net.ssl.trustStore={}", store.display()))
        .arg("-J-Djavax.net.ssl.trustStorePassword=changeit");
    command.env_remove("JAVA_TOOL_OPTIONS").stdin(Stdio::null());
    command
}

fn version() -> String {
    let said = run_ok(Command::new("java").arg("-version")).errors();
    said.split('"').nth(1).expect("a version in quotes").to_owned()
}

/// While it runs, in `qtap status`; after its end, in the report of its connection.
#[test]
fn java_is_reported_as_unread_with_the_reason() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let agent = Agent::start(&Config::default());
    let url = format!("https://localhost:{}/bytes/1000?delay=3", server.port);
    let java = Program::start(&mut client(folder.path(), &certificates, &url));
    let pid = java.pid();
    let mut found = Value::Null;
    until(Duration::from_secs(30), "Java in the status", || {
        let (_, body) = http_get(agent.status_server(), "/status").expect("an answer");
        let document: Value = serde_json::from_str(&body).expect("JSON");
        let processes = document["processes"].as_array().expect("a list");
        let own = processes.iter().find(|process| process["pid"] == pid);
        found = own.cloned().unwrap_or_default();
        found["reasons"][0]["code"] == "java_tls_unsupported"
    });
    assert!(
        found["reasons"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("byte code"),
        "{found:#}"
    );
    assert!(
        !found["reasons"][0]["remedy"].as_str().unwrap().is_empty(),
        "{found:#}"
    );
    let _ = java.finish(Duration::from_secs(30));
    agent.wait_for_connections(&[pid], 1);
    let captures = agent.stop().of_pid(pid);
    let capture = one(&captures);
    let connection = &capture.connection;
    let runtime = Runtime {
        name: "Java `keytool`".to_owned(),
        version: version(),
        library: "JSSE".to_owned(),
        build: "Debian, OpenJDK".to_owned(),
        side: Side::Client,
    };
    let mut zoo = Zoo::open("java");
    zoo.check(&runtime, Column::Http1, || {
        assert_eq!(capture.status(), "blind", "{connection:#}");
        assert_eq!(capture.reasons()[0], "java_tls_unsupported", "{connection:#}");
        assert_eq!(
            connection["meta"]["tlsProbeTypesDetected"],
            json!(["javassl"]),
            "{connection:#}"
        );
        Found::Told("blind, `java_tls_unsupported`".to_owned())
    });
    zoo.finish();
}
