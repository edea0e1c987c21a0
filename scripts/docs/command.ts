import { Command } from 'commander'
import { PACKAGE_ROOT } from '../command-line/package-root.ts'
import type { CommandSurroundings } from '../command-line/surroundings.ts'
import { rewriteSections, staleSections } from './rewrite.ts'

const NOTES = `
Examples:
  npm run docs
  npm run docs -- --check

Exit status: 0; 1 when --check finds a stale table; 2 for a wrong command line.`

/** `vital-gateway docs`, in a clone only. */
export function createCommand ({ print, finish }: CommandSurroundings): Command {
  return new Command('docs')
    .description('Writes the reference tables of the documents from the code.')
    .option('--check', 'name the tables that are stale, and write nothing')
    .addHelpText('after', NOTES)
    .action(({ check = false }: { check?: boolean }) => {
      const found = check ? staleSections(PACKAGE_ROOT) : rewriteSections(PACKAGE_ROOT)
      print(found.length === 0
        ? 'every table is what the code says'
        : found.map((name) => `${check ? 'stale' : 'written'}  ${name}`).join('\n'))
      finish(check && found.length > 0 ? 1 : 0)
    })
}
