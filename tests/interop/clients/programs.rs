//! How each client is told what to do.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Deed, Login};
use crate::peers::{python, scripts, version_of};

/// Of `sftp` and `scp`.
pub fn openssh_version(_: &Path) -> String {
    let said = version_of("ssh", &["-V"], "apt-get install openssh-client");
    said.split([',', ' ']).next().unwrap_or_default().replace("OpenSSH_", "")
}

/// Of rclone.
pub fn rclone_version(_: &Path) -> String {
    version_of("rclone", &["version"], "apt-get install rclone").replace("rclone v", "")
}

/// Of lftp.
pub fn lftp_version(_: &Path) -> String {
    let said = version_of("lftp", &["--version"], "apt-get install lftp");
    said.split_whitespace().nth(3).unwrap_or(&said).to_owned()
}

/// Of paramiko.
pub fn paramiko_version(peers: &Path) -> String {
    module_version(peers, "paramiko")
}

/// Of AsyncSSH.
pub fn asyncssh_version(peers: &Path) -> String {
    module_version(peers, "asyncssh")
}

fn module_version(peers: &Path, module: &str) -> String {
    let print = format!("import {module}; print({module}.__version__)");
    let output = python(peers).args(["-c", &print]).output().expect("Python can be run");
    assert!(output.status.success(), "{module} is missing: contrib/test installs it");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn options(login: &Login) -> Vec<String> {
    let known = format!("UserKnownHostsFile={}", login.known_hosts.display());
    let fixed = ["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", &known, "-i"];
    let mut options: Vec<String> = fixed.map(str::to_owned).into();
    options.push(login.key.display().to_string());
    options
}

/// `sftp` with a batch file. Names of the checks need no quotes but against spaces.
pub fn sftp(login: &Login, deed: &Deed<'_>) -> Option<Command> {
    let batch = match deed {
        Deed::PutTree(here, there) => {
            format!("mkdir \"{there}\"\nput -rp \"{}/.\" \"{there}\"", here.display())
        }
        Deed::GetTree(there, here) => format!("get -rp \"{there}/.\" \"{}\"", here.display()),
        Deed::Put(here, there) => format!("put -p \"{}\" \"{there}\"", here.display()),
        Deed::Get(there, here) => format!("get -p \"{there}\" \"{}\"", here.display()),
        Deed::PutOn(here, there) => format!("reput \"{}\" \"{there}\"", here.display()),
        Deed::GetOn(there, here) => format!("reget \"{there}\" \"{}\"", here.display()),
        Deed::Rename(from, to) => format!("rename \"{from}\" \"{to}\""),
        Deed::Remove(path) => format!("rm \"{path}\""),
        Deed::RemoveDir(path) => format!("rmdir \"{path}\""),
        Deed::MakeDir(path) => format!("mkdir \"{path}\""),
        Deed::Link(target, path) => format!("symlink \"{target}\" \"{path}\""),
        Deed::Mode(path, mode) => format!("chmod {mode} \"{path}\""),
        Deed::List(path) => format!("cd \"{path}\"\n-ls -1"),
    };
    let file = login.home.join("batch");
    fs::write(&file, batch + "\n").expect("a batch file");
    let mut command = Command::new("sftp");
    command.args(options(login)).args(["-q", "-P", &login.port.to_string(), "-b"]).arg(file);
    command.arg(format!("{}@127.0.0.1", login.user));
    Some(command)
}

/// `scp` over SFTP.
pub fn scp(login: &Login, deed: &Deed<'_>) -> Option<Command> {
    let there = |path: &str| format!("{}@127.0.0.1:{path}", login.user);
    let (from, to) = match deed {
        Deed::PutTree(here, path) => (format!("{}/.", here.display()), there(path)),
        Deed::GetTree(path, here) => (there(&format!("{path}/.")), here.display().to_string()),
        Deed::Put(here, path) => (here.display().to_string(), there(path)),
        Deed::Get(path, here) => (there(path), here.display().to_string()),
        _ => return None,
    };
    let mut command = Command::new("scp");
    command
        .args(["-s", "-q", "-r", "-p", "-P", &login.port.to_string()])
        .args(options(login))
        .args([from, to]);
    Some(command)
}

/// rclone, its remote described on the command line.
pub fn rclone(login: &Login, deed: &Deed<'_>) -> Option<Command> {
    let there = |path: &str| {
        let (key, known) = (login.key.display(), login.known_hosts.display());
        let (user, port) = (&login.user, login.port);
        format!(
            ":sftp,host=127.0.0.1,port={port},user={user},key_file={key},known_hosts_file={known},\
             shell_type=none,md5sum_command=none,sha1sum_command=none:{path}"
        )
    };
    let here = |path: &Path| path.display().to_string();
    let args = match deed {
        Deed::PutTree(from, to) => ["copy".into(), here(from), there(to)].to_vec(),
        Deed::GetTree(from, to) => ["copy".into(), there(from), here(to)].to_vec(),
        Deed::Put(from, to) => ["copyto".into(), here(from), there(to)].to_vec(),
        Deed::Get(from, to) => ["copyto".into(), there(from), here(to)].to_vec(),
        Deed::Rename(from, to) => ["moveto".into(), there(from), there(to)].to_vec(),
        Deed::Remove(path) => ["deletefile".into(), there(path)].to_vec(),
        Deed::RemoveDir(path) => ["rmdir".into(), there(path)].to_vec(),
        Deed::MakeDir(path) => ["mkdir".into(), there(path)].to_vec(),
        Deed::List(path) => ["lsf".into(), there(path)].to_vec(),
        Deed::PutOn(..) | Deed::GetOn(..) | Deed::Link(..) | Deed::Mode(..) => return None,
    };
    let mut command = Command::new("rclone");
    command.args(["--config", "", "--retries", "1", "--low-level-retries", "1"]).args(args);
    if matches!(deed, Deed::PutTree(..) | Deed::GetTree(..)) {
        command.arg("--create-empty-src-dirs");
    }
    Some(command)
}

/// lftp, over OpenSSH's ssh.
pub fn lftp(login: &Login, deed: &Deed<'_>) -> Option<Command> {
    let what = match deed {
        Deed::PutTree(here, there) => format!("mirror -R \"{}\" \"{there}\"", here.display()),
        Deed::GetTree(there, here) => format!("mirror \"{there}\" \"{}\"", here.display()),
        Deed::Put(here, there) => format!("put \"{}\" -o \"{there}\"", here.display()),
        Deed::Get(there, here) => format!("get \"{there}\" -o \"{}\"", here.display()),
        Deed::PutOn(here, there) => format!("put -c \"{}\" -o \"{there}\"", here.display()),
        Deed::GetOn(there, here) => format!("get -c \"{there}\" -o \"{}\"", here.display()),
        Deed::Rename(from, to) => format!("mv \"{from}\" \"{to}\""),
        Deed::Remove(path) => format!("rm \"{path}\""),
        Deed::RemoveDir(path) => format!("rmdir \"{path}\""),
        Deed::MakeDir(path) => format!("mkdir \"{path}\""),
        Deed::Link(target, path) => format!("ln -s \"{target}\" \"{path}\""),
        Deed::Mode(path, mode) => format!("chmod {mode} \"{path}\""),
        Deed::List(path) => format!("cd \"{path}\"; cls -1"),
    };
    let ssh = format!("ssh -a -x {}", options(login).join(" "));
    let script = format!(
        "set cmd:fail-exit yes; set net:max-retries 1; set xfer:clobber yes; set net:timeout 20; \
         set sftp:connect-program \"{ssh}\"; open -u {},x sftp://127.0.0.1:{}; {what}",
        login.user, login.port
    );
    let mut command = Command::new("lftp");
    command.args(["--norc", "-c", &script]);
    Some(command)
}

/// paramiko, by a script.
pub fn paramiko(login: &Login, deed: &Deed<'_>) -> Option<Command> {
    by_script(login, deed, "paramiko_client.py")
}

/// AsyncSSH, by a script.
pub fn asyncssh(login: &Login, deed: &Deed<'_>) -> Option<Command> {
    by_script(login, deed, "asyncssh_client.py")
}

fn by_script(login: &Login, deed: &Deed<'_>, script: &str) -> Option<Command> {
    let here = |path: &Path| path.display().to_string();
    let (what, one, other) = match deed {
        Deed::PutTree(from, to) => ("put-tree", here(from), (*to).to_owned()),
        Deed::GetTree(from, to) => ("get-tree", (*from).to_owned(), here(to)),
        Deed::Put(from, to) => ("put", here(from), (*to).to_owned()),
        Deed::Get(from, to) => ("get", (*from).to_owned(), here(to)),
        Deed::PutOn(from, to) => ("put-on", here(from), (*to).to_owned()),
        Deed::GetOn(from, to) => ("get-on", (*from).to_owned(), here(to)),
        Deed::Rename(from, to) => ("rename", (*from).to_owned(), (*to).to_owned()),
        Deed::Remove(path) => ("remove", (*path).to_owned(), String::new()),
        Deed::RemoveDir(path) => ("rmdir", (*path).to_owned(), String::new()),
        Deed::MakeDir(path) => ("mkdir", (*path).to_owned(), String::new()),
        Deed::Link(target, path) => ("link", (*target).to_owned(), (*path).to_owned()),
        Deed::Mode(path, mode) => ("mode", (*path).to_owned(), (*mode).to_owned()),
        Deed::List(path) => ("list", (*path).to_owned(), String::new()),
    };
    let mut command = python(&login.peers);
    command.arg(scripts().join(script)).arg(login.port.to_string()).arg(&login.user);
    command.arg(&login.key).arg(&login.known_hosts).args([what, &one, &other]);
    Some(command)
}
