SELECT near_device, near_inode, far_root, generation, pending_generation, last_audit_ns, next_due_ns,
       halted, paused, accept_deletes
FROM jobs
WHERE id = ?1
