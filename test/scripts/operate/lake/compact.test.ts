import t from 'tap'
import { runCommandLine } from '../../../helpers/command-line.ts'
import { exactly } from '../../../helpers/exactly.ts'
import { createTestDir } from '../../../helpers/postgres.ts'
import { NO_STORE } from '../../../helpers/seaweedfs.ts'
import { startFiles, WHOLE } from '../../../lake/compacting-rig.ts'
import { createLakeRig } from '../../../lake/rig.ts'
import { startScriptedStore } from '../../../lake/scripted-store.ts'

const run = (variables: Readonly<Record<string, string>>, ...args: readonly string[]) =>
  runCommandLine(['lake', 'compact', ...args], variables)

t.test('errors have a message and an exit status', async (t) => {
  const VITAL_DATA_DIR = await createTestDir(t)
  t.match(await run({ VITAL_DATA_DIR }), { status: 1, stderr: /needs VITAL_LAKE_URL/ })
  t.match(await run({}, '--day', '2025-02-30'), { status: 2, stderr: /--day must be a day such as 2025-06-18, not "2025-02-30"/ })
  t.match(await run({}, '--day', '2025-06-18', '--before', '2025-06-18'), { status: 2, stderr: /exclude each other/ })
  t.match(await run({}, '--longest-query', '2d'), { status: 2, stderr: /--longest-query must be a time .* of a day at most/ })
  await startScriptedStore(t, [200, 200])
  t.match(await run({ VITAL_DATA_DIR, VITAL_LAKE_URL: 's3://vital-lake' }), { status: 1, stderr: /does not keep If-None-Match/ })
  await startScriptedStore(t, [403])
  t.match(await run({ VITAL_DATA_DIR, VITAL_LAKE_URL: 's3://vital-lake' }), { status: 1, stderr: /cannot be used: 403/ })
})

if (NO_STORE !== false) t.pass(`left out: ${NO_STORE}`, { skip: NO_STORE })
else {
  t.test('files are joined on the given days', async (t) => {
    const { createPlace } = await createLakeRig(t)
    const { place, files } = await startFiles(t, await createPlace(t))
    const variables = { VITAL_DATA_DIR: await createTestDir(t), VITAL_LAKE_URL: place.url }
    const none = await run(variables, '--before', '2025-06-18', '--longest-query', '0')
    t.match(none, { status: 0, stdout: '0 files became 0; 0 were emptied, 0 empty files removed, 0 stay for a day\n', stderr: '' })
    const told = await run(variables, '--day', '2025-06-18', '--dry-run')
    t.match(told, {
      status: 0,
      stdout: /^day=2025-06-18\/hour=09 partition 0 of [0-9a-f-]{36}: 5 files would become one of about \d+ bytes\n/
    })
    t.match(told.stdout, /\n7 files would become 2; 0 empty files would be removed; nothing was done\n$/)
    t.match(JSON.parse((await run(variables, '--dry-run', '--json')).stdout),
      { isDryRun: true, joined: exactly({ files: 5 }, { files: 2 }) })
    const done = await run(variables, '--day', '2025-06-18', '--longest-query', '0')
    t.match(done, { status: 0, stdout: /hour=09 partition 0 of .*: 5 files are one of \d+ bytes, 70 readings\n/ })
    t.match(done.stdout, /\n7 files became 2; 5 were emptied, 0 empty files removed, 5 stay for a day\n$/)
    t.same(await files.look(), { filled: 3, files: 8, ...WHOLE })
  })
}
