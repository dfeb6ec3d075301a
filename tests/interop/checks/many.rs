//! Much at once: content, handles, channels, names.

use std::fs::File;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use highwater::clock::SeededRandom;
use highwater::entry::{Meta, Time};
use highwater::error::Kind;
use highwater::id::Token;
use highwater::path::RelPath;
use highwater::tree::{SourceFile, StagedFile, Tree, own};

use super::Check;
use crate::bench::Bench;
use crate::support::tree_of::noise;

/// How long another channel may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Names in the largest folder.
const NAMES: usize = 50_000;

/// Bytes of a large file.
const LARGE: usize = 64 << 20;

/// Files that are open at once: more than a byte can number.
const OPEN: usize = 260;

/// The checks.
pub const LIST: [Check; 8] = [
    Check::large("a file of 64 MiB is pushed", large_push),
    Check::large("a file of 64 MiB is pulled", large_pull),
    Check::own("more than 200 files are open for writing at once", open_for_writing),
    Check::own("more than 200 files are open for reading at once", open_for_reading),
    Check::own("hundreds of files are opened one after another", one_after_another),
    Check::own("several channels write one file", several_channels),
    Check::large("a folder of 50,000 names is listed to the end", fifty_thousand),
    Check::own("many folders are listed at once", many_listings),
];

const META: Meta = Meta { mode: 0o644, mtime: Time { secs: 1_600_000_000, nanos: 0 } };

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn large_push(bench: &Bench<'_>) {
    let content = noise(LARGE, 11);
    bench.write_near("large", &content);
    let round = bench.push(&[]).ok();
    assert_eq!((round.count("bytes_sent"), round.verified("full")), (content.len() as u64, 1));
    assert!(bench.read_far("large") == content, "the content differs");
    bench.nothing_is_staged();
}

fn large_pull(bench: &Bench<'_>) {
    let content = noise(LARGE, 12);
    bench.write_far("large", &content);
    let round = bench.pull(&["--verify", "ack"]).ok();
    assert_eq!(round.count("bytes_received"), content.len() as u64);
    assert!(bench.read_near("large") == content, "the content differs");
}

/// Where files are staged, made.
async fn stage_folder(tree: &impl Tree, random: &SeededRandom) -> Token {
    let agent = Token::draw(random);
    tree.make_root().await.unwrap();
    for folder in [own::folder(), own::stages(), own::stage(&agent)] {
        tree.make_dir(&folder, 0o755).await.unwrap();
    }
    agent
}

fn open_for_writing(bench: &Bench<'_>) {
    bench.with_tree(async |tree| {
        let random = SeededRandom::new(5);
        let agent = stage_folder(&*tree, &random).await;
        let names: Vec<RelPath> = (0..OPEN).map(|_| own::staged(&agent, &Token::draw(&random))).collect();
        // A server that states no limit is given 200 on each channel, of which there are more after a moment.
        let files = try_join_all(names.iter().map(|name| tree.stage(name))).await.unwrap();
        try_join_all(files.iter().enumerate().map(|(n, file)| file.write_at(0, Bytes::from(n.to_string()))))
            .await
            .unwrap();
        for (n, file) in files.iter().enumerate() {
            assert_eq!(file.read_at(0, 100).await.unwrap(), n.to_string());
            file.finish(n.to_string().len() as u64, &META, false).await.unwrap();
        }
    });
}

fn open_for_reading(bench: &Bench<'_>) {
    for n in 0..OPEN {
        bench.write_far(&format!("file {n}"), n.to_string());
    }
    bench.with_tree(async |tree| {
        let names: Vec<RelPath> = (0..OPEN).map(|n| path(&format!("file {n}"))).collect();
        let files = try_join_all(names.iter().map(|name| tree.open(name))).await.unwrap();
        let read = join_all(files.iter().map(|file| file.read_at(0, 100))).await;
        for (n, content) in read.into_iter().enumerate() {
            assert_eq!(content.unwrap(), n.to_string());
        }
    });
}

fn one_after_another(bench: &Bench<'_>) {
    bench.write_far("file", "content");
    bench.with_tree(async |tree| {
        for _ in 0..400 {
            let file = tree.open(&path("file")).await.unwrap();
            assert_eq!(file.read_at(0, 100).await.unwrap(), "content");
        }
    });
}

fn several_channels(bench: &Bench<'_>) {
    const PIECE: usize = 1 << 20;
    let content = Bytes::from(noise(8 * PIECE, 13));
    bench.with_tree(async |tree| {
        let random = SeededRandom::new(5);
        let agent = stage_folder(&*tree, &random).await;
        let name = own::staged(&agent, &Token::draw(&random));
        let first = tree.stage(&name).await.unwrap();
        let piece = |n: usize| content.slice(n * PIECE..(n + 1) * PIECE);
        // More than the window of one channel, so that another one is opened.
        join_all((0..8).map(|n| first.write_at((n * PIECE) as u64, piece(n)))).await;
        let second = async {
            loop {
                match tree.reopen_beside(&name, &[&first]).await {
                    // It is opened in the background.
                    Err(error) if error.kind() == Kind::Unsupported => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    opened => break opened.unwrap().staged,
                }
            }
        };
        let second = tokio::time::timeout(PATIENCE, second).await.expect("another channel");
        let of = |n: usize| if n.is_multiple_of(2) { &first } else { &second };
        try_join_all((0..8).rev().map(|n| of(n).write_at((n * PIECE) as u64, piece(n)))).await.unwrap();
        second.close().await.unwrap();
        first.finish(content.len() as u64, &META, false).await.unwrap();
        let whole = tree.read_whole(&name, 64 << 20).await.unwrap();
        assert!(whole.data == content, "the content differs");
    });
}

fn fifty_thousand(bench: &Bench<'_>) {
    std::fs::create_dir_all(bench.far().join("big")).unwrap();
    for n in 0..NAMES {
        File::create(bench.far().join(format!("big/a name of some length {n:05}"))).unwrap();
    }
    bench.with_tree(async |tree| {
        let listing = tree.list(&path("big")).await.unwrap();
        assert_eq!((listing.entries.len(), listing.refused.len()), (NAMES, 0));
        assert_eq!(listing.entries[NAMES - 1].name.as_bytes(), b"a name of some length 49999");
    });
}

fn many_listings(bench: &Bench<'_>) {
    for n in 0..100 {
        bench.write_far(&format!("folder {n}/file {n}"), "");
    }
    bench.with_tree(async |tree| {
        let folders: Vec<RelPath> = (0..100).map(|n| path(&format!("folder {n}"))).collect();
        let listings = try_join_all(folders.iter().map(|folder| tree.list(folder))).await.unwrap();
        for (n, listing) in listings.iter().enumerate() {
            let names: Vec<&[u8]> = listing.entries.iter().map(|entry| entry.name.as_bytes()).collect();
            assert_eq!(names, [format!("file {n}").as_bytes()]);
        }
    });
}
