import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { root } from '../bench/compile.ts'

/** What the harness's own processes import, beside the gateway. */
const SCRIPTS = ['chaos', 'bench', 'patients']

/** Entry files in a run's copy of the program. */
export interface Program {
  readonly gateway: string
  readonly gatewayUnderTest: string
  readonly publisher: string
  readonly subscriber: string
}

/**
 * Builds the gateway as `npm start` does, and copies it for this run, so that a build that somebody starts meanwhile does
 * not change the program under test.
 * @param dir - of this run
 * @param isBuilding - false takes `dist/` as it lies
 */
export function prepareProgram ({ dir, isBuilding }: { dir: string, isBuilding: boolean }): Program {
  if (isBuilding) {
    const { status } = spawnSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: ['ignore', 2, 2] })
    if (status !== 0) throw new Error('npm run build failed; its messages are above')
  }
  const main = join(root, 'dist', 'src', 'main.js')
  if (!existsSync(main)) throw new Error(`${main} is missing: the gateway was not built`)
  const app = join(dir, 'app')
  mkdirSync(app)
  cpSync(join(root, 'package.json'), join(app, 'package.json'))
  symlinkSync(join(root, 'node_modules'), join(app, 'node_modules'))
  cpSync(join(root, 'dist'), join(app, 'dist'), { recursive: true })
  for (const name of SCRIPTS) transpile(join(root, 'scripts', name), join(app, 'dist', 'scripts', name))
  const chaos = join(app, 'dist', 'scripts', 'chaos')
  return {
    gateway: join(app, 'dist', 'src', 'main.js'),
    gatewayUnderTest: join(chaos, 'gateway-under-test.js'),
    publisher: join(chaos, 'publisher.js'),
    subscriber: join(chaos, 'subscriber.js')
  }
}

function transpile (from: string, to: string): void {
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
