//! What others make of answers and keep beside them for as long as the resolver lives,
//! such as records that have been read. What it is the DNS does not know.

use parking_lot::RwLock;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// One value of each type.
#[derive(Default)]
pub(super) struct Made(RwLock<Vec<Arc<dyn Any + Send + Sync>>>);

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Made").finish_non_exhaustive()
    }
}

impl Made {
    pub(super) fn of<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(known) = find(&self.0.read()) {
            return known;
        }
        let mut all = self.0.write();
        if let Some(known) = find(&all) {
            return known;
        }
        let new = Arc::new(make());
        all.push(Arc::<T>::clone(&new));
        new
    }
}

fn find<T: Any + Send + Sync>(all: &[Arc<dyn Any + Send + Sync>]) -> Option<Arc<T>> {
    all.iter().find(|one| (***one).is::<T>()).and_then(|one| Arc::clone(one).downcast().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_value_of_each_type() {
        let made = Made::default();
        assert_eq!(*made.of(|| 1_u8), 1);
        assert_eq!(*made.of(|| 2_u8), 1);
        assert_eq!(*made.of(|| "two"), "two");
    }
}
