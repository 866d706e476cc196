//! Where a list's own file is, what is in it, and whether it has changed.
//!
//! What is no regular file is not opened, for a pipe would never end.

use std::fs::File;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Twenty million addresses.
pub(super) const MAX_FILE_BYTES: u64 = 512 << 20;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    Cidr,
    Pcre,
    /// One pattern a line.
    Plain,
    Regexp,
    Texthash,
}

/// What `file:` says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Location {
    pub format: Format,
    pub path: String,
}

impl Location {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let prefix = text
            .split_once(':')
            .filter(|(word, _)| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric()));
        let (format, path) = match prefix {
            None => (Format::Plain, text),
            Some(("cidr", path)) => (Format::Cidr, path),
            Some(("pcre", path)) => (Format::Pcre, path),
            Some(("regexp", path)) => (Format::Regexp, path),
            Some(("texthash", path)) => (Format::Texthash, path),
            Some((word @ ("btree" | "cdb" | "dbm" | "hash" | "lmdb"), _)) => {
                return Err(format!(
                    "`{word}:` is a compiled table: give `texthash:` and the text it is made from"
                ));
            }
            Some((word, _)) => {
                return Err(format!(
                    "`{word}:` is not read here: cidr: pcre: regexp: texthash: or a plain file"
                ));
            }
        };
        if path.trim().is_empty() {
            return Err("a path is missing behind `file:`".to_owned());
        }
        Ok(Self { format, path: path.to_owned() })
    }
}

/// By what a changed file is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    inode: u64,
    len: u64,
    seconds: i64,
    nanos: i64,
}

impl Stamp {
    /// None if there is no such file.
    pub(super) fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|metadata| Self::from_metadata(&metadata))
    }

    fn from_metadata(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            len: metadata.len(),
            seconds: metadata.mtime(),
            nanos: metadata.mtime_nsec(),
        }
    }
}

/// Opens a file. `Ok(None)`: there is none.
pub(super) fn open(path: &Path) -> Result<Option<(File, Stamp)>, String> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be opened: {error}")),
    };
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(format!("has {} bytes, {MAX_FILE_BYTES} are allowed", metadata.len()));
    }
    let file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let metadata = file.metadata().map_err(|error| format!("cannot be read: {error}"))?;
    Ok(Some((file, Stamp::from_metadata(&metadata))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read_by_their_prefix() {
        for (text, expected) in [
            ("lists/x", Ok((Format::Plain, "lists/x"))),
            ("texthash:lists/x", Ok((Format::Texthash, "lists/x"))),
            ("./a:b", Ok((Format::Plain, "./a:b"))),
            (
                "hash:lists/x",
                Err("`hash:` is a compiled table: give `texthash:` and the text it is made from"),
            ),
            ("mysql:x", Err("`mysql:` is not read here: cidr: pcre: regexp: texthash: or a plain file")),
            ("pcre:", Err("a path is missing behind `file:`")),
        ] {
            let location = Location::parse(text);
            let read = location.as_ref().map(|l| (l.format, l.path.as_str())).map_err(String::as_str);
            assert_eq!(read, expected, "{text}");
        }
    }
}
