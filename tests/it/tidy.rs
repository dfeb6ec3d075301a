//! Rules of this repository that neither compiler nor clippy know, one per test. Each names every line
//! that breaks it. They read files as text: what they miss, a reader has to see.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::{CommandFactory, Parser};
use highwater::cli::args::Args;

/// A file of the repository.
struct Source {
    /// From the top of the repository, with slashes.
    path: String,
    text: String,
}

impl Source {
    fn read(path: String) -> Self {
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        Self { path, text }
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The lines before the tests, which stand at the end of a file, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("#[cfg(test)]\nmod tests").unwrap_or(self.text.len());
        numbered(&self.text[..end])
    }

    /// Whether the path is one of `places`: files, or folders ending in a slash.
    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| match place.ends_with('/') {
            true => self.path.starts_with(place),
            false => self.path == *place,
        })
    }

    /// The top-level module that the file belongs to: `plan` for `src/plan/order.rs`.
    fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap();
        below.split(['/', '.']).next().unwrap()
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, line)| (i + 1, line))
}

/// All that people write: code, examples, scripts, and the pages at the top.
fn everything() -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in ["src", "tests", "examples", "contrib", ".ci", "fuzz/checks", "fuzz/fuzz_targets"] {
        walk(Path::new(folder), &mut paths);
    }
    let pages = fs::read_dir(".").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    paths.extend(pages.filter(|name| name.ends_with(".md") || name.ends_with(".toml")));
    paths.sort();
    paths.into_iter().map(Source::read).collect()
}

fn walk(folder: &Path, paths: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => walk(&path, paths),
            false => paths.push(path.to_str().unwrap().to_string()),
        }
    }
}

fn rust_files() -> Vec<Source> {
    everything().into_iter().filter(Source::is_rust).collect()
}

/// The sources of the library and the program that are more than tests.
fn sources() -> Vec<Source> {
    let all: Vec<Source> = rust_files().into_iter().filter(|file| file.is_in(&["src/"])).collect();
    let tests: BTreeSet<String> = all.iter().flat_map(test_modules).collect();
    let is_test = |path: &str| tests.iter().any(|test| path.starts_with(test.as_str()));
    all.into_iter().filter(|file| !is_test(&file.path)).collect()
}

