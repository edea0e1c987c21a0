import { type Logger, pino } from 'pino'
import type { Test } from 'tap'
import { type Config, createConfig } from '../../src/config/config.ts'
import type { createService } from '../../src/service.ts'
import { createTestDir } from './postgres.ts'

/** A process that reads Kafka, such as a lake, in this process; stopped with the test. */
export async function startReader (
  t: Test, create: (options: { readonly config: Config, readonly logger: Logger }) => ReturnType<typeof createService>,
  given: Readonly<Record<string, string>>
) {
  const lines: Array<{ readonly msg: string, readonly level: number }> = []
  const logger = pino({ level: 'info' }, { write (line: string) { lines.push(JSON.parse(line) as typeof lines[number]) } })
  const service = create({ config: createConfig({ VITAL_DATA_DIR: await createTestDir(t), ...given }), logger })
  t.teardown(() => service.stop())
  const { port } = await service.start()
  const url = `http://127.0.0.1:${port}`
  return {
    service,
    url,
    lines,
    said: (pattern: RegExp) => lines.some(({ msg }) => pattern.test(msg)),
    async warnings (): Promise<readonly string[]> {
      return ((await (await fetch(`${url}/health/ready`)).json()) as { readonly warnings: readonly string[] }).warnings
    },
    isReady: async () => (await fetch(`${url}/health/ready`)).status === 200,
    /** The sum over all series of a name. */
    async metric (name: string): Promise<number> {
      const text = await (await fetch(`${url}/metrics`)).text()
      return [...text.matchAll(/^([a-z_]+)(\{.*\})? (\S+)$/gm)].filter(([, bare]) => bare === name)
        .reduce((sum, [,,, value]) => sum + Number(value), 0)
    }
  }
}
