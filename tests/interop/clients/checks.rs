//! What every client is asked to do.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::{Bench, Deed};
use crate::support::sshd::generate_key;
use crate::support::tree_of::{Times, TreeOf, look, noise, set_mtime};

/// One check.
pub struct Check {
    /// What holds when it passes.
    pub name: &'static str,
    /// Whether only `--full` has it.
    pub is_large: bool,
    /// Runs it; panics with what is not as it must be.
    pub run: fn(Bench<'_>),
}

const fn check(name: &'static str, run: fn(Bench<'_>)) -> Check {
    Check { name, is_large: false, run }
}

const fn large(name: &'static str, run: fn(Bench<'_>)) -> Check {
    Check { name, is_large: true, run }
}

/// All of them.
pub const LIST: [Check; 18] = [
    check("client: a tree is put", put_tree),
    check("client: a tree is got", get_tree),
    check("client: a file is put over another", put_over),
    large("client: a file of 64 MiB is put", put_large),
    large("client: a file of 64 MiB is got", get_large),
    check("client: half a file that was put is gone on with", put_on),
    check("client: half a file that was got is gone on with", get_on),
    check("client: times are kept", times),
    check("client: a file is renamed", rename),
    check("client: a file is removed", remove),
    check("client: folders are made and removed", folders),
    check("client: a link is made", link),
    check("client: a mode is set", mode),
    check("client: 5,000 names are listed", list),
    check("client: a file that is not there is an error", missing),
    check("client: nothing outside of the folder is to be had", outside),
    check("client: a key that is not known is refused", stranger),
    check("client: another host key is noticed by the client", other_host),
];

/// Names that every client takes, and sizes round the edges of packets.
fn tree() -> TreeOf {
    let sizes = [0, 1, 32_767, 32_768, 32_769, 261_120, 300_001];
    let tree = TreeOf::new().dir("a folder").file("a folder/with spaces", "x").dir("deep").dir("deep/er");
    let tree = tree.file("deep/er/file", "far down").file("caf\u{e9} \u{1f30a}", "names").file("-dash", "d");
    sizes.iter().fold(tree, |tree, &size| tree.file(format!("size {size}"), noise(size, size as u64)))
}

#[track_caller]
fn same(one: &std::path::Path, other: &std::path::Path) {
    let contents = |root| -> Vec<(Vec<u8>, String)> {
        let kind = |found: String| found.split(", mode").next().unwrap_or_default().to_owned();
        look(root, Times::Seconds).into_iter().map(|(path, found)| (path, kind(found))).collect()
    };
    assert_eq!(contents(one), contents(other));
}

fn put_tree(bench: Bench<'_>) {
    tree().make(&bench.here("tree"));
    bench.does(&Deed::PutTree(&bench.here("tree"), &bench.there("new")));
    same(&bench.here("tree"), &bench.served("new"));
}

fn get_tree(bench: Bench<'_>) {
    tree().make(&bench.served("tree"));
    bench.does(&Deed::GetTree(&bench.there("tree"), &bench.here("new")));
    same(&bench.served("tree"), &bench.here("new"));
}

fn put_over(bench: Bench<'_>) {
    fs::write(bench.served("file"), noise(50_000, 1)).unwrap();
    fs::write(bench.here("file"), "short").unwrap();
    bench.does(&Deed::Put(&bench.here("file"), &bench.there("file")));
    assert_eq!(fs::read(bench.served("file")).unwrap(), b"short");
}

fn put_large(bench: Bench<'_>) {
    let content = noise(64 << 20, 3);
    fs::write(bench.here("file"), &content).unwrap();
    bench.does(&Deed::Put(&bench.here("file"), &bench.there("file")));
    assert!(fs::read(bench.served("file")).unwrap() == content, "the content differs");
}

fn get_large(bench: Bench<'_>) {
    let content = noise(64 << 20, 3);
    fs::write(bench.served("file"), &content).unwrap();
    bench.does(&Deed::Get(&bench.there("file"), &bench.here("file")));
    assert!(fs::read(bench.here("file")).unwrap() == content, "the content differs");
}

fn put_on(bench: Bench<'_>) {
    let content = noise(1_000_000, 4);
    fs::write(bench.here("file"), &content).unwrap();
    fs::write(bench.served("file"), &content[..400_000]).unwrap();
    bench.does(&Deed::PutOn(&bench.here("file"), &bench.there("file")));
    assert!(fs::read(bench.served("file")).unwrap() == content, "the content differs");
}

