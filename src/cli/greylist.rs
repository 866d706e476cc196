//! `gatepost greylist`: lets greylisted mail pass the running daemon.

use super::Exit;
use super::control::tell;
use crate::wire::control::Request;
use clap::Subcommand;
use std::path::Path;

#[derive(Debug, Subcommand)]
pub(super) enum Greylist {
    /// Has all mail of a pool waited for every rule: what tries again within four hours passes.
    Pass {
        /// An address, which stands for its /24 or /64, or a domain, as the log has it.
        pool: String,
    },
}

pub(super) fn run(greylist: Greylist, config: Option<&Path>) -> Exit {
    let Greylist::Pass { pool } = greylist;
    tell(&Request::GreylistPass { pool }, config, Some("no rule greylists"), |_| None)
}
