//! What is found in messages made to be misread, and that it costs no more than they
//! are long.

use crate::content;
use crate::content::Stop;
use crate::message::Message;
use crate::message::part_header::PartHeader;
use crate::message::parts::MAX_DEPTH;
use crate::message::parts::MAX_PARTS;
use crate::message::read::Findings;
use crate::message::read::read;
use crate::message::wants::Wants;
use proptest::prelude::*;
use std::ops::Range;

/// A message whose header and body are split at the first empty line.
fn scan_bytes(mail: &[u8]) -> Findings {
    let end = memchr::memmem::find(mail, b"\n\n").map_or(mail.len(), |at| at + 1);
    let (header, body) = mail.split_at(end);
    let mut fields = PartHeader::default();
    // Continuation lines have been joined to their field by whoever calls.
    let header = String::from_utf8_lossy(header).replace("\n ", "\u{1}");
    for line in header.lines() {
        let (name, value) = line.split_once(':').unwrap();
        fields.field(name.as_bytes(), value.replace('\u{1}', "\n ").as_bytes());
    }
    let wants = Wants { parts: true, ..Wants::NOTHING };
    read(fields, body.get(1..).unwrap_or_default(), wants, &Stop::default(), &mut content::examine)
}

fn scan(mail: &str) -> Findings {
    scan_bytes(mail.as_bytes())
}

fn names(mail: &str) -> Vec<String> {
    scan(mail).parts.iter().flat_map(|part| part.names.clone()).collect()
}

const MIXED: &str = "Content-Type: multipart/mixed; boundary=b\n\n";

#[test]
fn parts_are_told_with_type_disposition_depth_and_names() {
    let mail = "From: a@example.com\nContent-Type: multipart/mixed;\n boundary=\"out\"\n\npreamble\n\
        --out\nContent-Type: multipart/alternative; boundary=in\n\n\
        --in\n\nplain\n--in\nContent-Type: TEXT/html\n\nhtml\n--in--\n\
        --out\nContent-Type: application/pdf; name=\"a.pdf\"\nContent-Disposition: Attachment;\n filename=\"b.pdf\"\n\nx\n--out--\n";
    let scan = scan(mail);
    let told: Vec<_> = scan.parts.iter().map(|p| (p.depth, p.content_type.as_deref())).collect();
    let expected = [
        (0, Some("multipart/mixed")),
        (1, Some("multipart/alternative")),
        (2, None),
        (2, Some("text/html")),
        (1, Some("application/pdf")),
    ];
    assert_eq!(told, expected);
    let last = scan.parts.last().unwrap();
    assert_eq!(last.disposition.as_deref(), Some("attachment"));
    assert_eq!(last.names, ["b.pdf", "a.pdf"]);
    assert_eq!(scan.limit, None);
}

#[test]
fn names_are_found_however_they_are_written() {
    for (field, expected) in [
        ("Content-Disposition: attachment; filename=invoice.pdf.exe", "invoice.pdf.exe"),
        ("content-disposition: attachment; filename*=utf-8''a%2Eexe", "a.exe"),
        ("Content-Disposition: attachment;\n filename*0=\"a.\";\n filename*1=\"exe\"", "a.exe"),
        ("Content-Type: application/x; name=\"=?utf-8?B?YS5leGU=?=\"", "a.exe"),
        ("Content-Type: application/x; name=a.txt\nContent-Disposition: x; filename=b.exe", "b.exe"),
        ("Content-Disposition: x; filename=a.txt\nContent-Disposition: x; filename=b.exe", "b.exe"),
        ("Content-Type : application/x; name=a.exe", "a.exe"),
        // A fold without its blank.
        ("Content-Disposition: attachment;\nfilename=a.exe", "a.exe"),
        ("Content-Disposition: attachment; filename=a.exe\0.txt", "a.exe"),
        ("Content-Disposition: attachment; filename=a.exe\0.txt", "a.exe\u{FFFD}.txt"),
        ("Content-Disposition: attachment; filename=\"a.exe. .\"", "a.exe"),
        ("Content-Disposition: attachment; filename=\"a\u{1}.exe\"", "a\u{FFFD}.exe"),
    ] {
        let found = names(&format!("{MIXED}--b\n{field}\n\nbody\n--b--\n"));
        assert!(found.iter().any(|name| name == expected), "{field}: {found:?}");
    }
    assert_eq!(names("Content-Disposition: attachment; filename=a.exe\n\nbody"), ["a.exe"]);
}

