//! gatepost: one program beside Postfix that decides on every recipient (policy
//! delegation) and on every message (milter), with one rule language over both.
//!
//! The modules in the order in which data flows through them; each knows only
//! those below the line that it needs, never one to its left.

pub mod auth;
pub mod checks;
pub mod cli;
pub mod config;
pub mod content;
pub mod decision;
pub mod desk;
pub mod dns;
pub mod engine;
pub mod facts;
pub mod geoip;
pub mod journal;
pub mod listen;
pub mod lists;
pub mod lookup;
pub mod message;
pub mod metrics;
pub mod names;
pub mod near;
pub mod policy;
pub mod quantity;
pub mod reply;
pub mod reputation;
pub mod secret;
pub mod state;
pub mod values;
pub mod verdict;
pub mod wire;
pub mod yaml;
