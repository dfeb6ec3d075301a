//! One case: two roots in a folder of their own, a world drawn from the case's seed, the program between
//! them, and the checks at the end.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::PoisonError;

use tempfile::TempDir;

use crate::bench::Bench;
use crate::oracle::{self, Deletes};
use crate::program::{Program, Ran, Way};
use crate::random::Random;
use crate::watcher::{Known, Watcher};
use crate::world::{Node, Sizes, World, write_node};
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
            file: bench.files.highwater.clone(),
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
        let case = Self { random, world, program, sizes, folder, keeps_trash: true, far, known };
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
        self.round(&[])?.ends(0)?;
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

    /// Someone works at the source while the program does: one file is replaced as careful programs do it,
    /// written beside and renamed.
    pub fn replace_one(&mut self) -> Result<()> {
        let paths = self.source_files(0);
        let Some(path) = (!paths.is_empty()).then(|| self.random.pick(&paths).clone()) else { return Ok(()) };
        self.replace(&path)
    }

    /// The same with this file.
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

    /// Looks at the target until the watcher is ended.
    pub fn watch(&self) -> Watcher {
        Watcher::start(&self.target(), &self.known)
    }

    /// One undisturbed round puts everything right, and a further one does nothing.
    pub fn settle(&self, deletes: Deletes) -> Result<Ran> {
        let ran = self.round(&[])?.ends(0)?;
        self.check(deletes)?;
        self.round(&[])?.did_nothing()?;
        self.check(deletes)?;
        Ok(ran)
    }

    /// What must be true now, and that nothing is left staged.
    pub fn check(&self, deletes: Deletes) -> Result<()> {
        self.check_but_staged(deletes)?;
        oracle::nothing_staged(&self.target())
    }

    /// What must be true now. A journal that is lost takes the agent's name with it: what that one staged is a
    /// stranger's from then on, and is left alone for 30 days.
    pub fn check_but_staged(&self, deletes: Deletes) -> Result<()> {
        oracle::check(&self.world, &self.source(), &self.target(), deletes)?;
        if self.keeps_trash { oracle::nothing_lost(&self.world, &self.target()) } else { Ok(()) }
    }

    fn share_versions(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = self.world.known.clone();
    }
}
