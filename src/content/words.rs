//! Words that rules ask for, each with the sentence that the documents have of it.

/// An enum of such words, in their order.
macro_rules! words {
    ($(#[$about:meta])+ $name:ident { $($item:ident => $word:literal, $doc:literal;)+ }) => {
        $(#[$about])+
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum $name {
            $(#[doc = $doc] $item,)+
        }

        impl $name {
            /// All, in the order of their words.
            pub const ALL: &'static [Self] = &[$(Self::$item,)+];

            /// The words alone, as rules have them.
            pub const WORDS: &'static [&'static str] = &[$($word,)+];

            /// As rules, logs and metrics have it.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$item => $word,)+
                }
            }

            /// The rows of a table in the documents.
            pub fn rows() -> String {
                [$(concat!("| `", $word, "` | ", $doc, " |\n"),)+].concat()
            }
        }
    };
}

pub(crate) use words;
