//! Our own server lies about what is in a folder: leaves names out, ends early, or says that nothing is there.
//! Nothing may be deleted for it.

use std::net::SocketAddr;
use std::path::PathBuf;

use highwater::server::accounts::{Account, Accounts};
use highwater::server::misbehave::{Deed, Fault, Misbehave, Op, Rule};
use highwater::server::{HostKey, Limits, RunningServer, Server, ServerConfig};
use tokio::runtime::Runtime;

use super::deeds;
use crate::bench::Bench;
use crate::campaign::{Campaign, Facts, Whole};
use crate::case::{Case, FarEnd};
use crate::oracle::{self, Deletes};
use crate::program::Way;
use crate::random::Random;
use crate::server::Settings;
use crate::world::{Node, Sizes, Tree, World};
use crate::{Doing, Result};

/// See the [module](self).
pub const CAMPAIGN: Campaign = Campaign {
    name: "listings",
    about: "listings that lack names, end early or are empty: nothing is deleted for it",
    settings: Settings { config: "", before_sftp: "" },
    case,
    short: 6,
    whole: Whole::Faults(2_000),
};

/// Our own server with one account, which sees the folder it was given.
struct Liar {
    script: Misbehave,
    end: FarEnd,
    _server: RunningServer,
    _runtime: Runtime,
}

impl Liar {
    fn start(bench: &Bench, folder: PathBuf, seed: u64) -> Result<Self> {
        let script = Misbehave::seeded(seed, []);
        let key = bench.sshd.client_key();
        let public = std::fs::read_to_string(key.with_extension("pub")).doing("read the key")?;
        let account = Account::new("liar", &folder).and_then(|account| account.authorized_keys(&public));
        let accounts = account.and_then(|account| Accounts::new([account.misbehave(script.clone())]));
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let (accounts, host_key) = (accounts.doing("make an account")?, HostKey::generate());
        let config = ServerConfig { listen, accounts, host_key, limits: Limits::default() };
        let line = config.host_key.public_line().doing("make a host key")?;
        let runtime = Runtime::new().doing("start a runtime")?;
        let server = runtime.block_on(Server::start(config)).doing("start our server")?;
        let end = FarEnd {
            address: server.addr(),
            user: "liar".into(),
            key,
            host_key: line,
            root: Some(String::new()),
            folder: Some(folder),
        };
        Ok(Self { script, end, _server: server, _runtime: runtime })
    }
}

fn case(bench: &Bench, mut random: Random) -> Result<Facts> {
    let folder =
        tempfile::Builder::new().prefix("served-").tempdir_in(bench.folder()).doing("make a folder")?;
    let liar = Liar::start(bench, folder.path().into(), random.next())?;
    let sizes = Sizes { small: 20, large: 1, large_bytes: 300_000 };
    // A pull sees the far side by its listings alone.
    let way = if random.chance(75) { Way::Pull } else { Way::Push };
    let mut case = Case::first(random.split(), bench, &liar.end, sizes, way)?;
    case.round_and_edits()?;
    let turns = if bench.short { 1 } else { 3 };
    case.turns(turns, |case| {
        let mut lies = 0;
        for _ in 0..4 {
            lies += lie_once(&liar, case, &mut random)?;
        }
        case.settle(Deletes::Followed)?;
        Ok(Facts::struck(lies))
    })
}

/// One round with lies. Returns how many listings were not the truth.
fn lie_once(liar: &Liar, case: &mut Case, random: &mut Random) -> Result<u64> {
    let mut must_stay = must_stay(&case.world);
    let told = liar.script.deeds(Deed::Lied);
    for _ in 0..random.between(1, 4) {
        liar.script.add(draw(&case.world, random));
    }
    let ran = case.round_amid(deeds(random), &[])?;
    liar.script.clear();
    if !matches!(ran.code(), Some(0 | 1 | 4)) {
        return Err(format!("lies are no reason to fail: {}", ran.describe()));
    }
    must_stay.retain(|path, _| case.world.source.contains_key(path) || case.world.foreign.contains_key(path));
    oracle::lost_nothing(&case.world, &case.target(), &must_stay)
        .map_err(|e| format!("{e}: {}", ran.describe()))?;
    Ok(liar.script.deeds(Deed::Lied) - told)
}

/// What stands at the target, but for what is gone at the source.
fn must_stay(world: &World) -> Tree {
    let of_base = world.base.iter().filter(|(path, _)| world.source.contains_key(*path));
    of_base.chain(&world.foreign).map(|(path, node)| (path.clone(), node.clone())).collect()
}

fn draw(world: &World, random: &mut Random) -> Rule {
    let folders: Vec<&str> =
        world.source.iter().filter(|(_, node)| **node == Node::Dir).map(|(path, _)| path.as_str()).collect();
    let folder = if folders.is_empty() || random.chance(40) { "" } else { random.pick(&folders) };
    let names: Vec<&str> = world.source.keys().filter_map(|path| path.rsplit('/').next()).collect();
    let fault = match random.below(4) {
        0 => Fault::EndListingAfter(0),
        1 => Fault::EndListingAfter(random.below(8) as usize),
        2 => Fault::Omit(names.iter().map(|name| name.as_bytes().to_vec()).collect()),
        _ => {
            let some = names.iter().filter(|_| random.chance(40)).map(|name| name.as_bytes().to_vec());
            Fault::Omit(some.collect())
        }
    };
    let path = if folder.is_empty() { "/far".to_owned() } else { format!("/far/{folder}") };
    let rule = Rule::on(Op::List, fault).below(path);
    if random.chance(30) { rule.chance(500) } else { rule }
}
