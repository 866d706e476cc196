//! YAML text → a tree in which every node knows its place, so that a mistake
//! found long after parsing can still be shown with line, column and source.
//!
//! Scalars are kept raw, with whether they were quoted: `010`, `NO` and `1e3`
//! stay text, and `present` differs from `"present"`. What YAML would do behind
//! the operator's back (null, tags, anchors, doubled keys) is a mistake here.

mod mistake;
mod node;
mod parse;
mod syntax;
#[cfg(test)]
mod tests;

pub use mistake::Mistake;
pub use mistake::Mistakes;
pub use mistake::Place;
pub use mistake::Source;
pub use node::Entry;
pub use node::Node;
pub use node::Scalar;
pub use node::Value;
pub use parse::MAX_BYTES;
pub use parse::leaves_nothing;
pub use parse::parse;
