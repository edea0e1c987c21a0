import { connect } from 'node:net'
import mqttPacket, { type Packet } from 'mqtt-packet'
import t from 'tap'
import { insertPrincipals } from '../../db/queries/insert-principals.ts'
import { createDatabase } from '../../db/database.ts'
import { pino } from 'pino'
import { hashPassword } from '../../src/security/passwords.ts'
import { digestOf, generateSecret, toDigestBytes } from '../../src/security/secrets.ts'
import { readLedger, startGateway } from '../helpers/gateway.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { bearer, openCredentials } from '../helpers/credentials.ts'

const MESSAGES = 3

/** A device that connects and sends its backlog behind CONNECT. @returns the acknowledged packet ids */
async function comeBack (port: number, id: string, password: string): Promise<number[]> {
  const socket = connect(port, '127.0.0.1')
  const parser = mqttPacket.parser()
  const acknowledged: number[] = []
  socket.write(mqttPacket.generate({
    cmd: 'connect',
    clientId: id,
    username: id,
    password: Buffer.from(password),
    clean: false,
    keepalive: 60,
    protocolId: 'MQTT',
    protocolVersion: 4
  }))
  for (let messageId = 1; messageId <= MESSAGES; messageId++) {
    const payload = JSON.stringify({ timestamp: messageId, heartRateValue: 60 })
    socket.write(mqttPacket.generate({ cmd: 'publish', topic: `vital/${id}`, payload, qos: 1, messageId, dup: true, retain: false }))
  }
  try {
    return await new Promise((resolve, reject) => {
      parser.on('packet', (packet: Packet) => {
        if (packet.cmd === 'connack' && packet.returnCode !== 0) reject(new Error(`${id}: CONNACK ${packet.returnCode}`))
        if (packet.cmd !== 'puback') return
        acknowledged.push(packet.messageId as number)
        if (acknowledged.length === MESSAGES) resolve(acknowledged)
      })
      socket.on('data', (chunk) => parser.parse(chunk))
      socket.on('error', reject)
      socket.on('close', () => { reject(new Error(`${id}: closed`)) })
    })
  } finally {
    socket.destroy()
  }
}

t.test('a fleet connects at once, each device with messages behind its CONNECT: all are served at the first attempt', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 1, logger: pino({ level: 'silent' }) })
  t.teardown(() => database.close())
  const operator = await openCredentials(t, connectionString).add('ann', 'operator')
  const passwordArgon2id = await hashPassword('chosen by a person')
  const devices = Array.from({ length: 300 }, (_, index) => ({ id: `s${index}`, password: generateSecret() }))
  const old = Array.from({ length: 20 }, (_, index) => ({ id: `p${index}`, password: 'chosen by a person' }))
  await insertPrincipals(database.kysely, [
    ...devices.map(({ id, password }) => ({ id, role: 'device' as const, secretSha256: toDigestBytes(digestOf(password)) })),
    ...old.map(({ id }) => ({ id, role: 'device' as const, passwordArgon2id }))
  ])
  const { mqttPort, httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  const served = await Promise.all([...old, ...devices].map(({ id, password }) => comeBack(mqttPort, id, password)))
  t.ok(served.every((acknowledged) => acknowledged.join() === '1,2,3'))
  const sent = (devices.length + old.length) * MESSAGES
  const ledger = await readLedger(httpUrl, bearer(operator))
  t.match(ledger, { received: sent, balance: 0 })
  // Readings stored by a COMMIT of unknown outcome count as duplicates.
  t.equal(ledger.stored + ledger.duplicate, sent)
  t.match(await (await fetch(`${httpUrl}/metrics`, { headers: bearer(operator) })).text(),
    new RegExp(`^vital_logins_total\\{transport="mqtt",outcome="accepted"\\} ${devices.length + old.length}$`, 'm'))
})
