//! Message.
pub mod address;
pub mod charset;
pub mod header;
pub mod parameters;
pub mod words;
