//! One type per kind of identifier, so that they cannot be mixed up.

use std::fmt;

use crate::clock::Random;

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

row_id!(
    /// A job's row in the journal.
    JobId
);
row_id!(
    /// One round of one job.
    RoundId
);
row_id!(
    /// The place of an observed change among all of them; later ones are higher, none is used twice.
    ChangeSeq
);
row_id!(
    /// A transfer that has not ended.
    TransferId
);

/// 128 random bits in hexadecimal: an agent, a far root, or a staged file. Cannot be guessed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(String);

impl Token {
    /// Draws a new one.
    pub fn draw(random: &dyn Random) -> Self {
        Self(format!("{:032x}", random.u128()))
    }

    /// Takes one back from text; `None` unless it is 32 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 32 && text.bytes().all(is_digit)).then(|| Self(text.into()))
    }

    /// The 32 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
