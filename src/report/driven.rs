//! How rounds work with a server, by what is known of it: in words, for `highwater server probe`.

use crate::remote::abilities::{Can, Known, LinkOrder};

/// One thing that rounds do in a way of their own with each server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Driven {
    /// For programs.
    pub(super) key: &'static str,
    /// For people.
    pub(super) label: &'static str,
    /// What is done.
    pub(super) how: &'static str,
}

/// What rounds do. Where something is unknown they find out as they go, and say here what they try first.
pub(super) fn driven(known: &Known) -> Vec<Driven> {
    let row = |key, label, how| Driven { key, label, how };
    vec![
        row("requests", "requests", requests(known.keeps_order)),
        row("replacing", "replacing", replacing(known.posix_rename)),
        row("durability", "durability", durability(known.fsync, known.fsync_dir)),
        row("large_files", "large files", large_files(known.two_handles, known.write_at)),
        row("times", "times", times(known.keeps_mtime)),
        row("links", "links", links(known)),
        row("room", "room", room(known.statvfs)),
    ]
}

fn requests(keeps_order: Can) -> &'static str {
    match keeps_order {
        Can::Yes => "sent on without waiting; a rename only after every answer was OK",
        Can::Unknown | Can::No => "each step of a file waits for the one before; many files at once",
    }
}

fn replacing(posix_rename: Can) -> &'static str {
    match posix_rename {
        Can::Yes => "the new one is renamed over the old one, in one step",
        Can::Unknown => {
            "the new one is renamed over the old one; if that fails, the old one is moved aside first"
        }
        Can::No => "the old one is moved aside first: for a moment nothing has the name",
    }
}

fn durability(fsync: Can, fsync_dir: Can) -> &'static str {
    match (fsync, fsync_dir) {
        (Can::No, _) => "cannot be asked for: a power cut over there may undo what was done",
        (_, Can::No) => "files are synced before they get their names, folders cannot be",
        (Can::Unknown, _) => "files are synced before they get their names, if the server can; folders too",
        (Can::Yes, _) => "files are synced before they get their names, and their folders after",
    }
}

fn large_files(two_handles: Can, write_at: Can) -> &'static str {
    match (two_handles, write_at) {
        (Can::No, _) | (_, Can::No) => "written over one channel",
        (Can::Yes, _) => "written over several channels at once",
        (Can::Unknown, _) => "written over several channels at once, if the first one proves that it works",
    }
}

fn times(keeps_mtime: Can) -> &'static str {
    match keeps_mtime {
        Can::Yes | Can::Unknown => "set on every file, in whole seconds",
        Can::No => "the server keeps its own, which are recorded instead",
    }
}

fn links(known: &Known) -> &'static str {
    match known.link_order {
        _ if known.keeps_links == Can::No => "not carried: the server follows them",
        LinkOrder::None => "not carried: the server makes none",
        LinkOrder::Unknown => "carried as links, once a trial shows in which order the server takes names",
        LinkOrder::Openssh | LinkOrder::Draft => "carried as links",
    }
}

fn room(statvfs: Can) -> &'static str {
    match statvfs {
        Can::Yes => "looked at before much is sent",
        Can::Unknown | Can::No => "not told: a full disk shows when a write fails",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_can_do_decides_how_it_is_driven() {
        let check = |known: Known, key: &str, part: &str| {
            let found = driven(&known).into_iter().find(|row| row.key == key).unwrap();
            assert!(found.how.contains(part), "{found:?}");
        };
        let known = Known::default;
        check(known(), "requests", "waits for the one before");
        check(Known { keeps_order: Can::Yes, ..known() }, "requests", "without waiting");
        check(Known { posix_rename: Can::No, ..known() }, "replacing", "moved aside first");
        check(Known { fsync: Can::No, ..known() }, "durability", "cannot be asked for");
        check(Known { fsync: Can::Yes, fsync_dir: Can::No, ..known() }, "durability", "folders cannot be");
        check(Known { write_at: Can::No, two_handles: Can::Yes, ..known() }, "large_files", "one channel");
        check(Known { keeps_mtime: Can::No, ..known() }, "times", "recorded instead");
        check(Known { link_order: LinkOrder::None, ..known() }, "links", "not carried");
        check(Known { keeps_links: Can::No, ..known() }, "links", "follows them");
        check(Known { statvfs: Can::Yes, ..known() }, "room", "before much is sent");
    }
}
