//! What the name of a file tells: its ending as a system reads it, and the ways in
//! which one is hidden from whoever looks at it.
//!
//! Names are a stranger's; whoever gathers them caps their number and length. One pass
//! each, nothing recurses, and what is made is no longer than the name.

use super::words::words;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::sync::OnceLock;

words! {
    /// One way in which a name hides what the file is.
    Disguise {
        Clsid => "clsid", "Ends in a class of Windows, which opens it and is not shown: `a.txt.{3050f4d8-…}`.";
        DoubleExtension => "double_extension", "A program that ends as a document before it ends: `invoice.pdf.exe`. Windows hides the last ending.";
        Encoded => "encoded", "Has its ending only once `%2E` and its like are decoded.";
        HiddenCharacters => "hidden_characters", "Characters that nobody sees stand in the ending.";
        LookAlike => "look_alike", "The ending, or its dot, is written with characters that look like others: `a․exe`.";
        Padded => "padded", "Blanks push the ending of a program out of sight, or stand behind it.";
        Path => "path", "Leads elsewhere than into the folder that it is saved in: `../a`, `C:\\a`.";
        RightToLeft => "right_to_left", "Turns the direction of writing, so that `gpj.exe` is read as `exe.jpg`.";
        Stream => "stream", "Names a stream of NTFS, which opens the file before it: `a.exe::$DATA`.";
    }
}

/// What some system runs, or hands to what runs it, when somebody clicks on it. In
/// the order of the alphabet, for it is searched. `.com` is among them: this table is
/// only asked where the name says more than its ending.
const PROGRAMS: &[&str] = &[
    "ade",
    "adp",
    "appinstaller",
    "application",
    "appref-ms",
    "appx",
    "appxbundle",
    "bat",
    "chm",
    "cmd",
    "com",
    "cpl",
    "diagcab",
    "dll",
    "exe",
    "gadget",
    "hta",
    "inf",
    "iqy",
    "jar",
    "jnlp",
    "js",
    "jse",
    "library-ms",
    "lnk",
    "mde",
    "msc",
    "msi",
    "msix",
    "msixbundle",
    "msp",
    "mst",
    "ocx",
    "pif",
    "ps1",
    "psc1",
    "psm1",
    "reg",
    "scf",
    "scr",
    "sct",
    "search-ms",
    "searchconnector-ms",
    "settingcontent-ms",
    "shb",
    "shs",
    "slk",
    "sys",
    "theme",
    "url",
    "vb",
    "vbe",
    "vbs",
    "vbscript",
    "vxd",
    "website",
    "wsc",
    "wsf",
    "wsh",
    "xbap",
    "xll",
];

/// What people take for harmless; also in the order of the alphabet.
const DOCUMENTS: &[&str] = &[
    "7z", "avi", "bmp", "csv", "doc", "docm", "docx", "dwg", "eml", "epub", "gif", "heic", "htm", "html",
    "ics", "jpeg", "jpg", "m4a", "mov", "mp3", "mp4", "msg", "odp", "ods", "odt", "one", "pdf", "png", "ppt",
    "pptx", "ps", "rar", "rtf", "tif", "tiff", "txt", "vcf", "wav", "webp", "xls", "xlsm", "xlsx", "zip",
];

/// Fewer blanks in a row are somebody's slip; with the ending of a program behind them
/// [`FEW_BLANKS`] are enough.
const MANY_BLANKS: usize = 16;
const FEW_BLANKS: usize = 3;

/// What the names of one file tell, found out once, for many rules ask for it. A file that
/// is known to have other names needs another.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Told(OnceLock<Box<[Name]>>);

/// What one name tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Name {
    pub readings: Box<[Reading]>,
    pub disguises: Box<[Disguise]>,
}

/// One of the names that systems make of a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reading {
    pub text: Box<str>,
    /// None: it is the text.
    folded: Option<Box<str>>,
}

impl Told {
    /// Of each of `names`, which are the same whenever it is asked.
    pub fn of(&self, names: &[String]) -> &[Name] {
        self.0.get_or_init(|| names.iter().map(|name| Name::read(name)).collect())
    }
}

impl Name {
    fn read(name: &str) -> Self {
        let readings = readings(name);
        let disguises = disguises(name, &readings).into();
        Self { readings: readings.iter().map(|reading| Reading::new(reading)).collect(), disguises }
    }
}

