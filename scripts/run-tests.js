/**
 * Run by `npm test`: tap over a compiled copy of the checkout, in `.compiled/`. From the sources each of some hundred
 * gateways and commands that the tests start costs 2.5 s of CPU, of which 1.5 s are tsx; from the copy it costs a
 * second, and only changed files are compiled again. The copy is whole (sources, documents and fixtures too), so that a
 * path that a test or a program derives from its own is valid in it as well. Types are not checked: `npm run typecheck`
 * does that. JavaScript, because nothing is compiled yet when it runs.
 *
 *   npm test                              all tests
 *   npm test -- test/clock.test.ts        some
 */
import { spawn, spawnSync } from 'node:child_process'
import {
  copyFileSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync
} from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { build } from 'esbuild'

const ROOT = join(import.meta.dirname, '..')
const COPY = join(ROOT, '.compiled')
const STAMPS = join(COPY, '.stamps.json')
const FOLDERS = ['.ci', 'schemas', 'broker', 'db', 'src', 'scripts', 'test']
const TAP = join(ROOT, 'node_modules/tap/dist/esm/run.mjs')
/** tap's own build of its plugins; `npm ci` installs one that does not follow .taprc. */
const TAP_BUILT = join(ROOT, 'node_modules/@tapjs/test/test-built/dist/esm/index.js')

/** Packages of hundreds of ES modules, each imported from one file instead. */
const BUNDLED = ['jose', 'kysely', 'typebox', 'typebox/compile', 'typebox/system', 'typebox/value']
/** Packages of hundreds of CommonJS modules, all of them in one file instead, so that shared modules exist once. */
const PACKED = [
  '@fastify/error', '@fastify/static', '@fastify/swagger', 'aedes', 'commander', 'fastify', 'light-my-request', 'mqtt', 'mqtt-packet', 'pg',
  'pino', 'prom-client', 'ws'
]
/** Each test loads it. */
const TEST_PACKED = ['tap']
/** tap leaves its own frames out of a stack, and knows them by this path. */
const TEST_PACK = 'node_modules/@tapjs/core/packed'
/** A change of one of these files makes the whole copy anew. */
const INPUTS_OF_ALL = ['package-lock.json', 'scripts/run-tests.js']

const isTypeScript = (path) => path.endsWith('.ts')
const toOutput = (path) => isTypeScript(path) ? path.replace(/ts$/, 'js') : path

/** Files of the checkout, relative to it, without those that are not in git. */
function listFiles () {
  const isFile = (path) => lstatSync(join(ROOT, path)).isFile()
  return [
    ...readdirSync(ROOT).filter((path) => path !== '.env' && isFile(path)),
    ...FOLDERS.flatMap((folder) => readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .map((name) => join(folder, name)).filter(isFile))
  ]
}

function readStamps () {
  try {
    return JSON.parse(readFileSync(STAMPS, 'utf8'))
  } catch {
    return {}
  }
}

/** Resolves a relative import to its output, and a bundled package to its bundle; Node.js resolves all others. */
const toOutputs = {
  name: 'to-outputs',
  setup ({ onResolve }) {
    onResolve({ filter: /./ }, ({ kind, path, importer }) => {
      if (kind === 'entry-point') return undefined
      if (path.startsWith('.')) return { path: toOutput(path), external: true }
      const isOwn = [...BUNDLED, ...PACKED, ...TEST_PACKED].includes(path)
      if (!isOwn && !BUNDLED.some((name) => path.startsWith(`${name}/`))) return { path, external: true }
      if (!isOwn) throw new Error(`scripts/run-tests.js: add ${path} to BUNDLED`)
      const bundle = relative(dirname(importer), join(ROOT, 'bundles', `${path}.js`))
      return { path: bundle.startsWith('.') ? bundle : `./${bundle}`, external: true }
    })
  }
}

const BUILD_OPTIONS = { bundle: true, format: 'esm', platform: 'node', target: 'node20.19', logLevel: 'warning' }

/** Compiles a file of packages from V8's cache of it, or anew where V8 or its flags have changed. */
const toLoader = (file) => `import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { constants, Script } from 'node:vm'
const filename = fileURLToPath(new URL('${file}', import.meta.url))
const cached = filename + '.cache'
export const script = new Script(
  '(function (exports, require, module, __filename, __dirname) {' + readFileSync(filename, 'utf8') + '\\n})',
  {
    filename,
    cachedData: existsSync(cached) ? readFileSync(cached) : undefined,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER
  }
)
const module = { exports: {} }
script.runInThisContext()(module.exports, createRequire(filename), module, filename, dirname(filename))
export const packages = module.exports
`

/** Writes names that packages export, and V8's cache. In a process of its own: loaded here, tap would begin a run. */
const INSPECTOR = `
const { packages, script } = await import(process.argv[1])
const { writeFileSync } = await import('node:fs')
const names = Object.entries(packages).map(([each, load]) => [each, Object.keys(load())])
writeFileSync(process.argv[2], JSON.stringify(Object.fromEntries(names)))
writeFileSync(process.argv[3], script.createCachedData())
process.exit()`

/**
 * Writes packages into one file, `{name}.cjs`, and for each of them a module with the names that Node.js finds in it.
 * @param name - without ending, below `bundles/`
 * @param defaultExport - as Node.js has it: for CommonJS all exports
 */
