import { appendFile, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { type Disk, realDisk } from '../../../../src/ingest/journal/spool/disk.ts'
import { RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES } from '../../../../src/ingest/journal/spool/format.ts'
import type { SpoolOptions } from '../../../../src/ingest/journal/spool/spool-options.ts'
import { openSpool, type Spool } from '../../../../src/ingest/journal/spool/spool.ts'
import { startChild } from './process.ts'

t.setTimeout(120_000)

const logger = pino({ level: 'silent' })
const MIB = 1024 * 1024
/** A record of 1,000 bytes. */
const SMALL_BYTES = RECORD_HEADER_BYTES + 1000

async function openIn (t: Test, directory: string, options: Partial<SpoolOptions> = {}): Promise<Spool> {
  const spool = await openSpool({ directory, bytesMax: 64 * MIB, segmentBytes: 4 * MIB, disk: realDisk, logger, ...options })
  t.teardown(() => spool.close())
  return spool
}

const payloadOf = (id: number, bytes: number) => {
  const payload = Buffer.alloc(bytes, id)
  payload.write(`${id}:`)
  return payload
}

const idOf = (payload: Buffer) => Number.parseInt(payload.toString('latin1', 0, 12), 10)

async function readAll (spool: Spool) {
  const records = []
  for (let record; (record = await spool.read()) !== null;) records.push(record)
  return records
}

const segmentsIn = async (directory: string) => (await readdir(directory)).filter((name) => name.endsWith('.spool')).sort()

/** Fills a spool with records of a size and closes it. @returns the path of its first segment */
async function fill (t: Test, directory: string, count: number, bytes: number): Promise<string> {
  const spool = await openIn(t, directory)
  for (let id = 0; id < count; id++) await spool.append(payloadOf(id, bytes), 1)
  await spool.close()
  return join(directory, (await segmentsIn(directory))[0]!)
}

async function flip (path: string, offset: number): Promise<void> {
  const file = await open(path, 'r+')
  const byte = Buffer.alloc(1)
  await file.read(byte, 0, 1, offset)
  byte[0]! ^= 0x10
  await file.write(byte, 0, 1, offset)
  await file.close()
}

t.test('records come back in order, survive a restart until released, and give their space back', async (t) => {
  const directory = join(t.testdir(), 'a', 'spool')
  const spool = await openIn(t, directory, { nowMs: () => 1234 })
  t.ok(spool.isEmpty)
  t.equal(spool.oldestAtMs, null)
  await Promise.all([0, 1, 2, 3].map((id) => spool.append(payloadOf(id, 2 * MIB), 10 + id)))
  t.same([spool.records, spool.readings, spool.oldestAtMs, spool.isEmpty], [4, 46, 1234, false])
  t.equal((await stat(directory)).mode & 0o777, 0o700)
  const names = await segmentsIn(directory)
  t.ok(names.length > 1, 'in several segments')
  for (const name of names) t.equal((await stat(join(directory, name))).mode & 0o777, 0o600)
  const records = await readAll(spool)
  t.same(records.map(({ payload }) => idOf(payload)), [0, 1, 2, 3])
  await spool.release(records[1]!.position)
  t.same([spool.records, spool.readings], [2, 25])
  t.equal((await stat(join(directory, 'cursor'))).mode & 0o777, 0o600)
  await spool.close()
  await t.rejects(spool.append(Buffer.alloc(1), 1), { code: 'VITAL_SPOOL_CLOSED' })

  const next = await openIn(t, directory)
  t.same([next.records, next.readings, next.oldestAtMs], [2, 25, 1234])
  await next.append(payloadOf(4, 10), 1)
  const rest = await readAll(next)
  t.same(rest.map(({ payload, position }) => [idOf(payload), position.isFound]), [[2, true], [3, true], [4, false]])
  await next.release(rest.at(-1)!.position)
  t.same([next.bytes, next.records, next.readings, next.isEmpty], [0, 0, 0, true])
  t.same(await segmentsIn(directory), [])
  t.same(next.damage, { stretches: 0, bytes: 0, readings: 0 })
})

t.test('the cap refuses, and a release makes room', async (t) => {
  const spool = await openIn(t, t.testdir(), { bytesMax: 5 * MIB, segmentBytes: MIB })
  for (let id = 0; id < 4; id++) await spool.append(payloadOf(id, MIB), 1)
  await t.rejects(spool.append(payloadOf(4, MIB), 1), { code: 'VITAL_SPOOL_FULL' })
  t.equal(spool.status, 'full')
  t.notOk(await spool.probe(), 'a probe finds no room either')
  const first = await spool.read()
  await spool.release(first!.position)
  t.equal(spool.status, 'ok')
  await spool.append(payloadOf(4, MIB), 1)
  const records = await readAll(spool)
  t.same(records.map(({ payload }) => idOf(payload)), [1, 2, 3, 4])
  await spool.release(records.at(-1)!.position)
  await t.rejects(spool.append(payloadOf(5, 6 * MIB), 1), { code: 'VITAL_SPOOL_FULL' })
  t.ok(await spool.probe(), 'a record that never fits does not leave an empty spool full')
  t.equal(spool.status, 'ok')
})

// Records of 700 KiB: larger than the window of the recovery, and not in step with that of the reader.
const RECORD_BYTES = RECORD_HEADER_BYTES + 700 * 1024
for (const [what, offset] of Object.entries({
  marker: 0,
  length: 13,
  'checksum of the payload': 17,
  sequence: 21,
  'checksum of the header': 37,
  payload: 350_000,
  'last byte': RECORD_BYTES - 1
})) {
  t.test(`a flipped bit in the ${what} of a record loses only that record`, async (t) => {
    const directory = t.testdir()
    const path = await fill(t, directory, 5, 700 * 1024)
    await flip(path, SEGMENT_HEADER_BYTES + 2 * RECORD_BYTES + offset)
    const spool = await openIn(t, directory)
    const records = await readAll(spool)
    t.same(records.map(({ payload }) => idOf(payload)), [0, 1, 3, 4])
    t.match(spool.damage, { stretches: 1, bytes: RECORD_BYTES })
    await spool.append(payloadOf(5, 100), 1)
    await spool.release((await readAll(spool)).at(-1)!.position)
    t.ok(spool.isEmpty)
    t.same([spool.records, spool.readings], [0, 0])
    t.ok((await readdir(directory)).some((name) => name.endsWith('.spool.damaged')), 'its segment is kept')
    await spool.close()
    t.same(await readAll(await openIn(t, directory)), [], 'and not read again')
  })
}

t.test('damage in the last record is counted, not taken for a torn write', async (t) => {
  const directory = t.testdir()
  const path = await fill(t, directory, 2, 1000)
  await flip(path, SEGMENT_HEADER_BYTES + SMALL_BYTES + 500)
  const spool = await openIn(t, directory)
  t.equal(spool.records, 2)
  t.equal((await readAll(spool)).length, 1)
  t.same(spool.damage, { stretches: 1, bytes: SMALL_BYTES, readings: 1 })
  t.equal(spool.records, 1)
})

for (const [what, tail] of Object.entries({ 'part of a header': 20, 'part of a payload': 400, 'nothing but zeros': -300 })) {
  t.test(`a torn tail of ${what} is cut off`, async (t) => {
    const directory = t.testdir()
    const path = await fill(t, directory, 2, 1000)
    const whole = await readFile(path)
    await appendFile(path, tail < 0 ? Buffer.alloc(-tail) : whole.subarray(SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES + tail))
    const spool = await openIn(t, directory)
    t.equal((await stat(path)).size, whole.length)
    t.equal((await readAll(spool)).length, 2)
    t.equal(spool.damage.stretches, 0)
  })
}

t.test('a cut comes between the appends before it and those after it, without a pause in them', async (t) => {
  const directory = t.testdir()
  const disk: Disk = {
    ...realDisk,
    async create (path) {
      return { ...await realDisk.create(path), sync: () => new Promise((resolve) => { setTimeout(resolve, 5) }) }
    }
  }
  const spool = await openIn(t, directory, { disk })
  let appends = 0
  const cut = new AbortController()
  const append = async () => {
    while (!cut.signal.aborted && appends < 200) await spool.append(payloadOf(appends++, 1000), 1)
  }
  const appending = [append(), append()]
  await spool.append(payloadOf(appends++, 1000), 1)
  const before = appends
  const next = await spool.cut()
  cut.abort()
  await Promise.all(appending)
  t.ok(appends < 20, `${appends - before} appends meanwhile`)
  await spool.append(payloadOf(appends++, 1000), 1)
  const segments = new Map((await readAll(spool)).map(({ payload, position }) => [idOf(payload), Number.parseInt(position.segment, 10)]))
  t.equal(segments.size, appends)
  for (let id = 0; id < before; id++) t.ok(segments.get(id)! < next, `${id} lies before it`)
  t.ok(segments.get(appends - 1)! >= next)
})

t.test('a damaged segment header loses no record', async (t) => {
  const directory = t.testdir()
  await flip(await fill(t, directory, 2, 1000), 9)
  const spool = await openIn(t, directory)
  t.equal((await readAll(spool)).length, 2)
})

t.test('a segment of another version is set aside', async (t) => {
  const directory = t.testdir()
  const path = await fill(t, directory, 2, 1000)
  const bytes = await readFile(path)
  bytes.writeUInt32LE(2, 8)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 24)), 24)
  await writeFile(path, bytes)
  const spool = await openIn(t, directory)
  t.ok(spool.isEmpty)
  t.same((await readFile(`${path}.damaged`)).length, bytes.length)
})

