//! The byte stream below a session: TCP, a channel of the session with a hop, or a command.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::Command;
use tokio::time::timeout;

use super::connect::{Connection, Endpoint, connect_to};
use super::dial::dial;
use super::program::{Witness, start};
use super::route::{Manner, Route, Way};
use crate::error::{Error, Kind, Result};

/// How long is waited for the last words of a command that has come to nothing.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A byte stream, whatever carries it.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync> Duplex for S {}

/// What streams are laid over. Holds the session with the hop, if there is one: streams live as long as it does.
#[derive(Debug)]
pub(super) enum Line {
    /// TCP.
    Direct(Manner),
    /// A session with another server.
    Hop(Box<Connection>),
    /// A command for a shell.
    Command { command: String, unattended: bool },
}

/// A stream that ends in front of a server.
pub(super) struct Laid {
    pub(super) stream: Box<dyn Duplex>,
    /// What the command that carries it says.
    witness: Option<Witness>,
}

impl Default for Line {
    fn default() -> Self {
        Self::Direct(Manner::default())
    }
}

impl Line {
    /// Logs in to the hops, if there are any. Errors: those of [`connect_to`], about a hop.
    pub(super) async fn begin(route: &Route) -> Result<Self> {
        Ok(match &route.way {
            Way::Direct | Way::BySsh(_) => Self::Direct(route.manner.clone()),
            Way::Jump(hop) => Self::Hop(Box::new(Box::pin(connect_to(hop)).await?)),
            Way::Command { command, unattended } => {
                Self::Command { command: command.clone(), unattended: *unattended }
            }
        })
    }

    /// Lays a stream to the server. Errors: `Unreachable`.
    pub(super) async fn lay(&self, endpoint: &Endpoint) -> Result<Laid> {
        match self {
            Self::Direct(manner) => {
                let stream = Box::new(dial(endpoint, manner).await?);
                Ok(Laid { stream, witness: None })
            }
            Self::Hop(hop) => {
                let stream = Box::new(hop.open_tunnel(endpoint).await?);
                Ok(Laid { stream, witness: None })
            }
            Self::Command { command, unattended } => run(endpoint, command, *unattended),
        }
    }

    /// The server that streams go through.
    pub(super) fn hop(&self) -> Option<&Connection> {
        match self {
            Self::Hop(hop) => Some(hop),
            Self::Direct(_) | Self::Command { .. } => None,
        }
    }

    /// Whether what lays streams may ask somebody for something.
    pub(super) fn is_attended(&self) -> bool {
        matches!(self, Self::Command { unattended: false, .. })
    }

    /// Says goodbye to the hops.
    pub(super) async fn close(self) {
        if let Self::Hop(hop) = self {
            Box::pin(hop.close()).await;
        }
    }
}

/// The user's shell runs it, in its own place (ssh_config(5), ProxyCommand).
fn run(endpoint: &Endpoint, command: &str, unattended: bool) -> Result<Laid> {
    let shell =
        std::env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".into());
    let mut program = Command::new(shell);
    program.arg("-c").arg(format!("exec {command}"));
    let (piped, witness) = start(program, unattended).map_err(|e| {
        Error::new(Kind::Unreachable, "run the ProxyCommand of ssh_config for", endpoint).because(e)
    })?;
    Ok(Laid { stream: Box::new(piped), witness: Some(witness) })
}

impl Laid {
    /// What can tell of the command that carries this, also when the stream is gone.
    pub(super) fn witness(&self) -> Carried {
        Carried(self.witness.clone())
    }
}

/// What is known of the command that carried a stream, if one did.
pub(super) struct Carried(Option<Witness>);

impl Carried {
    /// The error of what was tried over the stream, with what the command says.
    pub(super) async fn explain(self, error: Error) -> Error {
        let may_say = matches!(error.kind(), Kind::Unreachable | Kind::Protocol);
        let Some(witness) = self.0.filter(|_| may_say) else { return error };
        let mut ended = witness.ended();
        let _ = timeout(LAST_WORDS, ended.wait_for(Option::is_some)).await; // it ends with its stream
        let said = witness.last_words();
        if said.is_empty() {
            return error;
        }
        let detail = format!("{}; the ProxyCommand says: {said}", error.reason());
        let hint = error.hint_text().unwrap_or_default().to_owned();
        Error::new(error.kind(), error.operation(), error.subject()).detail(detail).hint(hint)
    }
}
