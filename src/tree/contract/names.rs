//! Names and folders: what can be there, what is not, what is listed.

use futures_util::future::join_all;

use super::{Bench, META, good, name, refused};
use crate::entry::Kind;
use crate::error;
use crate::id::Token;
use crate::path::RelPath;
use crate::tree::{StagedFile, Tree, own};

pub(super) async fn the_root_is_a_folder_and_making_it_again_is_harmless<T: Tree>(bench: &Bench<'_, T>) {
    good(bench.tree.make_root().await);
    assert_eq!(bench.kind(&RelPath::root()).await, Some(Kind::Dir));
    assert!(bench.names(&RelPath::root()).await.contains(&b"contract".to_vec()));
}

pub(super) async fn every_name_comes_back_as_it_was_given<T: Tree>(bench: &Bench<'_, T>) {
    let long = [b'n'; 255];
    let names: [&[u8]; 20] = [
        b"\xff\xfe",
        b"\x80",
        b"caf\xe9",
        "caf\u{e9}".as_bytes(),
        "cafe\u{301}".as_bytes(),
        "\u{1f30a}".as_bytes(),
        b"new\nline",
        b"tab\tinside",
        b"\x1b[2Jescape",
        b"\x01\x7f",
        b"-dash",
        b"--",
        b"trailing space ",
        b" leading",
        b"trailing dot.",
        b"...",
        b"back\\slash",
        b"star*?[x]",
        b"quote'\"$(x)",
        &long,
    ];
    for odd in names {
        let content = [b"in ", odd].concat();
        bench.put(&bench.at_bytes(odd), &content).await;
    }
    let mut expected: Vec<Vec<u8>> = names.iter().map(|n| n.to_vec()).collect();
    expected.sort();
    assert_eq!(bench.names(&bench.folder).await, expected);
    for odd in names {
        assert_eq!(bench.content(&bench.at_bytes(odd)).await, [b"in ", odd].concat());
    }
    let folder = bench.at_bytes(b"dir\xff\n");
    good(bench.tree.make_dir(&folder, 0o755).await);
    bench.put(&folder.join(&name(b"\xfe")), b"below").await;
    assert_eq!(bench.names(&folder).await, [b"\xfe"]);
    good(bench.tree.remove_file(&folder.join(&name(b"\xfe"))).await);
    good(bench.tree.remove_dir(&folder).await);
}

pub(super) async fn absence_is_said_and_not_guessed<T: Tree>(bench: &Bench<'_, T>) {
    bench.put(&bench.at("file"), b"x").await;
    assert_eq!(bench.kind(&bench.at("missing")).await, None);
    assert_eq!(bench.kind(&bench.at("missing/below")).await, None);
    for absent in ["missing", "missing/below"] {
        let absent = bench.at(absent);
        assert_eq!(refused(bench.tree.list(&absent).await), error::Kind::NotFound);
        assert_eq!(refused(bench.tree.open(&absent).await), error::Kind::NotFound);
        assert_eq!(refused(bench.tree.reopen(&absent).await), error::Kind::NotFound);
        assert_eq!(refused(bench.tree.read_whole(&absent, 1).await), error::Kind::NotFound);
        assert_eq!(refused(bench.tree.read_link(&absent).await), error::Kind::NotFound);
        assert_eq!(refused(bench.tree.remove_file(&absent).await), error::Kind::NotFound);
        assert_eq!(refused(bench.tree.remove_dir(&absent).await), error::Kind::NotFound);
        refused(bench.tree.set_meta(&absent, Kind::File, &META).await);
        refused(bench.tree.move_aside(&absent, &bench.at("elsewhere")).await);
    }
    refused(bench.tree.make_dir(&bench.at("missing/below"), 0o755).await);
    refused(bench.tree.stage(&bench.at("missing/below")).await);
    refused(bench.tree.list(&bench.at("file")).await);
    assert_eq!(bench.names(&bench.folder).await, [b"file"]);
}

pub(super) async fn big_folders_are_listed_to_the_end_and_in_order<T: Tree>(bench: &Bench<'_, T>) {
    let names: Vec<Vec<u8>> =
        (0..bench.limits.big_folder).map(|i| format!("entry {i:06}").into_bytes()).collect();
    let wanted: Vec<&Vec<u8>> = names.iter().rev().collect();
    for some in wanted.chunks(100) {
        let made = join_all(some.iter().map(async |n| {
            let at = bench.at_bytes(n);
            bench.tree.make_dir(&at, 0o755).await
        }));
        made.await.into_iter().for_each(good);
    }
    assert_eq!(bench.names(&bench.folder).await, names);
    for some in wanted.chunks(100) {
        let removed = join_all(some.iter().map(async |n| {
            let at = bench.at_bytes(n);
            bench.tree.remove_dir(&at).await
        }));
        removed.await.into_iter().for_each(good);
    }
    assert_eq!(bench.entries(&bench.folder).await, []);
}

pub(super) async fn our_own_names_are_not_listed<T: Tree>(bench: &Bench<'_, T>) {
    let beside = own::staged_beside(&bench.at("target"), &Token::draw(&bench.random));
    let file = good(bench.tree.stage(&beside).await);
    bench.put(&bench.at("theirs"), b"x").await;
    assert_eq!(bench.names(&bench.folder).await, [b"theirs"]);
    assert!(!bench.names(&RelPath::root()).await.contains(&b".highwater".to_vec()));
    let finished = good(file.finish(0, &META, false).await);
    good(bench.tree.place(&beside, &bench.at("target"), &finished).await);
}

