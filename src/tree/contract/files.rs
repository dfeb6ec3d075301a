//! Content and metadata: staged, finished, placed, read.

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::join;

use super::{Bench, META, good, name, noise, refused};
use crate::entry::{Kind, Meta, Stat, Time};
use crate::error;
use crate::tree::{Blind, SourceFile, StagedFile, Tree};

pub(super) async fn an_empty_file_is_a_file<T: Tree>(bench: &Bench<'_, T>) {
    let target = bench.at("empty");
    let placed = bench.put(&target, b"").await;
    assert_eq!((placed.kind, placed.size), (Kind::File, 0));
    assert_eq!(bench.content(&target).await, b"".as_slice());
    let source = good(bench.tree.open(&target).await);
    assert_eq!(good(source.read_at(0, 100).await).len(), 0);
}

pub(super) async fn staging_never_replaces<T: Tree>(bench: &Bench<'_, T>) {
    let staged = bench.temporary();
    let file = good(bench.tree.stage(&staged).await);
    good(file.write_at(0, Bytes::from_static(b"first")).await);
    assert_eq!(refused(bench.tree.stage(&staged).await), error::Kind::Exists);
    assert_eq!(good(file.read_at(0, 5).await), "first");
    let stat = good(file.stat().await);
    assert_eq!((stat.kind, stat.size), (Kind::File, 5));
    assert_eq!(stat.mode & 0o077, 0, "others may look into a file that is not finished");
    good(bench.tree.remove_file(&staged).await);
    if bench.keeps_links() {
        good(bench.tree.make_link(&staged, b"nowhere").await);
        refused(bench.tree.stage(&staged).await);
        assert_eq!(bench.kind(&bench.stage.join(&name(b"nowhere"))).await, None);
    }
}

pub(super) async fn writes_in_any_order_make_the_file<T: Tree>(bench: &Bench<'_, T>) {
    let content = noise(1, 100_000);
    let staged = bench.temporary();
    let file = good(bench.tree.stage(&staged).await);
    for start in [90_000, 0, 50_000, 10_000, 70_000, 30_000, 20_000, 60_000, 80_000, 40_000] {
        good(file.write_at(start as u64, Bytes::copy_from_slice(&content[start..start + 10_000])).await);
    }
    assert_eq!(good(file.read_at(0, 100_000).await), content);
    assert_eq!(good(file.read_at(12_345, 6_789).await), content[12_345..12_345 + 6_789]);
    good(file.write_at(5, Bytes::from_static(b"again")).await);
    assert_eq!(good(file.read_at(5, 5).await), "again");
}

pub(super) async fn joined_operations_keep_program_order<T: Tree>(bench: &Bench<'_, T>) {
    for round in 0..20 {
        let (staged, target) = (bench.temporary(), bench.at("joined"));
        let file = good(bench.tree.stage(&staged).await);
        let (first, second) = (noise(round, 60_000), noise(round ^ 0xff, 60_000));
        let (wrote, read, over, finished) = join!(
            file.write_at(0, first.clone().into()),
            file.read_at(0, 60_000),
            file.write_at(30_000, second.clone().into()),
            file.finish(90_000, &META, round % 4 == 0),
        );
        good(wrote);
        good(over);
        let read = good(read);
        // A side may let a read wait for writes begun later, or go beside them, and then sees all or some of theirs.
        assert_eq!(read[..30_000], first[..30_000], "round {round}");
        let mut later = read[30_000..].iter().zip(first[30_000..].iter().zip(&second));
        assert_eq!(read.len(), 60_000, "round {round}");
        assert!(later.all(|(read, (old, new))| [old, new].contains(&read)), "round {round}");
        let finished = good(finished);
        assert_eq!(finished.size, 90_000);
        good(bench.tree.place(&staged, &target, &finished).await);
        let expected = [&first[..30_000], &second].concat();
        assert_eq!(bench.content(&target).await, expected, "round {round}");
    }
}

pub(super) async fn finish_cuts_off_what_is_too_long<T: Tree>(bench: &Bench<'_, T>) {
    for (written, size) in [(1_000, 700), (1_000, 1_000), (1_000, 0)] {
        let (staged, target) = (bench.temporary(), bench.at("cut"));
        let content = noise(3, written);
        let file = good(bench.tree.stage(&staged).await);
        good(file.write_at(0, content.clone().into()).await);
        let finished = good(file.finish(size as u64, &META, false).await);
        assert_eq!(finished.size, size as u64);
        good(bench.tree.place(&staged, &target, &finished).await);
        assert_eq!(bench.content(&target).await, content[..size]);
    }
}

