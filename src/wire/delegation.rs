//! The policy delegation codec.

/// One request, borrowed from the connection's buffer.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// Names and values in the order sent, raw.
    pub attributes: Vec<(&'a [u8], &'a [u8])>,
}
