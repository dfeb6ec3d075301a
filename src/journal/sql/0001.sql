-- The first schema of the journal.
--
-- Paths below a root are BLOBs in key form: the bytes of the name with NUL for the slash, so that plain
-- byte order is the order of a walk. What a file system said of a moment is two columns, seconds since
-- 1970 (may be negative) and nanoseconds after that; a moment of our own clock is one column, nanoseconds
-- since 1970. Sizes, inodes and devices are 64 unsigned bits kept as the same 64 bits signed.
-- Kinds: 1 file, 2 folder, 3 symbolic link, 4 anything else. Levels: 1 ack, 2 sample, 3 full.
-- The CHECKs let quick_check find a row that nobody could have written.


-- Single facts about this agent and its journal.
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY, -- 'agent' is who we are: 32 hexadecimal digits
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;


-- A job, and what must be remembered of it between rounds. Never removed: a job that left the
-- configuration and comes back goes on where it was.
CREATE TABLE jobs (
    id                 INTEGER PRIMARY KEY,
    name               TEXT    NOT NULL UNIQUE,
    near_device        INTEGER,                    -- identity of the near root; NULL before the first round
    near_inode         INTEGER,
    far_root           TEXT,                       -- random id in the far root's root.json; NULL if none
    generation         INTEGER NOT NULL DEFAULT 0, -- rounds that changed the far side, as we counted them
    pending_generation INTEGER,                    -- being written to the far side; NULL when it is there
    last_audit_ns      INTEGER,                    -- when the far side was last looked at as a whole
    last_success_ns    INTEGER,                    -- end of the last round that ended ok
    next_due_ns        INTEGER,                    -- when the schedule wants the next round
    halted             TEXT,                       -- why a person must look; NULL: not halted
    paused             INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    accept_deletes     INTEGER NOT NULL DEFAULT 0 CHECK (accept_deletes IN (0, 1)), -- for one round
    base_files         INTEGER NOT NULL DEFAULT 0, -- files and links in base, kept by the triggers below
    placed_round       INTEGER NOT NULL DEFAULT 0, -- the last round that placed or removed something
    synced_round       INTEGER NOT NULL DEFAULT 0  -- up to this round everything placed is durable
) STRICT;


-- The last state both sides agreed on, one row per path: the merge base. What a kind does not need is
-- NULL or zero and takes no room. Everything a look at each side saw is kept as it was seen.
CREATE TABLE base (
    job           INTEGER NOT NULL REFERENCES jobs (id),
    path          BLOB    NOT NULL,
    kind          INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),
    near_size     INTEGER NOT NULL, -- bytes
    near_mtime    INTEGER NOT NULL,
    near_mtime_ns INTEGER NOT NULL CHECK (near_mtime_ns BETWEEN 0 AND 4294967295),
    near_mode     INTEGER NOT NULL CHECK (near_mode BETWEEN 0 AND 4294967295), -- permission bits
    near_ctime    INTEGER,          -- NULL: that side has none
    near_ctime_ns INTEGER CHECK (near_ctime_ns BETWEEN 0 AND 4294967295),
    near_inode    INTEGER,          -- NULL: that side has none
    far_size      INTEGER NOT NULL,
    far_mtime     INTEGER NOT NULL,
    far_mtime_ns  INTEGER NOT NULL CHECK (far_mtime_ns BETWEEN 0 AND 4294967295),
    far_mode      INTEGER NOT NULL CHECK (far_mode BETWEEN 0 AND 4294967295),
    far_ctime     INTEGER,
    far_ctime_ns  INTEGER CHECK (far_ctime_ns BETWEEN 0 AND 4294967295),
    far_inode     INTEGER,
    hash          BLOB CHECK (length(hash) = 32), -- BLAKE3 of a file's content; NULL if never read whole
    link          BLOB,             -- where a symbolic link points; NULL for all else
    level         INTEGER CHECK (level BETWEEN 1 AND 3), -- how well the content was proved; NULL: not at all
    round         INTEGER,          -- that placed it at the target; NULL: it was found there
    unsettled     INTEGER NOT NULL CHECK (unsettled IN (0, 1)), -- 1: look again though nothing seems to have changed
    PRIMARY KEY (job, path)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER base_put AFTER INSERT ON base WHEN new.kind IN (1, 3) BEGIN
    UPDATE jobs SET base_files = base_files + 1 WHERE id = new.job;
END;

