/** Nothing of gRPC is loaded where it is off. In a file of its own, because other tests load it themselves. */
import { createRequire } from 'node:module'
import t from 'tap'
import { startGateway } from '../helpers/gateway.ts'

const loaded = () => Object.keys(createRequire(import.meta.url).cache)
  .filter((path) => /node_modules\/(?:@grpc|protobufjs|grpc-)/.test(path))

t.test('without VITAL_GRPC_PORT no package of gRPC is loaded, and there is no metric of gRPC', async (t) => {
  const off = await startGateway(t)
  t.equal(off.grpcPort, null)
  t.strictSame(loaded(), [])
  t.notMatch(await (await fetch(`${off.httpUrl}/metrics`)).text(), /vital_grpc/)
  const on = await startGateway(t, { VITAL_GRPC_PORT: '0' })
  t.ok(on.grpcPort)
  t.ok(loaded().length > 10)
})
