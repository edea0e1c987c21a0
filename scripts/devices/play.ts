import type { Command } from 'commander'
import { usageError } from '../command-line/operator-error.ts'
import type { CommandSurroundings } from '../command-line/surroundings.ts'
import { runFleetCommand } from './fleet/command.ts'
import { readLogins } from './fleet/logins.ts'
import { readRecordings, type Recording } from './recordings/folder.ts'
import { createPlayCommand, type PlayOptions } from './recordings/options.ts'
import { type RespZero, toDurationS, toLoop, toPlayback } from './recordings/playback.ts'
import { RecordingError } from './recordings/recording.ts'

/** Between the first connections of two devices, so that a gateway does not meet all of them in one instant. */
const CONNECT_INTERVAL_MS = 5

/** `vital-gateway play`. */
export function createCommand (surroundings: CommandSurroundings): Command {
  return createPlayCommand(async (options) => { surroundings.finish(await play(options, surroundings)) })
}

async function play (options: PlayOptions, surroundings: CommandSurroundings): Promise<number> {
  const { url, protocolVersion, inFlightMax, patienceMs, login, speed, isLooping, folder, respZero } = options
  const recordings = select(await read(folder), options.devices)
  const durationS = Math.max(...recordings.map(({ samples }) => toDurationS(samples)))
  const startS = options.startS ?? Math.floor(Date.now() / 1000 - (isLooping ? 0 : durationS))
  const readings = recordings.reduce((sum, { samples }) => sum + samples.length, 0)
  return await runFleetCommand({
    name: 'play',
    surroundings,
    url,
    protocolVersion,
    inFlightMax,
    patienceMs,
    logins: await readLogins(login, surroundings.tell),
    devices: recordings.map(({ device, samples }, index) => ({
      device,
      startMs: index * CONNECT_INTERVAL_MS,
      readings: (isLooping ? toLoop : toPlayback)(samples, { startS, speed, respZero })
    })),
    planned: isLooping ? Infinity : readings,
    before: [
      `${recordings.length} recordings, ${readings} readings from ${folder}`,
      isLooping
        ? `--loop, --speed ${speed}: from now on, until it is stopped`
        : `--start ${startS} (${new Date(startS * 1000).toISOString()}), --speed ${speed === Infinity ? 'max' : speed}`
    ],
    after: [...toRespZeroNotes(recordings, respZero), 'Data: BIDMC PPG and Respiration Dataset 1.0.0 (PhysioNet), ODC-By 1.0']
  })
}

async function read (folder: string): Promise<Recording[]> {
  try {
    const recordings = await readRecordings(folder)
    if (recordings.length > 0) return recordings
  } catch (cause) {
    if (cause instanceof RecordingError) throw usageError(cause.message, { cause })
    throw usageError(`--data ${folder} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
  throw usageError(`--data ${folder} holds no bidmc_*_Numerics.csv`)
}

function select (recordings: Recording[], devices: readonly string[] | null): Recording[] {
  if (devices === null) return recordings
  return [...new Set(devices)].map((device) => {
    const recording = recordings.find((candidate) => candidate.device === device)
    if (recording === undefined) throw usageError(`--devices names "${device}", which no recording is played as`)
    return recording
  })
}

function toRespZeroNotes (recordings: readonly Recording[], respZero: RespZero): string[] {
  const zeros = recordings
    .map(({ device, samples }) => ({ device, count: samples.filter(({ respiratoryRate }) => respiratoryRate === 0).length }))
    .filter(({ count }) => count > 0)
  if (zeros.length === 0 || respZero === 'send') return []
  const where = zeros.map(({ device, count }) => `${device} (${count} rows)`).join(', ')
  return [`RESP 0 is a poor signal and was left out: ${where}; --resp-zero send plays it as a value`]
}
