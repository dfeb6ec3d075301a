//! The contract of `highwater::tree`, over SSH.

use highwater::remote::far::Far;
use highwater::tree::Tree;
use highwater::tree::contract::{Limits, check_one, checks};

use super::{Check, Run};
use crate::bench::Bench;

/// Those that ask for thousands of answers: some servers take a minute for them.
const LARGE: [&str; 3] = [
    "every_name_comes_back_as_it_was_given",
    "joined_operations_keep_program_order",
    "big_folders_are_listed_to_the_end_and_in_order",
];

/// All checks of the contract.
pub fn contracts() -> impl Iterator<Item = Check> {
    checks::<Far>().into_iter().map(|check| {
        let (name, is_large) = (check.name, LARGE.contains(&check.name));
        Check { name, is_large, run: Run::Contract(name) }
    })
}

/// Runs one of them.
pub fn contract(bench: &Bench<'_>, name: &str) {
    bench.with_tree(async |tree| {
        tree.make_root().await.unwrap();
        let check = checks::<Far>().into_iter().find(|check| check.name == name).unwrap();
        check_one(&*tree, Limits::FAR, &check).await;
    });
}