fn get_on(bench: Bench<'_>) {
    let content = noise(1_000_000, 5);
    fs::write(bench.served("file"), &content).unwrap();
    fs::write(bench.here("file"), &content[..400_000]).unwrap();
    bench.does(&Deed::GetOn(&bench.there("file"), &bench.here("file")));
    assert!(fs::read(bench.here("file")).unwrap() == content, "the content differs");
}

fn times(bench: Bench<'_>) {
    fs::write(bench.here("file"), "x").unwrap();
    set_mtime(&bench.here("file"), 1_234_567_891, 0);
    bench.does(&Deed::Put(&bench.here("file"), &bench.there("file")));
    assert_eq!(fs::metadata(bench.served("file")).unwrap().mtime(), 1_234_567_891);
}

fn rename(bench: Bench<'_>) {
    fs::write(bench.served("one"), "content").unwrap();
    bench.does(&Deed::Rename(&bench.there("one"), &bench.there("two")));
    assert!(!bench.served("one").exists());
    assert_eq!(fs::read(bench.served("two")).unwrap(), b"content");
}

fn remove(bench: Bench<'_>) {
    fs::write(bench.served("one"), "").unwrap();
    fs::write(bench.served("two"), "").unwrap();
    bench.does(&Deed::Remove(&bench.there("one")));
    assert!(!bench.served("one").exists() && bench.served("two").exists());
}

fn folders(bench: Bench<'_>) {
    bench.does(&Deed::MakeDir(&bench.there("one")));
    assert!(bench.served("one").is_dir());
    bench.does(&Deed::RemoveDir(&bench.there("one")));
    assert!(!bench.served("one").exists());
    fs::create_dir(bench.served("full")).unwrap();
    fs::write(bench.served("full/file"), "").unwrap();
    assert!(bench.try_it(&Deed::RemoveDir(&bench.there("full"))).is_err());
    assert!(bench.served("full/file").exists());
}

fn link(bench: Bench<'_>) {
    bench.does(&Deed::Link("target of it", &bench.there("link")));
    assert_eq!(fs::read_link(bench.served("link")).unwrap().to_str(), Some("target of it"));
}

fn mode(bench: Bench<'_>) {
    fs::write(bench.served("file"), "").unwrap();
    bench.does(&Deed::Mode(&bench.there("file"), "640"));
    assert_eq!(fs::metadata(bench.served("file")).unwrap().permissions().mode() & 0o777, 0o640);
}

fn list(bench: Bench<'_>) {
    let count = 5_000;
    fs::create_dir(bench.served("big")).unwrap();
    for n in 0..count {
        File::create(bench.served(&format!("big/file-{n:05}"))).unwrap();
    }
    let printed = bench.does(&Deed::List(&bench.there("big")));
    let mut names: Vec<&str> = printed.lines().filter(|line| line.starts_with("file-")).collect();
    names.sort_unstable();
    let expected: Vec<String> = (0..count).map(|n| format!("file-{n:05}")).collect();
    assert!(names == expected, "{} names of {count}: {:.300}", names.len(), printed);
}

fn missing(bench: Bench<'_>) {
    bench.try_it(&Deed::Get(&bench.there("missing"), &bench.here("got"))).expect_err("there is no such file");
    assert!(fs::read(bench.here("got")).unwrap_or_default().is_empty());
}

fn outside(bench: Bench<'_>) {
    let secret = bench.here("secret");
    fs::write(&secret, "secret").unwrap();
    symlink(&secret, bench.served("link")).unwrap();
    let climb = format!("/../../../../../../../..{}", secret.display());
    for path in [bench.there("link"), climb, secret.display().to_string()] {
        let got = bench.here("got");
        let _ = bench.try_it(&Deed::Get(&path, &got)); // what counts is what came of it
        assert_ne!(fs::read(&got).unwrap_or_default(), b"secret", "{path}");
    }
}

fn stranger(bench: Bench<'_>) {
    let key = bench.here("stranger");
    generate_key(&key, "ed25519", "");
    fs::write(bench.served("file"), "content").unwrap();
    let bench = bench.with_key(key);
    bench.try_it(&Deed::Get(&bench.there("file"), &bench.here("got"))).expect_err("nobody knows the key");
    assert!(!bench.here("got").exists());
}

fn other_host(bench: Bench<'_>) {
    let key = bench.here("other");
    generate_key(&key, "ed25519", "");
    let host = bench.known_hosts().split(' ').next().unwrap().to_owned();
    let line = format!("{host} {}", fs::read_to_string(key.with_extension("pub")).unwrap());
    fs::write(bench.served("file"), "content").unwrap();
    let bench = bench.with_known_hosts(&line);
    bench.try_it(&Deed::Get(&bench.there("file"), &bench.here("got"))).expect_err("the host key is another");
}
