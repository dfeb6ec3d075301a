//! Secrets stay where they are: whatever is logged in with is looked for in all that is written, printed,
//! logged, or to be seen in the list of processes.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use base64ct::{Base64, Encoding};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::account::Password;
use crate::support::pam::Pam;
use crate::support::program::Program;
use crate::support::rig::wait_until;
use crate::support::sshd::{Options, Sshd, generate_key};

/// Secrets that can be told from everything else.
struct Canaries {
    password: Password,
    passphrase: String,
    code: String,
    wrong: String,
}

impl Canaries {
    fn new() -> Self {
        let draw = |kind: &str| format!("{kind}{:016x}", getrandom::u64().unwrap());
        Self {
            password: Password::set(),
            passphrase: draw("phrase"),
            code: draw("code"),
            wrong: draw("wrong"),
        }
    }

    /// Every secret in every form in which it could slip out.
    fn forms(&self) -> Vec<Vec<u8>> {
        let secrets = [self.password.as_str(), &self.passphrase, &self.code, &self.wrong];
        let forms = |secret: &str| {
            let numbers = |one: fn(&u8) -> String, between: &str| {
                secret.as_bytes().iter().map(one).collect::<Vec<_>>().join(between)
            };
            [
                secret.to_owned(),
                Base64::encode_string(secret.as_bytes()),
                numbers(|byte| format!("{byte:02x}"), ""),
                numbers(u8::to_string, ", "),
                secret.chars().rev().collect(),
            ]
        };
        secrets.iter().flat_map(|secret| forms(secret)).map(String::into_bytes).collect()
    }
}

/// Which of `forms` stand in `text`.
fn found(text: &[u8], forms: &[Vec<u8>]) -> Vec<String> {
    let stands = |form: &&Vec<u8>| text.windows(form.len()).any(|window| window == form.as_slice());
    forms.iter().filter(stands).map(|form| String::from_utf8_lossy(form).into_owned()).collect()
}

fn files(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.symlink_metadata().map(|stat| stat.is_dir()) {
            Ok(true) => files(&path, all),
            _ => all.push(path),
        }
    }
}

/// Looks at the command lines of all processes, again and again.
struct Onlooker {
    stop: Arc<AtomicBool>,
    seen: JoinHandle<(usize, Vec<String>)>,
}

impl Onlooker {
    fn start(forms: Vec<Vec<u8>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let seen = std::thread::spawn(move || {
            let (mut looks, mut hits) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                looks += 1;
                for process in fs::read_dir("/proc").unwrap().flatten() {
                    let line = fs::read(process.path().join("cmdline")).unwrap_or_default(); // it may have ended
                    hits.extend(found(&line, &forms));
                }
                std::thread::yield_now();
            }
            (looks, hits)
        });
        Self { stop, seen }
    }

    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (looks, hits) = self.seen.join().unwrap();
        assert!(looks > 10, "looked {looks} times only");
        assert_eq!(hits, Vec::<String>::new(), "in a command line");
    }
}

/// A program with a config, two servers, and the secrets for both.
struct Scene {
    canaries: Canaries,
    program: Program,
    /// Wants a key, which is locked, and a password.
    _strict: Sshd,
    /// Wants a key and a code.
    _modern: Sshd,
    /// Where the secrets and what is carried lie: not looked through.
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let canaries = Canaries::new();
        let folder = tempfile::tempdir().unwrap();
        let strict = ["PasswordAuthentication yes", "AuthenticationMethods publickey,password"];
        let strict = Options { config: strict.map(String::from).into(), ..Options::default() };
        let strict = Sshd::start(strict.ordinary_user());
        let modern = [
            "UsePAM yes",
            "KbdInteractiveAuthentication yes",
            "AuthenticationMethods publickey,keyboard-interactive",
        ];
        let pam = Some(Pam::that_takes(&canaries.code, folder.path()));
        let modern = Options { config: modern.map(String::from).into(), pam, ..Options::default() };
        let modern = Sshd::start(modern.ordinary_user());
        let locked = folder.path().join("locked");
        generate_key(&locked, "ed25519", &canaries.passphrase);
        strict.authorize(&locked.with_extension("pub"));
        let program = Program::new();
        program.trust(&strict.known_hosts_line());
        program.trust(&modern.known_hosts_line());
        let scene = Self { canaries, program, _strict: strict, _modern: modern, folder };
        scene.write_files();
        scene
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_files(&self) {
        let private = |name: &str, text: &str| {
            fs::write(self.file(name), text).unwrap();
            fs::set_permissions(self.file(name), fs::Permissions::from_mode(0o600)).unwrap();
        };
        private("password", self.canaries.password.as_str());
        private("code", &self.canaries.code);
        fs::create_dir(self.file("near")).unwrap();
        fs::write(self.file("near").join("file"), "content").unwrap();
        private("config.yml", &self.config());
    }

