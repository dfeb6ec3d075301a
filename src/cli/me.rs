//! Who runs us.

use crate::error::{Error, Kind, Result};

/// The name that a login uses where none is given, as ssh does: that of whoever runs us.
pub fn login_name() -> Result<String> {
    let named = ["LOGNAME", "USER"].into_iter().filter_map(|name| std::env::var(name).ok());
    named.into_iter().find(|name| !name.is_empty()).map_or_else(from_password_file, Ok)
}

fn from_password_file() -> Result<String> {
    let error = || Error::new(Kind::Usage, "tell who logs in", "").hint("Name the user: user@host.");
    let text = std::fs::read_to_string("/etc/passwd").map_err(|e| error().because(e))?;
    let name = in_password_file(&text, rustix::process::getuid().as_raw());
    name.ok_or_else(|| error().detail("the password file does not know this user"))
}

/// The name of the user with this number: `name:x:number:…`, passwd(5).
fn in_password_file(text: &str, uid: u32) -> Option<String> {
    let row = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    };
    text.lines().find_map(row)
}

/// The home folder of another user, passwd(5); `None` if there is no such user.
pub fn home_of(user: &str) -> Option<String> {
    home_in_password_file(&std::fs::read_to_string("/etc/passwd").ok()?, user)
}

fn home_in_password_file(text: &str, user: &str) -> Option<String> {
    let line = text.lines().find(|line| line.split(':').next() == Some(user))?;
    line.split(':').nth(5).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_file_knows_users_by_number() {
        let text = "root:x:0:0:root:/root:/bin/sh\nbad\nann:x:1000:10:Ann:/home/ann:/bin/sh\n";
        let check =
            |uid, expected: Option<&str>| assert_eq!(in_password_file(text, uid).as_deref(), expected);
        check(0, Some("root"));
        check(1000, Some("ann"));
        check(10, None);
        assert_eq!(home_in_password_file(text, "ann").as_deref(), Some("/home/ann"));
        assert_eq!(home_in_password_file(text, "eve"), None);
    }
}
