//! Every line of the decision table as a row.
//!
//! A line of a tree is `path source base target`. Things are written `f5@1` (a file of 5 bytes changed at
//! second 1), `l@1` (a link), `d` (a folder), `s` (a socket), `-` (absent), `?` (unknown), `.` (not looked
//! at). After these may follow `#7` (inode), `m600` (mode) and, in base, `!` (unsettled). Base is
//! written once, or as `source|target` where the ends differ.

use super::super::*;
use crate::entry::Time;

fn stat(text: &str) -> Option<Stat> {
    let kind = match text.as_bytes().first()? {
        b'f' => Kind::File,
        b'l' => Kind::Link,
        b'd' => Kind::Dir,
        b's' => Kind::Other,
        _ => return None,
    };
    let number = |mark: char, radix: u32| {
        let tail = text.split_once(mark)?.1;
        let digits: String = tail.chars().take_while(|c| c.is_ascii_digit()).collect();
        u64::from_str_radix(&digits, radix).ok()
    };
    Some(Stat {
        kind,
        size: number('f', 10).unwrap_or(0),
        mtime: Time::from_secs(number('@', 10).unwrap_or(0) as i64),
        mode: number('m', 8).unwrap_or(0o755) as u32,
        ctime: None,
        inode: number('#', 10),
    })
}

fn seen(text: &str) -> Seen {
    match text {
        "-" => Seen::Absent,
        "?" => Seen::Unknown,
        "." => Seen::NotLooked,
        text => Seen::Here(stat(text).unwrap()),
    }
}

fn base(text: &str) -> Option<BaseView> {
    let (source, target) = text.split_once('|').unwrap_or((text, text));
    let (source, target) = (stat(source)?, stat(target)?);
    let hash = (source.kind == Kind::File).then(|| ContentHash::of(b"base"));
    let link = (source.kind == Kind::Link).then(|| b"to".to_vec());
    Some(BaseView { kind: source.kind, source, target, hash, link, unsettled: text.ends_with('!') })
}

fn sight(line: &str) -> Sight {
    let words: Vec<&str> = line.split_whitespace().collect();
    let path = RelPath::parse(words[0].as_bytes()).unwrap();
    Sight { path, source: seen(words[1]), base: base(words[2]), target: seen(words[3]) }
}

fn expectation(expect: &Expect) -> &'static str {
    match expect {
        Expect::Absent => "absent",
        Expect::Replace(_) => "replace",
        Expect::Retire(_) => "retire",
        Expect::Displace(_) => "displace",
        Expect::Unknown => "unknown",
    }
}

fn word(action: &Action) -> String {
    let known = |is_known| if is_known { "/known" } else { "" };
    match action {
        Action::Put { expect, known: hash, .. } => {
            format!("put/{}{}", expectation(expect), known(hash.is_some()))
        }
        Action::PutLink { expect, known: link, .. } => {
            format!("link/{}{}", expectation(expect), known(link.is_some()))
        }
        Action::MakeDir { expect, .. } => format!("mkdir/{}", expectation(expect)),
        Action::AdoptDir { settled, .. } => if *settled { "adopt" } else { "adopt/unsettled" }.into(),
        Action::Compare { source_hash, .. } => format!("compare{}", known(source_hash.is_some())),
        Action::Recheck { role, .. } => format!("recheck/{role:?}").to_lowercase(),
        Action::SetMeta { .. } => "meta".into(),
        Action::Record { .. } => "record".into(),
        Action::Forget { .. } => "forget".into(),
        Action::Report(problem) => problem.kind.clone(),
    }
}

