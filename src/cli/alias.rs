//! What ssh_config says of a host, asked with what this process finds around it.

use std::path::{Path, PathBuf};

use super::account::Surroundings;
use super::me;
use crate::error::Result;
use crate::path::escape;
use crate::remote::route::Manner;
use crate::remote::wishes::Wishes;
use crate::sshconfig::files::Disk;
use crate::sshconfig::{Agent, Around, Query, Resolved, Source, resolve};

/// The known_hosts file of the whole system, as OpenSSH has it.
const SYSTEM_KNOWN_HOSTS: &str = "/etc/ssh/ssh_known_hosts";

/// What the files say of a host. Errors with `Usage`: see [`resolve`].
pub fn ask(query: &Query, source: &Source, around: &Surroundings) -> Result<Resolved> {
    let home = around.home.clone().map(PathBuf::into_os_string);
    let around = Around {
        home: home.and_then(|home| home.into_string().ok()), // a home that is not text has no `~`
        user: me::login_name()?,
        uid: rustix::process::getuid().as_raw(),
        machine: escape(rustix::system::uname().nodename().to_bytes()),
        variable: &|name| std::env::var(name).ok(),
        home_of: &me::home_of,
        files: &Disk,
    };
    resolve(query, source, &around)
}

/// The socket of the agent that is to be asked.
pub fn agent(said: &Resolved, around: &Surroundings) -> Option<PathBuf> {
    match &said.agent {
        None => around.agent.clone(),
        Some(Agent::Nobody) => None,
        Some(Agent::Socket(path)) => Some(path.clone()),
        Some(Agent::Variable(name)) if name == "SSH_AUTH_SOCK" => around.agent.clone(),
        Some(Agent::Variable(name)) => std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from),
    }
}

/// The known_hosts files to look into.
pub fn known_hosts(said: &Resolved, home: Option<&Path>) -> Vec<PathBuf> {
    let own = || home.iter().map(|home| home.join(".ssh/known_hosts")).collect();
    let mut files = said.user_known_hosts.clone().unwrap_or_else(own);
    files.extend(said.global_known_hosts.clone().unwrap_or_else(|| vec![SYSTEM_KNOWN_HOSTS.into()]));
    files
}

/// How the session is made.
pub fn manner(said: &Resolved) -> Manner {
    let set = &said.settings;
    let seconds = |secs: Option<u32>| {
        secs.filter(|&secs| secs > 0).map(|secs| std::time::Duration::from_secs(secs.into()))
    };
    Manner {
        family: set.address_family.unwrap_or_default(),
        bind: set.bind_address.clone(),
        connect_within: seconds(set.connect_timeout_secs),
        ask_after: seconds(set.alive_interval_secs),
        ask_times: set.alive_count_max,
        known_as: None,
        wishes: Wishes {
            exchanges: set.kex_algorithms.clone(),
            ciphers: set.ciphers.clone(),
            macs: set.macs.clone(),
            host_keys: set.host_key_algorithms.clone(),
        },
    }
}
