import type { Consumer } from '../../db/queries/select-consumers.ts'
import type { Replication } from '../../db/queries/select-replication.ts'
import type { ErasureAnswer } from '../../schemas/erasure.ts'
import type { GatewayAnswer } from './erasure-requests.ts'

interface Erased {
  readonly gateways: readonly GatewayAnswer[]
  readonly replication: Replication
  /** Consumers of the log. */
  readonly consumers: readonly Consumer[]
  readonly damagedSpoolFiles: number
  /** Whether this gateway keeps replayed segments; see `KeptSegments`. */
  readonly keepsReplayed: boolean
  readonly hasRedis: boolean
  readonly hasKafka: boolean
}

/** Places that may still hold data of an erased device, and until when. */
export function toRemains (
  { gateways, replication, consumers, damagedSpoolFiles, keepsReplayed, hasRedis, hasKafka }: Erased
): ErasureAnswer['remains'] {
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
    ...keepsReplayed
      ? [{ where: 'copies of readings in the spools of gateways', until: 'VITAL_SPOOL_KEEP_S is over; it is not written to Kafka again' }]
      : [],
    ...hasRedis ? [{ where: 'the append-only file of Redis', until: 'it is rewritten (BGREWRITEAOF)' }] : [],
    ...hasKafka
      ? [{
          where: 'Kafka',
          until: 'vital-gateway topics trim deletes its records; sinks leave out those that stand before the marker ' +
        'of this erasure'
        }]
      : [],
    ...consumers.flatMap((consumer) => toConsumerRemains(consumer, hasKafka) ?? []),
    { where: 'backups', until: 'they are deleted; a restore erases again what erasures.jsonl of this gateway names' }
  ]
}

/**
 * Data that a consumer of the log has written elsewhere.
 * @returns `null` for a sink, which stores into this PostgreSQL
 */
function toConsumerRemains ({ group, owner }: Consumer, isMarked: boolean): ErasureAnswer['remains'][number] | null {
  const [program] = owner.split(' ')
  if (program === 'vital-sink') return null
  const byHand = 'it is deleted there by hand, for this gateway does not write to Kafka and so has left no marker'
  const passed = (does: string) => isMarked ? `its group has passed the marker of this erasure in every partition, and ${does}` : byHand
  if (program === 'vital-lake') {
    return { where: `files of the lake of ${group}`, until: passed('has rewritten them') }
  }
  if (program === 'vital-export') {
    return {
      where: `the time-series database of ${group}`,
      until: passed('has deleted the device there; it warns where the ' +
      'database cannot')
    }
  }
  return { where: `what the consumer group ${group} keeps`, until: 'it erases the device' }
}

function toUntil ({ name, state, isRegistered }: GatewayAnswer): ErasureAnswer['remains'][number] | null {
  if (state === 'confirmed') return null
  const where = `spool, retained and queued messages of ${name}`
  if (!isRegistered) return { where, until: 'it runs this version, and the device is erased again: it knows nothing of requests' }
  return { where, until: state === 'away' ? 'its next start, before it replays anything' : 'it answers again, before it writes anything' }
}
