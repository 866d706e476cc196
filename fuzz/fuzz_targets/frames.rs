//! Bytes on the milter socket, as they are handed on to indymilter: the same ones,
//! however they are asked for, and hardly more than came.

#![no_main]

use gatepost::wire::milter_stream::Mended;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use tokio::io::AsyncReadExt as _;
use tokio::runtime::Builder;
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().build().unwrap());

fuzz_target!(|bytes: &[u8]| {
    let (by_one, by_seven, whole) = RUNTIME.block_on(async {
        (handed_on(bytes, 1).await, handed_on(bytes, 7).await, handed_on(bytes, 100_000).await)
    });
    assert_eq!(by_one, whole);
    assert_eq!(by_seven, whole);
    assert!(whole.0.len() <= bytes.len() * 2, "{} bytes of {}", whole.0.len(), bytes.len());
});

/// What is handed on, and what is answered.
async fn handed_on(bytes: &[u8], size: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut answers) = (Vec::new(), Vec::new());
    let mut mended = Mended::new(tokio::io::join(bytes, &mut answers));
    let mut space = vec![0; size];
    loop {
        match mended.read(&mut space).await.unwrap() {
            0 => break,
            count => out.extend_from_slice(&space[..count]),
        }
    }
    (out, answers)
}
