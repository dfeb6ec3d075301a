//! A PAM service of a test's own: whoever logs in is asked for a code.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::account;

/// A service that asks one hidden question, and takes one answer. Gone when dropped.
#[derive(Debug)]
pub struct Pam {
    name: String,
    file: PathBuf,
}

impl Pam {
    /// A service that takes this code. `folder` is for its files. Panics when root does not run the tests.
    pub fn that_takes(code: &str, folder: &Path) -> Self {
        assert!(account::is_root(), "this test makes a PAM service: run it as root");
        let name = format!("highwater-test-{:016x}", getrandom::u64().expect("random numbers"));
        let script = folder.join("check");
        write(&script, &format!("#!/bin/sh\nread -r answer || :\n[ \"$answer\" = {code} ]\n"));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&script, mode).expect("the mode can be set");
        let file = Path::new("/etc/pam.d").join(&name);
        // What the module hands over ends in NUL, which `read` drops.
        let lines = format!(
            "auth required pam_exec.so expose_authtok quiet {}\nauth required pam_permit.so\n\
             account required pam_permit.so\nsession required pam_permit.so\n",
            script.display()
        );
        write(&file, &lines);
        Self { name, file }
    }

    /// What the service is called.
    pub fn service(&self) -> &str {
        &self.name
    }
}

impl Drop for Pam {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file); // a name nobody else has
    }
}

fn write(path: &Path, text: &str) {
    let mut file = File::create(path).expect("the file can be made");
    file.write_all(text.as_bytes()).expect("the file can be written");
}
