import { readEnvironment } from '../../src/config/config.ts'
import { runProgram } from './program.ts'

const WIDTH_MAX = 120
const WIDTH_WITHOUT_TERMINAL = 100

/** Runs a command as this process. Sets its exit status; a defect crashes. */
export async function runAsProcess (args: readonly string[]): Promise<void> {
  const { stdout, stderr } = process
  // `| head` closes the pipe, which is not a fault.
  for (const stream of [stdout, stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
      process.exit()
    })
  }
  process.exitCode = await runProgram(args, {
    print: (text) => { stdout.write(`${text}\n`) },
    tell: (text) => { stderr.write(`${text}\n`) },
    progress: stderr,
    isColoured: showsColours(stdout),
    isErrorColoured: showsColours(stderr),
    width: Math.min(stdout.isTTY ? stdout.columns : WIDTH_WITHOUT_TERMINAL, WIDTH_MAX),
    readVariables: readEnvironment
  })
}

/** Only on a terminal; Node's check of it honours NO_COLOR, FORCE_COLOR and TERM. */
function showsColours (stream: NodeJS.WriteStream): boolean {
  return stream.isTTY && stream.hasColors()
}
