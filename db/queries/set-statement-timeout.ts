import { type Step, toStatement } from '../write/pipeline.ts'

/**
 * A function and no SET, which would warn in each transaction that a pipeline makes; and no row, which would be taken
 * for an identity.
 */
const STATEMENT = toStatement('select from set_config(\'statement_timeout\', $1, true)')

/**
 * Until the end of the transaction, each later statement of it may take so long. The protocol's next message starts a
 * fresh timeout.
 */
export function setStatementTimeout (timeoutMs: number): Step {
  return {
    statement: STATEMENT,
    parameters: 1,
    sizeBytes: 64,
    writeParameters: (writer) => { writer.text(String(timeoutMs)) }
  }
}
