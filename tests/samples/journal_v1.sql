-- A journal as schema 1 wrote it, with something in every table: `.dump` of the sqlite3 shell and the two
-- numbers that it leaves out. Once a release has written this schema nobody edits this file: it shows
-- that newer programs still read what is out there.
PRAGMA foreign_keys = off;
PRAGMA application_id = 0x48695761;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY, -- 'agent' is who we are: 32 hexadecimal digits
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES('agent','910a2dec89025cc1beeb8da1658eec67');
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
INSERT INTO jobs VALUES(1,'nightly',1,-1,'975835de1c9756cebfc846100bfc1e42',3,4,1772331300000000007,1772331360000000007,1772417700000000007,'the far root is missing',1,1,2,2,1);
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
INSERT INTO base VALUES(1,X'',2,5,1700000000,123456789,416,1700000001,5,4711,5,1700000000,0,416,NULL,NULL,NULL,NULL,NULL,NULL,1,0);
INSERT INTO base VALUES(1,X'61',2,5,1700000000,123456789,416,1700000001,5,4711,5,1700000000,0,416,NULL,NULL,NULL,NULL,NULL,NULL,1,0);
INSERT INTO base VALUES(1,X'610062',1,5,1700000000,123456789,416,1700000001,5,4711,5,1700000000,0,416,NULL,NULL,NULL,X'0da3cfa5f8b7fae9def4d324da969d3a3c03b023082b97c8a840a19482c25760',NULL,3,1,0);
INSERT INTO base VALUES(1,X'612d62',3,5,1700000000,123456789,416,1700000001,5,4711,5,1700000000,0,416,NULL,NULL,NULL,NULL,X'2e2e2f746f2fff',NULL,1,0);
INSERT INTO base VALUES(1,X'63',4,5,1700000000,123456789,416,1700000001,5,4711,5,1700000000,0,416,NULL,NULL,NULL,NULL,NULL,NULL,1,0);
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
INSERT INTO intents VALUES(1,X'61006e6577',X'2e68696768776174657200737461676500610062',1,5,1700000000,123456789,416,1700000001,5,4711,5,1700000000,0,416,NULL,NULL,NULL,X'3ae7d805f6789a6402acb70ad4096a85a56bf6804eaf25c0493ac697548d30b5',NULL,2,0);
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
INSERT INTO transfers VALUES(1,1,X'626967',X'2e6869676877617465722d31',1099511627776,1700000000,123456789,416,1700000001,5,4711,1048576,8,X'0707070707070707070707070707070707070707070707070707070707070707');
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
INSERT INTO rounds VALUES(1,1,1772331300000000007,1772331360000000007,'push','ok',60000000000,'message',0,1,0,0,0,0,0,0,0,0,0,0,0,0,0,1,1,1,2);
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
INSERT INTO problems VALUES(1,0,0,X'610062','read','permission-denied','one');
INSERT INTO problems VALUES(1,1,1,X'610062','read','permission-denied','two');
CREATE TABLE deletions (
    id        INTEGER PRIMARY KEY,
    job       INTEGER NOT NULL REFERENCES jobs (id),
    at_ns     INTEGER NOT NULL,
    count     INTEGER NOT NULL, -- files and links
    base_size INTEGER NOT NULL  -- files and links in base when they were planned
) STRICT;
INSERT INTO deletions VALUES(1,1,1772331300000000007,2,10);
CREATE TABLE trash (
    job   INTEGER NOT NULL REFERENCES jobs (id),
    round TEXT    NOT NULL, -- name of the round's folder in the trash
    path  BLOB    NOT NULL, -- where it was, below the root
    why   INTEGER NOT NULL CHECK (why IN (1, 2)), -- 1 deleted at the source, 2 displaced by our version
    at_ns INTEGER NOT NULL, -- when it was moved there
    size  INTEGER NOT NULL, -- bytes
    PRIMARY KEY (job, round, path)
) STRICT, WITHOUT ROWID;
INSERT INTO trash VALUES(1,'20260301T021500Z-1',X'676f6e65',2,1772331301000000007,5);
CREATE TABLE servers (
    identity  TEXT NOT NULL PRIMARY KEY,
    abilities TEXT NOT NULL -- JSON
) STRICT, WITHOUT ROWID;
INSERT INTO servers VALUES('SSH-2.0-OpenSSH_9.2','{}');
CREATE TABLE pins (
    host        TEXT    NOT NULL,
    port        INTEGER NOT NULL CHECK (port BETWEEN 0 AND 65535),
    key         TEXT    NOT NULL, -- the public key in base64
    key_type    TEXT    NOT NULL, -- ssh-ed25519, …
    fingerprint TEXT    NOT NULL, -- SHA256:…
    added_ns    INTEGER NOT NULL,
    PRIMARY KEY (host, port, key)
) STRICT, WITHOUT ROWID;
INSERT INTO pins VALUES('backup.example.org',22,'AAAA','ssh-ed25519','SHA256:x',1772331000000000007);
CREATE TABLE changes (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    job  INTEGER NOT NULL REFERENCES jobs (id),
    path BLOB    NOT NULL,
    what INTEGER NOT NULL CHECK (what BETWEEN 1 AND 5), -- 1 created, 2 modified, 3 deleted, 4 metadata, 5 unknown
    seen INTEGER NOT NULL CHECK (seen IN (1, 2)),       -- 1 by a scan, 2 by the watcher
    UNIQUE (job, path)
) STRICT;
INSERT INTO changes VALUES(1,1,X'61006e6577',1,2);
INSERT INTO changes VALUES(2,1,X'61',5,1);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('transfers',1);
INSERT INTO sqlite_sequence VALUES('rounds',1);
INSERT INTO sqlite_sequence VALUES('changes',2);
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
CREATE INDEX transfers_of_job ON transfers (job, path);
CREATE INDEX rounds_of_job ON rounds (job, id);
CREATE INDEX deletions_of_job ON deletions (job, at_ns);
CREATE INDEX changes_in_order ON changes (job, seq);
COMMIT;
