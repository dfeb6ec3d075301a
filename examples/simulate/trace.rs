//! What happened, as lines; the same lines have the same hash.

/// Everything a seed did.
pub struct Trace {
    hasher: blake3::Hasher,
    lines: u64,
    is_shown: bool,
}

impl Trace {
    pub fn new(is_shown: bool) -> Self {
        Self { hasher: blake3::Hasher::new(), lines: 0, is_shown }
    }

    pub fn line(&mut self, at_millis: u128, text: &str) {
        self.lines += 1;
        if self.is_shown {
            println!("{at_millis:>10} {text}");
        }
        self.hasher.update(&at_millis.to_le_bytes());
        self.hasher.update(text.as_bytes());
        self.hasher.update(b"\n");
    }

    /// How many lines there are.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    pub fn hash(&self) -> u64 {
        let hash = self.hasher.finalize();
        hash.as_bytes().iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }
}
