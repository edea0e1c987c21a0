import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { connectClient } from '../../../helpers/gateway.ts'
import { createTestDir } from '../../../helpers/postgres.ts'
import { startEmbeddedGateway } from './embedded-gateway.ts'
import { runOperated } from '../../../helpers/operator.ts'

t.test('a backup, erasures since, and a restore', { timeout: 240_000 }, async (t) => {
  const dir = await createTestDir(t)
  const dataDir = join(dir, 'data')
  const variables = { VITAL_DATA_DIR: dataDir }
  const gateway = await startEmbeddedGateway(t, dataDir)
  const client = await connectClient(t, gateway.mqttPort)
  for (const device of ['kept', 'gone', 'gone-before']) {
    for (const timestamp of [1, 2, 3]) await client.publishAsync(`vital/${device}`, JSON.stringify({ timestamp }), { qos: 1 })
    await client.publishAsync(`vital/${device}`, 'a dead letter', { qos: 1 })
  }
  const erase = async (device: string) => (await fetch(`${gateway.httpUrl}/vital-data/${device}`, { method: 'DELETE' })).status
  t.equal(await erase('gone-before'), 200)

  const backup = join(dir, 'backup')
  t.match(await runOperated('backup', ['--to', backup], variables), { status: 0 })
  await client.publishAsync('vital/gone-before', '{"timestamp":4}', { qos: 1 })
  const late = join(dir, 'late')
  t.match(await runOperated('backup', ['--to', late], variables), { status: 0 })
  t.equal(await erase('gone'), 200)
  await client.endAsync()
  await gateway.stop()
  t.match(await runOperated('erase', ['--device', 'gone-later', '--yes'], variables), { status: 0 },
    'also where the command erases in place of the gateway')
  t.match(await readFile(join(dataDir, 'erasures.jsonl'), 'utf8'), /"device":"gone-later"/)

  await t.test('a device erased after the backup is erased again, one erased before it is restored', async (t) => {
    const restored = join(dir, 'erased')
    const answer = await runOperated('restore', ['--from', late, '--to', restored, '--erasures', join(dataDir, 'erasures.jsonl')], {})
    t.match(answer, { status: 0, stdout: /^erased again +gone +3 readings, 1 dead letters/m }, answer.stderr)
    const again = await startEmbeddedGateway(t, restored)
    t.same(await again.query('select device, count(*)::int as n from readings group by 1 order by 1'),
      [{ device: 'gone-before', n: 1 }, { device: 'kept', n: 3 }])
    t.same(await again.query('select device from latest order by 1'), [{ device: 'gone-before' }, { device: 'kept' }])
    t.same(await again.query('select device from dead_letters'), [{ device: 'kept' }])
    t.match(await readFile(join(restored, 'erasures.jsonl'), 'utf8'), /"gone-before"[^]*"gone"[^]*"gone-later"[^]*"gone"/)
    await again.stop()
  })

  await t.test('with a stopped gateway: a restore without the record of erasures brings devices back', async (t) => {
    const to = join(dir, 'stopped')
    t.match(await runOperated('backup', ['--to', to], variables), { status: 0, stderr: /no gateway runs/, stdout: /^readings +4 /m })
    t.notOk(existsSync(join(dataDir, 'postgres', 'postmaster.pid')))
    t.match(await runOperated('backup', ['verify', to, '--restore-check'], {}), { status: 0, stdout: /^readings restored +4 /m })
    t.match(await runOperated('restore', ['--from', backup, '--to', join(dir, 'back'), '--no-erasures'], {}), {
      status: 0, stdout: /^readings restored +6 /m
    })
  })
})
