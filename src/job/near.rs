//! The near side as a round needs it: a tree that can tell which folder it is.

use crate::error::Result;
use crate::journal::RootIdentity;
use crate::local::disk::Disk;
use crate::tree::Tree;

/// The tree that a round works with on this machine: a folder, or in simulations one that is in memory.
pub trait Near: Tree {
    /// What tells its root from another folder in its place.
    fn identity(&self) -> Result<RootIdentity>;

    /// Whether the root's path still leads to the folder that was opened.
    fn is_in_place(&self) -> Result<bool>;
}

impl Near for Disk {
    fn identity(&self) -> Result<RootIdentity> {
        let (device, inode) = Disk::identity(self)?;
        Ok(RootIdentity { device, inode })
    }

    fn is_in_place(&self) -> Result<bool> {
        Disk::is_in_place(self)
    }
}
