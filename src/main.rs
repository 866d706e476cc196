//! Arguments to exit code.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let config = arguments.iter().position(|a| a == "--config").and_then(|at| arguments.get(at + 1));
    gatepost::cli::serve::run(config.map(Path::new))
}
