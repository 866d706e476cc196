//! Names through the library: whether one is that of an access line.

use crate::areas::Bench;
use crate::compare::median;
use crate::report::Target;
use crate::requests::mix;
use gatepost::names::generic::DYNAMIC_FROM;
use gatepost::names::generic::points;
use std::hint::black_box;
use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::time::Instant;

/// Different ones in a round.
const NAMES: u64 = 10_000;
const TARGET: Target = Target::AtMost(1.0);

pub fn names(bench: &mut Bench) -> io::Result<()> {
    let long = format!("{}.pool.dsl.isp.example", ["ab12cd34"; 25].join("-"));
    for (what, name) in [
        ("of an access line", line as fn(&[u8; 4]) -> String),
        ("of a mail server", server),
        ("as long as they get", |_| String::new()),
    ] {
        let named = |number| {
            let ip = Ipv4Addr::from_bits((mix(number) >> 32) as u32);
            let name = name(&ip.octets());
            (if name.is_empty() { long.clone() } else { name }, Some(IpAddr::from(ip)))
        };
        let names: Vec<_> = (0..NAMES).map(named).collect();
        let mut times = Vec::new();
        let mut lines = 0;
        for _ in 0..bench.scale.rounds {
            let start = Instant::now();
            let is_line = |(name, ip): &&(String, Option<IpAddr>)| {
                black_box(points(name, *ip, &mut |_, _| {})) >= DYNAMIC_FROM
            };
            lines = names.iter().filter(is_line).count();
            times.push(start.elapsed().as_secs_f64() * 1e6 / NAMES as f64);
        }
        let target = if what.starts_with("of") { TARGET } else { Target::None };
        bench.report.value(&format!("names: {what}"), median(&times), " µs", target);
        bench.report.note(&format!("{lines} of {NAMES} are taken for an access line's"));
    }
    Ok(())
}

fn line([a, b, c, d]: &[u8; 4]) -> String {
    format!("host-{d}-{c}-{b}-{a}.dsl.dyn.isp.example")
}

fn server([a, b, ..]: &[u8; 4]) -> String {
    format!("mailout-{a}-{b}.outbound.mail-provider.example")
}
