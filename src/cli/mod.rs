//! The command line: one file a command. Data goes to stdout, errors to stderr;
//! plain text, wherever it goes.

mod check;
mod control;
mod explain;
mod greylist;
mod keep;
mod limits;
mod listed;
mod lists;
mod serve;
mod zones;

use crate::config::Config;
use crate::dns::Settings;
use clap::CommandFactory as _;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;
use std::ffi::OsString;
use std::io;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// A policy server and milter beside Postfix: one rule language over both.
#[derive(Debug, Parser)]
#[command(name = "gatepost", version, term_width = 100, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answers Postfix: policy delegation, milter, and an HTTP endpoint for metrics.
    Serve {
        /// Without one: ./policy.d, state in memory, ports 12040 to 12042 on the loopback.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Reads the configuration and the rules, tells every mistake, and runs the rules' own tests.
    ///
    /// Offline: nothing is asked of the network and nothing is bound.
    Check {
        /// A folder of rule files, or one rule file; else the configuration's `policy_dir`.
        dir: Option<PathBuf>,
        /// The daemon's file; else its defaults.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Also prints each rule with its stage, what it belongs to and what it does.
        #[arg(long)]
        rules: bool,
    },
    /// Says which rules would apply to one policy request, and why.
    ///
    /// The request is read from stdin as Postfix sends it: `name=value` lines up to an empty one.
    /// Facts that no request carries may be given likewise, such as `listener=submission`.
    /// Nothing is charged, and limits are asked as if nothing had been sent before.
    #[command(verbatim_doc_comment)]
    Explain {
        /// The daemon's file; else its defaults.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// A message, to go on to the rules of the stage `message`.
        #[arg(long, value_name = "EML")]
        message: Option<PathBuf>,
        /// What the DNS says, as text: `NAME TYPE DATA` a line, or `NAME SERVFAIL`; else it is asked.
        #[arg(long, value_name = "FILE")]
        zone: Option<PathBuf>,
        /// How it is told.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Lets greylisted mail pass the running daemon.
    ///
    /// The daemon is found by `control:` of its file. Exit code 1: no rule greylists.
    #[command(verbatim_doc_comment)]
    Greylist {
        #[command(subcommand)]
        greylist: greylist::Greylist,
        /// The daemon's file.
        #[arg(long, value_name = "FILE", global = true)]
        config: Option<PathBuf>,
    },
    /// Shows and sets back what the running daemon has counted for limits.
    ///
    /// The daemon is found by `control:` of its file. Exit code 1: nothing is counted under
    /// this key.
    #[command(verbatim_doc_comment)]
    Limits {
        #[command(subcommand)]
        limits: limits::Limits,
        /// The daemon's file.
        #[arg(long, value_name = "FILE", global = true)]
        config: Option<PathBuf>,
    },
    /// Shows and changes what the running daemon has listed for a time.
    ///
    /// Rules list with the action `list` and ask with the check `listed`. The daemon is
    /// found by `control:` of its file. Exit code 1: there was nothing to take off.
    #[command(verbatim_doc_comment)]
    Listed {
        #[command(subcommand)]
        listed: listed::Listed,
        /// The daemon's file.
        #[arg(long, value_name = "FILE", global = true)]
        config: Option<PathBuf>,
    },
    /// Shows which entries of lists are of use to the running daemon.
    ///
    /// Counted is each time that a rule applied whose `when`, or whose file's, had found
    /// an entry, with `state.dir` beyond restarts; not of lists of more than 1,000
    /// entries. The daemon is found by `control:` of its file.
    #[command(verbatim_doc_comment)]
    Lists {
        #[command(subcommand)]
        lists: lists::Lists,
        /// The daemon's file.
        #[arg(long, value_name = "FILE", global = true)]
        config: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    Json,
    Text,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Exit {
    Fine = 0,
    Mistakes = 1,
    Usage = 2,
    CouldNotRun = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Runs the command that the arguments (the program's name first) ask for.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            complain(error.to_string().trim_end());
            return Exit::Usage.into();
        }
        // `--help` and `--version` are told as errors too.
        Err(error) => {
            say(error.to_string().trim_end());
            return Exit::Fine.into();
        }
    };
    match arguments.command {
        Command::Serve { config } => serve::run(config.as_deref()),
        Command::Check { dir, config, rules } => check::run(dir.as_deref(), config.as_deref(), rules).into(),
        Command::Explain { config, message, zone, format } => {
            explain::run(config.as_deref(), message.as_deref(), zone.as_deref(), format).into()
        }
        Command::Greylist { greylist, config } => greylist::run(greylist, config.as_deref()).into(),
        Command::Limits { limits, config } => limits::run(limits, config.as_deref()).into(),
        Command::Listed { listed, config } => listed::run(listed, config.as_deref()).into(),
        Command::Lists { lists, config } => lists::run(lists, config.as_deref()).into(),
    }
}

/// The reference page of the command line.
pub fn reference() -> String {
    let mut command = Arguments::command();
    command.build();
    let mut page = String::from(
        "# Command line\n\nWritten by `UPDATE=1 cargo test --test tidy`.\n\n\
         Data goes to stdout, errors to stderr. Exit codes: 0 fine, 1 found mistakes, 2 wrong usage,\n\
         3 could not run.\n",
    );
    for sub in command.get_subcommands_mut() {
        let name = sub.get_name().to_owned();
        let help = sub.render_long_help().to_string();
        let lines: Vec<_> = help.lines().map(str::trim_end).collect();
        page += &format!("\n## `gatepost {name}`\n\n```\n{}\n```\n", lines.join("\n").trim_end());
    }
    page
}

/// A line for whoever reads on; one that has gone away (`| head`) is no mistake.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Who is asked about names; the system's servers are looked up each time.
fn nameservers(config: &Config) -> Settings {
    Settings::new(config.dns.nameservers.clone(), config.dns.timeout)
}

/// Runs what needs the store's timers, or asks the DNS. The store is in memory: it does
/// not wait.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T, io::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(future))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_is_in_the_reference() {
        let page = reference();
        for name in ["serve", "check", "explain", "greylist", "limits", "listed", "lists"] {
            assert!(page.contains(&format!("Usage: gatepost {name}")), "{page}");
        }
    }
}
