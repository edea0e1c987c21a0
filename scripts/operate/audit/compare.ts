/**
 * The audit: compares the counters of the gateways with the rows of the tables.
 *
 * Traffic goes on meanwhile, so each count of a table is compared with two scrapes, one before and one after it. Rows
 * counted as stored before must be there; rows that are there must have been stored by then, or be pending: a batch is
 * committed a moment before it is counted.
 *
 *   stored before  <=  rows  <=  stored after + pending after
 *
 * A difference beyond that is explained as far as there is evidence for it: readings may be missing because retention
 * removed them, but no more of them than it removed. The rest is wrong, and the audit fails.
 */
import type { Received } from '../../../db/queries/count-received.ts'
import type { SampleResult } from '../../../db/rollups/sample.ts'
import type { Finding } from './finding.ts'
import { checkLog, countWaiting, type Log } from './log.ts'
import type { Scrape } from './scrape.ts'

/** A reason that a difference may have, and how much of it at most. */
interface Reason {
  readonly most: number
  readonly text: string
}

/**
 * @param before - of every gateway, before the tables were counted
 * @param after - of the same, in the same order, afterwards
 */
export function compare (before: readonly Scrape[], received: Received, after: readonly Scrape[], log: Log | null = null): Finding[] {
  return [
    ...after.map(checkLedger),
    ...after.filter(({ role }) => role === 'gateway').map(checkSpool),
    ...log === null
      ? [checkReadings(before, received, after), checkDeadLetters(before, received, after)]
      : [checkLogged(before, received, after, log), ...checkLog(log)],
    checkLatest(received)
  ]
}

/** With a log, a gateway counts records in Kafka, and sinks decide whether each becomes a reading or a dead letter. */
function checkLogged (before: readonly Scrape[], received: Received, after: readonly Scrape[], log: Log): Finding {
  const gateways = (scrapes: readonly Scrape[]) => scrapes.filter(({ role }) => role === 'gateway')
  const sinks = after.filter(({ role }) => role === 'sink')
  const deleted = received.readingsDeleted + received.deadLettersDeleted
  const waiting = countWaiting(log)
  const doubled = total(sinks, ({ own }) => own.duplicate)
  const left = total(sinks, ({ own }) => own.left)
  return checkRows({
    subject: 'readings and dead letters',
    rows: received.readings + received.deadLetters,
    counted: 'logged',
    least: total(gateways(before), ({ own }) => own.logged),
    most: total(gateways(after), ({ own, pending }) => own.logged + pending),
    missing: [
      { most: waiting, text: `${waiting} records wait in Kafka` },
      { most: doubled, text: `sinks found ${doubled} that were stored before` },
      { most: left, text: `sinks left out ${left}, beyond the caps of dead letters or of erased devices` },
      { most: deleted, text: `PostgreSQL counts ${deleted} rows deleted, by retention or by hand` },
      {
        most: sinks.length === 0 ? Infinity : 0,
        text: 'a reading that was sent twice is logged twice and stored once; name each sink with --url to count those too'
      }
    ],
    surplus: [
      {
        most: total(gateways(after), ({ own }) => own.unavailable),
        text: `${total(gateways(after), ({ own }) => own.unavailable)} given up as unavailable: Kafka may have taken them after ` +
          'the time-out'
      },
      ...otherGateways(received, gateways(after))
    ],
    hints: {
      missing: 'Look for a sink that was restarted since, months dropped by hand, a database restored from an older backup, and a ' +
        '--url of a gateway on another Kafka.',
      surplus: 'Look for a gateway on this Kafka that has stopped since, rows written or restored by hand, and a clock that was set.'
    }
  })
}

function checkLedger (scrape: Scrape): Finding {
  const { url, received, stored, logged, duplicate, deadLettered, refused, pending } = scrape
  const difference = received - stored - logged - duplicate - deadLettered - refused - pending
  const inKafka = logged === 0 ? '' : ` + logged ${logged}`
  const equation = `received ${received} = stored ${stored}${inKafka} + duplicate ${duplicate} + dead-lettered ${deadLettered} + ` +
    `refused ${refused} + pending ${pending}`
  return difference === 0
    ? { subject: `ledger of ${url}`, status: 'ok', text: equation }
    : {
        subject: `ledger of ${url}`,
        status: 'wrong',
        text: `does not balance, by ${difference}: ${equation}. This is a defect of the gateway; please report it.`
      }
}

function checkSpool ({ url, spoolReadings, spoolBytes, spoolDamage, isDatabaseUp, pending }: Scrape): Finding {
  const subject = `spool of ${url}`
  if (spoolDamage > 0) {
    return {
      subject,
      status: 'wrong',
      text: `the disk destroyed ${spoolDamage} stretches of it: acknowledged readings may be lost. The damaged files are kept beside ` +
        'the others, as *.damaged.'
    }
  }
  if (spoolReadings > pending) {
    return {
      subject,
      status: 'wrong',
      text: `holds ${spoolReadings} readings, more than the ${pending} that are pending. This is a defect of the gateway; please report it.`
    }
  }
  if (spoolReadings === 0) return { subject, status: 'ok', text: 'empty' }
  return {
    subject,
    status: 'explained',
    text: `${spoolReadings} acknowledged readings (${spoolBytes} bytes) wait in it and are in no table yet; ` +
      (isDatabaseUp ? 'they are being stored.' : 'PostgreSQL does not take them now.')
  }
}

