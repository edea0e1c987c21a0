import { Command } from 'commander'
import type { CommandSurroundings } from '../../command-line/surroundings.ts'

/** `vital-gateway doctor`. */
export function createCommand ({ tell, finish }: CommandSurroundings): Command {
  return new Command('doctor')
    .description('Checks what a gateway needs here.')
    .action(() => {
      tell('doctor: nothing is checked yet')
      finish(1)
    })
}
