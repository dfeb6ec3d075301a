//! One pattern with wildcards against bytes: `*`, `**`, `?`, `[…]` and backslashes. Knows nothing of rules,
//! anchors or folders.

use crate::path::escape;

/// Longest pattern with wildcards, in tokens.
const MAX_TOKENS: usize = WORDS * 64 - 1;
const WORDS: usize = 16;

/// A set of positions in a pattern, one bit each.
type Positions = [u64; WORDS];

/// A pattern as a machine that is in many positions at once: each byte of the name is looked at once, so that no name, however hostile, takes longer than its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wild {
    /// How many words of a [`Positions`] are in use.
    words: usize,
    /// Where the pattern ends.
    end: usize,
    /// Per byte: the positions that it carries one further. 256 rows of `words`.
    advance: Box<[u64]>,
    /// The positions of `*` and `**`: nothing need stand there.
    stars: Positions,
    /// The positions of `**`: a slash may stand there too.
    double_stars: Positions,
}

enum Token {
    One(ByteSet),
    Star,
    DoubleStar,
}

impl Wild {
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let tokens = tokenize(text)?;
        if tokens.len() > MAX_TOKENS {
            return Err(format!("it has wildcards and more than {MAX_TOKENS} characters"));
        }
        let words = tokens.len() / 64 + 1;
        let mut wild = Self {
            words,
            end: tokens.len(),
            advance: vec![0; 256 * words].into(),
            stars: [0; WORDS],
            double_stars: [0; WORDS],
        };
        for (at, token) in tokens.iter().enumerate() {
            wild.add(at, token);
        }
        Ok(wild)
    }

    fn add(&mut self, at: usize, token: &Token) {
        let (word, bit) = (at / 64, 1u64 << (at % 64));
        match token {
            Token::One(set) => {
                for byte in (0..=u8::MAX).filter(|&b| set.contains(b)) {
                    self.advance[usize::from(byte) * self.words + word] |= bit;
                }
            }
            Token::Star => self.stars[word] |= bit,
            Token::DoubleStar => {
                self.stars[word] |= bit;
                self.double_stars[word] |= bit;
            }
        }
    }

    /// Whether the pattern matches all of `bytes`, or, with `any_tail`, all that follows some slash.
    pub(super) fn matches(&self, bytes: impl Iterator<Item = u8>, any_tail: bool) -> bool {
        let mut now: Positions = [0; WORDS];
        now[0] = 1;
        self.pass_stars(&mut now);
        for byte in bytes {
            self.step(&mut now, byte);
            if any_tail && byte == b'/' {
                now[0] |= 1;
            }
            self.pass_stars(&mut now);
        }
        now[self.end / 64] >> (self.end % 64) & 1 == 1
    }

    fn step(&self, now: &mut Positions, byte: u8) {
        let row = &self.advance[usize::from(byte) * self.words..][..self.words];
        let staying = if byte == b'/' { &self.double_stars } else { &self.stars };
        let mut carry = 0;
        for word in 0..self.words {
            let moving = now[word] & row[word];
            now[word] = moving << 1 | carry | now[word] & staying[word];
            carry = moving >> 63;
        }
    }

    /// A star may stand for nothing. No star follows a star, so one pass is enough.
    fn pass_stars(&self, now: &mut Positions) {
        let mut carry = 0;
        for (positions, stars) in now.iter_mut().zip(&self.stars).take(self.words) {
            let passing = *positions & stars;
            *positions |= passing << 1 | carry;
            carry = passing >> 63;
        }
    }
}

