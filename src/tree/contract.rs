//! The suite that every [`Tree`] passes, for whoever implements one: [`check_all`] from an ordinary test.
//!
//! Every check works in a folder of its own below the root and panics with what it found. Checks hold for
//! near and far sides alike; where [`Traits`](super::Traits) allow two behaviours, either passes if it is
//! the one that the traits state. Permissions are not covered: they depend on who runs the tests.

mod files;
mod links;
mod names;

use std::pin::Pin;

use bytes::Bytes;

use super::{StagedFile, Tree, own};
use crate::clock::SeededRandom;
use crate::entry::{Entry, Kind, Meta, Stat, Time};
use crate::error::{self, Error};
use crate::id::Token;
use crate::path::{Name, RelPath};

/// What cannot be learned from the tree itself.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A path of about this many bytes is made and used. 1,500 fits everywhere; a side that walks
    /// folder by folder can do more than the 4,096 of one system call.
    pub path_bytes: usize,
    /// Entries of the big folder; 3,000 is more than any server puts into one reply.
    pub big_folder: usize,
    /// Whether a link on the way to a file is refused. Far sides follow those: SFTP cannot say otherwise.
    pub refuses_links_on_the_way: bool,
}

impl Limits {
    /// What a folder of this machine does.
    pub const NEAR: Self = Self { path_bytes: 10_000, big_folder: 3_000, refuses_links_on_the_way: true };

    /// What any far side does.
    pub const FAR: Self = Self { path_bytes: 1_500, big_folder: 3_000, refuses_links_on_the_way: false };
}

type Running<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// One check: what it is called, and how it runs on a tree.
pub struct Check<T> {
    /// What holds when it passes.
    pub name: &'static str,
    run: for<'a> fn(&'a Bench<'a, T>) -> Running<'a>,
}

/// Runs every check on `tree`, one after the other. The root must exist and be writable; what the checks
/// leave behind is below `contract/` and `.highwater/`. Panics with the first thing that is not as it must be.
pub async fn check_all<T: Tree>(tree: &T, limits: Limits) {
    for check in checks() {
        check_one(tree, limits, &check).await;
    }
}

/// Runs one check.
pub async fn check_one<T: Tree>(tree: &T, limits: Limits, check: &Check<T>) {
    let bench = Bench::set_up(tree, limits, check.name).await;
    (check.run)(&bench).await;
}

macro_rules! checks {
    ($($file:ident::$name:ident),* $(,)?) => {
        vec![$(Check { name: stringify!($name), run: |bench| Box::pin($file::$name(bench)) }),*]
    };
}

/// All checks, by name.
pub fn checks<T: Tree>() -> Vec<Check<T>> {
    checks![
        names::the_root_is_a_folder_and_making_it_again_is_harmless,
        names::every_name_comes_back_as_it_was_given,
        names::absence_is_said_and_not_guessed,
        files::an_empty_file_is_a_file,
        files::staging_never_replaces,
        files::writes_in_any_order_make_the_file,
        files::joined_operations_keep_program_order,
        files::finish_cuts_off_what_is_too_long,
        files::what_finish_returns_is_what_stands_there,
        files::place_replaces_files_and_links,
        files::place_never_replaces_a_folder,
        files::what_goes_where_nothing_is_replaces_nothing,
        files::a_staged_file_can_be_gone_on_with,
        files::a_file_that_grows_to_megabytes_by_ranges,
        files::reads_end_where_the_file_ends,
        files::small_files_are_read_whole,
        files::metadata_is_kept,
        names::big_folders_are_listed_to_the_end_and_in_order,
        names::our_own_names_are_not_listed,
        links::links_come_back_as_bytes,
        links::links_are_never_followed,
        links::links_on_the_way_are_refused_where_that_can_be,
        names::folders_are_made_once_and_removed_empty,
        names::files_are_removed_and_folders_are_not_files,
        names::moving_aside_never_replaces,
        files::a_file_that_is_open_survives_being_replaced,
        names::deep_paths_work,
        names::folders_can_be_made_durable_or_it_is_said,
    ]
}

/// A tree under test, and a folder in it that belongs to one check.
struct Bench<'a, T> {
    tree: &'a T,
    limits: Limits,
    folder: RelPath,
    stage: RelPath,
    random: SeededRandom,
}

/// The metadata that most checks set: no whole seconds, and not what a new file has anyway.
const META: Meta = Meta { mode: 0o640, mtime: Time { secs: 1_234_567_891, nanos: 123_456_789 } };

