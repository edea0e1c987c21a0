import pino from 'pino'
import { createDatabase } from '../../../db/database.ts'
import type { ReadingRow } from '../../../db/rows.ts'
import { createStore } from '../../../db/store.ts'
import type { FromLoad, LoadSettings, ToLoad } from './messages.ts'

// How much PostgreSQL takes of one process without a broker: the gateway's own store (COPY, upsert of latest, COMMIT),
// fed with finished rows of the same shape as the workload `arrays`. Arguments: connection string, connections, rows a batch.

const DEVICES = 50
const NAMES = ['breathRateValue', 'heartRateValue', 'spo2Value', 'temperatureValue']

/** Texts and hashes are made before the start: decoding and hashing belong to the gateway. Times make each row new. */
const SHAPES = 4096

function createShapes (): ReadonlyArray<Pick<ReadingRow, 'vitals' | 'hash' | 'fields'>> {
  return Array.from({ length: SHAPES }, () => {
    const digit = () => Math.floor(Math.random() * 8)
    const values = [10 + digit() + digit() / 10, 60 + digit() + digit() / 10, 90 + digit() + digit() / 10, 35 + digit() / 10]
    const fields = Object.fromEntries(NAMES.map((name, index) => [name, values[index]]))
    const vitals = JSON.stringify(fields)
    const hash = Array.from({ length: 16 }, () => String.fromCharCode(Math.floor(Math.random() * 256))).join('')
    return { vitals, hash, fields }
  })
}

function tell (message: FromLoad): void {
  process.send?.(message)
}

function createRows (settings: LoadSettings, rowsPerBatch: number): () => ReadingRow[] {
  const shapes = createShapes()
  const devices = Array.from({ length: DEVICES }, (_, index) => `${settings.devicePrefix}-${index}`)
  let timeUs = Date.now() * 1000
  let next = 0
  return () => {
    const receivedAtMs = Date.now()
    return Array.from({ length: rowsPerBatch }, () => {
      const { vitals, hash, fields } = shapes[next % SHAPES] ?? { vitals: '{}', hash: '', fields: {} }
      const device = devices[Math.floor(next / settings.readingsPerAnswer) % DEVICES] ?? ''
      next++
      timeUs++
      return { device, timeUs, hash, vitals, fields, receivedAtMs }
    })
  }
}

async function run (settings: LoadSettings, connectionString: string, connections: number, rowsPerBatch: number): Promise<void> {
  const database = createDatabase({
    connectionString, poolSize: connections, logger: pino({ level: 'silent' }), applicationName: 'vital-bench'
  })
  const store = createStore(database)
  const createBatch = createRows(settings, rowsPerBatch)
  let sent = 0
  let stored = 0
  const state = { sending: true }
  const write = async () => {
    while (state.sending) {
      const batch = createBatch()
      sent += batch.length
      const { duplicates } = await store.write(batch, [])
      if (duplicates.length > 0) throw new Error(`${duplicates.length} of the bench's own rows were stored before`)
      stored += batch.length
    }
  }
  tell({ type: 'connected' })
  const writers = Promise.all(Array.from({ length: connections }, write))
  const pause = (ms: number) => Promise.race([new Promise((resolve) => setTimeout(resolve, ms)), writers])
  await pause(settings.warmupMs)
  tell({ type: 'measuring' })
  const cpuBefore = process.cpuUsage()
  const storedBefore = stored
  const startMs = performance.now()
  await pause(settings.measureMs)
  const measuredMs = performance.now() - startMs
  const readingsMeasured = stored - storedBefore
  const cpu = process.cpuUsage(cpuBefore)
  tell({ type: 'measured' })
  state.sending = false
  await writers
  await database.close()
  tell({
    type: 'result',
    report: {
      measuredMs,
      readingsMeasured,
      readingsSent: sent,
      readingsAcked: stored,
      cpuCores: (cpu.user + cpu.system) / 1000 / measuredMs,
      latencyMs: null,
      sendLagP99Ms: null
    }
  })
}

process.on('disconnect', () => process.exit())
process.once('message', (message: ToLoad) => {
  const [connectionString = '', connections, rowsPerBatch] = process.argv.slice(2)
  if (message.type !== 'run') return
  run(message.settings, connectionString, Number(connections), Number(rowsPerBatch)).catch((error: unknown) => {
    tell({ type: 'failed', message: error instanceof Error ? error.message : String(error) })
  })
})
