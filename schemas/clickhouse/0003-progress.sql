-- The contiguous end of what is stored of a log, per partition; partitions without ranges are absent. Ranges may
-- overlap, or lie within each other, where something was stored twice.
-- Read by: aggregator (where reading goes on), ingest (whether usage has caught up). Parameter: log.
CREATE VIEW stored_ends AS
SELECT partition, min(reached) AS end
FROM (
  SELECT
    partition,
    max(next_offset) OVER (
      PARTITION BY partition ORDER BY first_offset, next_offset ROWS UNBOUNDED PRECEDING
    ) AS reached,
    leadInFrame(first_offset, 1, 18446744073709551615) OVER (
      PARTITION BY partition ORDER BY first_offset, next_offset
      ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    ) AS following
  FROM ingest_ranges FINAL WHERE log = {log:String}
)
WHERE following > reached
GROUP BY partition;
