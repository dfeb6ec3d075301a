//! A line that fails: relays TCP connections, and breaks each one as it was told to, at one byte of one
//! direction.
//!
//! Kept apart from the relay of `bench_peers`, which models a clean long line to the millisecond: that one
//! must cost nothing per byte and has a queue between its ends, this one has to stop at a byte, with nothing
//! beyond it delivered. What it does not do: look into the bytes. SSH's phases are met by where a fault is put.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::random::Random;
use crate::{Doing, Result};

/// What is read from a socket at once.
const READ_BYTES: usize = 64 * 1024;

/// How often a thread that waits for bytes looks whether the relay has gone.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From client to server.
    Up,
    /// From server to client.
    Down,
}

/// What happens at that byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Both ends get a reset, and lose what they have not read.
    Reset,
    /// Both ends get an orderly end, after what was delivered.
    Close,
    /// This direction ends in order; what still comes from there is lost, the other direction goes on.
    HalfClose,
    /// Nothing arrives any more in either direction, and nobody is told.
    BlackHole,
    /// This direction stands still for so long, then goes on.
    Stall(Duration),
}

impl Deed {
    /// Whether the connection can still be of use afterwards.
    pub fn is_survivable(self) -> bool {
        matches!(self, Self::Stall(_))
    }
}

/// What goes wrong with one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub deed: Deed,
    /// Counted in this direction.
    pub way: Way,
    /// After so many bytes of it were delivered.
    pub at: u64,
}

impl Fault {
    /// Draws one. `up` and `down` are about how many bytes an undisturbed connection carries. Faults fall
    /// on its beginning (handshake, login, opening SFTP), on its end (finishing, renaming, closing) and
    /// anywhere, a third each.
    pub fn draw(random: &mut Random, up: u64, down: u64) -> Self {
        const EDGE_BYTES: u64 = 12 * 1024;
        let (way, total) = if random.chance(50) { (Way::Up, up) } else { (Way::Down, down) };
        let at = match random.below(3) {
            0 => random.below(EDGE_BYTES),
            1 => total.saturating_sub(random.below(EDGE_BYTES)),
            _ => random.below(total),
        };
        let deed = match random.below(20) {
            0..=6 => Deed::Reset,
            7..=12 => Deed::Close,
            13..=16 => Deed::HalfClose,
            _ => Deed::Stall(Duration::from_millis(random.between(50, 1_500))),
        };
        Self { deed, way, at }
    }
}

/// A relay on loopback. Gone, with its connections, when dropped.
pub struct Relay {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    faults: Mutex<VecDeque<Option<Fault>>>,
    closing: AtomicBool,
    struck: AtomicU64,
    cut: AtomicU64,
}

impl Relay {
    /// Starts to relay to `server`; every connection is whole until faults are [set](Self::expect).
    pub fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing("open the relay's port")?;
        let port = listener.local_addr().doing("open the relay's port")?.port();
        let shared = Arc::new(Shared {
            server,
            faults: Mutex::default(),
            closing: AtomicBool::new(false),
            struck: AtomicU64::new(0),
            cut: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { port, shared })
    }

    /// Where clients connect, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What happens to the next connections, one after another; those after them are whole.
    pub fn expect(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        *self.shared.faults() = faults.into_iter().collect();
    }

    /// How many faults have come true, and how many of them were the end of a connection.
    pub fn struck(&self) -> (u64, u64) {
        (self.shared.struck.load(Ordering::Relaxed), self.shared.cut.load(Ordering::Relaxed))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts; where it fails, the thread is gone already.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    fn faults(&self) -> MutexGuard<'_, VecDeque<Option<Fault>>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.closing.load(Ordering::Relaxed) {
            return;
        }
        // A connection that failed before it was accepted is the client's to report.
        let Ok(client) = client else { continue };
        let fault = shared.faults().pop_front().flatten();
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // A server that refuses ends the connection: there is nobody else to tell.
            let _ = relay(client, fault, &shared);
        });
    }
}

fn relay(client: TcpStream, fault: Option<Fault>, shared: &Shared) -> std::io::Result<()> {
    let server = TcpStream::connect(shared.server)?;
    for socket in [&client, &server] {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(LOOK_EVERY))?;
    }
    let link = Link {
        client,
        server,
        fault,
        shared,
        is_dead: AtomicBool::new(false),
        swallows: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        scope.spawn(|| link.pump(Way::Up));
        link.pump(Way::Down);
    });
    Ok(())
}

/// One connection with both its ends.
struct Link<'a> {
    client: TcpStream,
    server: TcpStream,
    fault: Option<Fault>,
    shared: &'a Shared,
    /// Neither direction goes on.
    is_dead: AtomicBool,
    /// Bytes are taken, and go nowhere.
    swallows: AtomicBool,
}

