import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import t from 'tap'
import type { ReadingRow } from '../../../db/rows.ts'
import type { Store } from '../../../db/store.ts'
import { Submission } from '../../../src/ingest/submission.ts'
import { createWriter } from '../../../src/ingest/journal/postgres-writer.ts'

const logger = pino({ level: 'silent' })

function submissionOf (device: string): Submission {
  const reading: ReadingRow = { device, timeUs: 1, hash: randomUUID(), vitals: '{}', receivedAtMs: 1 } as ReadingRow
  return new Submission({
    transport: 'mqtt', clientId: device, readings: [reading], letters: [], bytes: 0, acceptedAtMs: 0, isAllOrNothing: false, onSettled () {}
  })
}

t.test('each reading of a batch that was bisected in part is settled once', async (t) => {
  const [fresh, again] = [submissionOf('stored before'), submissionOf('poison')]
  // From an earlier attempt that ended before any of its readings was settled.
  again.decided = new Set()
  const written: string[][] = []
  const write = async (rows: readonly ReadingRow[]) => {
    written.push(rows.map(({ device }) => device))
    if (rows.length > 1) throw Object.assign(new Error('refused'), { code: '22P05', severity: 'ERROR' })
    if (rows[0]?.device === 'poison') throw Object.assign(new Error('lost'), { code: '08006', severity: 'FATAL' })
    return { duplicates: [0] }
  }
  const { write: writeBatch } = createWriter({ store: { write } as unknown as Store, logger })
  for (const attempt of [1, 2]) await t.rejects(writeBatch([fresh, again], { isCancelled: false }), { code: '08006' }, `${attempt}`)
  t.equal(fresh.duplicates, 1)
  t.equal(fresh.undecided.length, 0)
  t.same(written.filter(([device]) => device === 'stored before').length, 2, 'in the first try, with the other and alone')
})
