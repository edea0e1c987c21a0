import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Installs one npm package into the cache, unless it is there. Its install scripts do not run.
 * @returns its directory
 * @throws when npm fails; its messages are on stderr
 */
export function installPackage (cacheDir: string, name: string, version: string): string {
  const prefix = join(cacheDir, `${name.replace('/', '+')}@${version}`)
  const directory = join(prefix, 'node_modules', name)
  if (existsSync(join(directory, 'package.json'))) return directory
  mkdirSync(prefix, { recursive: true })
  const { status } = spawnSync('npm', [
    'install', '--silent', '--no-save', '--no-audit', '--no-fund', '--ignore-scripts', '--prefix', prefix,
    `${name}@${version}`
  ], { stdio: ['ignore', 2, 2] })
  if (status !== 0) throw new Error(`npm install ${name}@${version} failed`)
  return directory
}