#[test]
fn parts_are_found_wherever_a_reader_could_see_one() {
    let part = "Content-Disposition: attachment; filename=a.exe\n\nx\n";
    for mail in [
        format!("{MIXED}--b\n{part}"),
        format!("{MIXED}--b--\n--b\n{part}"),
        format!("{MIXED}--b--\n{part}"),
        format!("{MIXED}{part}--b\n\ntext\n--b--\n"),
        format!("{MIXED}--b\n\n{part}--b--\n"),
        format!("{MIXED}--b\n\ntext\n--b trailing\n{part}--b--\n"),
        format!("{MIXED}--b\nX: no empty line\n--b\n{part}"),
        format!("{MIXED}--b\nnot a field\n{part}"),
        format!("Content-Type: text/plain\n{MIXED}--b\n{part}"),
        format!("Content-Type: multipart/mixed; boundary=a; boundary=b\n\n--b\n{part}"),
        format!("Content-Type: multipart/mixed; boundary=\"b\n\n--b\n{part}"),
        format!("Content-Type: multipart/mixed; boundary=b(x)\n\n--b\n{part}"),
        format!("Content-Type: multipart/mixed; boundary=\"b \"\n\n--b\n{part}"),
        format!("Content-Type: multipart/mixed; boundary*0=b; boundary*1=c\n\n--bc\n{part}"),
        format!("Content-Type: multipart/mixed; boundary=\"\"\n\n--\n{part}"),
        format!("Content-Type: multipart/mixed\n\n--unknown\n{part}"),
        format!(
            "Content-Type: multipart/mixed; boundary=b\\\n\n--x\nX: y\nContent-Type: text/plain\n\n--x\n{part}"
        ),
        format!(
            "{MIXED}--b\nContent-Disposition: x; filename*0=a.\nContent-Disposition: x; filename*1=exe\n\n"
        ),
        format!("{MIXED}--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n{part}"),
        format!("{MIXED}--b\nContent-Type: multipart/mixed; boundary=bb\n\n--b--\n--bb\n{part}"),
        format!("{MIXED}--b\nContent-Type: message/rfc822\n\nSubject: x\n{part}--b--\n"),
        format!("Content-Type: message/rfc822\n\nSubject: x\n{MIXED}--b\n{part}"),
        format!("Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n{part}--b--\n"),
    ] {
        assert!(names(&mail).contains(&"a.exe".to_owned()), "{mail}");
    }
}

#[test]
fn line_ends_of_every_kind_are_understood() {
    let mail = format!(
        "{MIXED}--b\nContent-Type: x/y;\n name=a.exe\n\nx\n\n--b\nContent-Type: x/y; name=b.exe\n\nx"
    );
    let (header, body) = mail.split_at(MIXED.len());
    for end in ["\n", "\r\n", "\r", "\r\r\n"] {
        let mail = format!("{header}{}", body.replace('\n', end));
        assert_eq!(names(&mail), ["a.exe", "b.exe"], "{end:?}");
    }
}

#[test]
fn text_is_no_part() {
    let field = "Content-Disposition: attachment; filename=a.exe\n";
    for mail in [
        format!("Subject: x\n\n{field}\n"),
        format!("Subject: x\n\ntext\n\n--b\n{field}\n"),
        format!("{MIXED}--b\nContent-Type: text/plain\n\n{field}\n--c\n{field}--b--\n"),
        format!("{MIXED}--b\n\ntext\n{field}--b--\n"),
        format!("{MIXED}--b\nContent-Type: message/delivery-status\n\n{field}--b--\n"),
    ] {
        assert_eq!(names(&mail), [""; 0], "{mail}");
    }
}

