/**
 * Compares the rows of PostgreSQL with the files of a lake and the points of InfluxDB, reading by reading, without
 * functions of the gateway. A reading is identified by its device, its time and its number `n`; its values are compared
 * too.
 */
import { join } from 'node:path'
import { FIELDS, LAKE_FOLDER, POINTS_FILE, STORED_FILE } from './gather.ts'

/** Readings in which two of them differ, with an example. */
export interface Difference {
  readonly count: number
  readonly example: string
}

export interface LakeComparison {
  readonly rows: number
  readonly ids: number
  /** Readings of PostgreSQL that the lake lacks, and the other way round. */
  readonly missing: Difference
  readonly unknown: Difference
}

export interface PointsComparison {
  readonly points: number
  /** Readings that share device, microsecond and three digits with another one: one point holds them. */
  readonly collisions: number
  readonly missing: Difference
  readonly unknown: Difference
  /** Points that hold other numbers than their reading. */
  readonly altered: Difference
  /** Points of one reading in more than one partition. */
  readonly again: number
}

export interface Comparison {
  readonly stored: number
  readonly lake: LakeComparison | null
  readonly points: PointsComparison | null
}

const COLUMNS = FIELDS.map((name) => `"${name}" double`).join(', ')
const VALUES = ['n', ...FIELDS.map((name) => `"${name}"`)].join(', ')

/** @param dir - that `gather.ts` has filled @param has - whether it holds files of a lake, and points */
export async function compare (dir: string, has: { readonly lake: boolean, readonly points: boolean }): Promise<Comparison> {
  const { DuckDBInstance } = await import('@duckdb/node-api')
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  const run = async (sql: string) => { await connection.run(sql) }
  const count = async (sql: string) => Number((await connection.runAndReadAll(`select count(*) from (${sql})`)).getRowsJS()[0]![0])
  const differ = async (sql: string): Promise<Difference> => ({
    count: await count(sql),
    example: String((await connection.runAndReadAll(`${sql} order by all limit 1`)).getRowsJS()[0] ?? '')
  })
  const copy = async (table: string, columns: string, file: string) => {
    await run(`create table ${table} (${columns}, n bigint, ${COLUMNS})`)
    await run(`copy ${table} from '${join(dir, file)}' (format csv, header false)`)
  }

  async function compareLake (): Promise<LakeComparison> {
    await run(`create table lake as select device, epoch_us("time") as us, id,
      regexp_extract("otherVitals", '"n":(\\d+)', 1)::bigint as n, ${FIELDS.map((name) => `"${name}"`).join(', ')}
      from read_parquet('${join(dir, LAKE_FOLDER)}/**/*.parquet', hive_partitioning = true)`)
    return {
      rows: await count('from lake'),
      ids: await count('select distinct id from lake'),
      missing: await differ(`select device, us, ${VALUES} from stored except select device, us, ${VALUES} from lake`),
      unknown: await differ(`select device, us, ${VALUES} from lake except select device, us, ${VALUES} from stored`)
    }
  }

  async function comparePoints (): Promise<PointsComparison> {
    await copy('raw_points', 'device text, partition int, ns bigint', POINTS_FILE)
    await run('create table points as select *, ns // 1000 as us, (ns % 1000)::int as digits from raw_points')
    const key = 'device, us, digits'
    return {
      points: await count('from points'),
      collisions: await count('from stored') - await count(`select distinct ${key} from stored`),
      missing: await differ(`select ${key} from stored except select ${key} from points`),
      unknown: await differ(`select ${key} from points except select ${key} from stored`),
      // A point that two readings share has fields of both.
      altered: await differ(`select ${key}, ${VALUES} from points semi join (
        select ${key} from stored group by all having count(*) = 1) alone using (${key})
        except select ${key}, ${VALUES} from stored`),
      again: await count('from points') - await count(`select distinct ${key} from points`)
    }
  }

  try {
    await copy('stored', 'device text, us bigint, digits int', STORED_FILE)
    return {
      stored: await count('from stored'),
      lake: has.lake ? await compareLake() : null,
      points: has.points ? await comparePoints() : null
    }
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
}
