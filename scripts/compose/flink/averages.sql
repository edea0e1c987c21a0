-- Averages of five minutes of each device, out of vital.readings: README.md beside this file. RunSql replaces ${NAME}
-- by variables, which start.sh sets, and divides statements by empty lines.

SET 'pipeline.name' = 'vital-averages';

SET 'parallelism.default' = '${FLINK_PARALLELISM}';

SET 'table.local-time-zone' = 'UTC';

-- How long the state of a bucket, and the id of a reading, is kept after its last change. start.sh adds it up.
SET 'table.exec.state.ttl' = '${FLINK_STATE_S} s';

SET 'table.exec.mini-batch.enabled' = 'true';

SET 'table.exec.mini-batch.allow-latency' = '1 s';

SET 'table.exec.mini-batch.size' = '10000';

-- With ignore-parse-errors the reader of JSON swallows every exception of operators that are chained to it, and the record.
SET 'pipeline.operator-chaining.enabled' = 'false';

SET 'state.backend.type' = 'rocksdb';

SET 'state.backend.rocksdb.localdir' = '${FLINK_STATE_DIR}/rocksdb';

SET 'execution.checkpointing.dir' = 'file://${FLINK_STATE_DIR}/checkpoints';

SET 'execution.checkpointing.interval' = '${FLINK_CHECKPOINT_S} s';

SET 'execution.checkpointing.incremental' = 'true';

SET 'execution.checkpointing.externalized-checkpoint-retention' = 'RETAIN_ON_CANCELLATION';

-- The checkpoint that a start goes on from is deleted once it is not needed any more.
SET 'execution.state-recovery.claim-mode' = 'CLAIM';

-- For outages of Kafka or PostgreSQL. After some minutes the process ends, and its supervisor starts it again.
SET 'restart-strategy.type' = 'exponential-delay';

SET 'restart-strategy.exponential-delay.initial-backoff' = '1 s';

SET 'restart-strategy.exponential-delay.max-backoff' = '30 s';

SET 'restart-strategy.exponential-delay.attempts-before-reset-backoff' = '10';

CREATE TEMPORARY TABLE readings (
  device STRING,
  `timestamp` DECIMAL(16, 6),
  id STRING,
  vitals ROW<
    heartRateValue DECIMAL(38, 18),
    breathRateValue DECIMAL(38, 18),
    breathValue DECIMAL(38, 18),
    pulseRateValue DECIMAL(38, 18),
    bloodPressureSystolic DECIMAL(38, 18),
    bloodPressureDiastolic DECIMAL(38, 18),
    spo2Value DECIMAL(38, 18),
    temperatureValue DECIMAL(38, 18)
  >,
  headers MAP<STRING, BYTES> METADATA VIRTUAL,
  `partition` INT METADATA VIRTUAL,
  `offset` BIGINT METADATA VIRTUAL,
  -- When Kafka got the record: its topic has LogAppendTime.
  logged TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
  seen AS PROCTIME()
) WITH (
  'connector' = 'kafka',
  'topic' = 'vital.readings',
  'properties.bootstrap.servers' = '${KAFKA_BROKERS}',
  'properties.group.id' = 'vital-averages',
  'properties.security.protocol' = '${FLINK_KAFKA_PROTOCOL}',
  'properties.sasl.mechanism' = '${FLINK_KAFKA_MECHANISM}',
  'properties.sasl.jaas.config' = '${FLINK_KAFKA_LOGIN}',
  'scan.startup.mode' = 'earliest-offset',
  -- Partitions that are added are found.
  'scan.topic-partition-discovery.interval' = '60 s',
  'format' = 'json',
  'json.ignore-parse-errors' = 'true'
);

-- Both uses of `once` below share one plan. Otherwise each would read the topic, and the clock for `behind`, by itself.
SET 'table.optimizer.reuse-optimize-block-with-digest-enabled' = 'true';

