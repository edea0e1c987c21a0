import { Command } from 'commander'
import type { CommandSurroundings } from '../command-line/surroundings.ts'

/** `vital-gateway docs`, in a clone only. */
export function createCommand ({ tell, finish }: CommandSurroundings): Command {
  return new Command('docs')
    .description('Writes the reference tables of the documents from the code.')
    .action(() => {
      tell('docs: nothing is generated yet')
      finish(1)
    })
}
