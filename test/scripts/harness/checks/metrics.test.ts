import t from 'tap'
import { checkMetrics, type Scrape } from '../../../../scripts/harness/checks/metrics.ts'
import { exactly } from '../../../helpers/exactly.ts'

const SEEN: Scrape = {
  received: 20,
  found: 0,
  stored: 10,
  logged: 0,
  duplicate: 4,
  deadLettered: 3,
  refused: 2,
  pending: 1,
  spoolReadings: 1,
  spoolBytes: 100,
  replayed: 0,
  damage: 0,
  bufferBytes: 0,
  databaseUp: true,
  readingStopped: false,
  balance: 0
}

t.test('the metrics of a run are compared with its rows', async (t) => {
  t.same(checkMetrics(SEEN, { readings: 10, letters: 3 }), [])
  t.same(checkMetrics(SEEN, { readings: 14, letters: 3 }), [], 'after commits of unknown outcome rows count as duplicates')
  t.same(checkMetrics(SEEN, null), [], 'nobody counted')
  for (const added of [{
    readings: 9, letters: 3
  }, { readings: 15, letters: 3 }, { readings: 10, letters: 4 }, { readings: 10, letters: 2 }]) {
    t.match(checkMetrics(SEEN, added), exactly({ checker: 'C7' }), JSON.stringify(added))
  }
  t.same(checkMetrics({ ...SEEN, found: 2 }, { readings: 10, letters: 1 }), [], 'letters found in the spool may be stored already')
  t.match(checkMetrics({ ...SEEN, balance: 1 }, null), exactly({ checker: 'C7', message: /balance/ }))
})
