import { readdir, readFile, readlink } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { Config } from '../../../src/config/config.ts'
import { explainStartFault } from '../../../src/process/start-fault.ts'
import { fail, type Finding, ok, toMessage, warn } from './finding.ts'
import type { Holder } from './holder.ts'

interface Listener {
  readonly variable: string
  readonly host: string
  readonly port: number
}

/** Whether each port can be listened on, or is that of the gateway of this data directory. Each is bound for a moment. */
export async function checkPorts (config: Config, holder: Holder | null): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const { variable, host, port } of listListeners(config)) {
    const check = `port ${port}`
    const code = port === 0 ? null : await tryListen(host, port)
    if (port === 0) findings.push(ok(check, `${variable}: a free one is picked at each start`))
    else if (code === null) {
      findings.push(ok(check,
      `${variable}: ${host}:${port} is free${holder === null ? '' : ', though a gateway runs: it has other ports'}`))
    } else if (code.code === 'EADDRINUSE' &&
      holder !== null) findings.push(await judgeHeld(check, `${variable}: ${host}:${port}`, port, holder))
    else findings.push(fail(check, toMessage(explainStartFault(code, config))))
  }
  return findings
}

/** The listeners that the gateway opens. */
function listListeners (config: Config): Listener[] {
  const { host, mqttPort, httpPort, grpcPort, transport: { mqttHost, mqttsPort, tls, admin } } = config
  return [
    { variable: 'VITAL_MQTT_PORT', host: mqttHost, port: mqttPort },
    ...tls === null ? [] : [{ variable: 'VITAL_MQTTS_PORT', host, port: mqttsPort }],
    { variable: 'VITAL_HTTP_PORT', host, port: httpPort },
    ...grpcPort === null ? [] : [{ variable: 'VITAL_GRPC_PORT', host, port: grpcPort }],
    ...admin === null ? [] : [{ variable: 'VITAL_ADMIN_PORT', host: admin.host, port: admin.port }]
  ]
}

/** @returns the error; `null`: the port can be listened on */
async function tryListen (host: string, port: number): Promise<NodeJS.ErrnoException | null> {
  const server = createServer()
  return await new Promise((resolve) => {
    server.once('error', resolve)
    server.listen(port, host, () => { server.close(() => { resolve(null) }) })
  })
}

async function judgeHeld (check: string, where: string, port: number, { pid }: Holder): Promise<Finding> {
  const isHeld = pid === null ? null : await holdsPort(pid, port)
  if (isHeld === true) return ok(check, `${where} is held by the gateway of this data directory (process ${pid})`)
  if (isHeld === null) {
    return warn(check, `${where} is in use, and it is unknown whether by the gateway of this data directory`,
      'run this as the user that runs the gateway')
  }
  return fail(check, `${where} is in use, and not by the gateway of this data directory (process ${pid})`,
    'stop the program that listens there, or set the variable to another port')
}

/** Listening sockets with their processes, on Linux. @returns `null` elsewhere */
async function holdsPort (pid: number, port: number): Promise<boolean | null> {
  try {
    const inodes = new Set(await listListening(port))
    for (const name of await readdir(`/proc/${pid}/fd`)) {
      const target = await readlink(`/proc/${pid}/fd/${name}`).catch(() => '')
      const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1]
      if (inode !== undefined && inodes.has(inode)) return true
    }
    return false
  } catch {
    // Another user's process, or a system without /proc.
    return null
  }
}

/** Inodes of the sockets that listen on a port, in the network namespace of this process (proc(5), /proc/net/tcp). */
async function listListening (port: number): Promise<string[]> {
  const hexadecimal = port.toString(16).toUpperCase().padStart(4, '0')
  const tables = await Promise.all(['tcp', 'tcp6'].map((name) => readFile(`/proc/net/${name}`, 'utf8').catch(() => '')))
  return tables.join('\n').split('\n').map((line) => line.trim().split(/\s+/))
    // 0A is TCP_LISTEN.
    .filter(([, local = '', , state]) => state === '0A' && local.endsWith(`:${hexadecimal}`))
    .map((fields) => fields[9] ?? '')
}
