-- The round with place ?2 counted from the newest, and all before it; their problems go along.
DELETE FROM rounds
WHERE job = ?1
  AND id <= (SELECT id FROM rounds WHERE job = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)
