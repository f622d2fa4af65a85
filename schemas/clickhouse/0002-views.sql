-- Views. `exact_usage` is the one answer to "how much": the usage API, quotas, seals and invoices select from it,
-- and nobody else knows of shards.

-- How far each shard of a tenant has come and which rebuild of it is read. Parameter: tenant.
CREATE VIEW shard_state AS
SELECT
  shard,
  progress,
  last_known_hour,
  version,
  run,
  built_at,
  progress > covered AS dirty
FROM (
  SELECT shard, sum(next) AS progress, max(hour) AS last_known_hour
  FROM (
    SELECT shard, log, partition, max(next_offset) AS next, max(known_hour) AS hour
    FROM shard_changes WHERE tenant = {tenant:UInt32}
    GROUP BY shard, log, partition
  )
  GROUP BY shard
) AS changes
LEFT JOIN (
  SELECT
    shard,
    max(shard_heads.version) AS version,
    argMax(run, (shard_heads.version, shard_heads.built_at)) AS run,
    argMax(covered, (shard_heads.version, covered)) AS covered,
    max(shard_heads.built_at) AS built_at
  FROM shard_heads WHERE tenant = {tenant:UInt32}
  GROUP BY shard
) AS heads USING (shard);

-- Usage rows of a tenant among the identities whose first copy was known before as_of_ms. Clean shards come from their
-- rollup; live ones (dirty, not yet built with the meter, or changed in the hour of as_of_ms) from their events.
-- Which shards are live is one scalar, computed once for both branches, so no shard is read twice or not at all.
-- Parameters: tenant, meter ('*' all, '' every event once), as_of_ms, shards (not empty: those, from their events).
CREATE VIEW usage_rows AS
WITH
  fromUnixTimestamp64Milli({as_of_ms:Int64}, 'UTC') AS as_of,
  (
    SELECT groupArray((meter, aggregation, value_path, group_paths, event_type, revision))
    FROM meters FINAL WHERE tenant = {tenant:UInt32} AND {meter:String} IN ('*', meter)
  ) AS definitions,
  (
    SELECT groupArray(shard) FROM shard_state(tenant = {tenant:UInt32})
    WHERE dirty
      OR version < bitShiftLeft(toUInt64((
        SELECT max(revision) FROM meters WHERE tenant = {tenant:UInt32} AND {meter:String} IN ('*', meter)
      )), 40)
      OR (as_of > toStartOfHour(as_of) AND last_known_hour >= toStartOfHour(as_of))
  ) AS live
SELECT meter, shard, subject, bucket, group_values, known_hour, quantity, events, digest
FROM usage_rollup
WHERE tenant = {tenant:UInt32} AND {meter:String} IN ('*', meter)
  AND empty({shards:Array(UInt64)})
  AND known_hour < toStartOfHour(as_of)
  AND shard NOT IN live
  AND (shard, run) IN (SELECT shard, run FROM shard_state(tenant = {tenant:UInt32}))
UNION ALL
SELECT
  definition.1 AS meter,
  shard,
  if(definition.1 = '', '', first.2) AS subject,
  if(definition.1 = '', toStartOfDay(first.3), toStartOfMinute(first.3)) AS bucket,
  arrayMap(
    path -> JSONExtractString(arrayFold((json, key) -> JSONExtractRaw(json, key), path, first.4)),
    definition.4
  ) AS group_values,
  toStartOfHour(first_known_at) AS known_hour,
  -- A quantity as the edge takes it: a decimal not below 0 with at most 26 and 12 digits. Only events older than
  -- their meter can hold anything else, and that counts 0. Sums of many need more room than one value.
  if(
    definition.2 = 'count',
    toDecimal256(1, 12),
    arrayMap(
      raw -> multiIf(
        match(raw, '^"\\d{1,26}(\\.\\d{1,12})?"$'), toDecimal256OrZero(substring(raw, 2, length(raw) - 2), 12),
        match(raw, '^\\d') AND toDecimal256OrZero(raw, 12) = toDecimal256OrZero(raw, 40), toDecimal256OrZero(raw, 12),
        toDecimal256(0, 12)),
      [arrayFold((json, key) -> JSONExtractRaw(json, key), definition.3, first.4)]
    )[1]
  ) AS quantity,
  toUInt64(1) AS events,
  identity_hash AS digest
FROM (
  SELECT
    shard,
    reinterpretAsUInt128(sipHash128Reference(tenant, source, id)) AS identity_hash,
    argMax((toString(type), subject, time, data), version) AS first,
    min(known_at) AS first_known_at
  FROM events
  WHERE tenant = {tenant:UInt32}
    AND shard IN if(empty({shards:Array(UInt64)}), live, {shards:Array(UInt64)})
    AND known_at < as_of
  GROUP BY tenant, shard, source, id
)
ARRAY JOIN arrayFilter(
  definition -> definition.1 = '' OR definition.5 = first.1,
  arrayConcat(
    definitions,
    if({meter:String} IN ('*', ''), [('', 'count', CAST([], 'Array(String)'), CAST([], 'Array(Array(String))'), '', toUInt32(0))], [])
  )
) AS definition;

-- Exact usage of one meter per subject, group and minute. Parameters: tenant, meter, from_ms, to_ms (half-open, whole
-- minutes), as_of_ms (known before; the year 2100 for "now").
CREATE VIEW exact_usage AS
SELECT subject, bucket, group_values, quantity, events, digest
FROM usage_rows(tenant = {tenant:UInt32}, meter = {meter:String}, as_of_ms = {as_of_ms:Int64}, shards = [])
WHERE bucket >= toDateTime(intDiv({from_ms:Int64}, 1000), 'UTC') AND bucket < toDateTime(intDiv({to_ms:Int64}, 1000), 'UTC');

-- Identities that came with more than one payload: the first copy counts, the others are listed. A time that the
-- emitter did not give cannot contradict. Copies alike in payload are one, whether their rows were merged yet or not:
-- hence FINAL, which keeps the first of them. `latest` is the payload that came last. Parameter: tenant.
CREATE VIEW event_conflicts AS
SELECT
  source,
  id,
  argMax((toString(type), subject, time, data, known_at), version) AS first,
  argMin((toString(type), subject, time, data, known_at), version) AS latest,
  count() AS payloads
FROM events FINAL
WHERE tenant = {tenant:UInt32}
GROUP BY shard, source, id
HAVING uniqExact(type, subject, data) > 1 OR uniqExactIf(time, time_given) > 1;