/// What the paths of files begin with that are compiled into tests only.
fn test_modules(file: &Source) -> Vec<String> {
    let folder = file.path.strip_suffix("/mod.rs").or(file.path.strip_suffix(".rs")).unwrap();
    let declared = file.text.split("#[cfg(test)]\n").skip(1).filter_map(|rest| {
        let line = rest.lines().next()?.trim_start_matches("pub(super) ").trim_start_matches("pub(crate) ");
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    declared.flat_map(|name| [format!("{folder}/{name}.rs"), format!("{folder}/{name}/")]).collect()
}

/// Fails with every line for which `breaks` gives a reason.
fn check_lines<'a>(
    lines: impl Iterator<Item = (&'a Source, usize, &'a str)>,
    breaks: impl Fn(&Source, &str) -> Option<String>,
) {
    let found: Vec<String> = lines
        .filter_map(|(file, number, line)| Some((file, number, line.trim(), breaks(file, line)?)))
        .map(|(file, number, line, why)| format!("{}:{number}: {why}: {line}", file.path))
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn lines_of(files: &[Source]) -> impl Iterator<Item = (&Source, usize, &str)> {
    files.iter().flat_map(|file| numbered(&file.text).map(move |(number, line)| (file, number, line)))
}

fn code_of(files: &[Source]) -> impl Iterator<Item = (&Source, usize, &str)> {
    files.iter().flat_map(|file| file.code().map(move |(number, line)| (file, number, line)))
}

/// Whether a line says something beside a comment.
fn is_code(line: &str) -> bool {
    !line.trim_start().starts_with("//")
}

/// Whether `word` stands in `line` without being the end of a longer word.
fn mentions(line: &str, word: &str) -> bool {
    let is_letter = |c: char| c.is_alphanumeric() || c == '_';
    let stands_alone = |at: usize| !word.starts_with(is_letter) || !line[..at].ends_with(is_letter);
    line.match_indices(word).any(|(at, _)| stands_alone(at))
}

/// Each word belongs to some places; code anywhere else does without it.
fn check_doors(doors: &[(&str, &[&str])]) {
    let files = sources();
    for (word, places) in doors {
        let used = |file: &Source| file.code().any(|(_, line)| is_code(line) && line.contains(word));
        for place in *places {
            let inside = files.iter().any(|file| file.is_in(&[place]) && used(file));
            assert!(inside, "{place} does without {word}: take it off the list in this test");
        }
        check_lines(code_of(&files), |file, line| {
            let breaks = is_code(line) && mentions(line, word) && !file.is_in(places);
            breaks.then(|| match places {
                [] => format!("{word} is not for this crate"),
                places => format!("{word} belongs in {}", places.join(", ")),
            })
        });
    }
}

#[test]
fn lines_end_where_their_text_ends() {
    let files = everything();
    check_lines(lines_of(&files), |file, line| {
        let tab = line.contains('\t') && file.is_rust();
        let white = line.ends_with(char::is_whitespace);
        (white || tab).then(|| "white space".into())
    });
    for file in &files {
        let last = file.text.trim_end_matches('\n').len() + 1;
        assert_eq!(file.text.len(), last, "{} does not end with one line feed", file.path);
    }
}

#[test]
fn no_path_of_somebodys_machine() {
    let files = everything();
    let (home, root) = (concat!("/ho", "me/"), concat!("/ro", "ot/"));
    let theirs = [home, root, concat!("/wo", "rk/"), concat!("/Us", "ers/")];
    let people = ["ana", "ann", "web1"].map(|name| format!("{home}{name}"));
    check_lines(lines_of(&files), |_, line| {
        let line =
            people.iter().fold(line.replace("/proc/self/root", ""), |line, ours| line.replace(ours, ""));
        theirs.iter().find(|path| line.contains(**path)).map(|path| format!("{path} is on one machine only"))
    });
}

#[test]
fn nothing_is_left_for_later() {
    let files = everything();
    let marks = [
        concat!("to", "do!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
        concat!("#[ig", "nore"),
        concat!("<<<<", "<<<"),
        concat!(">>>>", ">>>"),
    ];
    check_lines(lines_of(&files), |_, line| {
        marks.iter().find(|mark| line.contains(**mark)).map(|mark| format!("left over: {mark}"))
    });
}

#[test]
fn every_file_says_what_it_is_for() {
    for file in rust_files() {
        assert!(file.text.starts_with("//! "), "{} does not begin with //!", file.path);
    }
}

#[test]
fn no_file_grows_beyond_reading() {
    for file in rust_files() {
        let lines = file.text.lines().count();
        assert!(lines <= 700, "{} has {lines} lines: is it about one thing?", file.path);
    }
}

#[test]
fn only_show_prints() {
    check_doors(&[
        ("io::stdout()", &["src/cli/show.rs"]),
        // The log and the progress lines, which have to know of each other.
        ("io::stderr()", &["src/cli/show.rs", "src/report/log.rs"]),
        ("println!(", &[]),
        ("eprintln!(", &[]),
        ("print!(", &[]),
        ("eprint!(", &[]),
    ]);
}

#[test]
fn only_the_clock_asks_the_time_and_draws_lots() {
    check_doors(&[
        ("SystemTime::now", &["src/clock.rs"]),
        ("Timestamp::now", &[]),
        ("Zoned::now", &[]),
        ("getrandom::", &["src/clock.rs"]),
    ]);
}

#[test]
fn each_outside_crate_has_its_doors() {
    check_doors(&[
        ("rusqlite::", &["src/journal/"]),
        ("russh_sftp::", &["src/remote/", "src/server/"]),
        ("russh::", &["src/remote/", "src/server/"]),
        ("serde_yaml::", &["src/config/node.rs"]),
        ("saphyr_parser::", &["src/config/node.rs"]),
        ("schemars::", &["src/config/"]),
        ("croner::", &["src/calendar/cron.rs"]),
        ("clap::", &["src/cli/"]),
        ("inotify::", &["src/watch/source.rs"]),
        ("signal_hook::", &["src/cli/stop.rs"]),
        ("indicatif::", &["src/cli/", "src/report/"]),
        ("tracing_subscriber::", &["src/report/log.rs"]),
        ("lettre::", &["src/tell/mail.rs"]),
        ("ureq::", &["src/tell/http.rs"]),
    ]);
}

/// A name is bytes from end to end. Text that is none, such as a host, a key or a fingerprint, may be
/// decoded where it is read.
#[test]
fn path_rs_alone_turns_names_into_text() {
    check_doors(&[
        (
            "::from_utf8",
            &[
                "src/cli/ends.rs",           // hosts, users and ports
                "src/config/files.rs",       // a file of YAML
                "src/remote/dialect/",       // Latin-1 as UTF-8, which russh-sftp wants
                "src/remote/known_hosts.rs", // hosts and keys
                "src/report/document.rs",    // whether JSON can hold the name
                "src/report/log.rs",         // events, escaped when they were made
                "src/secret/terminal.rs",    // a password
                "src/sshconfig/files.rs",    // lines of ssh_config
            ],
        ),
        (".to_string_lossy()", &[]),
        (".to_str()", &["src/config/files.rs"]), // the pattern of an include
        (".display()", &["src/config/model.rs", "src/config/warn.rs", "src/cli/journals.rs"]),
    ]);
}

/// Modules that decide and never do: no disk, no network, no database, no clock, no waiting.
const PURE: [&str; 34] = [
    "src/path.rs",
    "src/entry.rs",
    "src/hash.rs",
    "src/id.rs",
    "src/units.rs",
    "src/filter.rs",
    "src/filter/",
    "src/backoff.rs",
    "src/calendar/",
    "src/timetable.rs",
    "src/schedule/",
    "src/alarm.rs",
    "src/settle.rs",
    "src/daemon/decide.rs",
    "src/error.rs",
    "src/monitor.rs",
    "src/outcome.rs",
    "src/config/model.rs",
    "src/config/telling.rs",
    "src/plan/",
    "src/remote/dialect/",
    "src/report/document.rs",
    "src/report/summary.rs",
    "src/sshconfig/jump.rs",
    "src/sshconfig/keyword.rs",
    "src/sshconfig/line.rs",
    "src/sshconfig/matching.rs",
    "src/sshconfig/mod.rs",
    "src/sshconfig/names.rs",
    "src/sshconfig/pattern.rs",
    "src/sshconfig/reader.rs",
    "src/sshconfig/settings.rs",
    "src/sshconfig/time.rs",
    "src/sshconfig/tokens.rs",
];

#[test]
fn what_is_pure_stays_pure() {
    let files: Vec<Source> = sources().into_iter().filter(|file| file.is_in(&PURE)).collect();
    for place in PURE {
        assert!(files.iter().any(|file| file.is_in(&[place])), "{place} is gone: take it off the list");
    }
    let impure = [
        "std::fs",
        "std::net",
        "std::process",
        "std::env",
        "std::thread",
        "tokio::",
        "rustix::fs",
        "rusqlite::",
        "Instant::now",
        ".await",
    ];
    check_lines(code_of(&files), |_, line| {
        let word = impure.iter().find(|word| is_code(line) && line.contains(**word))?;
        Some(format!("{word} in a module without I/O"))
    });
}

/// From the words at the bottom to the commands on top. A module uses its own layer and those before it.
const LAYERS: [&[&str]; 11] = [
    &[
        "path", "entry", "hash", "id", "units", "filter", "clock", "calendar", "backoff", "crash", "error",
        "monitor", "outcome", "settle",
    ],
    &["config", "secret", "sshconfig", "timetable", "schedule", "alarm"],
    &["tree"],
    &["local", "remote"],
    &["plan"],
    &["scan", "journal", "watch"],
    &["report"],
    &["transfer"],
    &["job", "tell"],
    &["daemon", "demo"],
    &["cli"],
];

/// Stands aside: our own SFTP server, built on what is below `plan`, and used by commands and the
/// demonstration only.
const ASIDE: &str = "server";

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn imports_point_one_way() {
    let files: Vec<Source> =
        sources().into_iter().filter(|f| !["lib", "main"].contains(&f.module())).collect();
    check_lines(code_of(&files), |file, line| {
        let used = line.split("crate::").skip(1).map(|rest| {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            &rest[..end]
        });
        let from = file.module();
        let wrong = used.filter(|_| is_code(line)).find(|to| !may_use(from, to))?;
        Some(format!("{from} may not use {wrong}"))
    });
}

fn may_use(from: &str, to: &str) -> bool {
    match (from, to) {
        (ASIDE, ASIDE) => true,
        (ASIDE, to) => layer(to) < layer("plan"),
        (from, ASIDE) => ["cli", "demo"].contains(&from),
        (from, to) => layer(to) <= layer(from),
    }
}

#[test]
fn every_module_has_its_layer() {
    for file in sources() {
        let module = file.module();
        let known = ["lib", "main", ASIDE].contains(&module) || layer(module).is_some();
        assert!(known, "{} belongs in a layer of this test", file.path);
    }
}

#[test]
fn every_dependency_is_used() {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let (outside, rest) =
        manifest.split_once("[dependencies]\n").unwrap().1.split_once("[dev-dependencies]\n").unwrap();
    let for_tests = rest.split_once("\n[").unwrap().0;
    let code = sources();
    let with_tests = rust_files();
    let check = |section: &str, files: &[Source]| {
        for name in section.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name) {
            let path = format!("{}::", name.replace('-', "_"));
            let used = code_of_any(files).any(|line| mentions(line, &path));
            assert!(used, "{name} is in Cargo.toml, and nothing uses it");
        }
    };
    check(outside, &code);
    check(for_tests, &with_tests);
}

fn code_of_any(files: &[Source]) -> impl Iterator<Item = &str> {
    files.iter().flat_map(|file| file.text.lines()).filter(|line| is_code(line))
}

#[test]
fn every_table_of_the_journal_is_strict() {
    let mut paths = Vec::new();
    walk(Path::new("src/journal/sql"), &mut paths);
    let tables: Vec<String> = paths.iter().map(|path| without_comments(path)).collect();
    let tables: Vec<&str> = tables.iter().flat_map(|sql| sql.split("CREATE TABLE ").skip(1)).collect();
    assert!(tables.len() > 5, "where are the tables?");
    for table in tables {
        let (definition, _) = table.split_once(';').unwrap();
        assert!(definition.contains("STRICT"), "{definition}");
    }
}

fn without_comments(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split("--").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The words of a command as README shows it, without its comment.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(" #").next().unwrap().split_whitespace()
}

#[test]
fn readme_shows_commands_that_there_are() {
    let readme = fs::read_to_string("README.md").unwrap();
    let lines: Vec<&str> = readme.lines().filter(|line| line.starts_with("highwater ")).collect();
    assert!(lines.len() > 5, "where are the commands?");
    for line in lines {
        Args::try_parse_from(words(line)).unwrap_or_else(|e| panic!("{line}\n{e}"));
    }
}

#[test]
fn readme_names_every_command_and_says_which_is_still_to_come() {
    let readme = fs::read_to_string("README.md").unwrap();
    let (_, to_come) = readme.split_once("### Not built yet").unwrap();
    let (to_come, _) = to_come.split_once("\n#").unwrap();
    let built: Vec<String> = Args::command().get_subcommands().map(|c| c.get_name().to_string()).collect();
    for name in &built {
        assert!(readme.contains(&format!("{name} ")), "README says nothing of highwater {name}");
        assert!(!to_come.contains(&format!("- `highwater {name}")), "highwater {name} is built");
    }
    let named = readme.split("`highwater ").skip(1).map(|rest| rest.split([' ', '`']).next().unwrap());
    for name in named {
        let known = built.iter().any(|b| b == name) || to_come.contains(&format!("- `highwater {name}"));
        assert!(known, "README names highwater {name}, which there is not");
    }
}

#[test]
fn readme_points_at_files_and_tests_that_there_are() {
    let readme = fs::read_to_string("README.md").unwrap();
    let code = rust_files();
    let quoted = readme.split('`').skip(1).step_by(2);
    let links = readme.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    for path in
        quoted.clone().filter(|text| text.starts_with("src/") || text.starts_with("tests/")).chain(links)
    {
        assert!(Path::new(path).exists(), "README points at {path}, which there is not");
    }
    let tests = quoted.filter(|text| text.matches('_').count() > 2 && !text.contains(['/', ' ']));
    for test in tests {
        let function = format!("fn {test}");
        assert!(code.iter().any(|file| file.text.contains(&function)), "README names the test {test}");
    }
}

#[test]
fn every_crash_point_stands_in_one_place_and_every_place_has_its_name() {
    let files = sources();
    let places = files.iter().flat_map(|file| file.text.split("crash::point(\"").skip(1));
    let mut used: Vec<&str> = places.map(|rest| rest.split('"').next().unwrap()).collect();
    let mut names = highwater::crash::POINTS.to_vec();
    used.sort_unstable();
    names.sort_unstable();
    assert_eq!(used, names);
}
