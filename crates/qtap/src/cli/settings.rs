//! What was written, resolved: each value checked, from its flag, else its variable, else its default.
//!
//! A variable that is set but empty counts as not set.

use std::ffi::OsStr;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;
use qtap_config::{SizeError, nearest, parse_size};
use thiserror::Error;

use super::args::Args;
use super::probes::{TlsProbes, UnknownProbe};
use super::trace::{TraceError, TraceQuery};
use crate::logging::{Encoding, LogLevel, LogSettings};

const DEFAULT_DATA_DIR: &str = "/tmp/qpoint";
const DEFAULT_CACHE_DIR: &str = "/var/cache/qtap";
/// Loopback: what the server tells is not for the network.
const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 10001);

/// The agent's settings.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where the configuration comes from.
    pub(crate) config: ConfigSource,
    /// Folder for state.
    pub(crate) data_dir: PathBuf,
    /// Folder for what scans found.
    pub(crate) cache_dir: PathBuf,
    /// Tags of everything captured.
    pub(crate) tags: Vec<Tag>,
    /// The agent's own log.
    pub(crate) log: LogSettings,
    /// `--bpf-trace`.
    pub(crate) trace: TraceQuery,
    /// `--tls-probes`.
    pub(crate) tls_probes: TlsProbes,
    /// Bytes kept of each body; overrides `tap.limits.body`.
    pub(crate) http_buffer_bytes: Option<u64>,
    /// Address of the HTTP server.
    pub(crate) listen: SocketAddr,
    /// `--keylog`.
    pub(crate) key_log: Option<PathBuf>,
    /// `--keep-privileges`.
    pub(crate) keep_privileges: bool,
    /// `--drop-data-records`, for tests.
    pub(crate) drop_per_million: Option<u32>,
    /// What was accepted but does not do what it says; to be logged at start.
    pub(crate) warnings: Vec<String>,
}

/// Where the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConfigSource {
    /// Nothing was given.
    BuiltIn,
    /// `--config`. An address is refused when it is loaded.
    File(PathBuf),
}

/// `key:value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) key: String,
    pub(crate) value: String,
}

/// The flag or variable a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag(&'static str),
    Variable(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// Why the settings cannot be used.
#[derive(Debug, Error)]
pub(crate) enum SettingError {
    #[error("{origin}: {source}")]
    Size { origin: Origin, source: SizeError },
    #[error("{origin}: unknown {what} `{found}`{}; known: {known}", .nearest.map(|name| format!(", did you mean `{name}`?")).unwrap_or_default())]
    UnknownName {
        origin: Origin,
        what: &'static str,
        found: String,
        nearest: Option<&'static str>,
        known: String,
    },
    #[error("{origin}: true or false is expected, found `{found}`")]
    Boolean { origin: Origin, found: String },
    #[error("{origin}: `{found}` is not an address such as 127.0.0.1:10001")]
    Address { origin: Origin, found: String },
    #[error("{origin}: {source}")]
    Trace { origin: Origin, source: TraceError },
    #[error("{origin}: {source}")]
    Probe { origin: Origin, source: UnknownProbe },
    #[error("{origin} is not available yet")]
    NotAvailable { origin: Origin },
}

/// A value as written.
struct Given<'a> {
    text: &'a str,
    origin: Origin,
}

/// One flag: its id in the parser, its name and its variable.
struct Flag {
    id: &'static str,
    name: &'static str,
    variable: &'static str,
}

const fn flag(id: &'static str, name: &'static str, variable: &'static str) -> Flag {
    Flag { id, name, variable }
}

struct Resolver<'a> {
    matches: &'a ArgMatches,
    warnings: Vec<String>,
}

impl Settings {
    /// Resolves what the parser found.
    pub(crate) fn resolve(args: &Args, matches: &ArgMatches) -> Result<Self, SettingError> {
        let mut resolver = Resolver {
            matches,
            warnings: Vec::new(),
        };
        resolver.refuse_what_is_not_there_yet(args)?;
        let capture = &args.capture;
        let tags = resolver.tags(capture.tags.as_deref());
        let trace = resolver.trace(capture.bpf_trace.as_deref())?;
        let tls_probes = resolver.probes(capture.tls_probes.as_deref())?;
        let http_buffer_bytes = resolver.size(capture.http_buffer_size.as_deref())?;
        let listen = resolver.listen(capture.httpd_listen.as_deref(), capture.status_listen.as_deref())?;
        let keep_privileges = resolver.boolean(
            &flag("keep_privileges", "keep-privileges", "KEEP_PRIVILEGES"),
            capture.keep_privileges.as_deref(),
        )?;
        let log = resolver.log(args)?;
        let path = |value: &Option<std::ffi::OsString>| {
            value
                .as_deref()
                .filter(|value: &&OsStr| !value.is_empty())
                .map(PathBuf::from)
        };
        Ok(Self {
            config: path(&capture.config).map_or(ConfigSource::BuiltIn, ConfigSource::File),
            data_dir: path(&capture.data_dir).unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR)),
            cache_dir: path(&capture.cache_dir).unwrap_or_else(|| PathBuf::from(DEFAULT_CACHE_DIR)),
            tags,
            log,
            trace,
            tls_probes,
            http_buffer_bytes,
            listen,
            key_log: capture.keylog.as_ref().map(PathBuf::from),
            keep_privileges,
            drop_per_million: capture.drop_data_records,
            warnings: resolver.warnings,
        })
    }
}

