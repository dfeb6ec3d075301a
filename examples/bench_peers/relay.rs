//! A line with a delay: relays TCP connections, each byte no sooner than it would have arrived.
//!
//! Plain threads, because timers of async runtimes tick by the millisecond, which is much of a 25 ms way.
//! Delay, order and rate are kept; loss, jitter and TCP's slow start are not modelled. What is on its way
//! is bounded by [`MOST_ON_THE_WAY_BYTES`] per direction, far above what any client keeps in flight.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Doing, Result};

/// Bytes that may be on their way in one direction of one connection: 200 ms at 1.3 GB/s.
const MOST_ON_THE_WAY_BYTES: usize = 256 << 20;

/// What is read from a socket at once.
const READ_BYTES: usize = 256 * 1024;

/// What kind of line.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Line {
    /// There and back again. Each way takes half of it.
    pub round_trip: Duration,
    /// Bytes per second in each direction, of each connection; `None`: as fast as this machine can.
    pub rate: Option<u32>,
}

/// Bytes that have crossed a relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Crossed {
    /// From client to server.
    pub up: u64,
    /// From server to client.
    pub down: u64,
}

/// A relay on loopback. It goes on listening until dropped; connections then end with their ends.
pub struct Relay {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    line: Line,
    server: SocketAddr,
    up: AtomicU64,
    down: AtomicU64,
    closing: AtomicBool,
}

impl Relay {
    /// Starts to relay to `server`.
    pub fn start(server: SocketAddr, line: Line) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing("open the relay's port")?;
        let port = listener.local_addr().doing("open the relay's port")?.port();
        let (up, down) = (AtomicU64::new(0), AtomicU64::new(0));
        let shared = Arc::new(Shared { line, server, up, down, closing: AtomicBool::new(false) });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { port, shared })
    }

    /// Where clients connect, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What has crossed since the last call.
    pub fn take_crossed(&self) -> Crossed {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        Crossed { up: take(&self.shared.up), down: take(&self.shared.down) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts; where it fails, the thread is gone already.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.closing.load(Ordering::Relaxed) {
            return;
        }
        // A connection that failed before it was accepted is the client's to report.
        let Ok(client) = client else { continue };
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // Ends that go away end a connection: there is nobody else to tell.
            let _ = relay(&client, &shared);
        });
    }
}

/// One connection. The kernel has told the client at once that it is connected, where a handshake over the
/// line would have taken a round trip: so what it sends sets out one round trip later, and the server
/// learns of the connection another half later, with the packet that ends the handshake.
fn relay(client: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let up = Pipe::new(shared.line);
    thread::sleep(shared.line.round_trip);
    thread::scope(|scope| {
        scope.spawn(|| up.read_from(client, &shared.up));
        thread::sleep(shared.line.round_trip / 2);
        let carried = serve(client, &up, shared);
        up.close();
        client.shutdown(Shutdown::Both).and(carried)
    })
}

/// Carries what is on its way up to the server, and its answers down.
fn serve(client: &TcpStream, up: &Pipe, shared: &Shared) -> std::io::Result<()> {
    let server = TcpStream::connect(shared.server)?;
    server.set_nodelay(true)?;
    let down = Pipe::new(shared.line);
    thread::scope(|scope| {
        scope.spawn(|| up.write_to(&server, client));
        scope.spawn(|| down.read_from(&server, &shared.down));
        down.write_to(client, &server);
    });
    Ok(())
}

/// One direction of one connection.
struct Pipe {
    line: Line,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Each with the time of its arrival. An empty one is the end.
    chunks: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// The other side takes no more.
    closed: bool,
}

