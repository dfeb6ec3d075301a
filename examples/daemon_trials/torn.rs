//! Files that prove themselves, and a process that looks at the far side all the while for one that does not.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::random::Random;
use crate::{Doing, Result};

/// The word that makes this program look, followed by the folder.
pub const WORD: &str = "look-for-torn-files";

/// The checksum of the rest stands before it.
pub fn content(random: &mut Random, length: usize) -> Vec<u8> {
    let rest = random.bytes(length);
    let mut content = blake3::hash(&rest).as_bytes().to_vec();
    content.extend(rest);
    content
}

fn is_torn(content: &[u8]) -> bool {
    content.split_at_checked(32).is_none_or(|(hash, rest)| blake3::hash(rest).as_bytes() != hash)
}

/// Looks at all files of a folder whose names end in `.whole`, again and again until standard input ends.
/// Prints how often it looked at one; errors as soon as one is torn.
pub fn look(words: &[String]) -> Result<()> {
    static OVER: AtomicBool = AtomicBool::new(false);
    let folder = words.first().ok_or("which folder?")?;
    std::thread::spawn(|| {
        // That it ends is all there is to hear.
        let _ = std::io::stdin().read(&mut [0]);
        OVER.store(true, Ordering::Relaxed);
    });
    let mut looks = 0u64;
    while !OVER.load(Ordering::Relaxed) {
        look_once(Path::new(folder), &mut looks)?;
        std::thread::sleep(Duration::from_millis(2));
    }
    println!("{looks}");
    Ok(())
}

fn look_once(folder: &Path, looks: &mut u64) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) }; // deleted meanwhile
    for entry in entries.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        if name.as_encoded_bytes().starts_with(b".highwater") {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            look_once(&path, looks)?;
        } else if name.as_encoded_bytes().ends_with(b".whole")
            && let Ok(content) = fs::read(&path)
        {
            *looks += 1;
            if is_torn(&content) {
                return Err(format!("{} is torn: {} bytes", path.display(), content.len()));
            }
        }
    }
    Ok(())
}

/// The process that looks.
pub struct Looker(Child);

impl Looker {
    /// Starts it.
    pub fn start(folder: &Path) -> Result<Self> {
        let program = std::env::current_exe().doing("find this program")?;
        let mut command = Command::new(program);
        command.arg(WORD).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Self(command.spawn().doing("start the process that looks")?))
    }

    /// Ends it. How often it looked at a file; errors when one was torn.
    pub fn end(mut self) -> Result<u64> {
        drop(self.0.stdin.take());
        let mut line = String::new();
        if let Some(output) = self.0.stdout.take() {
            BufReader::new(output).read_line(&mut line).doing("hear what was seen")?;
        }
        let status = self.0.wait().doing("end the process that looks")?;
        match status.success() {
            true => line.trim().parse().doing("read what was seen"),
            false => Err("a torn file was visible".into()),
        }
    }
}
