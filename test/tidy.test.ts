/** The rules of the house that a machine can check. Each has its reason. A file that must break one is listed with the reason. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import t from 'tap'

const ROOT = resolve(import.meta.dirname, '..')
const ROOMS = ['schemas', 'broker', 'db', 'src', 'scripts'] as const
const FILE_LINES_MAX = 350
const FUNCTION_LINES_MAX = 70
/** A factory holds all functions that it builds, so it may be longer. Its inner functions are measured by themselves. */
const FACTORY_LINES_MAX = 130
const CODE_COLUMNS_MAX = 140
const FOLDER_FILES_MAX = 22
const MARKDOWN_COLUMNS_MAX = 160
const README_WORDS_MAX = 1500

/** Rooms without a README, because it would repeat the list of files of its parent. test/README.md says why. */
const UNTOLD_ROOMS = /^(?:schemas\/vital|broker\/.+|db\/(?:erase|migrations|queries|write)|src\/(?:config|log|process|transport)|test\/.+)$/

/** Which rooms a room may import: one way, so that a second store or transport touches one room. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  schemas: [],
  broker: ['schemas'],
  db: ['schemas'],
  src: ['schemas', 'broker', 'db'],
  scripts: ['schemas', 'broker', 'db', 'src']
}

function listFiles (folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
}

const sources = ROOMS.flatMap(listFiles).map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }))
const tests = listFiles('test').map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }))

function importsOf ({ path, text }: { path: string, text: string }): string[] {
  return [...text.matchAll(/(?:from|import\()\s*'(\.[^']+)'/g)].map(([, to]) => relative(ROOT, resolve(ROOT, dirname(path), to!)))
}

t.test('there are sources to look at', (t) => {
  for (const room of ROOMS) t.ok(sources.some(({ path }) => path.startsWith(`${room}/`)), room)
  t.end()
})

t.test('imports point one way', (t) => {
  for (const source of sources) {
    const room = source.path.split('/')[0]!
    for (const to of importsOf(source)) {
      const target = to.split('/')[0]!
      t.ok(target === room || target === 'package.json' || MAY_IMPORT[room]?.includes(target), `${source.path} imports ${to}`)
    }
  }
  t.end()
})

t.test('the environment is read in one file, and product code prints only through the logger', (t) => {
  for (const { path, text } of sources) {
    if (path !== 'src/config/config.ts' && !path.startsWith('scripts/')) t.notMatch(text, /process\.env\b/, `${path}: process.env`)
    if (!path.startsWith('scripts/')) t.notMatch(text, /\bconsole\./, `${path}: console`)
    t.notMatch(text, /NODE_ENV/, `${path}: NODE_ENV`)
    t.notMatch(text, /\bas any\b|: any\b|@ts-ignore/, `${path}: any`)
    t.notMatch(path, /utils|helpers?\.ts|index\.ts/, `${path}: the name does not say what the file holds`)
  }
  t.end()
})

t.test('files and functions are short enough to be read', (t) => {
  for (const { path, text } of sources) {
    const lines = text.split('\n')
    t.ok(lines.length <= FILE_LINES_MAX, `${path} has ${lines.length} lines`)
    for (const { name, length } of functionsOf(lines)) {
      const linesMax = name.startsWith('create') ? FACTORY_LINES_MAX : FUNCTION_LINES_MAX
      t.ok(length <= linesMax, `${path}: ${name} has ${length} lines`)
    }
  }
  t.end()
})

t.test('code lines are short enough to stand beside another file', (t) => {
  for (const { path, text } of [...sources, ...tests]) {
    const wide = text.split('\n').flatMap((line, index) => line.length > CODE_COLUMNS_MAX ? [index + 1] : [])
    t.same(wide, [], `${path} has lines over ${CODE_COLUMNS_MAX} columns`)
  }
  t.end()
})

t.test('folders are small enough to read at a glance', (t) => {
  const counts = new Map<string, number>()
  for (const { path } of sources) counts.set(dirname(path), (counts.get(dirname(path)) ?? 0) + 1)
  for (const [folder, count] of counts) {
    if (folder === 'db/queries' || folder === 'db/migrations') continue
    t.ok(count <= FOLDER_FILES_MAX, `${folder} has ${count} files`)
  }
  t.end()
})

t.test('imports form no circle, not even for types', (t) => {
  const circles = findCircles()
  t.same(circles.map((circle) => circle.join('\n  -> ')), [])
  t.end()
})

t.test('no test is run alone or switched off', (t) => {
  for (const { path, text } of tests) {
    if (path === 'test/tidy.test.ts') continue
    t.notMatch(text, /\bt\.only\b|\bonly: true|\.skip\(\s*['"`]/, path)
  }
  t.end()
})

t.test('every source is loaded by a test, or is the entry of a process', (t) => {
  const loaded = new Set<string>()
  const visit = (path: string): void => {
    if (loaded.has(path)) return
    loaded.add(path)
    const file = sources.find((source) => source.path === path)
    if (file !== undefined) for (const to of importsOf(file)) visit(to)
  }
  for (const test of tests) for (const to of importsOf(test)) visit(to)
  // Programs that a test starts as processes of their own, by path.
  const texts = tests.map(({ text }) => text).join('\n')
  for (const { path } of sources) {
    const name = path.split('/').at(-1)!.replace(/\.ts$/, '')
    const isProgram = /^(?:scripts\/[^/]+|src\/main)\.ts$/.test(path)
    if (texts.includes(path) || texts.includes(`${name}.ts'`) ||
      (isProgram && (texts.includes(`'${name}'`) || texts.includes(`/${name}'`)))) {
      visit(path)
    }
  }
  for (const { path } of sources) {
    // Bench and chaos are long runs of their own; their pure parts have tests, and CI runs a slice of each.
    if (path.startsWith('scripts/bench/') || path.startsWith('scripts/chaos/')) continue
    t.ok(loaded.has(path), `${path} is loaded by a test`)
  }
  t.end()
})

/** The Markdown files of the repository. Other folders are left out, because other tests create and remove some meanwhile. */
const documents = [
  ...readdirSync(ROOT),
  ...[...ROOMS, 'test'].flatMap((room) => readdirSync(join(ROOT, room), {
    recursive: true, encoding: 'utf8'
  }).map((path) => join(room, path)))
]
  .filter((path) => path.endsWith('.md'))
  .map((path) => {
    const text = readFileSync(join(ROOT, path), 'utf8')
    return { path, text, prose: text.replaceAll(/^```[^]*?^```$/gm, (code) => code.replaceAll(/[^\n]/g, '')) }
  })

