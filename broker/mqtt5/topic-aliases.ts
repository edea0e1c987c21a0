import { PacketError } from '../wire/v5/packet-error.ts'

/** Most aliases that the gateway uses itself: a subscriber of more topics has one for each of the first. */
const OUTBOUND_MAX = 64

/** A shorter topic is sent as it is: an alias takes three bytes. */
const TOPIC_LENGTH_MIN = 4

/** Topic aliases of all connections, now. */
export interface AliasTotal { count: number }

/** Topic aliases of one connection (MQTT 5 §3.3.2.3.4), which end with it. */
export class TopicAliases {
  readonly #inboundMax: number
  readonly #outboundMax: number
  readonly #total: AliasTotal
  // Most clients have none, so these are made when they are needed.
  #inbound: Map<number, string> | null = null
  #outbound: Map<string, number> | null = null

  /** @param options.inboundMax - that the gateway offers. @param options.outboundMax - that the client offers */
  constructor ({ inboundMax, outboundMax, total }: { inboundMax: number, outboundMax: number, total: AliasTotal }) {
    this.#total = total
    this.#inboundMax = inboundMax
    this.#outboundMax = Math.min(outboundMax, OUTBOUND_MAX)
  }

  /** Their connection is over. */
  clear (): void {
    this.#total.count -= (this.#inbound?.size ?? 0) + (this.#outbound?.size ?? 0)
    this.#inbound = null
    this.#outbound = null
  }

  /**
   * Notes the alias of a topic that came with it.
   * @throws PacketError for an alias beyond the offer [MQTT-3.3.2-9]
   */
  note (alias: number, topic: string): void {
    this.#check(alias)
    const inbound = this.#inbound ??= new Map<number, string>()
    if (!inbound.has(alias)) this.#total.count++
    inbound.set(alias, topic)
  }

  /**
   * @returns the topic that an alias stands for
   * @throws PacketError for an alias beyond the offer, or without a topic: some clients send an alias again after they
   *   have connected anew
   */
  resolve (alias: number): string {
    this.#check(alias)
    const topic = this.#inbound?.get(alias)
    if (topic === undefined) throw new PacketError('topic_alias_unknown')
    return topic
  }

  /** @returns the alias to send in place of, or beside, a topic; `null`: none */
  toOutbound (topic: string): { readonly alias: number, readonly isNew: boolean } | null {
    if (this.#outboundMax === 0 || topic.length < TOPIC_LENGTH_MIN) return null
    const known = this.#outbound?.get(topic)
    if (known !== undefined) return { alias: known, isNew: false }
    this.#outbound ??= new Map()
    if (this.#outbound.size >= this.#outboundMax) return null
    // Only the last alias is ever forgotten, so its number is used again.
    const alias = this.#outbound.size + 1
    this.#outbound.set(topic, alias)
    this.#total.count++
    return { alias, isNew: true }
  }

  /** A packet with a new alias was not sent. */
  forget (topic: string): void {
    if (this.#outbound?.delete(topic) === true) this.#total.count--
  }

  #check (alias: number): void {
    if (alias > this.#inboundMax) throw new PacketError('topic_alias')
  }
}