fn ending_words(ending: &Ending) -> Vec<String> {
    let mut words = Vec::new();
    for removal in &ending.removals {
        let verb = match (removal.is_delete(), removal.prove) {
            (false, _) => "rmdir",
            (true, None) => "delete",
            (true, Some(_)) => "delete/prove",
        };
        words.push(format!("{}:{verb}", removal.path));
    }
    words.extend(ending.after_removals.iter().map(|a| format!("{}:then-{}", a.path(), word(a))));
    words
        .extend(ending.folders.iter().map(|f| format!("{}:end{}", f.path, if f.certain { "" } else { "?" })));
    words.extend(ending.problems.iter().map(|p| format!("{}:{}", p.path, p.kind)));
    let tally = &ending.tally;
    for (name, count) in [
        ("unchanged", tally.unchanged),
        ("foreign", tally.foreign.total()),
        ("kept", tally.kept),
        ("frozen", tally.frozen),
        ("postponed", ending.postponed),
    ] {
        if count > 0 {
            words.push(format!("{name}={count}"));
        }
    }
    words
}

fn plan(rules: Rules, lines: &str) -> String {
    let mut planner = Planner::new(rules);
    let mut words = Vec::new();
    for line in lines.split(';') {
        let actions = planner.next(&sight(line));
        words.extend(actions.iter().map(|a| format!("{}:{}", a.path(), word(a))));
    }
    words.extend(ending_words(&planner.finish()));
    words.join(" ")
}

#[test]
fn one_path_without_base() {
    for (source, target, expected) in [
        ("f5@1", "-", "p:put/absent"),
        ("f5@1", ".", "p:put/unknown"),
        ("f5@1", "f5@9", "p:compare"),
        ("f5@1", "f6@1", "p:put/displace"),
        ("f5@1", "d", "p:put/displace"),
        ("f5@1", "l@1", "p:put/displace"),
        ("f5@1", "s", "p:put/displace"),
        ("f5@1", "?", "frozen=1"),
        ("l@1", "-", "p:link/absent"),
        ("l@1", ".", "p:link/unknown"),
        ("l@1", "l@9", "p:compare"),
        ("l@1", "f5@1", "p:link/displace"),
        ("d", "-", "p:mkdir/absent p:end"),
        ("d", ".", "p:mkdir/unknown p:end"),
        ("d", "d", "p:adopt"),
        ("d@2", "d@1", "p:adopt/unsettled p:end"),
        ("d", "f5@1", "p:mkdir/displace p:end"),
        ("s", "-", "p:special-file"),
        ("s", "f5@1", "p:special-file"),
        ("-", "f5@1", "foreign=1"),
        ("-", "d", "foreign=1"),
        ("-", "s", "foreign=1"),
        ("-", "?", "frozen=1"),
        ("?", "f5@1", "frozen=1"),
        ("?", "-", "frozen=1"),
    ] {
        for rules in [Rules::with_deletes(), Rules::without_deletes()] {
            let line = format!("p {source} - {target}");
            assert_eq!(plan(rules, &line), expected, "{line}");
        }
    }
}

