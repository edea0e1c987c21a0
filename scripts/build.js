/**
 * Compiles the program into dist/, unless dist/ was compiled from exactly these sources. `npm start` asks each time: reading and
 * hashing all sources takes some tens of milliseconds, tsc several seconds even where nothing has changed.
 * JavaScript, because nothing is compiled yet when it runs.
 *
 *   node scripts/build.js           what npm run build and npm start do
 *   node scripts/build.js --clean   from an empty dist/, for npm pack
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  accessSync, chmodSync, constants, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync
} from 'node:fs'
import { dirname, join } from 'node:path'
import { isPageBuilt } from './page-stamp.js'

const ROOT = join(import.meta.dirname, '..')
const DIST = join(ROOT, 'dist')
const STAMP = join(DIST, '.stamp.json')
const PAGE_SOURCES = join(ROOT, 'src', 'web')
const BIN = join(DIST, 'scripts', 'vital-gateway.js')
const TSC = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
/** Folders of sources; from scripts/ tsc compiles only what the program imports. */
const ROOMS = ['schemas', 'broker', 'db', 'src', 'scripts']
const OTHER_INPUTS = [
  'package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json', 'scripts/build.js', 'scripts/page-stamp.js'
]

/** Sources that are compiled, relative to the root. */
function listSources () {
  return ROOMS.flatMap((room) => readdirSync(join(ROOT, room), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts')).sort().map((name) => join(room, name)))
    .filter((path) => !path.startsWith(join('src', 'web', '/')))
}

/** Files that the program reads when it runs, for the reflection of gRPC; relative to the root. */
function listProtos () {
  return readdirSync(join(ROOT, 'schemas'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.proto')).sort().map((name) => join('schemas', name))
}

function hash (sources) {
  const sum = createHash('sha256')
  for (const path of [...OTHER_INPUTS, ...sources]) sum.update(`${path}\0`).update(readFileSync(join(ROOT, path))).update('\0')
  return sum.digest('hex')
}

const toOutput = (source) => join(DIST, source.replace(/ts$/, 'js'))

function readStamp () {
  try {
    return JSON.parse(readFileSync(STAMP, 'utf8'))
  } catch {
    return null
  }
}

const isComplete = (stamp) => stamp !== null && stamp.outputs.every((path) => existsSync(join(ROOT, path)))

/** A gateway without its page still stores readings: a fault here stops the packing of a package, and never a start. */
function buildPage () {
  if (isPageBuilt(ROOT)) return
  assertWritable()
  const { status } = spawnSync(process.execPath, [join(ROOT, 'scripts', 'build-page.js')], { cwd: ROOT, stdio: ['ignore', 2, 2] })
  if (status === 0) return
  if (isClean) process.exit(1)
  process.stderr.write('The live page was not built: GET / will say so. Everything else is there.\n')
}

function end (message) {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}

/** A checkout that another account owns can be run only while dist/ is up to date. */
function assertWritable () {
  try {
    accessSync(existsSync(DIST) ? DIST : ROOT, constants.W_OK)
  } catch {
    end(`dist/ was not built from these sources, and this account may not write to ${ROOT}: run npm run build as its owner, or clone ` +
      'into a directory of your own.')
  }
  if (!existsSync(TSC)) end('dist/ was not built from these sources, and there is no compiler: run npm ci, without --omit=dev.')
}

const isClean = process.argv.includes('--clean')
const sources = listSources()
const sum = hash([...sources, ...listProtos()])
const stamp = isClean ? null : readStamp()
const isWhole = isComplete(stamp)
if (!isWhole || stamp.sum !== sum) {
  assertWritable()
  rmSync(isClean ? DIST : STAMP, { recursive: true, force: true })
  // Its own record would keep tsc from writing again what was deleted.
  if (!isWhole) rmSync(join(DIST, '.tsbuildinfo'), { force: true })
  mkdirSync(DIST, { recursive: true })
  // On a busy or small machine it takes a minute, in which a first start would show nothing.
  process.stderr.write('Compiling into dist/.\n')
  const { status } = spawnSync(process.execPath, [TSC, '-p', join(ROOT, 'tsconfig.build.json')], { cwd: ROOT, stdio: ['ignore', 2, 2] })
  if (status !== 0) process.exit(1)
  chmodSync(BIN, 0o755)
  // npm packs no lockfile of the root; `sbom` reads this one.
  copyFileSync(join(ROOT, 'package-lock.json'), join(DIST, 'package-lock.json'))
  const protos = listProtos()
  for (const path of protos) {
    mkdirSync(dirname(join(DIST, path)), { recursive: true })
    copyFileSync(join(ROOT, path), join(DIST, path))
  }
  const outputs = sources.map(toOutput).filter((path) => existsSync(path)).map((path) => path.slice(ROOT.length + 1))
  outputs.push(...protos.map((path) => join('dist', path)))
  writeFileSync(STAMP, JSON.stringify({ sum, outputs }))
}
if (existsSync(PAGE_SOURCES)) buildPage()
