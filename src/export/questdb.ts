/**
 * QuestDB. A table without deduplication keys keeps both copies of a row that is written twice. QuestDB accepts writes
 * even while the table is suspended, and applies them later.
 * @see https://questdb.com/docs/concept/deduplication/
 */
import { askWell } from './ask-well.ts'
import { type Dialect, type DialectOptions, type Inspection, NOTHING_TOLD } from './dialect.ts'
import { ExportError } from './export-error.ts'
import { DEVICE_TAG, MEASUREMENT, PARTITION_TAG } from './line-protocol.ts'

const KEYS = `timestamp, ${DEVICE_TAG}, ${PARTITION_TAG}`
/** Without nanoseconds two readings of one microsecond would be one. */
const CREATE = `CREATE TABLE IF NOT EXISTS ${MEASUREMENT} (timestamp TIMESTAMP_NS, ${DEVICE_TAG} SYMBOL, ${PARTITION_TAG} SYMBOL) ` +
  `TIMESTAMP(timestamp) PARTITION BY DAY WAL DEDUP UPSERT KEYS(${KEYS})`
const TABLE = `select dedup from tables() where table_name = '${MEASUREMENT}'`
const TIME = `select type from table_columns('${MEASUREMENT}') where designated`
const WAL = `select suspended, sequencerTxn - writerTxn, coalesce(errorMessage, '') from wal_tables() where name = '${MEASUREMENT}'`

export function createQuestDb ({ ask }: DialectOptions): Dialect {
  /**
   * A table that was dropped, and that a write has made again, has no keys.
   * @returns the fault; `null`: there is none
   */
  async function findFault (): Promise<string | null> {
    const [[isDeduplicated] = []] = await query(TABLE)
    if (isDeduplicated !== true) {
      return `its table ${MEASUREMENT} keeps what is written twice: ALTER TABLE ${MEASUREMENT} DEDUP ENABLE UPSERT KEYS(${KEYS})`
    }
    const [[type] = []] = await query(TIME)
    return type === 'TIMESTAMP_NS' ? null : `its table ${MEASUREMENT} has times of ${String(type)}, and must have TIMESTAMP_NS`
  }

  async function query (text: string): Promise<unknown[][]> {
    const answer = await askWell(ask, { method: 'GET', path: '/exec', query: { query: text } })
    try {
      return (JSON.parse(answer) as { readonly dataset?: unknown[][] }).dataset ?? []
    } catch (cause) {
      throw new ExportError('it answers /exec with a text that is not JSON', 'VITAL_EXPORT_AWAY', { cause })
    }
  }

  return {
    path: '/write',
    query: { precision: 'n' },
    lineEnd: '\\\n',
    isCaseBlind: true,
    async prepare () {
      await query(CREATE)
      const fault = await findFault()
      if (fault !== null) throw new ExportError(fault)
    },
    async describe () {
      const [[version] = []] = await query('select build()')
      return /QuestDB [\w.-]+/.exec(String(version))?.[0] ?? 'QuestDB'
    },
    async inspect (): Promise<Inspection> {
      const [row] = await query(WAL)
      // The first batch makes the table.
      if (row === undefined) return NOTHING_TOLD
      const [isSuspended, unapplied, message] = row
      return {
        stopped: isSuspended === true
          ? `its table ${MEASUREMENT} is suspended${message === '' ? '' : ` (${String(message)})`}: mend the cause, then ALTER TABLE ` +
            `${MEASUREMENT} RESUME WAL`
          : await findFault(),
        unapplied: Number(unapplied),
        ignored: new Map(),
        warnings: []
      }
    },
    erase: () => Promise.resolve(false)
  }
}
