/**
 * Devices and their messages: every message that was sent, its content, and how it was answered. A device keeps
 * a message until it is acknowledged or refused, and sends it again when it is not.
 */
import assert from 'node:assert/strict'
import type { ClientTransport } from '../../../schemas/transport.ts'
import type { FieldReadings } from '../../../src/ingest/decode-fields.ts'
import type { PostOutcome } from '../../../src/ingest/post-outcome.ts'
import type { Verdict } from '../../../broker/ingest.ts'
import type { FakeDatabase, Poison } from './database.ts'
import type { SimulatedGateway } from './gateway.ts'
import type { Random } from '../../../scripts/harness/random.ts'

/** One element of a message. Its `id` is in the row or dead letter that it becomes. */
interface Element {
  readonly id: number
  readonly device: string
  readonly timestamp: number
  readonly isValid: boolean
  readonly poison: Poison | null
  readonly json: string
  /** The number of deliveries. */
  sent: number
  isAcknowledged: boolean
}

interface Message {
  readonly transport: ClientTransport
  readonly device: string
  readonly elements: readonly Element[]
  readonly payload: Buffer
  state: 'ready' | 'sent' | 'acknowledged' | 'refused'
}

/** The number of units in the largest message. */
export const MESSAGE_UNITS_MAX = 12
const BLOB_MAX = 250_000
const FIRST_TIMESTAMP_S = 1_740_000_000

export class Traffic {
  readonly #random: Random
  readonly #elements: Element[] = []
  readonly #messages: Message[] = []
  #ready: Message[] = []
  /** The number of the current life. */
  #life = 0
  /** The times of deliveries without an answer, oldest first. */
  #unsettled = new Set<{ readonly atMs: number }>()
  #unitsSent = { mqtt: 0, http: 0, grpc: 0 }
  /** The first wrong answer. It is kept here, because an error thrown into ingest would be lost. */
  failure: Error | null = null

  constructor (random: Random) {
    this.#random = random
  }

