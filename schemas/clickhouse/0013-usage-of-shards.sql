-- The same answers for less planning: usage that is read by itself, and not beside a rollup. A view with parameters is planned
-- twice, so what it does not need costs twice. Columns and what they come to are as before. Rollups are read without a view
-- since then (schemas/clickhouse/exact-usage.clickhouse.ts); `usage_from_rollup` stays for processes of before.

-- As in 0009, with a column instead of an alias where a value is used twice, and no tuple around those of the first copy.
CREATE OR REPLACE VIEW usage_from_events AS
SELECT
  meter,
  shard,
  subject,
  bucket,
  group_values,
  known_hour,
  if(computed > 0 AND computed < toDecimal256('100000000000000000000000000', 12), computed, toDecimal256(0, 12)) AS quantity,
  toUInt64(1) AS events,
  identity_hash AS digest,
  '' AS item,
  toUInt256(0) AS last_key,
  toUInt64(0) AS operations
FROM (
  SELECT
    *,
    -- Most values are small whole numbers, which are read in a fraction of the time.
    multiIf(
      match(raw, '^\\d{1,18}$'), toDecimal256(toUInt64OrZero(raw), 12),
      match(raw, '^"\\d{1,26}(\\.\\d{1,12})?"$'), toDecimal256OrZero(substring(raw, 2, length(raw) - 2), 12),
      match(raw, '^\\d') AND toDecimal256OrZero(raw, 12) = toDecimal256OrZero(raw, 40), toDecimal256OrZero(raw, 12),
      toDecimal256(0, 12)
    ) AS computed
  FROM (
    SELECT
      definition.1 AS meter,
      shard,
      if(definition.1 = '', '', first_subject) AS subject,
      if(definition.1 = '', toStartOfDay(first_time), toStartOfMinute(first_time)) AS bucket,
      arrayMap(
        path -> JSONExtractString(arrayFold((json, key) -> JSONExtractRaw(json, key), path, data)),
        definition.6
      ) AS group_values,
      toDateTime(intDiv(bitShiftRight(bitNot(version), 84), 3600000) * 3600, 'UTC') AS known_hour,
      identity_hash,
      if(empty(definition.5), '1', arrayFold((json, key) -> JSONExtractRaw(json, key), definition.5, data)) AS raw
    FROM (
      SELECT
        shard,
        reinterpretAsUInt128(sipHash128Reference(tenant, source, id)) AS identity_hash,
        type,
        subject AS first_subject,
        time AS first_time,
        data,
        version
      FROM events
      WHERE tenant = {tenant:UInt32} AND shard IN {shards:Array(UInt64)}
        AND (
          {everybody:UInt8} = 1
          OR (shard, source, id) IN (
            SELECT shard, source, id FROM events
            WHERE tenant = {tenant:UInt32} AND shard IN {shards:Array(UInt64)} AND subject IN {subjects:Array(String)}
          )
        )
        AND NOT startsWith(type, 'tallyline.')
        AND known_at < fromUnixTimestamp64Milli({as_of_ms:Int64}, 'UTC')
      ORDER BY tenant, shard, source, id, version DESC
      LIMIT 1 BY tenant, shard, source, id
    )
    ARRAY JOIN arrayFilter(
      meant -> meant.1 = '' OR (
        meant.2 = type
        AND toUnixTimestamp64Milli(first_time) >= meant.3
        AND toUnixTimestamp64Milli(first_time) < meant.4),
      JSONExtract({definitions:String}, 'Array(Tuple(String, String, Int64, Int64, Array(String), Array(Array(String))))')
    ) AS definition
  )
);

-- Of any meters and shards: the rows that usage_rows (0011) takes from events, word for word (a test compares), without
-- its rollup and without its question which shards are live. Parameters: tenant, meter ('*' all, '' every event once),
-- as_of_ms, shards.
CREATE OR REPLACE VIEW usage_from_shards AS
WITH
  fromUnixTimestamp64Milli({as_of_ms:Int64}, 'UTC') AS as_of,
  (
    SELECT (
      groupArray(meter), groupArray(event_type), groupArray(effective_from), groupArray(effective_until),
      groupArray(kind), groupArray(paths), groupArray(number_count), groupArray(groups), groupArray(polynomials),
      groupArray(filter)
    )
    FROM (
      SELECT
        *,
        leadInFrame(effective_from, 1, toDateTime64('2200-01-01 00:00:00', 3, 'UTC')) OVER (
          PARTITION BY meter ORDER BY version ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        ) AS effective_until
      FROM (
        SELECT *, kind, paths, number_count, groups, polynomials, filter FROM meter_versions FINAL
        WHERE tenant = {tenant:UInt32} AND ({meter:String} = '*' OR meter = {meter:String})
      )
    )
  ) AS definitions
