//! `qtap doctor`: can this host capture at all, and what is missing?

use std::io::Write;
use std::process::ExitCode;

use qtap_capture::{Capture, Group, HostFacts, LEAST_KERNEL, MappingEvents, Options};
use serde::Serialize;

use crate::privileges::{Confinement, Role};

/// One thing looked at.
#[derive(Debug, Serialize)]
struct Finding {
    name: String,
    ok: bool,
    /// A host without it is sound.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    optional: bool,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    fn new(name: impl Into<String>, ok: bool, found: impl Into<String>, remedy: &str) -> Self {
        Self {
            name: name.into(),
            ok,
            optional: false,
            found: found.into(),
            remedy: (!ok).then(|| remedy.to_owned()),
        }
    }
}

/// Looks, and prints. Exit code 0: everything works; 1: with limits, or not at all.
///
/// # Errors
/// When the result cannot be printed.
pub(crate) fn run(json: bool, keep_privileges: bool) -> anyhow::Result<ExitCode> {
    let findings = examine(keep_privileges);
    match print(&findings, json) {
        // The reader has seen enough, as in `qtap doctor | head`.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(if all_well(&findings) {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(1)
        }),
    }
}

fn all_well(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.ok || finding.optional)
}

fn print(findings: &[Finding], json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let can_capture = findings
        .iter()
        .any(|finding| finding.name == "hooks: sockets" && finding.ok);
    let all_well = all_well(findings);
    let verdict = match (can_capture, all_well) {
        (_, true) => "this host can capture",
        (true, false) => "this host can capture, with limits",
        (false, false) => "this host cannot capture",
    };
    if json {
        let document = serde_json::json!({ "verdict": verdict, "ok": all_well, "canCapture": can_capture, "findings": findings });
        writeln!(out, "{document:#}")?;
    } else {
        for finding in findings {
            writeln!(
                out,
                "{} {:<22} {}",
                match (finding.ok, finding.optional) {
                    (true, _) => "✓",
                    (false, true) => "-",
                    (false, false) => "✗",
                },
                finding.name,
                finding.found
            )?;
            if let Some(remedy) = &finding.remedy {
                writeln!(out, "    what to do: {remedy}")?;
            }
        }
        writeln!(out, "verdict: {verdict}")?;
    }
    Ok(())
}

fn examine(keep_privileges: bool) -> Vec<Finding> {
    let facts = HostFacts::gather();
    let kernel = facts
        .kernel
        .map_or_else(|| "unknown".to_owned(), |version| version.to_string());
    let mut findings = vec![
        Finding::new(
            "kernel",
            facts.kernel.is_some_and(|version| version >= LEAST_KERNEL),
            kernel,
            &format!("qtap needs Linux {LEAST_KERNEL} or newer"),
        ),
        Finding::new(
            "kernel types (BTF)",
            facts.btf,
            if facts.btf {
                "/sys/kernel/btf/vmlinux"
            } else {
                "not there"
            },
            "use a kernel built with CONFIG_DEBUG_INFO_BTF, as those of Debian 11, Ubuntu 20.10, RHEL 8.2 and newer are",
        ),
        Finding::new(
            "privileges",
            facts.missing_capabilities.is_empty(),
            if facts.missing_capabilities.is_empty() {
                "sufficient".to_owned()
            } else {
                format!("missing {}", facts.missing_capabilities.join(", "))
            },
            "run qtap as root, or in a privileged container",
        ),
        Finding::new(
            "kernel lockdown",
            facts.lockdown.as_deref() != Some("confidentiality"),
            facts.lockdown.clone().unwrap_or_else(|| "none".to_owned()),
            "lockdown in confidentiality mode forbids eBPF to read memory: boot without it",
        ),
        Finding::new(
            "process ids",
            facts.host_pid_namespace,
            if facts.host_pid_namespace {
                "the host's"
            } else {
                "a namespace of their own"
            },
            "run the agent in the host's pid namespace (docker: --pid=host)",
        ),
    ];
    // As the agent does it, so that what follows is what the agent can do.
    let mapping_events = MappingEvents::open();
    let confinement = Confinement::begin(Role::Doctor, keep_privileges);
    findings.extend(hooks(mapping_events));
    findings.push(tls_libraries());
    let confinement = confinement.finish();
    findings.push(Finding::new(
        "privileges given up",
        confinement.is_complete(),
        confinement.to_string(),
        "the agent works, with more privileges than it needs",
    ));
    findings
}

/// Loads and attaches everything for a moment.
fn hooks(mapping_events: MappingEvents) -> Vec<Finding> {
    let options = Options {
        data_ring: 64 << 10,
        control_ring: 64 << 10,
        max_connections: 1024,
        ..Options::default()
    };
    match Capture::load_with(&options, mapping_events) {
        Ok(mut capture) => {
            let sees_transfers = capture.sees_transfers();
            let reports = capture.attach().into_iter();
            reports.map(|report| {
                let ok = report.problem.is_none();
                let found = report.problem.unwrap_or_else(|| {
                    let how = match report.group {
                        Group::Sockets if sees_transfers => ", at the transfers of sockets",
                        Group::Sockets => ", at the exit of every system call",
                        _ => "",
                    };
                    format!("load and attach{how}")
                });
                let remedy = if report.group.is_optional() {
                    "nothing, unless programs use io_uring: docs/kernels.md says what each kernel shows of it"
                } else {
                    "the kernel refuses this group; the others work without it"
                };
                Finding {
                    optional: report.group.is_optional(),
                    ..Finding::new(format!("hooks: {}", report.group), ok, found, remedy)
                }
            })
            .collect()
        }
        Err(error) => {
            let mut found = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                found = format!("{found}: {cause}");
                source = cause.source();
            }
            vec![Finding::new(
                "hooks: sockets",
                false,
                found,
                "see the lines above; without this group nothing can be captured",
            )]
        }
    }
}

/// The TLS libraries that every program of this host finds first.
fn tls_libraries() -> Finding {
    let readable = |path: &std::path::PathBuf| {
        let file = std::fs::File::open(path).ok()?;
        let found = qtap_probe::classify(&file).ok()?;
        (!found.secrets.is_empty() || !found.fallback.is_empty() || !found.calls.is_empty())
            .then(|| path.display().to_string())
    };
    match qtap_probe::tls_libraries() {
        Ok(paths) => {
            let names: Vec<String> = paths.iter().filter_map(readable).collect();
            let found = if names.is_empty() {
                "none installed".to_owned()
            } else {
                names.join(", ")
            };
            // A host without TLS libraries captures plain traffic and static programs.
            Finding::new("TLS libraries", true, found, "")
        }
        Err(error) => Finding::new("TLS libraries", false, error.to_string(), "run ldconfig"),
    }
}
