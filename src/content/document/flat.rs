//! Documents as one text: XML of Word and Excel, of LibreOffice, and web pages that
//! Word has saved with all that is in them.

use super::Inside;
use super::Kind;
use memchr::memmem;

pub(super) fn look(bytes: &[u8], inside: &mut Inside<'_>) {
    const SIGNS: &[(&[u8], Kind)] = &[
        (b"w:macrosPresent=\"yes\"", Kind::Macros),
        (b"vnd.ms-office.vbaProject", Kind::Macros),
        (b"<script:module ", Kind::Macros),
        // `ActiveMime`, in which macros are packed, in base64.
        (b"QWN0aXZlTWlt", Kind::Macros),
        (b"relationships/attachedTemplate\" Target=\"http", Kind::ExternalTemplate),
    ];
    let is_text =
        matches!(bytes.trim_ascii_start().first(), Some(b'<' | b'A'..=b'Z' | b'a'..=b'z' | b'\xef'));
    if !is_text {
        return;
    }
    for (sign, kind) in SIGNS {
        if memmem::find(bytes, sign).is_some() {
            inside.is(*kind);
        }
    }
}