t.test('a payload that holds a record of another segment is not mistaken for one', async (t) => {
  const [other, directory] = [join(t.testdir(), 'other'), join(t.testdirName, 'spool')]
  const forged = (await readFile(await fill(t, other, 1, 100))).subarray(SEGMENT_HEADER_BYTES)
  const spool = await openIn(t, directory)
  await spool.append(Buffer.concat([Buffer.alloc(50), forged, Buffer.alloc(50)]), 1)
  await spool.append(payloadOf(7, 10), 1)
  await spool.close()
  await flip(join(directory, (await segmentsIn(directory))[0]!), SEGMENT_HEADER_BYTES + 13)
  t.same((await readAll(await openIn(t, directory))).map(({ payload }) => idOf(payload)), [7])
})

t.test('a damaged or missing cursor replays from the oldest segment, and missing segments are skipped', async (t) => {
  const directory = t.testdir()
  await fill(t, directory, 8, MIB)
  const spool = await openIn(t, directory)
  const records = await readAll(spool)
  await spool.release(records[0]!.position)
  await spool.close()
  await flip(join(directory, 'cursor'), 9)
  const again = await openIn(t, directory)
  t.equal(again.records, 8)
  await rm(join(directory, (await segmentsIn(directory))[1]!))
  const ids = (await readAll(again)).map(({ payload }) => idOf(payload))
  t.ok(ids.length >= 4 && ids.length < 8, `read ${ids.join()}`)
  await again.append(payloadOf(9, 10), 1)
  const [last] = await readAll(again)
  await again.release(last!.position)
  t.same([again.isEmpty, again.readings], [true, 0])
  t.equal(again.damage.readings, 8 - ids.length, 'readings that were counted and never came are reported')
})

