/** Health, reflection, and private parts of the library that the gateway relies on. */
import {
  type ChannelCredentials, credentials, loadPackageDefinition, Metadata, type ServerInterceptingCallInterface, status
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { protoPath } from 'grpc-health-check'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { realDisk } from '../../src/ingest/journal/spool/disk.ts'
import { encodingOf, streamOf } from '../../src/grpc/library-call.ts'
import { createDatabaseSwitch } from '../helpers/database-switch.ts'
import { openCredentials } from '../helpers/credentials.ts'
import { startGateway } from '../helpers/gateway.ts'
import { openGrpcClient } from '../helpers/grpc.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'

type Callback = (error: (Error & { code: number }) | null, answer: { status: string }) => void
interface Stream { on (event: string, listener: (data: never) => void): void, write (request: object): void, cancel (): void }
interface HealthClient {
  check (request: object, callback: Callback): void
  watch (request: object): Stream
  close (): void
}

type Construct<C> = new (address: string, channel: ChannelCredentials) => C

function openHealth (t: Test, port: number) {
  const { grpc } = loadPackageDefinition(loadSync(protoPath, { enums: String, defaults: true })) as unknown as {
    grpc: { health: { v1: { Health: Construct<HealthClient> } } }
  }
  const client = new grpc.health.v1.Health(`127.0.0.1:${port}`, credentials.createInsecure())
  t.teardown(() => { client.close() })
  return {
    check: (service: string) => new Promise<string>((resolve, reject) => {
      client.check({ service }, (error, answer) => {
        if (error === null) resolve(answer.status)
        else reject(error)
      })
    }),
    watch (service: string): string[] {
      const seen: string[] = []
      const stream = client.watch({ service })
      stream.on('data', ({ status }: { status: string }) => { seen.push(status) })
      stream.on('error', () => {})
      t.teardown(() => { stream.cancel() })
      return seen
    }
  }
}

t.test('health is readiness, without credentials, and watchers are told of changes', async (t) => {
  const database = await createDatabaseSwitch(t)
  await openCredentials(t, database.connectionString).add('ann', 'admin')
  let isBroken = false
  const disk: typeof realDisk = {
    ...realDisk,
    async create (path) {
      if (isBroken) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
      return await realDisk.create(path)
    }
  }
  const { grpcPort } = await startGateway(t, { DATABASE_URL: database.connectionString, VITAL_GRPC_PORT: '0' }, { disk })
  const { check, watch } = openHealth(t, grpcPort!)
  await until(async () => await check('') === 'SERVING', 'ready')
  t.equal(await check('vital.v1.Ingest'), 'SERVING')
  await t.rejects(check('other'), { code: status.NOT_FOUND })
  const seen = watch('vital.v1.Ingest')
  await until(() => seen.length === 1, 'the state now')
  isBroken = true
  await database.off()
  await until(() => seen.at(-1) === 'NOT_SERVING', 'the outage')
  isBroken = false
  await database.on()
  await until(() => seen.at(-1) === 'SERVING', 'its end')
})

t.test('reflection is for the roles that may read the documents', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const { add } = openCredentials(t, connectionString)
  const secrets = [await add('app', 'application'), await add('ward-3', 'device')]
  const { grpcPort } = await startGateway(t, { DATABASE_URL: connectionString, VITAL_GRPC_PORT: '0' })
  const file = join(import.meta.dirname, '../../node_modules/@grpc/reflection/build/proto/grpc/reflection/v1/reflection.proto')
  const { grpc } = loadPackageDefinition(loadSync(file, { keepCase: true })) as unknown as {
    grpc: { reflection: { v1: { ServerReflection: Construct<{ ServerReflectionInfo (metadata: Metadata): Stream, close (): void }> } } }
  }
  const ask = async (secret: string | undefined, request: object) => {
    const client = new grpc.reflection.v1.ServerReflection(`127.0.0.1:${grpcPort}`, credentials.createInsecure())
    t.teardown(() => { client.close() })
    const metadata = new Metadata()
    if (secret !== undefined) metadata.set('x-api-key', secret)
    const stream = client.ServerReflectionInfo(metadata)
    stream.write(request)
    return await new Promise<Record<string, unknown>>((resolve, reject) => {
      stream.on('data', (data: Record<string, unknown>) => {
        stream.cancel()
        resolve(data)
      })
      stream.on('error', reject)
    })
  }
  const listed = await ask(secrets[0], { list_services: '*' })
  t.match(JSON.stringify(listed), /vital\.v1\.Ingest/)
  const found = await ask(secrets[0], { file_containing_symbol: 'vital.v1.PublishRequest' })
  t.ok(found['file_descriptor_response'])
  await t.rejects(ask(secrets[1], { list_services: '*' }), { code: status.PERMISSION_DENIED })
  await t.rejects(ask(undefined, { list_services: '*' }), { code: status.UNAUTHENTICATED })
})

t.test('a stream without a request ends with OK', async (t) => {
  const { grpcPort } = await startGateway(t, { VITAL_GRPC_PORT: '0' })
  const { stream, ended } = openGrpcClient(t, grpcPort!).open()
  stream.end()
  t.equal((await ended()).code, status.OK, 'a stream without a request')
})

t.test('the library still has the parts that its types do not show', async (t) => {
  const { Server, ServerCredentials, ServerInterceptingCall } = await import('@grpc/grpc-js')
  const calls: ServerInterceptingCallInterface[] = []
  const sockets: unknown[] = []
  const server = new Server({
    interceptors: [(_, call) => {
      calls.push(call)
      sockets.push(streamOf(call).session?.socket)
      return new ServerInterceptingCall(call)
    }]
  })
  const pass = (bytes: Buffer) => bytes
  const method = { requestSerialize: pass, requestDeserialize: pass, responseSerialize: pass, responseDeserialize: pass }
  server.addService({ Publish: { path: '/vital.v1.Ingest/Publish', requestStream: true, responseStream: true, ...method } },
    { Publish: (stream: { end (): void }) => { stream.end() } })
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound)
      else reject(error)
    })
  })
  t.teardown(() => { server.forceShutdown() })
  await openGrpcClient(t, port).open().ended()
  t.equal(encodingOf(calls[0]!), 'identity')
  t.equal(typeof streamOf(calls[0]!).close, 'function')
  t.ok(sockets[0])
})
