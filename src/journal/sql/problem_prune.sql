-- From the round on where the job's problems, counted from the newest, go beyond ?2.
DELETE FROM problems
WHERE round IN (
    SELECT id
    FROM (SELECT id, listed, sum(listed) OVER (ORDER BY id DESC) AS total FROM rounds WHERE job = ?1)
    WHERE listed > 0 AND total > ?2
)
