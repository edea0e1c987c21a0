import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ROOT } from '../../helpers/program.ts'

export const PROMETHEUS_DIR = join(ROOT, 'scripts/compose/prometheus')

/**
 * Copies what compose mounts, with another target and another place of the secret.
 * @returns the path of `prometheus.yml`
 */
export async function copyPrometheusFiles (
  dir: string, { secret, target }: { readonly secret: string, readonly target: string }
): Promise<string> {
  const secretFile = join(dir, 'secret')
  await writeFile(secretFile, secret)
  const config = await readFile(join(PROMETHEUS_DIR, 'prometheus.yml'), 'utf8')
  const file = join(dir, 'prometheus.yml')
  await writeFile(file, config.replace('/etc/prometheus/credentials/secret', secretFile).replace('gateway:3000', target))
  await copyFile(join(PROMETHEUS_DIR, 'alerts.yml'), join(dir, 'alerts.yml'))
  return file
}
