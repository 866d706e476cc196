//! What a name in a zip archive may be read as.

use crate::content::Names;

/// The upper half of code page 437, in which names are that say nothing else
/// (APPNOTE, appendix D).
const CP437: [char; 128] = [
    'Ç', 'ü', 'é', 'â', 'ä', 'à', 'å', 'ç', 'ê', 'ë', 'è', 'ï', 'î', 'ì', 'Ä', 'Å', 'É', 'æ', 'Æ', 'ô', 'ö',
    'ò', 'û', 'ù', 'ÿ', 'Ö', 'Ü', '¢', '£', '¥', '₧', 'ƒ', 'á', 'í', 'ó', 'ú', 'ñ', 'Ñ', 'ª', 'º', '¿', '⌐',
    '¬', '½', '¼', '¡', '«', '»', '░', '▒', '▓', '│', '┤', '╡', '╢', '╖', '╕', '╣', '║', '╗', '╝', '╜', '╛',
    '┐', '└', '┴', '┬', '├', '─', '┼', '╞', '╟', '╚', '╔', '╩', '╦', '╠', '═', '╬', '╧', '╨', '╤', '╥', '╙',
    '╘', '╒', '╓', '╫', '╪', '┘', '┌', '█', '▄', '▌', '▐', '▀', 'α', 'ß', 'Γ', 'π', 'Σ', 'σ', 'µ', 'τ', 'Φ',
    'Θ', 'Ω', 'δ', '∞', 'φ', 'ε', '∩', '≡', '±', '≥', '≤', '⌠', '⌡', '÷', '≈', '°', '∙', '·', '√', 'ⁿ', '²',
    '■', '\u{A0}',
];

/// Whether the archive says that the name is in UTF-8.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::content::archive) enum Charset {
    Unsaid,
    Utf8,
}

/// Of a longer name its beginning and its end are read, more of it than [`Names`] keeps.
const MAX_RAW_BYTES: usize = 8 << 10;

/// Adds all that `raw` may be read as; false if what it says of itself is not true.
pub(in crate::content::archive) fn add(names: &mut Names, raw: &[u8], charset: Charset) -> bool {
    if raw.len() > MAX_RAW_BYTES {
        let (beginning, _) = raw.split_at(MAX_RAW_BYTES / 2);
        let (_, end) = raw.split_at(raw.len() - MAX_RAW_BYTES / 2);
        return add(names, &[beginning, end].concat(), charset);
    }
    let utf8 = std::str::from_utf8(raw);
    if let Ok(name) = utf8 {
        names.add(name);
    }
    if raw.is_ascii() || (utf8.is_ok() && charset == Charset::Utf8) {
        return true;
    }
    let name: String = raw
        .iter()
        .map(|byte| match byte {
            0..0x80 => char::from(*byte),
            _ => CP437.get(usize::from(byte & 0x7F)).copied().unwrap_or('\u{FFFD}'),
        })
        .collect();
    names.add(&name);
    charset == Charset::Unsaid
}
