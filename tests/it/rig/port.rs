//! Free TCP ports. A port given out by the kernel for port 0 is ephemeral: some
//! outgoing connection may take it before our server does. So we try ports
//! below that range, each given out once by this process.

use std::net::TcpListener;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering;

const FIRST: u16 = 13_000;
/// Linux gives out ephemeral ports from 32768 on.
const LAST: u16 = 32_000;

static TRIED: AtomicU16 = AtomicU16::new(0);

/// A port of 127.0.0.1 on which nobody listens now.
pub(crate) fn free() -> u16 {
    // Two test processes at once begin at different places.
    let start = (std::process::id() % u32::from(LAST - FIRST)) as u16;
    for _ in FIRST..LAST {
        let step = TRIED.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + ((u32::from(start) + u32::from(step)) % u32::from(LAST - FIRST)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} to {LAST}");
}