-- Readings, each with the reason why it is left out of the averages, or null.
CREATE TEMPORARY VIEW judged AS
SELECT *,
  CASE
    WHEN version IS NULL OR device IS NULL OR id IS NULL OR `timestamp` IS NULL OR vitals IS NULL THEN 'unreadable'
    WHEN late_s > ${FLINK_LATENESS_S} THEN 'late'
    WHEN late_s < -${FLINK_AHEAD_S} THEN 'ahead'
    WHEN behind_s > ${FLINK_OUTAGE_S} AND now_s > ${FLINK_WHOLE_UNTIL_S} THEN 'behind'
  END AS reason
FROM (
  SELECT device, `timestamp`, id, vitals,
    COALESCE(id, CAST(`partition` AS STRING) || '-' || CAST(`offset` AS STRING)) AS identifier,
    `partition`, `offset`, logged, seen, version,
    TIMESTAMPDIFF(SECOND, TO_TIMESTAMP_LTZ(CAST(FLOOR(`timestamp`) AS BIGINT), 0), logged) AS late_s,
    TIMESTAMPDIFF(SECOND, logged, CURRENT_TIMESTAMP) AS behind_s,
    UNIX_TIMESTAMP() AS now_s
  FROM (SELECT *, CAST(headers['schema'] AS STRING) AS version FROM readings)
)
-- The marker of an erasure is not a reading. Records of a newer schema must not be skipped: the cast fails, and so does
-- the job.
WHERE 1 = CAST(CASE
  WHEN version = '1' OR version IS NULL THEN '1'
  WHEN version LIKE 'erasure-%' THEN '0'
  ELSE 'a reading of schema ' || version
END AS INT);

CREATE TEMPORARY VIEW once AS
SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY identifier ORDER BY seen) AS time_of_id FROM judged)
WHERE time_of_id = 1;

-- No window function: it would drop readings that come behind its watermark.
CREATE TEMPORARY VIEW averages AS
SELECT device, bucket, COUNT(*) AS readings,
  COUNT(heart_rate) AS heart_rate_count, MIN(heart_rate) AS heart_rate_min,
    MAX(heart_rate) AS heart_rate_max, SUM(heart_rate) AS heart_rate_sum,
  COUNT(breath_rate) AS breath_rate_count, MIN(breath_rate) AS breath_rate_min,
    MAX(breath_rate) AS breath_rate_max, SUM(breath_rate) AS breath_rate_sum,
  COUNT(breath) AS breath_count, MIN(breath) AS breath_min,
    MAX(breath) AS breath_max, SUM(breath) AS breath_sum,
  COUNT(pulse_rate) AS pulse_rate_count, MIN(pulse_rate) AS pulse_rate_min,
    MAX(pulse_rate) AS pulse_rate_max, SUM(pulse_rate) AS pulse_rate_sum,
  COUNT(blood_pressure_systolic) AS blood_pressure_systolic_count,
    MIN(blood_pressure_systolic) AS blood_pressure_systolic_min,
    MAX(blood_pressure_systolic) AS blood_pressure_systolic_max,
    SUM(blood_pressure_systolic) AS blood_pressure_systolic_sum,
  COUNT(blood_pressure_diastolic) AS blood_pressure_diastolic_count,
    MIN(blood_pressure_diastolic) AS blood_pressure_diastolic_min,
    MAX(blood_pressure_diastolic) AS blood_pressure_diastolic_max,
    SUM(blood_pressure_diastolic) AS blood_pressure_diastolic_sum,
  COUNT(spo2) AS spo2_count, MIN(spo2) AS spo2_min,
    MAX(spo2) AS spo2_max, SUM(spo2) AS spo2_sum,
  COUNT(temperature) AS temperature_count, MIN(temperature) AS temperature_min,
    MAX(temperature) AS temperature_max, SUM(temperature) AS temperature_sum
