import { type RawBuilder, sql } from 'kysely'
import { type BinaryWriter, OID } from './binary.ts'
import { type Statement, type Step } from './pipeline.ts'

/** One column of a batch. */
export interface Column<Row> {
  /** Of its values. */
  readonly type: keyof typeof OID
  /** Appends exactly one value, or null. */
  readonly write: (writer: BinaryWriter, row: Row) => void
}

/** `unnest($1::text[], …)`: the rows of a batch, one array parameter a column. */
export function unnest<Row> (columns: ReadonlyArray<Column<Row>>): RawBuilder<unknown> {
  return sql`unnest(${sql.join(columns.map(({ type }) => sql`${null}::${sql.raw(type)}[]`))})`
}

/**
 * Runs a statement that has {@link unnest} of `columns`, and no other parameter.
 * @param rowBytes - first guess of the bytes of a row
 */
export function withRows<Row> (
  statement: Statement, columns: ReadonlyArray<Column<Row>>, rows: readonly Row[], rowBytes: number
): Step {
  return {
    statement,
    parameters: columns.length,
    sizeBytes: rows.length * rowBytes,
    writeParameters (writer) {
      for (const { type, write } of columns) {
        const start = writer.startValue()
        writer.array(OID[type], rows.length)
        for (const row of rows) write(writer, row)
        writer.endValue(start)
      }
    }
  }
}
