//! What a job wants of the planner: a mode is a value of this type.

/// How far the target follows the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whether what is gone at the source goes at the target too.
    pub delete: bool,
    /// How many removals, and how many folders' metadata, one pass collects for its end. The rest is
    /// counted as [`postponed`](super::Ending::postponed) and found by the next pass.
    pub held_back: usize,
}

impl Rules {
    /// What waits for the end of a pass is at most this many removals and as many folders.
    pub const HELD_BACK: usize = 100_000;

    /// The target follows in everything but deletes.
    pub fn without_deletes() -> Self {
        Self { delete: false, held_back: Self::HELD_BACK }
    }

    /// The target follows in everything.
    pub fn with_deletes() -> Self {
        Self { delete: true, ..Self::without_deletes() }
    }
}