impl Reading {
    fn new(text: &str) -> Self {
        let folded = text.bytes().any(|b| b.is_ascii_uppercase()).then(|| text.to_ascii_lowercase().into());
        Self { text: text.into(), folded }
    }

    /// In ASCII lower case.
    pub fn folded(&self) -> &str {
        self.folded.as_deref().unwrap_or(&self.text)
    }
}

/// The name, and the others under which some system stores or runs the file: without its
/// folder, without what is not shown, with what looks alike as what it looks like, without
/// a stream, percent-decoded. No two the same.
fn readings(name: &str) -> SmallVec<[Cow<'_, str>; 2]> {
    let mut all = SmallVec::new();
    all.push(Cow::Borrowed(name));
    if is_plain(name) {
        return all;
    }
    let mut add = |reading: &str| {
        if !reading.is_empty() && all.iter().all(|known: &Cow<'_, str>| known != reading) {
            all.push(Cow::Owned(reading.to_owned()));
        }
    };
    let decoded = percent_decoded(name);
    for name in [Some(name), decoded.as_deref()].into_iter().flatten() {
        let shown: String = file_of(name).chars().filter_map(as_looked_at).collect();
        let shown = without_end(file_of(&shown));
        add(shown);
        if let Some(file) = before_stream(shown) {
            add(without_end(file));
        }
    }
    all
}

/// How the name hides what the file is; nothing, as most do.
fn disguises(name: &str, readings: &[Cow<'_, str>]) -> Vec<Disguise> {
    let mut found = Vec::new();
    let mut add = |disguise, holds: bool| {
        if holds {
            found.push(disguise);
        }
    };
    let file = file_of(name);
    let trimmed = without_end(file);
    let own = ending(trimmed);
    let decoded = percent_decoded(name);
    // What of the name is meant to be read. People type `資料。pdf` and copy `a.pdf\u{200B}`
    // from pages, so only a program is hidden so.
    let cleaned = |keep: fn(char) -> Option<char>| -> String { file.chars().filter_map(keep).collect() };
    let has_become = |other: &str| {
        let other = ending(without_end(other));
        other != own && other.is_some_and(is_program)
    };
    // `www.example.com.` ends a sentence.
    let is_run = |ending: &str| is_program(ending) && !ending.eq_ignore_ascii_case("com");
    let is_program = readings.iter().any(|reading| ending(reading).is_some_and(is_run));

    add(Disguise::Clsid, own.is_some_and(is_clsid));
    add(Disguise::DoubleExtension, readings.iter().any(|reading| is_double(reading)));
    add(Disguise::Encoded, decoded.as_deref().is_some_and(|decoded| has_become(file_of(decoded))));
    if !name.is_ascii() {
        add(Disguise::HiddenCharacters, has_become(&cleaned(|c| (!is_hidden(c)).then_some(c))));
        add(Disguise::LookAlike, has_become(&cleaned(|c| Some(look_alike(c)))));
    }
    add(Disguise::Padded, is_padded(file, is_program));
    add(Disguise::Path, is_path(name));
    // Hebrew and Arabic names have marks of the direction and embeddings, and telephone numbers
    // are copied with one; only the override turns letters round.
    let is_embedded = name.contains(['\u{202B}', '\u{202D}', '\u{2067}']);
    add(Disguise::RightToLeft, name.contains('\u{202E}') || is_program && is_embedded);
    let folded = name.to_ascii_lowercase();
    add(Disguise::Stream, [":$data", "::$", ":$index_"].iter().any(|mark| folded.contains(mark)));
    found
}

/// What stands behind the last dot.
fn ending(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(_, ending)| ending)
}

fn is_program(ending: &str) -> bool {
    PROGRAMS.binary_search(&ending.to_ascii_lowercase().as_str()).is_ok()
}

fn is_document(ending: &str) -> bool {
    DOCUMENTS.binary_search(&ending.to_ascii_lowercase().as_str()).is_ok()
}

/// Has one reading, whatever the system.
fn is_plain(name: &str) -> bool {
    let is_odd = |b: u8| {
        !b.is_ascii() || matches!(b, b'%' | b':' | b'/' | b'\\' | b'"' | b'<' | b'>' | b'|' | b'?' | b'*')
    };
    !name.bytes().any(is_odd) && !name.ends_with(['.', ' ', '\t'])
}