pub(super) async fn what_finish_returns_is_what_stands_there<T: Tree>(bench: &Bench<'_, T>) {
    let (staged, target) = (bench.temporary(), bench.at("f"));
    let file = good(bench.tree.stage(&staged).await);
    good(file.write_at(0, Bytes::from_static(b"content")).await);
    let finished = good(file.finish(7, &META, true).await);
    assert_eq!(good(bench.tree.stat(&staged).await), Some(finished));
    let placed = good(bench.tree.place(&staged, &target, &finished).await);
    // A rename may change the ctime.
    assert_eq!(Stat { ctime: None, ..placed }, Stat { ctime: None, ..finished });
    assert_eq!(good(bench.tree.stat(&target).await), Some(placed));
    assert_eq!(bench.entries(&bench.folder).await[0].stat, placed);
    assert_eq!(bench.kind(&staged).await, None);
    assert_eq!(good(good(bench.tree.open(&target).await).stat().await), placed);
}

pub(super) async fn place_replaces_files_and_links<T: Tree>(bench: &Bench<'_, T>) {
    let target = bench.at("target");
    bench.put(&target, b"one").await;
    bench.put(&target, b"two!").await;
    assert_eq!(bench.content(&target).await, b"two!".as_slice());
    if bench.keeps_links() {
        bench.put(&bench.at("pointed at"), b"untouched").await;
        let link = bench.at("link");
        good(bench.tree.make_link(&link, b"pointed at").await);
        bench.put(&link, b"a file now").await;
        assert_eq!(bench.kind(&link).await, Some(Kind::File));
        assert_eq!(bench.content(&bench.at("pointed at")).await, b"untouched".as_slice());
        let staged = bench.temporary();
        good(bench.tree.make_link(&staged, b"elsewhere").await);
        let stat = good(bench.tree.stat(&staged).await).unwrap_or_else(|| panic!("the staged link is gone"));
        assert_eq!(good(bench.tree.place(&staged, &target, &stat).await).kind, Kind::Link);
        assert_eq!(good(bench.tree.read_link(&target).await), b"elsewhere");
    }
}

pub(super) async fn place_never_replaces_a_folder<T: Tree>(bench: &Bench<'_, T>) {
    good(bench.tree.make_dir(&bench.at("empty"), 0o755).await);
    good(bench.tree.make_dir(&bench.at("full"), 0o755).await);
    bench.put(&bench.at("full/kept"), b"kept").await;
    for target in ["empty", "full"] {
        let staged = bench.temporary();
        let file = good(bench.tree.stage(&staged).await);
        let finished = good(file.finish(0, &META, false).await);
        refused(bench.tree.place(&staged, &bench.at(target), &finished).await);
        assert_eq!(bench.kind(&bench.at(target)).await, Some(Kind::Dir));
        assert_eq!(bench.kind(&staged).await, Some(Kind::File));
    }
    assert_eq!(bench.content(&bench.at("full/kept")).await, b"kept".as_slice());
}

pub(super) async fn what_goes_where_nothing_is_replaces_nothing<T: Tree>(bench: &Bench<'_, T>) {
    let stage = async || {
        let staged = bench.temporary();
        let file = good(bench.tree.stage(&staged).await);
        good(file.write_at(0, Bytes::from_static(b"new")).await);
        let finished = good(file.finish(3, &META, false).await);
        (staged, finished)
    };
    let (staged, finished) = stage().await;
    let placed = good(bench.tree.place_onto_nothing(&staged, &bench.at("file"), &finished, true).await);
    assert_eq!(Stat { ctime: None, ..placed }, Stat { ctime: None, ..finished });
    assert_eq!(bench.content(&bench.at("file")).await, b"new".as_slice());
    assert_eq!(bench.kind(&staged).await, None);
    if bench.tree.traits().blind == Blind::Nowhere {
        return;
    }
    bench.put(&bench.at("file"), b"of somebody else").await;
    good(bench.tree.make_dir(&bench.at("folder"), 0o755).await);
    let mut taken = vec![("file", Kind::File), ("folder", Kind::Dir)];
    if bench.keeps_links() {
        good(bench.tree.make_link(&bench.at("link"), b"nowhere").await);
        taken.push(("link", Kind::Link));
    }
    for (target, kind) in taken {
        let (staged, finished) = stage().await;
        let refused = bench.tree.place_onto_nothing(&staged, &bench.at(target), &finished, false).await;
        assert_eq!(refused.map_err(|e| e.kind()).err(), Some(error::Kind::Exists), "{target}");
        assert_eq!(bench.kind(&bench.at(target)).await, Some(kind));
        assert_eq!(bench.kind(&staged).await, Some(Kind::File));
    }
    assert_eq!(bench.content(&bench.at("file")).await, b"of somebody else".as_slice());
}

pub(super) async fn a_staged_file_can_be_gone_on_with<T: Tree>(bench: &Bench<'_, T>) {
    let content = noise(4, 50_000);
    let staged = bench.temporary();
    let file = good(bench.tree.stage(&staged).await);
    good(file.write_at(0, content[..20_000].to_vec().into()).await);
    drop(file);
    let file = good(bench.tree.reopen(&staged).await);
    assert_eq!(good(file.stat().await).size, 20_000);
    assert_eq!(good(file.read_at(0, 30_000).await), content[..20_000]);
    good(file.write_at(20_000, content[20_000..].to_vec().into()).await);
    let finished = good(file.finish(50_000, &META, true).await);
    good(bench.tree.place(&staged, &bench.at("whole"), &finished).await);
    assert_eq!(bench.content(&bench.at("whole")).await, content);
}