function checkReadings (before: readonly Scrape[], received: Received, after: readonly Scrape[]): Finding {
  const retention = total(after, ({ retentionReadings }) => retentionReadings)
  return checkRows({
    subject: 'readings',
    rows: received.readings,
    counted: 'stored',
    least: total(before, ({ own }) => own.stored),
    most: total(after, ({ own, pending }) => own.stored + pending),
    missing: [
      { most: retention, text: `retention removed about ${retention} since the start` },
      { most: received.readingsDeleted, text: `PostgreSQL counts ${received.readingsDeleted} readings deleted, by retention or by hand` }
    ],
    surplus: [
      {
        most: total(after, ({ own }) => own.duplicate),
        text: `${total(after, ({ own }) => own.duplicate)} readings counted as duplicates: where the outcome of a COMMIT was unknown, ` +
          'the first try had stored them'
      },
      {
        most: total(after, ({ own }) => own.unavailable),
        text: `${total(after, ({ own }) => own.unavailable)} readings given up as unavailable: their COMMIT may have succeeded after ` +
          'the time-out'
      },
      ...otherGateways(received, after)
    ],
    hints: {
      missing: 'Look for months dropped, or rows deleted, by hand (a dropped table leaves no count), a database restored from an older ' +
        'backup, and a --url of a gateway on another database.',
      surplus: 'Look for a gateway on this database that has stopped since, rows written or restored by hand, and a clock that was set.'
    }
  })
}

function checkDeadLetters (before: readonly Scrape[], received: Received, after: readonly Scrape[]): Finding {
  const { deadLettersDeleted } = received
  const refused = total(after, ({ lettersRefused }) => lettersRefused)
  return checkRows({
    subject: 'dead letters',
    rows: received.deadLetters,
    counted: 'dead-lettered',
    least: total(before, ({ own }) => own.deadLettered),
    most: total(after, ({ own, pending }) => own.deadLettered + pending),
    missing: [
      { most: deadLettersDeleted, text: `PostgreSQL counts ${deadLettersDeleted} deleted: discarded, or replayed` },
      { most: refused, text: `PostgreSQL refused ${refused}: they are in refused-dead-letters.ndjson of the data directory` }
    ],
    surplus: [
      {
        most: total(after, ({ own }) => own.databaseRejected),
        text: 'a reading that PostgreSQL refuses while its time runs out is kept as a dead letter twice'
      },
      {
        most: total(after, ({ own }) => own.unavailable),
        text: `${total(after, ({ own }) => own.unavailable)} inputs given up as unavailable: their COMMIT may have succeeded after ` +
          'the time-out'
      },
      ...otherGateways(received, after)
    ],
    hints: {
      missing: 'Look for a table that was truncated, a database restored from an older backup, and a --url of a gateway on ' +
        'another database.',
      surplus: 'Look for a gateway on this database that has stopped since, rows written or restored by hand, and a clock that was set.'
    }
  })
}

/** Averages that were drawn and computed again. */
export function checkAverages ({ fives, hours, wrong, example }: SampleResult): Finding {
  const subject = 'averages'
  if (wrong === 0) return { subject, status: 'ok', text: `${fives} of five minutes and ${hours} of an hour computed again: equal` }
  const place = example === null ? '' : `, one of them about ${new Date(example.timeS * 1000).toISOString()}`
  return {
    subject,
    status: 'wrong',
    text: `${wrong} of ${fives + hours} differ from their readings${place}. Rows that were written, changed or deleted ` +
      'past the gateway are the usual cause: run vital-gateway rollups rebuild.'
  }
}

function checkLatest ({ devicesWithoutLatest }: Received): Finding {
  return devicesWithoutLatest === 0
    ? { subject: 'latest', status: 'ok', text: 'every device with a reading has a latest state' }
    : {
        subject: 'latest',
        status: 'wrong',
        text: `${devicesWithoutLatest} devices have readings and no latest state, though both are written in one transaction. Look for ` +
          'rows deleted by hand.'
      }
}

function otherGateways ({ gateways }: Received, after: readonly Scrape[]): Reason[] {
  const others = gateways - after.length
  return others <= 0
    ? []
    : [{
        most: Infinity,
        text: `${others} more ${others === 1 ? 'gateway writes' : 'gateways write'} to this database; name each with --url to ` +
          'count them too'
      }]
}

function checkRows ({ subject, rows, counted, least, most, missing, surplus, hints }: {
  readonly subject: string
  readonly rows: number
  /** The gateway's word for them. */
  readonly counted: string
  readonly least: number
  readonly most: number
  readonly missing: readonly Reason[]
  readonly surplus: readonly Reason[]
  readonly hints: { readonly missing: string, readonly surplus: string }
}): Finding {
  const range = least === most ? String(least) : `${least} to ${most}`
  const told = `${rows} rows, ${range} counted as ${counted}`
  if (rows >= least && rows <= most) return { subject, status: 'ok', text: told }
  const isMissing = rows < least
  const difference = isMissing ? least - rows : rows - most
  const reasons = (isMissing ? missing : surplus).filter((reason) => reason.most > 0)
  const because = reasons.map(({ text }) => `${text}.`).join(' ')
  const tell = `${told}: ${difference} ${isMissing ? 'fewer' : 'more'}.${because === '' ? '' : ` ${because}`}`
  return reasons.reduce((sum, reason) => sum + reason.most, 0) >= difference
    ? { subject, status: 'explained', text: tell }
    : {
        subject,
        status: 'wrong',
        text: `${tell}${because === '' ? '' : ' That does not account for all of them.'} ${isMissing ? hints.missing : hints.surplus}`
      }
}

function total (scrapes: readonly Scrape[], of: (scrape: Scrape) => number): number {
  return scrapes.reduce((sum, scrape) => sum + of(scrape), 0)
}
