//! One case: two roots in a folder of their own, a world drawn from the case's seed, the program between
//! them, and the checks at the end.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::bench::{Bench, Pace};
use crate::campaign::Facts;
use crate::oracle::{self, Deletes};
use crate::program::{Program, Ran, Way};
use crate::random::Random;
use crate::watcher::{Known, Watcher};
use crate::world::{Deed, Node, Sizes, World, write_node};
use crate::{Doing, Result};

/// Where the far root is, and how one logs in.
#[derive(Debug, Clone)]
pub struct FarEnd {
    /// Where the program connects.
    pub address: SocketAddr,
    /// Who logs in.
    pub user: String,
    /// The private key file.
    pub key: PathBuf,
    /// The server's key as `ssh-ed25519 AAAA…`.
    pub host_key: String,
    /// What the server calls the folder with the far root; `None`: as this machine does.
    pub root: Option<String>,
    /// The folder with the far root on this machine; `None`: in the case's own folder.
    pub folder: Option<PathBuf>,
}

/// What a case is made of before anything is disturbed.
pub struct Case {
    /// What everything is drawn from.
    pub random: Random,
    /// Both sides as they should be.
    pub world: World,
    /// The program.
    pub program: Program,
    /// How large files are.
    pub sizes: Sizes,
    /// The folder with everything of this case, removed with it.
    pub folder: TempDir,
    /// Whether what is removed is kept.
    pub keeps_trash: bool,
    /// What was staged by agents whose journals are lost.
    pub orphans: BTreeSet<String>,
    /// How long rounds take on this machine.
    pub pace: Arc<Pace>,
    far: PathBuf,
    known: Known,
}

impl Case {
    /// Makes the roots with a first tree at the source; mostly a whole round follows, and edits on both sides.
    pub fn prepare(mut random: Random, bench: &Bench, end: &FarEnd, sizes: Sizes, way: Way) -> Result<Self> {
        let mut case = Self::first(random.split(), bench, end, sizes, way)?;
        if random.chance(60) {
            case.round_and_edits()?;
        }
        Ok(case)
    }

    /// Makes the roots with a first tree at the source.
    pub fn first(mut random: Random, bench: &Bench, end: &FarEnd, sizes: Sizes, way: Way) -> Result<Self> {
        let mut folder = tempfile::Builder::new()
            .prefix("torture-")
            .tempdir_in(crate::scratch())
            .doing("make a folder")?;
        if bench.keeps {
            folder.disable_cleanup(true);
            eprintln!("in {}", folder.path().display());
        }
        let home = folder.path().join("home");
        fs::create_dir_all(home.join(".ssh")).doing("make a home")?;
        let line = format!("[127.0.0.1]:{} {}\n", end.address.port(), end.host_key);
        fs::write(home.join(".ssh/known_hosts"), line).doing("write known_hosts")?;
        let far = end.folder.clone().unwrap_or_else(|| folder.path().into()).join("far");
        let remote = end.root.clone().map_or_else(|| far.display().to_string(), |root| format!("{root}/far"));
        let program = Program {
            file: bench.program.clone(),
            way,
            near: folder.path().join("near"),
            url: format!("sftp://{}@127.0.0.1:{}{remote}", end.user, end.address.port()),
            home,
            key: end.key.clone(),
            config: None,
        };
        for root in [&program.near, &far] {
            fs::create_dir_all(root).doing("make a root")?;
        }
        let world = World::draw(&mut random, &sizes);
        let known = Known::default();
        let (keeps_trash, orphans, pace) = (true, BTreeSet::new(), Arc::clone(&bench.pace));
        let case = Self { random, world, program, sizes, folder, keeps_trash, orphans, pace, far, known };
        World::write(&case.source(), &Default::default(), &case.world.source)?;
        case.share_versions();
        Ok(case)
    }

    /// From now on rounds are those of a job in a config, without a trash.
    pub fn run_without_trash(&mut self, end: &FarEnd) -> Result<()> {
        let file = self.program.home.join("config.yml");
        let mode = if self.program.way == Way::Push { "push" } else { "pull" };
        let text = format!(
            "version: 1\nservers:\n  far: {{host: 127.0.0.1, port: {}, user: {}, auth: {{key: {:?}}}}}\n\
             jobs:\n  j: {{mode: {mode}, local: {:?}, remote: {:?}, delete: true, trash: 0}}\n",
            end.address.port(),
            end.user,
            end.key,
            self.program.near,
            format!("far:{}", self.far.display()),
        );
        fs::write(&file, text).doing("write a config")?;
        (self.program.config, self.keeps_trash) = (Some(file), false);
        Ok(())
    }

    /// A whole round, then what people do on both sides.
    pub fn round_and_edits(&mut self) -> Result<()> {
        self.whole_round()?;
        self.edit(true)
    }

    /// A round that leaves both sides in step.
    pub fn whole_round(&mut self) -> Result<()> {
        self.timed_round()?.ends(0)?;
        self.world.agree();
        Ok(())
    }

    /// What people do at the source, and also at the target if asked for.
    pub fn edit(&mut self, both_sides: bool) -> Result<()> {
        let was = self.world.source.clone();
        self.world.edit(&mut self.random, &self.sizes);
        self.share_versions(); // before they can be seen anywhere
        World::write(&self.source(), &was, &self.world.source)?;
        if both_sides {
            let (base, foreign) = (self.world.base.clone(), self.world.foreign.clone());
            // A push looks at the far side as a whole once a day, and else at what it has to do there.
            self.world.meddle(&mut self.random, self.program.way == Way::Push);
            World::write(&self.target(), &base, &self.world.base)?;
            World::write(&self.target(), &foreign, &self.world.foreign)?;
        }
        self.share_versions();
        Ok(())
    }

