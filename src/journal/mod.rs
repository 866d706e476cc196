//! The log: operational lines from `tracing`, and one line for each decision,
//! as text or JSON, on standard error.
//!
//! Lines hold what strangers sent; `escape` keeps each on one line and readable.
//! Writing never waits: a line goes into a bounded queue or is counted as lost.

mod escape;
mod output;

pub use escape::field;
pub use escape::push_quoted;
pub use escape::quote;

use crate::config::Log;
use crate::config::LogFormat;
use crate::config::LogLevel;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use output::Reader;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;
use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::Notify;
use tracing::Event;
use tracing::Metadata;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::field::Visit;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::NonBlocking;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::layer::Context;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::layer::SubscriberExt;

/// What readers of logs take whole; far above any decision without a flood in it.
pub const MAX_LINE_BYTES: usize = 8 * 1024;

/// Gathered lines of one thread are sent at the latest when they are so many bytes.
const MAX_GATHERED_BYTES: usize = 32 * 1024;

/// And after this time: soon enough for whoever reads along.
const GATHERED_FOR: Duration = Duration::from_millis(25);

#[derive(Debug, Default)]
struct Gathered {
    lines: String,
    /// Of the first of them, since 1970: a thread that is never idle sends once a second.
    second: i64,
    /// Told when there is a first line.
    begun: Arc<Notify>,
}

thread_local! {
    /// Lines of this thread that go out together; None where each goes at once.
    static GATHERED: RefCell<Option<Gathered>> = const { RefCell::new(None) };
}

/// Keys of every JSON line; a field of such a name gets a `_` before it.
const OURS: [&str; 4] = ["timestamp", "level", "target", "message"];

/// A handle to the log; clones are the same log.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

struct Shared {
    queue: NonBlocking,
    lost: Arc<AtomicU64>,
    style: Style,
    level: LogLevel,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// A second since 1970, and how it is written up to its fraction.
    second: Mutex<(i64, String)>,
}

/// How a line looks.
#[derive(Clone, Debug)]
enum Style {
    /// One object.
    Json,
    /// For a terminal: the local time of day, and colours unless NO_COLOR is set.
    Human { zone: TimeZone, colour: bool },
    /// Time, level, text.
    Plain,
    /// The level as sd-daemon(3) has it; the journal knows the time.
    Systemd,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("style", &self.shared.style).finish_non_exhaustive()
    }
}

/// Makes standard error the log of this process, of `tracing` and of panics (whose
/// usual way is a write that may block). Lines still queued are written, for at most
/// about a second, when the guard is dropped. Fails if there is a log already.
pub fn init(log: Log) -> Result<(Journal, WorkerGuard), String> {
    let (writer, reader) = output::standard_error();
    let style = match (log.format, reader) {
        (LogFormat::Json, _) => Style::Json,
        (LogFormat::Text, Reader::Journald) => Style::Systemd,
        (LogFormat::Text, Reader::Person) => {
            Style::Human { zone: TimeZone::system(), colour: std::env::var_os("NO_COLOR").is_none() }
        }
        (LogFormat::Text, Reader::Program) => Style::Plain,
    };
    let (journal, guard) = Journal::new(writer, style, log.level, Box::new(Timestamp::now));
    let subscriber = tracing_subscriber::registry().with(journal.clone());
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|error| format!("the log can't be set up: {error}"))?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("without a text");
        tracing::error!(place, text, "a bug: this program panicked");
    }));
    Ok((journal, guard))
}

impl Gathered {
    fn clear(&mut self) {
        self.lines.clear();
        // One that strangers made long need not be kept.
        self.lines.shrink_to(MAX_GATHERED_BYTES + MAX_LINE_BYTES);
    }
}