#[test]
fn one_path_that_both_have_agreed_on() {
    for (source, base, target, expected) in [
        ("f5@1", "f5@1", "f5@1", "unchanged=1"),
        ("f5@1", "f5@1", ".", "unchanged=1"),
        ("f5@1", "f5@1|f5@9", "f5@9", "unchanged=1"),
        ("f6@2", "f5@1", "f5@1", "p:put/replace"),
        ("f6@2", "f5@1", ".", "p:put/replace"),
        ("f5@2", "f5@1", ".", "p:put/replace/known"),
        ("f5@1#2", "f5@1#1", ".", "p:recheck/source"),
        ("f5@1", "f5@1!", ".", "p:recheck/source"),
        ("f5@1m600", "f5@1", ".", "p:meta"),
        ("f5@1", "f5@1", "f5@1m600", "p:meta"),
        ("f5@1", "f5@1", "-", "p:put/absent"),
        ("f6@2", "f5@1", "-", "p:put/absent"),
        ("f5@1", "f5@1", "f5@2", "p:compare/known"),
        ("f5@2", "f5@1", "f5@3", "p:compare"),
        ("f5@1", "f5@1", "f6@2", "p:put/displace"),
        ("f6@2", "f5@1", "f5@2", "p:put/displace"),
        ("f5@1", "f5@1", "d", "p:put/displace"),
        ("f5@1", "f5@1|f5@1#1", "f5@1#2", "p:recheck/target"),
        ("f6@2", "f5@1|f5@1#1", "f5@1#2", "p:recheck/target"),
        ("f5@1", "f5@1", "?", "frozen=1"),
        ("?", "f5@1", "f5@1", "frozen=1"),
        ("?", "f5@1", ".", "frozen=1"),
        ("l@1", "l@1", "l@1", "unchanged=1"),
        ("l@2", "l@1", ".", "p:link/replace/known"),
        ("l@1", "l@1", "l@2", "p:compare"),
        ("l@2", "f5@1", ".", "p:link/replace"),
        ("f5@2", "l@1", ".", "p:put/replace"),
        ("d", "d", "d", "unchanged=1"),
        ("d", "d", ".", "unchanged=1"),
        ("d@2", "d@1", ".", "p:end"),
        ("d", "d!", ".", "p:end"),
        ("dm700", "d", ".", "p:end"),
        ("d", "d", "dm700", "p:end"),
        ("d@1", "d@1", "d@9", "p:end"),
        ("d", "d", "-", "p:mkdir/absent p:end"),
        ("d", "d", "f5@1", "p:mkdir/displace p:end"),
        ("d", "f5@1", ".", "p:mkdir/retire p:end"),
        ("d", "f5@1", "f5@2", "p:mkdir/displace p:end"),
        ("d", "l@1", "l@1", "p:mkdir/retire p:end"),
        ("d", "f5@1", "-", "p:mkdir/absent p:end"),
        ("d", "f5@1", "d", "p:adopt"),
        ("f5@1", "d", ".", "p:rmdir p:then-put/absent"),
        ("f5@1", "d", "d", "p:rmdir p:then-put/absent"),
        ("f5@1", "d", "-", "p:put/absent"),
        ("f5@1", "d", "f5@2", "p:compare"),
        ("l@1", "d", ".", "p:rmdir p:then-link/absent"),
        ("s", "f5@1", ".", "p:special-file"),
        ("s", "d", ".", "p:special-file"),
    ] {
        for rules in [Rules::with_deletes(), Rules::without_deletes()] {
            let line = format!("p {source} {base} {target}");
            assert_eq!(plan(rules, &line), expected, "{line}");
        }
    }
}

#[test]
fn one_path_that_is_gone_at_the_source() {
    for (base, target, with_deletes, without) in [
        ("f5@1", ".", "p:delete", "kept=1"),
        ("f5@1", "f5@1", "p:delete", "kept=1"),
        ("f5@1", "f5@1m600", "p:delete", "kept=1"),
        ("f5@1", "-", "p:forget", "p:forget"),
        ("f5@1", "f5@2", "p:forget p:changed-at-target foreign=1", "kept=1"),
        ("f5@1", "d", "p:forget p:changed-at-target foreign=1", "kept=1"),
        ("f5@1|f5@1#1", "f5@1#2", "p:delete/prove", "kept=1"),
        ("l@1|l@1#1", "l@1#2", "p:forget p:changed-at-target foreign=1", "kept=1"),
        ("l@1", ".", "p:delete", "kept=1"),
        ("f5@1", "?", "frozen=1", "frozen=1"),
        ("d", ".", "p:rmdir", "kept=1"),
        ("d", "d", "p:rmdir", "kept=1"),
        ("d", "-", "p:forget", "p:forget"),
        ("d", "f5@1", "p:forget p:changed-at-target foreign=1", "kept=1"),
    ] {
        let line = format!("p - {base} {target}");
        assert_eq!(plan(Rules::with_deletes(), &line), with_deletes, "{line}");
        assert_eq!(plan(Rules::without_deletes(), &line), without, "{line}");
    }
}

