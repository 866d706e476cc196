//! The ways in which files are hidden from filters, by technique: those of "Inbox
//! Invasion" (CCS 2024), of the mails of mime-is-broken, and a few of our own. In each
//! the file is found, or the message is flagged; `docs/evasion.md` is what this finds,
//! rewritten by `UPDATE=1 cargo test --lib evasion`.

use crate::content;
use crate::content::Given;
use crate::message::Message;
use crate::message::Trick;
use data_encoding::BASE64;
use std::env;
use std::fs;

const PAYLOAD: &[u8] =
    b"MZ\x90\x00\x03 what was hidden, long enough for two lines of its encoding \xff\xfe\x00 and an end";
const MARK: &[u8] = b"what was hidden, long enough";

/// In a mail: `{A}` is the attachment, `{F}` its fields but the encoding, `{E}` the
/// encoding, `{D}` the encoded data, `{T}` a part with text.
const STRUCTURES: &[(&str, &str)] = &[
    ("nothing hidden", "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n{A}--b--\n"),
    ("the message itself is the file", "{A}"),
    // Doubled fields.
    (
        "Content-Type doubled, text first",
        "Content-Type: text/plain\nContent-Type: multipart/mixed; boundary=b\n\n{T}--b\n{A}--b--\n",
    ),
    (
        "Content-Type doubled, text last",
        "Content-Type: multipart/mixed; boundary=b\nContent-Type: text/plain\n\n{T}--b\n{A}--b--\n",
    ),
    (
        "Content-Type doubled, with two boundaries",
        "Content-Type: multipart/mixed; boundary=a\nContent-Type: multipart/mixed; boundary=b\n\n{T}--b\n{A}--b--\n",
    ),
    (
        "encoding doubled, the true one first",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n{F}Content-Transfer-Encoding: {E}\nContent-Transfer-Encoding: 7bit\n\n{D}\n--b--\n",
    ),
    (
        "encoding doubled, the true one last",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n{F}Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: {E}\n\n{D}\n--b--\n",
    ),
    (
        "Content-Disposition doubled",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\nContent-Disposition: inline\n{A}--b--\n",
    ),
    // Boundaries.
    (
        "two boundary parameters, the true one first",
        "Content-Type: multipart/mixed; boundary=b; boundary=a\n\n{T}--b\n{A}--b--\n",
    ),
    (
        "two boundary parameters, the true one last",
        "Content-Type: multipart/mixed; boundary=a; boundary=b\n\n{T}--b\n{A}--b--\n",
    ),
    (
        "boundary half in quotes",
        "Content-Type: multipart/mixed; boundary=\"b\"x\n\n--bx\n\ntext\n--bx\n{A}--bx--\n",
    ),
    (
        "boundary in quotes that do not end",
        "Content-Type: multipart/mixed; boundary=\"b\n\n{T}--b\n{A}--b--\n",
    ),
    ("boundary in single quotes", "Content-Type: multipart/mixed; boundary='b'\n\n{T}--b\n{A}--b--\n"),
    (
        "boundary with a comment behind it",
        "Content-Type: multipart/mixed; boundary=b(x)\n\n{T}--b\n{A}--b--\n",
    ),
    ("boundary with blanks within", "Content-Type: multipart/mixed; boundary=b c\n\n--b\n{A}--b--\n"),
    (
        "boundary as an encoded word",
        "Content-Type: multipart/mixed; boundary=\"=?utf-8?Q?b?=\"\n\n{T}--b\n{A}--b--\n",
    ),
    ("boundary percent-encoded", "Content-Type: multipart/mixed; boundary*=utf-8''%62\n\n{T}--b\n{A}--b--\n"),
    ("boundary in pieces", "Content-Type: multipart/mixed; boundary*0=b; boundary*1=c\n\n--bc\n{A}--bc--\n"),
    (
        "boundary in pieces, and whole, and different",
        "Content-Type: multipart/mixed; boundary=a; boundary*0=b\n\n{T}--b\n{A}--b--\n",
    ),
    ("boundary empty", "Content-Type: multipart/mixed; boundary=\"\"\n\n--\n{A}----\n"),
    ("boundary absent", "Content-Type: multipart/mixed\n\n{T}--b\n{A}--b--\n"),
    (
        "boundary of more than 70 characters",
        "Content-Type: multipart/mixed; boundary=\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"\n\n--bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n{A}",
    ),
    ("boundary that ends in a blank", "Content-Type: multipart/mixed; boundary=\"b \"\n\n{T}--b\n{A}--b--\n"),
    ("boundary with a NUL", "Content-Type: multipart/mixed; boundary=\"b\u{0}c\"\n\n{T}--b\n{A}--b--\n"),
    (
        "boundary without a semicolon before it",
        "Content-Type: multipart/mixed boundary=b\n\n{T}--b\n{A}--b--\n",
    ),
    ("boundary with blanks around `=`", "Content-Type: multipart/mixed; boundary = b\n\n{T}--b\n{A}--b--\n"),
    ("line of the boundary goes on", "Content-Type: multipart/mixed; boundary=b\n\n{T}--b x\n{A}--b--\n"),
    (
        "inner boundary is the outer one",
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n{A}--b--\n--b--\n",
    ),
    (
        "inner boundary begins with the outer one",
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=bb\n\n--bb\n{A}--bb--\n--b--\n",
    ),
    (
        "outer boundary begins with the inner one",
        "Content-Type: multipart/mixed; boundary=bb\n\n--bb\nContent-Type: multipart/mixed; boundary=b\n\n--b\n{A}--b--\n--bb--\n",
    ),
    // The media type.
    (
        "multipart as a comment splits it",
        "Content-Type: multi(x)part/mixed; boundary=b\n\n{T}--b\n{A}--b--\n",
    ),
    (
        "multipart as an encoded word",
        "Content-Type: =?utf-8?Q?multipart/mixed?=; boundary=b\n\n{T}--b\n{A}--b--\n",
    ),
    ("multipart in quotes", "Content-Type: \"multipart/mixed\"; boundary=b\n\n{T}--b\n{A}--b--\n"),
    ("multipart without a subtype", "Content-Type: multipart; boundary=b\n\n{T}--b\n{A}--b--\n"),
    ("multipart misspelt", "Content-Type: xmultipart/mixed; boundary=b\n\n{T}--b\n{A}--b--\n"),
    ("text with a boundary", "Content-Type: text/plain; boundary=b\n\n{T}--b\n{A}--b--\n"),
    ("no Content-Type, but parts", "Subject: x\n\n{T}--b\n{A}--b--\n"),
    (
        "Content-Type with a blank before the colon",
        "Content-Type : multipart/mixed; boundary=b\n\n{T}--b\n{A}--b--\n",
    ),
    (
        "Content-Type in the fold of another field",
        "X-Y: z\n Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n{A}--b--\n",
    ),
    // The transfer encoding.
    (
        "encoding in quotes",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n{F}Content-Transfer-Encoding: \"{E}\"\n\n{D}\n--b--\n",
    ),
    (
        "encoding with a comment",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n{F}Content-Transfer-Encoding: (7bit) {E}\n\n{D}\n--b--\n",
    ),
    (
        "encoding with a parameter",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n{F}Content-Transfer-Encoding: {E}; x=y\n\n{D}\n--b--\n",
    ),
    (
        "encoding with a word behind it",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n{F}Content-Transfer-Encoding: {E} 7bit\n\n{D}\n--b--\n",
    ),
    (
        "encoding with an `x-`",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n{F}Content-Transfer-Encoding: x-{E}\n\n{D}\n--b--\n",
    ),
    (
        "encoding as an encoded word",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n{F}Content-Transfer-Encoding: =?utf-8?Q?{E}?=\n\n{D}\n--b--\n",
    ),
    (
        "encoding in a fold",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n{F}Content-Transfer-Encoding:\n {E}\n\n{D}\n--b--\n",
    ),
    (
        "encoding without its colon",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n{F}Content-Transfer-Encoding {E}\n\n{D}\n--b--\n",
    ),
    (
        "encoding of the whole multipart",
        "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: {E}\n\n{T}--b\n{A}--b--\n",
    ),
    (
        "a boundary that is encoded with the whole multipart",
        "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: quoted-printable\n\n{T}=2D-b\n{A}--b--\n",
    ),
    (
        "a boundary behind an encoded line end of the whole multipart",
        "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: quoted-printable\n\n{T}x=0D=0A--b\n{A}--b--\n",
    ),
    ("a NUL before a boundary", "Content-Type: multipart/mixed; boundary=b\n\n{T}\u{0}--b\n{A}--b--\n"),
    ("blanks before the last boundary", "Content-Type: multipart/mixed; boundary=b\n\n{T} \t--b--\n{A}"),
    ("a NUL in a boundary line", "Content-Type: multipart/mixed; boundary=b\n\n{T}-\u{0}-b\n{A}--b--\n"),
    ("a blank before a boundary", "Content-Type: multipart/mixed; boundary=b\n\n{T} --b\n{A}--b--\n"),
    // Headers, and where they end.
    (
        "no empty line behind the header",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n{F}Content-Transfer-Encoding: {E}\n{D}\n\n--b--\n",
    ),
    (
        "a line of blanks in the header",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n{F} \nContent-Transfer-Encoding: {E}\n\n{D}\n--b--\n",
    ),
    ("an empty line before the header", "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n\n{A}--b--\n"),
    (
        "an empty line and other fields before the header",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n\nX-Y: z\n{A}--b--\n",
    ),
    (
        "a line in the header that is no field",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\nno field\n{A}--b--\n",
    ),
    (
        "the header begins with a fold",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n x: y\n{A}--b--\n",
    ),
    ("lines that end with a return alone", "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\r{A}--b--\n"),
    (
        "a NUL in the name of the encoding",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n{F}Content-Transfer-Encoding: {E}\u{0}x\n\n{D}\n--b--\n",
    ),
    // Where parts stand.
    ("no last boundary", "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n{A}"),
    ("the last boundary too early", "Content-Type: multipart/mixed; boundary=b\n\n{T}--b--\n--b\n{A}--b--\n"),
    ("behind the last boundary", "Content-Type: multipart/mixed; boundary=b\n\n{T}--b--\n{A}"),
    ("before the first boundary", "Content-Type: multipart/mixed; boundary=b\n\n{A}{T}--b--\n"),
    (
        "inner multipart without an end",
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n{A}--b\n\ntext\n--b--\n",
    ),
    (
        "inner boundary behind its multipart",
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\ntext\n--c--\n--b\n\ntext\n--c\n{A}--b--\n",
    ),
    // Messages within.
    (
        "in a message within",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\nContent-Type: message/rfc822\n\nSubject: x\n{A}--b--\n",
    ),
    (
        "in a message of a digest",
        "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n{A}--b--\n",
    ),
    ("in a piece of a message", "Content-Type: message/partial; id=x; number=1; total=1\n\nSubject: x\n{A}"),
    (
        "content that stands elsewhere",
        "Content-Type: message/external-body; access-type=URL; URL=\"http://x.test/a\"\n\nContent-Type: application/zip\n\n",
    ),
    // In what is no text, and signed.
    (
        "uuencoded, and no text",
        "Content-Type: application/octet-stream; name=a.uu\n\nbegin 644 a.zip\n{U}`\nend\n",
    ),
    (
        "signed, the content in the signature",
        "Content-Type: application/pkcs7-mime; name=smime.p7m\nContent-Transfer-Encoding: base64\n\n{S}\n",
    ),
    (
        "signed, and in it a mail with the file",
        "Content-Type: application/pkcs7-mime; name=smime.p7m\nContent-Transfer-Encoding: base64\n\n{SM}\n",
    ),
    // Names.
    (
        "name in pieces, out of order",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\nContent-Disposition: attachment; filename*1=zip; filename*0=a.\nContent-Transfer-Encoding: {E}\n\n{D}\n--b--\n",
    ),
    (
        "two names",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\nContent-Disposition: attachment; filename=a.txt; filename=a.zip\nContent-Transfer-Encoding: {E}\n\n{D}\n--b--\n",
    ),
    (
        "name turned around",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\nContent-Disposition: attachment; filename=\"a\u{202E}txt.zip\"\nContent-Transfer-Encoding: {E}\n\n{D}\n--b--\n",
    ),
    (
        "name cut at a NUL",
        "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\nContent-Disposition: attachment; filename=\"a.zip\u{0}.txt\"\nContent-Transfer-Encoding: {E}\n\n{D}\n--b--\n",
    ),
];

