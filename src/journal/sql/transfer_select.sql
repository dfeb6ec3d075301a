SELECT id, path, staged,
       source_size, source_mtime, source_mtime_ns, source_mode, source_ctime, source_ctime_ns, source_inode,
       offset, pieces, prefix
FROM transfers
WHERE job = ?1
ORDER BY path, id
