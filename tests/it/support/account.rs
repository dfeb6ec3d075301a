//! The accounts that tests log in to: whoever runs them, and an ordinary user when that is root.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// The ordinary user that tests make when root runs them. Nobody can log in to it with a password,
/// except while a [`Password`] is held.
pub const ORDINARY: &str = "highwater-test";

/// Where [`Password`] keeps test processes from setting the password under each other.
const PASSWORD_LOCK: &str = "/run/highwater-test.lock";

/// Whether root runs the tests.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The name of whoever runs the tests.
pub fn current() -> String {
    id(&["-un"])
}

/// User and group number of an account.
pub fn numbers(user: &str) -> (u32, u32) {
    let number = |flag: &str| id(&[flag, user]).parse().expect("id prints a number");
    (number("-u"), number("-g"))
}

/// Makes sure of the ordinary user. Panics when root does not run the tests.
pub fn ordinary() -> &'static str {
    assert!(
        is_root(),
        "this test logs in as an ordinary user: run it as root, in a container or on a spare machine"
    );
    // Several test processes may come here at once: whoever loses finds the account made.
    let made = Command::new("useradd")
        .args(["--create-home", "--shell", "/bin/sh", "--password", "*", "-K", "PASS_MAX_DAYS=-1", ORDINARY])
        .output()
        .expect("useradd can be run");
    assert!(made.status.success() || exists(ORDINARY), "useradd failed: {}", text(&made.stderr));
    ORDINARY
}

fn exists(user: &str) -> bool {
    run("id", &["-u", user]).status.success()
}

fn id(args: &[&str]) -> String {
    let output = run("id", args);
    assert!(output.status.success(), "id {args:?}: {}", text(&output.stderr));
    text(&output.stdout).trim().to_string()
}

/// A random password of the ordinary user, for as long as this value lives.
pub struct Password {
    password: String,
    _lock: File,
}

impl Password {
    /// Gives the ordinary user a password, after whoever holds one now.
    pub fn set() -> Self {
        let user = ordinary();
        let lock = File::create(PASSWORD_LOCK).expect("the lock file can be made");
        lock.lock().expect("the lock file can be locked");
        let password = format!("pw-{:016x}", getrandom::u64().expect("random numbers"));
        let mut chpasswd =
            Command::new("chpasswd").stdin(Stdio::piped()).spawn().expect("chpasswd can be run");
        let mut stdin = chpasswd.stdin.take().expect("a pipe");
        writeln!(stdin, "{user}:{password}").expect("chpasswd reads");
        drop(stdin);
        assert!(chpasswd.wait().expect("chpasswd ends").success(), "chpasswd failed");
        Self { password, _lock: lock }
    }

    /// The password.
    pub fn as_str(&self) -> &str {
        &self.password
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        let output = run("usermod", &["--password", "*", ORDINARY]);
        if !output.status.success() && !std::thread::panicking() {
            panic!("the password of {ORDINARY} stays set: {}", text(&output.stderr));
        }
    }
}

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program} cannot be run: {e}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
