SELECT id, started_ns, ended_ns, mode, ending, elapsed_ns, message, exit_code,
       files_sent, files_received, bytes_sent, bytes_received, bytes_verified, bytes_resumed,
       renamed, deleted, displaced, "foreign", unchanged, held,
       verified_ack, verified_sample, verified_full,
       problems, recovered
FROM rounds
WHERE job = ?1
ORDER BY id DESC
LIMIT ?2