CREATE TRIGGER base_forgotten AFTER DELETE ON base WHEN old.kind IN (1, 3) BEGIN
    UPDATE jobs SET base_files = base_files - 1 WHERE id = old.job;
END;

CREATE TRIGGER base_changed AFTER UPDATE OF kind ON base
WHEN (old.kind IN (1, 3)) <> (new.kind IN (1, 3)) BEGIN
    UPDATE jobs SET base_files = base_files + iif(new.kind IN (1, 3), 1, -1) WHERE id = new.job;
END;


-- What is about to be renamed to its final name: written before the RENAME is sent, removed with the
-- base row that records it. A row left over after a crash says which of two versions may stand there.
CREATE TABLE intents (
    job               INTEGER NOT NULL REFERENCES jobs (id),
    path              BLOB    NOT NULL,
    staged            BLOB    NOT NULL, -- the temporary's path below the target root
    kind              INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),
    source_size       INTEGER NOT NULL, -- the source version that was staged
    source_mtime      INTEGER NOT NULL,
    source_mtime_ns   INTEGER NOT NULL CHECK (source_mtime_ns BETWEEN 0 AND 4294967295),
    source_mode       INTEGER NOT NULL CHECK (source_mode BETWEEN 0 AND 4294967295),
    source_ctime      INTEGER,
    source_ctime_ns   INTEGER CHECK (source_ctime_ns BETWEEN 0 AND 4294967295),
    source_inode      INTEGER,
    finished_size     INTEGER NOT NULL, -- what will stand at the target
    finished_mtime    INTEGER NOT NULL,
    finished_mtime_ns INTEGER NOT NULL CHECK (finished_mtime_ns BETWEEN 0 AND 4294967295),
    finished_mode     INTEGER NOT NULL CHECK (finished_mode BETWEEN 0 AND 4294967295),
    finished_ctime    INTEGER,
    finished_ctime_ns INTEGER CHECK (finished_ctime_ns BETWEEN 0 AND 4294967295),
    finished_inode    INTEGER,
    hash              BLOB CHECK (length(hash) = 32),
    link              BLOB,
    level             INTEGER CHECK (level BETWEEN 1 AND 3),
    unsettled         INTEGER NOT NULL CHECK (unsettled IN (0, 1)),
    PRIMARY KEY (job, path)
) STRICT, WITHOUT ROWID;


-- Large files that are under way or were cut off. A staged name belongs to one source version for ever.
CREATE TABLE transfers (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    job             INTEGER NOT NULL REFERENCES jobs (id),
    path            BLOB    NOT NULL,
    staged          BLOB    NOT NULL,
    source_size     INTEGER NOT NULL, -- the source's fingerprint
    source_mtime    INTEGER NOT NULL,
    source_mtime_ns INTEGER NOT NULL CHECK (source_mtime_ns BETWEEN 0 AND 4294967295),
    source_mode     INTEGER NOT NULL CHECK (source_mode BETWEEN 0 AND 4294967295),
    source_ctime    INTEGER,
    source_ctime_ns INTEGER CHECK (source_ctime_ns BETWEEN 0 AND 4294967295),
    source_inode    INTEGER,
    offset          INTEGER NOT NULL, -- bytes the target acknowledged without a gap
    pieces          INTEGER NOT NULL, -- pieces of 128 KiB that prefix covers
    prefix          BLOB CHECK (length(prefix) = 32) -- hash of those pieces; NULL while there are none
) STRICT;

CREATE INDEX transfers_of_job ON transfers (job, path);


