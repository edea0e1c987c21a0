import type { Command } from 'commander'
import { createPassThrough } from '../../command-line/pass-through.ts'
import type { CommandSurroundings } from '../../command-line/surroundings.ts'
import { runRestore } from './command.ts'

export function createCommand (surroundings: CommandSurroundings): Command {
  return createPassThrough('restore', surroundings, runRestore)
}
