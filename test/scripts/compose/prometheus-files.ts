import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ROOT } from '../../helpers/program.ts'

export const PROMETHEUS_DIR = join(ROOT, 'scripts/compose/prometheus')

interface Copied {
  readonly secret: string
  /** Addresses that replace the names and ports of the containers. */
  readonly targets: Readonly<Record<string, string>>
  /** The name of a shipped file; by default that of one gateway. */
  readonly name?: 'prometheus.yml' | 'several.yml'
  /** Targets of the profile `scale`. */
  readonly hasSinks?: boolean
  /** Lakes, exports and bridges, as an operator names them in `streams.yml`. */
  readonly streams?: readonly string[]
}

/**
 * Copies the files that compose mounts, with other targets and another path of the secret.
 * @returns the path of `prometheus.yml`
 */
export async function copyPrometheusFiles (
  dir: string, { secret, targets, name = 'prometheus.yml', hasSinks = false, streams = [] }: Copied
): Promise<string> {
  const secretFile = join(dir, 'secret')
  await writeFile(secretFile, secret)
  let config = (await readFile(join(PROMETHEUS_DIR, name), 'utf8')).replaceAll('/etc/prometheus/credentials/secret', secretFile)
  let sinks = await readFile(join(PROMETHEUS_DIR, 'sinks.yml'), 'utf8')
  for (const [container, target] of Object.entries(targets)) {
    config = config.replace(container, target)
    sinks = sinks.replace(container, target)
  }
  const file = join(dir, 'prometheus.yml')
  await writeFile(file, config)
  if (hasSinks) await writeFile(join(dir, 'sinks.yml'), sinks)
  const shipped = await readFile(join(PROMETHEUS_DIR, 'streams.yml'), 'utf8')
  await writeFile(join(dir, 'streams.yml'), shipped.replace(/^- targets: .*/m, `- targets: [${streams.join(', ')}]`))
  await copyFile(join(PROMETHEUS_DIR, 'alerts.yml'), join(dir, 'alerts.yml'))
  return file
}
