import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import type { Test } from 'tap'
import { readReadingRecord } from '../../src/kafka/reading-record.ts'
import { type Compacted, createCompacting } from '../../src/lake/compacting.ts'
import { createErasing } from '../../src/lake/erasing.ts'
import { LAKE_LIMITS } from '../../src/lake/limits.ts'
import { loadDuckDb } from '../../src/lake/load-packages.ts'
import type { ObjectStore } from '../../src/lake/object-store.ts'
import { type Plan, toFileKey } from '../../src/lake/plan.ts'
import { createPlans } from '../../src/lake/plans.ts'
import { createReadingsTable } from '../../src/lake/readings-table.ts'
import { createTestDir } from '../helpers/postgres.ts'
import { toRecord, toRow } from '../sink/rig.ts'
import type { Place } from './rig.ts'

export const TOPIC_ID = '6f1c7e0e-0000-4000-8000-000000000000'
/** 2025-06-18, 09:00. */
export const HOUR = 486_177

/** A file of one plan, with the devices of its readings. */
interface Filled {
  readonly partition?: number
  readonly hour?: number
  readonly devices: readonly string[]
}

/** The requests of one process to the store. Each throws once the process is killed. */
export type Step = (request: { readonly name: string, readonly key: string, readonly isAnswered: boolean }) => Promise<void>

/** The process was killed at this step. */
export class Killed extends Error {}

/** Kills the process at its step of this number, counting only steps that `isMeant` selects. */
export function killAt (number: number, isMeant: (name: string) => boolean = () => true) {
  let steps = 0
  let isKilled = false
  const step: Step = async ({ name }) => {
    if (!isKilled && (!isMeant(name) || steps++ !== number)) return
    isKilled = true
    throw new Killed()
  }
  return { step, isKilled: () => isKilled }
}

/** Readings of each device in a file. */
const READINGS = 10

/** The store of a process whose steps are watched. */
function watch (objects: ObjectStore, step: Step): ObjectStore {
  const wrap = <Result> (name: string, ask: (key: string, ...rest: never[]) => Promise<Result>) =>
    async (key: string, ...rest: never[]): Promise<Result> => {
      await step({ name, key, isAnswered: false })
      const result = await ask(key, ...rest)
      await step({ name, key, isAnswered: true })
      return result
    }
  return {
    ...objects,
    download: wrap('download', objects.download) as ObjectStore['download'],
    replace: wrap('replace', objects.replace as never) as ObjectStore['replace'],
    remove: wrap('remove', objects.remove) as ObjectStore['remove'],
    async * list (start, atOnce) {
      await step({ name: 'list', key: start, isAnswered: false })
      const listed = []
      for await (const object of objects.list(start, atOnce)) listed.push(object)
      await step({ name: 'list', key: start, isAnswered: true })
      yield * listed
    }
  }
}

/** A lake of files, and processes that compact it or erase from it. */
async function createFiles (t: Test, { objects, plans, read }: Place) {
  const createTable = async () => {
    const dir = join(await createTestDir(t), 'lake')
    const table = await createReadingsTable({ library: await loadDuckDb(), dir, limits: LAKE_LIMITS })
    t.teardown(() => table.close())
    return { table, dir }
  }
  const own = await createTable()
  const offsets = new Map<number, number>()

  async function fill ({ partition = 0, hour = HOUR, devices }: Filled): Promise<Plan> {
    const firstOffset = offsets.get(partition) ?? 0
    let offset = firstOffset
    await own.table.clear()
    for (const device of devices) {
      for (let n = 0; n < READINGS; n++, offset++) {
        const reading = readReadingRecord(toRecord(toRow(device, hour * 3600 + offset, { heartRateValue: offset })))
        if (reading.kind === 'read') own.table.add({ ...reading.value, offset })
      }
    }
    offsets.set(partition, offset)
    const key = toFileKey({ topicId: TOPIC_ID, partition }, firstOffset, hour)
    await own.table.hours()
    const path = join(own.dir, `${firstOffset}-${partition}.parquet`)
    await own.table.writeHour(hour, path)
    await objects.putNew(key, { path, bytes: (await stat(path)).size })
    const plan = {
      topic: 'vital.readings', topicId: TOPIC_ID, partition, firstOffset, lastOffset: offset - 1, files: [key], devices, erasures: []
    }
    await plans.put(plan)
    await plans.finish(plan)
    return plan
  }

  return {
    fill,
    /** The offset behind the last reading. */
    end: (partition = 0) => offsets.get(partition)!,
    /** Runs a process that joins files. @param options - replace the defaults, which do everything at once */
    async compact (step: Step = async () => {}, options: Partial<Parameters<typeof createCompacting>[0]> = {}): Promise<Compacted> {
      const store = watch(objects, step)
      return await createCompacting({
        store,
        plans: createPlans(store),
        ...await createTable(),
        fileBytesMax: 1024 * 1024,
        queryMsMax: 0,
        isDryRun: false,
        limits: { ...LAKE_LIMITS, emptyAgeMs: 0 },
        wait: async () => {},
        onJoined () {},
        ...options
      }).compact({ day: null, before: '9999' })
    },
    /** Runs a process that erases a device of partition 0. */
    async erase (device: string, step: Step = async () => {}): Promise<string[]> {
      const store = watch(objects, step)
      const erasing = createErasing({
        store, plans: createPlans(store), ...await createTable(), limits: LAKE_LIMITS, logger: pino({ level: 'silent' })
      })
      const offset = offsets.get(0)!
      return await erasing.erase({ topicId: TOPIC_ID, partition: 0 }, { erasure: 'e', device, offset }, offset)
    },
    /** Files with readings, all files, readings, and those that differ. */
    async look () {
      const [row] = await read(`select count(distinct filename)::int, count(*)::int, count(distinct id)::int,
        count(distinct (hour, parse_filename(filename).regexp_extract('-(\\d+)-\\d+.parquet', 1), "offset"))::int from lake`)
      let files = 0
      for await (const { key } of objects.list('day=')) files += Number(key.endsWith('.parquet'))
      const [filled, readings, ids, places] = row as [number, number, number, number]
      return { filled, files, readings, ids, places }
    },
    devices: async () => await read('select device, count(*)::int, count(distinct id)::int from lake group by 1 order by 1')
  }
}

/** The device `gone` is in the second and the fourth file of its hour, and in another hour. */
export async function startFiles (t: Test, place: Place) {
  const files = await createFiles(t, place)
  for (const devices of [['a'], ['gone', 'b'], ['a', 'b'], ['gone'], ['b']]) await files.fill({ devices })
  await files.fill({ partition: 1, devices: ['c'] })
  await files.fill({ partition: 1, devices: ['c'] })
  await files.fill({ hour: HOUR + 1, devices: ['gone', 'a'] })
  return { place, files }
}

/** What it has. */
export const WHOLE = { readings: 110, ids: 110, places: 110 }
