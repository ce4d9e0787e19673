//! Records kernel events of real traffic, and plays them through engine, plugins and store: what a transaction costs the agent
//! once its events have left the kernel's ring.
#![forbid(unsafe_code)]

mod agent;
mod decrypt;
mod record;
mod recording;
mod run;
mod score;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

// As the agent: what is measured allocates.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Record the connections of one server (as root); they have to begin and end meanwhile
    Record {
        /// Port of the server
        #[arg(long)]
        port: u16,
        /// TLS library whose secrets are recorded too
        #[arg(long)]
        library: Option<PathBuf>,
        /// How long
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
        /// Where to
        file: PathBuf,
    },
    /// Play recordings
    Run(run::Options),
    /// Decrypt a recording, and nothing more
    Decrypt(decrypt::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Record {
            port,
            library,
            seconds,
            file,
        } => {
            record::record(port, library.as_ref(), Duration::from_secs_f64(seconds))?.write(&file)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run(options) => run::run(&options),
        Command::Decrypt(options) => decrypt::run(&options).map(|()| ExitCode::SUCCESS),
    }
}
