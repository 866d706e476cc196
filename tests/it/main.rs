//! gatepost between its real peers: a private Postfix, a sink as the next hop,
//! SMTP clients of ours and of others. One binary, so that it links once.
//!
//! Each test starts an instance of its own on free ports below a temporary
//! folder; nothing of the system's Postfix is read or touched. Postfix must be
//! installed and the tests must run as root (its master drops privileges).

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test or bench that can't go on says so and ends"
)]

mod alerts;
mod archive_bombs;
mod archives;
mod control;
mod dns;
mod faults;
mod header_checks;
mod http_limits;
mod miltertest;
mod policies;
mod postfix_actions;
mod postfix_content;
mod postfix_dns;
mod postfix_dnsbl;
mod postfix_early;
mod postfix_events;
mod postfix_examples;
mod postfix_hostile;
mod postfix_joined;
mod postfix_levels;
mod postfix_limits;
mod postfix_listed;
mod postfix_local;
mod postfix_login;
mod postfix_memory;
mod postfix_message;
mod postfix_names;
mod postfix_one_sided;
mod postfix_parts;
mod postfix_proxy;
mod postfix_reload;
mod postfix_replies;
mod postfix_restrictions;
mod postfix_sessions;
mod postfix_signatures;
mod postfix_states;
mod postfix_tls;
mod rig;
mod rig_itself;
mod spf_suite;
mod startup;
mod state;
mod wire_delegation;
mod wire_joined;
