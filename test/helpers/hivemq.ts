import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { freePort } from './free-port.ts'
import { createTestDir } from './postgres.ts'
import { ROOT } from './program.ts'

const { VITAL_TEST_HIVEMQ_JARS: JARS = '' } = process.env

/** Why a test is left out; `false` where it runs. */
export const NO_HIVEMQ: string | false = findMissing()

function findMissing (): string | false {
  if (!existsSync(JARS) || !readdirSync(JARS).some((name) => name.startsWith('hivemq-community-edition-embedded'))) {
    return 'VITAL_TEST_HIVEMQ_JARS names no folder of HiveMQ\'s jars (mvn -f test/fixtures/hivemq/pom.xml dependency:copy-dependencies)'
  }
  return spawnSync('java', ['-version']).status === 0 ? false : 'Java is not installed (apt-get install openjdk-17-jdk-headless)'
}

/** A HiveMQ CE of its own on loopback, ended with the test. @param mqtt - settings below `<mqtt>` of its configuration */
export async function startHivemq (t: Test, mqtt = '') {
  const dir = await createTestDir(t)
  const port = await freePort()
  for (const name of ['data', 'extensions']) await mkdir(join(dir, name))
  await writeFile(join(dir, 'config.xml'), `<hivemq>
    <listeners><tcp-listener><port>${port}</port><bind-address>127.0.0.1</bind-address></tcp-listener></listeners>
    <mqtt>${mqtt}</mqtt>
    <anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics>
  </hivemq>`)
  let child: ChildProcess | null = null

  async function start (): Promise<void> {
    const java = ['-Xmx384m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-cp', `${resolve(JARS)}/*`]
    const program = join(ROOT, 'test/fixtures/hivemq/Broker.java')
    const started = child = spawn('java', [...java, program, dir], { stdio: ['ignore', 'pipe', 'ignore'] })
    const ended = once(started, 'exit').then(() => { throw new Error('HiveMQ ended') })
    ended.catch(() => {})
    const listening = new Promise<void>((resolve) => {
      createInterface({ input: started.stdout }).on('line', (line) => { if (line === 'listening') resolve() })
    })
    await Promise.race([listening, ended])
  }
  async function kill (): Promise<void> {
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }
  t.teardown(kill)
  await start()
  return { port, start, kill }
}
