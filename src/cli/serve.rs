//! `gatepost serve`: runs both protocols and the HTTP endpoint.

use super::Exit;
use super::complain;
use std::path::Path;
use std::process::ExitCode;

pub fn run(_config: Option<&Path>) -> ExitCode {
    complain("not built yet");
    Exit::CouldNotRun.into()
}
