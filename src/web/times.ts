/** Times as they are shown: local, in the browser's zone and format. */

const DAY_S = 86_400

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
const clockWithSeconds = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' })
const fullTime = new Intl.DateTimeFormat(undefined, {
  year: 'numeric',
  month: 'short',
  day: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  timeZoneName: 'short'
})
const dayTime = new Intl.DateTimeFormat(undefined, { weekday: 'short', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' })
const day = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric' })
const dayOfYear = new Intl.DateTimeFormat(undefined, { year: 'numeric', month: 'short', day: 'numeric' })
const month = new Intl.DateTimeFormat(undefined, { year: 'numeric', month: 'short' })
const zone = new Intl.DateTimeFormat(undefined, { timeZoneName: 'short' })

export const toClock = (atS: number): string => clock.format(atS * 1000)
const toClockWithSeconds = (atS: number): string => clockWithSeconds.format(atS * 1000)
/** Local time with its zone. */
export const toTime = (atS: number): string => fullTime.format(atS * 1000)

/** Name of the zone at a time. */
export const toZone = (atS: number): string =>
  zone.formatToParts(atS * 1000).find(({ type }) => type === 'timeZoneName')?.value ?? ''

/** From and to, with the zone. */
export function toSpan (fromS: number, toS: number): string {
  if (toS - fromS > 60 * DAY_S) return dayOfYear.formatRange(fromS * 1000, toS * 1000)
  return `${dayTime.formatRange(fromS * 1000, toS * 1000)} ${toZone(toS)}`
}

/** A mark of the time axis whose marks are `stepS` apart. */
export function toTick (atS: number, stepS: number): string {
  const date = new Date(atS * 1000)
  if (stepS >= 28 * DAY_S) return month.format(date)
  const isMidnight = date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0
  if (stepS >= DAY_S || isMidnight) return day.format(date)
  return stepS < 60 ? toClockWithSeconds(atS) : toClock(atS)
}

/** The value of a field for a local time. */
export function toLocalField (atS: number): string {
  const date = new Date(atS * 1000)
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16)
}

/** An age in the largest unit that fits. */
export function toAge (ageS: number): string {
  const whole = Math.max(0, Math.floor(ageS))
  if (whole < 100) return `${whole} s`
  if (whole < 100 * 60) return `${Math.floor(whole / 60)} min`
  if (whole < 48 * 3600) return `${Math.floor(whole / 3600)} h`
  return `${Math.floor(whole / DAY_S).toLocaleString('en')} d`
}
