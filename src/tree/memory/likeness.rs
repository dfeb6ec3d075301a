//! That a [`Memory`] behaves as a folder on disk does: the same random calls, the same outcomes.

use std::fmt::Debug;

use bytes::Bytes;
use proptest::prelude::*;

use super::Memory;
use crate::entry::{Kind, Meta, Stat, Time};
use crate::error::Result;
use crate::local::Disk;
use crate::path::{LocalRoot, RelPath};
use crate::tree::{SourceFile, StagedFile, Tree};

#[derive(Debug, Clone)]
enum Deed {
    Put(RelPath, Vec<u8>, u64),
    GoOn(RelPath, u64, Vec<u8>),
    Place(RelPath, RelPath),
    MoveAside(RelPath, RelPath),
    MakeDir(RelPath),
    MakeLink(RelPath, RelPath),
    SetMeta(RelPath, Kind, u32, i64),
    RemoveFile(RelPath),
    RemoveDir(RelPath),
    Read(RelPath, u64),
    Open(RelPath),
}

fn paths() -> impl Strategy<Value = RelPath> {
    let all = ["", "a", "b", "a/a", "a/b", "b/a", "b/b", "a/a/a", "a/b/a", "b/a/b", "a/b/b/a"];
    prop::sample::select(all.map(|path| RelPath::parse(path.as_bytes()).unwrap()).to_vec())
}

fn deeds() -> impl Strategy<Value = Deed> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    let kinds = prop::sample::select(vec![Kind::File, Kind::Dir]);
    prop_oneof![
        3 => (paths(), bytes(), 0..30u64).prop_map(|(p, b, n)| Deed::Put(p, b, n)),
        1 => (paths(), 0..30u64, bytes()).prop_map(|(p, o, b)| Deed::GoOn(p, o, b)),
        2 => (paths(), paths()).prop_map(|(a, b)| Deed::Place(a, b)),
        2 => (paths(), paths()).prop_map(|(a, b)| Deed::MoveAside(a, b)),
        4 => paths().prop_map(Deed::MakeDir),
        1 => (paths(), paths()).prop_map(|(a, b)| Deed::MakeLink(a, b)),
        1 => (paths(), kinds, 0..0o1000u32, 0..2_000_000_000i64)
            .prop_map(|(p, k, mode, secs)| Deed::SetMeta(p, k, mode | 0o700, secs)),
        1 => paths().prop_map(Deed::RemoveFile),
        1 => paths().prop_map(Deed::RemoveDir),
        1 => (paths(), 0..30u64).prop_map(|(p, n)| Deed::Read(p, n)),
        1 => paths().prop_map(Deed::Open),
    ]
}

/// What two trees must agree upon: the kind of error, or what came of it without times of our own making.
fn shown<R: Debug>(outcome: Result<R>) -> String {
    match outcome {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("error: {}", error.kind().as_str()),
    }
}

fn essence(stat: &Stat) -> (Kind, u64, Option<u32>) {
    let size = if stat.kind == Kind::File { stat.size } else { 0 };
    (stat.kind, size, (stat.kind != Kind::Link).then_some(stat.mode))
}

fn meta(secs: i64) -> Meta {
    Meta { mode: 0o640, mtime: Time { secs, nanos: 7 } }
}

async fn put(tree: &impl Tree, path: &RelPath, bytes: &[u8], size: u64) -> Result<Stat> {
    let file = tree.stage(path).await?;
    file.write_at(0, Bytes::copy_from_slice(bytes)).await?;
    file.finish(size, &meta(5), false).await
}

async fn go_on(tree: &impl Tree, path: &RelPath, offset: u64, bytes: &[u8]) -> Result<(u64, Bytes)> {
    let file = tree.reopen(path).await?;
    file.write_at(offset, Bytes::copy_from_slice(bytes)).await?;
    Ok((file.stat().await?.size, file.read_at(1, 25).await?))
}

async fn place(tree: &impl Tree, from: &RelPath, to: &RelPath) -> Result<Stat> {
    match tree.stat(from).await? {
        // Folders are never placed.
        Some(stat) if stat.kind != Kind::Dir => tree.place(from, to, &stat).await,
        _ => tree.stat(&RelPath::root()).await.map(|root| root.unwrap()),
    }
}

async fn open(tree: &impl Tree, path: &RelPath) -> Result<(u64, Bytes)> {
    let file = tree.open(path).await?;
    Ok((file.stat().await?.size, file.read_at(2, 9).await?))
}

async fn perform(tree: &impl Tree, deed: &Deed) -> String {
    let stat = |outcome: Result<Stat>| shown(outcome.map(|stat| essence(&stat)));
    match deed {
        Deed::Put(path, bytes, size) => stat(put(tree, path, bytes, *size).await),
        Deed::GoOn(path, offset, bytes) => shown(go_on(tree, path, *offset, bytes).await),
        Deed::Place(from, to) => stat(place(tree, from, to).await),
        Deed::MoveAside(from, to) => shown(tree.move_aside(from, to).await),
        Deed::MakeDir(path) => shown(tree.make_dir(path, 0o755).await),
        Deed::MakeLink(path, target) => {
            shown(tree.make_link(path, target.as_os().as_os_str().as_encoded_bytes()).await)
        }
        Deed::SetMeta(path, kind, mode, secs) => {
            let meta = Meta { mode: *mode, ..meta(*secs) };
            let outcome = tree.set_meta(path, *kind, &meta).await;
            shown(outcome.map(|stat| (essence(&stat), stat.mtime)))
        }
        Deed::RemoveFile(path) => shown(tree.remove_file(path).await),
        Deed::RemoveDir(path) => shown(tree.remove_dir(path).await),
        Deed::Read(path, limit) => shown(tree.read_whole(path, *limit).await.map(|whole| whole.data)),
        Deed::Open(path) => shown(open(tree, path).await),
    }
}

/// What stands everywhere, found by listing, with the outcome of looking at each path there could be.
async fn picture(tree: &impl Tree) -> Vec<String> {
    let mut picture = Vec::new();
    let below = RelPath::parse(&b"below"[..]).unwrap();
    let mut folders = vec![RelPath::root()];
    while let Some(folder) = folders.pop() {
        let listing = tree.list(&folder).await.unwrap();
        assert!(listing.refused.is_empty());
        for entry in listing.entries {
            let path = folder.join(&entry.name);
            let looked = tree.stat(&path).await.unwrap().unwrap();
            assert_eq!(essence(&looked), essence(&entry.stat));
            picture.push(format!("{path} {:?} {}", essence(&looked), shown(tree.read_link(&path).await)));
            picture.push(shown(tree.stat(&path.join_path(&below)).await.map(|stat| stat.is_some())));
            if entry.stat.kind == Kind::Dir {
                folders.push(path);
            }
        }
    }
    picture
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn memory_and_disk_behave_alike(deeds in prop::collection::vec(deeds(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let disk = Disk::open(&LocalRoot::new(folder.path()).unwrap()).unwrap();
            let memory = Memory::near();
            // A temporary folder is 0700, and may be changed by what follows.
            let root = Meta { mode: 0o755, mtime: Time::from_secs(1) };
            disk.set_meta(&RelPath::root(), Kind::Dir, &root).await.unwrap();
            for deed in &deeds {
                prop_assert_eq!(perform(&disk, deed).await, perform(&memory, deed).await, "{:?}", deed);
            }
            prop_assert_eq!(picture(&disk).await, picture(&memory).await);
            Ok(())
        })?;
    }
}
