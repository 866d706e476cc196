//! A message as the milter gives it.

/// Header fields and parts.
#[derive(Debug, Default)]
pub struct Message {}