impl Link<'_> {
    fn pump(&self, way: Way) {
        let (from, to) = match way {
            Way::Up => (&self.client, &self.server),
            Way::Down => (&self.server, &self.client),
        };
        let mut fault = self.fault.filter(|fault| fault.way == way);
        let (mut buffer, mut passed) = (vec![0; READ_BYTES], 0);
        let mut is_open = true;
        while let Some(length) = self.read(from, &mut buffer) {
            if length == 0 {
                break;
            }
            let mut chunk = &buffer[..length];
            if let Some(due) = fault.filter(|due| due.at < passed + length as u64) {
                let before = due.at.saturating_sub(passed) as usize;
                let _ = self.deliver(to, &chunk[..before], is_open); // an end that is gone is found out below
                passed += before as u64;
                chunk = &chunk[before..];
                fault = None;
                is_open &= self.strike(due.deed, to);
            }
            if !self.deliver(to, chunk, is_open) {
                break;
            }
            passed += chunk.len() as u64;
        }
        if !self.swallows.load(Ordering::Relaxed) {
            let _ = to.shutdown(Shutdown::Write); // it may be gone already
        }
    }

    /// `None`: the connection is over. 0: this direction is.
    fn read(&self, mut from: &TcpStream, buffer: &mut [u8]) -> Option<usize> {
        loop {
            if self.is_dead.load(Ordering::Relaxed) || self.shared.closing.load(Ordering::Relaxed) {
                return None;
            }
            match from.read(buffer) {
                Ok(length) => return Some(length),
                Err(error) if is_only_late(&error) => {}
                Err(_) => {
                    // Broken at one end, so nothing can reach the other any more.
                    self.end();
                    return None;
                }
            }
        }
    }

    /// `false`: there is nobody to deliver to.
    fn deliver(&self, mut to: &TcpStream, chunk: &[u8], is_open: bool) -> bool {
        if !is_open || self.swallows.load(Ordering::Relaxed) {
            return true;
        }
        let delivered = to.write_all(chunk).is_ok();
        if !delivered {
            self.end();
        }
        delivered
    }

    /// Whether this direction goes on.
    fn strike(&self, deed: Deed, to: &TcpStream) -> bool {
        self.shared.struck.fetch_add(1, Ordering::Relaxed);
        self.shared.cut.fetch_add(u64::from(!deed.is_survivable()), Ordering::Relaxed);
        match deed {
            Deed::Reset => {
                self.is_dead.store(true, Ordering::Relaxed);
                for socket in [&self.client, &self.server] {
                    let _ = rustix::net::connect_unspec(socket); // sends a reset (connect(2)), unless it has ended
                }
                false
            }
            Deed::Close => {
                self.end();
                false
            }
            Deed::HalfClose => {
                let _ = to.shutdown(Shutdown::Write); // it may have ended by itself
                false
            }
            Deed::BlackHole => {
                self.swallows.store(true, Ordering::Relaxed);
                false
            }
            Deed::Stall(time) => {
                thread::sleep(time);
                true
            }
        }
    }

    fn end(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
        for socket in [&self.client, &self.server] {
            let _ = socket.shutdown(Shutdown::Both); // it may have ended by itself
        }
    }
}

fn is_only_late(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `bytes` up a line with this fault, and returns what arrived and how it ended there, and how it
    /// ended here.
    fn send(fault: Fault, bytes: usize) -> (usize, bool, bool) {
        let there = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = Relay::start(there.local_addr().unwrap()).unwrap();
        relay.expect([Some(fault)]);
        let mut here = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port())).unwrap();
        let mut server = there.accept().unwrap().0;
        let receiving = thread::spawn(move || {
            server.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let (mut arrived, mut buffer) = (0, vec![0; 1 << 16]);
            loop {
                match server.read(&mut buffer) {
                    Ok(0) => return (server, arrived, true),
                    Ok(length) => arrived += length,
                    Err(_) => return (server, arrived, false),
                }
            }
        });
        let _ = here.write_all(&vec![7; bytes]); // fails where it is cut before
        let (_open, arrived, in_order) = receiving.join().unwrap(); // its end would be seen here
        here.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let ends_here = matches!(here.read(&mut [0]), Ok(0));
        assert_eq!(relay.struck().0, 1);
        (arrived, in_order, ends_here)
    }

    #[test]
    fn faults_strike_at_their_byte() {
        let at = 100_001;
        let fault = |deed| Fault { deed, way: Way::Up, at };
        assert_eq!(send(fault(Deed::Close), 200_000), (at as usize, true, true));
        assert_eq!(send(fault(Deed::HalfClose), 200_000), (at as usize, true, false));
        assert_eq!(send(fault(Deed::BlackHole), 200_000), (at as usize, false, false));
        let (arrived, in_order, ends_here) = send(fault(Deed::Reset), 200_000);
        assert!(arrived <= at as usize && !in_order && !ends_here, "{arrived}");
        let stall = fault(Deed::Stall(Duration::from_millis(50)));
        assert_eq!(send(stall, 200_000).0, 200_000);
    }
}
