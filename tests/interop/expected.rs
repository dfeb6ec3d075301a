//! What a peer cannot do, and why: such a cell must fail, and say this.

/// Cells that fail for one reason.
pub struct Lacks {
    /// The peer by its name on the command line.
    pub peer: &'static str,
    /// Why, for the table.
    pub why: &'static str,
    /// The checks by their names, and what each failure says.
    pub checks: &'static [(&'static str, &'static str)],
}

/// What is said of an ability that is not there.
const NOT_YES: &str = "assertion `left == right` failed";

/// A server that carries out requests side by side.
const NO_ORDER: &[(&str, &str)] = &[("probe: requests are kept in order", NOT_YES)];

const SIDE_BY_SIDE: &str = "one request may overtake another: each step of a file waits for the one before";

/// A server that opens no folders.
const NO_FOLDERS: &[(&str, &str)] = &[("probe: fsync of folders", NOT_YES)];

const NAMES_MAY_BE_LOST: &str =
    "folders cannot be synced: after a power cut over there a name that was just given may be missing";

/// What is said of an ability that a check of the contract asks for.
const NOT_REFUSED: &str = "this had to be refused";

/// What is said of links where there are none.
const NO_LINKS: &str = "the server has no symbolic links";

/// What is said of links that would be followed.
const FOLLOWS: &str = "the server follows symbolic links";

/// A server of whose log this cannot be taken.
const KEYS: &[(&str, &str)] = &[("keys are exchanged anew in the middle of it", "keys were exchanged")];

const SAYS_NOTHING_OF_KEYS: &str = "does not tell whether keys were exchanged anew";

/// What is said of a client that is asked for what it has not.
const NO_COMMAND: &str = "this client has no command";

