//! What the permissions of files give away.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Why a file that holds a secret will be refused when it is needed, if it will be.
pub(super) fn about_secret_file(path: &Path) -> Option<String> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
            Some(format!("{shown} is open to others and will be refused; chmod 600 it"))
        }
        Ok(_) => None,
        Err(error) => Some(format!("{shown} cannot be looked at now: {error}")),
    }
}

/// Why a configuration file is not safe, if it is not: who can write it can have commands run.
pub(super) fn about_config_file(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o002 != 0).then(|| "everybody can change this file; chmod o-w it".into())
}
