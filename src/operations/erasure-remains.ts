import type { Replication } from '../../db/queries/select-replication.ts'
import type { ErasureAnswer } from '../../schemas/erasure.ts'
import type { GatewayAnswer } from './erasure-requests.ts'

interface Erased {
  readonly gateways: readonly GatewayAnswer[]
  readonly replication: Replication
  readonly damagedSpoolFiles: number
  readonly hasRedis: boolean
  readonly hasKafka: boolean
}

/** Places that may still hold data of an erased device, and until when. */
export function toRemains ({ gateways, replication, damagedSpoolFiles, hasRedis, hasKafka }: Erased): ErasureAnswer['remains'] {
  const { position, standbys } = replication
  return [
    ...gateways.flatMap((gateway) => toUntil(gateway) ?? []),
    ...standbys.map(({ name, lagS }) => ({
      where: `standby server ${name}`,
      until: `it has replayed ${position}${lagS === null ? '' : `; it is ${lagS.toFixed(1)} s behind`}`
    })),
    ...damagedSpoolFiles === 0
      ? []
      : [{ where: `${damagedSpoolFiles} files of the spool that the disk damaged (*.spool.damaged)`, until: 'they are deleted' }],
    ...hasRedis ? [{ where: 'the append-only file of Redis', until: 'it is rewritten (BGREWRITEAOF)' }] : [],
    ...hasKafka
      ? [{ where: 'Kafka', until: 'vital-gateway topics trim deletes its records; sinks leave out those that stand before the marker of this erasure' }]
      : [],
    { where: 'backups', until: 'they are deleted; a restore erases again what erasures.jsonl of this gateway names' }
  ]
}

function toUntil ({ name, state, isRegistered }: GatewayAnswer): ErasureAnswer['remains'][number] | null {
  if (state === 'confirmed') return null
  const where = `spool, retained and queued messages of ${name}`
  if (!isRegistered) return { where, until: 'it runs this version, and the device is erased again: it knows nothing of requests' }
  return { where, until: state === 'away' ? 'its next start, before it replays anything' : 'it answers again, before it writes anything' }
}
