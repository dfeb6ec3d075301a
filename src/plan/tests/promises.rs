//! What must hold whatever the trees look like and whoever did what to them.

use proptest::prelude::*;
use proptest::sample::select;

use super::super::*;
use super::model::{Edit, Node, Outcome, World};

/// With twins by case and by normalisation, which are two names to most file systems and to us.
const PATHS: [&str; 15] = [
    "a",
    "a/b",
    "a/b/c",
    "a/b/d",
    "a/e",
    "a/f",
    "a-g",
    "A",
    "h",
    "h/i",
    "h/i/j",
    "k",
    "k/\u{e9}",
    "k/e\u{301}",
    "l",
];

fn writing() -> impl Strategy<Value = Edit> {
    let kind = prop_oneof![
        3 => Just(Kind::File),
        3 => Just(Kind::Dir),
        1 => Just(Kind::Link),
    ];
    (select(&PATHS[..]), kind, "[xy]{0,3}").prop_map(|(path, kind, text)| Edit::Write(path, kind, text))
}

fn edit() -> impl Strategy<Value = Edit> {
    let path = || select(&PATHS[..]);
    prop_oneof![
        6 => writing(),
        2 => path().prop_map(Edit::Remove),
        1 => path().prop_map(Edit::Touch),
        1 => path().prop_map(Edit::Swap),
        1 => (path(), select(&[0o700u32, 0o644, 0o755][..])).prop_map(|(p, mode)| Edit::Chmod(p, mode)),
        1 => path().prop_map(|p| Edit::Write(p, Kind::Other, String::new())),
    ]
}

fn edits(most: usize) -> impl Strategy<Value = Vec<Edit>> {
    proptest::collection::vec(edit(), 0..most)
}

fn rules() -> impl Strategy<Value = Rules> {
    prop_oneof![Just(Rules::with_deletes()), Just(Rules::without_deletes())]
}

/// Two sides with a past: filled, a round, changed again.
#[derive(Debug, Clone)]
struct Story {
    pull: bool,
    rules: Rules,
    looks: bool,
    first: (Vec<Edit>, Vec<Edit>),
    then: (Vec<Edit>, Vec<Edit>),
}

fn story() -> impl Strategy<Value = Story> {
    let sides = |most| (edits(most), edits(most / 2));
    (any::<bool>(), rules(), any::<bool>(), sides(24), sides(12))
        .prop_map(|(pull, rules, looks, first, then)| Story { pull, rules, looks, first, then })
}

impl Story {
    /// Both sides begin with these folders.
    fn with_folders(mut self, paths: [&'static str; 4]) -> Self {
        let made = paths.map(|path| Edit::Write(path, Kind::Dir, String::new()));
        self.first.0.splice(0..0, made);
        self
    }

    fn begin(&self) -> World {
        let mut world = if self.pull { World::pull() } else { World::push() };
        change(&mut world, &self.first);
        world.round(self.rules, None);
        world.looks = self.looks;
        change(&mut world, &self.then);
        world
    }
}

fn change(world: &mut World, (source, target): &(Vec<Edit>, Vec<Edit>)) {
    source.iter().for_each(|edit| world.edit_source(edit));
    target.iter().for_each(|edit| world.edit_target(edit));
}

fn has_problem(outcome: &Outcome, path: &RelPath) -> bool {
    outcome.problems.iter().any(|p| path.is_within(&p.path))
}

/// Every path of the source is at the target, and nothing else that is ours.
fn check_converged(world: &World, rules: Rules, outcome: &Outcome) {
    for (path, node) in &world.source.nodes {
        if !has_problem(outcome, path) {
            let copy = world.target.nodes.get(path);
            assert!(copy.is_some_and(|copy| copy.is_copy_of(node)), "{path}: {node:?} but {copy:?}");
        }
    }
    for path in world.base.keys().filter(|_| rules.delete) {
        assert!(world.source.nodes.contains_key(path) || has_problem(outcome, path), "{path} is in base");
    }
}

/// Every version that stood at the target is there, in the trash, or was base's.
fn check_nothing_lost(before: &World, after: &World) {
    for (path, node) in before.target.nodes.iter().filter(|(_, n)| n.kind != Kind::Dir) {
        let same = |other: &Node| other.kind == node.kind && other.text == node.text;
        let was_base = before.base.get(path).is_some_and(|base| node.is_version_of(base));
        let is_there = after.target.nodes.get(path).is_some_and(same);
        assert!(was_base || is_there || after.trash.iter().any(same), "{path}: {node:?} is lost");
    }
}

/// At least 2,000 cases; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let given = ProptestConfig::default();
    ProptestConfig { cases: given.cases.max(2_000), failure_persistence: None, ..given }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_round_brings_both_sides_together_and_the_next_does_nothing(story in story()) {
        let mut world = story.begin();
        world.looks = true;
        let before = world.clone();
        let outcome = world.round(story.rules, None);
        check_nothing_lost(&before, &world);
        check_converged(&world, story.rules, &outcome);
        let again = world.round(story.rules, None);
        prop_assert_eq!(again.performed, Vec::<String>::new());
        world.looks = false;
        let blind = world.round(story.rules, None);
        let settled = blind.performed.is_empty() || !again.problems.is_empty();
        prop_assert!(settled, "{:?}", blind.performed);
    }