/// What it is called, and how it changes what was encoded.
type Variant = (&'static str, fn(&str) -> String);

/// What stands where base64 should, `{D}` its one line.
const BASE64_VARIANTS: &[Variant] = &[
    ("one line", |d| d.to_owned()),
    ("lines of 4", |d| lines(d, 4, "\n")),
    ("lines of 1", |d| lines(d, 1, "\n")),
    ("lines of 3", |d| lines(d, 3, "\n")),
    ("lines of 5", |d| lines(d, 5, "\n")),
    ("lines of 6", |d| lines(d, 6, "\n")),
    ("empty lines between", |d| lines(d, 8, "\n\n")),
    ("blanks between", |d| lines(d, 4, " ")),
    ("tabs between", |d| lines(d, 5, "\t")),
    ("lone returns between", |d| lines(d, 4, "\r")),
    ("dots between", |d| lines(d, 4, ".")),
    ("hashes between", |d| lines(d, 3, "#")),
    ("minuses between", |d| lines(d, 4, "-")),
    ("underscores between", |d| lines(d, 5, "_")),
    ("`=` behind each four", |d| lines(d, 4, "=")),
    ("`=` behind each line", |d| lines(d, 8, "=\n")),
    ("`=` within fours", |d| lines(d, 3, "=")),
    ("each three bytes padded for themselves", |d| {
        let bytes = BASE64.decode(d.as_bytes()).unwrap();
        bytes.chunks(2).map(|two| BASE64.encode(two)).collect()
    }),
    ("two files in a row", |d| format!("QQ=={d}")),
    ("no padding", |d| d.trim_end_matches('=').to_owned()),
    ("more padding", |d| format!("{d}====")),
    ("a line of text before it", |d| format!("this is, no base64!\n{d}")),
    ("a line of text behind it", |d| format!("{d}\n-- \nfooter of a list")),
    ("a digit and an empty line before it", |d| format!("A\n\n{d}")),
    ("bytes of 8 bits between", |d| lines(d, 4, "\u{e9}")),
    ("digits of addresses", |d| d.replace('+', "-").replace('/', "_")),
    ("text behind the last digit", |d| format!("{d}?!")),
];

/// What stands where quoted-printable should.
const QUOTED_VARIANTS: &[Variant] = &[
    ("one line", |d| d.to_owned()),
    ("small digits", |d| d.to_ascii_lowercase().replace("mz", "MZ")),
    ("all bytes encoded", |_| PAYLOAD.iter().map(|b| format!("={b:02X}")).collect()),
    ("soft breaks within", |d| lines_of_escapes(d, "=\n")),
    ("soft breaks with blanks", |d| lines_of_escapes(d, "=  \n")),
    ("soft breaks with a tab", |d| lines_of_escapes(d, "=\t\n")),
    ("`=` that mean nothing", |d| lines_of_escapes(d, "=")),
    ("`=X`", |d| lines_of_escapes(d, "=X")),
    ("`=XY`", |d| lines_of_escapes(d, "=XY")),
    ("`=` and a lone return", |d| lines_of_escapes(d, "=\r")),
    ("`=` at the end", |d| format!("{d}=")),
    ("one digit for small bytes", |d| d.replace("=0", "=")),
];

fn lines(text: &str, length: usize, end: &str) -> String {
    let lines: Vec<_> = text.as_bytes().chunks(length).map(|line| str::from_utf8(line).unwrap()).collect();
    lines.join(end)
}

/// Between words, so that no escape is torn.
fn lines_of_escapes(text: &str, end: &str) -> String {
    text.replace(' ', &format!("{end} "))
}

fn quoted(bytes: &[u8]) -> String {
    let plain = |b: &u8| (b' '..=b'~').contains(b) && *b != b'=';
    bytes.iter().map(|b| if plain(b) { char::from(*b).to_string() } else { format!("={b:02X}") }).collect()
}

fn mail(structure: &str, encoding: &str, data: &str) -> String {
    let fields =
        "Content-Type: application/octet-stream\nContent-Disposition: attachment; filename=\"a.zip\"\n";
    let part = "{F}Content-Transfer-Encoding: {E}\n\n{D}\n";
    structure
        .replace("{T}", "--b\nContent-Type: text/plain\n\ntext\n")
        .replace("{A}", part)
        .replace("{F}", fields)
        .replace("{E}", encoding)
        .replace("{D}", data)
        .replace("{U}", &uuencoded(PAYLOAD))
        .replace(
            "{SM}",
            &BASE64.encode(&signed(&[&b"Content-Type: x/y; name=a.zip\n\n"[..], PAYLOAD].concat())),
        )
        .replace("{S}", &BASE64.encode(&signed(PAYLOAD)))
}

fn uuencoded(bytes: &[u8]) -> String {
    let digit = |bits: u32| char::from(b' ' + (bits & 0x3f) as u8);
    let line = |bytes: &[u8]| {
        let digits = bytes.chunks(3).flat_map(|three| {
            let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(*three.get(at).unwrap_or(&0)));
            [bits >> 18, bits >> 12, bits >> 6, bits].map(digit)
        });
        format!("{}{}\n", digit(bytes.len() as u32), digits.collect::<String>())
    };
    bytes.chunks(45).map(line).collect()
}

