//! The TLS of a recording alone: ciphertext and secrets in, plaintext out, nothing done with it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use qtap_capture::{ConnectionId, Data, Direction, Event, Layer, Role, TlsSecret, thread_cpu_time};
use qtap_tls::{Label, Limits, Secret, Session, Side, Time};
use serde::Serialize;

use crate::recording::Recording;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// A recording with TLS
    file: PathBuf,
    /// How long it is decrypted, again and again
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

/// What came out of one pass or of many.
#[derive(Default)]
struct Sum {
    plaintext: u64,
    ciphertext: u64,
    gaps: u64,
}

#[derive(Serialize)]
struct Figures {
    /// Plaintext, in 10^9 bytes a second of processor time.
    gb_per_second: f64,
    plaintext_bytes: u64,
    ciphertext_bytes: u64,
    cpu_seconds: f64,
}

/// Decrypts until the time is over; prints one JSON line. Fails when a byte does not come out.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let recording = Recording::read(&options.file)?;
    let time = Duration::from_secs_f64(options.seconds);
    let mut sum = Sum::default();
    let began = thread_cpu_time();
    let mut spent = Duration::ZERO;
    while spent < time {
        pass(&recording, &mut sum)?;
        spent = thread_cpu_time().saturating_sub(began);
    }
    anyhow::ensure!(sum.plaintext > 0, "the recording has no TLS that can be read");
    anyhow::ensure!(sum.gaps == 0, "{} bytes of plaintext are missing", sum.gaps);
    let figures = Figures {
        gb_per_second: sum.plaintext as f64 / spent.as_secs_f64() / 1e9,
        plaintext_bytes: sum.plaintext,
        ciphertext_bytes: sum.ciphertext,
        cpu_seconds: spent.as_secs_f64(),
    };
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

/// All connections of the recording, once.
fn pass(recording: &Recording, sum: &mut Sum) -> anyhow::Result<()> {
    let mut sessions: HashMap<ConnectionId, (Role, Session)> = HashMap::new();
    let mut out = Vec::new();
    for event in &recording.events {
        match event {
            Event::Opened(opened) => {
                let session = Session::new(Limits::default(), false);
                sessions.insert(opened.id, (opened.role, session));
            }
            Event::Data(data) if data.layer == Layer::Socket => {
                let Some((role, session)) = sessions.get_mut(&data.id) else {
                    continue;
                };
                let side = sender(*role, data);
                sum.ciphertext += data.bytes.len() as u64;
                session.bytes(side, data.bytes.clone(), Time(data.time.0), &mut out);
            }
            Event::Secret(event) => {
                let of = event.connection.and_then(|id| sessions.get_mut(&id));
                if let Some((_, session)) = of {
                    session.offer(&secret(event)?, &mut out);
                }
            }
            Event::Closed(closed) => {
                if let Some((_, mut session)) = sessions.remove(&closed.id) {
                    session.close(Time(closed.time.0), &mut out);
                }
            }
            _ => {}
        }
        for event in out.drain(..) {
            match event {
                qtap_tls::Event::Plaintext { data, .. } => sum.plaintext += data.len() as u64,
                qtap_tls::Event::Gap { length, .. } => sum.gaps += length,
                qtap_tls::Event::Unreadable(reason, _) => anyhow::bail!("cannot be read: {reason:?}"),
                _ => {}
            }
        }
    }
    Ok(())
}

fn sender(role: Role, data: &Data) -> Side {
    match (role, data.direction) {
        (Role::Client, Direction::Egress) | (Role::Server, Direction::Ingress) => Side::Client,
        (Role::Client, Direction::Ingress) | (Role::Server, Direction::Egress) => Side::Server,
    }
}

fn secret(event: &TlsSecret) -> anyhow::Result<Secret> {
    Ok(Secret {
        label: Label::from_name(event.label)
            .with_context(|| format!("a secret is called {}", event.label))?,
        bytes: event.secret.clone(),
        client_random: event.client_random,
        time: Time(event.time.0),
        origin: None,
    })
}
