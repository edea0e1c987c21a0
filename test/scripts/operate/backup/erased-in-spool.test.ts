import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { connectClient, readLedger } from '../../../helpers/gateway.ts'
import { createTestDir } from '../../../helpers/postgres.ts'
import { drained, startCuts, startEmbeddedGateway } from './embedded-gateway.ts'
import { runOperated } from '../../../helpers/operator.ts'
import { until } from '../../../helpers/until.ts'

t.test('readings of an erased device in the spool of a backup do not come back', { timeout: 120_000 }, async (t) => {
  const dir = await createTestDir(t)
  const [dataDir, to, restored] = [join(dir, 'data'), join(dir, 'backup'), join(dir, 'restored')]
  const gateway = await startEmbeddedGateway(t, dataDir, { VITAL_COMMIT_TIMEOUT_MS: '200' })
  const client = await connectClient(t, gateway.mqttPort)
  await client.publishAsync('vital/kept', '{"timestamp":1}', { qos: 1 })
  const cuts = startCuts(gateway.connectionString, { cutMs: 100_000, openMs: 0 })
  await cuts.held
  for (const device of ['gone', 'kept']) {
    for (const timestamp of [2, 3]) {
      await client.publishAsync(`vital/${device}`,
        JSON.stringify({ timestamp }), { qos: 1 })
    }
  }
  const answer = await runOperated('backup', ['--to', to], { VITAL_DATA_DIR: dataDir })
  t.match(answer, { status: 0, stdout: /^readings +1 /m }, answer.stderr)
  t.ok((await readLedger(gateway.httpUrl)).pending >= 4, 'the readings wait in the spool')
  await cuts.stop()
  await drained(gateway.httpUrl)
  await until(async () => (await fetch(`${gateway.httpUrl}/vital-data/gone`, { method: 'DELETE' })).status === 200, 'the spool to be empty')
  await client.endAsync()
  await gateway.stop()
  await saveErasures(t, dataDir, restored)
  t.match(await runOperated('restore', ['--from', to, '--to', restored], {}), { status: 0, stdout: /^erased again +gone +2 readings/m },
    'found in the target directory of the restore')
  const again = await startEmbeddedGateway(t, restored)
  await drained(again.httpUrl)
  t.same(await again.query('select device, count(*)::int as n from readings group by 1'), [{ device: 'kept', n: 3 }])
})

/** Copies the record of erasures to another directory, and deletes the first one. */
async function saveErasures (t: Test, from: string, to: string): Promise<void> {
  const text = await readFile(join(from, 'erasures.jsonl'), 'utf8')
  await mkdir(to)
  await writeFile(join(to, 'erasures.jsonl'), text)
  await rm(from, { recursive: true })
  t.match(text, /"device":"gone"/)
}
