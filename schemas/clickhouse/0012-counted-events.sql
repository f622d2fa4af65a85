-- Prices that need single events, or what stands in them, read those that a meter counted; everything else reads
-- exact_usage. Nothing else changes. Written by: nobody. Read by: invoicer.

-- The events that a meter counted, one row each, among the identities whose first copy was known before as_of_ms: which
-- payload counts, the version of the meter, filter and value are those of usage_rows (0011), and what the rows come to is
-- what exact_usage says, for meters that add up. `version`: of the first copy; the higher it is the earlier it became
-- known. `properties`: what stands at the paths, as JSON; '' where nothing does. Only identities that may be of the
-- subjects are looked at: a replaced one may have become theirs, and whoever reads filters by subject.
-- Parameters: tenant, meter, as_of_ms, shards, subjects, paths (a JSON list of lists of keys).
CREATE OR REPLACE VIEW counted_events AS
WITH
  fromUnixTimestamp64Milli({as_of_ms:Int64}, 'UTC') AS as_of,
  JSONExtract({paths:String}, 'Array(Array(String))') AS asked_paths,
  (
    SELECT (
      groupArray(event_type), groupArray(effective_from), groupArray(effective_until), groupArray(kind),
      groupArray(paths), groupArray(number_count), groupArray(polynomials), groupArray(filter)
    )
    FROM (
      SELECT
        *,
        leadInFrame(effective_from, 1, toDateTime64('2200-01-01 00:00:00', 3, 'UTC')) OVER (
          PARTITION BY meter ORDER BY version ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        ) AS effective_until
      FROM (
        SELECT *, kind, paths, number_count, polynomials, filter FROM meter_versions FINAL
        WHERE tenant = {tenant:UInt32} AND meter = {meter:String}
      )
    )
  ) AS definitions
SELECT
  shard,
  payload.2 AS subject,
  payload.3 AS time,
  payload.5 AS version,
  if(computed > 0 AND computed < toDecimal256('1e26', 12), computed, toDecimal256(0, 12)) AS quantity,
  identity_hash AS digest,
  arrayMap(path -> arrayFold((json, key) -> JSONExtractRaw(json, key), path, payload.4), asked_paths) AS properties
