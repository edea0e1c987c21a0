import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { findFreePort } from '../../../db/embedded/cluster.ts'
import { GatewayProcess } from '../../harness/gateway-process.ts'
import { PublisherProcess } from '../../harness/devices/publisher-process.ts'
import type { Books, Rig } from './rig.ts'

const READY_TIMEOUT_MS = 60_000

/** A second gateway on a rig's database, with a publisher of its own. */
export interface Another extends Books {
  readonly mqttPort: number
  /** For the devices of the account that the rig has open. */
  readonly beginAccount: () => Promise<void>
  readonly stop: () => Promise<void>
}

export async function startAnother (rig: Rig): Promise<Another> {
  const { belongings, program, dir, load, seed } = rig.options
  const dataDir = join(dir, 'data-2')
  await mkdir(dataDir, { mode: 0o700 })
  const ports = { mqtt: await findFreePort(), http: await findFreePort(), admin: await findFreePort() }
  const gateway = new GatewayProcess({
    belongings, args: [program.gateway], cwd: dir, env: rig.toEnvironment(dataDir, ports), logPath: join(dir, 'gateway-another.log')
  })
  await gateway.waitReady(READY_TIMEOUT_MS)
  const publisher = new PublisherProcess(belongings, program.publisher)
  let accounts = 0
  const ledgerPath = () => join(dir, `ledger-another-${accounts}`)
  return {
    mqttPort: ports.mqtt,
    httpPort: load.isIdentified ? ports.admin : ports.http,
    publisher,
    ledgerPath,
    beginAccount: async () => {
      accounts++
      await publisher.run({
        ...load,
        mqttPort: ports.mqtt,
        httpPort: ports.http,
        ledgerPath: ledgerPath(),
        prefix: rig.prefix,
        seed: seed + accounts * 20_011,
        numbering: { first: 1, step: 2 }
      })
    },
    stop: async () => {
      const { code } = await gateway.stop()
      if (code !== 0) rig.violate('C6', `SIGTERM of the other gateway ended with ${code}:\n${gateway.tail()}`)
      publisher.kill()
    }
  }
}
