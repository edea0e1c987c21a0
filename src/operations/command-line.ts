import packageJson from '../../package.json' with { type: 'json' }
import { DESCRIPTORS_MIN, readDescriptorLimit } from './descriptors.ts'

const HELP = `vital-gateway ${packageJson.version}: an MQTT-first telemetry gateway for vital signs

usage: npm start, or node dist/src/main.js [--help | --version]

Settings are environment variables, or stand in .env; .env.example lists all of them.
Signals: SIGTERM and SIGINT stop, SIGHUP reads certificates again.
Exit status: 0 after a stop, 1 after a fault, 2 after a wrong argument.
`

/**
 * What is answered before the program is loaded.
 * @returns `null`: go on; else what to write, and the exit status
 */
export function answerEarly (args: readonly string[], descriptorsMax = readDescriptorLimit()): { text: string, status: number } | null {
  if (args.includes('--version')) return { text: `${packageJson.version}\n`, status: 0 }
  if (args.includes('--help') || args.includes('-h')) return { text: HELP, status: 0 }
  if (args.length > 0) return { text: `vital-gateway: unknown argument ${args[0]}; settings are environment variables, see --help\n`, status: 2 }
  if (descriptorsMax >= DESCRIPTORS_MIN) return null
  return {
    text: `vital-gateway: this process may open ${descriptorsMax} files, and needs ${DESCRIPTORS_MIN} to start and one more for each connection: ` +
      'raise the limit (ulimit -n 65536, LimitNOFILE= of systemd, ulimits: nofile of compose).\n',
    status: 1
  }
}
