//! What readers of a message disagree about: the words of `ambiguous_mime`.

use crate::content::words;
use std::fmt;

words! {
    /// One way of writing a message that its readers take differently.
    Trick {
        BareCr => "bare_cr", "A carriage return alone stands where a header line or a boundary may end.";
        Base64Junk => "base64_junk", "Base64 with foreign characters in it, or with `=` before its end.";
        BoundaryConflict => "boundary_conflict", "A multipart may have one boundary or another.";
        BoundaryMissing => "boundary_missing", "A multipart has no boundary, an empty one, or one that never comes.";
        BoundaryOdd => "boundary_odd", "A boundary is longer than allowed, or has characters that it may not have.";
        BoundaryReused => "boundary_reused", "Two multiparts have the same boundary, or one that begins with the other's.";
        ControlInHeader => "control_in_header", "Control characters in a header field.";
        DelimiterOdd => "delimiter_odd", "A line is a boundary but for what is behind it, or for blanks in front.";
        EncodedMultipart => "encoded_multipart", "A multipart, or a message within, is encoded as a whole.";
        EncodingConflict => "encoding_conflict", "A part may have one transfer encoding or another.";
        EncodingOdd => "encoding_odd", "A transfer encoding that is unknown, or is not written as it should be.";
        ExternalBody => "external_body", "A part whose content is to be fetched from elsewhere.";
        FieldsDoubled => "fields_doubled", "A part says twice, and differently, what it is.";
        HeaderBroken => "header_broken", "A line in a header that is no field, or a header without an empty line behind it.";
        LineEndsMixed => "line_ends_mixed", "Some lines of headers and boundaries end with a line feed alone, others do not.";
        MultipartUnended => "multipart_unended", "A multipart within another has no end.";
        NameConflict => "name_conflict", "A file may be called one thing or another, with another ending.";
        NameHidden => "name_hidden", "A file name with characters that are not seen, or that turn around what is.";
        NulInBody => "nul_in_body", "The body has a NUL, which some pass over, and at which a line ends for others.";
        NulInHeader => "nul_in_header", "A header has a NUL, at which it ends for some.";
        ParameterOdd => "parameter_odd", "A parameter of a part is written so that its value, or whether there is one, is not certain.";
        PartOutside => "part_outside", "A part stands before the first boundary, behind the last, or where its multipart is over.";
        PartialMessage => "partial_message", "A piece of a message that the reader's program puts together.";
        QuotedPrintableJunk => "quoted_printable_junk", "Quoted-printable with a `=` that means nothing.";
        TypeOdd => "type_odd", "A media type is written so that it is not certain whether there are parts in it.";
    }
}

/// Several at once.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub(super) struct Tricks(u64);

impl Tricks {
    pub(super) fn add(&mut self, trick: Trick) {
        self.0 |= 1 << trick as u64;
    }

    pub(super) fn add_if(&mut self, seen: bool, trick: Trick) {
        if seen {
            self.add(trick);
        }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Trick> {
        Trick::ALL.iter().copied().filter(move |trick| self.0 & 1 << *trick as u64 != 0)
    }
}

impl fmt::Debug for Tricks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Trick::word)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_in_order_and_fit_into_a_set() {
        assert!(Trick::WORDS.is_sorted() && Trick::ALL.len() <= 64);
        let mut tricks = Tricks::default();
        for trick in Trick::ALL.iter().rev() {
            tricks.add(*trick);
        }
        assert!(tricks.iter().eq(Trick::ALL.iter().copied()));
    }
}
