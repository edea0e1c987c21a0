/** A fault that the operator has to correct; its message says how. */
export class OperatorError extends Error {
  readonly code: 'OPERATOR_USAGE' | 'OPERATOR_FAILED'

  constructor (code: OperatorError['code'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** A wrong command line: exit status 2. */
export function usageError (message: string, options?: ErrorOptions): OperatorError {
  return new OperatorError('OPERATOR_USAGE', message, options)
}
