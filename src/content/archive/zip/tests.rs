//! Zip archives as they may come.
