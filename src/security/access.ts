/**
 * Whether the gateway is open: every client may do everything, because no credential exists yet.
 *
 * - `unknown`: PostgreSQL has not been asked yet and no earlier answer is stored. Every client is told to retry.
 *
 * - `open`: no principal exists, and neither tokens nor client certificates are configured.
 *
 * - `closed`: every client needs a credential. The gateway never reopens while it runs: deleting all principals is
 * more likely a mistake or an attack than the wish to admit everyone.
 *
 * - `exposed`: no principal exists, but the listeners can be reached from beyond this machine and
 * VITAL_ALLOW_ANONYMOUS is not set. Every client is told to retry, until the first credential closes the gateway.
 *
 * The last answer of PostgreSQL is kept in a file, so that a gateway that starts while PostgreSQL is away keeps its
 * mode.
 */
import { readFile, rename, writeFile } from 'node:fs/promises'
import type { Logger } from 'pino'

/** See the top of this file. */
export type AccessMode = 'unknown' | 'open' | 'closed' | 'exposed'

interface AccessOptions {
  /** Where the answer is remembered; `null`: nowhere. */
  readonly file: string | null
  /** The address that the listeners bind, for warnings. */
  readonly host: string
  readonly isLoopback: boolean
  /** Trusted proxies may bring clients of other machines. */
  readonly isProxied: boolean
  /** VITAL_ALLOW_ANONYMOUS. */
  readonly isAnonymousAllowed: boolean
  /** Tokens or client certificates are configured, so that the gateway is closed without any principal. */
  readonly hasOtherCredentials: boolean
  readonly logger: Logger
  /** Ends every connection that was accepted without a credential. */
  readonly onClosed: () => void
}

/** One gateway's answer to whether it is open. */
export function createAccess (
  { file, host, isLoopback, isProxied, isAnonymousAllowed, hasOtherCredentials, logger, onClosed }: AccessOptions
) {
  const whenEmpty: AccessMode = isLoopback || isAnonymousAllowed ? 'open' : 'exposed'
  const isOfThisMachine = isLoopback && !isProxied
  const reach = isProxied ? `${host} or a proxy of VITAL_TRUSTED_PROXIES` : host
  let mode: AccessMode = hasOtherCredentials ? 'closed' : 'unknown'
  let remembered: boolean | null = null
  /** PostgreSQL of this run has answered. */
  let isConfirmed = false
  let writing: Promise<void> = Promise.resolve()

  /** Written beside and renamed, so that a crash leaves the old or the new. */
  async function remember (isOpen: boolean): Promise<void> {
    if (file === null) return
    try {
      await writeFile(`${file}.new`, `${JSON.stringify({ open: isOpen })}\n`, { mode: 0o600 })
      await rename(`${file}.new`, file)
    } catch (error) {
      // Only a start while PostgreSQL is away would miss it.
      logger.warn({ err: error }, 'the file that tells whether credentials exist could not be written')
    }
  }

  function enter (next: AccessMode): void {
    const before = mode
    mode = next
    if (next === 'open' && isOfThisMachine) {
      logger.info('no credentials exist: every client on this machine may publish and read. Require credentials with ' +
        '`vital-gateway credentials add`')
    } else if (next === 'open') {
      logger.warn(openWarning(reach))
    } else if (next === 'exposed') {
      logger.error(exposedMessage(host))
    } else if (before === 'open' || before === 'exposed') {
      logger.info('credentials exist now: from here on every client needs one')
      onClosed()
    }
  }

  return {
    get mode (): AccessMode {
      return mode
    },

    /** PostgreSQL of this run has answered. */
    get isConfirmed (): boolean {
      return isConfirmed
    },

    /** Reads the answer that an earlier run stored. Called before anything listens. */
    async load (): Promise<void> {
      if (file === null) return
      let text
      try {
        text = await readFile(file, 'utf8')
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
        return
      }
      remembered = toRemembered(text)
      if (remembered === null) {
        logger.warn({ file },
          'the file that tells whether credentials exist cannot be read; PostgreSQL is asked instead')
      } else if (mode === 'unknown') enter(remembered ? whenEmpty : 'closed')
    },

    /** The answer of PostgreSQL. @param isEmpty - no principal exists, not even a revoked one */
    update (isEmpty: boolean): void {
      const next = isEmpty ? whenEmpty : 'closed'
      // The stored answer may be of another database, so the first answer of PostgreSQL may open a closed gateway.
      if (mode !== next && (mode !== 'closed' || !isConfirmed) && !hasOtherCredentials) enter(next)
      isConfirmed = true
      const isOpen = mode === 'open' || mode === 'exposed'
      if (isOpen === remembered) return
      remembered = isOpen
      writing = writing.then(() => remember(isOpen))
    },

    /** Shown in readiness, for as long as they hold. */
    warnings (): string[] {
      if (mode === 'open' && !isOfThisMachine) return [openWarning(reach)]
      if (mode === 'exposed') return [exposedMessage(host)]
      return mode === 'unknown'
        ? ['PostgreSQL has not been asked yet whether credentials exist; no client is admitted until it answers']
        : []
    },

    /** Settles when everything is on disk. */
    stop: (): Promise<void> => writing
  }
}

/** The message that stops a start, and the warning when PostgreSQL was away at that time. */
export function exposedMessage (host: string): string {
  return `VITAL_HOST=${host} would let every client on the network publish and read vital signs, because no credentials ` +
    'exist. Add one with `vital-gateway credentials add`, bind 127.0.0.1, or set VITAL_ALLOW_ANONYMOUS=true if the ' +
    'network itself keeps strangers out.'
}

function openWarning (reach: string): string {
  return `every client that reaches ${reach} may publish and read: no credentials exist`
}

function toRemembered (text: string): boolean | null {
  try {
    const { open } = JSON.parse(text) as { open?: unknown }
    return typeof open === 'boolean' ? open : null
  } catch {
    return null
  }
}
