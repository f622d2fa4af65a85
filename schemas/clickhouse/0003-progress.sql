-- The contiguous end of what is stored of a log, per partition; partitions without ranges are absent.
-- Read by: aggregator (where reading goes on), ingest (whether usage has caught up). Parameter: log.
CREATE VIEW stored_ends AS
SELECT partition, min(next_offset) AS end
FROM (
  SELECT
    partition,
    next_offset,
    leadInFrame(first_offset, 1, 18446744073709551615) OVER (
      PARTITION BY partition ORDER BY first_offset, next_offset
      ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    ) AS following
  FROM ingest_ranges FINAL WHERE log = {log:String}
)
WHERE following > next_offset
GROUP BY partition;