t.test('documents can be read in a terminal, and the README in one sitting', (t) => {
  t.ok(documents.length > 15)
  for (const { path, prose } of documents) {
    for (const [index, line] of prose.split('\n').entries()) {
      if (line.length > MARKDOWN_COLUMNS_MAX && !line.startsWith('|')) t.fail(`${path}:${index + 1} is ${line.length} wide`)
    }
  }
  const words = readFileSync(join(ROOT, 'README.md'), 'utf8').split(/\s+/).filter((word) => word !== '').length
  t.ok(words <= README_WORDS_MAX, `README.md has ${words} words`)
  t.end()
})

t.test('every relative link of a document resolves, with its anchor', (t) => {
  const anchors = new Map(documents.map(({ path, prose }) => [path, anchorsOf(prose)]))
  let links = 0
  for (const { path, prose } of documents) {
    for (const [, target = ''] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      links++
      const [file = '', anchor] = target.split('#')
      const to = file === '' ? path : relative(ROOT, resolve(ROOT, dirname(path), file))
      t.ok(existsSync(join(ROOT, to)), `${path}: ${target}`)
      if (anchor !== undefined && to.endsWith('.md')) t.ok(anchors.get(to)?.has(anchor), `${path}: ${target}`)
    }
  }
  t.ok(links > 100)
  t.end()
})

t.test('every room has a README', (t) => {
  const rooms = [...ROOMS, 'test'].flatMap((room) => [room, ...readdirSync(join(ROOT, room), { withFileTypes: true })
    .filter((entry) => entry.isDirectory()).map(({ name }) => `${room}/${name}`)])
  for (const room of rooms) {
    if (!UNTOLD_ROOMS.test(room)) t.ok(existsSync(join(ROOT, room, 'README.md')), room)
  }
  t.end()
})

/** The anchors of a document's headings, as GitHub makes them. */
function anchorsOf (prose: string): Set<string> {
  const seen = new Map<string, number>()
  return new Set([...prose.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => {
    const slug = heading.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase().replaceAll(/[^\p{L}\p{N}\p{M} _-]/gu, '').replaceAll(' ',
      '-')
    const times = seen.get(slug) ?? 0
    seen.set(slug, times + 1)
    return times === 0 ? slug : `${slug}-${times}`
  }))
}

/** Named functions and methods by indentation, which the linter keeps exact. */
function functionsOf (lines: readonly string[]): Array<{ name: string, length: number }> {
  const found: Array<{ name: string, length: number }> = []
  for (const [start, line] of lines.entries()) {
    const match = /^(\s*)(?:export )?(?:static )?(?:async )?(?:function\s*\*?\s*)?([#\w]+)\s*(?:<[^>]*>)?\s*\(.*\{$/.exec(line)
    if (match === null || /^\s*(?:if|for|while|switch|catch|return|else)\b/.test(line)) continue
    const end = lines.findIndex((other, index) => index > start && other.startsWith(`${match[1]}}`))
    if (end > start) found.push({ name: match[2]!, length: end - start + 1 })
  }
  return found
}

/** One circle for each group of files that import each other: the shortest one through its first file. */
function findCircles (): string[][] {
  const imports = new Map(sources.map((source) => [source.path, importsOf(source)]))
  const circles: string[][] = []
  const seen = new Set<string>()
  for (const start of [...imports.keys()].sort()) {
    if (seen.has(start)) continue
    const cameFrom = new Map<string, string>()
    const queue = [start]
    for (const path of queue) {
      for (const to of imports.get(path) ?? []) {
        if (cameFrom.has(to)) continue
        cameFrom.set(to, path)
        queue.push(to)
      }
    }
    if (!cameFrom.has(start)) continue
    const circle = [start]
    do circle.unshift(cameFrom.get(circle[0]!)!)
    while (circle[0] !== start)
    for (const path of circle) seen.add(path)
    circles.push(circle)
  }
  return circles
}
