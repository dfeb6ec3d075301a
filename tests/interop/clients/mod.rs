//! Clients of other makes against `highwater serve`, and what each of them is asked to do.

mod bench;
mod checks;
mod programs;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use bench::Bench;
pub use checks::LIST;

/// A client.
pub struct Kind {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is called in the table.
    pub title: &'static str,
    /// Whether the gate has it; otherwise `--full`.
    pub in_gate: bool,
    /// Which version is here, with what comes from PyPI in this folder.
    pub version: fn(&Path) -> String,
    /// The command that does something; `None`: it has none for that.
    pub command: fn(&Login, &Deed<'_>) -> Option<Command>,
}

/// All of them.
pub const KINDS: [Kind; 6] = [
    Kind {
        name: "sftp",
        title: "OpenSSH sftp",
        in_gate: true,
        version: programs::openssh_version,
        command: programs::sftp,
    },
    Kind {
        name: "scp",
        title: "OpenSSH scp -s",
        in_gate: true,
        version: programs::openssh_version,
        command: programs::scp,
    },
    Kind {
        name: "rclone-client",
        title: "rclone",
        in_gate: true,
        version: programs::rclone_version,
        command: programs::rclone,
    },
    Kind {
        name: "lftp",
        title: "lftp",
        in_gate: true,
        version: programs::lftp_version,
        command: programs::lftp,
    },
    Kind {
        name: "paramiko",
        title: "paramiko",
        in_gate: true,
        version: programs::paramiko_version,
        command: programs::paramiko,
    },
    Kind {
        name: "asyncssh-client",
        title: "AsyncSSH",
        in_gate: true,
        version: programs::asyncssh_version,
        command: programs::asyncssh,
    },
];

/// Where a client logs in, and with what.
pub struct Login {
    /// The port, on 127.0.0.1.
    pub port: u16,
    /// Who.
    pub user: String,
    /// The private key.
    pub key: PathBuf,
    /// What knows the host key.
    pub known_hosts: PathBuf,
    /// A folder for what the client needs of files, its home among them.
    pub home: PathBuf,
    /// What comes from PyPI and npm.
    pub peers: PathBuf,
}

/// What a client is asked to do. Paths over there are absolute; modes and times are kept where it can.
#[derive(Debug)]
pub enum Deed<'a> {
    /// Puts the contents of a folder into a folder that is not there yet.
    PutTree(&'a Path, &'a str),
    /// The other way.
    GetTree(&'a str, &'a Path),
    /// Puts a file.
    Put(&'a Path, &'a str),
    /// Gets a file.
    Get(&'a str, &'a Path),
    /// Goes on with a file of which the first part is there.
    PutOn(&'a Path, &'a str),
    /// Goes on with a file of which the first part is here.
    GetOn(&'a str, &'a Path),
    /// Renames.
    Rename(&'a str, &'a str),
    /// Removes a file.
    Remove(&'a str),
    /// Removes an empty folder.
    RemoveDir(&'a str),
    /// Makes a folder.
    MakeDir(&'a str),
    /// Makes a link to the first.
    Link(&'a str, &'a str),
    /// Sets permission bits.
    Mode(&'a str, &'a str),
    /// Prints the names in a folder, one a line.
    List(&'a str),
}
