//! Lists and patterns: what rules ask membership of. Knows neither rules nor facts.

pub mod glob;
pub mod network;
pub mod ordered;
pub mod pattern;
pub mod pcre;
pub mod set;
