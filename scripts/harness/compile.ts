import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const here = dirname(fileURLToPath(import.meta.url))

/** The repository's root. */
export const root = join(here, '..', '..')

/** The compiled form of one of the bench's own files, such as `load/load`, for plain node. */
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
  if (buildGateway) buildProgram()
  else for (const folder of ['schemas', join('broker', 'wire')]) transpile(join(root, folder), join(root, 'dist', folder))
  for (const folder of ['bench', 'harness']) transpile(join(root, 'scripts', folder), join(root, 'dist', 'scripts', folder))
}

/** Builds the gateway as `npm start` does. @throws when the build fails */
export function buildProgram (): void {
  const { status } = spawnSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: ['ignore', 2, 2] })
  if (status !== 0) throw new Error('npm run build failed; its messages are above')
}

/** TypeScript files below a folder as plain JavaScript, types unchecked. */
export function transpile (from: string, to: string): void {
  for (const name of readdirSync(from, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))) {
    const { outputText } = ts.transpileModule(readFileSync(join(from, name), 'utf8'), {
      fileName: join(from, name),
      compilerOptions: {
        target: ts.ScriptTarget.ES2023,
        module: ts.ModuleKind.ESNext,
        verbatimModuleSyntax: true,
        rewriteRelativeImportExtensions: true
      }
    })
    const path = join(to, name.replace(/ts$/, 'js'))
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, outputText)
  }
}
