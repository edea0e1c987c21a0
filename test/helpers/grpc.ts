import { setTimeout as sleep } from 'node:timers/promises'
import { join } from 'node:path'
import {
  type CallOptions, type ChannelCredentials, type ClientDuplexStream, type ClientOptions, credentials, loadPackageDefinition, Metadata,
  type ServiceError, type StatusObject
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import type { Test } from 'tap'
import { until } from './until.ts'

/** A reading as protobufjs takes it. */
export interface ProtoReading extends Record<string, unknown> {
  device?: string
  timestamp?: number
  other?: Buffer
}

export interface ProtoRequest {
  number?: number | string
  readings: ProtoReading[]
}

export interface ProtoAnswer {
  /** A uint64, as text. */
  number: string
  outcome: 'OUTCOME_UNSPECIFIED' | 'STORED' | 'DUPLICATE' | 'REJECTED' | 'UNAVAILABLE'
  code: string
  message: string
  details: Array<{ path: string, message: string }>
}

type Duplex = ClientDuplexStream<ProtoRequest, { answers: ProtoAnswer[] }>

interface IngestClient {
  Publish (metadata?: Metadata, options?: CallOptions): Duplex
  Send (request: ProtoRequest, metadata: Metadata, options: CallOptions,
    callback: (error: ServiceError | null, answer?: ProtoAnswer) => void): void
  close (): void
}

const definition = loadSync('vital/v1/ingest.proto', {
  includeDirs: [join(import.meta.dirname, '../../schemas')], longs: String, enums: String, defaults: true
})

export interface GrpcClientOptions {
  readonly secret?: string | undefined
  readonly channel?: ChannelCredentials
  readonly options?: ClientOptions
  readonly host?: string
}

/** A client of the gateway's own proto file, made by @grpc/proto-loader; closed when the test ends. */
export function openGrpcClient (t: Test, port: number, { secret, channel, options, host = '127.0.0.1' }: GrpcClientOptions = {}) {
  const { vital } = loadPackageDefinition(definition) as unknown as {
    vital: { v1: { Ingest: new (address: string, credentials: ChannelCredentials, options: ClientOptions) => IngestClient } }
  }
  // A subchannel of its own, because clients of one process share connections otherwise.
  const client = new vital.v1.Ingest(`${host}:${port}`, channel ?? credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1, ...options
  })
  t.teardown(() => { client.close() })
  const metadata = new Metadata()
  if (secret !== undefined) metadata.set('authorization', `Bearer ${secret}`)
  return {
    close: () => { client.close() },
    /** @throws the status of a call that failed */
    send: (readings: ProtoReading[], number: number | string = 0, callOptions: CallOptions = {}): Promise<ProtoAnswer> =>
      new Promise((resolve, reject) => {
        client.Send({ number, readings }, metadata, callOptions, (error, answer) => {
          if (error === null) resolve(answer!)
          else reject(error)
        })
      }),
    /** A Publish stream that notes its answers. */
    open: (callOptions: CallOptions = {}, extra: Record<string, string> = {}) => {
      const own = metadata.clone()
      for (const [name, value] of Object.entries(extra)) own.set(name, value)
      return toStream(client.Publish(own, callOptions))
    }
  }
}

export type GrpcClient = ReturnType<typeof openGrpcClient>
export type GrpcStream = ReturnType<GrpcClient['open']>

function toStream (stream: Duplex) {
  const answers: ProtoAnswer[] = []
  let status: StatusObject | null = null
  let hasHeaders = false
  stream.on('data', (response: { answers: ProtoAnswer[] }) => { answers.push(...response.answers) })
  stream.on('status', (given: StatusObject) => { status = given })
  stream.on('metadata', () => { hasHeaders = true })
  stream.on('error', () => {})
  return {
    stream,
    answers,
    status: () => status,
    write (request: ProtoRequest): void { stream.write(request) },
    answerTo: async (number: number | string): Promise<ProtoAnswer> => {
      await until(() => answers.some((answer) => answer.number === String(number)) || status !== null, `the answer to ${number}`)
      const answer = answers.find((one) => one.number === String(number))
      if (answer === undefined) throw new Error(`no answer to ${number}: ${JSON.stringify(status)}`)
      return answer
    },
    admitted: () => until(() => hasHeaders || status !== null, 'headers'),
    ended: async (): Promise<StatusObject> => {
      await until(() => status !== null, 'the end of the stream')
      await sleep(0)
      return status!
    }
  }
}
