//! Checks a configuration file: `cargo run -p qtap-config --example check FILE`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: check FILE");
        return ExitCode::FAILURE;
    };
    match qtap_config::load_file(Path::new(&path)) {
        Ok((config, warnings)) => {
            println!("{config:#?}");
            if !warnings.is_empty() {
                eprintln!("{warnings}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