t.test('a record that cannot be decoded is set aside with its segment', async (t) => {
  const directory = t.testdir()
  const spool = await openIn(t, directory)
  await spool.append(Buffer.from('nonsense'), 3)
  const record = await spool.read()
  spool.setAside(record!.position, new Error('no batch'))
  await spool.release(record!.position)
  t.ok(spool.isEmpty)
  t.equal(spool.damage.stretches, 1)
  t.equal((await readdir(directory)).filter((name) => name.endsWith('.damaged')).length, 1)
})

t.test('a disk that is unreadable for a while loses nothing; a page that stays unreadable loses its record', async (t) => {
  const directory = t.testdir()
  const path = await fill(t, directory, 3, 20_000)
  let badOffset = Infinity
  const disk: Disk = {
    ...realDisk,
    async openToRead (name) {
      const file = await realDisk.openToRead(name)
      return {
        ...file,
        async read (into, offset) {
          if (name === path && offset <= badOffset && badOffset < offset + into.length) {
            throw Object.assign(new Error('EIO'), { code: 'EIO' })
          }
          return await file.read(into, offset)
        }
      }
    }
  }
  const spool = await openIn(t, directory, { disk })
  badOffset = SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + 25_000
  for (let attempt = 0; attempt < 5; attempt++) await t.rejects(spool.read(), { code: 'VITAL_SPOOL_FAILED' })
  badOffset = Infinity
  t.equal(idOf((await spool.read())!.payload), 0)
  await spool.close()
  const again = await openIn(t, directory, { disk })
  badOffset = SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + 25_000
  const ids: number[] = []
  for (let attempt = 0; attempt < 40; attempt++) {
    const record = await again.read().catch(() => undefined)
    if (record === null) break
    if (record !== undefined) ids.push(idOf(record.payload))
  }
  t.same(ids, [0, 2])
  t.match(again.damage, { stretches: 1, readings: 1 })
  await again.close()
  const uncounted = await openIn(t, directory, { disk })
  t.equal(uncounted.records, 0, 'a segment that cannot be read at the open is not counted')
  badOffset = Infinity
  const records = await readAll(uncounted)
  t.same(records.map(({ position }) => position.isCounted), [false, false, false])
  t.equal(uncounted.records, 3, 'it is counted once it is read')
})

