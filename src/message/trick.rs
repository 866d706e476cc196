//! What readers of a message disagree about: the words of `ambiguous_mime`.

/// One way of writing a message that its readers take differently.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Trick {
    ControlInHeader,
}

impl Trick {
    pub const ALL: &'static [Self] = &[Self::ControlInHeader];

    /// As rules, logs and metrics have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::ControlInHeader => "control_in_header",
        }
    }
}
