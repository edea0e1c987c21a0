/**
 * SQL of DuckDB for Parquet files on the local disk. `readings-table.ts` writes new files with it, `compacting.ts` and
 * `erasing.ts` write files again, and `plan-files.ts` puts them into the store.
 */
import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { LakeLimits } from './limits.ts'

/** A text in SQL: COPY takes no parameters. */
export const toLiteral = (text: string) => `'${text.replaceAll('\'', '\'\'')}'`

/** The rows of files. Files of a later version may have more columns. */
export const toRows = (paths: readonly string[]) =>
  `read_parquet([${paths.map(toLiteral).join(', ')}], hive_partitioning = false, union_by_name = true)`

/**
 * The statement that writes or rewrites a file: sorted, so that a reader of one device skips the rest.
 * @param stamp - makes the bytes, and so the ETag, differ from any other file with the same rows
 */
export const toCopy = (
  query: string, path: string, { rowGroupRows }: Pick<LakeLimits, 'rowGroupRows'>, stamp: string | null = null
) =>
  `copy (select * from (${query}) order by device, "time", id) to ${toLiteral(path)} ` +
  `(format parquet, compression zstd, row_group_size ${rowGroupRows}${stamp === null ? '' : `, kv_metadata {stamp: ${toLiteral(stamp)}}`})`

/**
 * Calls `use` with new paths and removes the files at the end. No name is used twice, because DuckDB 1.5.6 would use
 * the statistics of an earlier file of the same name, and skip rows by them.
 */
export async function withPaths<Result> (dir: string, count: number, use: (paths: readonly string[]) => Promise<Result>): Promise<Result> {
  const paths = Array.from({ length: count }, () => join(dir, `${randomUUID()}.parquet`))
  try {
    return await use(paths)
  } finally {
    await Promise.all(paths.map((path) => rm(path, { force: true })))
  }
}
