import type { LogPosition } from '../../../db/queries/select-log-positions.ts'

/** `Vital-Position`: the timeline, and the place as PostgreSQL writes it: `1:0/1A2B3C4`. */
export function formatPosition ({ timeline, bytes }: LogPosition): string {
  const high = Math.floor(bytes / 2 ** 32)
  return `${timeline}:${high.toString(16).toUpperCase()}/${(bytes % 2 ** 32).toString(16).toUpperCase()}`
}

/** @returns `null` for any other text */
export function parsePosition (text: string): LogPosition | null {
  const parts = /^(\d{1,10}):([0-9A-F]{1,5})\/([0-9A-F]{1,8})$/i.exec(text)
  if (parts === null) return null
  const [, timeline, high, low] = parts
  return { timeline: Number(timeline), bytes: parseInt(high!, 16) * 2 ** 32 + parseInt(low!, 16) }
}
