import { type Metadata, ServerInterceptingCall, type ServerInterceptingCallInterface, type StatusObject } from '@grpc/grpc-js'
import type { Principal } from '../../schemas/principal.ts'
import { streamOf } from './library-call.ts'
import { GRPC_LIMITS } from './limits.ts'

/** The status that ends a call. */
export type EndStatus = Pick<StatusObject, 'code' | 'details'> & { readonly metadata?: Metadata }

/** Decides about a call once its headers have arrived: it calls `proceed`, or ends the call. */
export type Admit = (call: AdmittedCall, metadata: Metadata, proceed: () => void) => void

type Listener = Parameters<ServerInterceptingCallInterface['start']>[0]

/**
 * A call between the library and its handler, with a gate: while it is closed, the library reads no further message of
 * the call, so HTTP/2 stops the client.
 */
export class AdmittedCall extends ServerInterceptingCall {
  /** `null`: no credentials exist. */
  principal: Principal | null = null
  /** Unix milliseconds at which the credentials end; infinite for most. */
  expiresAtMs = Infinity
  readonly #next: ServerInterceptingCallInterface
  readonly #admit: Admit
  #isGateOpen = true
  #isReadWanted = false

  constructor (next: ServerInterceptingCallInterface, admit: Admit) {
    super(next)
    this.#next = next
    this.#admit = admit
  }

  /** The call of the library, below this one. */
  get library (): ServerInterceptingCallInterface {
    return this.#next
  }

  // Each call goes on directly: the base class makes objects and closures for every message.
  override start (listener: Listener): void {
    this.#next.start({
      onReceiveMetadata: (metadata) => { this.#admit(this, metadata, () => { listener.onReceiveMetadata(metadata) }) },
      onReceiveMessage: (message) => { listener.onReceiveMessage(message) },
      onReceiveHalfClose: () => { listener.onReceiveHalfClose() },
      onCancel: () => { listener.onCancel() }
    })
  }

  override startRead (): void {
    if (this.#isGateOpen) this.#next.startRead()
    else this.#isReadWanted = true
  }

  override sendMetadata (metadata: Metadata): void {
    this.#next.sendMetadata(metadata)
  }

  override sendMessage (message: unknown, callback: () => void): void {
    this.#next.sendMessage(message, callback)
  }

  setGate (isOpen: boolean): void {
    this.#isGateOpen = isOpen
    if (!isOpen || !this.#isReadWanted) return
    this.#isReadWanted = false
    this.#next.startRead()
  }

  /** Ends the call. A client that does not read the end, or goes on sending, has its stream reset. */
  end ({ code, details, metadata }: EndStatus): void {
    const stream = streamOf(this.#next)
    this.#next.sendStatus({ code, details, metadata: metadata ?? null })
    const timer = setTimeout(() => { stream.close(stream.rstCode) }, GRPC_LIMITS.endMs)
    stream.once('close', () => { clearTimeout(timer) })
    if (stream.closed) clearTimeout(timer)
  }
}
