INSERT INTO transfers (
    job, path, staged,
    source_size, source_mtime, source_mtime_ns, source_mode, source_ctime, source_ctime_ns, source_inode,
    offset, pieces, prefix
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0, 0, NULL)
