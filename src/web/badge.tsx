/** A filled badge with an icon and a word names a state; normal has none. */
export type BadgeKind = 'bad' | 'warn' | 'told' | 'silent'

const SHAPES: Readonly<Record<BadgeKind, string>> = {
  bad: 'M5 1h6l4 4v6l-4 4H5l-4-4V5zM7.2 4v5h1.6V4zM7.2 10.4V12h1.6v-1.6z',
  warn: 'M8 1l7.5 14H.5zM7.2 6v4.5h1.6V6zM7.2 11.6v1.6h1.6v-1.6z',
  told: 'M8 1a7 7 0 110 14A7 7 0 018 1zM7.2 7v5h1.6V7zM7.2 4v1.6h1.6V4z',
  silent: 'M8 1a7 7 0 110 14A7 7 0 018 1zM7.2 4v5l3.4 2 .8-1.3-2.6-1.5V4z'
}

export function Badge ({ kind, children }: { kind: BadgeKind, children: string }) {
  return (
    <span class={`badge ${kind}`}>
      <svg viewBox='0 0 16 16' width='12' height='12' aria-hidden='true'>
        <path fill='currentColor' fill-rule='evenodd' d={SHAPES[kind]} />
      </svg>
      {children}
    </span>
  )
}
