use std::process::Command as Child;

use super::trace::TraceModule;
use super::*;
use crate::logging::{Encoding, LogLevel};

fn words(line: &str) -> Vec<OsString> {
    std::iter::once("qtap")
        .chain(line.split_whitespace())
        .map(OsString::from)
        .collect()
}

fn parsed(line: &str) -> Invocation {
    try_parse(&words(line)).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn refused(line: &str) -> String {
    match try_parse(&words(line)) {
        Ok(invocation) => panic!("{line}: accepted as {invocation:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_definitions_are_consistent() {
    Args::command().debug_assert();
}

#[test]
fn without_flags_the_defaults_hold() {
    let Invocation { action, settings } = parsed("");
    assert_eq!(action, Action::Run);
    assert_eq!(settings.config, ConfigSource::BuiltIn);
    assert_eq!(settings.data_dir, PathBuf::from("/tmp/qpoint"));
    assert_eq!(settings.listen.to_string(), "127.0.0.1:10001");
    assert_eq!(
        (settings.log.level, settings.log.encoding, settings.log.caller),
        (LogLevel::Info, None, false)
    );
    assert_eq!(
        (settings.http_buffer_bytes, settings.tls_probes),
        (None, TlsProbes::all())
    );
    assert!(settings.trace.is_empty() && settings.tags.is_empty() && settings.warnings.is_empty());
}

#[test]
fn every_flag_reaches_its_setting() {
    let settings = parsed(
        "--config q.yaml --data-dir /d --tags env:prod,team:a:b --log-level trace --log-encoding json --log-caller \
         --bpf-trace mod:socket --tls-probes gnutls --http-buffer-size 1.5mb --httpd-listen 127.0.0.1:1",
    )
    .settings;
    assert_eq!(settings.config, ConfigSource::File(PathBuf::from("q.yaml")));
    assert_eq!(settings.data_dir, PathBuf::from("/d"));
    assert_eq!(settings.cache_dir, PathBuf::from("/var/cache/qtap"));
    let tags: Vec<(&str, &str)> = settings
        .tags
        .iter()
        .map(|tag| (tag.key.as_str(), tag.value.as_str()))
        .collect();
    assert_eq!(tags, [("env", "prod"), ("team", "a:b")]);
    assert_eq!(settings.log.level, LogLevel::Trace);
    assert_eq!(
        (settings.log.encoding, settings.log.caller),
        (Some(Encoding::Json), true)
    );
    assert!(settings.trace.includes(TraceModule::Socket));
    assert!(
        settings.tls_probes.includes(TlsProbe::GnuTls) && !settings.tls_probes.includes(TlsProbe::OpenSsl)
    );
    assert_eq!(settings.http_buffer_bytes, Some(1_572_864));
    assert_eq!(settings.listen.to_string(), "127.0.0.1:1");
}

#[test]
fn sub_commands_and_their_arguments() {
    let command = |program: &str, arguments: &[&str]| CheckTarget::Command {
        program: program.into(),
        arguments: arguments.iter().map(OsString::from).collect(),
    };
    let check = |target, json, seconds: Option<u64>| {
        Action::Check(Check {
            target,
            json,
            timeout: seconds.map(Duration::from_secs),
        })
    };
    let status = |every, pid, agent| {
        Action::Status(Status {
            json: every,
            all: every,
            pid,
            agent,
        })
    };
    let cases = [
        ("tap", Action::Run),
        ("--config a tap", Action::Run),
        ("validate a.yaml", Action::Validate("a.yaml".into())),
        ("validate -", Action::Validate("-".into())),
        ("reload-config", Action::ReloadConfig { pid: None }),
        ("reload-config --pid 7", Action::ReloadConfig { pid: Some(7) }),
        (
            "check -- curl -s --json x",
            check(command("curl", &["-s", "--json", "x"]), false, None),
        ),
        (
            "check --json --timeout 2m -- true",
            check(command("true", &[]), true, Some(120)),
        ),
        (
            "check --pid 7 --timeout 5",
            check(CheckTarget::Pid(7), false, Some(5)),
        ),
        ("status", status(false, None, None)),
        (
            "status --json --all --pid 7 --agent 8",
            status(true, Some(7), Some(8)),
        ),
        ("doctor", Action::Doctor { json: false }),
        ("doctor --json", Action::Doctor { json: true }),
        ("man", Action::Man(None)),
        ("man check", Action::Man(Some("check".into()))),
        ("completions bash", Action::Completions(Shell::Bash)),
        ("completion zsh", Action::Completions(Shell::Zsh)),
    ];
    for (line, expected) in cases {
        assert_eq!(parsed(line).action, expected, "{line}");
    }
}

#[test]
fn flags_stand_before_or_after_the_sub_command() {
    for line in [
        "--config a check -- x",
        "check --config a -- x",
        "tap --config a",
        "--config a tap",
    ] {
        assert_eq!(
            parsed(line).settings.config,
            ConfigSource::File("a".into()),
            "{line}"
        );
    }
}

#[test]
fn what_is_wrong_is_named_with_what_is_allowed() {
    let cases = [
        (
            "--http-buffer-size 3gb",
            "--http-buffer-size: a size can be 2gb at most",
        ),
        (
            "--http-buffer-size 1kib",
            "--http-buffer-size: the unit of a size is b, kb, mb or gb",
        ),
        (
            "--log-level verbos",
            "--log-level: unknown log level `verbos`; known: trace, debug, info",
        ),
        ("--log-level debgu", "did you mean `debug`?"),
        (
            "--log-encoding xml",
            "--log-encoding: unknown log encoding `xml`; known: console, json",
        ),
        (
            "--log-caller=maybe",
            "--log-caller: true or false is expected, found `maybe`",
        ),
        (
            "--httpd-listen 10001",
            "--httpd-listen: `10001` is not an address such as 127.0.0.1:10001",
        ),
        (
            "--status-listen a:b:c",
            "--status-listen: `a:b:c` is not an address",
        ),
        (
            "--tls-probes openssk",
            "--tls-probes: unknown TLS library `openssk`, did you mean `openssl`?",
        ),
        (
            "--bpf-trace mod:sockt",
            "--bpf-trace: unknown trace module `sockt`, did you mean `socket`?",
        ),
        (
            "--docker-socket-endpoint /x",
            "--docker-socket-endpoint is not available yet",
        ),
        (
            "--containerd-socket-endpoint /x",
            "--containerd-socket-endpoint is not available yet",
        ),
        (
            "--cri-runtime-socket-endpoint /x",
            "--cri-runtime-socket-endpoint is not available yet",
        ),
        ("--enable-dev-tools", "--enable-dev-tools is not available yet"),
        (
            "--enable-egress-controller=1",
            "--enable-egress-controller is not available yet",
        ),
        (
            "--registration-token x",
            "--registration-token is not available yet",
        ),
        ("--confg x", "--config"),
        ("check", "<COMMAND>"),
        ("check --pid 7 -- x", "cannot be used with"),
        ("check --pid 0", "0 is not in 1..="),
        ("check --timeout 5h -- x", "the unit of a time is ms, s or m"),
        ("validate", "<FILE>"),
        ("completions tcsh", "tcsh"),
    ];
    for (line, expected) in cases {
        let message = refused(line);
        assert!(message.contains(expected), "{line}: {message}");
    }
}

#[test]
fn usage_errors_of_check_doctor_and_status_have_their_own_code() {
    let cases = [
        ("--nope", 1),
        ("validate", 1),
        ("check", 2),
        ("--log-level x check -- y", 2),
        ("doctor --nope", 2),
        ("status --nope", 2),
        ("validate -- check", 1),
    ];
    for (line, expected) in cases {
        assert_eq!(usage_code(&words(line)), expected, "{line}");
    }
}

#[test]
fn help_and_version_are_answers_not_errors() {
    for line in ["--help", "--version", "check --help", "help check"] {
        let error = try_parse(&words(line)).unwrap_err();
        assert!(!error.use_stderr(), "{line}");
    }
    let help = try_parse(&words("--help")).unwrap_err().to_string();
    for flag in [
        "--config",
        "QPOINT_CONFIG",
        "--tls-probes",
        "--bpf-trace",
        "HTTPD_LISTEN",
        "--log-caller",
    ] {
        assert!(help.contains(flag), "{flag} is not in\n{help}");
    }
    assert!(!help.contains("--status-listen") && !help.contains("--registration-token"));
}

#[test]
fn what_does_not_stop_the_start_is_warned_about() {
    let cases = [
        ("--tags a", "--tags: `a` is not key:value"),
        (
            "--tls-probes nodetls,openssl,gotls,javassl",
            "--tls-probes: not available yet: nodetls, javassl",
        ),
        ("--status-listen 127.0.0.1:2", "--status-listen is deprecated"),
        (
            "--audit-log-buffer-size 5",
            "--audit-log-buffer-size is deprecated",
        ),
    ];
    for (line, expected) in cases {
        let warnings = parsed(line).settings.warnings;
        assert!(
            warnings.len() == 1 && warnings[0].contains(expected),
            "{line}: {warnings:?}"
        );
    }
    assert!(
        parsed("--tags ,, --enable-dev-tools=false")
            .settings
            .warnings
            .is_empty()
    );
}

#[test]
fn no_probes_can_be_asked_for() {
    for line in ["--tls-probes none", "--tls-probes="] {
        assert!(parsed(line).settings.tls_probes.is_none(), "{line}");
    }
    let go = parsed("--tls-probes gotls").settings.tls_probes;
    assert!(go.includes(TlsProbe::Go) && !go.includes(TlsProbe::OpenSsl));
    let both = parsed("--tls-probes GnuTLS,OpenSSL,openssl").settings.tls_probes;
    assert!(both.includes(TlsProbe::OpenSsl) && both.includes(TlsProbe::GnuTls) && !both.is_none());
}

#[test]
fn addresses_without_a_host_are_all_addresses() {
    for (line, expected) in [
        ("--httpd-listen :80", "0.0.0.0:80"),
        ("--httpd-listen [::1]:80", "[::1]:80"),
        ("--status-listen 127.0.0.2:80", "127.0.0.2:80"),
        (
            "--status-listen 127.0.0.2:80 --httpd-listen 127.0.0.3:80",
            "127.0.0.3:80",
        ),
    ] {
        assert_eq!(parsed(line).settings.listen.to_string(), expected, "{line}");
    }
}

/// The environment belongs to a process, so these cases run in one of their own: this test binary again, at
/// [`in_a_child`] with the line to parse.
fn with_environment(variables: &[(&str, &str)], line: &str) -> String {
    let output = Child::new(std::env::current_exe().unwrap())
        .args(["--exact", "cli::tests::in_a_child", "--nocapture"])
        .env_clear()
        .env("QTAP_TEST_LINE", line)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let start = text.find("<<").unwrap_or_else(|| panic!("no result in {text}"));
    text[start + 2..text.rfind(">>").unwrap()].to_owned()
}

#[test]
fn in_a_child() {
    let Ok(line) = std::env::var("QTAP_TEST_LINE") else {
        return;
    };
    match try_parse(&words(&line)) {
        Ok(Invocation { settings, .. }) => println!(
            "<<config={:?} level={:?} caller={} listen={} body={:?} none={} warnings={:?}>>",
            settings.config,
            settings.log.level,
            settings.log.caller,
            settings.listen,
            settings.http_buffer_bytes,
            settings.tls_probes.is_none(),
            settings.warnings
        ),
        Err(error) => println!("<<error: {error}>>"),
    }
}

/// Variables, line, and a part of what is found.
type EnvironmentCase = (
    &'static [(&'static str, &'static str)],
    &'static str,
    &'static str,
);

#[test]
fn variables_are_defaults_of_flags() {
    let cases: [EnvironmentCase; 18] = [
        (&[("LOG_LEVEL", "DEBUG")], "", "level=Debug"),
        (&[("LOG_LEVEL", "debug")], "--log-level warn", "level=Warn"),
        (&[("LOG_LEVEL", "fatal")], "", "level=Error"),
        (&[("LOG_LEVEL", "")], "", "level=Info"),
        (
            &[("LOG_LEVEL", "loud")],
            "",
            "error: error: LOG_LEVEL: unknown log level `loud`",
        ),
        (&[("LOG_CALLER", "1")], "", "caller=true"),
        (&[("LOG_CALLER", "true")], "--log-caller=false", "caller=false"),
        // Anything but true, 1, false, 0 is ignored (surface.md §1.2).
        (&[("LOG_CALLER", "yes")], "", "caller=false"),
        (&[("LOG_CALLER", "yes")], "", "LOG_CALLER is ignored"),
        (
            &[("QPOINT_CONFIG", "/etc/q.yaml")],
            "",
            "config=File(\"/etc/q.yaml\")",
        ),
        (&[("QPOINT_CONFIG", "")], "", "config=BuiltIn"),
        (&[("HTTP_BUFFER_SIZE", "1kb")], "", "body=Some(1024)"),
        (&[("TLS_PROBES", "none")], "", "none=true"),
        (&[("TLS_PROBES", "")], "", "none=false"),
        (
            &[("DOCKER_SOCKET", "/x")],
            "",
            "DOCKER_SOCKET is ignored: this is not available yet",
        ),
        (
            &[("ENABLE_DEV_TOOLS", "true")],
            "",
            "ENABLE_DEV_TOOLS is ignored: this is not available yet",
        ),
        (
            &[("BPF_TRACE", "x")],
            "",
            "BPF_TRACE: trace item `x` is not key:value",
        ),
        (&[], "", "warnings=[]"),
    ];
    for (variables, line, expected) in cases {
        let found = with_environment(variables, line);
        assert!(found.contains(expected), "{variables:?} {line}: {found}");
    }
}

#[test]
fn the_status_address_has_a_precedence() {
    // surface.md §1.2: flag, HTTPD_LISTEN, STATUS_LISTEN, default.
    let cases: [EnvironmentCase; 4] = [
        (&[("STATUS_LISTEN", "127.0.0.1:3")], "", "listen=127.0.0.1:3"),
        (
            &[("STATUS_LISTEN", "127.0.0.1:3"), ("HTTPD_LISTEN", "127.0.0.1:2")],
            "",
            "listen=127.0.0.1:2",
        ),
        (
            &[("HTTPD_LISTEN", "127.0.0.1:2")],
            "--status-listen 127.0.0.1:4",
            "listen=127.0.0.1:4",
        ),
        (
            &[("HTTPD_LISTEN", "127.0.0.1:2")],
            "--httpd-listen 127.0.0.1:5",
            "listen=127.0.0.1:5",
        ),
    ];
    for (variables, line, expected) in cases {
        let found = with_environment(variables, line);
        assert!(found.contains(expected), "{variables:?} {line}: {found}");
    }
}

#[test]
fn manual_and_completions_come_from_the_definitions() {
    let mut command = Args::command();
    command.build();
    for sub in std::iter::once(&command).chain(command.get_subcommands()) {
        let mut page = Vec::new();
        clap_mangen::Man::new(sub.clone()).render(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.starts_with(".ie") && page.contains(".SH NAME"), "{page}");
    }
    for shell in [
        Shell::Bash,
        Shell::Zsh,
        Shell::Fish,
        Shell::Elvish,
        Shell::PowerShell,
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "qtap", &mut script);
        assert!(
            String::from_utf8(script).unwrap().contains("http-buffer-size"),
            "{shell}"
        );
    }
}
