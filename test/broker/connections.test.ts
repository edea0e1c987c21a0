import { EventEmitter } from 'node:events'
import { Duplex } from 'node:stream'
import type { Client } from 'aedes'
import t from 'tap'
import type { Connection } from '../../broker/connection.ts'
import { Connections } from '../../broker/connections.ts'

/** The parts of Aedes' client that are released. */
const createClient = (closed: boolean, subscriptions: object = {}) => ({
  closed, subscriptions, conn: new Duplex(), _parser: new EventEmitter()
})

t.test('a closed client keeps neither socket nor parser nor connection', async (t) => {
  const connections = new Connections()
  const [gone, open, subscribed] = [createClient(true), createClient(false), createClient(true,
    { 'vital/a/rejected': { qos: 1 } })] as const
  for (const one of [gone, open, subscribed]) {
    const client = one as unknown as Client
    connections.add({} as Connection, client)
    connections.release(client)
  }
  const kept = [open, subscribed].map(({ conn, _parser }) => [conn, _parser])
  const isKnown = () => [gone, open, subscribed].map((one) => connections.of(one as unknown as Client) !== undefined)
  const { conn } = gone
  t.strictSame(isKnown(), [true, true, true], 'until Aedes is done with it')
  await new Promise(setImmediate)
  t.strictSame(isKnown(), [false, true, true])
  t.strictSame([open, subscribed].map(({ conn, _parser }) => [conn, _parser]), kept)
  t.not(gone.conn, conn)
  t.equal(gone.conn.destroyed, true)
  t.doesNotThrow(() => {
    gone.conn.write('late')
    gone.conn.removeAllListeners('error').on('error', () => {}).emit('drain')
    gone._parser.removeAllListeners('packet')
  }, 'late calls have no effect')
})
