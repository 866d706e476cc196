//! Sockets.

pub mod http;
