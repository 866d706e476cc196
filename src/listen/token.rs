//! The token of the HTTP endpoint: read from a file that others must not read, compared
//! without telling where it differs, and shown nowhere.

use std::fmt;
use std::fs;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use subtle::ConstantTimeEq as _;

/// Below it could be guessed.
const MIN_BYTES: usize = 16;

/// It stands in a header, of which there are 8 KiB.
const MAX_BYTES: usize = 1_024;

pub struct Token(String);

impl Token {
    /// What the file holds but for white space at its ends; else what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let told = |why: String| format!("{}: {why}", path.display());
        let unread = |error: std::io::Error| told(format!("can't be read: {error}"));
        // Opening a pipe would wait for its writer.
        if !fs::metadata(path).map_err(unread)?.is_file() {
            return Err(told("is not a file, expected one with the token".into()));
        }
        let file = File::open(path).map_err(unread)?;
        let mode = file.metadata().map_err(unread)?.permissions().mode() & 0o777;
        if mode & 0o007 != 0 {
            return Err(told(format!("others may read or change it (mode {mode:04o}): chmod o= it")));
        }
        let mut text = String::new();
        file.take(MAX_BYTES as u64 + 2).read_to_string(&mut text).map_err(unread)?;
        Self::of(text.trim()).map_err(told)
    }

    /// The error says what a token is.
    pub fn of(text: &str) -> Result<Self, String> {
        if !(MIN_BYTES..=MAX_BYTES).contains(&text.len()) {
            let found = text.len();
            return Err(format!("a token of {MIN_BYTES} to {MAX_BYTES} bytes is expected, not of {found}"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a token has no blanks and none but ASCII characters".into());
        }
        Ok(Self(text.to_owned()))
    }

    /// How long it takes tells no more than whether the length is right.
    pub fn is(&self, said: &str) -> bool {
        self.0.as_bytes().ct_eq(said.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_a_file_that_is_nobody_else_s() {
        let dir = tempfile::tempdir().unwrap();
        for (text, mode, expected) in [
            ("0123456789abcdef\n", 0o600, ""),
            ("  0123456789abcdef", 0o640, ""),
            ("0123456789abcdef", 0o644, "others may read or change it (mode 0644): chmod o= it"),
            ("0123456789abcdef", 0o602, "(mode 0602)"),
            ("0123456789abcde", 0o600, "a token of 16 to 1024 bytes is expected, not of 15"),
            (&"x".repeat(5_000), 0o600, "not of 1026"),
            ("0123456789 abcdef", 0o600, "no blanks"),
            ("0123456789abcdéf", 0o600, "none but ASCII"),
        ] {
            let path = dir.path().join("token");
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match Token::read(&path) {
                Ok(token) => assert!(expected.is_empty() && token.is("0123456789abcdef"), "{text}"),
                Err(why) => assert!(
                    !expected.is_empty() && why.ends_with(expected) || why.contains(expected),
                    "{why}"
                ),
            }
        }
        assert!(Token::read(dir.path()).unwrap_err().contains("is not a file"));
        assert!(
            Token::read(&dir.path().join("nowhere")).unwrap_err().contains("can't be read: No such file")
        );
    }

    #[test]
    fn only_the_same_is_the_same_and_it_is_not_shown() {
        let token = Token::of("0123456789abcdef").unwrap();
        for said in ["", "0123456789abcdeF", "0123456789abcde", "0123456789abcdef0"] {
            assert!(!token.is(said), "{said}");
        }
        assert!(token.is("0123456789abcdef"));
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
