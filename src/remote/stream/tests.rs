//! The stream around the dialect: order, back-pressure, and bytes in pieces of any size.

use std::collections::VecDeque;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::remote::dialect::payload::put_string;

const LIMITS: FrameLimits = FrameLimits { packet_bytes: 200_000 };

/// A stranger's stream: what it says comes in pieces of `sizes` with a pause before each, what it
/// hears it takes in pieces of `sizes`, and it counts them.
struct Stranger {
    says: VecDeque<u8>,
    heard: Vec<u8>,
    pieces_heard: usize,
    sizes: Vec<usize>,
    turn: usize,
    paused: bool,
}

impl Stranger {
    fn new(says: &[u8], sizes: &[usize]) -> Self {
        let (says, sizes) = (says.iter().copied().collect(), sizes.to_vec());
        Self { says, heard: Vec::new(), pieces_heard: 0, sizes, turn: 0, paused: false }
    }

    fn poll_size(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        self.paused = !self.paused;
        if self.paused {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.turn += 1;
        Poll::Ready(self.sizes[self.turn % self.sizes.len()])
    }
}

impl AsyncRead for Stranger {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = ready!(self.poll_size(cx)).min(buf.remaining()).min(self.says.len());
        let piece: Vec<u8> = self.says.drain(..size).collect();
        buf.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stranger {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let size = ready!(self.poll_size(cx)).min(buf.len());
        self.heard.extend_from_slice(&buf[..size]);
        self.pieces_heard += 1;
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn packet(kind: u8, body: &[&[u8]]) -> Vec<u8> {
    let mut packet = Vec::new();
    put_string(&mut packet, &[&[kind, 0, 0, 0, 9], &body.concat()[..]].concat());
    packet
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_string(&mut out, bytes);
    out
}

fn write(handle: &[u8], data: &[u8]) -> Vec<u8> {
    packet(6, &[&string(handle), &[0; 8], &string(data)])
}

fn status(code: u8, text: &[u8]) -> Vec<u8> {
    packet(101, &[&[0, 0, 0, code], &string(text), &string(b"")])
}

const WHOLE: usize = usize::MAX;
const ODD: &[u8] = b"\0\0\0\xc3";
const ODD_INSIDE: &[u8] = b"\0\0\0\xc3\x83";

/// Replies as a strange server sends them, and as russh-sftp is to see them.
fn replies() -> (Vec<u8>, Vec<u8>) {
    let data = packet(103, &[&string(&[0xff; 9000])]);
    let before = [
        status(0, b""),
        packet(101, &[&[0, 0, 0, 11]]),
        packet(102, &[&string(ODD)]),
        data.clone(),
        packet(104, &[&[0, 0, 0, 1], &string(&[0xe9; 5000]), &string(b""), &[0; 4]]),
        data.clone(),
        packet(105, &[&[0; 4]]),
    ];
    let after = [
        status(0, b""),
        status(4, b"(status 11)"),
        packet(102, &[&string(ODD_INSIDE)]),
        data.clone(),
        packet(104, &[&[0, 0, 0, 1], &string("\u{e9}".repeat(5000).as_bytes()), &string(b""), &[0; 4]]),
        data,
        packet(105, &[&[0; 4]]),
    ];
    (before.concat(), after.concat())
}

/// Requests as russh-sftp writes them, and as a strange server is to see them.
fn requests() -> (Vec<u8>, Vec<u8>) {
    let data = [0xff; 9000];
    let before = [
        packet(13, &[&string(b"plain")]),
        write(ODD_INSIDE, &data),
        packet(4, &[&string(ODD_INSIDE)]),
        write(b"plain", &data),
        packet(18, &[&string("\u{ff}\n\u{80}".as_bytes()), &string(b"b")]),
    ];
    let after = [
        packet(13, &[&string(b"plain")]),
        write(ODD, &data),
        packet(4, &[&string(ODD)]),
        write(b"plain", &data),
        packet(18, &[&string(b"\xff\n\x80"), &string(b"b")]),
    ];
    (before.concat(), after.concat())
}

/// Reads to the end in pieces of `sizes`.
async fn read_all<S: AsyncRead + Unpin>(stream: &mut S, sizes: &[usize]) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    for size in sizes.iter().cycle() {
        let mut piece = vec![0; (*size).min(1 << 20)];
        let count = stream.read(&mut piece).await?;
        if count == 0 {
            break;
        }
        all.extend_from_slice(&piece[..count]);
    }
    Ok(all)
}

fn check_splits(outer: &[usize], inner: &[usize]) {
    let (says, expected) = replies();
    let mut stream = DialectStream::for_client(Stranger::new(&says, outer), LIMITS);
    assert_eq!(block_on(read_all(&mut stream, inner)).unwrap(), expected);

    let (written, expected) = requests();
    let mut stream = DialectStream::for_client(Stranger::new(b"", outer), LIMITS);
    block_on(async {
        let mut left = &written[..];
        for size in inner.iter().cycle() {
            let (piece, rest) = left.split_at((*size).min(left.len()));
            stream.write_all(piece).await.unwrap();
            left = rest;
            if left.is_empty() {
                break;
            }
        }
        stream.flush().await.unwrap();
    });
    assert_eq!(stream.stream.heard, expected);
}

#[test]
fn whole_packets_and_single_bytes_give_the_same() {
    check_splits(&[WHOLE], &[WHOLE]);
    check_splits(&[1], &[WHOLE]);
    check_splits(&[WHOLE], &[1]);
    check_splits(&[1], &[1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_split_gives_the_same(
        outer in proptest::collection::vec(prop_oneof![1usize..30, 1usize..10_000], 1..20),
        inner in proptest::collection::vec(prop_oneof![1usize..30, 1usize..10_000], 1..20),
    ) {
        check_splits(&outer, &inner);
    }

    #[test]
    fn garbage_ends_the_stream_and_keeps_little(
        says in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..2000),
        sizes in proptest::collection::vec(1usize..300, 1..5),
    ) {
        for facing in [DialectStream::for_client, DialectStream::for_server] {
            let mut stream = facing(Stranger::new(&says, &sizes), FrameLimits { packet_bytes: 1000 });
            let end = block_on(read_all(&mut stream, &[WHOLE]));
            if let Err(error) = end {
                let kinds = [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof];
                prop_assert!(kinds.contains(&error.kind()));
            }
            prop_assert!(stream.incoming.kept_bytes() < 8 * 1024);
        }
    }
}

#[test]
fn long_packets_are_one_write_each_and_short_ones_are_gathered() {
    let check = |packet: &[u8], count: usize, expected: usize| {
        let mut stream = DialectStream::for_client(Stranger::new(b"", &[WHOLE]), LIMITS);
        block_on(async {
            for _ in 0..count {
                stream.write_all(packet).await.unwrap();
            }
            stream.flush().await.unwrap();
        });
        assert_eq!(stream.stream.pieces_heard, expected);
    };
    check(&write(b"plain", &[0xff; 100_000]), 3, 3);
    check(&write(ODD_INSIDE, &[0xff; 100_000]), 3, 3);
    check(&packet(13, &[&string("\u{ff}".as_bytes())]), 1, 1);
    check(&packet(13, &[&string("\u{ff}".as_bytes())]), 100, 1);
    check(&write(b"plain", &[0xff; 5000]), 100, 100usize.div_ceil(7)); // seven make 32 KiB
}

#[tokio::test]
async fn whoever_reads_carries_out_what_was_written() {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let (mut reader, mut writer) = tokio::io::split(DialectStream::for_client(near, LIMITS));
    let reading = tokio::spawn(async move { reader.read_u32().await });
    tokio::task::yield_now().await; // it waits by now
    let asked = packet(4, &[&string(b"h")]);
    writer.write_all(&asked).await.unwrap();
    let mut heard = vec![0; asked.len()];
    far.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, asked);
    far.write_all(&status(0, b"")).await.unwrap();
    assert_eq!(reading.await.unwrap().unwrap() as usize, status(0, b"").len() - 4);
}

#[tokio::test]
async fn a_stream_that_takes_nothing_for_a_while_gets_all_in_the_end() {
    let (near, mut far) = tokio::io::duplex(100);
    let (mut reader, mut writer) = tokio::io::split(DialectStream::for_client(near, LIMITS));
    let reading = tokio::spawn(async move { reader.read_u32().await });
    let asked = write(b"plain", &[0xff; 5000]).repeat(100);
    let all = asked.clone();
    let writing = tokio::spawn(async move { writer.write_all(&all).await.map(|()| writer) });
    let mut heard = vec![0; asked.len()];
    far.read_exact(&mut heard).await.unwrap();
    assert!(heard == asked);
    let _writer = writing.await.unwrap().unwrap();
    drop(far);
    assert_eq!(reading.await.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_bad_request_is_answered_with_its_id_and_ends_the_stream() {
    let bad = packet(5, &[&string(b"h")]); // READ without offset and length
    let says = [packet(17, &[&string(b"a")]), bad].concat();
    let mut stream = DialectStream::for_server(Stranger::new(&says, &[7]), LIMITS);
    let fault = stream.fault();
    let error = block_on(async {
        let mut good = vec![0; packet(17, &[&string(b"a")]).len()];
        stream.read_exact(&mut good).await.unwrap();
        assert_eq!(fault.get(), None);
        stream.read_u32().await.unwrap_err()
    });
    let expected = FrameError::Truncated { kind: 5 };
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(error.downcast::<FrameError>().unwrap(), expected);
    assert_eq!(fault.get(), Some(expected));
    assert_eq!(stream.stream.heard, refusal(9, &expected));
    assert_eq!(block_on(stream.read_u32()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(block_on(stream.write_all(b"x")).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_bad_reply_ends_the_stream_without_a_word() {
    let check = |says: &[u8], expected| {
        let mut stream = DialectStream::for_client(Stranger::new(says, &[7]), LIMITS);
        let error = block_on(stream.read_u32()).unwrap_err();
        assert_eq!(error.downcast::<FrameError>().unwrap(), expected);
        assert_eq!(stream.fault().get(), Some(expected));
        assert!(stream.stream.heard.is_empty());
    };
    check(&packet(3, &[]), FrameError::Unexpected { kind: 3 });
    check(&packet(102, &[]), FrameError::Truncated { kind: 102 });
    check(b"\xff\xff\xff\xff", FrameError::TooLong { length: u32::MAX, limit: LIMITS.packet_bytes });
    check(b"Last login: yesterday\n", FrameError::Text { start: *b"Last" });
}

#[test]
fn nothing_of_a_bad_request_of_our_own_goes_out() {
    let mut stream = DialectStream::for_client(Stranger::new(b"", &[WHOLE]), LIMITS);
    let ours = packet(13, &[&string("\u{20ac}".as_bytes())]);
    let error = block_on(stream.write_all(&ours)).unwrap_err();
    assert_eq!(error.downcast::<FrameError>().unwrap(), FrameError::NotLatin1 { kind: 13 });
    assert!(stream.stream.heard.is_empty());
}

#[test]
fn an_end_inside_a_packet_is_an_error() {
    let check = |says: &[u8], expected: Result<usize, io::ErrorKind>| {
        let mut stream = DialectStream::for_client(Stranger::new(says, &[WHOLE]), LIMITS);
        let end = block_on(read_all(&mut stream, &[WHOLE]));
        assert_eq!(end.map(|all| all.len()).map_err(|error| error.kind()), expected);
        assert_eq!(block_on(read_all(&mut stream, &[WHOLE])).unwrap(), b"");
    };
    let handle = packet(102, &[&string(ODD)]);
    check(b"", Ok(0));
    check(&handle, Ok(18));
    check(&handle[..16], Err(io::ErrorKind::UnexpectedEof));
    check(&handle[..2], Err(io::ErrorKind::UnexpectedEof));
}