pub(super) async fn a_file_that_grows_to_megabytes_by_ranges<T: Tree>(bench: &Bench<'_, T>) {
    const RANGE: usize = 131_072;
    let content = noise(5, (3 << 20) + 12_345);
    let (staged, target) = (bench.temporary(), bench.at("large"));
    let file = &good(bench.tree.stage(&staged).await);
    let ranges: Vec<(u64, Bytes)> = content
        .chunks(RANGE)
        .enumerate()
        .map(|(i, chunk)| ((i * RANGE) as u64, Bytes::copy_from_slice(chunk)))
        .collect();
    let writes = ranges.iter().rev().map(|(offset, data)| file.write_at(*offset, data.clone()));
    join_all(writes).await.into_iter().for_each(good);
    let reads = ranges.iter().map(async |(offset, data)| {
        assert_eq!(good(file.read_at(*offset, data.len() as u64).await), data, "at {offset}");
    });
    join_all(reads).await;
    let finished = good(file.finish(content.len() as u64, &META, false).await);
    good(bench.tree.place(&staged, &target, &finished).await);
    let source = &good(bench.tree.open(&target).await);
    let reads = ranges.iter().map(async |(offset, data)| {
        assert_eq!(good(source.read_at(*offset, data.len() as u64).await), data, "at {offset}");
    });
    join_all(reads).await;
    assert_eq!(good(source.read_at(0, content.len() as u64).await), content);
}

pub(super) async fn reads_end_where_the_file_ends<T: Tree>(bench: &Bench<'_, T>) {
    let target = bench.at("ten");
    bench.put(&target, b"0123456789").await;
    let source = good(bench.tree.open(&target).await);
    for (offset, len, expected) in [
        (0, 10, "0123456789"),
        (0, 11, "0123456789"),
        (4, 3, "456"),
        (8, 100_000, "89"),
        (10, 1, ""),
        (99, 1, ""),
    ] {
        assert_eq!(good(source.read_at(offset, len).await), expected, "{len} at {offset}");
    }
    let staged = bench.temporary();
    let file = good(bench.tree.stage(&staged).await);
    good(file.write_at(0, Bytes::from_static(b"abc")).await);
    assert_eq!(good(file.read_at(1, 100).await), "bc");
    assert_eq!(good(file.read_at(3, 100).await), "");
}

pub(super) async fn small_files_are_read_whole<T: Tree>(bench: &Bench<'_, T>) {
    let target = bench.at("small");
    let placed = bench.put(&target, &noise(6, 70_000)).await;
    for (limit, expected) in [(100_000, 70_000), (70_000, 70_000), (69_999, 69_999), (10, 10)] {
        let whole = good(bench.tree.read_whole(&target, limit).await);
        assert_eq!((whole.before, whole.after), (placed, placed));
        assert_eq!(whole.data, noise(6, 70_000)[..expected]);
    }
}

pub(super) async fn metadata_is_kept<T: Tree>(bench: &Bench<'_, T>) {
    let traits = bench.tree.traits();
    let kept = |time: Time| match traits.mtime_granularity_secs {
        0 => time,
        step => Time::from_secs(time.secs / step * step),
    };
    let check = |stat: &Stat, meta: &Meta| {
        if traits.keeps_mtime {
            assert_eq!(kept(stat.mtime), kept(meta.mtime));
            assert_eq!(stat.carried_mode(), meta.mode, "mode {:o}", stat.mode);
        }
        assert_eq!(stat.mode & 0o6000, 0, "mode {:o}", stat.mode);
    };
    check(&bench.put(&bench.at("file"), b"x").await, &META);
    good(bench.tree.make_dir(&bench.at("folder"), 0o500).await);
    bench.put(&bench.at("folder/below"), b"made before the final bits are set").await;
    for (target, kind) in [("file", Kind::File), ("folder", Kind::Dir)] {
        for (mode, secs) in [(0o600, 1), (0o777, 2_000_000_000), (0o700, 1_000_000_007)] {
            let meta = Meta { mode, mtime: Time { secs, nanos: 987_654_321 } };
            let returned = good(bench.tree.set_meta(&bench.at(target), kind, &meta).await);
            check(&returned, &meta);
            assert_eq!(good(bench.tree.stat(&bench.at(target)).await), Some(returned));
        }
    }
    assert_eq!(bench.content(&bench.at("file")).await, b"x".as_slice());
    refused(bench.tree.set_meta(&bench.at("file"), Kind::Dir, &META).await);
    refused(bench.tree.set_meta(&bench.at("folder"), Kind::File, &META).await);
}

pub(super) async fn a_file_that_is_open_survives_being_replaced<T: Tree>(bench: &Bench<'_, T>) {
    let target = bench.at("file");
    bench.put(&target, b"old").await;
    let source = good(bench.tree.open(&target).await);
    bench.put(&target, b"new content").await;
    assert_eq!(good(source.read_at(0, 100).await), "old");
    assert_eq!(good(source.stat().await).size, 3);
}