#[test]
fn caps_are_flagged_and_what_was_read_stays() {
    let many = format!("{MIXED}{}", "--b\n\n".repeat(1_000_000));
    let deep: String = (0..300_000)
        .map(|n| format!("--b{n:06}\nContent-Type: multipart/mixed; boundary=b{:06}\n\n", n + 1))
        .collect();
    let deep = format!("Content-Type: multipart/mixed; boundary=b000000\n\n{deep}");
    let messages =
        format!("Content-Type: message/rfc822\n\n{}", "Content-Type: message/rfc822\n\n".repeat(35_000));
    let flat: String = (0..40_000)
        .map(|n| format!("--b\nContent-Type: multipart/mixed; boundary=\"{n}{n:070}\"\n\n"))
        .collect();
    let wide = format!("{MIXED}--b\nContent-Disposition: x{}\n\n", "; filename=a".repeat(100_000));
    let long = format!("{MIXED}--b\nContent-Disposition: x; filename={}.exe\n\n", "a".repeat(5_000));
    let fields = format!("{MIXED}--b\n{}\n", "Content-Type: text/plain\n".repeat(100));
    let cases = [
        (many, MAX_PARTS),
        (deep, MAX_DEPTH + 1),
        (messages, MAX_DEPTH + 1),
        (format!("{MIXED}{flat}"), MAX_PARTS),
        (wide, 2),
        (long, 2),
        (fields, 2),
    ];
    for (mail, parts) in cases {
        let scan = scan(&mail);
        assert!(scan.limit.is_some());
        assert_eq!(scan.parts.len(), parts, "{:?}", scan.limit);
        assert!(scan.parts.iter().all(|part| part.depth <= MAX_DEPTH));
    }
}

#[test]
fn a_long_line_is_a_limit_in_a_header_and_none_in_a_body() {
    let long = "x".repeat(300_000);
    assert_eq!(scan(&format!("{MIXED}--b\n\n{long}\n--b--\n")).limit, None);
    assert!(scan(&format!("{MIXED}--b\nX: {long}\n\n--b--\n")).limit.is_some());
    assert!(scan(&format!("{MIXED}--b\nContent-Type: {long}\n\n--b--\n")).limit.is_some());
}

#[test]
fn hostile_bodies_take_linear_time() {
    let prefixes: String = (1..300)
        .map(|n| format!("--b\nContent-Type: multipart/mixed; boundary={}\n\n", "a".repeat(n)))
        .collect();
    for (setup, hostile) in [
        ("", "--a\n"),
        ("", "--"),
        ("", "\r"),
        ("", "--b\n"),
        ("", "--b--\nContent-Type:\n"),
        ("", "Content-Type:(\n"),
        ("--b\nContent-Type: x/y", ";name=\"\n "),
        ("--b\nContent-Type: x/y", ";name*1=a\n "),
        (prefixes.as_str(), "--aaaaaaaaaaaaaaaaaaaaaaaaaaaaab\n"),
    ] {
        scan(&format!("{MIXED}{setup}{}", hostile.repeat(1 << 18)));
    }
}

/// Each part's path with the text of its place and of its content.
fn places(mail: &str) -> Vec<(String, String, String)> {
    let (header, body) = mail.split_once("\n\n").unwrap();
    let mut message = Message::new(Wants::ALL);
    for line in header.lines() {
        let (name, value) = line.split_once(':').unwrap();
        message.header(name.as_bytes(), value.as_bytes());
    }
    message.end_of_header();
    message.body(body.as_bytes());
    message.finish(&Stop::default());
    let text = |range: &Range<usize>| body[range.clone()].replace('\r', "");
    let told = message.parts().iter().map(|part| {
        let place = part.place.clone().unwrap_or_default();
        (part.path.clone(), text(&place.whole), text(&place.content))
    });
    told.collect()
}