#[test]
fn folders_and_what_is_in_them() {
    for (lines, with_deletes, without) in [
        // A new folder comes before its contents, its metadata after them, the deepest first.
        (
            "a d - -; a/b d - -; a/b/c f5@1 - -",
            "a:mkdir/absent a/b:mkdir/absent a/b/c:put/absent a/b:end a:end",
            "a:mkdir/absent a/b:mkdir/absent a/b/c:put/absent a/b:end a:end",
        ),
        // What is placed in a folder changes its mtime; what may be placed in it may.
        (
            "a d d .; a/x f6@2 f5@1 .",
            "a/x:put/replace a:end unchanged=1",
            "a/x:put/replace a:end unchanged=1",
        ),
        (
            "a d d .; a/x f5@1#2 f5@1#1 .; b d d .",
            "a/x:recheck/source a:end? unchanged=2",
            "a/x:recheck/source a:end? unchanged=2",
        ),
        (
            "a d d .; a/b d d .; a/b/x f6@2 f5@1 .",
            "a/b/x:put/replace a/b:end unchanged=2",
            "a/b/x:put/replace a/b:end unchanged=2",
        ),
        // A folder that is gone goes after what is in it.
        (
            "a - d .; a/b - d .; a/b/x - f5@1 .; a/y - f5@1 .",
            "a/b/x:delete a/b:rmdir a/y:delete a:rmdir",
            "kept=4",
        ),
        ("a d d .; a/x - f5@1 .", "a/x:delete a:end? unchanged=1", "unchanged=1 kept=1"),
        // Foreign things are counted once, whatever is in them, and never go.
        ("a - - d; a/x - - f5@1; b - - l@1", "foreign=2", "foreign=2"),
        ("a - d d; a/x - - f5@1", "a:rmdir foreign=1", "foreign=1 kept=1"),
        ("a - - d; a/x - f5@1 f5@1", "a/x:delete foreign=1", "foreign=1 kept=1"),
        // Unknown freezes everything below, and the folders above stay.
        ("a ? d d; a/x - f5@1 f5@1; a/y ? f5@1 f5@1", "frozen=3", "frozen=3"),
        ("a d d d; a/x ? f5@1 f5@1", "unchanged=1 frozen=1", "unchanged=1 frozen=1"),
        ("a - d d; a/x - f5@1 ?; a/y - f5@1 f5@1", "a/y:delete frozen=1", "kept=2 frozen=1"),
        ("a s d .; a/x - f5@1 .", "a:special-file frozen=1", "a:special-file frozen=1"),
        // A folder in the way that base does not know goes to the trash as a whole.
        (
            "a f5@1 - d; a/x - - f5@1; b f5@1 - -",
            "a:put/displace b:put/absent",
            "a:put/displace b:put/absent",
        ),
        ("a f5@1 f5@1 d; a/x - f5@1 f5@1", "a:put/displace a/x:forget", "a:put/displace a/x:forget"),
        // One that base knows goes piece by piece, and only if all of it may go.
        (
            "a f5@1 d .; a/x - f5@1 .; b d d .",
            "a/x:delete a:rmdir a:then-put/absent unchanged=1",
            "a:folder-in-the-way unchanged=1 kept=1",
        ),
        (
            "a f5@1 d d; a/x - f5@1 f5@1; a/y - - f5@1",
            "a/x:delete a:folder-in-the-way foreign=1",
            "a:folder-in-the-way foreign=1 kept=1",
        ),
        ("a f5@1 d d; a/x - f5@1 ?", "frozen=1", "frozen=1"),
        // A file made way for a folder.
        (
            "a d f5@1 .; a/x f5@1 - .",
            "a:mkdir/retire a/x:put/unknown a:end",
            "a:mkdir/retire a/x:put/unknown a:end",
        ),
    ] {
        assert_eq!(plan(Rules::with_deletes(), lines), with_deletes, "{lines}");
        assert_eq!(plan(Rules::without_deletes(), lines), without, "{lines}");
    }
}

