UPDATE jobs SET
    near_device = ?2,
    near_inode = ?3,
    far_root = ?4,
    generation = ?5,
    pending_generation = ?6,
    last_audit_ns = ?7,
    next_due_ns = ?8,
    halted = ?9,
    paused = ?10,
    accept_deletes = ?11
WHERE id = ?1
