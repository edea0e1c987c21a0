/**
 * Builds the live page of src/web into dist/web, and compresses each file beforehand, for the gateway serves them from memory.
 * A process of its own, started by scripts/build.js: Vite is loaded only when something of the page has changed.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import { build } from 'vite'

const ROOT = join(import.meta.dirname, '..')
const PAGE = join(ROOT, 'dist', 'web')

await build({ configFile: join(ROOT, 'src/web/vite.config.ts'), logLevel: 'warn' })
for (const name of readdirSync(PAGE, { recursive: true, encoding: 'utf8' })) {
  if (!/\.(?:html|js|css|svg)$/.test(name)) continue
  const path = join(PAGE, name)
  const bytes = readFileSync(path)
  writeFileSync(`${path}.br`, brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } }))
  writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }))
}
