//! One session: a story, a server that tells it, and the program, round by round.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use highwater::server::SessionOptions;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use crate::host::{self, Stage};
use crate::judge;
use crate::random::Random;
use crate::run::{Program, Ran};
use crate::story::{Edit, Story, Way};
use crate::teller::Witness;
use crate::world::{World, edit, tree_of};
use crate::{Doing, Result};

/// What every session needs.
pub struct Setting<'a> {
    pub program: Program<'a>,
    pub scratch: PathBuf,
    pub runtime: Handle,
    pub patient: bool,
    pub most_kib: u64,
    /// Leaves the folder, and tells what is printed.
    pub is_shown: bool,
}

/// What a session came to, apart from being right.
#[derive(Debug, Default)]
pub struct Facts {
    pub codes: Vec<i32>,
    /// KiB.
    pub peak: u64,
    pub longest: Duration,
    pub witness: Witness,
}

/// Plays a session. An error says what was not right.
pub fn play(seed: u64, setting: &Setting<'_>) -> Result<Facts> {
    let story = Story::draw(seed, setting.patient);
    let world = World::make(&setting.scratch, story.way, Random::new(seed ^ 1))?;
    let mut play = Play { story, world, facts: Facts::default(), setting, stage: None };
    let played = play.all(seed);
    if setting.is_shown {
        let folder = play.world.keep();
        println!("{}in {}", play.story, folder.display());
    }
    played.map(|()| play.facts)
}

struct Play<'a> {
    story: Story,
    world: World,
    facts: Facts,
    setting: &'a Setting<'a>,
    stage: Option<Arc<Stage>>,
}

impl Play<'_> {
    fn all(&mut self, seed: u64) -> Result<()> {
        let stage = Arc::new(Stage {
            story: self.story.clone(),
            seed,
            act: AtomicUsize::new(0),
            witness: Mutex::default(),
            options: SessionOptions::new(&self.world.at("served")).doing("serve a folder")?,
            outside: self.world.at("victim").display().to_string(),
            patient: self.setting.patient,
        });
        self.stage = Some(Arc::clone(&stage));
        let listener = self.setting.runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).doing("listen")?;
        let port = listener.local_addr().doing("listen")?;
        write_home(&self.world, &self.story, port)?;
        let server = self.setting.runtime.spawn(host::serve(listener, Arc::clone(&stage)));
        let outcome = (0..self.story.acts.len()).try_for_each(|number| self.act(number, &stage));
        let outcome = outcome.and_then(|()| self.reports(seed));
        server.abort();
        self.facts.witness = std::mem::take(&mut stage.witness());
        outcome
    }

    fn act(&mut self, number: usize, stage: &Stage) -> Result<()> {
        stage.act.store(number, Ordering::SeqCst);
        let mut witness = stage.witness();
        *witness = Witness { lies: std::mem::take(&mut witness.lies), ..Witness::default() };
        drop(witness); // the server wants it
        let act = self.story.acts[number].clone();
        let victim = self.world.at("victim");
        act.far_edits.iter().try_for_each(|change| edit(&self.world.far(), *change, &victim))?;
        let near_edits = act.near_edits.iter().filter(|change| !matches!(change, Edit::SetUid(_)));
        near_edits.into_iter().try_for_each(|change| edit(&self.world.near(), *change, &victim))?;
        let untouchable = self.world.untouchable(self.story.way)?;
        let before = tree_of(&self.world.near())?;
        let ran = self.run(&["run", "j", "--json", "-v"])?;
        self.facts.codes.extend(ran.code);
        let after = tree_of(&self.world.near())?;
        if let Some(what) = crate::difference(&untouchable, &self.world.untouchable(self.story.way)?) {
            return Err(format!("round {}: what is outside was changed: {what}", number + 1));
        }
        let witness = stage.witness();
        let (way, delete, near) = (self.story.way, self.story.delete, self.world.near());
        let round =
            judge::Round { way, near: &near, before: &before, after: &after, witness: &witness, delete };
        judge::round(&round).map_err(|what| format!("round {}: {what}", number + 1))
    }

    /// What is told later of what happened.
    fn reports(&mut self, seed: u64) -> Result<()> {
        match seed % 6 {
            0 => self.run(&["log"]).map(drop),
            1 => self.run(&["log", "--json"]).map(drop),
            2 => self.run(&["status"]).map(drop),
            _ => Ok(()),
        }
    }

    fn run(&mut self, args: &[&str]) -> Result<Ran> {
        let ran = self.setting.program.run(&self.world, args)?;
        if self.setting.is_shown {
            let said =
                [&ran.stdout[..], &ran.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            println!("{args:?}: {:?}, {} KiB, {:?}\n{}{}", ran.code, ran.peak, ran.time, said[0], said[1]);
        }
        self.facts.peak = self.facts.peak.max(ran.peak);
        self.facts.longest = self.facts.longest.max(ran.time);
        judge::run(&ran, self.setting.most_kib)?;
        Ok(ran)
    }
}

fn write_home(world: &World, story: &Story, at: std::net::SocketAddr) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[9; 32]));
    let text = key.to_openssh(LineEnding::LF).doing("write a key")?;
    let write = |name: &str, text: &str| fs::write(world.at(name), text).doing("write a file");
    write("home/key", &text)?;
    fs::set_permissions(world.at("home/key"), fs::Permissions::from_mode(0o600)).doing("close a file")?;
    write("home/.ssh/known_hosts", &host::known_hosts_line(at).doing("write known_hosts")?)?;
    let mode = if story.way == Way::Push { "push" } else { "pull" };
    let verify = if story.full { "full" } else { "ack" };
    let shown = |path: &Path| path.display().to_string();
    write(
        "home/config.yml",
        &format!(
            "version: 1\nservers:\n  s: {{host: 127.0.0.1, port: {}, user: me, auth: {{key: \"{}\"}}}}\njobs:\n  j:\n    \
             mode: {mode}\n    local: \"{}\"\n    remote: \"s:/far\"\n    delete: {}\n    verify: {verify}\n    \
             retry_for: 1s\n    audit: 1s\n    guards: {{max_delete: {{count: 1000, share: 100%}}}}\n",
            at.port(),
            shown(&world.at("home/key")),
            shown(&world.near()),
            story.delete,
        ),
    )
}
