import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const here = dirname(fileURLToPath(import.meta.url))

/** The repository's root. */
export const root = join(here, '..', '..')

/** The compiled form of one of the bench's own files, for plain node. */
export function compiled (name: string): string {
  return join(root, 'dist', 'scripts', 'bench', `${name}.js`)
}

/**
 * Builds the gateway as `npm start` does, and the bench's processes beside it: tsx would add a loader thread, memory
 * and wrapped functions to what is measured.
 * @param buildGateway - without it only the bench and what its bare servers need are compiled
 * @throws when the build fails
 */
export function compile (buildGateway: boolean): void {
  if (buildGateway) {
    const build = spawnSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: ['ignore', 2, 2] })
    if (build.status !== 0) throw new Error('npm run build failed; its messages are above')
  } else {
    transpile('schemas')
  }
  transpile(join('scripts', 'bench'))
}

function transpile (dir: string): void {
  const from = join(root, dir)
  const to = join(root, 'dist', dir)
  mkdirSync(to, { recursive: true })
  for (const name of readdirSync(from).filter((file) => file.endsWith('.ts'))) {
    const { outputText } = ts.transpileModule(readFileSync(join(from, name), 'utf8'), {
      fileName: join(from, name),
      compilerOptions: {
        target: ts.ScriptTarget.ES2023,
        module: ts.ModuleKind.ESNext,
        verbatimModuleSyntax: true,
        rewriteRelativeImportExtensions: true
      }
    })
    writeFileSync(join(to, name.replace(/ts$/, 'js')), outputText)
  }
}
