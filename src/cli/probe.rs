//! `highwater server probe`: log in, look, if asked try things out, and say what the server can do.

use std::os::unix::ffi::OsStrExt;

use super::account::{self, Account, Flags, Surroundings};
use super::args::Probe as Args;
use super::{Context, config, ends, journals};
use crate::clock::{SystemClock, SystemRandom};
use crate::error::{Error, Kind, Result};
use crate::journal::Journal;
use crate::journal::place::StateDir;
use crate::path::{RemoteRoot, escape};
use crate::remote::abilities::Known;
use crate::remote::connect::{Connection, connect_to};
use crate::remote::probe::{Trial, look, try_out};
use crate::remote::sftp::SftpTree;
use crate::report::probe::{Probe, document, text};

/// Who writes into the journal, for whoever finds it locked.
const COMMAND: &str = "highwater server probe";

/// Shows what was found out, and keeps what was learned. 1, if something could not be found out.
pub async fn run(context: &Context, args: &Args) -> Result<u8> {
    let (mut account, folder) = account(context, args)?;
    let state = journals::state_dir(context)?;
    journals::add_pins(&state, &mut account.target).await?;
    let connection = context.unless_stopped(connect_to(&account.target)).await?;
    journals::pin_accepted(&state, &connection, COMMAND).await?;
    let identity = connection.identity();
    let found = find_out(context, &connection, account, folder, &state, args.write).await;
    connection.close().await;
    let mut probe = found?;
    if let Err(error) = keep(&state, &identity, &probe).await {
        probe.problems.push(error);
    }
    context.show.either(&document(&probe), || text(&probe))?;
    Ok(u8::from(probe.problems().next().is_some()))
}

fn account(context: &Context, args: &Args) -> Result<(Account, RemoteRoot)> {
    let config = config::load(context)?.config;
    let far = ends::parse_host(&args.server)?;
    let flags = Flags {
        port: args.port,
        identity: args.identity.clone(),
        accept_new_host_key: args.accept_new_host_key,
        is_one_round: true,
        ssh_config: args.ssh_config.clone(),
        via: args.via,
    };
    let account = account::of_end(&config, &far, &flags, &Surroundings::of_process())?;
    Ok((account, folder(far.path, args)?))
}

/// The folder is named once: with the host, or after it.
fn folder(with_host: RemoteRoot, args: &Args) -> Result<RemoteRoot> {
    let Some(path) = &args.folder else { return Ok(with_host) };
    let error = || Error::new(Kind::Usage, "look at", escape(path.as_bytes()));
    if with_host != RemoteRoot::new(b"").map_err(|e| error().because(e))? {
        return Err(error().detail(format!("{with_host} is named with the host already")));
    }
    RemoteRoot::new(path.as_bytes()).map_err(|e| error().because(e))
}

async fn find_out(
    context: &Context,
    connection: &Connection,
    account: Account,
    folder: RemoteRoot,
    state: &StateDir,
    write: bool,
) -> Result<Probe> {
    let facts = connection.server().clone();
    let remembered = remembered(state, &connection.identity()).await?;
    let mut problems = Vec::new();
    let opened = open(connection, folder.clone(), if write { None } else { Some(remembered) });
    let tree = context.unless_stopped(opened).await?;
    if write && let Err(error) = context.unless_stopped(widen(connection, &tree)).await {
        match error.kind() {
            Kind::Failed => problems.push(error), // then one channel must do
            _ => return Err(error),
        }
    }
    let look = context.unless_stopped(look(&tree)).await?;
    let trial = if write { Some(try_there(context, &tree).await?) } else { None };
    let shown = trial.as_ref().map(|trial| trial.shown).unwrap_or_default();
    Ok(Probe {
        endpoint: account.target.endpoint,
        notes: account.notes.iter().map(ToString::to_string).collect(),
        facts,
        announced: tree.announced(),
        folder,
        look,
        trial,
        remembered,
        known: shown.or(tree.known()).or(remembered),
        problems,
    })
}

/// Starts SFTP. What is to be tried out anew is not remembered.
async fn open(connection: &Connection, folder: RemoteRoot, remembered: Option<Known>) -> Result<SftpTree> {
    let channel = connection.open_sftp().await?;
    SftpTree::open(channel, folder, &connection.server().ident, remembered.unwrap_or_default()).await
}

async fn widen(connection: &Connection, tree: &SftpTree) -> Result<()> {
    tree.widen(connection.open_sftp().await?).await
}

async fn try_there(context: &Context, tree: &SftpTree) -> Result<Trial> {
    let mut stop = context.stop.clone();
    let stopped = async {
        if stop.wait_for(|&stop| stop).await.is_err() {
            std::future::pending().await // nobody can stop us any more
        }
    };
    try_out(tree, &SystemClock, &SystemRandom, stopped).await
}

/// What earlier connections learned of the server.
async fn remembered(state: &StateDir, identity: &str) -> Result<Known> {
    let Some(journal) = Journal::open_to_read(&state.journal())? else { return Ok(Known::default()) };
    let json = journal.server_abilities(identity).await?;
    // What a newer version wrote and we cannot read is learned again.
    Ok(json.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default())
}

async fn keep(state: &StateDir, identity: &str, probe: &Probe) -> Result<()> {
    let json = serde_json::to_string(&probe.known)
        .map_err(|e| Error::new(Kind::Internal, "write down what the server can do", "").because(e))?;
    let (_lock, journal) = journals::to_note(state, COMMAND)?;
    journal.set_server_abilities(identity, &json).await?;
    journal.close().await
}
