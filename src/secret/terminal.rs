//! Asking the person at the terminal, without showing what is typed.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::{Prompt, Revealed};

/// Longer answers are cut.
const MAX_ANSWER_BYTES: usize = 4096;

/// The terminal this process was started from.
#[derive(Debug)]
pub struct Terminal(PathBuf);

impl Terminal {
    /// The terminal, if somebody sits there: standard input is one, and it can be opened.
    pub fn new() -> Option<Self> {
        Self::at(Path::new("/dev/tty")).filter(|_| io::stdin().is_terminal())
    }

    fn at(path: &Path) -> Option<Self> {
        open(path).ok().filter(File::is_terminal).map(|_| Self(path.into()))
    }
}

impl Prompt for Terminal {
    fn ask(&self, question: &str) -> Option<Revealed> {
        let mut tty = open(&self.0).ok()?;
        let _quiet = Quiet::new(&tty).ok()?;
        tty.write_all(question.as_bytes()).ok()?;
        let answer = read_answer(&mut tty);
        let _ = tty.write_all(b"\n"); // only looks
        answer.ok().flatten()
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// A terminal that shows nothing and hands over every key, until this is dropped. It does not turn
/// Ctrl-C into a signal either: that would end the process and leave the terminal mute.
struct Quiet {
    tty: File,
    before: Termios,
}

impl Quiet {
    fn new(tty: &File) -> io::Result<Self> {
        let before = tcgetattr(tty)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        let tty = tty.try_clone()?;
        tcsetattr(&tty, OptionalActions::Flush, &quiet)?;
        Ok(Self { tty, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.tty, OptionalActions::Flush, &self.before); // the terminal may be gone
    }
}

/// What is typed up to Enter; `None` after Ctrl-C, Ctrl-D or the end of the terminal.
fn read_answer(keys: &mut impl Read) -> io::Result<Option<Revealed>> {
    let mut typed = Zeroizing::new(Vec::with_capacity(MAX_ANSWER_BYTES)); // growing would leave copies behind
    let mut key = [0];
    loop {
        if keys.read(&mut key)? == 0 {
            return Ok(None);
        }
        match key[0] {
            b'\r' | b'\n' => return Ok(std::str::from_utf8(&typed).ok().map(Revealed::new)),
            0x03 | 0x04 => return Ok(None),
            0x08 | 0x7f => erase(&mut typed),
            0x15 => typed.clear(),
            byte if typed.len() < MAX_ANSWER_BYTES => typed.push(byte),
            _ => {}
        }
    }
}

/// Takes back one character, which may be several bytes.
fn erase(typed: &mut Vec<u8>) {
    while typed.pop().is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000) {}
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    #[test]
    fn keys_make_an_answer() {
        let check = |mut keys: &[u8], expected: Option<&str>| {
            let answer = read_answer(&mut keys).unwrap();
            assert_eq!(answer.as_ref().map(Revealed::expose), expected);
        };
        check(b"hunter2\n", Some("hunter2"));
        check(b"hunter2\rmore", Some("hunter2"));
        check(b"\n", Some(""));
        check("fr\u{fc}\x7fu\n".as_bytes(), Some("fru"));
        check(b"\x7fab\x08c\n", Some("ac"));
        check(b"wrong\x15right\n", Some("right"));
        check(b"hunt\x03", None);
        check(b"\x04", None);
        check(b"hunter2", None);
        check(b"\xff\n", None);
        check(&[b"a".repeat(5000), b"\n".to_vec()].concat(), Some(&"a".repeat(4096)));
    }

    #[test]
    fn a_terminal_shows_the_question_but_not_the_answer() {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap();
        let path = PathBuf::from(OsStr::from_bytes(name.as_bytes()));
        let _kept = open(&path).unwrap(); // so that what the terminal showed can be read after the answer
        let terminal = Terminal::at(&path).unwrap();
        let mut person = File::from(person);
        let asking = std::thread::spawn(move || terminal.ask("Password: "));
        let mut shown = vec![0; 10];
        person.read_exact(&mut shown).unwrap();
        person.write_all(b"hunter2\r").unwrap();
        assert_eq!(asking.join().unwrap().unwrap().expose(), "hunter2");
        person.write_all(b"x").unwrap();
        let mut rest = [0; 3];
        person.read_exact(&mut rest).unwrap();
        assert_eq!((shown.as_slice(), &rest), (&b"Password: "[..], b"\r\nx"));
    }

    #[test]
    fn what_is_no_terminal_is_not_asked() {
        assert!(Terminal::at(Path::new("/dev/null")).is_none());
    }
}
