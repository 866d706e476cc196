//! What checks with limits share: what each key is, how much it is allowed, and
//! what texts may say of the answer. No check of its own.

mod allowance;
mod key;

pub(super) use allowance::Allowance;
pub(super) use key::Key;
pub(super) use key::Part;

use super::Bindings;
use crate::quantity::show_duration;
use crate::quantity::show_wait;
use crate::state::Answer;

/// The values of a text's `{used}`, `{allowed}`, `{window}` and `{retry_after}`.
pub(super) fn bind_answer(answer: &Answer, bindings: &mut Bindings) {
    for (name, value) in [
        ("used", answer.used.to_string()),
        ("allowed", answer.window.allowed.to_string()),
        ("window", show_duration(answer.window.period)),
        ("retry_after", show_wait(answer.retry_after)),
    ] {
        bindings.push((name.into(), value));
    }
}
