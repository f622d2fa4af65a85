-- A value of a time_weighted_sum is a change of the level, and may be negative; before, it was the level (decision 0010).
-- Columns and other aggregations are as in 0008 and 0009. Rollups of before hold one of several values of an instant until
-- their shards are built anew, which a new meter or version of any meter of the tenant does. Values that were sent as
-- levels are read as changes: who sent such makes a new meter.

-- As in 0009, but rows of a level (kind 4) are one per instant, their changes added. And numbers that the edge refuses are
-- none in an expression either, whatever they are multiplied with: those from 10^26 on counted.
CREATE OR REPLACE VIEW usage_rows AS
WITH
  shards_known AS (
    SELECT
      shard,
      progress,
      last_known_hour,
      version,
      head.1 AS run,
      head.2 AS operations_hour,
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
        argMax((run, operations_hour), (shard_heads.version, shard_heads.built_at)) AS head,
        argMax(covered, (shard_heads.version, covered)) AS covered,
        max(shard_heads.built_at) AS built_at
      FROM shard_heads WHERE tenant = {tenant:UInt32}
      GROUP BY shard
    ) AS heads USING (shard)
  ),
  fromUnixTimestamp64Milli({as_of_ms:Int64}, 'UTC') AS as_of,
  (
    SELECT (
      groupArray(meter), groupArray(event_type), groupArray(effective_from), groupArray(effective_until),
      groupArray(kind), groupArray(paths), groupArray(number_count), groupArray(groups), groupArray(polynomials),
      groupArray(filter), max(revision)
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
  ) AS definitions,
  (
    SELECT groupArray(shard) FROM shards_known
    WHERE dirty
      OR version < bitShiftLeft(toUInt64(definitions.11), 40)
      OR (as_of > toStartOfHour(as_of) AND last_known_hour >= toStartOfHour(as_of))
      OR ({meter:String} != '' AND operations_hour >= toStartOfHour(as_of))
  ) AS live
SELECT meter, shard, subject, bucket, group_values, known_hour, quantity, events, digest, item, last_key, operations
FROM usage_rollup
WHERE tenant = {tenant:UInt32} AND ({meter:String} = '*' OR meter = {meter:String})
  AND empty({shards:Array(UInt64)})
  AND known_hour < toStartOfHour(as_of)
  AND shard NOT IN live
  AND (shard, run) IN (SELECT shard, run FROM shards_known)
UNION ALL
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
              WHERE shard IN if(empty({shards:Array(UInt64)}), live, {shards:Array(UInt64)})
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

-- Usage of every meter per subject, group and period of a zone's calendar, as in 0008. Changes of a level are gathered as
-- `changes` (instant, change, events); the level after each lasts until the next one and is cut where periods begin: the
-- pieces are (period, level, ms, events), one per period that they touch.
CREATE OR REPLACE VIEW usage_by_period AS
WITH
  intDiv({from_ms:Int64}, 60000) * 60000 AS from_floored_ms,
  intDiv({to_ms:Int64}, 60000) * 60000 AS to_floored_ms,
  transform({period:String}, ['minute', 'hour', 'day', 'week', 'month'], [60, 3600, 86400, 604800, 2592000], 0) AS mean_s
SELECT
  toUInt32({tenant:UInt32}) AS tenant,
  meter,
  aggregation,
  subject,
  group_values,
  period_start,
  toDateTime(
    dateTrunc({period:String}, period_start + intDiv(mean_s * 3, 2), {zone:String}), {zone:String}
  ) AS period_end,
  if(
    aggregation = 'time_weighted_sum',
    CAST(round(divideDecimal(
      weighted,
      toDecimal256(greatest(
        least(toInt64(toUnixTimestamp(period_end)) * 1000, to_floored_ms)
        - greatest(toInt64(toUnixTimestamp(period_start)) * 1000, from_floored_ms), 1), 0),
      13), 12), 'Decimal(76, 12)'),
    settled
  ) AS quantity,
  counted AS events
FROM (
  SELECT
    meter,
    aggregation,
    subject,
    group_values,
    piece.1 AS period_start,
    max(piece.2) AS settled,
    sum(if(aggregation = 'time_weighted_sum', piece.2, toDecimal256(0, 12)) * piece.3) AS weighted,
    sum(piece.4) AS counted
  FROM (
    SELECT
      meter,
      aggregation,
      subject,
      group_values,
      arrayJoin(if(
        aggregation != 'time_weighted_sum',
        [(first_period, quantity, toDecimal256(0, 0), events)],
        arrayConcat(
          arrayMap(
            change -> (
              toDateTime(dateTrunc({period:String}, toDateTime(intDiv(change.1, 1000), 'UTC'), {zone:String}), {zone:String}),
              toDecimal256(0, 12), toDecimal256(0, 0), change.3),
            arrayFilter(change -> change.1 >= from_floored_ms, changes)),
          arrayFlatten(arrayMap(
            (since_ms, until_ms, level) -> arrayMap(
              start -> (
                start, level,
                toDecimal256(
                  least(until_ms, toInt64(toUnixTimestamp(toDateTime(
                    dateTrunc({period:String}, start + intDiv(mean_s * 3, 2), {zone:String}), {zone:String}))) * 1000)
                  - greatest(since_ms, toInt64(toUnixTimestamp(start)) * 1000), 0),
                toUInt64(0)),
              arrayDistinct(arrayMap(
                instant_s -> toDateTime(
                  dateTrunc({period:String}, toDateTime(instant_s, 'UTC'), {zone:String}), {zone:String}),
                if(
                  since_ms < until_ms,
                  arrayPushBack(
                    range(intDiv(since_ms, 1000), intDiv(until_ms - 1, 1000), greatest(intDiv(mean_s, 2), 60)),
                    intDiv(until_ms - 1, 1000)),
                  [])))),
            arrayMap(change -> greatest(change.1, from_floored_ms), changes),
            arrayPushBack(arrayMap(change -> greatest(change.1, from_floored_ms), arrayPopFront(changes)), to_floored_ms),
            arrayCumSum(arrayMap(change -> change.2, changes))))))) AS piece
    FROM (
      SELECT
        meter,
        aggregation,
        subject,
        group_values,
        if(
          aggregation = 'time_weighted_sum',
          toDateTime(0, {zone:String}),
          toDateTime(dateTrunc({period:String}, bucket, {zone:String}), {zone:String})
        ) AS first_period,
        arraySort(groupArrayIf(
          (toInt64OrZero(item), usage.quantity, usage.events), aggregation = 'time_weighted_sum')) AS changes,
        sum(usage.events) AS events,
        CAST(multiIf(
          aggregation = 'min', min(usage.quantity),
          aggregation = 'max' AND window = '', max(usage.quantity),
          aggregation = 'max', arraySum(mapValues(maxMapIf(
            map(if(window = 'day', toStartOfDay(bucket), toStartOfHour(bucket)), usage.quantity),
            aggregation = 'max' AND window != ''))),
          aggregation = 'average', CAST(round(divideDecimal(
            sumIf(usage.quantity, aggregation = 'average'),
            toDecimal256(greatest(sum(usage.events), 1), 0), 13), 12), 'Decimal(76, 12)'),
          aggregation = 'unique_count', toDecimal256(uniqExactIf(item, aggregation = 'unique_count' AND usage.quantity > 0), 12),
          aggregation = 'latest', argMax(usage.quantity, last_key),
          aggregation = 'percentile', arrayMap(
            (sorted, rank) -> sorted[arrayFirstIndex(reached -> reached >= rank, arrayCumSum(sorted.2))].1,
            [arraySort(groupArrayIf((usage.quantity, usage.events), aggregation = 'percentile'))],
            [greatest(intDiv(
              toUInt256(sum(usage.events)) * toUInt256(toDecimal256OrZero(percentile, 12) * 1000000000000)
                + toUInt256('99999999999999'),
              toUInt256('100000000000000')), 1)])[1],
          sumIf(usage.quantity, aggregation NOT IN ('time_weighted_sum', 'average'))
        ), 'Decimal(76, 12)') AS quantity
      FROM usage_rows(tenant = {tenant:UInt32}, meter = '*', as_of_ms = {as_of_ms:Int64}, shards = []) AS usage
      INNER JOIN (
        SELECT
          meter,
          any(meter_versions.aggregation) AS aggregation,
          any(meter_versions.window) AS window,
          if(any(meter_versions.percentile) = '', '50', any(meter_versions.percentile)) AS percentile
        FROM meter_versions WHERE tenant = {tenant:UInt32}
        GROUP BY meter
      ) AS definitions USING (meter)
      WHERE bucket < toDateTime(intDiv(to_floored_ms, 1000), 'UTC')
        AND (aggregation = 'time_weighted_sum' OR bucket >= toDateTime(intDiv(from_floored_ms, 1000), 'UTC'))
      GROUP BY meter, aggregation, window, percentile, subject, group_values, first_period
    )
  )
  GROUP BY meter, aggregation, subject, group_values, period_start
);
