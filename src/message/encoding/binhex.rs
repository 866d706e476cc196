//! BinHex 4.0 (RFC 1741): six bits a character, then runs, then a header with the
//! name and the length of the file.

const DIGITS: &[u8; 64] = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr";
const RUN: u8 = 0x90;
/// Bytes unpacked of one file beyond four for each of its own: runs are made to be small.
const MAX_BYTES: usize = 16 << 20;
/// Up to the length of the data: what is read for the name alone.
const MAX_HEADER_BYTES: usize = 1 + 63 + 1 + 18 + 2;

/// The file's data, without its resources; false: there was more than is unpacked.
pub(super) fn push(output: &mut Vec<u8>, text: &[u8]) -> bool {
    let max = text.len().saturating_mul(4).saturating_add(MAX_BYTES);
    let is_whole = unpack(output, text, max);
    let length = output.first().copied().map_or(0, usize::from);
    let data = length + 2 + 10;
    let Some(bytes) = output.get(data..data + 4) else { return is_whole };
    let count = bytes.iter().fold(0, |count: usize, byte| count << 8 | usize::from(*byte));
    let begin = data + 4 + 4 + 2;
    let end = begin.saturating_add(count).min(output.len());
    output.truncate(end);
    output.drain(..begin.min(end));
    is_whole
}

/// What it says that it is called.
pub(super) fn name(text: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    unpack(&mut output, text, MAX_HEADER_BYTES);
    let length = output.first().copied().map_or(0, usize::from);
    output.get(1..=length).unwrap_or_default().to_vec()
}

fn unpack(output: &mut Vec<u8>, text: &[u8], max: usize) -> bool {
    let (mut bits, mut count) = (0u32, 0u32);
    let mut is_run = false;
    for byte in text {
        let Some(value) = value(*byte) else { continue };
        bits = bits << 6 | value;
        count += 6;
        if count < 8 {
            continue;
        }
        count -= 8;
        let byte = (bits >> count) as u8;
        bits &= (1 << count) - 1;
        match (is_run, byte) {
            (false, RUN) => is_run = true,
            (false, byte) => output.push(byte),
            (true, 0) => {
                output.push(RUN);
                is_run = false;
            }
            (true, times) => {
                let last = output.last().copied().unwrap_or(0);
                output.resize(output.len() + usize::from(times) - 1, last);
                is_run = false;
            }
        }
        if output.len() > max {
            output.truncate(max);
            return false;
        }
    }
    true
}

fn value(byte: u8) -> Option<u32> {
    const VALUES: [Option<u32>; 256] = {
        let mut values = [None; 256];
        let mut at = 0;
        while at < DIGITS.len() {
            values[DIGITS[at] as usize] = Some(at as u32);
            at += 1;
        }
        values
    };
    VALUES.get(usize::from(byte)).copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(name: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![name.len() as u8];
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b"\0TEXTttxt\0\0");
        bytes.extend_from_slice(&(data.len() as u32).to_be_bytes());
        bytes.extend_from_slice(b"\0\0\0\0\0\0");
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(b"\0\0");
        let mut text = Vec::new();
        for three in bytes.chunks(3) {
            let bits =
                three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            text.extend((0..=three.len()).map(|at| DIGITS[(bits >> (18 - 6 * at) & 63) as usize]));
        }
        text
    }

    #[test]
    fn a_file_is_unpacked_with_its_name() {
        let text = encoded("a.exe", b"MZ and more");
        let mut output = Vec::new();
        assert!(push(&mut output, &text));
        assert_eq!((output.as_slice(), name(&text)), (&b"MZ and more"[..], b"a.exe".to_vec()));
        let runs = encoded("a", b"x");
        for cut in 0..runs.len() {
            push(&mut Vec::new(), &runs[..cut]);
        }
    }

    #[test]
    fn runs_have_a_bound() {
        // The digits of 0x90 0xFF again and again.
        let text = encoded("a", &[0x90, 0xff].repeat(400_000));
        let mut output = Vec::new();
        let max = text.len() * 4 + MAX_BYTES;
        assert!(!unpack(&mut output, &text, max) && output.len() == max);
    }
}