pub(super) async fn folders_are_made_once_and_removed_empty<T: Tree>(bench: &Bench<'_, T>) {
    let folder = bench.at("folder");
    good(bench.tree.make_dir(&folder, 0o755).await);
    assert_eq!(refused(bench.tree.make_dir(&folder, 0o700).await), error::Kind::Exists);
    bench.put(&bench.at("folder/file"), b"x").await;
    assert_eq!(refused(bench.tree.make_dir(&bench.at("folder/file"), 0o700).await), error::Kind::Exists);
    let kind = refused(bench.tree.remove_dir(&folder).await);
    assert!(matches!(kind, error::Kind::NotEmpty | error::Kind::Failed), "{kind:?}");
    assert_eq!(bench.content(&bench.at("folder/file")).await, b"x".as_slice());
    refused(bench.tree.remove_dir(&bench.at("folder/file")).await);
    good(bench.tree.remove_file(&bench.at("folder/file")).await);
    good(bench.tree.remove_dir(&folder).await);
    assert_eq!(bench.kind(&folder).await, None);
}

pub(super) async fn files_are_removed_and_folders_are_not_files<T: Tree>(bench: &Bench<'_, T>) {
    good(bench.tree.make_dir(&bench.at("folder"), 0o755).await);
    refused(bench.tree.remove_file(&bench.at("folder")).await);
    refused(bench.tree.open(&bench.at("folder")).await);
    refused(bench.tree.read_whole(&bench.at("folder"), 10).await);
    refused(bench.tree.reopen(&bench.at("folder")).await);
    bench.put(&bench.at("file"), b"x").await;
    good(bench.tree.remove_file(&bench.at("file")).await);
    assert_eq!(bench.kind(&bench.at("file")).await, None);
    assert_eq!(bench.names(&bench.folder).await, [b"folder"]);
}

pub(super) async fn moving_aside_never_replaces<T: Tree>(bench: &Bench<'_, T>) {
    good(bench.tree.make_dir(&bench.at("empty"), 0o755).await);
    good(bench.tree.make_dir(&bench.at("full"), 0o755).await);
    bench.put(&bench.at("full/x"), b"x").await;
    bench.put(&bench.at("a"), b"a").await;
    bench.put(&bench.at("b"), b"b").await;
    for (from, to) in [("a", "b"), ("a", "empty"), ("a", "full"), ("full", "empty"), ("full", "a")] {
        refused(bench.tree.move_aside(&bench.at(from), &bench.at(to)).await);
    }
    assert_eq!(bench.content(&bench.at("b")).await, b"b".as_slice());
    good(bench.tree.move_aside(&bench.at("a"), &bench.at("full/a")).await);
    good(bench.tree.move_aside(&bench.at("full"), &bench.at("empty/moved")).await);
    assert_eq!(bench.content(&bench.at("empty/moved/a")).await, b"a".as_slice());
    assert_eq!(bench.names(&bench.folder).await, [b"b".to_vec(), b"empty".to_vec()]);
    if bench.keeps_links() {
        good(bench.tree.make_link(&bench.at("link"), b"b").await);
        refused(bench.tree.move_aside(&bench.at("link"), &bench.at("b")).await);
        refused(bench.tree.move_aside(&bench.at("b"), &bench.at("link")).await);
        good(bench.tree.move_aside(&bench.at("link"), &bench.at("moved link")).await);
        assert_eq!(good(bench.tree.read_link(&bench.at("moved link")).await), b"b");
        assert_eq!(bench.content(&bench.at("b")).await, b"b".as_slice());
    }
}

pub(super) async fn deep_paths_work<T: Tree>(bench: &Bench<'_, T>) {
    let mut folders = vec![bench.folder.clone()];
    while folders[folders.len() - 1].as_bytes().len() < bench.limits.path_bytes {
        let deeper = folders[folders.len() - 1].join(&name(&[b'd'; 120]));
        good(bench.tree.make_dir(&deeper, 0o755).await);
        folders.push(deeper);
    }
    let deepest = &folders[folders.len() - 1];
    let file = deepest.join(&name(b"file"));
    bench.put(&file, b"deep").await;
    assert_eq!(bench.content(&file).await, b"deep".as_slice());
    assert_eq!(bench.names(deepest).await, [b"file"]);
    let moved = deepest.join(&name(b"moved"));
    good(bench.tree.move_aside(&file, &moved).await);
    good(bench.tree.set_meta(&moved, Kind::File, &META).await);
    good(bench.tree.remove_file(&moved).await);
    for folder in folders[1..].iter().rev() {
        good(bench.tree.remove_dir(folder).await);
    }
}

pub(super) async fn folders_can_be_made_durable_or_it_is_said<T: Tree>(bench: &Bench<'_, T>) {
    bench.put(&bench.at("file"), b"x").await;
    good(bench.tree.sync_dir(&bench.folder).await);
    good(bench.tree.sync_dir(&RelPath::root()).await);
    // A side that cannot do it may say so without looking.
    assert!(!matches!(bench.tree.sync_dir(&bench.at("missing")).await, Ok(true)));
    if let Some(bytes) = good(bench.tree.free_bytes().await) {
        assert!(bytes > 0);
    }
}
