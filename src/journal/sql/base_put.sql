INSERT INTO base VALUES (
    ?1, ?2, ?3,
    ?4, ?5, ?6, ?7, ?8, ?9, ?10,
    ?11, ?12, ?13, ?14, ?15, ?16, ?17,
    ?18, ?19, ?20, ?21, ?22
)
-- Not OR REPLACE: that would remove the old row without telling the triggers that count.
ON CONFLICT (job, path) DO UPDATE SET
    kind = excluded.kind,
    near_size = excluded.near_size,
    near_mtime = excluded.near_mtime,
    near_mtime_ns = excluded.near_mtime_ns,
    near_mode = excluded.near_mode,
    near_ctime = excluded.near_ctime,
    near_ctime_ns = excluded.near_ctime_ns,
    near_inode = excluded.near_inode,
    far_size = excluded.far_size,
    far_mtime = excluded.far_mtime,
    far_mtime_ns = excluded.far_mtime_ns,
    far_mode = excluded.far_mode,
    far_ctime = excluded.far_ctime,
    far_ctime_ns = excluded.far_ctime_ns,
    far_inode = excluded.far_inode,
    hash = excluded.hash,
    link = excluded.link,
    level = excluded.level,
    round = excluded.round,
    unsettled = excluded.unsettled
