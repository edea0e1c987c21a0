import { type Step, toStatement } from '../write/pipeline.ts'

/**
 * A function, because SET would warn in each transaction that a pipeline makes. Its row has no column: a text would be
 * taken for an identity.
 */
const STATEMENT = toStatement('select from set_config(\'statement_timeout\', $1, true)')

/**
 * Sets how long each later statement of the transaction may take. Each message of the protocol starts a fresh timeout.
 */
export function setStatementTimeout (timeoutMs: number): Step {
  return {
    statement: STATEMENT,
    parameters: 1,
    sizeBytes: 64,
    writeParameters: (writer) => { writer.text(String(timeoutMs)) }
  }
}