    /// So often something goes wrong and is put right, with what people do on both sides in between.
    pub fn turns(&mut self, times: u64, mut turn: impl FnMut(&mut Self) -> Result<Facts>) -> Result<Facts> {
        let mut facts = Facts::default();
        for number in 0..times {
            if number > 0 {
                self.world.agree();
                self.edit(true)?;
            }
            let watcher = self.watch();
            facts.add(turn(self)?);
            watcher.end()?;
        }
        Ok(facts)
    }

    /// One round, with so many deeds of people meanwhile.
    pub fn round_amid(&mut self, deeds: u64, flags: &[&str]) -> Result<Ran> {
        let within = self.expected();
        let running = self.program.start(&mut self.program.command(flags))?;
        self.work_along(deeds, within)?;
        running.end()
    }

    /// People work so often on both sides, at random moments of this time; whatever they do is whole at once.
    pub fn work_along(&mut self, deeds: u64, within: Duration) -> Result<()> {
        let began = Instant::now();
        let mut moments: Vec<Duration> =
            (0..deeds).map(|_| within.mul_f64(self.random.below(1000) as f64 / 1000.0)).collect();
        moments.sort();
        for moment in moments {
            std::thread::sleep(moment.saturating_sub(began.elapsed()));
            let deed = self.world.meanwhile(&mut self.random);
            self.share_versions(); // before they can be seen anywhere
            self.perform(deed).doing("work on while the program does")?;
        }
        Ok(())
    }

    fn perform(&self, deed: Deed) -> std::io::Result<()> {
        let (source, beside) = (self.source(), self.folder.path().join("beside"));
        let put = |node: &Node, path: PathBuf| {
            write_node(&beside, node)?;
            fs::rename(&beside, path)
        };
        match deed {
            Deed::Put(path, node) => put(&node, source.join(path)),
            Deed::Remove(path) => fs::remove_file(source.join(path)),
            Deed::Rename(from, to) => fs::rename(source.join(from), source.join(to)),
            Deed::Folder(path) => fs::create_dir(source.join(path)),
            Deed::Foreign(path, node) => put(&node, self.target().join(path)),
        }
    }

    /// Somebody replaces a file of the source while the program works.
    pub fn replace(&mut self, path: &str) -> Result<()> {
        let beside = self.folder.path().join("beside");
        let node = self.world.change_one(&mut self.random, path).ok_or("it is no file")?;
        self.share_versions(); // as above
        write_node(&beside, &node).doing("write a version beside")?;
        fs::rename(beside, self.source().join(path)).doing("replace a file")
    }

    /// One more file at the source, of just this size.
    pub fn add_large(&mut self, size: u64) -> Result<()> {
        let was = self.world.source.clone();
        self.world.put_large(&mut self.random, size);
        World::write(&self.source(), &was, &self.world.source)?;
        self.share_versions();
        Ok(())
    }

    /// Files at the source of at least this size.
    pub fn source_files(&self, least_bytes: u64) -> Vec<String> {
        let is_large = |node: &Node| matches!(node, Node::File(version, _) if version.size >= least_bytes);
        self.world.source.iter().filter(|(_, node)| is_large(node)).map(|(path, _)| path.clone()).collect()
    }

    /// The root that is followed.
    pub fn source(&self) -> PathBuf {
        if self.program.way == Way::Push { self.program.near.clone() } else { self.far.clone() }
    }

    /// The root that follows.
    pub fn target(&self) -> PathBuf {
        if self.program.way == Way::Push { self.far.clone() } else { self.program.near.clone() }
    }

    /// One round, undisturbed unless somebody else sees to it.
    pub fn round(&self, flags: &[&str]) -> Result<Ran> {
        self.program.round(flags)
    }

    /// The same, for [how long](Self::expected) such rounds take.
    fn timed_round(&self) -> Result<Ran> {
        let (bytes, began) = (self.world.bytes_to_carry(), Instant::now());
        let ran = self.round(&[])?;
        self.pace.took(bytes, began.elapsed());
        Ok(ran)
    }

    /// About how long a round would take that nobody disturbs.
    pub fn expected(&self) -> Duration {
        self.pace.expected(self.world.bytes_to_carry())
    }

    /// Looks at the target until the watcher is ended.
    pub fn watch(&self) -> Watcher {
        Watcher::start(&self.target(), &self.known)
    }

    /// One undisturbed round puts everything right, and a further one does nothing.
    pub fn settle(&self, deletes: Deletes) -> Result<Ran> {
        let ran = self.timed_round()?.ends(0)?;
        self.check(deletes)?;
        self.round(&[])?.did_nothing()?;
        self.check(deletes)?;
        Ok(ran)
    }

    /// What must be true now, and that nothing is left staged.
    pub fn check(&self, deletes: Deletes) -> Result<()> {
        oracle::check(&self.world, &self.source(), &self.target(), deletes)?;
        oracle::nothing_staged(&self.target(), &self.orphans)?;
        if self.keeps_trash { oracle::nothing_lost(&self.world, &self.target()) } else { Ok(()) }
    }

    fn share_versions(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = self.world.known.clone();
    }
}
