//! What a file is, by what is in it: the words that rules ask for.

use super::words::words;
use std::fmt;

words! {
    /// One thing that a file is; it may be several at once.
    Kind {
        AmbiguousArchive => "ambiguous_archive", "An archive that is read differently by different programs.";
        Archive => "archive", "Files packed into one, or one file compressed: zip, tar, gz, bz2, xz, zstd, 7z, rar, cab, lha, arj, ace.";
        Audio => "audio", "Sound.";
        Binary => "binary", "None of the others, and no text.";
        Calendar => "calendar", "Appointments and contacts: ics, vcf.";
        Certificate => "certificate", "Keys and certificates.";
        Damaged => "damaged", "Begins as an archive or document that can't be read to its end.";
        Dde => "dde", "A document with a field or cell that starts a program (DDE).";
        DiskImage => "disk_image", "A disk that opens with a click: iso, img, vhd, vhdx, dmg.";
        Document => "document", "Office documents, PDF, RTF.";
        EmbeddedObject => "embedded_object", "A document with a file inside that opens with a click, whatever it is: a package, a file in a notebook.";
        Empty => "empty", "Nothing in it.";
        EncryptedArchive => "encrypted_archive", "An archive of which some file needs a password.";
        EncryptedDocument => "encrypted_document", "A document that is encrypted, with or without a password that is known to all: what is in it is not seen. PDFs that only forbid printing or changing are encrypted too.";
        EquationObject => "equation_object", "A document with an object of the old equation editor, through which programs were run.";
        Executable => "executable", "A program: of Windows, DOS, Linux, macOS, Java, Android.";
        ExternalTemplate => "external_template", "A document that fetches a template or object from elsewhere.";
        Help => "help", "Help of Windows, which runs programs: chm, hlp.";
        Html => "html", "A web page: HTML, XHTML, SVG with scripts, pages saved as one file.";
        Image => "image", "A picture.";
        Installer => "installer", "What installs programs: msi, msix, deb, rpm, pkg.";
        Limits => "limits", "There is more in it than is read.";
        Macros => "macros", "A document with macros, or a file of macros.";
        Message => "message", "A mail: eml, msg.";
        Onenote => "onenote", "A notebook section of OneNote.";
        Pdf => "pdf", "PDF.";
        PdfLaunch => "pdf_launch", "A PDF that starts a program or opens a file within.";
        PdfScript => "pdf_script", "A PDF with JavaScript.";
        Polyglot => "polyglot", "Is of two kinds at once, by where one begins to read.";
        Script => "script", "Text that a system runs: js, vbs, ps1, bat, sh, hta, reg, and others by their content or ending.";
        SelfExtracting => "self_extracting", "A program that is an archive as well.";
        Shortcut => "shortcut", "Points to what a click starts or connects to: lnk, url, desktop, webloc, library-ms, rdp, and their like.";
        Signature => "signature", "A signature of S/MIME or PGP, or what one of them has encrypted.";
        SignedMacros => "signed_macros", "Macros with a signature, which is not verified.";
        Smuggling => "smuggling", "A web page that makes a file out of what is written in it.";
        Text => "text", "Text that is none of the others.";
        Unscannable => "unscannable", "An archive that is known but not opened.";
        Video => "video", "Moving pictures.";
    }
}

/// `docs/kinds.md`.
pub fn reference() -> String {
    let mut page = String::from(
        "# Kinds of files\n\n\
         This page is generated. What a file is by its content, whatever its name and type say: attachments,\n\
         files in archives, and files in documents. A file may be of several kinds, and a document has those of\n\
         what it hides. What runs by the ending of its name alone (`js`, `bat`, `py`) is a `script` if it is text\n\
         and is named so.\n\n\
         | kind | a file of it |\n| --- | --- |\n",
    );
    page += &Kind::rows();
    page
}

/// Several at once.
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub struct Kinds(u64);

impl Kinds {
    pub const NONE: Self = Self(0);

    #[must_use]
    pub const fn with(self, kind: Kind) -> Self {
        Self(self.0 | 1 << kind as u64)
    }

    pub fn add(&mut self, kind: Kind) {
        *self = self.with(kind);
    }

    pub fn join(&mut self, other: Self) {
        self.0 |= other.0;
    }

    #[must_use]
    pub const fn without(self, kind: Kind) -> Self {
        Self(self.0 & !(1 << kind as u64))
    }

    pub const fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u64 != 0
    }

    /// Whether it has any of `others`.
    pub const fn has_any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.iter().copied().filter(move |kind| self.has(*kind))
    }
}

impl From<Kind> for Kinds {
    fn from(kind: Kind) -> Self {
        Self::NONE.with(kind)
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Kind::word)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_in_order_and_fit_into_a_set() {
        assert!(Kind::WORDS.is_sorted());
        assert!(Kind::ALL.len() <= 64);
        let all: Kinds = Kind::ALL.iter().copied().collect();
        assert!(Kind::ALL.iter().all(|kind| all.has(*kind)));
        assert_eq!(all.iter().count(), Kind::ALL.len());
    }

    #[test]
    fn sets_have_what_was_added() {
        let mut kinds = Kinds::from(Kind::Archive);
        assert!(!kinds.has(Kind::Executable));
        kinds.join(Kind::Executable.into());
        assert!(kinds.has(Kind::Archive) && kinds.has_any(Kind::Executable.into()));
        assert!(!kinds.without(Kind::Archive).has(Kind::Archive) && kinds.without(Kind::Pdf) == kinds);
        assert_eq!(format!("{kinds:?}"), r#"{"archive", "executable"}"#);
    }
}