/// A program behind the ending of a document, whatever stands between.
fn is_double(name: &str) -> bool {
    let Some((before, last)) = name.rsplit_once('.') else { return false };
    // A page's address as a name; what is a program all the same shows it by its content.
    if before.get(..4).is_some_and(|www| www.eq_ignore_ascii_case("www.")) {
        return false;
    }
    let is_between = |c: char| is_blank(c) || matches!(c, '_' | '-' | '.' | '(' | ')');
    // `invoice.pdf (1).exe`: what a browser adds does not count either.
    let before =
        ending(before.trim_end_matches(is_between)).and_then(|ending| ending.split(is_between).next());
    is_program(last) && before.is_some_and(is_document)
}

fn is_padded(file: &str, is_program: bool) -> bool {
    let longest = |is_counted: fn(char) -> bool| {
        let mut longest = 0;
        let mut run = 0;
        for c in file.chars() {
            run = if is_counted(c) { run + 1 } else { 0 };
            longest = longest.max(run);
        }
        longest
    };
    let trimmed = without_end(file);
    // Blanks before the only ending there is, or without a document before them, hide nothing.
    let is_pushed = || {
        let before = trimmed.rsplit_once('.').map_or(trimmed, |(before, _)| before);
        ending(before).and_then(|it| it.split(is_blank).next()).is_some_and(is_document)
    };
    longest(is_blank) >= MANY_BLANKS && is_pushed()
        || is_program
            && (longest(is_blank) >= FEW_BLANKS
                || longest(|c| c == '_') >= MANY_BLANKS
                || trimmed.len() < file.len())
}

fn is_path(name: &str) -> bool {
    let mut bytes = name.bytes();
    let is_drive = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.next() == Some(b':')
        && matches!(bytes.next(), Some(b'/' | b'\\'));
    is_drive || name.starts_with(['/', '\\']) || name.split(['/', '\\']).any(|folder| folder == "..")
}

/// `{3050f4d8-98b5-11cf-bb82-00aa00bdce0b}`.
fn is_clsid(ending: &str) -> bool {
    let Some(class) = ending.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else { return false };
    class.len() == 36
        && class.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// What stands behind the folders, of Windows or others.
fn file_of(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

/// Without what Windows drops from the end of a name.
fn without_end(name: &str) -> &str {
    name.trim_end_matches(|c| c == '.' || is_blank(c))
}

/// The file that a stream belongs to. `Re: letter.eml` is none: mail programs write
/// subjects as names.
fn before_stream(name: &str) -> Option<&str> {
    let (file, stream) = name.split_once(':')?;
    (file.contains('.') && !stream.starts_with(is_blank)).then_some(file)
}

/// None if there is nothing to decode.
fn percent_decoded(name: &str) -> Option<String> {
    if !name.contains('%') {
        return None;
    }
    let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    (decoded != name).then(|| decoded.replace(char::is_control, ""))
}

/// None for what nobody sees, and for what Windows does not allow in a name and programs
/// leave out.
fn as_looked_at(c: char) -> Option<char> {
    let is_left_out = is_hidden(c) || matches!(c, '"' | '<' | '>' | '|' | '?' | '*');
    (!is_left_out).then(|| look_alike(c))
}

/// Of no width, or a mark for the direction of writing (Unicode, `Cf` and what is drawn
/// as nothing).
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}'
        | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
        | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
        || c.is_control()
}

/// Drawn as a blank; not all of them are white space to Unicode.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{115F}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{FFA0}')
}

