//! Every flag, as written on the line: nothing is interpreted here (`surface.md` §1.2).

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Shows the traffic of every process on this host in plaintext, TLS included, and says whether it saw all of it.
///
/// Without a sub-command, captures until SIGINT or SIGTERM. SIGHUP reloads the configuration, as does a change of the
/// file.
#[derive(Debug, Parser)]
#[command(
    name = "qtap",
    version,
    propagate_version = true,
    disable_help_subcommand = false
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten, next_help_heading = "Capture")]
    pub(crate) capture: CaptureArgs,
    #[command(flatten, next_help_heading = "Agent's own log")]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) not_yet: NotYetArgs,
}

/// What is captured and where it can be asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct CaptureArgs {
    /// Configuration file; without one, everything this host sends and receives goes to the access log.
    #[arg(long, global = true, env = "QPOINT_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<OsString>,

    /// Folder for state [default: /tmp/qpoint].
    #[arg(long, global = true, env = "DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<OsString>,

    /// Folder for what scans of programs found, so that large ones are scanned once [default: /var/cache/qtap].
    #[arg(long, global = true, env = "CACHE_DIR", value_name = "DIR")]
    pub(crate) cache_dir: Option<OsString>,

    /// Tags put on everything captured, as key:value, separated by commas.
    #[arg(long, global = true, env = "QPOINT_DEPLOYMENT_TAGS", value_name = "TAGS")]
    pub(crate) tags: Option<String>,

    /// TLS libraries to look into, separated by commas, or `none` [default: all that are available].
    #[arg(long, global = true, env = "TLS_PROBES", value_name = "LIBRARIES")]
    pub(crate) tls_probes: Option<String>,

    /// Bytes kept of each body, such as 2mb, at most 2gb; overrides `tap.limits.body`.
    #[arg(long, global = true, env = "HTTP_BUFFER_SIZE", value_name = "SIZE")]
    pub(crate) http_buffer_size: Option<String>,

    /// Address of the HTTP server for health and metrics [default: 127.0.0.1:10001].
    #[arg(long, global = true, env = "HTTPD_LISTEN", value_name = "HOST:PORT")]
    pub(crate) httpd_listen: Option<String>,

    /// Former name of --httpd-listen, which wins over it.
    #[arg(
        long,
        global = true,
        env = "STATUS_LISTEN",
        value_name = "HOST:PORT",
        hide = true
    )]
    pub(crate) status_listen: Option<String>,

    /// Writes the secrets of captured TLS connections to this file, for Wireshark: whoever reads it can decrypt them.
    ///
    /// Lines of the NSS key log format are appended. The file is made with mode 0600; one that others may read, a link, or
    /// what is no regular file is refused. There is no variable for it, so that no environment turns it on.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) keylog: Option<OsString>,

    /// For emergencies: neither drops capabilities nor filters system calls.
    #[arg(
        long,
        global = true,
        env = "KEEP_PRIVILEGES",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) keep_privileges: Option<String>,

    /// Prints the decisions of the kernel side: key:value items separated by commas.
    ///
    /// Keys: mod (ca, debug, gnutls, gotls, javassl, nodetls, openssl, process, protocol, redirector, rustls, socket), exe (a
    /// path, or * for all), exe.contains, exe.startsWith, exe.endsWith, exe.regex, pid, container. Modules add up; a
    /// process is traced if one of the other items matches it, or if there is none. A comma in a value is written `\,`.
    /// Example: mod:socket,exe.endsWith:/curl
    #[arg(long, global = true, env = "BPF_TRACE", value_name = "QUERY")]
    pub(crate) bpf_trace: Option<String>,

    /// For tests only: so many of a million records of payload are lost in the kernel, at random, as when the ring is full.
    ///
    /// There is no variable for it, so that no environment turns it on.
    #[arg(long, global = true, value_name = "PER_MILLION", hide = true, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) drop_data_records: Option<u32>,
}

/// The agent's own log, on standard error.
#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// Least level shown: trace, debug, info, warn, error [default: info].
    #[arg(long, global = true, env = "LOG_LEVEL", value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,

    /// console or json [default: console on a terminal, else json].
    #[arg(long, global = true, env = "LOG_ENCODING", value_name = "ENCODING")]
    pub(crate) log_encoding: Option<String>,

    /// Adds file and line of the agent's source.
    #[arg(
        long,
        global = true,
        env = "LOG_CALLER",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) log_caller: Option<String>,
}