SELECT
  meter,
  shard,
  if(meter = '', '', payload.2) AS subject,
  if(meter = '', toStartOfDay(time), toStartOfMinute(time)) AS bucket,
  group_values,
  known_hour,
  if(abs(computed) < toDecimal256('1e26', 12) AND (computed > 0 OR kind = 4), computed, toDecimal256(0, 12)) AS quantity,
  toUInt64(known) AS events,
  if(known, identity_hash, toUInt128(0)) AS digest,
  multiIf(
    kind = 4, toString(toUnixTimestamp64Milli(time)),
    kind = 5, toString(quantity),
    kind = 6 AND startsWith(raws[1], '"'), JSONExtractString(raws[1]),
    kind = 6 AND computed = 1, raws[1],
    ''
  ) AS item,
  multiIf(
    kind IN (0, 4, 7), toUInt256(0),
    kind = 1, bitNot(reinterpretAsUInt256(quantity)),
    kind = 2, reinterpretAsUInt256(quantity) + 1,
    kind = 3, bitShiftLeft(toUInt256(greatest(toUnixTimestamp64Milli(time), 0)), 128) + bitNot(payload.5),
    kind = 8, toUInt256(last_operation_hour),
    toUInt256(computed = 1) + 1
  ) AS last_key,
  if(kind = 8, operation_count, 0) AS operations
FROM (
  SELECT
    *,
    multiIf(
      kind >= 7, toDecimal256(1, 12),
      kind = 6, toDecimal256(match(raws[1], '^[-"0-9tf]'), 12),
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
      arrayMap(place -> JSONExtractString(raws[place]), meters.8[definition]) AS group_values,
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
        meters.9[definition]
      ) AS results
    FROM (
      SELECT
        *,
        meters.10[definition] AS filter,
        -- A decimal as the edge takes it: at most 26 and 12 digits, below 0 for a level alone; -1e40 where nothing stands,
        -- else -2e40. Only events older than their meter can hold that, and count 0. Sums of many need more room than one
        -- value. A number has at most 26 digits before the point if there is room for 50 behind it.
        arrayMap(
          raw -> multiIf(
            match(raw, '^"-?\\d{1,26}(\\.\\d{1,12})?"$')
              AND (kind = 4 OR toDecimal256OrZero(substring(raw, 2, length(raw) - 2), 12) >= 0),
            toDecimal256OrZero(substring(raw, 2, length(raw) - 2), 12),
            match(raw, '^-?\\d') AND toDecimal256OrZero(raw, 12) = toDecimal256OrNull(raw, 50)
              AND (kind = 4 OR toDecimal256OrZero(raw, 12) >= 0),
            toDecimal256OrZero(raw, 12),
            toDecimal256(if(raw IN ('', 'null'), '-1e40', '-2e40'), 12)),
          arraySlice(raws, 1, meters.7[definition])
        ) AS numbers
      FROM (
        SELECT
          shard,
          payload,
          payload.3 AS time,
          known,
          known_hour,
          identity_hash,
          last_operation_hour,
          operation_count,
          meters,
          definition,
          if(definition = 0, 8, meters.5[definition]) AS kind,
          meters.1[definition] AS meter,
          arrayMap(
            path -> arrayFold((json, key) -> JSONExtractRaw(json, key), path, payload.4),
            meters.6[definition]
          ) AS raws
        FROM (
          SELECT
            shard,
            identity_hash,
            first.5 > 0 AS known,
            toDateTime(intDiv(bitShiftRight(bitNot(first.5), 84), 3600000) * known * 3600, 'UTC') AS known_hour,
            if(
              empty(operations), 0, intDiv(bitShiftRight(bitNot(arrayMin(operations.1)), 84), 3600000) * 3600
            ) AS last_operation_hour,
            length(settled.1) AS operation_count,
            multiIf(
              empty(operations) OR first.5 = 0, first,
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
              GROUP BY tenant, shard, source, id
            )
          )
        )
        ARRAY JOIN arrayConcat(
          if({meter:String} IN ('*', ''), [0], []),
          arrayFilter(
            (place, event_type, since, until) -> event_type = payload.1 AND payload.3 >= since AND payload.3 < until,
            arrayEnumerate(meters.2), meters.2, meters.3, meters.4)
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
