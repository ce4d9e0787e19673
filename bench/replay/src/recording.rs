//! Kernel events in a file: JSON lines, compressed with zstd. Bytes are base64, times count from the first event, connections are
//! numbered from 1.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use qtap_capture::{
    Closed, ConnectionId, Data, Direction, Event, KernelTime, Layer, Loss, Opened, Pid, Role, TlsSecret,
};
use qtap_tls::Label;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// How hard zstd works: a recording is written once.
const EFFORT: i32 = 19;

/// A process that took part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) pid: u32,
    pub(crate) exe: String,
}

/// What was recorded, in the order in which the engine is to see it.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    pub(crate) programs: Vec<Program>,
    pub(crate) events: Vec<Event>,
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Program(Program),
    Opened {
        id: u64,
        ns: u64,
        pid: u32,
        tid: u32,
        fd: i32,
        server: bool,
        local: SocketAddr,
        remote: SocketAddr,
    },
    Data {
        id: u64,
        ns: u64,
        pid: u32,
        tid: u32,
        egress: bool,
        position: u64,
        bytes: String,
        missing: u32,
        call_start: bool,
        other_settled: u64,
    },
    Closed {
        id: u64,
        ns: u64,
        written: u64,
        read: u64,
        sent: u64,
        received: u64,
        reset: bool,
    },
    Secret {
        id: Option<u64>,
        ns: u64,
        pid: u32,
        tid: u32,
        label: String,
        secret: String,
        client_random: Option<String>,
    },
}

impl Recording {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let attempt = || format!("cannot read {}", path.display());
        let file = File::open(path).with_context(attempt)?;
        let mut recording = Self::default();
        for line in BufReader::new(zstd::Decoder::new(file).with_context(attempt)?).lines() {
            match serde_json::from_str(&line.with_context(attempt)?).with_context(attempt)? {
                Line::Program(program) => recording.programs.push(program),
                line => recording.events.push(event(line).with_context(attempt)?),
            }
        }
        Ok(recording)
    }

    /// Writes a file.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let attempt = || format!("cannot write {}", path.display());
        let file = BufWriter::new(File::create(path).with_context(attempt)?);
        let mut out = zstd::Encoder::new(file, EFFORT).with_context(attempt)?;
        let programs = self.programs.iter().cloned().map(Line::Program);
        for line in programs.chain(self.events.iter().filter_map(line)) {
            serde_json::to_writer(&mut out, &line).with_context(attempt)?;
            out.write_all(b"\n").with_context(attempt)?;
        }
        out.finish()
            .and_then(|mut file| file.flush())
            .with_context(attempt)
    }
}

/// `None` for what the engine does not take.
fn line(event: &Event) -> Option<Line> {
    Some(match event {
        Event::Opened(opened) => Line::Opened {
            id: opened.id.0,
            ns: opened.time.0,
            pid: opened.pid.0,
            tid: opened.tid,
            fd: opened.fd,
            server: opened.role == Role::Server,
            local: opened.local,
            remote: opened.remote,
        },
        Event::Data(data) => Line::Data {
            id: data.id.0,
            ns: data.time.0,
            pid: data.pid.0,
            tid: data.tid,
            egress: data.direction == Direction::Egress,
            position: data.position,
            bytes: BASE64.encode(&data.bytes),
            missing: data.missing.map_or(0, |(bytes, _)| bytes),
            call_start: data.call_start,
            other_settled: data.other_settled,
        },
        Event::Closed(closed) => Line::Closed {
            id: closed.id.0,
            ns: closed.time.0,
            written: closed.written,
            read: closed.read,
            sent: closed.kernel_sent,
            received: closed.kernel_received,
            reset: closed.reset,
        },
        Event::Secret(secret) => Line::Secret {
            id: secret.connection.map(|id| id.0),
            ns: secret.time.0,
            pid: secret.pid.0,
            tid: secret.tid,
            label: secret.label.to_owned(),
            secret: BASE64.encode(&*secret.secret),
            client_random: secret.client_random.map(|random| BASE64.encode(random)),
        },
        _ => return None,
    })
}

fn event(line: Line) -> anyhow::Result<Event> {
    Ok(match line {
        Line::Program(_) => anyhow::bail!("a program is no event"),
        Line::Opened {
            id,
            ns,
            pid,
            tid,
            fd,
            server,
            local,
            remote,
        } => Event::Opened(Opened {
            id: ConnectionId(id),
            time: KernelTime(ns),
            pid: Pid(pid),
            tid,
            fd,
            role: if server { Role::Server } else { Role::Client },
            local,
            remote,
            ipv6_socket: local.is_ipv6(),
            cookie: 0,
            midstream: false,
            shed: false,
            netns: 0,
        }),
        Line::Data {
            id,
            ns,
            pid,
            tid,
            egress,
            position,
            bytes,
            missing,
            call_start,
            other_settled,
        } => Event::Data(Data {
            id: ConnectionId(id),
            time: KernelTime(ns),
            pid: Pid(pid),
            tid,
            direction: if egress {
                Direction::Egress
            } else {
                Direction::Ingress
            },
            layer: Layer::Socket,
            position,
            bytes: Bytes::from(BASE64.decode(bytes)?),
            missing: (missing > 0).then_some((missing, Loss::Unreadable)),
            call_start,
            other_settled,
            session: None,
        }),
        Line::Closed {
            id,
            ns,
            written,
            read,
            sent,
            received,
            reset,
        } => Event::Closed(Closed {
            id: ConnectionId(id),
            time: KernelTime(ns),
            written,
            read,
            calls_written: 0,
            calls_read: 0,
            kernel_sent: sent,
            kernel_received: received,
            unread: 0,
            lost_ring_full: 0,
            reset,
            io_uring: false,
        }),
        Line::Secret {
            id,
            ns,
            pid,
            tid,
            label,
            secret,
            client_random,
        } => Event::Secret(TlsSecret {
            time: KernelTime(ns),
            pid: Pid(pid),
            tid,
            connection: id.map(ConnectionId),
            label: Label::from_name(&label)
                .with_context(|| format!("a secret is called {label}"))?
                .name(),
            secret: Zeroizing::new(BASE64.decode(secret)?),
            client_random: client_random
                .map(|random| BASE64.decode(random))
                .transpose()?
                .map(|random| random.try_into())
                .transpose()
                .map_err(|_| anyhow::anyhow!("a client random does not have 32 bytes"))?,
            origin: None,
        }),
    })
}
