/** `vital-gateway sbom`: the packages of a running gateway, as CycloneDX, from the lockfile alone, offline. */
import { execFileSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'
import packageJson from '../../package.json' with { type: 'json' }
import { OperatorError } from '../command-line/operator-error.ts'
import { PACKAGE_ROOT } from '../command-line/package-root.ts'
import type { CommandSurroundings } from '../command-line/surroundings.ts'

/** Some hundred components of half a KiB. */
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024

const NOTES = `
Examples:
  vital-gateway sbom
  vital-gateway sbom --out /tmp/vital-gateway.cdx.json

It names the packages of the lockfile with which this version was built and tested.
Exit status: 0; 1 when it could not be written; 2 for a wrong command line.`

interface Component {
  readonly 'bom-ref': string
  readonly properties?: ReadonlyArray<{ readonly name: string, readonly value: string }>
}

interface Bom {
  readonly metadata: { readonly component: Component & { name: string } }
  readonly components: readonly Component[]
  readonly dependencies: ReadonlyArray<{ readonly ref: string, readonly dependsOn: readonly string[] }>
}

/** `vital-gateway sbom`. */
export function createCommand ({ print }: CommandSurroundings): Command {
  return new Command('sbom')
    .description('Writes a software bill of materials: CycloneDX 1.5, JSON, each package with version, licence and SHA-512.')
    .option('--out <file>', 'the file to write', 'sbom.cdx.json')
    .option('--dev', 'with packages that only builds and tests need')
    .addHelpText('after', NOTES)
    .action(({ out, dev = false }: { out: string, dev?: boolean }) => {
      const all = readBom()
      // npm uses the directory's name as the product's.
      all.metadata.component.name = packageJson.name
      const bom = dev ? all : withoutDevelopment(all)
      try {
        writeFileSync(out, `${JSON.stringify(bom, null, 2)}\n`)
      } catch (cause) {
        throw new OperatorError('OPERATOR_FAILED', `${out} cannot be written: ${(cause as Error).message}`, { cause })
      }
      print(`${out}: ${bom.components.length} components`)
    })
}

function readBom (): Bom {
  // npm packs no lockfile of the root, so the build puts a copy beside the package.json in dist/.
  const cwd = existsSync(join(PACKAGE_ROOT, 'package-lock.json')) ? PACKAGE_ROOT : join(PACKAGE_ROOT, 'dist')
  const args = ['sbom', '--sbom-format', 'cyclonedx', '--sbom-type', 'application', '--package-lock-only']
  try {
    const text = execFileSync('npm', args, { cwd, maxBuffer: OUTPUT_BYTES_MAX, stdio: ['ignore', 'pipe', 'pipe'] }).toString()
    return JSON.parse(text) as Bom
  } catch (cause) {
    throw new OperatorError('OPERATOR_FAILED', `npm sbom failed, which needs npm 9.5 or newer: ${(cause as Error).message}`, { cause })
  }
}

/** Not by npm's `--omit dev`: npm 11.19 then leaves out a package that development needs too, such as ws. */
function withoutDevelopment (bom: Bom): Bom {
  const isDevelopment = ({ properties = [] }: Component) =>
    properties.some(({ name, value }) => name === 'cdx:npm:package:development' && value === 'true')
  const components = bom.components.filter((component) => !isDevelopment(component))
  const refs = new Set([bom.metadata.component['bom-ref'], ...components.map((component) => component['bom-ref'])])
  return {
    ...bom,
    components,
    dependencies: bom.dependencies.filter(({ ref }) => refs.has(ref))
      .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((other) => refs.has(other)) }))
  }
}
