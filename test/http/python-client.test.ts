import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { createOpenApi } from '../../src/http/openapi.ts'
import { startGateway } from '../helpers/gateway.ts'
import { post } from '../helpers/http-server.ts'
import { createTestDir } from '../helpers/postgres.ts'
import { findPython } from '../helpers/python.ts'

const run = promisify(execFile)

const GENERATOR = 'openapi-python-client==0.29.1'
/** The first installation takes half a minute and is kept for later runs. */
const INSTALL_MAX_MS = 50_000
const RUN_MAX_MS = 30_000

const PROGRAM = `
import sys
from vital_gateway_client import Client
from vital_gateway_client.api.devices import get_device, get_history, list_devices
from vital_gateway_client.models import ErrorAnswer, ListDevicesSortBy
client = Client(base_url=sys.argv[1])
device = get_device.sync("ward-3", client=client)
assert device.heart_rate == 61.5 and device.vitals["spo2Value"] == 97, device
page = list_devices.sync(client=client, count=1, sort_by=ListDevicesSortBy.DEVICEID, prefix="ward-")
assert page.total == 2 and page.next_ is not None, page
rest = list_devices.sync(client=client, count=1, sort_by=ListDevicesSortBy.DEVICEID, prefix="ward-", cursor=page.next_)
assert rest.next_ is None and rest.resources[0].device_id != page.resources[0].device_id, rest
history = get_history.sync("ward-3", client=client, from_="2025-06-18T00:00:00Z")
assert history.resources[0].vitals["heartRateValue"] == 61.5 and history.next_ is None, history
error = get_device.sync("unknown", client=client)
assert isinstance(error, ErrorAnswer) and error.code == "VITAL_DEVICE_NOT_FOUND", error
print("read")
`

const found = await findPython(GENERATOR, INSTALL_MAX_MS)
const skip = 'reason' in found &&
  `no generated client was tried; python3 with venv and "pip install ${GENERATOR}" is needed: ${found.reason}`

t.test('a client generated from the document reads stored readings', { skip, timeout: 110_000 }, async (t) => {
  if (!('python' in found)) return
  const { python } = found
  const dir = await createTestDir(t)
  await writeFile(join(dir, 'openapi.json'), JSON.stringify(await createOpenApi('1.2.3')))
  // Without its formatter, which is a separate program.
  await writeFile(join(dir, 'config.yaml'), 'post_hooks: []\n')
  // Without the flag it warns of an answer that it cannot generate, and ends with 0.
  const generated = await run(python, [
    '-m', 'openapi_python_client', 'generate', '--path', 'openapi.json', '--config', 'config.yaml', '--meta', 'none', '--output-path',
    'vital_gateway_client', '--fail-on-warning'
  ], { cwd: dir, timeout: RUN_MAX_MS })
  t.notMatch(generated.stdout, /warning/i)
  const { httpUrl } = await startGateway(t)
  const body = '[{"device":"ward-3","timestamp":1750240830.25,"heartRateValue":61.5,"spo2Value":97},' +
    '{"device":"ward-4","timestamp":1750240831}]'
  t.equal((await post(httpUrl, body)).status, 202)
  await writeFile(join(dir, 'program.py'), PROGRAM)
  const { stdout } = await run(python, ['program.py', httpUrl], { cwd: dir, timeout: RUN_MAX_MS })
  t.equal(stdout.trim(), 'read')
})
