//! Which places of a table have changed since they were last written to a file: a bit
//! each, so that noting one costs next to nothing.

/// Places of one word.
const PER_WORD: u32 = u64::BITS;

#[derive(Debug, Default)]
pub(super) struct Changes {
    words: Vec<u64>,
    /// Whether there is a file.
    is_watched: bool,
}

impl Changes {
    /// From now on changes are noted, or no more; none is noted yet.
    pub(super) fn watch(&mut self, is_watched: bool) {
        self.is_watched = is_watched;
        self.words.fill(0);
    }

    /// Makes room for so many places.
    pub(super) fn cover(&mut self, places: u32) {
        let words = places.div_ceil(PER_WORD) as usize;
        if words > self.words.len() {
            self.words.resize(words, 0);
        }
    }

    /// A place that is not covered is none.
    pub(super) fn note(&mut self, at: u32) {
        if self.is_watched
            && let Some(bits) = self.words.get_mut((at / PER_WORD) as usize)
        {
            *bits |= 1 << (at % PER_WORD);
        }
    }

    /// Whether it has changed, and that was not yet written.
    pub(super) fn has(&self, at: u32) -> bool {
        self.words.get((at / PER_WORD) as usize).is_some_and(|bits| bits >> (at % PER_WORD) & 1 == 1)
    }

    /// All words are below this.
    pub(super) fn words(&self) -> u32 {
        u32::try_from(self.words.len()).unwrap_or(u32::MAX)
    }

    /// One of the places of a word that have changed, each told once.
    pub(super) fn take(&mut self, word: u32) -> Option<u32> {
        let bits = self.words.get_mut(word as usize).filter(|bits| **bits != 0)?;
        let bit = bits.trailing_zeros();
        *bits &= *bits - 1;
        Some(word * PER_WORD + bit)
    }
}
