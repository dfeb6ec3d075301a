//! What all cases of one worker share: a server of its own and the program to run.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::args::Args;
use crate::case::FarEnd;
use crate::server::{Settings, Sshd, User};
use crate::world::Sizes;
use crate::{Doing, Result, scratch};

/// The programs under test.
#[derive(Debug, Clone)]
pub struct Files {
    /// As it is.
    pub highwater: PathBuf,
    /// Built with crash points.
    pub crash_points: PathBuf,
}

impl Files {
    /// Those that were named, or those beside the folder of this program.
    pub fn find(args: &Args) -> Result<Self> {
        let this = std::env::current_exe().doing("find this program")?;
        let built = this.parent().and_then(Path::parent).ok_or("this program lies in no folder")?;
        let or = |given: &Option<PathBuf>, name| given.clone().unwrap_or_else(|| built.join(name));
        let highwater = or(&args.highwater, "highwater");
        if !highwater.exists() {
            return Err(format!("{} is not built: use contrib/torture", highwater.display()));
        }
        Ok(Self { highwater, crash_points: or(&args.crash_points, "highwater-crash-points") })
    }
}

/// A worker's own.
pub struct Bench {
    /// The program.
    pub files: Files,
    /// The server.
    pub sshd: Sshd,
    /// Cases shall be small and soon over.
    pub short: bool,
    /// Folders of cases stay, to be looked at.
    pub keeps: bool,
    user: String,
    folder: TempDir,
}

impl Bench {
    /// Starts a server. Whoever runs this logs in.
    pub fn start(files: &Files, settings: &Settings<'_>, args: &Args) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("torture-sshd-").tempdir_in(scratch());
        let folder = folder.doing("make a folder")?;
        let (short, keeps) = (args.short, args.case.is_some());
        let (sshd, user) = (Sshd::start(folder.path(), settings)?, User::current()?);
        Ok(Self { files: files.clone(), sshd, short, keeps, user, folder })
    }

    /// The way to it.
    pub fn far_end(&self) -> Result<FarEnd> {
        self.far_end_at(self.sshd.address())
    }

    /// The way to it through somebody else.
    pub fn far_end_at(&self, address: SocketAddr) -> Result<FarEnd> {
        let (user, key) = (self.user.clone(), self.sshd.client_key());
        Ok(FarEnd { address, user, key, host_key: self.sshd.host_key()?, root: None, folder: None })
    }

    /// A folder that is gone with this worker.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How large files are: mostly small ones, now and then one that takes a while.
    pub fn sizes(&self, random: &mut crate::random::Random) -> Sizes {
        let large_bytes = match (self.short, random.below(10)) {
            (true, _) => 3 << 20,
            (false, 0) => 40 << 20,
            (false, 1..=3) => 12 << 20,
            (false, _) => 3 << 20,
        };
        Sizes { small: if self.short { 12 } else { 40 }, large: 3, large_bytes }
    }
}
