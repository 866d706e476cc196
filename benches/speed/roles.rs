//! What a child process does: serve, or ask and print what it measured.

use crate::count;
use crate::dns;
use crate::keys;
use crate::milter;
use crate::milter::Agreed;
use crate::noop;
use crate::policy;
use crate::requests::Requests;
use crate::requests::mix;
use crate::snapshot;
use crate::socket::Address;
use crate::table;
use std::future::Future;
use std::io;
use std::io::Write as _;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;
use tokio::runtime::Builder;

pub fn run(words: &[String]) -> io::Result<()> {
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    let number = |at: usize| word(at).parse::<usize>().map_err(io::Error::other);
    if word(0) == "decide" {
        let others = on_threads(1, count::decide(number(1)? as u64))?;
        return writeln!(io::stdout(), "{others}");
    }
    if word(0) == "dns" {
        let [hot, any, entries, bytes, bound] = on_threads(1, dns::measure(number(1)?))?;
        return writeln!(io::stdout(), "{hot} {any} {entries} {bytes} {bound}");
    }
    if word(0) == "table" {
        let [hot, refused, any, bytes] = on_threads(1, table::measure(number(1)? as u64, number(2)?))?;
        return writeln!(io::stdout(), "{hot} {refused} {any} {bytes}");
    }
    if word(0) == "snapshot" {
        let [without, with, longest, seconds, bytes, loading] = snapshot::measure(number(1)?)?;
        return writeln!(io::stdout(), "{without} {with} {longest} {seconds} {bytes} {loading}");
    }
    let address = Address::parse(word(1))?;
    match word(0) {
        "echo" => on_threads(number(2)?, async move { policy::echo(&address).await }),
        "noop" => {
            let agreed = words.get(3..).and_then(Agreed::from_words);
            let agreed = agreed.ok_or_else(|| io::Error::other("expected what was agreed on"))?;
            on_threads(number(2)?, async move { noop::serve(&address, agreed).await })
        }
        "ask" => {
            let (connections, window) = (number(2)?, millis(number(3)?));
            let (users, seed) = (number(4)? as u32, seed());
            let requests = |task: u32| match users {
                0 => Requests::new(seed.wrapping_add(task)),
                users => Requests::of_users(seed.wrapping_add(task), users),
            };
            print(on_threads(1, async move { policy::load(&address, connections, window, requests).await })?)
        }
        "hold" => {
            let keys = number(2)? as u32;
            on_threads(1, async move { keys::serve(&address, keys).await })
        }
        "mail" => {
            let (connections, per_session, window) = (number(2)?, number(3)?, millis(number(4)?));
            print(on_threads(
                1,
                async move { milter::load(&address, connections, per_session, window).await },
            )?)
        }
        "idle" => {
            let (connections, pause) = (number(2)?, millis(number(3)?));
            let opened = || writeln!(io::stdout(), "opened").unwrap_or_default();
            let answered =
                on_threads(1, async move { policy::idle(&address, connections, pause, opened).await })?;
            // The parent has looked at the server in between.
            writeln!(io::stdout(), "{answered}")
        }
        other => Err(io::Error::other(format!("no role `{other}`"))),
    }
}

/// The runtime with one thread is tokio's own for that, not a pool of one.
pub fn on_threads<T>(threads: usize, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let mut builder = if threads == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build()?.block_on(work)
}

fn print((count, others, time): (u64, u64, Duration)) -> io::Result<()> {
    writeln!(io::stdout(), "{count} {others} {}", time.as_nanos())
}

fn millis(count: usize) -> Duration {
    Duration::from_millis(count as u64)
}

/// Another one for each process.
fn seed() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    mix(now.as_nanos() as u64) as u32
}
