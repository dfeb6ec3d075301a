//! Refusals: too many deletes, a root that is lost, emptied or another one than before.
//!
//! Every function here is asked right before something that could not be undone by the next round. The
//! answers are texts for a person: what was seen, and what to do.

use crate::id::Token;
use crate::units::Percent;

/// No limit is lower than this: a handful of deletes is never held.
pub const ALWAYS_ALLOWED: u64 = 20;

/// How many deletes may go without asking, over a sliding 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteLimits {
    /// So many files and links. `None`: any number.
    pub count: Option<u64>,
    /// This share of the largest base in that time. `None`: all of it.
    pub share: Option<Percent>,
}

impl Default for DeleteLimits {
    fn default() -> Self {
        Self { count: Some(1_000), share: Some(Percent::whole(10)) }
    }
}

impl DeleteLimits {
    /// The limit that results, for a base that had at most `largest_base` files and links; `None`: none.
    pub fn limit(&self, largest_base: u64) -> Option<u64> {
        let shares = self.share.map(|share| share.of(largest_base));
        let least = self.count.into_iter().chain(shares).min()?;
        Some(least.max(ALWAYS_ALLOWED))
    }
}

/// What is to become of a round's deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// They may go.
    Go,
    /// None of them may go until a person accepts them.
    Held {
        /// How many this round would delete.
        asked: u64,
        /// What the limit is.
        limit: u64,
        /// How many, the limit, and the command that accepts them.
        message: String,
    },
}

/// Whether `asked` deletes may go after `already` in the last 24 hours. `accept` is the command or flag
/// by which a person accepts them; `accepted` says that one did.
pub fn check_deletes(
    already: u64,
    asked: u64,
    largest_base: u64,
    limits: &DeleteLimits,
    accepted: bool,
    accept: &str,
) -> Verdict {
    let Some(limit) = limits.limit(largest_base) else { return Verdict::Go };
    if accepted || asked == 0 || already.saturating_add(asked) <= limit {
        return Verdict::Go;
    }
    let before = match already {
        0 => String::new(),
        n => format!(" after {n} in the last 24 hours"),
    };
    let message = format!(
        "{asked} deletes{before} are more than the limit of {limit} for {largest_base} files: they are held, \
         everything else goes on; to accept them: {accept}"
    );
    Verdict::Held { asked, limit, message }
}

/// What tells one near root from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootIdentity {
    /// The device it is on.
    pub device: u64,
    /// The folder's inode there.
    pub inode: u64,
}

/// What is known of a root that a job has worked with before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootLook {
    /// How it was known until now; `None` for a far root, and before the first round.
    pub before: Option<RootIdentity>,
    /// How it is known now; `None` for a far root.
    pub now: Option<RootIdentity>,
    /// How many names base has directly in the root.
    pub remembered: u64,
    /// How many of them are there.
    pub present: u64,
}

/// Whether a root is the one that base was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootVerdict {
    /// It is; remember its identity as it is now.
    Same,
    /// It may not be: a person must look.
    Halt {
        /// What was seen.
        why: String,
    },
}

/// Checks a root that could be listed cleanly. `root` names it for people.
///
/// A folder keeps its content when it moves to another disk or comes back from a backup, and device
/// numbers change over a restart. So another identity is accepted where at least half of what base
/// remembers is there; a root where nothing of it is there is never accepted.
pub fn check_root(root: &str, look: &RootLook) -> RootVerdict {
    let RootLook { before, now, remembered, present } = *look;
    if remembered == 0 {
        return RootVerdict::Same;
    }
    if present == 0 {
        return RootVerdict::Halt {
            why: format!("{root} is empty of everything the last round knew there ({remembered} names)"),
        };
    }
    let replaced = matches!((before, now), (Some(before), Some(now)) if before != now);
    if replaced && present.saturating_mul(2) < remembered {
        let why = format!(
            "{root} is another folder than before (device or inode changed), and only {present} of the \
             {remembered} names the last round knew there are in it"
        );
        return RootVerdict::Halt { why };
    }
    RootVerdict::Same
}

/// What a far root said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FarRoot {
    /// There is no such folder.
    Missing,
    /// The folder is there, but says nothing of itself.
    Unnamed,
    /// Its id is this.
    Named(Token),
}

/// What to do about a far root before pushing to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FarVerdict {
    /// It is the one we know.
    Same,
    /// Make it if it is missing, and give it an id.
    Name,
    /// Remember its id: it has one, and we did not know it.
    Remember(Token),
    /// It is not the one that base was made with: a person must look.
    Halt {
        /// What was seen.
        why: String,
    },
}

