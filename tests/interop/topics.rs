//! What the tables are about: every check says something of one topic.

/// A row of the table.
pub struct Topic {
    /// What it is called.
    pub title: &'static str,
    /// Parts of the names of its checks.
    parts: &'static [&'static str],
}

const fn topic(title: &'static str, parts: &'static [&'static str]) -> Topic {
    Topic { title, parts }
}

/// Of servers. A check belongs to the first that has a part of its name.
pub const OF_SERVERS: &[Topic] = &[
    topic(
        "logs in, host keys, strangers, keys exchanged anew",
        &["it starts", "host key", "a key that", "nobody", "exchanged anew"],
    ),
    topic(
        "names of any bytes, paths of 3,000",
        &[
            "names that",
            "names of",
            "names and",
            "every_name",
            "absence",
            "deep_paths",
            "in folders",
            "our_own",
        ],
    ),
    topic(
        "replaces a file in one step",
        &["rename over a file", "edited", "place_", "staging_never", "being_replaced"],
    ),
    topic("links", &["links", "a link "]),
    topic("modes", &["modes", "mode alone"]),
    topic("times, from 1970 to beyond 2038", &["times", "time alone", "metadata_is_kept"]),
    topic("goes on after cuts and kills", &["cut off", "a cut among", "killed", "damaged", "gone_on"]),
    topic(
        "sizes from nothing to 64 MiB",
        &["sizes", "64 MiB", "megabytes", "empty_file", "small_files", "shorter", "too_long", "reads_end"],
    ),
    topic("260 open files", &["200 files", "hundreds of files are opened"]),
    topic(
        "folders: of 50,000 names, empty, many at once",
        &[
            "50,000",
            "many folders",
            "big_folders",
            "hundreds of files in",
            "empty folders",
            "folders_are_made",
        ],
    ),
    topic(
        "several channels write one file, in any order",
        &["several channels", "two handles", "in any order", "writes_in_any_order"],
    ),
    topic("carries out requests as they were sent", &["kept in order"]),
    topic("fsync of files", &["fsync of files"]),
    topic("fsync of folders", &["fsync of folders"]),
    topic("tells of free space", &["free space"]),
    topic("full disks, no right to read or write", &["full disk", "may not be", "cannot be listed"]),
    topic("deletes, trash, guards", &["delete", "trash", "halts", "left alone", "removed", "moving_aside"]),
    topic("pushes and pulls otherwise", &[""]),
];

/// Of clients.
pub const OF_CLIENTS: &[Topic] = &[
    topic("puts and gets a tree", &["a tree is"]),
    topic("puts and gets 64 MiB", &["64 MiB"]),
    topic("goes on with half a file", &["half a file"]),
    topic("puts a file over another", &["over another"]),
    topic("keeps times", &["times"]),
    topic("sets a mode", &["a mode"]),
    topic("makes a link", &["a link"]),
    topic("renames, removes, makes folders", &["renamed", "removed"]),
    topic("lists 5,000 names", &["5,000"]),
    topic("tells of what is not there, gets nothing from outside", &["not there", "outside"]),
    topic("knows the host key and is known by its own", &["it starts", "not known", "host key"]),
];

/// Which topic of these a check belongs to, as an index.
pub fn topic_of(topics: &[Topic], check: &str) -> usize {
    let found = topics.iter().position(|topic| topic.parts.iter().any(|part| check.contains(part)));
    found.unwrap_or_else(|| panic!("the check {check:?} belongs to no topic: see topics.rs"))
}