#[test]
fn each_part_has_its_place_and_its_path() {
    let body = "preamble\n--b\n\none\n--b\nA: x\n\ntwo\n\n--b\nContent-Type: message/rfc822\n\nSubject: y\n\
        Content-Type: multipart/mixed; boundary=c\n\n--c\nB: y\n\nthree\n--c--\nend\n--b\n\
        Content-Type: message/rfc822\n\nSubject: z\n\nfour\n--b\nno end of the header\n--b--\nepilogue\n";
    let within = "--c\nB: y\n\nthree\n--c--\nend";
    let message = format!("Subject: y\nContent-Type: multipart/mixed; boundary=c\n\n{within}");
    let expected = [
        ("", body.to_owned(), body.to_owned()),
        ("1", "\none".into(), "one".into()),
        ("2", "A: x\n\ntwo\n".into(), "two\n".into()),
        ("3", format!("Content-Type: message/rfc822\n\n{message}"), message.clone()),
        ("3.TEXT", message.clone(), within.into()),
        ("3.1", "B: y\n\nthree".into(), "three".into()),
        ("4", "Content-Type: message/rfc822\n\nSubject: z\n\nfour".into(), "Subject: z\n\nfour".into()),
        ("4.1", "Subject: z\n\nfour".into(), "four".into()),
        ("5", "no end of the header".into(), "".into()),
    ]
    .map(|(path, whole, content)| (path.to_owned(), whole, content));
    for end in ["\n", "\r\n"] {
        let mail = format!("{MIXED}{}", body.replace('\n', end));
        assert_eq!(places(&mail), expected, "{end:?}");
    }
}

#[test]
fn what_is_encoded_has_no_place_and_is_opened() {
    let inner = format!("{MIXED}--b\nContent-Disposition: x; filename=a.exe\n\nx\n--b--\n");
    let encoded = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
    let message = |text: &str| {
        format!("--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n{text}\n--b--\n")
    };
    let twice = format!("{MIXED}{}", message(&encoded(&inner)));
    for mail in [
        format!("{MIXED}{}", message(&encoded(&inner))),
        format!("{MIXED}{}", message(&encoded(&twice))),
        format!(
            "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\n{}",
            encoded(inner.strip_prefix(MIXED).unwrap())
        ),
        format!("{MIXED}--b\n\nbegin 644 a.exe\n#0V%T\nend\n--b--\n"),
    ] {
        let found = scan(&mail);
        let names: Vec<_> = found.files.iter().flat_map(|(_, file)| file.names.clone()).collect();
        assert_eq!(names, ["a.exe"], "{mail}");
        let (part, _) = found.files.iter().find(|(_, file)| !file.names.is_empty()).unwrap();
        let part = &found.parts[*part as usize];
        assert!(part.names.is_empty() || part.place.is_none());
    }
}

#[test]
fn messages_of_any_shape_take_linear_time_and_little_stack() {
    // A thread of the daemon has as much.
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    let run = thread.spawn(|| {
        let deep: String = (0..100)
            .map(|n| format!("--b{n:03}\nContent-Type: multipart/mixed; boundary=b{:03}\n\n", n + 1))
            .collect();
        let mut shells = "x".repeat(200_000);
        for _ in 0..12 {
            let encoded = data_encoding::BASE64.encode(shells.as_bytes());
            shells =
                format!("Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n{encoded}\n");
        }
        let quoted = "Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable\n\n";
        for mail in [
            format!("Content-Type: multipart/mixed; boundary=b000\n\n{}", deep.repeat(300)),
            format!("{MIXED}{}", "--b\n\nx\n".repeat(100_000)),
            "Content-Type: message/rfc822\n\n".repeat(35_000),
            format!("{}=3D=20=XX", quoted.repeat(20_000)),
            shells,
            format!("{MIXED}--b\n\n{}", "begin 644 a\n#0V%T\nend\n".repeat(50_000)),
            format!("{MIXED}--b\nContent-Transfer-Encoding: base64\n\n{}", "A=-_\n".repeat(200_000)),
        ] {
            message_in(mail.as_bytes(), []);
        }
    });
    run.unwrap().join().unwrap();
}

#[test]
fn reading_ends_soon_once_nobody_waits() {
    let stop = Stop::default();
    stop.now();
    let mut message = Message::new(Wants::ALL);
    message.header(b"Content-Type", b" multipart/mixed; boundary=b");
    message.end_of_header();
    message.body("--b\n\nx\n".repeat(100_000).as_bytes());
    message.finish(&stop);
    assert!(message.parts().len() < 3 && message.limits());
}

