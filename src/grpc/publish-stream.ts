/**
 * One `Publish` stream: requests in, answers out, and when the next request is read.
 *
 * The library reads a request only while the gate of the call is open. It is closed while
 * - the pipeline has stopped all reading: the buffer is full, or nothing can be made durable;
 * - too many requests are unanswered, or too many bytes of answers unread: a client that never reads would fill memory;
 * - the rate of the stream is used up.
 *
 * Answers of one batch leave in one message, because each message costs the library, and the client, as much as
 * decoding thirty answers. While a message has not left, further answers are collected for the next one.
 */
import type { ServerDuplexStream } from '@grpc/grpc-js'
import { status } from '@grpc/grpc-js'
import { createRateLimiter, type RateLimiter, type Rates } from '../../broker/publish/rate-limiter.ts'
import type { AcceptRequest } from '../ingest/request-outcome.ts'
import type { AdmittedCall, EndStatus } from './admitted-call.ts'
import { type Answer, encodeAnswers, toAnswer, toTooLarge } from './answers.ts'
import { GRPC_LIMITS } from './limits.ts'
import { decodeRequest, readNumber } from './requests.ts'

/** Options of {@link PublishStream}. */
export interface PublishStreamOptions {
  readonly ingest: AcceptRequest
  readonly requestBytesMax: number
  readonly rates: Rates
  /** All streams are told to stop reading. */
  readonly isPaused: () => boolean
  readonly onClosed: (stream: PublishStream) => void
}

/** See the top of this file. */
export class PublishStream {
  readonly call: AdmittedCall
  readonly #stream: ServerDuplexStream<Buffer, Buffer>
  readonly #options: PublishStreamOptions
  readonly #limiter: RateLimiter | null
  #due: Answer[] = []
  #dueBytes = 0
  /** Requests read whose answers have not left. */
  #unanswered = 0
  #isWriting = false
  #isFlushDue = false
  #limitTimer: NodeJS.Timeout | null = null
  #hasEnded = false
  #isClosed = false

  constructor (stream: ServerDuplexStream<Buffer, Buffer>, call: AdmittedCall, options: PublishStreamOptions) {
    this.call = call
    this.#stream = stream
    this.#options = options
    this.#limiter = createRateLimiter(options.rates, performance.now())
    this.updateGate()
    stream.on('data', (bytes: Buffer) => { this.#receive(bytes) })
    stream.on('end', () => {
      this.#hasEnded = true
      this.#finishIfDone()
    })
    // The library ends the call after an error.
    stream.on('error', () => {})
    stream.on('cancelled', () => { this.#close() })
  }

  /** Whether every answer has left. */
  get isFlushed (): boolean {
    return !this.#isWriting && this.#due.length === 0
  }

  /** Ends the stream. Answers that are due leave before, except to a client that does not read them. */
  end (reason: EndStatus): void {
    if (this.#isClosed) return
    if (!this.#isWriting) this.#flush()
    this.#close()
    this.call.end(reason)
  }

  /** Opens or closes the gate by the present state. */
  updateGate (): void {
    if (this.#isClosed) return
    const { unansweredMax, unsentBytesMax } = GRPC_LIMITS
    const isOpen = !this.#options.isPaused() && this.#unanswered < unansweredMax && this.#dueBytes < unsentBytesMax &&
      this.#limitTimer === null
    this.call.setGate(isOpen)
  }

  #receive (bytes: Buffer): void {
    if (this.#isClosed) return
    const { ingest, requestBytesMax } = this.#options
    this.#unanswered++
    this.#spend(bytes.length)
    if (bytes.length > requestBytesMax) {
      this.#answer(toTooLarge(readNumber(bytes)))
    } else {
      const { number, readings } = decodeRequest(bytes)
      const { principal } = this.call
      const onlyDevice = principal?.role === 'device' ? principal.id : null
      ingest({ readings, bytes: bytes.length, onlyDevice, isStreamed: true }, (outcome) => {
        this.#answer(toAnswer(number, outcome))
      })
    }
    this.updateGate()
  }

  #spend (bytes: number): void {
    const limiter = this.#limiter
    if (limiter === null) return
    limiter.fill(performance.now())
    limiter.spend(1, bytes)
    const shortage = limiter.shortage(GRPC_LIMITS.messagesAtOnce)
    if (shortage === null || this.#limitTimer !== null) return
    this.#limitTimer = setTimeout(() => {
      this.#limitTimer = null
      this.updateGate()
    }, Math.ceil(shortage.waitMs))
  }

  #answer (answer: Answer): void {
    if (this.#isClosed) return
    this.#due.push(answer)
    this.#dueBytes += answer.refusal.length
    if (this.#isFlushDue || this.#isWriting) return
    this.#isFlushDue = true
    // Runs once all answers of the batch that is being settled are due.
    queueMicrotask(() => {
      this.#isFlushDue = false
      if (!this.#isWriting) this.#flush()
    })
  }

  #flush (): void {
    const due = this.#due
    if (due.length === 0 || this.#isClosed) return
    const bytes = this.#dueBytes
    this.#due = []
    this.#isWriting = true
    this.#stream.write(encodeAnswers(due), () => {
      this.#isWriting = false
      this.#unanswered -= due.length
      this.#dueBytes -= bytes
      this.#flush()
      this.updateGate()
      this.#finishIfDone()
    })
  }

  /** A client that has ended its side gets its answers, and then the end. */
  #finishIfDone (): void {
    if (!this.#hasEnded || this.#unanswered > 0 || this.#isClosed) return
    this.#close()
    this.call.end({ code: status.OK, details: 'OK' })
  }

  #close (): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#due = []
    if (this.#limitTimer !== null) clearTimeout(this.#limitTimer)
    // Further messages are ignored, and the library reads the stream to its end.
    this.call.setGate(true)
    this.#options.onClosed(this)
  }
}
