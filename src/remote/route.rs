//! How a server is reached: by TCP, by way of other servers, or by a program; and what ssh_config may say of the
//! session itself.

use std::time::Duration;

use super::auth::Login;
use super::by_ssh::BySsh;
use super::connect::Endpoint;
use super::host_key::HostTrust;
use super::wishes::Wishes;
pub use crate::sshconfig::Family;

/// An account on a server, and all there is to know for logging in to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where, and who.
    pub endpoint: Endpoint,
    /// How to log in.
    pub login: Login,
    /// Whom to trust.
    pub trust: HostTrust,
    /// How it is reached.
    pub route: Route,
}

/// How a server is reached.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// What carries the session.
    pub way: Way,
    /// How the session is made.
    pub manner: Manner,
}

/// What carries a session.
#[derive(Debug, Clone, Default)]
pub enum Way {
    /// TCP to the host.
    #[default]
    Direct,
    /// A channel of a session with another server.
    Jump(Box<Target>),
    /// What a command reads and writes (`ProxyCommand`); a shell runs it.
    Command {
        /// The command.
        command: String,
        /// Whether nobody is there whom it could ask for something.
        unattended: bool,
    },
    /// No session of ours: `ssh` itself makes it.
    BySsh(BySsh),
}

/// How a session is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manner {
    /// Which addresses of a name are tried.
    pub family: Family,
    /// The address to come from.
    pub bind: Option<String>,
    /// How long one address, and after it the handshake, may take; `None`: as long as is usual.
    pub connect_within: Option<Duration>,
    /// When nothing was heard for so long, the server is asked whether it is there; `None`: as is usual.
    pub ask_after: Option<Duration>,
    /// How often it may fail to answer; `None`: as is usual.
    pub ask_times: Option<u32>,
    /// What `highwater server trust` is to be told, where host and port alone do not lead there: an alias, and its
    /// port if that is not the alias' own.
    pub known_as: Option<(String, Option<u16>)>,
    /// Which algorithms are offered.
    pub wishes: Wishes,
}

impl Target {
    /// The servers on the way, the nearest to this machine first.
    pub fn hops(&self) -> Vec<&Target> {
        let Way::Jump(hop) = &self.route.way else { return Vec::new() };
        let mut hops = hop.hops();
        hops.push(hop);
        hops
    }

    /// The server that this one is reached through, to be changed.
    pub fn hop_mut(&mut self) -> Option<&mut Target> {
        match &mut self.route.way {
            Way::Jump(hop) => Some(hop),
            _ => None,
        }
    }
}