#[test]
fn nothing_is_decoded_that_is_not_asked_for() {
    let text = "--b\nContent-Transfer-Encoding: base64\n\naGVs bG8=\n";
    let file = "--b\nContent-Type: x/y; name=a\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n";
    let body = format!("{text}{file}--b--\n");
    for (wants, expected, shown) in [
        (Wants::NOTHING, 0, ""),
        (Wants { parts: true, ..Wants::NOTHING }, 0, ""),
        (Wants { text: true, ..Wants::NOTHING }, 0, "hello\n"),
        (Wants::ALL, 2, "hello\n"),
    ] {
        let mut looked_at = 0;
        let mut message = Message::new(wants);
        message.header(b"Content-Type", b" multipart/mixed; boundary=b");
        message.body(body.as_bytes());
        message.finish_with(&Stop::default(), &mut |given, wants, budget, files| {
            assert_eq!(given.bytes, b"hello");
            looked_at += 1;
            content::examine(given, wants, budget, files);
        });
        assert_eq!((looked_at, message.text()), (expected, shown), "{wants:?}");
        if wants.parts {
            let sizes: Vec<_> = message.files().map(|(file, part)| (file.size, part.size)).collect();
            assert_eq!(sizes, [(5, 5), (5, 5)]);
        }
        assert_eq!(message.raw_body().is_empty(), !wants.whole);
    }
}

/// The same through the milter's door, the body in pieces.
fn message_in(mail: &[u8], chunks: impl IntoIterator<Item = usize>) -> Message {
    let mut message = Message::new(Wants::ALL);
    message.header(b"Content-Type", b" multipart/mixed; boundary=b");
    message.end_of_header();
    let mut rest = mail;
    for chunk in chunks {
        let (now, later) = rest.split_at(chunk.min(rest.len()));
        message.body(now);
        rest = later;
    }
    message.body(rest);
    message.finish(&Stop::default());
    message
}

/// No part is outside of the message or of the one around it, nor before the one
/// before it in that.
fn check_places(message: &Message) -> Result<(), TestCaseError> {
    let body = message.raw_body();
    for part in message.parts() {
        let Some(place) = &part.place else { continue };
        prop_assert!(place.whole.start <= place.content.start && place.content.end <= place.whole.end);
        prop_assert!(place.content.start <= place.content.end && place.whole.end <= body.len());
        let around = part.within.map(|within| &message.parts()[within as usize]);
        if let Some(around) = around.and_then(|part| part.place.as_ref())
            && message.tricks().is_empty()
        {
            prop_assert!(around.content.start <= place.whole.start && place.whole.end <= around.content.end);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn chunk_borders_change_nothing(
        lines in prop::collection::vec(
            prop::sample::select(vec![
                "--b", "--b--", "--c", "--c--", "", "text", " name=y.exe", "Subject: x", "name=z.exe",
                "Content-Type: multipart/mixed; boundary=c", "Content-Type: message/rfc822",
                "Content-Disposition: attachment; filename=\"a b.exe\"", "Content-Type: x/y;",
                "Content-Transfer-Encoding: base64", "LS1jCgo=", "begin 644 a", "#0V%T", "=20=",
                "Content-Transfer-Encoding: quoted-printable",
            ]),
            0..40,
        ),
        ends in prop::collection::vec(prop::sample::select(vec!["\n", "\r\n", "\r", "\r\r\n"]), 40),
        chunks in prop::collection::vec(0usize..40, 0..60),
    ) {
        let body: String = lines.iter().zip(ends).flat_map(|(line, end)| [*line, end]).collect();
        let whole = message_in(body.as_bytes(), []);
        for other in [message_in(body.as_bytes(), chunks), message_in(body.as_bytes(), vec![1; body.len()])] {
            prop_assert_eq!(whole.parts(), other.parts());
            prop_assert_eq!(whole.tricks(), other.tricks());
            prop_assert_eq!(whole.text(), other.text());
            prop_assert!(whole.files().eq(other.files()));
        }
        check_places(&whole)?;
    }

    #[test]
    fn no_bytes_do_harm(body in prop::collection::vec(any::<u8>(), 0..2_000)) {
        for before in ["--b\nContent-Type: ", "--b\nContent-Transfer-Encoding: base64\n\n", "", "--b\nx:y\n\nbegin 644 a\n#"] {
            let mut mail = before.as_bytes().to_vec();
            mail.extend_from_slice(&body);
            check_places(&message_in(&mail, [7, 700]))?;
        }
    }
}
