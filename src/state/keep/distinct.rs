//! The table of different values as records: a key with the limits that it was asked
//! about, and each value as its hash; with none, if the operator set it back. The hashes
//! are of the seed that the file begins with.

use super::Cursor;
use super::Fate;
use super::Input;
use super::Kept;
use super::Kind;
use super::Loading;
use super::Output;
use super::STEP;
use super::Step;
use super::rings;
use crate::state::distinct;
use crate::state::distinct::Distinct;
use crate::state::limits::MAX_WINDOWS;
use crate::state::limits::Window;
use crate::state::ring::Worth;
use crate::state::shard::MAX_KEY_BYTES;
use crate::state::variety::Variety;

impl Kept for Distinct {
    fn watch(&self, is_watched: bool) {
        self.set_back.watch(is_watched);
        self.shards().iter().for_each(|shard| shard.lock().keys.changes.watch(is_watched));
    }

    fn some_changed(&self, at: &mut Cursor, out: &mut Output) -> Step {
        let full = out.count() + STEP;
        while let Some((bucket, text)) = self.set_back.take() {
            self.with(bucket, &text, |kept| match kept {
                Some(kept) => write(kept, out),
                None => write_none(bucket, &text, out),
            });
            if out.count() >= full || out.is_full() {
                return Step::More;
            }
        }
        let Some(shard) = self.shards().get(at.shard) else {
            return Step::Done;
        };
        rings::some_changed(&mut shard.lock().keys, at, out, |_, kept, out| write(kept, out));
        Step::More
    }

    fn some(&self, at: &mut Cursor, out: &mut Output) -> Step {
        let Some(shard) = self.shards().get(at.shard) else {
            return Step::Done;
        };
        let now = out.now();
        rings::some(&shard.lock().keys, at, out, |_, kept, out| {
            if kept.worth(now) != Worth::Over {
                write(kept, out);
            }
        });
        Step::More
    }

    fn restore(&self, _: Kind, from: &mut Input<'_>, loading: &mut Loading) -> Option<Fate> {
        let (bucket, key) = (from.small()?, from.text(MAX_KEY_BYTES)?);
        let count = usize::try_from(from.number()?).ok().filter(|count| *count <= MAX_WINDOWS)?;
        let windows = (0..count).map(|_| Window::read(from)).collect::<Option<Vec<Window>>>()?;
        let limits = loading.limits(windows);
        let values = Variety::read(from, loading.now)?;
        if !from.is_over() || !loading.is_seeded {
            return None;
        }
        Some(Fate::of(self.put(bucket, key, &limits, values, loading.now)))
    }
}

fn write(kept: &distinct::Kept, out: &mut Output) {
    out.record(Kind::Distinct as u8, |out| {
        out.number(u64::from(kept.bucket));
        out.text(kept.key.as_bytes());
        out.number(kept.limits.windows().len() as u64);
        kept.limits.windows().iter().for_each(|window| window.write(out));
        kept.variety.write(out);
    });
}

fn write_none(bucket: u32, key: &str, out: &mut Output) {
    out.record(Kind::Distinct as u8, |out| {
        out.number(u64::from(bucket));
        out.text(key.as_bytes());
        // No windows.
        out.number(0);
        Variety::default().write(out);
    });
}
