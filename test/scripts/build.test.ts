import { spawnSync } from 'node:child_process'
import { chmod, cp, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createTestDir } from '../helpers/postgres.ts'

const ROOT = join(import.meta.dirname, '../..')
const OUTPUT = 'dist/scripts/vital-gateway.js'

/**
 * Replaces tsc, which takes seconds. It copies its input, and like tsc skips files that its own record lists as written.
 */
const COMPILER = `
const { existsSync, mkdirSync, readFileSync, writeFileSync } = require('node:fs')
const source = readFileSync('scripts/vital-gateway.ts', 'utf8')
if (source.includes('FAULT')) process.exit(2)
if (existsSync('dist/.tsbuildinfo') && readFileSync('dist/.tsbuildinfo', 'utf8') === source) process.exit(0)
mkdirSync('dist/scripts', { recursive: true })
writeFileSync('dist/scripts/vital-gateway.js', source)
writeFileSync('dist/.tsbuildinfo', source)
`

/** A checkout of one file, with the build of this one. */
async function createCheckout (t: Test) {
  const dir = await createTestDir(t)
  for (const room of ['schemas', 'broker', 'db', 'src', 'scripts']) await mkdir(join(dir, room))
  for (const name of ['build.js', 'page-stamp.js']) await cp(join(ROOT, 'scripts', name), join(dir, 'scripts', name))
  await mkdir(join(dir, 'node_modules/typescript/bin'), { recursive: true })
  await writeFile(join(dir, 'node_modules/typescript/bin/tsc'), COMPILER)
  for (const name of ['package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json']) {
    await writeFile(join(dir, name), '{"type":"module"}')
  }
  const source = join(dir, 'scripts/vital-gateway.ts')
  await writeFile(source, '#!/usr/bin/env node\nexport const answer = 1\n')
  const build = (...args: string[]) => spawnSync(process.execPath, [join(dir, 'scripts/build.js'), ...args], { encoding: 'utf8' })
  const read = () => readFile(join(dir, OUTPUT), 'utf8')
  /** The time of the last compilation. */
  const stampedAt = async () => (await stat(join(dir, 'dist/.stamp.json'))).mtimeMs
  return { dir, source, build, read, stampedAt }
}

t.test('the build compiles when a source or an output has changed, and not otherwise', async (t) => {
  const { dir, source, build, read, stampedAt } = await createCheckout(t)
  t.match(build(), { status: 0, stderr: /^Compiling/ })
  t.match(await read(), /answer = 1/)
  t.equal((await stat(join(dir, OUTPUT))).mode & 0o111, 0o111, 'the program is executable')
  const first = await stampedAt()
  t.strictSame([build().status, build().stderr], [0, ''])
  t.equal(await stampedAt(), first, 'nothing was compiled')

  await writeFile(source, '#!/usr/bin/env node\nexport const answer = 2\n')
  t.equal(build().status, 0)
  t.match(await read(), /answer = 2/, 'a changed source')

  await rm(join(dir, OUTPUT))
  t.equal(build().status, 0)
  t.match(await read(), /answer = 2/, 'a file of dist/ that was deleted')

  await rm(join(dir, 'dist'), { recursive: true })
  t.equal(build().status, 0)
  t.match(await read(), /answer = 2/, 'the whole of dist/ deleted')

  await writeFile(join(dir, 'dist/left-over.js'), '')
  t.equal(build('--clean').status, 0)
  await t.rejects(stat(join(dir, 'dist/left-over.js')), { code: 'ENOENT' }, 'no file of an earlier build is packed')
})

t.test('an error in a source fails the build, also the second time', async (t) => {
  const { source, build } = await createCheckout(t)
  await writeFile(source, 'FAULT\n')
  t.equal(build().status, 1)
  t.equal(build().status, 1, 'nor the second time')
})

t.test('a read-only checkout', { skip: process.getuid?.() === 0 && 'root may write everywhere' }, async (t) => {
  const { dir, source, build } = await createCheckout(t)
  t.equal(build().status, 0)
  await chmod(join(dir, 'dist'), 0o555)
  t.equal(build().status, 0, 'an existing build is used')
  await writeFile(source, 'export const answer = 3\n')
  t.match(build(), { status: 1, stderr: /dist\/ was not built from these sources, and this account may not write/ })
  await chmod(join(dir, 'dist'), 0o755)
})