impl Journal {
    fn new(
        writer: impl std::io::Write + Send + 'static,
        style: Style,
        level: LogLevel,
        now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> (Self, WorkerGuard) {
        let (queue, guard, lost) = output::queue(writer);
        let second = Mutex::new((i64::MIN, String::new()));
        (Self { shared: Arc::new(Shared { queue, lost, style, level, now, second }) }, guard)
    }

    /// Whether decisions are written at all: they are `info`.
    pub fn takes_decisions(&self) -> bool {
        self.shared.level >= LogLevel::Info
    }

    /// One decision: what `text` appends (see [`field`]) or the record as JSON, whichever
    /// the log is made of; only that one is rendered. A record that is a map becomes part of
    /// the line's object, which has `timestamp`, `level` and `event` of its own.
    pub fn decision(&self, record: &impl Serialize, text: impl FnOnce(&mut String)) {
        if !self.takes_decisions() {
            return;
        }
        let now = (self.shared.now)();
        if !matches!(self.shared.style, Style::Json) {
            self.write_text(now, LogLevel::Info, text);
            return;
        }
        let head = format!("{{\"timestamp\":\"{now:.3}\",\"level\":\"info\",\"event\":\"decision\"");
        let line = match escape::to_json(record) {
            Ok(json) if json.starts_with('{') => match json.strip_prefix('{') {
                Some("}") | None => format!("{head}}}"),
                Some(rest) => format!("{head},{rest}"),
            },
            Ok(json) => format!("{head},\"decision\":{json}}}"),
            Err(error) => {
                let why = quoted_json(&format!("the decision can't be written: {error}"));
                format!("{head},\"message\":{why}}}")
            }
        };
        self.write_object(now, &head, line);
    }

    /// From now on the lines of this thread go out together, some milliseconds after the
    /// first of them: waking the thread that writes costs more than a line. To be run on
    /// the thread's own runtime for as long as it lives; before it ends,
    /// [`send_gathered`](Self::send_gathered) sends the rest.
    pub async fn gather(&self) -> Infallible {
        let begun = self.begin_gathering();
        loop {
            begun.notified().await;
            tokio::time::sleep(GATHERED_FOR).await;
            self.send_gathered();
        }
    }

    /// Lines of this thread stay until [`send_gathered`](Self::send_gathered), or until
    /// there are many. What is returned is told of the first.
    pub fn begin_gathering(&self) -> Arc<Notify> {
        let gathered = Gathered::default();
        let begun = Arc::clone(&gathered.begun);
        GATHERED.set(Some(gathered));
        begun
    }

    /// Sends what this thread has gathered.
    pub fn send_gathered(&self) {
        if let Some(mut gathered) = GATHERED.take() {
            self.send(&gathered.lines);
            gathered.clear();
            GATHERED.set(Some(gathered));
        }
    }

    /// Lines lost since the start, for the metrics.
    pub fn lines_dropped(&self) -> u64 {
        let full = self.shared.queue.error_counter().dropped_lines();
        self.shared.lost.load(Relaxed).saturating_add(full as u64)
    }

    fn operational(&self, level: LogLevel, target: &str, said: &Said) {
        self.say(level, target, said);
        // What is wrong must be read even if this thread never gets to wait.
        if level <= LogLevel::Warn {
            self.send_gathered();
        }
    }

    fn say(&self, level: LogLevel, target: &str, said: &Said) {
        let now = (self.shared.now)();
        if !matches!(self.shared.style, Style::Json) {
            let mut text = said.message.clone();
            for (key, value) in &said.fields {
                match value {
                    Value::String(value) => field(&mut text, key, value),
                    value => field(&mut text, key, &value.to_string()),
                }
            }
            self.write_text(now, level, |line| line.push_str(&text));
            return;
        }
        let head = format!("{{\"timestamp\":\"{now:.3}\",\"level\":\"{}\"", word(level));
        let mut line = head.clone();
        let mut pair = |key: &str, value: &Value| {
            // Values of `tracing` are never what JSON lacks.
            let value = escape::to_json(value).unwrap_or_else(|_| "null".into());
            // As for writing to a String: cannot fail.
            let _ = write!(line, ",{}:{value}", quoted_json(key));
        };
        pair("target", &target.into());
        pair("message", &said.message.as_str().into());
        for (key, value) in &said.fields {
            let key = if OURS.contains(key) { format!("_{key}") } else { (*key).to_owned() };
            pair(&key, value);
        }
        line.push('}');
        self.write_object(now, &head, line);
    }

    /// A whole object, or, in its place, one that says how it began: half an object
    /// would be none.
    fn write_object(&self, now: Timestamp, head: &str, line: String) {
        if line.len() <= MAX_LINE_BYTES {
            self.write(now, |lines| lines.push_str(&line));
            return;
        }
        // Each of its bytes may need an escape.
        let start = quoted_json(up_to(&line, MAX_LINE_BYTES / 4));
        let bytes = line.len();
        let line = format!("{head},\"message\":\"too long\",\"bytes\":{bytes},\"start\":{start}}}");
        self.write(now, |lines| lines.push_str(&line));
    }

    fn write_text(&self, now: Timestamp, level: LogLevel, fill: impl FnOnce(&mut String)) {
        self.write(now, |lines| self.append_text(lines, now, level, fill));
    }

    fn append_text(
        &self,
        line: &mut String,
        now: Timestamp,
        level: LogLevel,
        fill: impl FnOnce(&mut String),
    ) {
        let word = word(level);
        // Writing to a String cannot fail.
        let _ = match &self.shared.style {
            Style::Systemd => write!(line, "<{}>", severity(level)),
            Style::Human { zone, colour } => {
                let time = now.to_zoned(zone.clone()).strftime("%H:%M:%S%.3f").to_string();
                match colour {
                    true => write!(line, "{time} \x1b[{}m{word:5}\x1b[0m ", hue(level)),
                    false => write!(line, "{time} {word:5} "),
                }
            }
            Style::Plain | Style::Json => {
                self.stamp(line, now);
                line.extend([" ", word, " "]);
                Ok(())
            }
        };
        let start = line.len();
        fill(line);
        let text = line.get(start..).unwrap_or_default();
        if let Cow::Owned(escaped) = escape::one_line(text) {
            line.truncate(start);
            line.push_str(&escaped);
        }
        let text = line.get(start..).unwrap_or_default();
        let cut = up_to(text, MAX_LINE_BYTES - 64).len();
        if cut < text.len() {
            line.truncate(start + cut);
            line.push('…');
        }
    }

    /// The time in UTC with milliseconds. The calendar costs more than the rest of a
    /// line, so it is asked once a second.
    fn stamp(&self, line: &mut String, now: Timestamp) {
        let mut second = self.shared.second.lock();
        if second.0 != now.as_second() {
            let whole = format!("{now:.0}");
            *second = (now.as_second(), whole.trim_end_matches('Z').to_owned());
        }
        line.push_str(&second.1);
        let millis = now.subsec_millisecond().unsigned_abs();
        let digit = |unit: u32| char::from(b'0' + (millis / unit % 10) as u8);
        line.extend(['.', digit(100), digit(10), digit(1), 'Z']);
    }

    /// `append` writes one line behind others, without its end.
    fn write(&self, now: Timestamp, append: impl FnOnce(&mut String)) {
        // Taken, since what is appended may itself have something to log.
        let Some(mut gathered) = GATHERED.take() else {
            let mut line = String::with_capacity(512);
            append(&mut line);
            line.push('\n');
            return self.send(&line);
        };
        if gathered.lines.is_empty() {
            gathered.second = now.as_second();
            gathered.begun.notify_one();
        }
        append(&mut gathered.lines);
        gathered.lines.push('\n');
        if gathered.lines.len() >= MAX_GATHERED_BYTES || gathered.second != now.as_second() {
            self.send(&gathered.lines);
            gathered.clear();
        }
        GATHERED.set(Some(gathered));
    }

    /// Puts whole lines into the queue. Full means lost: one is counted there, the
    /// others here.
    fn send(&self, lines: &str) {
        if lines.is_empty() {
            return;
        }
        let refused = self.shared.queue.error_counter();
        let before = refused.dropped_lines();
        let _ = self.shared.queue.clone().write_all(lines.as_bytes());
        if refused.dropped_lines() > before {
            let others = lines.bytes().filter(|byte| *byte == b'\n').count().saturating_sub(1);
            self.shared.lost.fetch_add(others as u64, Relaxed);
        }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn enabled(&self, about: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let level = level_of(about);
        // Packets that strangers sent make it speak; what comes of them is counted.
        if about.target().starts_with("hickory") {
            return false;
        }
        // What libraries say below a warning is for those who write them.
        let ours = about.target().starts_with("gatepost");
        level <= if ours { self.shared.level } else { self.shared.level.min(LogLevel::Warn) }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.shared.level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            // Ours has nothing below, libraries are not asked: see `level_of`.
            LogLevel::Debug => LevelFilter::DEBUG,
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        self.operational(level_of(event.metadata()), event.metadata().target(), &said);
    }
}

/// What an event holds.
#[derive(Debug, Default)]
struct Said {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Visit for Said {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_owned();
            return;
        }
        self.fields.push((field.name(), value.into()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

fn level_of(about: &Metadata<'_>) -> LogLevel {
    match *about.level() {
        tracing::Level::ERROR => LogLevel::Error,
        tracing::Level::WARN => LogLevel::Warn,
        tracing::Level::INFO => LogLevel::Info,
        _ => LogLevel::Debug,
    }
}

fn word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    }
}

/// syslog(3).
fn severity(level: LogLevel) -> u8 {
    match level {
        LogLevel::Error => 3,
        LogLevel::Warn => 4,
        LogLevel::Info => 6,
        LogLevel::Debug => 7,
    }
}

/// ANSI colours.
fn hue(level: LogLevel) -> u8 {
    match level {
        LogLevel::Error => 31,
        LogLevel::Warn => 33,
        LogLevel::Info => 32,
        LogLevel::Debug => 2,
    }
}

/// The start of a text, whole characters.
fn up_to(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

/// A text as a JSON string.
fn quoted_json(text: &str) -> String {
    // A string can always be written.
    escape::to_json(&text).unwrap_or_else(|_| "\"\"".into())
}

#[cfg(test)]
mod tests;