FROM (
  SELECT device, CAST(FLOOR(`timestamp`) AS BIGINT) - MOD(CAST(FLOOR(`timestamp`) AS BIGINT), 300) AS bucket,
    vitals.heartRateValue AS heart_rate,
    vitals.breathRateValue AS breath_rate,
    vitals.breathValue AS breath,
    vitals.pulseRateValue AS pulse_rate,
    vitals.bloodPressureSystolic AS blood_pressure_systolic,
    vitals.bloodPressureDiastolic AS blood_pressure_diastolic,
    vitals.spo2Value AS spo2,
    vitals.temperatureValue AS temperature
  FROM once WHERE reason IS NULL
)
GROUP BY device, bucket;

CREATE TEMPORARY TABLE averages_table (
  device STRING,
  bucket BIGINT,
  readings BIGINT,
  heart_rate_count BIGINT, heart_rate_min DECIMAL(38, 18),
    heart_rate_max DECIMAL(38, 18), heart_rate_sum DECIMAL(38, 18),
  breath_rate_count BIGINT, breath_rate_min DECIMAL(38, 18),
    breath_rate_max DECIMAL(38, 18), breath_rate_sum DECIMAL(38, 18),
  breath_count BIGINT, breath_min DECIMAL(38, 18),
    breath_max DECIMAL(38, 18), breath_sum DECIMAL(38, 18),
  pulse_rate_count BIGINT, pulse_rate_min DECIMAL(38, 18),
    pulse_rate_max DECIMAL(38, 18), pulse_rate_sum DECIMAL(38, 18),
  blood_pressure_systolic_count BIGINT, blood_pressure_systolic_min DECIMAL(38, 18),
    blood_pressure_systolic_max DECIMAL(38, 18), blood_pressure_systolic_sum DECIMAL(38, 18),
  blood_pressure_diastolic_count BIGINT, blood_pressure_diastolic_min DECIMAL(38, 18),
    blood_pressure_diastolic_max DECIMAL(38, 18), blood_pressure_diastolic_sum DECIMAL(38, 18),
  spo2_count BIGINT, spo2_min DECIMAL(38, 18),
    spo2_max DECIMAL(38, 18), spo2_sum DECIMAL(38, 18),
  temperature_count BIGINT, temperature_min DECIMAL(38, 18),
    temperature_max DECIMAL(38, 18), temperature_sum DECIMAL(38, 18),
  PRIMARY KEY (device, bucket) NOT ENFORCED
) WITH (
  'connector' = 'jdbc',
  'url' = '${FLINK_DATABASE_URL}',
  'username' = '${FLINK_DATABASE_USER}',
  'password' = '${FLINK_DATABASE_PASSWORD}',
  'table-name' = 'flink.averages_5m',
  'sink.buffer-flush.max-rows' = '1000',
  'sink.buffer-flush.interval' = '1 s',
  'sink.max-retries' = '1'
);

CREATE TEMPORARY TABLE left_out (
  log_partition INT,
  log_offset BIGINT,
  logged TIMESTAMP(3),
  reason STRING,
  device STRING,
  measured DECIMAL(16, 6),
  id STRING,
  PRIMARY KEY (log_partition, log_offset, logged) NOT ENFORCED
) WITH (
  'connector' = 'jdbc',
  'url' = '${FLINK_DATABASE_URL}',
  'username' = '${FLINK_DATABASE_USER}',
  'password' = '${FLINK_DATABASE_PASSWORD}',
  'table-name' = 'flink.left_out',
  'sink.buffer-flush.max-rows' = '1000',
  'sink.buffer-flush.interval' = '1 s',
  'sink.max-retries' = '1'
);

