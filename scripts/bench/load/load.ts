import { setTimeout as sleep } from 'node:timers/promises'
import { startClosedLoop } from './closed-loop.ts'
import { type Link, openLinks } from './link.ts'
import type { FromLoad, LoadReport, LoadSettings, ToLoad } from './messages.ts'
import { startOpenLoop } from './open-loop.ts'

// One load generator process: it connects, waits for `go`, warms up, measures, drains and reports.

function tell (message: FromLoad): void {
  process.send?.(message)
}

function fail (error: Error): void {
  if (process.connected) process.send?.({ type: 'failed', message: error.message } satisfies FromLoad, () => process.exit(1))
}

async function measure (settings: LoadSettings, links: readonly Link[]): Promise<LoadReport> {
  const loop = settings.traffic === 'open' || settings.traffic === 'get' ? startOpenLoop(settings, links) : startClosedLoop(settings, links)
  await sleep(settings.warmupMs)
  tell({ type: 'measuring' })
  const cpuBefore = process.cpuUsage()
  const ackedBefore = loop.readingsAcked()
  const startMs = performance.now()
  await sleep(settings.measureMs)
  const measuredMs = performance.now() - startMs
  const readingsMeasured = loop.readingsAcked() - ackedBefore
  const cpu = process.cpuUsage(cpuBefore)
  tell({ type: 'measured' })
  await loop.drain()
  return {
    measuredMs,
    readingsMeasured,
    readingsSent: loop.readingsSent(),
    readingsAcked: loop.readingsAcked(),
    cpuCores: (cpu.user + cpu.system) / 1000 / measuredMs,
    ...loop.latencies()
  }
}

async function main (): Promise<void> {
  const settings = await new Promise<LoadSettings>((resolve) => {
    process.once('message', (message: ToLoad) => { if (message.type === 'run') resolve(message.settings) })
  })
  const go = new Promise((resolve) => process.once('message', resolve))
  const links = await openLinks(settings, fail)
  tell({ type: 'connected' })
  await go
  if (settings.traffic !== 'idle') tell({ type: 'result', report: await measure(settings, links) })
}

process.on('disconnect', () => process.exit())
main().catch(fail)
