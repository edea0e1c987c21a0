/** The tables of the documents agree with the code. */
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import t from 'tap'
import { LIMIT_NAMES } from '../broker/limit-hits.ts'
import { limitsWithoutRow } from '../scripts/docs/limits.ts'
import { replaceSection, toMarkdownTable } from '../scripts/docs/markdown.ts'
import { createSections, rewriteSections, staleSections } from '../scripts/docs/rewrite.ts'

const ROOT = resolve(import.meta.dirname, '..')

t.test('no table is stale: npm run docs writes them', (t) => {
  t.strictSame(staleSections(ROOT), [])
  t.strictSame(limitsWithoutRow(LIMIT_NAMES), [], 'every counted limit has a row in the table of limits')
  t.end()
})

t.test('each line of a written table is a row', (t) => {
  for (const { file, name, text, isRecord } of createSections(ROOT)) {
    if (!file.endsWith('.md') || isRecord === true) continue
    t.strictSame(text.split('\n').filter((line) => line !== '' && !line.startsWith('|')), [], `${file}: ${name}`)
  }
  t.end()
})

t.test('a table that differs from the code is named, and rewritten', (t) => {
  const root = t.testdir()
  for (const { file } of createSections(ROOT)) {
    mkdirSync(dirname(join(root, file)), { recursive: true })
    cpSync(join(ROOT, file), join(root, file))
  }
  symlinkSync(join(ROOT, 'test'), join(root, 'test'))
  cpSync(join(ROOT, 'scripts/chaos/results.jsonl'), join(root, 'scripts/chaos/results.jsonl'))
  const change = (file: string, from: string, to: string) => {
    const text = readFileSync(join(root, file), 'utf8')
    t.ok(text.includes(from), `${file} has ${from}`)
    writeFileSync(join(root, file), text.replace(from, to))
  }
  rewriteSections(root)
  t.strictSame(staleSections(root), [])
  change('.env.example', '#VITAL_HTTP_PORT=3000', '#VITAL_HTTP_PORT=3001')
  change('broker/README.md', '| `sessionsMax` | 10000 |', '| `sessionsMax` | 1 |')
  t.strictSame(staleSections(root).sort(), ['.env.example: configuration', 'broker/README.md: limits'])
  t.strictSame(rewriteSections(root).sort(), ['.env.example', 'broker/README.md'])
  t.strictSame(rewriteSections(root), [])
  t.equal(readFileSync(join(root, '.env.example'), 'utf8'), readFileSync(join(ROOT, '.env.example'), 'utf8'))
  t.end()
})

t.test('a file without the markers is an error, and a bar within a cell is escaped', (t) => {
  const section = { file: 'x.md', name: 'limits', text: '' }
  t.throws(() => replaceSection('# no markers\n', section), /x\.md lacks the markers limits:begin and limits:end/)
  t.equal(toMarkdownTable(['a', 'b'], [['1', 'x|y']], ['left', 'right']), '| a | b |\n|---|--:|\n| 1 | x\\|y |\n')
  t.end()
})