    fn config(&self) -> String {
        let place = |sshd: &Sshd| format!("host: 127.0.0.1, port: {}, user: {}", sshd.port(), sshd.user());
        let (strict, modern) = (&self._strict, &self._modern);
        let shown = |path: PathBuf| path.display().to_string();
        let (locked, password, code) =
            (shown(self.file("locked")), shown(self.file("password")), shown(self.file("code")));
        let key = shown(modern.client_key_path());
        let near = shown(self.file("near"));
        let job = |server: &str, sshd: &Sshd, more: &str| {
            let far = sshd.data().display().to_string();
            format!("  {server}: {{mode: push, local: {near}, remote: \"{server}:{far}/{server}\"{more}}}\n")
        };
        let environ = shown(self.program.home().join("environ"));
        let hook = format!(", hooks: {{before: [[cp, /proc/self/environ, {environ}]]}}");
        [
            "version: 1\nservers:\n".to_owned(),
            format!("  strict: {{{}, auth: {{key: {locked}, passphrase: \"env:HW_PHRASE\", password: \"file:{password}\"}}}}\n", place(strict)),
            format!("  modern: {{{}, auth: {{key: {key}, code: \"cmd:cat {code}\"}}}}\n", place(modern)),
            format!("  refused: {{{}, auth: {{password: \"env:HW_WRONG\"}}}}\n", place(strict)),
            format!("  unopened: {{{}, auth: {{key: {locked}, passphrase: \"env:HW_WRONG\"}}}}\n", place(strict)),
            "jobs:\n".to_owned(),
            job("strict", strict, &hook),
            job("modern", modern, ""),
            job("refused", strict, ""),
            job("unopened", strict, ""),
        ]
        .concat()
    }

    fn command(&self, args: &[&str]) -> Command {
        let config = self.file("config.yml");
        let mut command =
            self.program.command([&["-vvv", "--config", config.to_str().unwrap()], args].concat());
        command.env("HW_PHRASE", &self.canaries.passphrase).env("HW_WRONG", &self.canaries.wrong);
        command
    }

    /// Runs it, and looks through all it prints. `code`: how it is to end.
    fn run(&self, args: &[&str], code: i32) -> String {
        let output = self.command(args).stdin(Stdio::null()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let shown = String::from_utf8_lossy(&text).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {shown}");
        assert_eq!(found(&text, &self.canaries.forms()), Vec::<String>::new(), "{args:?}: {shown}");
        shown
    }

    /// Looks through all files that the program has made.
    fn look_through_files(&self) {
        let mut all = Vec::new();
        files(self.program.home(), &mut all);
        for file in &all {
            let Ok(content) = fs::read(file) else { continue }; // a socket
            let found = found(&content, &self.canaries.forms());
            assert_eq!(found, Vec::<String>::new(), "in {}", file.display());
        }
        assert!(all.iter().any(|file| file.ends_with("journal.db") || file.extension().is_some()), "{all:?}");
    }
}

#[test]
fn no_secret_is_to_be_found_anywhere() {
    let scene = Scene::new();
    let onlooker = Onlooker::start(scene.canaries.forms());
    let log = scene.run(&["run", "strict", "--json"], 0);
    assert!(log.contains("DEBUG russh"), "the libraries log too: {log}");
    scene.run(&["run", "modern"], 0);
    let refused = scene.run(&["run", "refused", "unopened"], 3);
    assert!(refused.contains("password: not taken") && refused.contains("does not open it"), "{refused}");
    scene.run(&["server", "probe", "modern", "--json"], 0);
    scene.run(&["config", "show"], 0);
    scene.run(&["config", "show", "--json"], 0);
    scene.run(&["status", "--json"], 0);
    scene.run(&["log", "--json"], 0);
    daemon(&scene);
    onlooker.finish();
    let environ = fs::read(scene.program.home().join("environ")).unwrap();
    assert!(environ.windows(5).any(|window| window == b"HOME="), "the hook ran");
    scene.look_through_files();
}

/// A round by the daemon, its log in a file of the home.
fn daemon(scene: &Scene) {
    let log = scene.program.home().join("daemon.log");
    let mut command = scene.command(&["daemon"]);
    command.env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
    let mut child = command.stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
    let said = |text: &str| String::from_utf8_lossy(&fs::read(&log).unwrap()).contains(text);
    wait_until("start", || said("started with"));
    scene.run(&["now", "strict"], 0);
    scene.run(&["wait", "--job", "strict"], 0);
    scene.look_through_files();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    child.wait().unwrap();
}
