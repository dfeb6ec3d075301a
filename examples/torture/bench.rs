//! What all cases of one worker share: a server of its own and the program to run.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use crate::args::Args;
use crate::case::FarEnd;
use crate::server::{Settings, Sshd, User};
use crate::world::Sizes;
use crate::{Doing, Result, scratch};

/// The program under test: the one that was named, or the one beside the folder of this program.
pub fn program(args: &Args) -> Result<PathBuf> {
    let this = std::env::current_exe().doing("find this program")?;
    let built = this.parent().and_then(Path::parent).ok_or("this program lies in no folder")?;
    let program = args.highwater.clone().unwrap_or_else(|| built.join("highwater"));
    match program.exists() {
        true => Ok(program),
        false => Err(format!("{} is not built: use contrib/torture", program.display())),
    }
}

/// How long rounds take here and now, as those that nobody disturbed have shown.
#[derive(Debug)]
pub struct Pace(Mutex<f64>);

impl Pace {
    /// About how long a round takes on a machine of its own, besides carrying bytes.
    const ROUND: Duration = Duration::from_millis(120);

    /// About how many bytes are carried there in a second.
    const BYTES_PER_SECOND: f64 = 6e7;

    /// How much one round tells of the next ones.
    const WEIGHT: f64 = 0.3;

    /// How long a round with so many bytes takes.
    pub fn expected(&self, bytes: u64) -> Duration {
        Self::nominal(bytes).mul_f64(*self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One took so long.
    pub fn took(&self, bytes: u64, time: Duration) {
        let mut pace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *pace += Self::WEIGHT * (time.div_duration_f64(Self::nominal(bytes)) - *pace);
    }

    fn nominal(bytes: u64) -> Duration {
        Self::ROUND + Duration::from_secs_f64(bytes as f64 / Self::BYTES_PER_SECOND)
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self(Mutex::new(1.0))
    }
}

/// A worker's own.
pub struct Bench {
    /// The program.
    pub program: PathBuf,
    /// The server.
    pub sshd: Sshd,
    /// How long rounds take.
    pub pace: Arc<Pace>,
    /// Cases shall be small and soon over.
    pub short: bool,
    /// Folders of cases stay, to be looked at.
    pub keeps: bool,
    user: String,
    folder: TempDir,
}

impl Bench {
    /// Starts a server. Whoever runs this logs in.
    pub fn start(program: &Path, settings: &Settings<'_>, args: &Args) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("torture-sshd-").tempdir_in(scratch());
        let folder = folder.doing("make a folder")?;
        let (short, keeps) = (args.short, args.case.is_some());
        let (sshd, user) = (Sshd::start(folder.path(), settings)?, User::current()?);
        let (program, pace) = (program.to_path_buf(), Arc::default());
        Ok(Self { program, sshd, pace, short, keeps, user, folder })
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
            (false, 0) => 24 << 20,
            (false, 1..=3) => 8 << 20,
            (false, _) => 3 << 20,
        };
        Sizes { small: if self.short { 12 } else { 40 }, large: 3, large_bytes }
    }
}
