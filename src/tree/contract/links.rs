//! Symbolic links: carried as bytes, never followed.

use super::{Bench, META, good, noise, refused};
use crate::entry::Kind;
use crate::error;
use crate::tree::{StagedFile, Tree};

pub(super) async fn links_come_back_as_bytes<T: Tree>(bench: &Bench<'_, T>) {
    if !bench.keeps_links() {
        assert_eq!(refused(bench.tree.make_link(&bench.at("l"), b"x").await), error::Kind::Unsupported);
        return;
    }
    let long = noise(9, 900).iter().map(|b| b | 1).collect::<Vec<u8>>();
    let targets: [&[u8]; 8] =
        [b"dangling", b"/absolute/path", b"../../up", b".", b"odd\xff\n\x1b", b"a//b/", b" ", &long];
    for (i, target) in targets.iter().enumerate() {
        let link = bench.at(&format!("link {i}"));
        good(bench.tree.make_link(&link, target).await);
        assert_eq!(good(bench.tree.read_link(&link).await), *target);
        assert_eq!(bench.kind(&link).await, Some(Kind::Link));
        refused(bench.tree.make_link(&link, b"another").await);
    }
    assert!(bench.entries(&bench.folder).await.iter().all(|entry| entry.stat.kind == Kind::Link));
    bench.put(&bench.at("file"), b"x").await;
    refused(bench.tree.read_link(&bench.at("file")).await);
    for i in 0..targets.len() {
        good(bench.tree.remove_file(&bench.at(&format!("link {i}"))).await);
    }
    assert_eq!(bench.names(&bench.folder).await, [b"file"]);
}

pub(super) async fn links_are_never_followed<T: Tree>(bench: &Bench<'_, T>) {
    if !bench.keeps_links() {
        return;
    }
    let pointed = bench.put(&bench.at("pointed at"), b"untouched").await;
    good(bench.tree.make_dir(&bench.at("folder"), 0o755).await);
    good(bench.tree.make_link(&bench.at("to file"), b"pointed at").await);
    good(bench.tree.make_link(&bench.at("to folder"), b"folder").await);
    good(bench.tree.make_link(&bench.at("to nothing"), b"new").await);
    for link in ["to file", "to folder", "to nothing"] {
        let link = bench.at(link);
        refused(bench.tree.open(&link).await);
        refused(bench.tree.read_whole(&link, 100).await);
        refused(bench.tree.reopen(&link).await);
        refused(bench.tree.stage(&link).await);
        refused(bench.tree.set_meta(&link, Kind::File, &META).await);
        refused(bench.tree.set_meta(&link, Kind::Dir, &META).await);
        refused(bench.tree.make_dir(&link, 0o755).await);
        refused(bench.tree.remove_dir(&link).await);
        assert_eq!(bench.kind(&link).await, Some(Kind::Link));
    }
    assert_eq!(bench.kind(&bench.at("new")).await, None);
    assert_eq!(good(bench.tree.stat(&bench.at("pointed at")).await), Some(pointed));
    good(bench.tree.remove_file(&bench.at("to folder")).await);
    good(bench.tree.remove_file(&bench.at("to file")).await);
    assert_eq!(bench.kind(&bench.at("folder")).await, Some(Kind::Dir));
    assert_eq!(bench.content(&bench.at("pointed at")).await, b"untouched".as_slice());
}

pub(super) async fn links_on_the_way_are_refused_where_that_can_be<T: Tree>(bench: &Bench<'_, T>) {
    if !bench.limits.refuses_links_on_the_way || !bench.keeps_links() {
        return;
    }
    good(bench.tree.make_dir(&bench.at("folder"), 0o755).await);
    bench.put(&bench.at("folder/file"), b"untouched").await;
    bench.put(&bench.at("mine"), b"mine").await;
    good(bench.tree.make_link(&bench.at("link"), b"folder").await);
    let (file, new) = (bench.at("link/file"), bench.at("link/new"));
    refused(bench.tree.list(&bench.at("link")).await);
    refused(bench.tree.stat(&file).await);
    refused(bench.tree.open(&file).await);
    refused(bench.tree.read_whole(&file, 10).await);
    refused(bench.tree.reopen(&file).await);
    refused(bench.tree.stage(&new).await);
    refused(bench.tree.make_dir(&new, 0o755).await);
    refused(bench.tree.make_link(&new, b"x").await);
    refused(bench.tree.set_meta(&file, Kind::File, &META).await);
    refused(bench.tree.remove_file(&file).await);
    refused(bench.tree.remove_dir(&new).await);
    refused(bench.tree.move_aside(&file, &bench.at("taken")).await);
    refused(bench.tree.move_aside(&bench.at("mine"), &new).await);
    refused(bench.tree.sync_dir(&bench.at("link")).await);
    let staged = bench.temporary();
    let finished = good(good(bench.tree.stage(&staged).await).finish(0, &META, false).await);
    refused(bench.tree.place(&staged, &new, &finished).await);
    assert_eq!(bench.names(&bench.at("folder")).await, [b"file"]);
    assert_eq!(bench.content(&bench.at("folder/file")).await, b"untouched".as_slice());
    assert_eq!(bench.content(&bench.at("mine")).await, b"mine".as_slice());
}
