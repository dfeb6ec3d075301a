//! Lists of algorithms: named outright, or added to (`+`), taken from (`-`) or put before (`^`) the usual ones.

use super::pattern::{Said, fits, list};

/// The list that a setting makes of the `usual` one, with nothing in it that is not among `all`. Names may be
/// patterns.
pub fn assemble(setting: Option<&str>, usual: &[&str], all: &[&str]) -> Vec<String> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let Some(setting) = setting else { return owned(usual) };
    let (sign, names) = match setting.split_at_checked(1) {
        Some((sign @ ("+" | "-" | "^"), names)) => (sign, names),
        _ => ("", setting),
    };
    let named: Vec<&str> = names.split(',').collect();
    let wanted: Vec<&str> = match sign {
        "+" => [usual, &named].concat(),
        "-" => return owned(usual).into_iter().filter(|name| list(name, names) != Said::Yes).collect(),
        "^" => [&named, usual].concat(),
        _ => named,
    };
    let mut assembled: Vec<String> = Vec::new();
    for pattern in wanted {
        for name in all.iter().filter(|name| fits(name, pattern)) {
            if !assembled.iter().any(|known| known == name) {
                assembled.push((*name).to_owned());
            }
        }
    }
    assembled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_named_added_to_taken_from_and_put_first() {
        let check = |setting: &str, expected: &str| {
            let list = assemble(Some(setting), &["a1", "a2", "b1"], &["a1", "a2", "b1", "b2", "c"]);
            assert_eq!(list.join(","), expected, "{setting}");
        };
        check("c,a1", "c,a1");
        check("+c", "a1,a2,b1,c");
        check("+b*", "a1,a2,b1,b2");
        check("-a*", "b1");
        check("-b1,a1", "a2");
        check("^b2,b1", "b2,b1,a1,a2");
        check("unknown", "");
        check("a?", "a1,a2");
        assert_eq!(assemble(None, &["a"], &["a", "b"]), ["a"]);
    }
}
