//! How a condition's value is written, and whether a fact fits it: texts by
//! their form, numbers, words. Shared by all checks.

mod codes;
mod key;
mod loader;
mod lookup;
mod number;
mod results;
mod text;
mod words;

pub use codes::check_codes;
pub use key::IPV6_PREFIX;
pub use key::canonical_key;
pub use key::canonical_text;
pub use key::key_text;
pub use key::network;
pub use loader::Loader;
pub use loader::empty;
pub use loader::is_word;
pub use lookup::Lookup;
pub use lookup::query;
pub use number::NumberTest;
pub use number::number;
pub use results::ResultTest;
pub use text::TextTest;
pub use text::Way;
pub use text::as_asked;
pub use text::lists;
pub use text::subject;
pub use words::WordTest;
pub use words::some_words;
