import type { PlantedBug } from '../harness/plant-bug.ts'

/** Defects that can be planted in a run's copy of the gateway: a check that was never seen red proves nothing. */

export const BUGS = {
  /** JSON.stringify recurses, so deep nesting overflows the stack. */
  'deep-json': {
    file: 'src/ingest/decode.ts',
    find: 'if (depth > PARSED_DEPTH_MAX)',
    put: 'if (depth > PARSED_DEPTH_MAX) { let value; try { value = JSON.parse(payload.toString()) } catch {} JSON.stringify(value) } ' +
      'if (depth > PARSED_DEPTH_MAX)'
  },
  /** For each payload without valid JSON a file is opened and never closed. */
  'left-open': {
    file: 'src/ingest/decode.ts',
    find: 'return refuseWhole(payload, topicDevice, \'invalid_json\', `must be JSON',
    put: 'process.getBuiltinModule(\'fs\').openSync(\'/dev/null\'); return refuseWhole(payload, topicDevice, \'invalid_json\', ' +
      '`must be JSON'
  },
  /** The state of a connection outlives it. */
  'kept-connections': {
    file: 'broker/connections.ts',
    find: 'if (!this.#open.delete(connection)',
    put: '(globalThis.kept ??= []).push(connection); if (!this.#open.delete(connection)'
  },
  /** Some payloads without valid JSON cost four seconds. */
  stall: {
    file: 'src/ingest/decode.ts',
    find: 'return refuseWhole(payload, topicDevice, \'invalid_json\', `must be JSON',
    put: 'if (Math.random() < 0.001) for (const end = Date.now() + 4000; Date.now() < end;); return refuseWhole(payload, topicDevice, ' +
      '\'invalid_json\', `must be JSON'
  },
  /** Payloads beyond the cap of dead letters are not counted. */
  uncounted: { file: 'src/ingest/ingest.ts', find: 'ledger.refused(\'mqtt\', \'over_cap\', 1)', put: 'Object(ledger)' },
  /** Some publishes are acknowledged and forgotten. */
  forgotten: {
    file: 'src/ingest/ingest.ts',
    find: 'const acceptedAtMs = clock.monotonicMs()',
    put: 'if (publish.device !== null && publish.payload.length % 31 === 0) return publish.settle({ status: \'durable\', fanOut: ' +
      'publish.payload, rejections: [] }); const acceptedAtMs = clock.monotonicMs()'
  },
  /** A payload without valid JSON is logged. */
  'logged-payload': {
    file: 'src/ingest/decode.ts',
    find: 'return refuseWhole(payload, topicDevice, \'invalid_json\', `must be JSON',
    put: 'console.log(payload.toString()); return refuseWhole(payload, topicDevice, \'invalid_json\', `must be JSON'
  },
  /** A retained message goes out at QoS 3, which closes its subscribers. */
  'unwritable-retained': {
    file: 'broker/wire/encode.ts',
    find: '(isRetained ? RETAIN : 0)',
    put: '(isRetained ? topic.startsWith(\'$\') ? RETAIN : RETAIN | 0x06 : 0)'
  },
  /** An error that a query's text causes is answered as if the gateway were at fault. */
  'http-500': {
    file: 'src/http/error-answer.ts',
    find: 'if (statusCode === 404)',
    put: 'if (statusCode === 400) return new HTTP_ERRORS.Internal({ cause: error }); if (statusCode === 404)'
  }
} as const satisfies Record<string, PlantedBug>

export type Bug = keyof typeof BUGS