#[test]
fn a_pass_holds_back_a_bounded_number_and_no_folder_before_what_is_in_it() {
    let rules = Rules { held_back: 2, ..Rules::with_deletes() };
    let check = |lines, expected| assert_eq!(plan(rules, lines), expected, "{lines}");
    check(
        "a - d .; a/x - f5@1 .; a/y - f5@1 .; a/z - f5@1 .; b - f5@1 .",
        "a/x:delete a/y:delete postponed=2",
    );
    check(
        "a d - -; b d - -; c d - -",
        "a:mkdir/absent b:mkdir/absent c:mkdir/absent a:end b:end postponed=1",
    );
    check(
        "a d d .; a/x l@1#2 l@1#1 .; b d d .; b/x l@1#2 l@1#1 .; c d d .; c/x l@1#2 l@1#1 .",
        "a/x:recheck/source b/x:recheck/source c/x:recheck/source a:end? b:end? unchanged=3",
    );
    check("a - f5@1 .; b - f5@1 .; c f5@1 d .; d f6@2 f5@1 .", "d:put/replace a:delete b:delete postponed=1");
    let mut planner = Planner::new(rules);
    for name in ["a", "b", "c", "d"] {
        planner.next(&sight(&format!("{name} - f5@1 .")));
    }
    assert_eq!(planner.finish().deletes(), 4);
}

#[test]
fn a_question_answered_settles_the_path() {
    let yes = Some(true);
    let no = Some(false);
    let source = |source_is_base| Facts { source_is_base, ..Facts::default() };
    let target = |target_is_base| Facts { target_is_base, ..Facts::default() };
    let equal = |equal| Facts { equal, ..Facts::default() };
    for (line, facts, expected) in [
        ("p f5@1#2 f5@1#1 f5@1", source(yes), "record"),
        ("p f5@1#2 f5@1#1 f5@1", source(no), "put/replace"),
        ("p f5@1 f5@1! .", source(yes), "record"),
        ("p f5@1 f5@1! .", source(no), "put/replace"),
        ("p f5@1#2m600 f5@1#1 .", source(yes), "meta"),
        ("p f5@2 f5@1 .", source(yes), "meta"),
        ("p f5@1 f5@1|f5@1#1 f5@1#2", target(yes), "record"),
        ("p f5@1 f5@1|f5@1#1 f5@1#2m600", target(yes), "meta"),
        ("p f5@1 f5@1|f5@1#1 f5@1#2", target(no), "compare/known"),
        ("p f6@1 f5@1|f5@1#1 f5@1#2", target(yes), "put/replace"),
        ("p f6@1 f5@1|f5@1#1 f5@1#2", target(no), "put/displace"),
        ("p - f5@1|f5@1#1 f5@1#2", target(no), "forget changed-at-target"),
        ("p - f5@1|f5@1#1 f5@1#2", target(yes), ""),
        ("p f5@1 - f5@1", equal(yes), "record"),
        ("p f5@1 - f5@9", equal(yes), "meta"),
        ("p f5@1m600 - f5@1", equal(yes), "meta"),
        ("p f5@1 - f5@9", equal(no), "put/displace"),
        ("p f5@1 f5@1 f5@9", equal(no), "put/displace"),
        ("p l@1 - l@9", equal(yes), "record"),
        ("p l@1 - l@9", equal(no), "link/displace"),
    ] {
        let actions = reconsider(&Rules::with_deletes(), &sight(line), facts);
        let words: Vec<String> = actions.iter().map(word).collect();
        assert_eq!(words.join(" "), expected, "{line} {facts:?}");
    }
}

#[test]
fn a_target_that_was_not_as_expected_is_planned_again() {
    for (line, expected) in [
        ("p f5@1 - -", "put/absent"),
        ("p f5@1 - f6@1", "put/displace"),
        ("p d - d", "adopt"),
        ("p f6@2 f5@1 -", "put/absent"),
        ("p f6@2 f5@1 f5@1", "put/replace"),
        ("p - f5@1 f6@2", "forget changed-at-target"),
        ("p - f5@1 -", "forget"),
        ("p - f5@1 f5@1", ""),
        ("p f5@1 d d", "folder-in-the-way"),
        ("p f5@1 f5@1 f5@1", ""),
        ("p f5@1 f5@1 ?", ""),
    ] {
        let actions = reconsider(&Rules::with_deletes(), &sight(line), Facts::default());
        let words: Vec<String> = actions.iter().map(word).collect();
        assert_eq!(words.join(" "), expected, "{line}");
    }
}