-- The rounds of each job: how each ended and what it did. Bytes are bytes of file content. The last
-- 1,000 of each job are kept.
CREATE TABLE rounds (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    job             INTEGER NOT NULL REFERENCES jobs (id),
    started_ns      INTEGER NOT NULL,
    ended_ns        INTEGER,                    -- NULL: under way, or cut off by a crash
    mode            TEXT,                       -- push, pull: which way it carried
    ending          TEXT CHECK (ending IN ('ok', 'problems', 'held', 'failed', 'halted')),
    elapsed_ns      INTEGER NOT NULL DEFAULT 0, -- by a clock that never jumps
    message         TEXT,                       -- why it failed, halted or holds
    exit_code       INTEGER NOT NULL DEFAULT 0 CHECK (exit_code BETWEEN 0 AND 255),
    files_sent      INTEGER NOT NULL DEFAULT 0,
    files_received  INTEGER NOT NULL DEFAULT 0,
    bytes_sent      INTEGER NOT NULL DEFAULT 0,
    bytes_received  INTEGER NOT NULL DEFAULT 0,
    bytes_verified  INTEGER NOT NULL DEFAULT 0,
    bytes_resumed   INTEGER NOT NULL DEFAULT 0,
    renamed         INTEGER NOT NULL DEFAULT 0,
    deleted         INTEGER NOT NULL DEFAULT 0,
    displaced       INTEGER NOT NULL DEFAULT 0,
    "foreign"       INTEGER NOT NULL DEFAULT 0,
    unchanged       INTEGER NOT NULL DEFAULT 0,
    held            INTEGER NOT NULL DEFAULT 0,
    verified_ack    INTEGER NOT NULL DEFAULT 0, -- files proved at each level
    verified_sample INTEGER NOT NULL DEFAULT 0,
    verified_full   INTEGER NOT NULL DEFAULT 0,
    problems        INTEGER NOT NULL DEFAULT 0, -- how many there were, listed or not
    recovered       INTEGER NOT NULL DEFAULT 0,
    listed          INTEGER NOT NULL DEFAULT 0  -- rows this round put into the table problems
) STRICT;

CREATE INDEX rounds_of_job ON rounds (job, id);


-- What rounds survived and what they put right, in the order of the report. Of each list the first
-- 10,000 are kept, with a last row that says how many more there were; of each job the latest 100,000.
CREATE TABLE problems (
    round     INTEGER NOT NULL REFERENCES rounds (id) ON DELETE CASCADE,
    place     INTEGER NOT NULL, -- place in the round's lists, from 0
    recovered INTEGER NOT NULL CHECK (recovered IN (0, 1)), -- 1: put right on the way
    path      BLOB    NOT NULL,
    operation TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    message   TEXT    NOT NULL,
    PRIMARY KEY (round, place)
) STRICT, WITHOUT ROWID;


-- Deletes as they were done, for the guard that counts them over a sliding window. Kept for two days.
CREATE TABLE deletions (
    id        INTEGER PRIMARY KEY,
    job       INTEGER NOT NULL REFERENCES jobs (id),
    at_ns     INTEGER NOT NULL,
    count     INTEGER NOT NULL, -- files and links
    base_size INTEGER NOT NULL  -- files and links in base when they were planned
) STRICT;

CREATE INDEX deletions_of_job ON deletions (job, at_ns);


-- What lies in the trash on the target side.
CREATE TABLE trash (
    job   INTEGER NOT NULL REFERENCES jobs (id),
    round TEXT    NOT NULL, -- name of the round's folder in the trash
    path  BLOB    NOT NULL, -- where it was, below the root
    why   INTEGER NOT NULL CHECK (why IN (1, 2)), -- 1 deleted at the source, 2 displaced by our version
    at_ns INTEGER NOT NULL, -- when it was moved there
    size  INTEGER NOT NULL, -- bytes
    PRIMARY KEY (job, round, path)
) STRICT, WITHOUT ROWID;


-- What servers can do, as probed, per server identity.
CREATE TABLE servers (
    identity  TEXT NOT NULL PRIMARY KEY,
    abilities TEXT NOT NULL -- JSON
) STRICT, WITHOUT ROWID;


-- Host keys that a person accepted.
CREATE TABLE pins (
    host        TEXT    NOT NULL,
    port        INTEGER NOT NULL CHECK (port BETWEEN 0 AND 65535),
    key         TEXT    NOT NULL, -- the public key in base64
    key_type    TEXT    NOT NULL, -- ssh-ed25519, …
    fingerprint TEXT    NOT NULL, -- SHA256:…
    added_ns    INTEGER NOT NULL,
    PRIMARY KEY (host, port, key)
) STRICT, WITHOUT ROWID;


-- Paths that watcher or scan saw differ and no round has settled yet: one row per path, with a new and
-- higher number each time something is seen there.
CREATE TABLE changes (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    job  INTEGER NOT NULL REFERENCES jobs (id),
    path BLOB    NOT NULL,
    what INTEGER NOT NULL CHECK (what BETWEEN 1 AND 5), -- 1 created, 2 modified, 3 deleted, 4 metadata, 5 unknown
    seen INTEGER NOT NULL CHECK (seen IN (1, 2)),       -- 1 by a scan, 2 by the watcher
    UNIQUE (job, path)
) STRICT;

CREATE INDEX changes_in_order ON changes (job, seq);
