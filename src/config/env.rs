//! What the surroundings say: where home is, and where a configuration may be.

use std::fs;
use std::path::{Path, PathBuf};

/// Home folder and places of configuration files, handed in so that tests need no global state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Env {
    /// What `~` stands for: `$HOME`, else what the password file says of whoever runs us.
    pub home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`, if it is set to an absolute path.
    pub config_home: Option<PathBuf>,
    /// The file of a system service, `/etc/highwater/config.yml`.
    pub system_file: PathBuf,
}

impl Env {
    /// The surroundings of this process.
    pub fn from_process() -> Self {
        let home = absolute_variable("HOME").or_else(|| {
            let passwd = fs::read_to_string("/etc/passwd").ok()?;
            home_in_passwd(&passwd, rustix::process::getuid().as_raw())
        });
        Self {
            home,
            config_home: absolute_variable("XDG_CONFIG_HOME"),
            system_file: "/etc/highwater/config.yml".into(),
        }
    }

    /// Where a configuration is looked for when none is named, the first one first.
    pub fn default_files(&self) -> Vec<PathBuf> {
        let folder = self.config_home.clone().or_else(|| Some(self.home.as_ref()?.join(".config")));
        let own = folder.map(|folder| folder.join("highwater/config.yml"));
        own.into_iter().chain([self.system_file.clone()]).collect()
    }

    /// The path with a leading `~` replaced; `None` when it has one and nobody knows where home is.
    pub fn expand(&self, path: &str) -> Option<PathBuf> {
        match path.strip_prefix('~') {
            None => Some(path.into()),
            Some("") => self.home.clone(),
            Some(rest) => {
                let below = rest.strip_prefix('/')?.trim_start_matches('/');
                Some(self.home.as_ref()?.join(Path::new(below)))
            }
        }
    }
}

/// The XDG base directory specification has relative paths ignored, and a relative home is none.
fn absolute_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The home folder of a user number (passwd(5): name, password, number, group, comment, home, shell).
fn home_in_passwd(passwd: &str, uid: u32) -> Option<PathBuf> {
    let uid = uid.to_string();
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|fields| fields.get(2) == Some(&uid.as_str()))?;
    line.get(5).map(PathBuf::from).filter(|home| home.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_is_where_the_password_file_says() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nana:x:1000:1000:Ana,,,:/home/ana:/bin/sh\nodd:x:7\n";
        let check = |uid, home: Option<&str>| assert_eq!(home_in_passwd(passwd, uid), home.map(Into::into));
        check(0, Some("/root"));
        check(1_000, Some("/home/ana"));
        check(7, None);
        check(8, None);
    }

    #[test]
    fn tilde_is_home_and_nothing_else() {
        let env = Env { home: Some("/home/ana".into()), config_home: None, system_file: "/etc/x".into() };
        let check = |path, expected: Option<&str>| assert_eq!(env.expand(path), expected.map(Into::into));
        check("~", Some("/home/ana"));
        check("~/a/b", Some("/home/ana/a/b"));
        check("~//etc", Some("/home/ana/etc"));
        check("/a/~", Some("/a/~"));
        check("~bob/x", None);
        assert_eq!(Env { home: None, ..env.clone() }.expand("~/a"), None);
        assert_eq!(
            env.default_files(),
            ["/home/ana/.config/highwater/config.yml", "/etc/x"].map(PathBuf::from)
        );
        let elsewhere = Env { config_home: Some("/xdg".into()), ..env };
        assert_eq!(elsewhere.default_files()[0], Path::new("/xdg/highwater/config.yml"));
    }
}
