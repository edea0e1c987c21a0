/** Files of Parquet on the disk of this process, read and written by DuckDB. */
import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { LakeLimits } from './limits.ts'

/** A text in SQL: COPY takes no parameters. */
export const toLiteral = (text: string) => `'${text.replaceAll('\'', '\'\'')}'`

/** The rows of files. A later version may have added columns. */
export const toRows = (paths: readonly string[]) =>
  `read_parquet([${paths.map(toLiteral).join(', ')}], hive_partitioning = false, union_by_name = true)`

/**
 * How a file is written, here and where it is rewritten: sorted, so that a reader of one device skips the rest.
 * @param stamp - makes the bytes differ from those of any other file with these rows, and so the ETag
 */
export const toCopy = (
  query: string, path: string, { rowGroupRows }: Pick<LakeLimits, 'rowGroupRows'>, stamp: string | null = null
) =>
  `copy (select * from (${query}) order by device, "time", id) to ${toLiteral(path)} ` +
  `(format parquet, compression zstd, row_group_size ${rowGroupRows}${stamp === null ? '' : `, kv_metadata {stamp: ${toLiteral(stamp)}}`})`

/**
 * Removes the files at the end. DuckDB 1.5.6 takes the statistics of another file that had this name before, and deletes by
 * them what is newer: so no name is used twice.
 */
export async function withPaths<Result> (dir: string, count: number, use: (paths: readonly string[]) => Promise<Result>): Promise<Result> {
  const paths = Array.from({ length: count }, () => join(dir, `${randomUUID()}.parquet`))
  try {
    return await use(paths)
  } finally {
    await Promise.all(paths.map((path) => rm(path, { force: true })))
  }
}
