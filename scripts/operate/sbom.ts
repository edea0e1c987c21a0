/** `npm run sbom`: what the gateway consists of when it runs, as CycloneDX, from the lockfile alone. No network is needed. */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import packageJson from '../../package.json' with { type: 'json' }
import { OperatorError, parseArguments, runOperatorScript } from '../command-line/command.ts'

const CHECKOUT = join(import.meta.dirname, '../..')
/** Some hundred components of half a KiB. */
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024

const SBOM_HELP = `Writes a software bill of materials: CycloneDX 1.5, JSON, each package with version, licence and SHA-512.

  npm run sbom
  npm run sbom -- --out /tmp/vital-gateway.cdx.json

  --out FILE   (sbom.cdx.json)
  --dev        with what only builds and tests need`

interface Component {
  readonly 'bom-ref': string
  readonly properties?: ReadonlyArray<{ readonly name: string, readonly value: string }>
}

interface Bom {
  readonly metadata: { readonly component: Component & { name: string } }
  readonly components: readonly Component[]
  readonly dependencies: ReadonlyArray<{ readonly ref: string, readonly dependsOn: readonly string[] }>
}

await runOperatorScript('sbom', ({ args, print }) => {
  const { values } = parseArguments({
    args: [...args],
    options: { out: { type: 'string', default: 'sbom.cdx.json' }, dev: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h' } }
  })
  if (values.help === true) {
    print(SBOM_HELP)
    return Promise.resolve(0)
  }
  const all = readBom()
  // npm takes the directory's name for the product's.
  all.metadata.component.name = packageJson.name
  const bom = values.dev ? all : withoutDevelopment(all)
  try {
    writeFileSync(values.out, `${JSON.stringify(bom, null, 2)}\n`)
  } catch (cause) {
    throw new OperatorError('OPERATOR_FAILED', `${values.out} cannot be written: ${(cause as Error).message}`, { cause })
  }
  print(`${values.out}: ${bom.components.length} components`)
  return Promise.resolve(0)
})

function readBom (): Bom {
  const args = ['sbom', '--sbom-format', 'cyclonedx', '--sbom-type', 'application', '--package-lock-only']
  try {
    return JSON.parse(execFileSync('npm', args, { cwd: CHECKOUT, maxBuffer: OUTPUT_BYTES_MAX, stdio: ['ignore', 'pipe', 'pipe'] }).toString()) as Bom
  } catch (cause) {
    throw new OperatorError('OPERATOR_FAILED', `npm sbom failed, which npm 9.5 or newer knows: ${(cause as Error).message}`, { cause })
  }
}

/** Not by npm's `--omit dev`: npm 11.19 then leaves out what development needs as well, such as ws. */
function withoutDevelopment (bom: Bom): Bom {
  const components = bom.components.filter(({ properties = [] }) => !properties.some(({ name, value }) => name === 'cdx:npm:package:development' && value === 'true'))
  const refs = new Set([bom.metadata.component['bom-ref'], ...components.map((component) => component['bom-ref'])])
  return {
    ...bom,
    components,
    dependencies: bom.dependencies.filter(({ ref }) => refs.has(ref)).map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((other) => refs.has(other)) }))
  }
}
