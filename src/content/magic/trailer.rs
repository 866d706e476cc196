//! A zip as found from its end: what its names say that it is. Nothing is unpacked,
//! and nothing is believed but that the names are there; opening it is for others.

use crate::content::Given;
use crate::content::Kind;
use crate::content::Kinds;
use memchr::memmem;

/// A comment is no longer, so the end's mark stands within.
const END_WITHIN: usize = 65_535 + END_BYTES;
const END_BYTES: usize = 22;
const END: &[u8] = b"PK\x05\x06";
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_BYTES: usize = 46;
const LOCAL: &[u8] = b"PK\x03\x04";
/// Names that are looked at; more stand in no document.
const MAX_NAMES: usize = 4096;

/// The list of files at the end.
pub(super) struct Directory<'a> {
    entries: &'a [u8],
    /// Nothing stands behind it.
    pub(super) is_to_the_end: bool,
}

impl<'a> Directory<'a> {
    /// By the last mark of an end before which there is a list.
    pub(super) fn find(bytes: &'a [u8]) -> Option<Self> {
        let from = bytes.len().saturating_sub(END_WITHIN);
        let window = bytes.get(from..)?;
        let end = from + memmem::rfind(window, END)?;
        let size = usize::try_from(u32_at(bytes, end + 12)?).ok()?;
        let offset = usize::try_from(u32_at(bytes, end + 16)?).ok()?;
        let comment = usize::from(u16_at(bytes, end + 20)?);
        let is_to_the_end = end + END_BYTES + comment == bytes.len();
        // Offsets count from the zip's own beginning, or from the file's.
        let at = [end.checked_sub(size), Some(offset)];
        let entries = at.into_iter().flatten().filter_map(|at| bytes.get(at..end));
        let entries = entries.into_iter().find(|entries| entries.starts_with(ENTRY))?;
        Some(Self { entries, is_to_the_end })
    }

    fn names(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.entries;
        std::iter::from_fn(move || {
            if !rest.starts_with(ENTRY) {
                return None;
            }
            let name_bytes = usize::from(u16_at(rest, 28)?);
            let more = usize::from(u16_at(rest, 30)?) + usize::from(u16_at(rest, 32)?);
            let name = rest.get(ENTRY_BYTES..ENTRY_BYTES + name_bytes)?;
            rest = rest.get(ENTRY_BYTES + name_bytes + more..)?;
            Some(name)
        })
        .take(MAX_NAMES)
    }
}

/// What the names in it make it. A document is an archive as well only if something
/// else than a document's files is in it, or if it is named as an archive.
pub(super) fn zip_kinds(given: Given<'_>, directory: Option<&Directory<'_>>) -> Kinds {
    let mut seen = Seen::default();
    if let Some(directory) = directory {
        directory.names().for_each(|name| seen.add(name));
    }
    let (first, content) = first_local(given.bytes).unwrap_or_default();
    if directory.is_none() {
        seen.add(first);
    }
    let is_open_document = first == b"mimetype"
        && [&b"application/vnd.oasis.opendocument"[..], b"application/vnd.sun.xml", b"application/epub+zip"]
            .iter()
            .any(|begin| content.starts_with(begin));
    let is_office = seen.content_types && (seen.office || directory.is_none());
    let mut kinds = Kinds::NONE;
    if is_office || is_open_document || seen.manifest_xml && seen.content_xml {
        kinds.add(Kind::Document);
    }
    if seen.android || seen.app || seen.manifest_mf && seen.class {
        kinds.add(Kind::Executable);
    }
    if seen.package {
        kinds.add(Kind::Installer);
    }
    let is_named_so = given.names.iter().any(|name| {
        name.get(name.len().saturating_sub(4)..).is_some_and(|end| end.eq_ignore_ascii_case(".zip"))
    });
    if !kinds.has(Kind::Document) || seen.foreign || is_named_so {
        kinds.add(Kind::Archive);
    }
    kinds
}

/// What stood among the names.
#[derive(Default)]
struct Seen {
    android: bool,
    app: bool,
    class: bool,
    content_types: bool,
    content_xml: bool,
    foreign: bool,
    manifest_mf: bool,
    manifest_xml: bool,
    office: bool,
    package: bool,
}

impl Seen {
    fn add(&mut self, name: &[u8]) {
        /// Folders and files at the top of documents of Office, OpenDocument and EPUB.
        const OF_DOCUMENTS: &[&[u8]] = &[
            b"[content_types].xml",
            b"[trash]",
            b"_rels",
            b"_xmlsignatures",
            b"basic",
            b"configurations2",
            b"content.xml",
            b"custom",
            b"customui",
            b"customxml",
            b"dialogs",
            b"docmetadata",
            b"docprops",
            b"documents",
            b"epub",
            b"fixeddocseq.fdseq",
            b"fixeddocumentsequence.fdseq",
            b"layout-cache",
            b"manifest.rdf",
            b"media",
            b"meta-inf",
            b"meta.xml",
            b"metadata",
            b"mimetype",
            b"object 1",
            b"objectreplacements",
            b"oebps",
            b"ops",
            b"package",
            b"pictures",
            b"ppt",
            b"resources",
            b"scripts",
            b"settings.xml",
            b"styles.xml",
            b"thumbnails",
            b"usercustomization",
            b"versions",
            b"visio",
            b"word",
            b"xl",
        ];
        let name = name.strip_prefix(b"/").unwrap_or(name);
        let top = name.split(|byte| matches!(byte, b'/' | b'\\')).next().unwrap_or_default();
        let is = |whole: &[u8]| name.eq_ignore_ascii_case(whole);
        let is_top = |folder: &[u8]| top.eq_ignore_ascii_case(folder);
        let is_object = top.get(..7).is_some_and(|begin| begin.eq_ignore_ascii_case(b"object "));
        self.foreign |= !is_object && !OF_DOCUMENTS.iter().any(|known| is_top(known));
        self.content_types |= is(b"[Content_Types].xml");
        self.content_xml |= is(b"content.xml");
        self.manifest_mf |= is(b"META-INF/MANIFEST.MF");
        self.manifest_xml |= is(b"META-INF/manifest.xml");
        self.class |= name.ends_with(b".class");
        self.android |= name == b"AndroidManifest.xml" || name == b"classes.dex";
        self.app |= name.starts_with(b"Payload/") && name.ends_with(b".app/Info.plist");
        self.office |=
            [&b"word"[..], b"xl", b"ppt", b"visio", b"documents"].iter().any(|folder| is_top(folder));
        self.package |= is(b"AppxManifest.xml")
            || is(b"AppxMetadata/AppxBundleManifest.xml")
            || is(b"extension.vsixmanifest")
            || is(b"install.rdf")
            || is(b"META-INF/mozilla.rsa");
    }
}

/// Name of the first file, and what follows it.
fn first_local(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = bytes.starts_with(LOCAL).then_some(0)?;
    let name = usize::from(u16_at(bytes, start + 26)?);
    let extra = usize::from(u16_at(bytes, start + 28)?);
    Some((bytes.get(30..30 + name)?, bytes.get(30 + name + extra..).unwrap_or_default()))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}