/// All of them.
pub const LACKS: &[Lacks] = &[
    Lacks { peer: "proftpd", why: SIDE_BY_SIDE, checks: NO_ORDER },
    Lacks { peer: "proftpd", why: NAMES_MAY_BE_LOST, checks: NO_FOLDERS },
    Lacks { peer: "proftpd", why: SAYS_NOTHING_OF_KEYS, checks: KEYS },
    Lacks {
        peer: "proftpd",
        why: "follows links where it should tell or rename them: they are not carried, and are reported",
        checks: &[
            ("push: all goes well, and every file is read back", FOLLOWS),
            ("push: once more does nothing", FOLLOWS),
            ("push: links of all kinds, as links", "became nothing"),
            ("pull: links come back", "starts_with(\"link\")"),
            ("files, folders and links take each other's places", FOLLOWS),
            ("a link gets another target", FOLLOWS),
            ("deletes of a folder take all that is in it", FOLLOWS),
        ],
    },
    Lacks { peer: "rclone", why: SIDE_BY_SIDE, checks: NO_ORDER },
    Lacks {
        peer: "rclone",
        why: "has no links: they are reported",
        checks: &[
            ("probe: symbolic links", "links: none"),
            ("place_replaces_files_and_links", NO_LINKS),
            ("links_come_back_as_bytes", NO_LINKS),
            ("links_are_never_followed", NO_LINKS),
            ("moving_aside_never_replaces", NO_LINKS),
            ("push: all goes well, and every file is read back", NO_LINKS),
            ("push: once more does nothing", NO_LINKS),
            ("push: links of all kinds, as links", "became nothing"),
            ("pull: links come back", "starts_with(\"link\")"),
            ("files, folders and links take each other's places", NO_LINKS),
            ("a link gets another target", NO_LINKS),
            ("deletes of a folder take all that is in it", NO_LINKS),
        ],
    },
    Lacks {
        peer: "rclone",
        why: "OPEN for writing makes the file and empties it, and no FSETSTAT shortens it: what was cut off \
              starts again",
        checks: &[
            ("absence_is_said_and_not_guessed", NOT_REFUSED),
            ("staging_never_replaces", NOT_REFUSED),
            ("finish_cuts_off_what_is_too_long", "instead of 700"),
            ("a_staged_file_can_be_gone_on_with", NOT_YES),
            ("a push that is cut off goes on by itself", "sent again from the start"),
            ("a push that was killed goes on where it was", "nothing was kept"),
            ("a staged file that was damaged is not gone on with", "one staged file was expected"),
        ],
    },
    Lacks {
        peer: "rclone",
        why: "writes to the disk when a file is closed, after a cut too: what was staged may come up again, until \
              it is swept",
        checks: &[("a cut among many small files loses none", "this stays staged")],
    },
    Lacks {
        peer: "rclone",
        why: "keeps no modes, and of times neither 1970's first second nor those of folders",
        checks: &[
            ("metadata_is_kept", "mode 644"),
            ("push: modes of files", "became 644"),
            ("push: modes of folders", "became 755"),
            ("push: times of files, from 1970 to beyond 2038", "2 differ: times/0: 0 became"),
            ("push: times of folders", "differ: times"),
            ("a first push makes the root and its parents", "differ:"),
            ("pull: times come back", " differ: "),
            ("a change of mode alone sends no content", "mode 750"),
        ],
    },
    Lacks {
        peer: "rclone",
        why: "has other characters on the disk for control characters, and does not find all of them again: those \
              are reported",
        checks: &[
            ("every_name_comes_back_as_it_was_given", NOT_YES),
            ("push: names with line feeds, tabs, escapes", "5 differ: names/"),
            ("push: names that shells trip over", "1 differ: names/esc"),
            ("pull: names and contents come back", "differ: names/\\x01"),
            ("pull: modes come back", "differ: names/\\x01"),
        ],
    },
    Lacks {
        peer: "rclone",
        why: "shows a folder that it may not read as empty, and its files as not there: pulls with deletes take \
              them to the trash",
        checks: &[
            ("a folder that cannot be listed deletes nothing", "\"deleted\": 2"),
            ("a folder that may not be entered is told, the rest arrives", "(Some(\"ok\"), 0)"),
        ],
    },
    Lacks {
        peer: "rclone",
        why: "says of what it may not read or write only that it failed",
        checks: &[
            ("a folder that may not be written is told, the rest arrives", "\"path\": \"locked/in\""),
            ("a file that may not be read is told, the rest arrives", "(\"failed\", \"secret\")"),
        ],
    },
    Lacks {
        peer: "rclone",
        why: "lets a file that is replaced be read on as the new one: a pull reads it again",
        checks: &[("a_file_that_is_open_survives_being_replaced", NOT_YES)],
    },
    Lacks {
        peer: "rclone",
        why: "has no fsync, and tells of free space nothing that can be used",
        checks: &[
            ("probe: fsync of files", NOT_YES),
            ("probe: fsync of folders", NOT_YES),
            ("free space is told", "the server tells of free space"),
        ],
    },
    Lacks {
        peer: "rclone",
        why: "MKDIR of a folder that is there is answered OK, and REMOVE takes empty folders",
        checks: &[
            ("folders_are_made_once_and_removed_empty", NOT_REFUSED),
            ("files_are_removed_and_folders_are_not_files", NOT_REFUSED),
        ],
    },
    Lacks {
        peer: "rclone",
        why: "lets in whoever has the key, under any name",
        checks: &[("nobody logs in as somebody who is not there", "\"result\": \"ok\"")],
    },
    Lacks { peer: "rclone", why: SAYS_NOTHING_OF_KEYS, checks: KEYS },
    Lacks { peer: "asyncssh", why: SIDE_BY_SIDE, checks: NO_ORDER },
    Lacks { peer: "asyncssh", why: NAMES_MAY_BE_LOST, checks: NO_FOLDERS },
    Lacks { peer: "ssh2", why: SIDE_BY_SIDE, checks: NO_ORDER },
    Lacks {
        peer: "ssh2",
        why: "has no extensions: no rename over a file (the old one is moved aside first), no fsync, no free space",
        checks: &[
            ("probe: rename over a file", NOT_YES),
            ("probe: fsync of files", NOT_YES),
            ("probe: fsync of folders", NOT_YES),
            ("probe: free space", NOT_YES),
            ("free space is told", "the server tells of free space"),
        ],
    },
    Lacks {
        peer: "ssh2",
        why: "takes names and links for UTF-8 and would put other characters where they are not: such are not carried, and are \
              reported",
        checks: &[
            ("every_name_comes_back_as_it_was_given", NOT_YES),
            ("links_come_back_as_bytes", "the server changes such names"),
            ("push: all goes well, and every file is read back", "ENAMETOOLONG"),
            ("push: once more does nothing", "ENAMETOOLONG"),
            ("push: names that are not UTF-8", "differ: names/"),
            ("push: names of 255 bytes", "1 differ: names/\\xe9"),
            ("push: links of all kinds, as links", "2 differ: links/odd"),
        ],
    },
    Lacks {
        peer: "scp",
        why: "copies, and nothing else",
        checks: &[
            ("client: half a file that was put is gone on with", NO_COMMAND),
            ("client: half a file that was got is gone on with", NO_COMMAND),
            ("client: a file is renamed", NO_COMMAND),
            ("client: a file is removed", NO_COMMAND),
            ("client: folders are made and removed", NO_COMMAND),
            ("client: a link is made", NO_COMMAND),
            ("client: a mode is set", NO_COMMAND),
            ("client: 5,000 names are listed", NO_COMMAND),
        ],
    },
    Lacks {
        peer: "rclone-client",
        why: "starts files again from their beginning, and has no links and modes",
        checks: &[
            ("client: half a file that was put is gone on with", NO_COMMAND),
            ("client: half a file that was got is gone on with", NO_COMMAND),
            ("client: a link is made", NO_COMMAND),
            ("client: a mode is set", NO_COMMAND),
        ],
    },
    Lacks {
        peer: "asyncssh-client",
        why: "sends the names of SYMLINK as the draft has them, but to servers that call themselves OpenSSH",
        checks: &[("client: a link is made", "NotFound")],
    },
];

/// Cells that fail by chance only: that one of them passes is no failure.
const BY_CHANCE: &[(&str, &str)] = &[
    ("rclone", "a cut among many small files loses none"),
    ("rclone", "a push that is cut off goes on by itself"),
    ("rclone", "pull: times come back"),
    ("rclone", "a first push makes the root and its parents"),
];

/// Whether this cell may pass although it is expected to fail.
pub fn may_pass(peer: &str, check: &str) -> bool {
    BY_CHANCE.contains(&(peer, check))
}

/// Why this cell is expected to fail, and what it says then.
pub fn lack(peer: &str, check: &str) -> Option<(&'static str, &'static str)> {
    LACKS.iter().filter(|lacks| lacks.peer == peer).find_map(|lacks| {
        let (_, says) = lacks.checks.iter().find(|(name, _)| *name == check)?;
        Some((lacks.why, *says))
    })
}