fn tokenize(mut text: &[u8]) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    while let Some((&first, rest)) = text.split_first() {
        let (token, rest) = match first {
            b'*' => {
                let more = rest.iter().take_while(|&&b| b == b'*').count();
                (if more > 0 { Token::DoubleStar } else { Token::Star }, &rest[more..])
            }
            b'?' => (Token::One(ByteSet::all().without(b'/')), rest),
            b'[' => {
                let (set, rest) = parse_set(rest)?;
                (Token::One(set.without(b'/')), rest)
            }
            b'\\' => {
                let (&escaped, rest) = rest.split_first().ok_or("nothing follows the last backslash")?;
                (Token::One(ByteSet::default().with(escaped)), rest)
            }
            byte => (Token::One(ByteSet::default().with(byte)), rest),
        };
        tokens.push(token);
        text = rest;
    }
    Ok(tokens)
}

/// A set of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct ByteSet([u128; 2]);

impl ByteSet {
    fn all() -> Self {
        Self([u128::MAX; 2])
    }

    fn contains(self, byte: u8) -> bool {
        self.0[usize::from(byte >> 7)] >> (byte & 127) & 1 == 1
    }

    fn with(mut self, byte: u8) -> Self {
        self.0[usize::from(byte >> 7)] |= 1 << (byte & 127);
        self
    }

    fn without(mut self, byte: u8) -> Self {
        self.0[usize::from(byte >> 7)] &= !(1 << (byte & 127));
        self
    }

    fn with_all(self, bytes: impl Iterator<Item = u8>) -> Self {
        bytes.fold(self, Self::with)
    }

    fn inverted(self) -> Self {
        Self([!self.0[0], !self.0[1]])
    }
}

const NO_END: &str = "the \"[\" has no \"]\"; a plain one is written \"\\[\"";

/// Reads what follows `[`, up to and with the closing `]`. A `]` that comes first belongs to the set.
fn parse_set(text: &[u8]) -> Result<(ByteSet, &[u8]), String> {
    let (negated, mut rest) = match text.first() {
        Some(b'!' | b'^') => (true, &text[1..]),
        _ => (false, text),
    };
    let mut set = ByteSet::default();
    let mut range_from = None;
    let mut is_first = true;
    loop {
        let (&byte, tail) = rest.split_first().ok_or(NO_END)?;
        if byte == b']' && !is_first {
            return Ok((if negated { set.inverted() } else { set }, tail));
        }
        is_first = false;
        (rest, range_from) = match (byte, range_from) {
            (b'-', Some(from)) if !matches!(tail.first(), None | Some(b']')) => {
                let (to, tail) = set_member(tail)?;
                set = set.with_all(from..=to);
                (tail, None)
            }
            (b'[', _) if let Some((class, tail)) = named_class(tail)? => {
                set = set.with_all((0..=u8::MAX).filter(class));
                (tail, None)
            }
            _ => {
                let (member, tail) = set_member(rest)?;
                set = set.with(member);
                (tail, Some(member))
            }
        };
    }
}

/// One character of a set, escaped or not.
fn set_member(text: &[u8]) -> Result<(u8, &[u8]), String> {
    match text {
        [b'\\', escaped, rest @ ..] => Ok((*escaped, rest)),
        [byte, rest @ ..] if *byte != b'\\' => Ok((*byte, rest)),
        _ => Err(NO_END.into()),
    }
}

type Class = fn(&u8) -> bool;

/// Reads `:alpha:]` after a `[` inside a set; `None` when the `[` is a plain one.
fn named_class(text: &[u8]) -> Result<Option<(Class, &[u8])>, String> {
    let Some(after) = text.strip_prefix(b":") else { return Ok(None) };
    let end = after.iter().position(|&b| b == b']').ok_or(NO_END)?;
    let Some(name) = after[..end].strip_suffix(b":") else { return Ok(None) };
    let class: Class = match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |b| matches!(b, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |b| matches!(b, b' '..=b'~'),
        b"punct" => u8::is_ascii_punctuation,
        b"space" => |b| matches!(b, b' ' | b'\t'..=b'\r'),
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return Err(format!("there is no class \"{}\"", escape(name))),
    };
    Ok(Some((class, &after[end + 1..])))
}
