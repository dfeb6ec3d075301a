//! How fast the dialect layer is: packets of the kinds that a transfer is made of, through [`Dialect::step`] alone and
//! through the stream round it, in memory.
//!
//! ```text
//! cargo bench --bench dialect
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used)] // a program to be run by hand

use std::hint::black_box;
use std::time::Instant;

use highwater::remote::dialect::{Dialect, FrameLimits, Step, put_string};
use highwater::remote::stream::DialectStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes that go through in one run, about.
const RUN_BYTES: usize = 512 << 20;

/// Runs, of which the median is shown.
const RUNS: usize = 5;

/// One kind of packet.
struct Case {
    name: &'static str,
    is_reply: bool,
    packet: Vec<u8>,
}

fn main() {
    println!("{:34} {:>12} {:>12} {:>12}", "packet", "step GB/s", "packets/s", "stream GB/s");
    for case in cases() {
        let count = (RUN_BYTES / case.packet.len()).min(4_000_000);
        let bytes = (count * case.packet.len()) as f64;
        let step = median(|| step(&case, count));
        let stream = median(|| stream(&case, count));
        println!(
            "{:34} {:12.2} {:12.0} {:12.2}",
            case.name,
            bytes / step / 1e9,
            count as f64 / step,
            bytes / stream / 1e9
        );
    }
}

fn cases() -> Vec<Case> {
    let ascii = b"/srv/backup/web1/.highwater/stage/6f1d/0a4b8c".as_slice();
    let latin = "/srv/B\u{fc}cher/\u{fc}bersicht".as_bytes(); // two names in UTF-8, as they are on the wire
    let inside: String = latin.iter().map(|&b| char::from(b)).collect();
    let status = [&[0, 0, 0, 0][..], &string(b"Success"), &string(b"")].concat();
    let attrs = [&[0, 0, 0, 15][..], &[0; 8], &[0; 8], &[0, 0, 0x81, 0xa4], &[0; 8]].concat();
    let case = |name, is_reply, kind, body: &[&[u8]]| Case { name, is_reply, packet: packet(kind, body) };
    vec![
        case("WRITE of 255 KiB", false, 6, &[&string(&[0; 4]), &[0; 8], &string(&[0xff; 261_120])]),
        case("WRITE of 4 KiB", false, 6, &[&string(&[0; 4]), &[0; 8], &string(&[0xff; 4096])]),
        case("DATA of 255 KiB", true, 103, &[&string(&[0xff; 261_120])]),
        case("DATA of 4 KiB", true, 103, &[&string(&[0xff; 4096])]),
        case("LSTAT of an ASCII name", false, 7, &[&string(ascii)]),
        case("LSTAT of a name that is re-coded", false, 7, &[&string(inside.as_bytes())]),
        case("STATUS", true, 101, &[&status]),
        case("ATTRS", true, 105, &[&attrs]),
        case("NAME, re-coded", true, 104, &[&[0, 0, 0, 1], &string(latin), &string(latin), &attrs]),
    ]
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_string(&mut out, bytes);
    out
}

fn packet(kind: u8, body: &[&[u8]]) -> Vec<u8> {
    string(&[&[kind, 0, 0, 0, 9], &body.concat()[..]].concat())
}

/// Seconds that the median run takes.
fn median(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

fn step(case: &Case, count: usize) {
    let limits = FrameLimits { packet_bytes: 1 << 20 };
    let dialect = if case.is_reply { Dialect::replies_in(limits) } else { Dialect::requests_out(limits) };
    let mut out = Vec::new();
    for _ in 0..count {
        out.clear();
        match dialect.step(black_box(&case.packet), &mut out).unwrap() {
            Step::Pass(bytes) => assert_eq!(bytes, case.packet.len()),
            Step::Replace { consumed, rest } => {
                out.extend_from_slice(&case.packet[consumed..consumed + rest]);
            }
            Step::Need(_) => unreachable!("the packet is whole"),
        }
        black_box(&out);
    }
}

fn stream(case: &Case, count: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime
        .block_on(async { if case.is_reply { read(case, count).await } else { write(case, count).await } });
}

async fn write(case: &Case, count: usize) {
    let limits = FrameLimits { packet_bytes: 1 << 20 };
    let mut stream =
        DialectStream::for_client(tokio::io::join(tokio::io::empty(), tokio::io::sink()), limits);
    for _ in 0..count {
        stream.write_all(&case.packet).await.unwrap();
    }
    stream.flush().await.unwrap();
}

async fn read(case: &Case, count: usize) {
    let limits = FrameLimits { packet_bytes: 1 << 20 };
    let bytes = case.packet.repeat(count);
    let outer = tokio::io::join(&bytes[..], tokio::io::sink());
    let mut stream = DialectStream::for_client(outer, limits);
    let mut piece = vec![0; 64 << 10];
    while stream.read(&mut piece).await.unwrap() > 0 {
        black_box(&piece);
    }
}
