SELECT path, kind,
       near_size, near_mtime, near_mtime_ns, near_mode, near_ctime, near_ctime_ns, near_inode,
       far_size, far_mtime, far_mtime_ns, far_mode, far_ctime, far_ctime_ns, far_inode,
       hash, link, level, round, unsettled
FROM base
