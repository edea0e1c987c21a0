import { ConfigError } from '../config/config-error.ts'

interface Where {
  readonly dataDir: string
  readonly mqttPort: number
  readonly httpPort: number
  readonly grpcPort: number | null
  readonly transport: { readonly mqttsPort: number, readonly admin: { readonly port: number } | null }
}

/** Reasons why a directory cannot be used, by the error code of the system call. */
const DIRECTORY_CODES: Readonly<Record<string, string>> = {
  EACCES: 'may not be written by this account',
  EPERM: 'may not be written by this account',
  EROFS: 'is on a read-only file system',
  ENOTDIR: 'is not a directory, or is below a file',
  EEXIST: 'is not a directory',
  ENOSPC: 'is on a full disk',
  EDQUOT: 'is on a disk whose quota is used up'
}
/** Of `mkdir` alone: elsewhere it says that a file is missing. */
const NO_PLACE = 'lies where no directory can be made'

/**
 * The fault that an operator has to correct, as one line that names the variable and the remedy.
 * @returns `error` itself where no better explanation is known
 */
export function explainStartFault (error: unknown, config: Where): unknown {
  if (!(error instanceof Error)) return error
  const { code = '', syscall, port, path } = error as NodeJS.ErrnoException & { port?: number }
  if (syscall === 'listen' || syscall === 'bind') {
    return new ConfigError(explainListen(code, error.message, toVariable(port, config)), { cause: error })
  }
  const isOurs = path === undefined || path.startsWith(config.dataDir) || config.dataDir.startsWith(path)
  const reason = code === 'ENOENT' && syscall === 'mkdir' ? NO_PLACE : DIRECTORY_CODES[code]
  if (reason === undefined || !isOurs) return error
  return new ConfigError(`VITAL_DATA_DIR=${config.dataDir} ${reason} (${path ?? code}): put that right, or set ` +
    'VITAL_DATA_DIR to a directory of the account that runs the gateway.', { cause: error })
}

function toVariable (port: number | undefined, { mqttPort, httpPort, grpcPort, transport }: Where): string {
  const ports: Array<[string, number | null | undefined]> = [
    [
      'VITAL_MQTT_PORT', mqttPort
    ], [
      'VITAL_HTTP_PORT', httpPort
    ], ['VITAL_MQTTS_PORT', transport.mqttsPort], ['VITAL_ADMIN_PORT', transport.admin?.port],
    ['VITAL_GRPC_PORT', grpcPort]
  ]
  const name = ports.find(([, given]) => given === port)?.[0]
  return name === undefined ? `port ${port}` : `${name}=${port}`
}

function explainListen (code: string, message: string, variable: string): string {
  if (code === 'EADDRINUSE') {
    return `${variable} is in use (EADDRINUSE): stop what listens there, another gateway perhaps, or set the ` +
      'variable to another port.'
  }
  if (code === 'EACCES') {
    return `${variable} needs a privilege (EACCES): set the variable to a port from 1024 on, or let this account ` +
      'bind it.'
  }
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') {
    return `VITAL_HOST is not an address of this machine (${code}): set it to one, such as 127.0.0.1 or 0.0.0.0.`
  }
  return `${variable} cannot be listened on: ${message}`
}
