//! Arguments to exit code.

use std::process::ExitCode;

/// A request makes dozens of short-lived texts.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gatepost::cli::main(std::env::args_os())
}