/// Checks the far root of a push. `known` is its id as the journal has it, `has_base` whether anything
/// was ever agreed on with it, `root` names it for people.
pub fn check_far_root(root: &str, known: Option<&Token>, has_base: bool, found: FarRoot) -> FarVerdict {
    match (known, found) {
        (Some(known), FarRoot::Named(id)) if *known == id => FarVerdict::Same,
        (_, FarRoot::Named(id)) if !has_base => FarVerdict::Remember(id),
        (_, FarRoot::Missing | FarRoot::Unnamed) if !has_base => FarVerdict::Name,
        (None, FarRoot::Named(id)) => FarVerdict::Remember(id),
        (None, FarRoot::Unnamed) => FarVerdict::Name,
        (_, FarRoot::Missing) => halt(format!("{root} does not exist any more")),
        (Some(_), FarRoot::Unnamed) => halt(format!(
            "{root} has lost .highwater/root.json, by which it is known: it may have been emptied or replaced"
        )),
        (Some(known), FarRoot::Named(id)) => {
            halt(format!("{root} is another root than before: its id is {id}, not {known}"))
        }
    }
}

fn halt(why: String) -> FarVerdict {
    FarVerdict::Halt { why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lesser_limit_counts_but_never_less_than_twenty() {
        let check = |count: Option<u64>, percent: Option<u8>, base, expected| {
            let limits = DeleteLimits { count, share: percent.map(Percent::whole) };
            assert_eq!(limits.limit(base), expected, "{count:?} {percent:?} {base}");
        };
        check(Some(1_000), Some(10), 500, Some(50));
        check(Some(1_000), Some(10), 50_000, Some(1_000));
        check(Some(1_000), Some(10), 0, Some(20));
        check(Some(5), None, 500, Some(20));
        check(None, Some(50), 500, Some(250));
        check(None, None, 500, None);
    }

    #[test]
    fn many_small_rounds_cannot_empty_a_side() {
        let check = |already, asked, accepted, goes| {
            let limits = DeleteLimits::default();
            let verdict = check_deletes(already, asked, 500, &limits, accepted, "highwater x");
            assert_eq!(verdict == Verdict::Go, goes, "{already} {asked} {accepted}");
        };
        check(0, 50, false, true);
        check(0, 51, false, false);
        check(40, 10, false, true);
        check(40, 11, false, false);
        check(50, 0, false, true);
        check(90, 0, false, true);
        check(0, 500, true, true);
        check(u64::MAX, 1, false, false);
    }

    #[test]
    fn a_held_round_says_how_many_the_limit_and_the_way_out() {
        let limits = DeleteLimits::default();
        let accept = "highwater resume nightly --accept-deletes";
        let Verdict::Held { asked: 60, limit: 50, message } =
            check_deletes(7, 60, 500, &limits, false, accept)
        else {
            panic!("not held");
        };
        assert_eq!(
            message,
            "60 deletes after 7 in the last 24 hours are more than the limit of 50 for 500 files: they are \
             held, everything else goes on; to accept them: highwater resume nightly --accept-deletes"
        );
    }

    #[test]
    fn roots_are_known_by_identity_and_content() {
        let id = |device| Some(RootIdentity { device, inode: 2 });
        let check = |before, now, remembered, present, same| {
            let verdict = check_root("/srv/data", &RootLook { before, now, remembered, present });
            assert_eq!(verdict == RootVerdict::Same, same, "{before:?} {now:?} {remembered} {present}");
        };
        check(None, id(1), 0, 0, true);
        check(id(1), id(1), 0, 0, true);
        check(id(1), id(1), 5, 1, true);
        check(id(1), id(1), 5, 0, false);
        check(id(1), id(1), 1, 0, false);
        check(id(1), id(2), 4, 2, true);
        check(id(1), id(2), 5, 2, false);
        check(None, id(2), 5, 1, true);
        check(None, None, 5, 0, false);
    }

    #[test]
    fn far_roots_are_known_by_their_id() {
        let token = |digit: &str| Token::parse(&digit.repeat(32)).unwrap();
        let is_halt = |verdict: &FarVerdict| matches!(verdict, FarVerdict::Halt { .. });
        let look = |known: Option<&str>, has_base, found| {
            check_far_root("offsite:/data", known.map(token).as_ref(), has_base, found)
        };
        let named = |digit| FarRoot::Named(token(digit));
        assert_eq!(look(Some("a"), true, named("a")), FarVerdict::Same);
        assert_eq!(look(None, false, FarRoot::Missing), FarVerdict::Name);
        assert_eq!(look(None, false, FarRoot::Unnamed), FarVerdict::Name);
        assert_eq!(look(None, false, named("b")), FarVerdict::Remember(token("b")));
        assert_eq!(look(Some("a"), false, named("b")), FarVerdict::Remember(token("b")));
        assert_eq!(look(Some("a"), false, FarRoot::Missing), FarVerdict::Name);
        for found in [FarRoot::Missing, FarRoot::Unnamed, named("b")] {
            let verdict = look(Some("a"), true, found);
            assert!(is_halt(&verdict), "{verdict:?}");
        }
        assert!(is_halt(&look(None, true, FarRoot::Missing)));
    }
}
