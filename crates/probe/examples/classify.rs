//! Prints what TLS code ELF files have: `cargo run -p qtap-probe --example classify -- FILE…`

use std::fs::File;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for path in std::env::args_os().skip(1) {
        let start = Instant::now();
        match File::open(&path)
            .map_err(Into::into)
            .and_then(|file| qtap_probe::classify(&file))
        {
            Ok(classification) => {
                println!("{} {:.1?}\n{classification:#x?}", path.display(), start.elapsed())
            }
            Err(error) => {
                println!("{}: {error}", path.display());
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
