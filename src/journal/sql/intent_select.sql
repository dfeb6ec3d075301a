SELECT path, staged, kind,
       source_size, source_mtime, source_mtime_ns, source_mode, source_ctime, source_ctime_ns, source_inode,
       finished_size, finished_mtime, finished_mtime_ns, finished_mode, finished_ctime, finished_ctime_ns,
       finished_inode,
       hash, link, level, unsettled
FROM intents
WHERE job = ?1
ORDER BY path