impl<'a, T: Tree> Bench<'a, T> {
    async fn set_up(tree: &'a T, limits: Limits, check: &str) -> Self {
        let agent = Token::draw(&SeededRandom::new(1));
        let stage = own::stage(&agent);
        for folder in [path(b"contract"), own::folder(), own::stages(), stage.clone()] {
            made_or_there(tree.make_dir(&folder, 0o755).await);
        }
        let folder = path(b"contract").join(&name(check.as_bytes()));
        good(tree.make_dir(&folder, 0o755).await);
        let seed = check.bytes().fold(7, |seed: u64, b| seed.wrapping_mul(31).wrapping_add(b.into()));
        Self { tree, limits, folder, stage, random: SeededRandom::new(seed) }
    }

    /// A path in the folder of this check.
    fn at(&self, below: &str) -> RelPath {
        self.at_bytes(below.as_bytes())
    }

    fn at_bytes(&self, below: &[u8]) -> RelPath {
        self.folder.join_path(&path(below))
    }

    /// A fresh name to stage at.
    fn temporary(&self) -> RelPath {
        self.stage.join(&name(Token::draw(&self.random).as_str().as_bytes()))
    }

    async fn put(&self, target: &RelPath, content: &[u8]) -> Stat {
        let staged = self.temporary();
        let file = good(self.tree.stage(&staged).await);
        if !content.is_empty() {
            good(file.write_at(0, Bytes::copy_from_slice(content)).await);
        }
        let finished = good(file.finish(content.len() as u64, &META, false).await);
        good(self.tree.place(&staged, target, &finished).await)
    }

    async fn content(&self, file: &RelPath) -> Bytes {
        good(self.tree.read_whole(file, 64 << 20).await).data
    }

    async fn kind(&self, at: &RelPath) -> Option<Kind> {
        good(self.tree.stat(at).await).map(|stat| stat.kind)
    }

    async fn entries(&self, folder: &RelPath) -> Vec<Entry> {
        let listing = good(self.tree.list(folder).await);
        assert!(listing.refused.is_empty(), "names refused: {:?}", listing.refused);
        listing.entries
    }

    async fn names(&self, folder: &RelPath) -> Vec<Vec<u8>> {
        self.entries(folder).await.iter().map(|entry| entry.name.as_bytes().to_vec()).collect()
    }

    fn keeps_links(&self) -> bool {
        self.tree.traits().links
    }
}

fn name(bytes: &[u8]) -> Name {
    Name::new(bytes).unwrap_or_else(|why| panic!("{why}"))
}

fn path(bytes: &[u8]) -> RelPath {
    RelPath::parse(bytes).unwrap_or_else(|why| panic!("{why}"))
}

#[track_caller]
fn good<R>(outcome: Result<R, Error>) -> R {
    outcome.unwrap_or_else(|error| panic!("{error}: {} ({})", error.reason(), error.kind().as_str()))
}

/// The kind of a refusal. An error that loses the connection is none: the tree must go on.
#[track_caller]
fn refused<R>(outcome: Result<R, Error>) -> error::Kind {
    match outcome {
        Ok(_) => panic!("this had to be refused"),
        Err(error) if error.kind().loses_connection() => panic!("{error}: {}", error.reason()),
        Err(error) => error.kind(),
    }
}

#[track_caller]
fn made_or_there(outcome: Result<(), Error>) {
    if outcome.is_err() {
        assert_eq!(refused(outcome), error::Kind::Exists);
    }
}

/// Bytes that differ at every position and are the same for the same seed.
fn noise(seed: u8, len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::Disk;
    use crate::path::LocalRoot;
    use crate::tree::Traits;
    use crate::tree::memory::{FAR, Memory, NEAR};

    #[tokio::test]
    async fn memory_keeps_the_contract() {
        let limits = Limits { big_folder: 1_000, ..Limits::NEAR };
        check_all(&Memory::near(), limits).await;
        check_all(&Memory::far(), limits).await;
        check_all(&Memory::with(Traits { links: false, ..NEAR }), limits).await;
        check_all(&Memory::with(Traits { keeps_mtime: false, ..FAR }), limits).await;
    }

    #[tokio::test]
    async fn disk_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(&LocalRoot::new(folder.path()).unwrap()).unwrap();
        check_all(&disk, Limits::NEAR).await;
    }
}