t.test('acknowledged records of a killed process are kept, kill after kill', async (t) => {
  const directory = t.testdir()
  const acknowledged = new Set<number>()
  for (let round = 0; round < 5; round++) {
    const child = startChild(t, [directory, String(round * 1_000_000), '3000'])
    await child.line('acknowledged')
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 200))
    await child.kill()
    for (const line of child.lines) if (line.startsWith('acknowledged ')) acknowledged.add(Number(line.slice(13)))
  }
  const spool = await openIn(t, directory)
  const ids = (await readAll(spool)).map(({ payload }) => idOf(payload))
  t.equal(new Set(ids).size, ids.length, 'once')
  t.strictSame(ids, ids.toSorted((a, b) => a - b), 'in order')
  t.same([...acknowledged].filter((id) => !ids.includes(id)), [], `${acknowledged.size} acknowledged`)
  t.equal(spool.damage.stretches, 0)
})

t.test('a limit on the size of a file only makes segments shorter', async (t) => {
  const directory = t.testdir()
  // 128 blocks of 512 bytes; a segment would take 256 KiB.
  const child = startChild(t, [directory, '0', '9000'], 'ulimit -f 128')
  await child.line('acknowledged 60')
  await child.kill()
  t.same(child.lines.filter((line) => line.startsWith('failed')), [])
  for (const name of await segmentsIn(directory)) t.ok((await stat(join(directory, name))).size <= 128 * 1024)
  t.ok((await segmentsIn(directory)).length > 3)
})

t.test('a spool without room for a single record is full, and continues when there is room', async (t) => {
  const directory = t.testdir()
  const child = startChild(t, [directory, '0', '70000'], 'ulimit -f 64')
  t.match(await child.line('failed'), /VITAL_SPOOL_FULL/)
  await child.kill()
  const spool = await openIn(t, directory)
  await spool.append(payloadOf(1, 70_000), 1)
  t.equal((await readAll(spool)).length, 1)
})
