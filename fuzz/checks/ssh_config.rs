//! ssh_config files of any bytes. A NUL ends one file: the first is `~/.ssh/config`, those that follow are `~/.ssh/0`,
//! `~/.ssh/1` and so on, which it may include.

use std::io;
use std::path::{Path, PathBuf};

use highwater::error::Result;
use highwater::sshconfig::files::{Files, Found};
use highwater::sshconfig::{Around, Query, Resolved, Source, resolve};

const HOME: &str = "/h";

/// Files that there are at most.
const MOST_FILES: usize = 8;

/// No panic; the first value of a keyword wins, and over all what was typed; what is told can be shown.
pub fn check(data: &[u8]) {
    let box_of =
        |user: Option<&str>| Query { host: "box".into(), user: user.map(Into::into), ..Query::default() };
    let found = ask(data, &box_of(None));
    match &found {
        Ok(found) => found.notes.iter().for_each(|note| can_be_shown(&note.to_string())),
        Err(error) => can_be_shown(&format!("{error}: {} {:?}", error.reason(), error.hint_text())),
    }
    let led = [b"Host *\nPort 7\nUser first\nHost box\n", data].concat();
    if let Ok(led) = ask(&led, &box_of(None)) {
        assert_eq!((led.port(), led.user().map(String::as_str)), (Some(7), Some("first")));
    }
    if let Ok(found) = ask(data, &box_of(Some("typed"))) {
        assert_eq!(found.user().map(String::as_str), Some("typed"));
    }
}

fn can_be_shown(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
}

fn ask(data: &[u8], query: &Query) -> Result<Resolved> {
    let files = Held(data.split(|&byte| byte == 0).take(MOST_FILES).collect());
    let around = Around {
        home: Some(HOME.into()),
        user: "me".into(),
        uid: 1000,
        machine: "here".into(),
        variable: &|name| (name == "RUN").then(|| "/run".into()),
        home_of: &|user| (user == "you").then(|| "/you".into()),
        files: &files,
    };
    resolve(query, &Source::Usual, &around)
}

struct Held<'a>(Vec<&'a [u8]>);

impl Held<'_> {
    fn path(index: usize) -> PathBuf {
        match index.checked_sub(1) {
            None => Path::new(HOME).join(".ssh/config"),
            Some(number) => Path::new(HOME).join(".ssh").join(number.to_string()),
        }
    }
}

impl Files for Held<'_> {
    fn read(&self, path: &Path) -> io::Result<Option<Found>> {
        let index = (0..self.0.len()).find(|index| Self::path(*index) == path);
        Ok(index.map(|index| Found { bytes: self.0[index].into(), uid: 1000, mode: 0o100_600 }))
    }

    /// A pattern with any `*` means all of them.
    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        let paths = (0..self.0.len()).map(Self::path);
        Ok(paths.filter(|path| pattern.contains('*') || path == Path::new(pattern)).collect())
    }
}