FROM (
  SELECT
    *,
    multiIf(
      kind = 7, toDecimal256(1, 12),
      empty(results), numbers[1],
      arrayMax(results) >= toDecimal256('1e59', 12), toDecimal256(0, 12),
      length(results) = 1, results[1],
      -- Nothing here may fail for any event, whichever branch is its own: ClickHouse may compute them all.
      divideDecimal(
        if(abs(toFloat64(results[1])) >= abs(toFloat64(results[2])) * 1e27, toDecimal256(0, 12), results[1]),
        if(results[2] = 0, toDecimal256(1, 12), results[2]),
        12)
    ) AS computed
  FROM (
    SELECT
      *,
      -- 10^60 stands for what is no quantity: a factor that is none, or a product from 10^49 on.
      arrayMap(
        terms -> arraySum(arrayMap(
          term -> arrayFold(
            (product, number) -> if(
              product >= toDecimal256('1e59', 12) OR number <= toDecimal256('-2e40', 12)
                OR abs(toFloat64(product)) * abs(toFloat64(number)) >= 1e49,
              toDecimal256('1e60', 12),
              multiplyDecimal(
                if(abs(toFloat64(product)) * abs(toFloat64(number)) >= 1e49, toDecimal256(0, 12), product), number, 12)),
            arrayMap(
              place -> if(numbers[place] = toDecimal256('-1e40', 12), toDecimal256(0, 12), numbers[place]), term.2),
            term.1),
          terms)),
        meters.7[definition]
      ) AS results
    FROM (
      SELECT
        *,
        meters.8[definition] AS filter,
        -- A decimal as the edge takes it: at most 26 and 12 digits, not below 0; -1e40 where nothing stands, else -2e40.
        arrayMap(
          raw -> multiIf(
            match(raw, '^"\\d{1,26}(\\.\\d{1,12})?"$'), toDecimal256OrZero(substring(raw, 2, length(raw) - 2), 12),
            match(raw, '^\\d') AND toDecimal256OrZero(raw, 12) = toDecimal256OrNull(raw, 50),
            toDecimal256OrZero(raw, 12),
            toDecimal256(if(raw IN ('', 'null'), '-1e40', '-2e40'), 12)),
          arraySlice(raws, 1, meters.6[definition])
        ) AS numbers
      FROM (
        SELECT
          shard,
          payload,
          identity_hash,
          meters,
          definition,
          meters.4[definition] AS kind,
          arrayMap(
            path -> arrayFold((json, key) -> JSONExtractRaw(json, key), path, payload.4),
            meters.5[definition]
          ) AS raws
        FROM (
          SELECT
            shard,
            identity_hash,
            multiIf(
              empty(operations), first,
              settled.2.2 = 'tallyline.replace', (
                JSONExtractString(settled.2.3, 'type'),
                JSONExtractString(settled.2.3, 'subject'),
                parseDateTime64BestEffortOrZero(JSONExtractString(settled.2.3, 'time'), 3, 'UTC'),
                JSONExtractRaw(settled.2.3, 'data'),
                first.5
              ),
              ('', '', first.3, '', first.5)
            ) AS payload,
            definitions AS meters
          FROM (
            SELECT
              *,
              -- Operations in the order in which they became known: the ids that came, and the last that was new.
              if(
                empty(operations),
                (CAST([], 'Array(String)'), (toUInt128(0), '', '')),
                arrayFold(
                  (told, operation) -> if(
                    has(told.1, JSONExtractString(operation.3, 'operation')),
                    told,
                    (arrayPushBack(told.1, JSONExtractString(operation.3, 'operation')), operation)),
                  arrayReverseSort(operations),
                  (CAST([], 'Array(String)'), (toUInt128(0), '', ''))
                )
              ) AS settled
            FROM (
              SELECT
                shard,
                reinterpretAsUInt128(sipHash128Reference(tenant, source, id)) AS identity_hash,
                (
                  argMaxIf(toString(type), version, NOT operation),
                  argMaxIf(subject, version, NOT operation),
                  argMaxIf(time, version, NOT operation),
                  argMaxIf(data, version, NOT operation),
                  maxIf(version, NOT operation)
                ) AS first,
                groupArrayIf((version, toString(type), data), operation) AS operations
              FROM (SELECT *, startsWith(type, 'tallyline.') AS operation FROM events WHERE tenant = {tenant:UInt32})
              WHERE shard IN {shards:Array(UInt64)}
                AND known_at < as_of
                AND (shard, source, id) IN (
                  SELECT shard, source, id FROM events
                  WHERE tenant = {tenant:UInt32} AND shard IN {shards:Array(UInt64)}
                    AND (subject IN {subjects:Array(String)} OR type = 'tallyline.replace')
                )
              GROUP BY tenant, shard, source, id
              -- Of what only operations are known, nothing counts.
              HAVING first.5 > 0
            )
          )
        )
        ARRAY JOIN arrayFilter(
          (place, event_type, since, until) -> event_type = payload.1 AND payload.3 >= since AND payload.3 < until,
          arrayEnumerate(meters.1), meters.1, meters.2, meters.3
        ) AS definition
      )
    )
    WHERE empty(filter) OR arrayExists(
      clause -> arrayAll(
        condition -> condition.6 != (
          (numbers[condition.1] >= condition.3 AND numbers[condition.1] <= condition.4)
          OR (condition.5 AND raws[condition.1] NOT IN ('', 'null'))
          OR (
            notEmpty(condition.2)
            AND match(raws[condition.1], '^[-"0-9tf]')
            AND has(condition.2, multiIf(
              startsWith(raws[condition.1], '"'), JSONExtractString(raws[condition.1]),
              numbers[condition.1] >= 0, toString(numbers[condition.1]),
              raws[condition.1]))
          )),
        clause),
      filter)
  )
);