impl Resolver<'_> {
    /// A value and where it came from; `None` if absent or an empty variable.
    fn given<'v>(&self, flag: &Flag, value: Option<&'v str>) -> Option<Given<'v>> {
        let text = value?;
        match self.matches.value_source(flag.id) {
            Some(ValueSource::CommandLine) => Some(Given {
                text,
                origin: Origin::Flag(flag.name),
            }),
            _ if text.trim().is_empty() => None,
            _ => Some(Given {
                text,
                origin: Origin::Variable(flag.variable),
            }),
        }
    }

    /// `true`, `1`, `false`, `0`; anything else is an error on the line and ignored, with a warning, in a variable.
    fn boolean(&mut self, flag: &Flag, value: Option<&str>) -> Result<bool, SettingError> {
        let Some(given) = self.given(flag, value) else {
            return Ok(false);
        };
        match (given.text, given.origin) {
            ("true" | "1", _) => Ok(true),
            ("false" | "0", _) => Ok(false),
            (found, Origin::Variable(name)) => {
                self.warnings.push(format!(
                    "{name} is ignored: `{}` is not true or false",
                    shown(found)
                ));
                Ok(false)
            }
            (found, origin) => Err(SettingError::Boolean {
                origin,
                found: shown(found),
            }),
        }
    }

    /// Flags are refused. Variables may be set for other programs, or by an image: they are warned about.
    fn refuse_what_is_not_there_yet(&mut self, args: &Args) -> Result<(), SettingError> {
        let not_yet = &args.not_yet;
        let paths = [
            (
                flag(
                    "docker_socket_endpoint",
                    "docker-socket-endpoint",
                    "DOCKER_SOCKET",
                ),
                &not_yet.docker_socket_endpoint,
            ),
            (
                flag(
                    "containerd_socket_endpoint",
                    "containerd-socket-endpoint",
                    "CONTAINERD_SOCKET",
                ),
                &not_yet.containerd_socket_endpoint,
            ),
            (
                flag(
                    "cri_runtime_socket_endpoint",
                    "cri-runtime-socket-endpoint",
                    "CRI_RUNTIME_SOCKET",
                ),
                &not_yet.cri_runtime_socket_endpoint,
            ),
            (
                flag("registration_token", "registration-token", "REGISTRATION_TOKEN"),
                &not_yet.registration_token,
            ),
        ];
        for (flag, value) in paths {
            if let Some(given) = self.given(&flag, value.as_deref()) {
                self.not_yet(given.origin)?;
            }
        }
        let switches = [
            (
                flag("enable_dev_tools", "enable-dev-tools", "ENABLE_DEV_TOOLS"),
                &not_yet.enable_dev_tools,
            ),
            (
                flag(
                    "enable_egress_controller",
                    "enable-egress-controller",
                    "ENABLE_EGRESS_CONTROLLER",
                ),
                &not_yet.enable_egress_controller,
            ),
        ];
        for (flag, value) in switches {
            if self.boolean(&flag, value.as_deref())?
                && let Some(given) = self.given(&flag, value.as_deref())
            {
                self.not_yet(given.origin)?;
            }
        }
        if not_yet.audit_log_buffer_size.is_some() {
            self.warnings
                .push("--audit-log-buffer-size is deprecated and changes nothing".to_owned());
        }
        Ok(())
    }

    fn not_yet(&mut self, origin: Origin) -> Result<(), SettingError> {
        if let Origin::Flag(_) = origin {
            return Err(SettingError::NotAvailable { origin });
        }
        self.warnings
            .push(format!("{origin} is ignored: this is not available yet"));
        Ok(())
    }

    /// A tag that is not `key:value` does not stop the start.
    fn tags(&mut self, value: Option<&str>) -> Vec<Tag> {
        let Some(given) = self.given(&flag("tags", "tags", "QPOINT_DEPLOYMENT_TAGS"), value) else {
            return Vec::new();
        };
        let mut tags = Vec::new();
        for item in given
            .text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
        {
            match item
                .split_once(':')
                .map(|(key, value)| (key.trim(), value.trim()))
            {
                Some((key, value)) if !key.is_empty() && !value.is_empty() => {
                    tags.push(Tag {
                        key: key.to_owned(),
                        value: value.to_owned(),
                    });
                }
                _ => self
                    .warnings
                    .push(format!("{}: `{}` is not key:value", given.origin, shown(item))),
            }
        }
        tags
    }

    fn trace(&self, value: Option<&str>) -> Result<TraceQuery, SettingError> {
        match self.given(&flag("bpf_trace", "bpf-trace", "BPF_TRACE"), value) {
            None => Ok(TraceQuery::default()),
            Some(Given { text, origin }) => {
                TraceQuery::parse(text).map_err(|source| SettingError::Trace { origin, source })
            }
        }
    }

    fn probes(&mut self, value: Option<&str>) -> Result<TlsProbes, SettingError> {
        let Some(Given { text, origin }) = self.given(&flag("tls_probes", "tls-probes", "TLS_PROBES"), value)
        else {
            return Ok(TlsProbes::all());
        };
        let (probes, not_yet) =
            TlsProbes::parse(text).map_err(|source| SettingError::Probe { origin, source })?;
        if !not_yet.is_empty() {
            self.warnings
                .push(format!("{origin}: not available yet: {}", not_yet.join(", ")));
        }
        Ok(probes)
    }

    fn size(&self, value: Option<&str>) -> Result<Option<u64>, SettingError> {
        match self.given(
            &flag("http_buffer_size", "http-buffer-size", "HTTP_BUFFER_SIZE"),
            value,
        ) {
            None => Ok(None),
            Some(Given { text, origin }) => parse_size(text)
                .map(Some)
                .map_err(|source| SettingError::Size { origin, source }),
        }
    }

    /// Flags before variables, and in each the current name before the former one.
    fn listen(&mut self, httpd: Option<&str>, status: Option<&str>) -> Result<SocketAddr, SettingError> {
        let httpd = self.given(&flag("httpd_listen", "httpd-listen", "HTTPD_LISTEN"), httpd);
        let status = self.given(&flag("status_listen", "status-listen", "STATUS_LISTEN"), status);
        if let Some(status) = &status {
            self.warnings.push(format!(
                "{} is deprecated: use --httpd-listen or HTTPD_LISTEN",
                status.origin
            ));
        }
        let is_flag = |given: &Given<'_>| matches!(given.origin, Origin::Flag(_));
        let (flags, variables): (Vec<_>, Vec<_>) = [httpd, status].into_iter().flatten().partition(is_flag);
        match flags.into_iter().chain(variables).next() {
            None => Ok(DEFAULT_LISTEN),
            Some(Given { text, origin }) => address(text).ok_or_else(|| SettingError::Address {
                origin,
                found: shown(text),
            }),
        }
    }

    fn log(&mut self, args: &Args) -> Result<LogSettings, SettingError> {
        let level = match self.given(
            &flag("log_level", "log-level", "LOG_LEVEL"),
            args.log.log_level.as_deref(),
        ) {
            None => LogLevel::Info,
            Some(given) => named("log level", given, &LogLevel::NAMES)?,
        };
        let encoding = flag("log_encoding", "log-encoding", "LOG_ENCODING");
        let encoding = match self.given(&encoding, args.log.log_encoding.as_deref()) {
            None => None,
            Some(given) => Some(named("log encoding", given, &Encoding::NAMES)?),
        };
        let caller = self.boolean(
            &flag("log_caller", "log-caller", "LOG_CALLER"),
            args.log.log_caller.as_deref(),
        )?;
        Ok(LogSettings {
            level,
            encoding,
            caller,
        })
    }
}

/// One of a few names, in any case.
fn named<T: Copy>(
    what: &'static str,
    given: Given<'_>,
    names: &[(&'static str, T)],
) -> Result<T, SettingError> {
    let found = given.text.trim().to_ascii_lowercase();
    let known = names.iter().find(|(name, _)| *name == found);
    known
        .map(|(_, value)| *value)
        .ok_or_else(|| SettingError::UnknownName {
            origin: given.origin,
            what,
            nearest: nearest(&found, names.iter().map(|(name, _)| *name)),
            found: shown(&found),
            known: names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
        })
}

/// `host:port`; without a host, all addresses of this host.
fn address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let text = if text.starts_with(':') {
        format!("0.0.0.0{text}")
    } else {
        text.to_owned()
    };
    // A name that cannot be resolved is as little an address as a text without a port.
    text.to_socket_addrs().ok()?.next()
}

fn shown(text: &str) -> String {
    text.escape_debug().take(100).collect()
}
