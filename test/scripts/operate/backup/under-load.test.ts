import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createBackup } from '../../../../scripts/operate/backup/create.ts'
import { readManifest } from '../../../../scripts/operate/backup/manifest.ts'
import { createConfig } from '../../../../src/config/config.ts'
import { connectClient } from '../../../helpers/gateway.ts'
import { createTestDir } from '../../../helpers/postgres.ts'
import { drained, startCuts, startEmbeddedGateway, startLoad } from './embedded-gateway.ts'
import { runOperated } from '../../../helpers/operator.ts'
import { until } from '../../../helpers/until.ts'

const SLOTS = 'select slot_name from pg_replication_slots'

/** Files and directories below `directory` that group or others may use. */
async function listOpen (directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const open: string[] = []
  for (const path of [
    directory, ...entries.map((entry) => join(entry.parentPath, entry.name))
  ]) {
    if (((await stat(path)).mode & 0o077) !== 0) {
      open.push(path)
    }
  }
  return open
}

const toKey = (device: string, n: number) => `${device}/${n}`

t.test('under load, partly through the spool: exactly the acknowledged readings are restored, and the ' +
  'audit passes', { timeout: 240_000 }, async (t) => {
  const dir = await createTestDir(t)
  const [dataDir, to, restored] = [join(dir, 'data'), join(dir, 'backup'), join(dir, 'restored')]
  const gateway = await startEmbeddedGateway(t, dataDir, { VITAL_COMMIT_TIMEOUT_MS: '200' })
  const load = await startLoad(t, gateway.mqttPort)
  const cuts = startCuts(gateway.connectionString, { cutMs: 700, openMs: 300 })
  await sleep(1500)
  const config = createConfig({ VITAL_DATA_DIR: dataDir })
  // Longer than the spool needs to fill and empty, so that readings move between two steps of the backup.
  const onStep = async () => {
    await sleep(1200)
    // The spool is empty for a part of each interruption.
    await until(async () => (await readdir(gateway.spool)).some((name) => name.endsWith('.spool')), 'the spool to hold readings')
  }
  await createBackup({
    config, to, tell: () => {}, progress: process.stderr, signal: new AbortController().signal, onStep
  })
  await cuts.stop()
  await load.stop()
  t.same(await gateway.query(SLOTS), [], 'no slot is left')
  await gateway.stop()
  t.same(await listOpen(to), [], 'the backup is for its owner only')
  t.same((await readdir(dir)).sort(), ['backup', 'data'])

  const manifest = await readManifest(to)
  const spooled = manifest.files.filter(({ path }) => path.startsWith('spool/') && path.endsWith('.spool'))
  t.ok(spooled.length > 0, `the backup holds ${spooled.length} segments of the spool`)
  t.match(await runOperated('restore', ['--from', to, '--to', restored, '--no-erasures'], {}), { status: 0, stdout: /^readings restored/m })
  t.same((await readdir(restored)).includes('restore.partial'), false)
  t.equal((await stat(restored)).mode & 0o777, 0o700)

  const again = await startEmbeddedGateway(t, restored)
  await drained(again.httpUrl)
  const rows = new Set((await again.query('select device, vitals->>\'n\' as n from readings')).map(({ device, n }) => toKey(String(device),
    Number(n))))
  const holdsAllBeforeMs = Date.parse(manifest.holdsAllBefore)
  const due = load.sent.filter(({ acknowledgedAtMs }) => acknowledgedAtMs !== null && acknowledgedAtMs < holdsAllBeforeMs)
  t.ok(due.length > 2000, `${due.length} of ${load.sent.length} were acknowledged before the spool was copied`)
  t.same(due.filter(({ device, n }) => !rows.has(toKey(device, n))).length, 0, 'acknowledged and not restored')
  const known = new Set(load.sent.map(({ device, n }) => toKey(device, n)))
  t.same([...rows].filter((key) => !known.has(key)), [], 'restored and never sent')
  t.same(await again.query(`select latest.device
    from latest join (select device, max(time) as newest from readings group by 1) r using (device)
    where newest <> latest.time`), [], 'each device\'s latest is its newest')
  const client = await connectClient(t, again.mqttPort)
  await client.publishAsync('vital/new', '{"timestamp":1}', { qos: 1 })
  const audit = await runOperated('audit', ['--url', again.httpUrl], { VITAL_DATA_DIR: restored })
  t.match(audit, { status: 0, stdout: /balanced/ }, audit.stdout)
})
