//! What stands in the log, and what does not stand in its way.

use super::*;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

/// Keeps what is written.
#[derive(Clone, Default)]
struct Sheet(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sheet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that come of it.
fn lines(style: Style, level: LogLevel, speak: impl FnOnce(&Journal)) -> Vec<String> {
    let sheet = Sheet::default();
    let noon = || Timestamp::from_millisecond(1_700_000_000_123).unwrap();
    let (journal, guard) = Journal::new(sheet.clone(), style, level, Box::new(noon));
    let subscriber = tracing_subscriber::registry().with(journal.clone());
    tracing::subscriber::with_default(subscriber, || speak(&journal));
    // Waits until all is written.
    drop(guard);
    let text = String::from_utf8(sheet.0.lock().clone()).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(str::to_owned).collect()
}

fn human(colour: bool) -> Style {
    Style::Human { zone: TimeZone::UTC, colour }
}

fn objects(lines: &[String]) -> Vec<serde_json::Map<String, Value>> {
    lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

fn speak(_: &Journal) {
    tracing::warn!(address = "inet:127.0.0.1:1", tries = 3, peer = "a b", "can't bind\nnow");
}

#[test]
fn operational_lines_look_as_their_reader_needs() {
    let rest = r#"can't bind\nnow address=inet:127.0.0.1:1 tries=3 peer="a b""#;
    for (style, expected) in [
        (Style::Plain, format!("2023-11-14T22:13:20.123Z warn {rest}")),
        (Style::Systemd, format!("<4>{rest}")),
        (human(false), format!("22:13:20.123 warn  {rest}")),
        (human(true), format!("22:13:20.123 \x1b[33mwarn \x1b[0m {rest}")),
        (
            Style::Json,
            concat!(
                r#"{"timestamp":"2023-11-14T22:13:20.123Z","level":"warn","target":"gatepost::journal::tests","#,
                r#""message":"can't bind\nnow","address":"inet:127.0.0.1:1","tries":3,"peer":"a b"}"#
            )
            .to_owned(),
        ),
    ] {
        assert_eq!(lines(style.clone(), LogLevel::Info, speak), [expected], "{style:?}");
    }
}

#[test]
fn levels_are_thresholds_and_libraries_are_quieter() {
    for (level, expected) in [
        (LogLevel::Error, "e"),
        (LogLevel::Warn, "e w l"),
        (LogLevel::Info, "e w i l d"),
        (LogLevel::Debug, "e w i d l d"),
    ] {
        let said = lines(Style::Systemd, level, |journal| {
            tracing::error!("e");
            tracing::warn!("w");
            tracing::info!("i");
            tracing::debug!("d");
            tracing::warn!(target: "hyper", "l");
            tracing::info!(target: "hyper", "m");
            tracing::error!(target: "hickory_net::udp", "n");
            journal.decision(&(), |line| line.push('d'));
        });
        let words: Vec<_> = said.iter().map(|line| &line[3..]).collect();
        assert_eq!(words.join(" "), expected, "{level:?}");
    }
}

#[test]
fn decisions_are_text_or_objects() {
    let decide = |journal: &Journal| {
        let record = BTreeMap::from([("id", "x1"), ("helo", "a\u{202e}b\n")]);
        journal.decision(&record, |line| {
            line.push_str("decision");
            field(line, "id", "x1");
            field(line, "helo", "a\u{202e}b\n");
        });
    };
    assert_eq!(
        lines(Style::Plain, LogLevel::Info, decide),
        [r#"2023-11-14T22:13:20.123Z info decision id=x1 helo="a\u202eb\n""#]
    );
    assert_eq!(
        lines(Style::Json, LogLevel::Info, decide),
        [concat!(
            r#"{"timestamp":"2023-11-14T22:13:20.123Z","level":"info","event":"decision","#,
            r#""helo":"a\u202eb\n","id":"x1"}"#
        )]
    );
}

#[test]
fn only_the_form_that_is_written_is_rendered() {
    lines(Style::Json, LogLevel::Info, |journal| journal.decision(&1, |_| panic!("text for JSON")));
    lines(Style::Plain, LogLevel::Warn, |journal| journal.decision(&1, |_| panic!("text for nobody")));
}

#[test]
fn whatever_a_record_is_the_line_is_an_object() {
    let said = lines(Style::Json, LogLevel::Info, |journal| {
        journal.decision(&BTreeMap::<String, u8>::new(), |_| ());
        journal.decision(&[1, 2], |_| ());
        journal.decision(&"text", |_| ());
        // No JSON: a key that is no string.
        journal.decision(&BTreeMap::from([((1, 2), 3)]), |_| ());
        journal.decision(&BTreeMap::from([("long", "\u{1}".repeat(MAX_LINE_BYTES))]), |_| ());
        tracing::info!(level = "mine", timestamp = 1, "\u{1b}{}", "\u{2028}".repeat(9));
        tracing::info!(a = "\u{1}".repeat(MAX_LINE_BYTES), b = "\u{1}".repeat(MAX_LINE_BYTES), "x");
    });
    let objects = objects(&said);
    assert_eq!(objects.len(), 7);
    assert_eq!(objects[1]["decision"][1], 2);
    assert_eq!(objects[3]["message"], "the decision can't be written: key must be a string");
    assert_eq!((&objects[4]["message"], &objects[4]["bytes"]), (&"too long".into(), &49_236.into()));
    assert_eq!((&objects[5]["_level"], &objects[5]["_timestamp"]), (&"mine".into(), &1.into()));
    assert_eq!((&objects[6]["level"], &objects[6]["message"]), (&"info".into(), &"too long".into()));
    for line in &said {
        assert!(line.len() <= MAX_LINE_BYTES && line.is_ascii(), "{}", line.len());
    }
}

#[test]
fn no_text_makes_two_lines_or_a_line_without_end() {
    for text in ["a\r\nb\u{85}\u{2028}", "a\u{0}\u{1b}[0m"] {
        for style in [Style::Plain, Style::Systemd, human(true), Style::Json] {
            let said = lines(style, LogLevel::Info, |journal| {
                journal.decision(&text, |line| line.push_str(text));
                tracing::info!(text, "{text}");
            });
            assert_eq!(said.len(), 2, "{text:?}");
        }
    }
    let long = "ü".repeat(MAX_LINE_BYTES);
    let said =
        lines(Style::Plain, LogLevel::Info, |journal| journal.decision(&(), |line| line.push_str(&long)));
    assert!(said[0].len() <= MAX_LINE_BYTES && said[0].ends_with("ü…"));
}

/// Blocks in its first write until it is told to go on.
struct Stuck {
    go_on: mpsc::Receiver<()>,
    began: mpsc::Sender<()>,
}

impl io::Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.began.send(());
        // The sender is dropped when the test has seen enough.
        let _ = self.go_on.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_reader_costs_lines_and_no_time() {
    let (release, go_on) = mpsc::channel();
    let (began, has_begun) = mpsc::channel();
    let (journal, guard) = Journal::new(
        Stuck { go_on, began },
        Style::Plain,
        LogLevel::Info,
        Box::new(|| Timestamp::UNIX_EPOCH),
    );
    journal.decision(&(), |line| line.push_str("first"));
    // The thread of the log now hangs in its write.
    has_begun.recv_timeout(Duration::from_secs(10)).unwrap();
    let lines = 3 * output::MAX_QUEUED_CHUNKS;
    for _ in 0..lines {
        journal.decision(&(), |line| line.push_str("more"));
    }
    assert_eq!(journal.lines_dropped(), (lines - output::MAX_QUEUED_CHUNKS) as u64);
    drop(release);
    drop(guard);
}

/// A pipe whose other end is closed.
struct Broken;

impl io::Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    let now = Box::new(|| Timestamp::UNIX_EPOCH);
    let (journal, guard) = Journal::new(Broken, Style::Json, LogLevel::Info, now);
    for _ in 0..100 {
        journal.decision(&(), |_| ());
    }
    drop(guard);
    assert_eq!(journal.lines_dropped(), 100);
}

/// Takes one byte at a time, and not always.
#[derive(Default)]
struct Grudging {
    sheet: Sheet,
    calls: usize,
}

impl io::Write for Grudging {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.calls += 1;
        match self.calls % 40 {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            1 => Err(io::ErrorKind::Interrupted.into()),
            _ => self.sheet.write(&bytes[..1]),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_slow_writer_gets_every_byte() {
    let sheet = Sheet::default();
    let grudging = Grudging { sheet: sheet.clone(), calls: 0 };
    let now = Box::new(|| Timestamp::UNIX_EPOCH);
    let (journal, guard) = Journal::new(grudging, Style::Systemd, LogLevel::Info, now);
    for number in 0..20 {
        journal.decision(&(), |line| line.push_str(&format!("line {number}")));
    }
    drop(guard);
    let expected: String = (0..20).map(|number| format!("<6>line {number}\n")).collect();
    assert_eq!(String::from_utf8(sheet.0.lock().clone()).unwrap(), expected);
    assert_eq!(journal.lines_dropped(), 0);
}

#[test]
fn gathered_lines_go_out_together_and_in_their_order() {
    let many = MAX_GATHERED_BYTES / 40;
    let said = lines(Style::Plain, LogLevel::Info, |journal| {
        journal.begin_gathering();
        for number in 0..many {
            // What is shown may itself have something to say.
            journal.decision(&(), |line| {
                tracing::warn!("within");
                line.push_str(&format!("line {number}"));
            });
        }
        let waiting = || GATHERED.with_borrow(|gathered| gathered.as_ref().map(|it| it.lines.len()));
        assert!((1..MAX_GATHERED_BYTES).contains(&waiting().unwrap()));
        journal.send_gathered();
        assert_eq!(waiting(), Some(0));
        // What is wrong does not wait, nor what stands before it.
        journal.decision(&(), |line| line.push_str("before"));
        tracing::warn!("wrong");
        assert_eq!(waiting(), Some(0));
        GATHERED.set(None);
    });
    let numbers: Vec<_> = said.iter().filter_map(|line| line.split_once("line ")).map(|(_, n)| n).collect();
    assert_eq!(numbers, (0..many).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(said.len(), 2 * many + 2);
}