    #[test]
    fn a_round_that_believes_base_settles_too_and_loses_nothing(story in story()) {
        let mut world = story.begin();
        let before = world.clone();
        world.round(story.rules, None);
        check_nothing_lost(&before, &world);
        world.looks = true;
        let outcome = world.round(story.rules, None);
        check_converged(&world, story.rules, &outcome);
    }

    #[test]
    fn whoever_meddles_in_the_middle_loses_nothing(story in story(), at in 0..8usize, edit in edit()) {
        let mut world = story.begin();
        let outcome = world.round(story.rules, Some((at, edit)));
        if let Some(then) = &outcome.meddled {
            check_nothing_lost(then, &world);
        }
        world.looks = true;
        let outcome = world.round(story.rules, None);
        check_converged(&world, story.rules, &outcome);
    }

    #[test]
    fn what_cannot_be_listed_is_left_alone(story in story(), folder in select(&["a", "a/b", "h", "h/i"][..])) {
        let mut world = story.clone().with_folders(["a", "a/b", "h", "h/i"]).begin();
        let folder = RelPath::parse(folder.as_bytes()).unwrap();
        world.make_folder_at_source(&folder);
        world.unreadable.insert(folder.clone());
        world.source.nodes.retain(|p, _| p == &folder || !p.is_within(&folder));
        let inside = |nodes: &World| -> Vec<(RelPath, Node)> {
            let below = nodes.target.nodes.iter().filter(|(p, _)| *p != &folder && p.is_within(&folder));
            below.map(|(p, n)| (p.clone(), n.clone())).collect()
        };
        let rows = |w: &World| w.base.keys().filter(|p| *p != &folder && p.is_within(&folder)).count();
        let (before, rows_before) = (inside(&world), rows(&world));
        world.round(story.rules, None);
        prop_assert_eq!(inside(&world), before);
        prop_assert_eq!(rows(&world), rows_before);
    }

    #[test]
    fn passes_that_hold_back_little_come_to_an_end_and_lose_nothing(story in story(), held_back in 1..4usize) {
        let rules = Rules { held_back, ..story.rules };
        let mut world = story.begin();
        world.looks = true;
        let before = world.clone();
        for pass in 0.. {
            prop_assert!(pass < 40, "no end");
            let then = (world.target.nodes.clone(), world.base.clone());
            world.round(rules, None);
            if (&world.target.nodes, &world.base) == (&then.0, &then.1) {
                break;
            }
        }
        check_nothing_lost(&before, &world);
    }

    #[test]
    fn without_deletes_nothing_vanishes(story in story()) {
        let mut world = Story { rules: Rules::without_deletes(), ..story }.begin();
        let before = world.clone();
        let outcome = world.round(Rules::without_deletes(), None);
        prop_assert_eq!(outcome.deleted, 0);
        for (path, node) in before.target.nodes.iter().filter(|(_, n)| n.kind == Kind::File) {
            let kept = world.target.nodes.contains_key(path) || world.trash.contains(node);
            prop_assert!(kept, "{} vanished", path);
        }
    }
}
