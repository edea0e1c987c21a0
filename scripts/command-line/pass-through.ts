import { Command } from 'commander'
import type { OperatorOptions } from './command.ts'
import type { CommandSurroundings } from './surroundings.ts'

/** A command whose options are still read by its own parser. */
export function createPassThrough (
  name: string, { print, tell, readConfig, finish }: CommandSurroundings, run: (options: OperatorOptions) => Promise<number>
): Command {
  return new Command(name).argument('[arguments...]').allowUnknownOption().passThroughOptions()
    .action(async (args: string[]) => { finish(await run({ args, readConfig, print, tell })) })
}
