/** Numbers as they are shown. */

const NUMBER = new Intl.NumberFormat('en')
const KIB = 1024

export const toCount = (value: number): string => NUMBER.format(Math.round(value))

/** Of something a second, without the unit. */
export const toRate = (perS: number): string => perS > 0 && perS < 10 ? perS.toFixed(1) : toCount(perS)

/** A short time in milliseconds, a long one in seconds. */
export function toMs (seconds: number): string {
  if (seconds < 0.01) return `${(seconds * 1000).toFixed(1)} ms`
  return seconds < 10 ? `${Math.round(seconds * 1000)} ms` : `${Math.round(seconds)} s`
}

export function toBytes (bytes: number): string {
  if (bytes < KIB) return `${bytes} B`
  const power = Math.min(4, Math.floor(Math.log(bytes) / Math.log(KIB)))
  const value = bytes / KIB ** power
  return `${value < 10 ? value.toFixed(1) : toCount(value)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][power]}`
}
