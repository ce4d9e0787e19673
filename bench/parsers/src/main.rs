//! Feeds each parser the bytes of a realistic exchange, on one core, and a public parser of the same protocol the same bytes in the same
//! run. What the two do and do not do is in docs/performance.md.
#![forbid(unsafe_code)]

mod cases;
mod exchange;
mod measure;

use clap::Parser;

// As the agent: parsers allocate.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about)]
struct Arguments {
    /// Protocols, such as http1 [default: all]
    protocols: Vec<String>,
    /// Processor time of each parser in each round, seconds
    #[arg(long, default_value_t = 0.3)]
    seconds: f64,
    /// Rounds, in which the two alternate; medians are told
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Run one of the two alone, for a profiler
    #[arg(long, value_enum)]
    only: Option<measure::Which>,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut cases = cases::all()?;
    if !arguments.protocols.is_empty() {
        for wanted in &arguments.protocols {
            let known = cases.iter().any(|case| case.name == wanted);
            anyhow::ensure!(known, "there is no {wanted}");
        }
        cases.retain(|case| arguments.protocols.iter().any(|wanted| case.name == wanted));
    }
    for case in &mut cases {
        let figures = measure::measure(case, arguments.rounds, arguments.seconds, arguments.only)?;
        if arguments.json {
            println!("{}", serde_json::to_string(&figures)?);
        } else {
            println!("{figures}");
        }
    }
    Ok(())
}