/// Flags of existing deployments for parts that are not there yet: known, so that they are refused by name.
#[derive(Debug, clap::Args)]
pub(crate) struct NotYetArgs {
    #[arg(long, global = true, env = "DOCKER_SOCKET", value_name = "PATH", hide = true)]
    pub(crate) docker_socket_endpoint: Option<String>,
    #[arg(
        long,
        global = true,
        env = "CONTAINERD_SOCKET",
        value_name = "PATH",
        hide = true
    )]
    pub(crate) containerd_socket_endpoint: Option<String>,
    #[arg(
        long,
        global = true,
        env = "CRI_RUNTIME_SOCKET",
        value_name = "PATH",
        hide = true
    )]
    pub(crate) cri_runtime_socket_endpoint: Option<String>,
    #[arg(
        long,
        global = true,
        env = "ENABLE_DEV_TOOLS",
        hide = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) enable_dev_tools: Option<String>,
    #[arg(
        long,
        global = true,
        env = "ENABLE_EGRESS_CONTROLLER",
        hide = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) enable_egress_controller: Option<String>,
    #[arg(
        long,
        global = true,
        env = "REGISTRATION_TOKEN",
        hide = true,
        hide_env_values = true
    )]
    pub(crate) registration_token: Option<String>,
    #[arg(long, global = true, hide = true)]
    pub(crate) audit_log_buffer_size: Option<String>,
}

/// What to do instead of capturing until a signal.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Captures until a signal, as without a sub-command.
    #[command(hide = true)]
    Tap,

    /// Holds programs for an agent at the other end of standard input.
    #[command(hide = true)]
    HoldPrograms {
        /// Its pid.
        #[arg(long)]
        agent: u32,

        /// Longest that a program waits.
        #[arg(long, value_parser = duration)]
        limit: Duration,
    },

    /// Checks a configuration file and shows every problem in its place.
    Validate {
        /// The file; `-` is standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },

    /// Makes the running agent load its configuration again, and says what came of it.
    ReloadConfig {
        /// The agent to tell, if there are several.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
        pid: Option<u32>,
    },

    /// Asks the running agent how each process is read: TLS code, state, reason, remedy, and the share of bytes that was read.
    ///
    /// Exit code: 0 everything that passes is read, 1 of some process it is not or not all, 2 no agent answers.
    Status {
        /// Prints the report as JSON.
        #[arg(long)]
        json: bool,

        /// Lists processes too that have TLS code and no connection so far.
        #[arg(long)]
        all: bool,

        /// Only this process.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
        pid: Option<u32>,

        /// The agent to ask, if there are several.
        #[arg(
            long,
            value_name = "PID",
            value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX))
        )]
        agent: Option<u32>,
    },

    /// Runs a command under capture and says of each of its connections whether the capture was healthy.
    ///
    /// Exit code: 0 all healthy, 1 one is degraded or blind, 2 could not run.
    Check {
        /// Prints the result as JSON.
        #[arg(long)]
        json: bool,

        /// Stops after this long, such as 30s.
        #[arg(long, value_name = "TIME", value_parser = duration)]
        timeout: Option<Duration>,

        /// Looks at a running process instead.
        #[arg(
            long,
            conflicts_with = "command",
            value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX))
        )]
        pid: Option<u32>,

        /// The command and its arguments, after `--`.
        #[arg(last = true, required_unless_present = "pid", value_name = "COMMAND")]
        command: Vec<OsString>,
    },

    /// Says whether this host can capture at all, and what is missing.
    ///
    /// Exit code: 0 it can, 1 with limits or not at all, 2 could not run.
    Doctor {
        /// Prints the result as JSON.
        #[arg(long)]
        json: bool,
    },

    /// Prints the manual page.
    Man {
        /// Page of a sub-command.
        #[arg(value_name = "SUBCOMMAND")]
        command: Option<String>,
    },

    /// Prints the completions of a shell.
    #[command(alias = "completion")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// A number with the unit ms, s or m; seconds without one.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let end = text
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number
        .parse()
        .map_err(|_| "a time is a number with the unit ms, s or m".to_owned())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err("the unit of a time is ms, s or m".to_owned()),
    }
}