/// SignedData without a signer.
fn signed(content: &[u8]) -> Vec<u8> {
    let tagged =
        |tag: u8, content: &[u8]| [&[tag, 0x82][..], &(content.len() as u16).to_be_bytes(), content].concat();
    let data = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
    let inner = tagged(0x30, &[&data[..], &tagged(0xa0, &tagged(0x04, content))].concat());
    let whole = tagged(0x30, &[&b"\x02\x01\x01\x31\x00"[..], &inner, b"\x31\x00"].concat());
    tagged(0x30, &[&b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"[..], &tagged(0xa0, &whole)].concat())
}

/// Whether a shipped rule holds what has it.
pub(super) fn is_held(trick: Trick) -> bool {
    const RULES: &str = include_str!("../../../policy.d/70-content.yaml");
    let words = RULES.lines().find_map(|line| line.trim().strip_prefix("ambiguous_mime: [")).unwrap();
    words.trim_end_matches(']').split(", ").any(|word| word == trick.word())
}

/// Whether the payload was handed over, whether a shipped rule holds the message, and a
/// row of the page.
fn answer(technique: &str, mail: &str) -> (bool, bool, String) {
    let mut is_found = false;
    let message = Message::from_eml_with(mail.as_bytes(), &mut |given: Given<'_>, wants, budget, files| {
        is_found |= given.bytes.starts_with(b"MZ") && memchr::memmem::find(given.bytes, MARK).is_some();
        content::examine(given, wants, budget, files);
    });
    let words: Vec<_> = message.tricks().iter().map(|trick| format!("`{}`", trick.word())).collect();
    let found = if is_found { "yes" } else { "no" };
    let row = format!("| {technique} | {found} | {} |\n", words.join(", "));
    let is_held = message.tricks().iter().any(|trick| is_held(*trick));
    // The IETF announces its drafts so.
    let is_said = message.tricks().contains(&Trick::ExternalBody);
    (is_found, is_held || is_said, row)
}

#[test]
fn every_technique_is_found_or_flagged() {
    let base64 = BASE64.encode(PAYLOAD);
    let quoted = quoted(PAYLOAD);
    let plain = "Content-Type: multipart/mixed; boundary=b\n\n{T}--b\n{A}--b--\n";
    let mut page = String::from(HEAD);
    let (mut all, mut found, mut silent) = (0, 0, Vec::new());
    let mut rows = |page: &mut String, technique: &str, mails: &[String]| {
        let answers: Vec<_> = mails.iter().map(|mail| answer(technique, mail)).collect();
        for (is_found, is_flagged, row) in &answers {
            all += 1;
            found += usize::from(*is_found);
            if !is_found && !is_flagged {
                silent.push(row.clone());
            }
        }
        // Two encodings have one row, but where the answers differ.
        let mut told: Vec<&String> = Vec::new();
        for (_, _, row) in &answers {
            if !told.contains(&row) {
                told.push(row);
                page.push_str(row);
            }
        }
    };
    page += "\n## Where parts begin, what they are, what they are called\n\n";
    page += TABLE;
    for (technique, structure) in STRUCTURES {
        let mails = [
            mail(structure, "base64", &lines(&base64, 76, "\n")),
            mail(structure, "quoted-printable", &quoted),
        ];
        rows(&mut page, technique, &mails);
    }
    page += "\n## What is made of base64\n\n";
    page += TABLE;
    for (technique, write) in BASE64_VARIANTS {
        rows(&mut page, technique, &[mail(plain, "base64", &write(&base64))]);
    }
    page += "\n## What is made of quoted-printable\n\n";
    page += TABLE;
    for (technique, write) in QUOTED_VARIANTS {
        rows(&mut page, technique, &[mail(plain, "quoted-printable", &write(&quoted))]);
    }
    page += &format!("\n{found} of {all} mails: the file is found; in all others the message is flagged.\n");
    assert_eq!(silent, [""; 0]);

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/evasion.md");
    if env::var_os("UPDATE").is_some() {
        fs::write(path, &page).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap_or_default(), page, "UPDATE=1 cargo test --lib evasion");
}

const TABLE: &str = "| technique | file found | `ambiguous_mime` |\n| --- | --- | --- |\n";

const HEAD: &str = "# How files are hidden in a mail, and what gatepost answers

Written by `UPDATE=1 cargo test --lib evasion`.

A mail can be written so that a filter sees another file than the reader's program, or none. Nobody can read it as all programs
do. So gatepost reads each message in all ways that it knows of, and looks at each file that comes out of any; and where there
is more than one way, `ambiguous_mime` matches, with a word for each trick ([checks](checks.md#ambiguous_mime)). What counts is that nothing passes in
silence: in each row the file is found, or the message is flagged, or both.

A mail that is read in one way only is not flagged: of 2,500 mails of the SpamAssassin project's public collection (easy ham) one is,
for a control character in a header field. Of the 548 mails of mime-is-broken that hide an archive's content or its name, 525 show it,
all others are flagged.

The techniques are those of *Inbox Invasion* (CCS 2024), of mime-is-broken, and some of our own.
";

#[test]
fn what_is_called_a_message_and_is_none_is_a_file() {
    // A zip with a file that is only stored.
    let mut zip = b"PK\x03\x04\x0a\0\0\0\0\0\0\0\x21\0\0\0\0\0\x02\0\0\0\x02\0\0\0\x05\0\0\0a.exeMZ".to_vec();
    zip.extend(
        b"PK\x01\x02\x0a\0\x0a\0\0\0\0\0\0\0\x21\0\0\0\0\0\x02\0\0\0\x02\0\0\0\x05\0\0\0\0\0\0\0\0\0\0\0\0\0",
    );
    zip.extend(b"\0\0\0\0a.exePK\x05\x06\0\0\0\0\x01\0\x01\0\x33\0\0\0\x25\0\0\0\0\0");
    for (media_type, data, expected) in [
        ("message/rfc822", zip.as_slice(), &["a.zip", "a.exe"][..]),
        ("message/external-body", &zip, &["a.zip", "a.exe"]),
        ("message/rfc822", b"From: a@b.example\nSubject: x\nDate: now\n\ntext\n", &["a.zip"]),
    ] {
        let fields = format!(
            "Content-Type: {media_type}; name=a.zip\nContent-Disposition: attachment; filename=a.zip\n\
             Content-Transfer-Encoding: base64\n\n"
        );
        let message = Message::from_eml((fields + &BASE64.encode(data)).as_bytes());
        let names: Vec<_> = message.files().flat_map(|(file, _)| &file.names).collect();
        assert!(names.iter().take(2).eq(expected), "{media_type}: {names:?}");
    }
}
