//! From close() of a new file to the moment at which it is complete at the far side.
//!
//! Files come at random times, independent of each other, so that some come alone and some in twos and
//! threes. That a file is complete is told by the kernel: inotify reports its rename into the far root.

use std::collections::HashMap;
use std::fs;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};

use crate::random::Random;
use crate::rig::Rig;
use crate::{Doing, Given, Result};

const FILES: u32 = 200;
const FILE_BYTES: usize = 10 * 1024;

/// Between two files, on average.
const GAP: Duration = Duration::from_millis(150);

const SETTLE: Duration = Duration::from_millis(50);

/// How long the last file may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures it over a line that takes `round_trip` there and back.
pub fn run(given: &Given, round_trip: Duration) -> Result<Vec<String>> {
    let rig = Rig::start(given, round_trip)?;
    rig.configure(&format!("watch: {{settle: {}ms, rescan: 1h}}", SETTLE.as_millis()))?;
    fs::write(rig.near().join("first"), "the server is known then").doing("write the first file")?;
    let mut daemon = rig.daemon()?;
    rig.wait_until_watched()?;
    let arrivals = listen(&rig.far())?;
    let files = given.args.scaled(FILES);
    let mut random = Random(given.args.seed);
    let mut closed: HashMap<String, Instant> = HashMap::new();
    for number in 0..files {
        std::thread::sleep(random.gap(GAP));
        let (name, content) = (format!("{number:04}.dat"), random.bytes(FILE_BYTES));
        fs::write(rig.near().join(&name), content).doing("write a file")?;
        closed.insert(name, Instant::now());
    }
    let mut took = Vec::new();
    while took.len() < closed.len() {
        let (name, at) = arrivals.recv_timeout(PATIENCE).map_err(|_| missed(&closed, took.len()))?;
        took.extend(closed.get(&name).map(|closed| at.saturating_duration_since(*closed)));
    }
    rig.compare()?;
    let rounds = rig.status()?["daemon"]["failures"].clone();
    daemon.stop()?;
    let logins = rig.sshd.logins();
    let mut lines = vec![figures(&mut took, round_trip)];
    lines.push(format!("no file missed; both sides equal; {logins} login, {rounds} failures"));
    Ok(lines)
}

fn missed(closed: &HashMap<String, Instant>, came: usize) -> String {
    format!("of {} files only {came} came", closed.len())
}

fn figures(took: &mut [Duration], round_trip: Duration) -> String {
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share).round() as usize].as_millis();
    format!(
        "{} files of {FILE_BYTES} bytes, settle {} ms, round trip {} ms: median {} ms, 95th percentile {} ms, \
         longest {} ms",
        took.len(),
        SETTLE.as_millis(),
        round_trip.as_millis(),
        at(0.5),
        at(0.95),
        at(1.0)
    )
}

/// Hears from now on which names come into being in `folder` by a rename, and when.
fn listen(folder: &Path) -> Result<mpsc::Receiver<(String, Instant)>> {
    let queue = inotify::init(CreateFlags::CLOEXEC).doing("open inotify")?;
    inotify::add_watch(&queue, folder, WatchFlags::MOVED_TO).doing("watch the far root")?;
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&queue, &mut buffer);
        while let Ok(event) = reader.next() {
            let now = Instant::now();
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
            // Nobody listens any more when the trial is over.
            if name.is_some_and(|name| told.send((name, now)).is_err()) {
                return;
            }
        }
    });
    Ok(heard)
}
