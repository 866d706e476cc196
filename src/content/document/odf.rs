//! Documents of LibreOffice and its kin: files of XML in a zip archive.

use super::Budget;
use super::Inside;
use super::Kind;
use super::zip;
use memchr::memmem;

pub(super) fn look(reader: &mut zip::Reader<'_>, inside: &mut Inside<'_>, budget: &mut Budget) {
    let names: Vec<String> = reader.names().map(str::to_ascii_lowercase).collect();
    if !names.iter().any(|name| name == "meta-inf/manifest.xml")
        || !names.iter().any(|name| name == "mimetype")
    {
        return;
    }
    inside.is(Kind::Document);
    for name in &names {
        // The lists of libraries and modules stand in many that have none.
        let is_list = ["script-lc.xml", "script-lb.xml", "dialog-lc.xml", "dialog-lb.xml"]
            .iter()
            .any(|list| name.ends_with(list));
        if name.starts_with("basic/") && name.ends_with(".xml") && !is_list {
            inside.is(Kind::Macros);
            let module = name.rsplit('/').next().and_then(|file| file.strip_suffix(".xml"));
            module.into_iter().for_each(|module| inside.add_macro(module.to_owned()));
        }
        if name.starts_with("scripts/") && !name.ends_with('/') {
            inside.is(Kind::Macros);
        }
    }
    if names.iter().any(|name| name == "meta-inf/macrosignatures.xml") && inside.kinds.has(Kind::Macros) {
        inside.is(Kind::SignedMacros);
    }
    if let Some(manifest) = reader.read("META-INF/manifest.xml", budget)
        && memmem::find(&manifest, b"encryption-data").is_some()
    {
        inside.is(Kind::EncryptedDocument);
    }
    // Events that call a macro, which may be one of the program's own.
    if let Some(content) = reader.read("content.xml", budget)
        && memmem::find(&content, b"vnd.sun.star.script:").is_some()
    {
        inside.is(Kind::Macros);
    }
}
