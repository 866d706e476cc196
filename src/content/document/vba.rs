//! Macros in VBA: what their modules are called (MS-OVBA, sections 2.3.4.2 and 2.4.1).

/// Bytes that are unpacked of the list of modules; that of a thousand has fewer.
const MAX_UNPACKED: usize = 1 << 20;
const CHUNK_BYTES: usize = 4096;

/// Names in the stream `dir` of a project; none if it can't be read.
pub(super) fn modules(dir: &[u8]) -> Vec<String> {
    const NAME: u16 = 0x0019;
    const VERSION: u16 = 0x0009;
    let dir = unpack(dir);
    let mut rest = dir.as_slice();
    let mut names = Vec::new();
    while let Some((header, more)) = rest.split_first_chunk::<6>() {
        let [a, b, size @ ..] = *header;
        let id = u16::from_le_bytes([a, b]);
        let size = usize::try_from(u32::from_le_bytes(size)).unwrap_or(usize::MAX);
        // Says 4 and has 6.
        let size = if id == VERSION { size.saturating_add(2) } else { size };
        let (Some(body), Some(after)) = (more.get(..size), more.get(size..)) else { break };
        if id == NAME {
            names.push(String::from_utf8_lossy(body).into_owned());
        }
        rest = after;
    }
    names
}

/// As far as it goes.
fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut made = Vec::new();
    let Some((1, mut rest)) = packed.split_first().map(|(first, rest)| (*first, rest)) else { return made };
    while let Some((header, more)) = rest.split_first_chunk::<2>()
        && made.len() < MAX_UNPACKED
    {
        let header = u16::from_le_bytes(*header);
        let size = usize::from(header & 0x0fff) + 1;
        let chunk = more.get(..size).unwrap_or(more);
        if header & 0x8000 == 0 {
            made.extend(chunk);
        } else {
            unpack_chunk(chunk, &mut made);
        }
        rest = more.get(size..).unwrap_or_default();
    }
    made
}

/// Letters, and copies of what was made before in the same chunk.
fn unpack_chunk(chunk: &[u8], made: &mut Vec<u8>) {
    let start = made.len();
    let mut bytes = chunk.iter().copied();
    while let Some(flags) = bytes.next() {
        for bit in 0..8 {
            let Some(first) = bytes.next() else { return };
            let so_far = made.len() - start;
            if so_far >= CHUNK_BYTES {
                return;
            }
            if flags >> bit & 1 == 0 {
                made.push(first);
                continue;
            }
            let Some(second) = bytes.next() else { return };
            let token = u16::from_le_bytes([first, second]);
            let offset_bits = (usize::BITS - so_far.saturating_sub(1).leading_zeros()).max(4);
            let length_bits = 16 - offset_bits.min(12);
            let length = usize::from(token & ((1 << length_bits) - 1)) + 3;
            let back = usize::from(token >> length_bits) + 1;
            let Some(from) = made.len().checked_sub(back).filter(|from| *from >= start) else { return };
            for at in from..from + length.min(CHUNK_BYTES - so_far) {
                let Some(byte) = made.get(at).copied() else { return };
                made.push(byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_microsoft_packed_is_unpacked() {
        // MS-OVBA, section 3.2.2 and 3.2.3.
        for (packed, expected) in [
            (
                &b"\x01\x19\xb0\x00abcdefgh\x00ijklmnop\x00qrstuv."[..],
                "abcdefghijklmnopqrstuv.",
            ),
            (
b"\x01\x2f\xb0\x00#aaabcde\x82f\x00paghij\x01\x38\x08akl\x00\x30mnop\x06q\x02p\x04\x10rstuv\x10wxyz\x00\x3c",
                "#aaabcdefaaaaghijaaaaaklaaamnopqaaaaaaaaaaaarstuvwxyzaaa",
            ),
            (b"\x01\x03\xb0\x02a\x45\x00", &"a".repeat(73)),
            (b"\x02\x03\xb0\x02a\x45\x00", ""),
            (b"\x01\x03\xb0\x03\x45\x00", ""),
        ] {
            assert_eq!(String::from_utf8_lossy(&unpack(packed)), expected);
        }
    }
}
