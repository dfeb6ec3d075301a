//! Scripted faults as a client meets them.

use super::*;

#[tokio::test]
async fn one_write_fails_and_the_next_succeeds() {
    let f = misbehaving([Rule::on(Op::Write, Fault::failure()).from_nth(2).once()]).await;
    let handle = f.open("file", NEW).await.unwrap();
    let write = |at: u64, data: &[u8]| f.sftp.write(handle.as_str(), at, data.to_vec());
    let (first, second, third) = tokio::join!(write(0, b"aa"), write(2, b"bb"), write(4, b"cc"));
    assert!(first.is_ok() && third.is_ok());
    assert_eq!(code(second), StatusCode::Failure);
    assert_eq!(f.content("file"), b"aa\0\0cc");
    assert_eq!((f.script.written_bytes(), f.script.deeds(Deed::Failed)), (4, 1));
}

#[tokio::test]
async fn bits_flip_on_either_way() {
    let f = misbehaving([Rule::on(Op::Write, Fault::Flip), Rule::on(Op::Read, Fault::Flip).once()]).await;
    let handle = f.open("file", CREATE).await.unwrap();
    f.sftp.write(handle.as_str(), 0, vec![0; 100]).await.unwrap();
    let written = f.content("file");
    assert_eq!(written.iter().map(|b| b.count_ones()).sum::<u32>(), 1);
    let read = f.sftp.read(handle.as_str(), 0, 100).await.unwrap().data;
    let differing = read.iter().zip(&written).filter(|(a, b)| a != b).count();
    assert_eq!(differing, 1);
    assert_eq!(f.sftp.read(handle, 0, 100).await.unwrap().data, written);
}

#[tokio::test]
async fn a_full_disk_takes_what_fits() {
    let f = misbehaving([Rule::on(Op::Write, Fault::NoSpaceAfter(5))]).await;
    let handle = f.open("file", NEW).await.unwrap();
    f.sftp.write(handle.as_str(), 0, b"123".to_vec()).await.unwrap();
    let full = refused(f.sftp.write(handle.as_str(), 3, b"456".to_vec()).await);
    assert_eq!(full, (StatusCode::Failure, "No space left on device".into()));
    assert_eq!(f.content("file"), b"12345");
    let room = f.extended("statvfs@openssh.com", &[b"/"]).await.unwrap();
    assert_eq!(room[24..40], [0; 16], "free and available blocks");
    f.script.clear();
    f.sftp.write(handle, 3, b"456".to_vec()).await.unwrap();
    assert_eq!(f.content("file"), b"123456");
}

#[tokio::test]
async fn reads_are_short_and_codes_are_strange() {
    let f = misbehaving([
        Rule::on(Op::Read, Fault::Short(2)),
        Rule::on(Op::Remove, Fault::Fail { code: 11, text: "exists already".into() }),
        Rule::on(Op::PosixRename, Fault::unsupported()),
        Rule::on(Op::SetStat, Fault::denied()),
    ])
    .await;
    f.put("file", "content");
    assert_eq!(f.read("file", 100).await.unwrap(), b"co");
    let strange = refused(f.sftp.remove("file").await);
    assert_eq!(strange, (StatusCode::Failure, "exists already (status 11)".into()));
    assert_eq!(
        code(f.extended("posix-rename@openssh.com", &[b"file", b"b"]).await),
        StatusCode::OpUnsupported
    );
    let setstat = f.sftp.setstat("file", attributes(|a| a.mtime = Some(1))).await;
    assert_eq!(code(setstat), StatusCode::PermissionDenied);
    assert_eq!(f.content("file"), b"content");
}

#[tokio::test]
async fn listings_lie() {
    let f = misbehaving([
        Rule::on(Op::List, Fault::Omit(vec![b"b".to_vec()])).below("/some"),
        Rule::on(Op::List, Fault::EndListingAfter(0)).below("/none"),
        Rule::on(Op::List, Fault::Invent(vec![b"../evil".to_vec(), b"a/b".to_vec(), vec![]])).below("/evil"),
    ])
    .await;
    for dir in ["some", "none", "evil"] {
        std::fs::create_dir(f.path(dir)).unwrap();
        f.put(&format!("{dir}/a"), "");
        f.put(&format!("{dir}/b"), "");
    }
    assert_eq!(f.list("some").await.unwrap(), [".", "..", "a"]);
    assert_eq!(f.list("none").await.unwrap(), [""; 0]);
    assert_eq!(f.list("evil").await.unwrap(), ["", ".", "..", "../evil", "a", "a/b", "b"]);
    assert_eq!(f.list("/").await.unwrap(), [".", "..", "evil", "none", "some"]);
}

#[tokio::test]
async fn extensions_can_work_without_being_announced() {
    let announced = async |rules: Vec<Rule>| {
        let root = tempfile::tempdir().unwrap();
        let (near, far) = tokio::io::duplex(1 << 16);
        let options = SessionOptions::new(root.path()).unwrap().misbehave(Misbehave::script(rules));
        tokio::spawn(serve_stream(far, options));
        let sftp = RawSftpSession::new(DialectStream::for_client(near, FrameLimits::default()));
        let version = sftp.init().await.unwrap();
        assert_eq!(version.version, 3);
        sftp.extended("limits@openssh.com", vec![]).await.unwrap();
        version.extensions.len()
    };
    let hide = |names: &[&str]| {
        let names = names.iter().map(|n| n.to_string()).collect();
        vec![Rule::on(Op::Init, Fault::Unannounced(names))]
    };
    assert_eq!(announced(vec![]).await, 8);
    assert_eq!(announced(hide(&["limits@openssh.com"])).await, 7);
    assert_eq!(announced(hide(&[])).await, 0);
}

#[tokio::test]
async fn connections_are_cut_where_the_script_says() {
    let check = async |rule: Rule, expected: &[u8]| {
        let f = misbehaving([rule.clone()]).await;
        f.put("a", "a");
        let handle = f.open("file", NEW).await.unwrap();
        let first = f.sftp.write(handle.as_str(), 0, b"12345".to_vec()).await;
        let second = f.sftp.write(handle.as_str(), 5, b"67890".to_vec()).await;
        assert!(first.is_ok(), "{rule:?}");
        assert!(!matches!(second, Ok(_) | Err(SftpError::Status(_))), "{rule:?}: {second:?}");
        assert_eq!(f.end.await.unwrap(), End::Cut);
        assert_eq!(std::fs::read(f.outer.path().join("served/file")).unwrap(), expected);
        assert_eq!(f.script.deeds(Deed::Cut), 1);
    };
    check(Rule::on(Op::Write, Fault::CutBefore).from_nth(2), b"12345").await;
    check(Rule::on(Op::Write, Fault::CutAfter).from_nth(2), b"1234567890").await;
    check(Rule::on(Op::Write, Fault::CutAtByte(7)), b"1234567").await;
}

#[tokio::test]
async fn a_stalled_session_goes_on_when_it_may() {
    let f = misbehaving([Rule::on(Op::Stat, Fault::Stall(Duration::from_secs(3600)))]).await;
    let stat = f.sftp.stat("/");
    let release = async {
        f.script.wait_for(Deed::Stalled, 1).await;
        f.script.clear();
    };
    let (stat, ()) = tokio::join!(stat, release);
    stat.unwrap();
    assert_eq!(f.script.requests(Op::Stat), 1, "judged once");
}
