import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { openCredentials } from '../helpers/credentials.ts'
import { startGateway } from '../helpers/gateway.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { findPython } from '../helpers/python.ts'

const run = promisify(execFile)

const GENERATOR = 'grpcio-tools==1.85.1'
/** The first installation takes half a minute and is kept for later runs. */
const INSTALL_MAX_MS = 80_000
const RUN_MAX_MS = 30_000

const PROGRAM = `
import sys, grpc
from vital.v1 import ingest_pb2 as v1, ingest_pb2_grpc

target, secret = sys.argv[1:]
credential = [("authorization", "Bearer " + secret)]
with grpc.insecure_channel(target) as channel:
    stub = ingest_pb2_grpc.IngestStub(channel)
    reading = v1.Reading(device="ward-3", timestamp=1735689600.123456, spo2_value=97, other=b'{"serial":"A-17"}')
    answer = stub.Send(v1.PublishRequest(number=7, readings=[reading]), metadata=credential, timeout=20)
    assert (answer.number, answer.outcome) == (7, v1.STORED), answer
    late = v1.Reading(device="ward-3", timestamp=1735689600123, spo2_value=float("nan"))
    other = v1.Reading(device="ward-3", timestamp=2, other=b'{"serial":9007199254740993}')
    requests = [
        v1.PublishRequest(number=2**64 - 1, readings=[reading]),
        v1.PublishRequest(number=2, readings=[late]),
        v1.PublishRequest(number=3, readings=[other]),
        v1.PublishRequest(number=4, readings=[v1.Reading(device="ward-3", timestamp=3)] * 2),
    ]
    answers = {}
    for response in stub.Publish(iter(requests), metadata=credential, timeout=20):
        answers.update({answer.number: answer for answer in response.answers})
    assert answers[2**64 - 1].outcome == v1.DUPLICATE, answers
    assert answers[4].outcome == v1.STORED, answers
    assert answers[2].outcome == v1.REJECTED and answers[2].code == "VITAL_INVALID_READING", answers
    assert [fault.path for fault in answers[2].details] == ["/0/spo2Value", "/0/timestamp"], answers
    assert [fault.path for fault in answers[3].details] == ["/0/serial"], answers
    try:
        stub.Send(v1.PublishRequest(), metadata=[("authorization", "Bearer wrong")], timeout=20)
        raise AssertionError("a wrong secret was let in")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error
print("sent")
`

const found = await findPython(GENERATOR, INSTALL_MAX_MS)
const skip = 'reason' in found &&
  `no generated client was tried; python3 with venv and "pip install ${GENERATOR}" is needed: ${found.reason}`

t.test('a client that grpcio-tools generates from the proto file stores readings', { skip, timeout: 110_000 }, async (t) => {
  if (!('python' in found)) return
  const { python } = found
  const dir = await createTestDir(t)
  await run(python, [
    '-m', 'grpc_tools.protoc', '-I', join(import.meta.dirname, '../../schemas'), '--python_out=.', '--grpc_python_out=.',
    'vital/v1/ingest.proto'
  ], { cwd: dir, timeout: RUN_MAX_MS })
  const { connectionString, query } = await createTestDatabase(t)
  const secret = await openCredentials(t, connectionString).add('ward-3', 'device')
  const { grpcPort } = await startGateway(t, { DATABASE_URL: connectionString, VITAL_GRPC_PORT: '0' })
  await writeFile(join(dir, 'program.py'), PROGRAM)
  const { stdout } = await run(python, ['program.py', `127.0.0.1:${grpcPort}`, secret], { cwd: dir, timeout: RUN_MAX_MS })
  t.equal(stdout.trim(), 'sent')
  t.strictSame(await query('select vitals from readings order by time'), [{ vitals: {} }, { vitals: { serial: 'A-17', spo2Value: 97 } }])
})