async function pack (name, packages, defaultExport = 'found') {
  const bundles = join(COPY, 'bundles')
  const file = join(bundles, `${name}.cjs`)
  await build({
    ...BUILD_OPTIONS,
    format: 'cjs',
    minifyWhitespace: true,
    stdin: {
      contents: packages.map((each) => `exports[${JSON.stringify(each)}] = () => require(${JSON.stringify(each)})`).join('\n'),
      resolveDir: ROOT
    },
    external: ['pg-native', 'bufferutil', 'utf-8-validate'],
    outfile: file
  })
  const loader = join(bundles, `${name}.js`)
  writeFileSync(loader, toLoader(basename(file)))
  const listed = `${file}.json`
  spawnSync(process.execPath, ['--input-type=module', '--eval', INSPECTOR, loader, listed, `${file}.cache`], {
    stdio: ['ignore', 'ignore', 'inherit']
  })
  const exported = JSON.parse(readFileSync(listed, 'utf8'))
  for (const each of packages) {
    const names = exported[each].filter((key) => /^[A-Za-z_$][\w$]*$/.test(key) && key !== 'default')
    const path = join(bundles, `${each}.js`)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, [
      `import { packages } from './${relative(dirname(path), loader)}'`,
      `const found = packages[${JSON.stringify(each)}]()`,
      `export default ${defaultExport}`,
      ...names.map((key) => `export const ${key} = found.${key}`)
    ].join('\n'))
  }
}

/** Brings the copy up to date. */
async function compile () {
  const now = Object.fromEntries(listFiles().map((path) => {
    const { mtimeMs, size } = statSync(join(ROOT, path))
    return [path, `${mtimeMs} ${size}`]
  }))
  const stamps = readStamps()
  // A folder that is gone must not stay in the copy either.
  const isKept = Object.keys(stamps).every((path) => now[path] !== undefined) &&
    INPUTS_OF_ALL.every((path) => now[path] === stamps[path])
  const changed = Object.keys(now).filter((path) => !isKept || now[path] !== stamps[path])
  if (changed.length === 0) return
  // Until it is whole again, nothing in it counts as up to date.
  rmSync(isKept ? STAMPS : COPY, { recursive: true, force: true })
  for (const path of changed) {
    mkdirSync(dirname(join(COPY, path)), { recursive: true })
    copyFileSync(join(ROOT, path), join(COPY, path))
  }
  if (!existsSync(join(COPY, 'node_modules'))) symlinkSync(join(ROOT, 'node_modules'), join(COPY, 'node_modules'))
  // Source maps, so that a failure names the line of the source.
  await build({
    ...BUILD_OPTIONS,
    entryPoints: changed.filter(isTypeScript).map((path) => join(ROOT, path)),
    outbase: ROOT,
    outdir: COPY,
    sourcemap: 'inline',
    sourcesContent: false,
    plugins: [toOutputs]
  })
  // Together, so that shared modules exist once.
  if (!existsSync(join(COPY, 'bundles'))) {
    await build({
      ...BUILD_OPTIONS,
      entryPoints: Object.fromEntries(BUNDLED.map((name) => [name, name])),
      absWorkingDir: ROOT,
      outdir: join(COPY, 'bundles'),
      splitting: true
    })
    await pack('packed', PACKED)
  }
  // No loader, and the tests by their compiled names.
  const settings = readFileSync(join(ROOT, '.taprc'), 'utf8').replace(/^ *- --import=tsx\n/m, '').replaceAll(/\.ts$/gm, '.js')
  writeFileSync(join(COPY, '.taprc'), settings)
  writeFileSync(STAMPS, JSON.stringify(now))
}

/** Runs tap, in the copy. @returns its exit status */
async function runTap (args) {
  const child = spawn(process.execPath, ['--import', './test/helpers/plain-tests.js', TAP, ...args], { cwd: COPY, stdio: 'inherit' })
  // The terminal signals both; tap reports its results so far.
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => { child.kill(signal) })
  return await new Promise((resolve, reject) => {
    child.on('error', reject).on('close', (status) => { resolve(status ?? 1) })
  })
}

/** Builds the plugins of .taprc: some seconds, once for each installation. */
async function buildTap () {
  const stamp = join(COPY, '.tap-built')
  const sum = `${statSync(TAP_BUILT).mtimeMs} ${readFileSync(join(ROOT, '.taprc'), 'utf8')}`
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === sum) return
  const status = await runTap(['build'])
  if (status !== 0) process.exit(status)
  await pack(TEST_PACK, TEST_PACKED, 'found.default')
  writeFileSync(stamp, `${statSync(TAP_BUILT).mtimeMs} ${readFileSync(join(ROOT, '.taprc'), 'utf8')}`)
}

try {
  await compile()
} catch (error) {
  // esbuild has printed what is wrong with a source.
  if (error.errors === undefined) throw error
  process.exit(1)
}
await buildTap()
process.exitCode = await runTap(process.argv.slice(2).map((arg) => /(?:^|\/)test\/.*\.ts$/.test(arg)
  ? toOutput(arg.slice(arg.lastIndexOf('test/')))
  : arg))
