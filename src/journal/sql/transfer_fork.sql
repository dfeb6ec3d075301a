INSERT INTO transfers (
    job, path, staged,
    source_size, source_mtime, source_mtime_ns, source_mode, source_ctime, source_ctime_ns, source_inode,
    offset, pieces, prefix
)
SELECT job, path, ?2,
       source_size, source_mtime, source_mtime_ns, source_mode, source_ctime, source_ctime_ns, source_inode,
       offset, pieces, prefix
FROM transfers
WHERE id = ?1
