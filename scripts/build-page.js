/**
 * Builds the live page of src/web into dist/web, and compresses each file, because the gateway serves them from memory.
 * A process of its own, started by scripts/build.js: Vite is loaded only when the page has changed.
 *
 *   node scripts/build-page.js                the page
 *   node scripts/build-page.js --if-changed   unless it was built from these sources
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import { dropPageStamp, isPageBuilt, stampPage } from './page-stamp.js'

const ROOT = join(import.meta.dirname, '..')
const PAGE = join(ROOT, 'dist', 'web')

if (process.argv.includes('--if-changed') && isPageBuilt(ROOT)) process.exit()
dropPageStamp(ROOT)
const { build } = await import('vite')
await build({ configFile: join(ROOT, 'src/web/vite.config.ts'), logLevel: 'warn' })
for (const name of readdirSync(PAGE, { recursive: true, encoding: 'utf8' })) {
  if (!/\.(?:html|js|css|svg)$/.test(name)) continue
  const path = join(PAGE, name)
  const bytes = readFileSync(path)
  writeFileSync(`${path}.br`, brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } }))
  writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }))
}
stampPage(ROOT)