CREATE TEMPORARY TABLE averages_topic (
  device STRING,
  `from` BIGINT,
  `to` BIGINT,
  `count` BIGINT,
  vitals ROW<
    heartRateValue ROW<`count` BIGINT, `min` DOUBLE, `max` DOUBLE, mean DOUBLE>,
    breathRateValue ROW<`count` BIGINT, `min` DOUBLE, `max` DOUBLE, mean DOUBLE>,
    breathValue ROW<`count` BIGINT, `min` DOUBLE, `max` DOUBLE, mean DOUBLE>,
    pulseRateValue ROW<`count` BIGINT, `min` DOUBLE, `max` DOUBLE, mean DOUBLE>,
    bloodPressureSystolic ROW<`count` BIGINT, `min` DOUBLE, `max` DOUBLE, mean DOUBLE>,
    bloodPressureDiastolic ROW<`count` BIGINT, `min` DOUBLE, `max` DOUBLE, mean DOUBLE>,
    spo2Value ROW<`count` BIGINT, `min` DOUBLE, `max` DOUBLE, mean DOUBLE>,
    temperatureValue ROW<`count` BIGINT, `min` DOUBLE, `max` DOUBLE, mean DOUBLE>
  >,
  PRIMARY KEY (device, `from`) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'topic' = 'vital.averages.5m',
  'properties.bootstrap.servers' = '${KAFKA_BROKERS}',
  'properties.security.protocol' = '${FLINK_KAFKA_PROTOCOL}',
  'properties.sasl.mechanism' = '${FLINK_KAFKA_MECHANISM}',
  'properties.sasl.jaas.config' = '${FLINK_KAFKA_LOGIN}',
  'key.format' = 'json',
  'value.format' = 'json',
  'value.json.encode.ignore-null-fields' = 'true',
  'sink.buffer-flush.max-rows' = '1000',
  'sink.buffer-flush.interval' = '1 s'
);

-- The key of left_out is a position in Kafka, so it is unique. Flink cannot know that.
SET 'table.exec.sink.require-on-conflict' = 'false';

SET 'table.exec.sink.upsert-materialize' = 'NONE';

EXECUTE STATEMENT SET BEGIN
INSERT INTO averages_table SELECT * FROM averages;
INSERT INTO averages_topic SELECT device, bucket, bucket + 300, readings, ROW(
  ROW(heart_rate_count, CAST(heart_rate_min AS DOUBLE), CAST(heart_rate_max AS DOUBLE),
    CAST(heart_rate_sum AS DOUBLE) / heart_rate_count),
  ROW(breath_rate_count, CAST(breath_rate_min AS DOUBLE), CAST(breath_rate_max AS DOUBLE),
    CAST(breath_rate_sum AS DOUBLE) / breath_rate_count),
  ROW(breath_count, CAST(breath_min AS DOUBLE), CAST(breath_max AS DOUBLE),
    CAST(breath_sum AS DOUBLE) / breath_count),
  ROW(pulse_rate_count, CAST(pulse_rate_min AS DOUBLE), CAST(pulse_rate_max AS DOUBLE),
    CAST(pulse_rate_sum AS DOUBLE) / pulse_rate_count),
  ROW(blood_pressure_systolic_count, CAST(blood_pressure_systolic_min AS DOUBLE), CAST(blood_pressure_systolic_max AS DOUBLE),
    CAST(blood_pressure_systolic_sum AS DOUBLE) / blood_pressure_systolic_count),
  ROW(blood_pressure_diastolic_count, CAST(blood_pressure_diastolic_min AS DOUBLE), CAST(blood_pressure_diastolic_max AS DOUBLE),
    CAST(blood_pressure_diastolic_sum AS DOUBLE) / blood_pressure_diastolic_count),
  ROW(spo2_count, CAST(spo2_min AS DOUBLE), CAST(spo2_max AS DOUBLE),
    CAST(spo2_sum AS DOUBLE) / spo2_count),
  ROW(temperature_count, CAST(temperature_min AS DOUBLE), CAST(temperature_max AS DOUBLE),
    CAST(temperature_sum AS DOUBLE) / temperature_count)
) FROM averages;
INSERT INTO left_out SELECT `partition`, `offset`, CAST(logged AS TIMESTAMP(3)), reason, device, `timestamp`, id
  FROM once WHERE reason IS NOT NULL;
END;
