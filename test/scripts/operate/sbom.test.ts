import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import packageJson from '../../../package.json' with { type: 'json' }
import { exactly } from '../../helpers/exactly.ts'
import { createTestDir } from '../../helpers/postgres.ts'
import { runOperatorScript } from '../../helpers/operator.ts'

interface Bom {
  readonly bomFormat: string
  readonly metadata: { readonly component: { readonly name: string, readonly version: string, readonly type: string } }
  readonly components: ReadonlyArray<{
    readonly name: string
    readonly version: string
    readonly purl: string
    readonly hashes?: ReadonlyArray<{ readonly alg: string }>
  }>
}

t.test('the bill of materials names every package at run time, and none that is only for building or testing', async (t) => {
  const dir = await createTestDir(t)
  const out = join(dir, 'sbom.json')
  t.match(await runOperatorScript(t, 'sbom', ['--out', out], {}, dir), { status: 0, stdout: /^.*sbom\.json: \d+ components\n$/ })
  const bom = JSON.parse(await readFile(out, 'utf8')) as Bom
  t.match(bom, {
    bomFormat: 'CycloneDX', metadata: { component: { name: packageJson.name, version: packageJson.version, type: 'application' } }
  })
  const names = new Set(bom.components.map(({ name }) => name))
  const versions = new Set(bom.components.map(({ name, version }) => `${name}@${version}`))
  for (const [name, version] of Object.entries({
    ...packageJson.dependencies, ...packageJson.optionalDependencies
  })) t.ok(versions.has(`${name}@${version}`), name)
  // Some of the others are also dependencies of packages at run time.
  for (const name of ['eslint', 'knip', 'tap', 'tsx', 'typescript']) t.notOk(names.has(name), `${name} is for development`)
  for (const { name, purl, hashes } of bom.components) {
    t.match(purl, /^pkg:npm\//, name)
    t.match(hashes, exactly({ alg: 'SHA-512' }), name)
  }
  t.match(await runOperatorScript(t, 'sbom', ['--out', join(dir, 'none', 'x')], {}, dir), { status: 1, stderr: /cannot be written/ })
})