impl Pipe {
    fn new(line: Line) -> Self {
        Self { line, queue: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts on the line what a socket gives, until its end.
    fn read_from(&self, mut socket: &TcpStream, crossed: &AtomicU64) {
        let mut buffer = vec![0; READ_BYTES];
        let mut line_free_at = Instant::now();
        loop {
            let length = socket.read(&mut buffer).unwrap_or(0); // a broken connection ends as a closed one
            crossed.fetch_add(length as u64, Ordering::Relaxed);
            line_free_at = line_free_at.max(Instant::now()) + self.time_on_line(length);
            let due = line_free_at + self.line.round_trip / 2;
            if !self.push(due, buffer[..length].to_vec()) || length == 0 {
                return;
            }
        }
    }

    fn time_on_line(&self, bytes: usize) -> Duration {
        let seconds = |rate: u32| Duration::from_secs_f64(bytes as f64 / f64::from(rate));
        self.line.rate.map(seconds).unwrap_or_default()
    }

    /// Waits for room. `false` when nothing is taken any more.
    fn push(&self, due: Instant, chunk: Vec<u8>) -> bool {
        let full = |queue: &mut Queue| queue.bytes >= MOST_ON_THE_WAY_BYTES && !queue.closed;
        let queue = self.changed.wait_while(self.lock(), full);
        let mut queue = queue.unwrap_or_else(PoisonError::into_inner);
        queue.bytes += chunk.len();
        queue.chunks.push_back((due, chunk));
        self.changed.notify_all();
        !queue.closed
    }

    fn pop(&self) -> (Instant, Vec<u8>) {
        let mut queue = self.lock();
        loop {
            if let Some((due, chunk)) = queue.chunks.pop_front() {
                queue.bytes -= chunk.len();
                self.changed.notify_all();
                return (due, chunk);
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Takes off the line what is due. When `socket` takes no more, `origin` is cut off too.
    fn write_to(&self, mut socket: &TcpStream, origin: &TcpStream) {
        loop {
            let (due, chunk) = self.pop();
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // An end that is gone already needs no telling, here and below.
            if chunk.is_empty() {
                let _ = socket.shutdown(Shutdown::Write);
                return;
            }
            if socket.write_all(&chunk).is_err() {
                self.close();
                let _ = origin.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

/// What the relay can do on this machine.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Check {
    /// Bytes per second without delay.
    pub bytes_per_second: f64,
    /// Bytes per second at a round trip of 200 ms.
    pub delayed_bytes_per_second: f64,
    /// The median of 21 round trips of one byte that should take 50 ms.
    pub round_trip_of_50_ms: Duration,
}

/// Measures it.
pub fn check() -> Result<Check> {
    let line = |milliseconds| Line { round_trip: Duration::from_millis(milliseconds), rate: None };
    Ok(Check {
        bytes_per_second: throughput(line(0)).doing("measure the relay")?,
        delayed_bytes_per_second: throughput(line(200)).doing("measure the relay")?,
        round_trip_of_50_ms: round_trip(line(50)).doing("measure the relay")?,
    })
}

fn throughput(line: Line) -> std::io::Result<f64> {
    const TOTAL_BYTES: usize = 4 << 30;
    let sink = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let relay = Relay::start(sink.local_addr()?, line).map_err(std::io::Error::other)?;
    let start = Instant::now();
    let sender = thread::spawn({
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port()))?;
        move || {
            let block = vec![1; 1 << 20];
            (0..TOTAL_BYTES / block.len()).try_for_each(|_| socket.write_all(&block))
        }
    });
    let mut socket = sink.accept()?.0;
    let mut buffer = vec![0; 1 << 20];
    while socket.read(&mut buffer)? > 0 {}
    sender.join().map_err(|_| std::io::Error::other("the sender panicked"))??;
    // The delay itself is no lack of throughput: handshake and one way.
    let waited = line.round_trip * 2;
    Ok(TOTAL_BYTES as f64 / start.elapsed().saturating_sub(waited).as_secs_f64())
}

fn round_trip(line: Line) -> std::io::Result<Duration> {
    let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let relay = Relay::start(echo.local_addr()?, line).map_err(std::io::Error::other)?;
    thread::spawn(move || {
        let mut socket = echo.accept()?.0;
        let mut back = socket.try_clone()?;
        socket.set_nodelay(true)?;
        std::io::copy(&mut socket, &mut back)
    });
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port()))?;
    socket.set_nodelay(true)?;
    let mut byte = [7];
    let mut times = Vec::new();
    for _ in 0..22 {
        let start = Instant::now();
        socket.write_all(&byte)?;
        socket.read_exact(&mut byte)?;
        times.push(start.elapsed());
    }
    times.remove(0); // the first has waited for the handshake
    times.sort();
    Ok(times[times.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `bytes` over a line to an echo, and takes them back.
    fn there_and_back(line: Line, bytes: &[u8]) -> (Vec<u8>, Duration, Crossed) {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = Relay::start(echo.local_addr().unwrap(), line).unwrap();
        let start = Instant::now();
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port())).unwrap();
        let mut back = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut here = echo.accept().unwrap().0;
                std::io::copy(&mut here.try_clone().unwrap(), &mut here).unwrap();
            });
            let mut sender = socket.try_clone().unwrap();
            scope.spawn(move || {
                sender.write_all(bytes).unwrap();
                sender.shutdown(Shutdown::Write).unwrap();
            });
            socket.read_to_end(&mut back).unwrap();
        });
        (back, start.elapsed(), relay.take_crossed())
    }

    #[test]
    fn keeps_order_counts_and_is_never_early() {
        let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
        let round_trip = Duration::from_millis(30);
        for line in [Line::default(), Line { round_trip, rate: None }] {
            let (back, took, crossed) = there_and_back(line, &bytes);
            assert!(back == bytes);
            assert_eq!(crossed, Crossed { up: 5_000_000, down: 5_000_000 });
            assert!(took >= line.round_trip * 2, "{took:?}: less than a handshake and a round trip");
        }
    }

    #[test]
    fn holds_to_its_rate() {
        let line = Line { round_trip: Duration::ZERO, rate: Some(2_000_000) };
        let (_, took, _) = there_and_back(line, &vec![5; 500_000]);
        assert!(took >= Duration::from_millis(250), "{took:?}: faster than the line");
    }

    #[test]
    fn an_end_that_goes_away_takes_the_other_along() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = Relay::start(listener.local_addr().unwrap(), Line::default()).unwrap();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port())).unwrap();
        drop(listener.accept().unwrap());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop(listener);
        let mut late = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port())).unwrap();
        assert!(matches!(late.read(&mut [0]), Ok(0) | Err(_)), "nobody is there");
    }
}