  get counts () {
    return { messages: this.#messages.length, acknowledged: this.#messages.filter(({ state }) => state === 'acknowledged').length }
  }

  get unsettled (): number {
    return this.#unsettled.size
  }

  /** The time since the oldest delivery without an answer. */
  get unsettledMs (): number {
    const [oldest] = this.#unsettled
    return oldest === undefined ? 0 : performance.now() - oldest.atMs
  }

  get unitsSent (): Readonly<Record<ClientTransport, number>> {
    return this.#unitsSent
  }

  /** The number of messages without a final answer. */
  get isDone (): boolean {
    return this.#ready.length === 0 && this.#unsettled.size === 0
  }

  /** A new process: the devices connect again, and send their unanswered messages. */
  beginLife (): void {
    this.#life++
    this.#unsettled.clear()
    this.#unitsSent = { mqtt: 0, http: 0, grpc: 0 }
    for (const message of this.#messages) {
      if (message.state !== 'sent') continue
      message.state = 'ready'
      this.#ready.push(message)
    }
  }

  /** Sends a waiting message, an acknowledged one again (as if its acknowledgement was lost), or a new one. */
  send (gateway: SimulatedGateway): void {
    if (this.#ready.length > 0 && this.#random.chance(0.5)) return this.resend(gateway)
    const old = this.#messages.length > 0 && this.#random.chance(0.08) ? this.#random.pick(this.#messages) : null
    this.#deliver(old?.state === 'acknowledged' ? old : this.#create(), gateway)
  }

  resend (gateway: SimulatedGateway): void {
    const [message] = this.#ready.splice(this.#random.below(this.#ready.length), 1)
    if (message !== undefined) this.#deliver(message, gateway)
  }

  #deliver (message: Message, gateway: SimulatedGateway): void {
    const { transport, payload, device, elements } = message
    const life = this.#life
    const isAgain = message.state === 'acknowledged'
    if (!isAgain) message.state = 'sent'
    const delivery = { atMs: performance.now() }
    this.#unsettled.add(delivery)
    this.#unitsSent[transport] += elements.length
    for (const element of elements) element.sent++
    let isSettled = false
    const settle = (status: Verdict['status'] | PostOutcome['status']) => {
      // Answers of a dead process do not arrive.
      if (life !== this.#life) return
      if (isSettled) this.failure ??= new Error(`the message of ${elements[0]?.id} was settled twice`)
      isSettled = true
      this.#unsettled.delete(delivery)
      this.#settle(message, status, isAgain)
    }
    if (transport === 'http') gateway.ingest.acceptPost(payload, ({ status }) => { settle(status) })
    else if (transport === 'grpc') {
      const request = { readings: toFieldReadings(elements), bytes: payload.length, onlyDevice: null, isStreamed: elements.length > 1 }
      gateway.ingest.acceptRequest(request, ({ status }) => { settle(status) })
    } else {
      gateway.ingest.acceptPublish({
        topic: `vital/${device}`, device, payload, clientId: device, settle: ({ status }) => { settle(status) }
      })
    }
  }

  #settle (message: Message, status: Verdict['status'] | PostOutcome['status'], isAgain: boolean): void {
    const isBad = message.elements.some(({ isValid, poison }) => !isValid || poison !== null)
    if (status === 'durable') {
      message.state = 'acknowledged'
      for (const element of message.elements) element.isAcknowledged = true
    } else if (status === 'invalid') {
      if (!isBad) this.failure ??= new Error(`the message of ${message.elements[0]?.id} was refused, although it is valid`)
      if (!isAgain) message.state = 'refused'
    } else if (!isAgain) {
      message.state = 'ready'
      this.#ready.push(message)
    }
  }

  #create (): Message {
    const transport = this.#random.chance(0.6) ? 'mqtt' : this.#random.pick(['http', 'grpc'] as const)
    const device = `device-${this.#random.below(5)}`
    const isArray = this.#random.chance(0.3)
    const elements = Array.from({ length: isArray ? 1 + this.#random.below(MESSAGE_UNITS_MAX) : 1 }, () => this.#element(device, transport))
    const payload = isArray ? `[${elements.map(({ json }) => json).join()}]` : elements[0]!.json
    const message: Message = { transport, device, elements, payload: Buffer.from(payload), state: 'ready' }
    this.#messages.push(message)
    return message
  }

  #element (device: string, transport: ClientTransport): Element {
    const random = this.#random
    const id = this.#elements.length
    const isValid = !random.chance(transport === 'mqtt' ? 0.08 : 0.02)
    const poison = isValid && random.chance(0.06) ? random.pick(['always', 'constraint'] as const) : null
    // Many readings share an instant, so that their identities differ only by content.
    const timestamp = FIRST_TIMESTAMP_S + random.below(20)
    const fields: Record<string, unknown> = { device, timestamp: isValid ? timestamp : -1, id }
    if (poison !== null) fields['poison'] = poison
    if (random.chance(0.1)) fields['note'] = 'x'.repeat(random.below(600))
    // 60 B to 250 KB. Most are small, because a schedule would take minutes otherwise.
    if (random.chance(0.02)) fields['blob'] = 'x'.repeat(Math.floor(BLOB_MAX ** random.next()))
    const element = { id, device, timestamp, isValid, poison, json: JSON.stringify(fields), sent: 0, isAcknowledged: false }
    this.#elements.push(element)
    return element
  }

  /**
   * Compares the acknowledgements with the rows and dead letters.
   * @param setAside - ids of readings and letters that are kept on disk, because PostgreSQL refused these and not others
   * @param areLettersCapped - whether an invalid payload may have been acknowledged and only counted
   * @param lossesMax - readings that a disk may have destroyed
   */
  check (database: FakeDatabase, setAside: ReadonlySet<number>, areLettersCapped: boolean, lossesMax: number): void {
    let losses = 0
    const rows = new Map<number, number>()
    for (const row of database.rows.values()) {
      const id = row.fields['id'] as number
      const element = this.#elements[id]
      assert.ok(element !== undefined && element.sent > 0 && element.isValid, `row ${id} was never sent as a reading`)
      assert.equal(row.device, element.device, `row ${id} has its device`)
      assert.equal(row.timeUs, element.timestamp * 1e6, `row ${id} has its time`)
      const { device: _device, timestamp: _timestamp, ...vitals } = JSON.parse(element.json) as Record<string, unknown>
      assert.deepEqual(JSON.parse(row.vitals), vitals, `row ${id} has its vitals`)
      rows.set(id, (rows.get(id) ?? 0) + 1)
    }
    const letters = new Map<number, number>()
    for (const { payload, reason } of database.letters.values()) {
      const { id } = JSON.parse(payload.toString()) as { id: number }
      const element = this.#elements[id]
      assert.ok(element !== undefined && element.sent > 0, `letter ${id} was never sent`)
      assert.equal(reason, element.isValid ? 'database_rejected' : 'invalid_reading', `letter ${id} has its reason`)
      assert.ok(!element.isValid || element.poison !== null, `reading ${id} is a dead letter, although it is valid`)
      letters.set(id, (letters.get(id) ?? 0) + 1)
    }
    for (const { id, poison, isValid, isAcknowledged, sent } of this.#elements) {
      const kept = letters.get(id) ?? 0
      assert.ok((rows.get(id) ?? 0) <= 1, `reading ${id} is stored ${rows.get(id)} times`)
      assert.ok(kept <= sent, `${id} was sent ${sent} times and is a dead letter ${kept} times`)
      assert.ok(poison !== 'always' || !rows.has(id), `reading ${id} was stored, although PostgreSQL must refuse it`)
      if (!isAcknowledged || (!isValid && areLettersCapped)) continue
      assert.ok(rows.has(id) || kept > 0 || setAside.has(id) || ++losses <= lossesMax, `lost: ${id} was acknowledged, and is neither ` +
        'stored nor kept')
    }
  }
}

/** The same readings as over gRPC: a double, and all other fields as the bytes of a JSON object. */
function toFieldReadings (elements: readonly Element[]): FieldReadings {
  const parsed = elements.map(({ json }) => JSON.parse(json) as Record<string, unknown>)
  return {
    fields: parsed.map(({ device, timestamp }) => ({ device, timestamp })),
    others: new Map(parsed.map(({ device: _, timestamp: __, ...other }, index) => [index, Buffer.from(JSON.stringify(other))]))
  }
}
