//! Bytes to frames and back, without any I/O of its own.

pub mod control;
pub mod delegation;
pub mod milter;
pub mod milter_answer;
pub mod milter_stream;