/// What people read: the dots, and the letters of which endings are made.
fn look_alike(c: char) -> char {
    if c.is_ascii() {
        return c;
    }
    let code = u32::from(c);
    // A letter of an alphabet that Unicode has a second time, by its place.
    let letter = |first: u32, base: char| char::from_u32(u32::from(base) + code - first).unwrap_or(c);
    match c {
        '\u{2024}' | '\u{FE52}' | '\u{FF0E}' | '\u{FF61}' | '\u{3002}' | '\u{A4F8}' | '\u{10A50}'
        | '\u{1D16D}' => '.',
        '\u{FF01}'..='\u{FF5E}' => letter(0xFF01, '!'),
        '\u{24B6}'..='\u{24CF}' => letter(0x24B6, 'A'),
        '\u{24D0}'..='\u{24E9}' => letter(0x24D0, 'a'),
        // Bold, italic, script, fraktur and others, capital and small ones by turns.
        '\u{1D400}'..='\u{1D6A3}' => match (code - 0x1D400) % 52 {
            at @ 0..26 => char::from_u32(u32::from('A') + at).unwrap_or(c),
            at => char::from_u32(u32::from('a') + at - 26).unwrap_or(c),
        },
        '\u{1D7CE}'..='\u{1D7FF}' => char::from_u32(u32::from('0') + (code - 0x1D7CE) % 10).unwrap_or(c),
        'а' | 'α' => 'a',
        'в' => 'b',
        'с' | 'ϲ' => 'c',
        'ԁ' => 'd',
        'е' | 'ҽ' => 'e',
        'һ' => 'h',
        'і' | 'ι' | 'ı' => 'i',
        'ј' => 'j',
        'к' | 'κ' => 'k',
        'ӏ' | 'ⅼ' => 'l',
        'м' | 'ⅿ' => 'm',
        'о' | 'ο' => 'o',
        'р' | 'ρ' => 'p',
        'ѕ' => 's',
        'т' => 't',
        'ѵ' | 'ν' | 'ⅴ' => 'v',
        'х' | 'χ' | 'ⅹ' => 'x',
        'у' => 'y',
        'А' | 'Α' => 'A',
        'В' | 'Β' => 'B',
        'С' | 'Ϲ' | 'Ⅽ' => 'C',
        'Е' | 'Ε' => 'E',
        'Н' | 'Η' => 'H',
        'І' | 'Ι' | 'Ⅰ' => 'I',
        'Ј' => 'J',
        'К' | 'Κ' => 'K',
        'М' | 'Μ' | 'Ⅿ' => 'M',
        'О' | 'Ο' => 'O',
        'Р' | 'Ρ' => 'P',
        'Ѕ' => 'S',
        'Т' | 'Τ' => 'T',
        'Х' | 'Χ' | 'Ⅹ' => 'X',
        'Ү' | 'Υ' => 'Y',
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tables_are_in_order() {
        assert!(PROGRAMS.is_sorted() && DOCUMENTS.is_sorted() && Disguise::WORDS.is_sorted());
        assert!(!PROGRAMS.iter().any(|ending| is_document(ending)));
    }

    #[test]
    fn a_name_is_read_as_systems_run_it() {
        for (name, others) in [
            ("a.exe", &[][..]),
            ("SETUP~1.EXE", &[]),
            ("größe.pdf", &[]),
            ("a.exe. .", &["a.exe"]),
            ("a.exe::$DATA", &["a.exe"]),
            ("a.exe:b.txt", &["a.exe"]),
            ("a.txt:b.exe", &["a.txt"]),
            ("Re: setup.exe", &[]),
            ("dir/sub\\a.exe", &["a.exe"]),
            ("../a.exe ", &["a.exe"]),
            ("a%2Eexe", &["a.exe"]),
            ("x%2Fa.exe", &["a.exe"]),
            ("100%.pdf", &[]),
            ("a．ｅｘｅ", &["a.exe"]),
            ("a․exe", &["a.exe"]),
            ("a.𝐞𝘹𝚎", &["a.exe"]),
            ("a.ехе", &["a.exe"]),
            ("a.e\u{200B}xe", &["a.exe"]),
            ("a.exe\u{2800}", &["a.exe"]),
            ("photo\u{202E}gpj.exe", &["photogpj.exe"]),
            ("a.ex\"e", &["a.exe"]),
        ] {
            let found = readings(name);
            let (first, rest) = found.split_first().unwrap();
            assert_eq!(first, name);
            let missing: Vec<_> = others.iter().filter(|other| !rest.iter().any(|it| it == *other)).collect();
            assert!(missing.is_empty(), "{name}: {rest:?}");
            assert!(!others.is_empty() || rest.is_empty(), "{name}: {rest:?}");
        }
    }

    #[test]
    fn what_hides_an_ending_is_named_and_what_is_odd_is_not() {
        for (name, expected) in [
            ("invoice.pdf.exe", "double_extension"),
            ("Invoice.PDF .SCR", "double_extension"),
            ("invoice.pdf_-.js", "double_extension"),
            ("invoice.pdf (1).exe", "double_extension"),
            ("invoice.pdf.zip", ""),
            ("figures.2026.csv", ""),
            ("report.v2.final.docx", ""),
            ("jquery.min.js", ""),
            ("www.example.com", ""),
            ("archive.tar.gz", ""),
            ("invoice.pdf.com", "double_extension"),
            ("photo.jpg   .scr", "double_extension padded"),
            ("Book.pdf\u{2800}\u{2800}\u{2800}.hta", "double_extension padded"),
            ("setup _________________.exe", "padded"),
            ("Scan   2.pdf", ""),
            ("Scan                    .pdf", ""),
            ("Minutes of the meeting,                    2026.pdf", ""),
            ("photo.jpg                    .html", "padded"),
            ("photo.jpg                    all.html", "padded"),
            ("setup.exe. ", "padded"),
            ("Offer Acme Inc.", ""),
            ("photo\u{202E}gpj.exe", "right_to_left"),
            ("דו\"ח\u{200F}.pdf", ""),
            ("a.txt.{3050f4d8-98b5-11cf-bb82-00aa00bdce0b}", "clsid"),
            ("{3050f4d8-98b5-11cf-bb82-00aa00bdce0b}.png", ""),
            ("a.{draft}", ""),
            ("a%2Eexe", "encoded"),
            ("100%25.pdf", ""),
            ("summer%20plan.pdf", ""),
            ("a.exe::$DATA", "stream"),
            ("Total:$100.pdf", ""),
            ("a․exe", "look_alike"),
            ("a.ｅｘｅ", "look_alike"),
            ("第１．資料.pdf", ""),
            ("отчет.pdf", ""),
            ("a.e\u{AD}xe", "hidden_characters"),
            ("a.p\u{AD}df", ""),
            ("minutes.pdf\u{200B}", ""),
            ("\u{202B}מסמך\u{202C}.docx", ""),
            ("\u{2067}תיק\u{2069}.pdf", ""),
            ("\u{202D}+49 30 1234\u{202C}.vcf", ""),
            ("\u{202B}pdf.\u{200F}exe", "hidden_characters right_to_left"),
            ("資料．ｐｄｆ", ""),
            ("報告。pdf", ""),
            ("a。exe", "look_alike"),
            ("report%2Epdf", ""),
            ("www.one.com", ""),
            ("See you on www.example.com.", ""),
            ("mesh   2.msh", ""),
            ("\u{FEFF}a.pdf", ""),
            ("👩\u{200D}💻 party.jpg", ""),
            ("../a.txt", "path"),
            ("C:\\Users\\a.doc", "path"),
            ("docs/a.txt", ""),
            ("a..b.txt", ""),
        ] {
            let found: Vec<_> = disguises(name, &readings(name)).into_iter().map(Disguise::word).collect();
            assert_eq!(found.join(" "), expected, "{name:?}");
        }
    }

    #[test]
    fn names_are_told_once_each_in_its_place() {
        let told = Told::default();
        let names = ["A.PDF", "b.pdf.exe ", "c%2Eexe"].map(str::to_owned);
        let all = told.of(&names);
        assert!(std::ptr::eq(all, told.of(&names)));
        let shown = |name: &Name| {
            let readings: Vec<_> = name.readings.iter().map(|it| (&*it.text, it.folded())).collect();
            format!("{readings:?} {:?}", name.disguises)
        };
        let shown: Vec<_> = all.iter().map(shown).collect();
        assert_eq!(
            shown,
            [
                r#"[("A.PDF", "a.pdf")] []"#,
                r#"[("b.pdf.exe ", "b.pdf.exe "), ("b.pdf.exe", "b.pdf.exe")] [DoubleExtension, Padded]"#,
                r#"[("c%2Eexe", "c%2eexe"), ("c.exe", "c.exe")] [Encoded]"#,
            ]
        );
    }

    proptest! {
        #[test]
        fn any_name_has_few_readings(name in any::<String>()) {
            let found = readings(&name);
            prop_assert!(found.len() <= 5);
            // Decoding may write U+FFFD, of three bytes, for one byte given as three.
            prop_assert!(found.iter().all(|reading| reading.len() <= name.len()));
            disguises(&name, &found);
        }
    }
}
