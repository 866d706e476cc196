//! yEnc 1.3: bytes moved by 42, the few that transport would not bear escaped.

/// From behind the lines that begin it.
pub(super) fn push(output: &mut Vec<u8>, text: &[u8]) {
    output.reserve(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\r' | b'\n' => {}
            b'=' => output.extend(bytes.next().map(|byte| byte.wrapping_sub(64 + 42))),
            byte => output.push(byte.wrapping_sub(42)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_moved_back() {
        let mut output = Vec::new();
        push(&mut output, b"\x8b\x8c\r\n=\x6a=");
        assert_eq!(output, b"ab\x00");
    }
}
