import type { Target } from './sessions/session.ts'

/** Sent by the harness to its attacker process. */
export interface AttackSettings {
  readonly seed: number
  readonly targets: readonly Target[]
  readonly mqttPort: number
  readonly httpPort: number
  /** Connections at a time. */
  readonly connections: number
}

/** What the attacker has done and seen since its start. */
export interface AttackFigures {
  readonly packets: number
  readonly packetsByTarget: Readonly<Record<Target, number>>
  readonly bytes: number
  readonly sessions: number
  /** The oldest session under way; from here a failure can be repeated. */
  readonly oldestSession: number
  readonly pubacks: number
  /** Connections that the gateway closed before they were done. */
  readonly closedByGateway: number
  /** Status → answers, over HTTP. */
  readonly statuses: Readonly<Record<string, number>>
  /** Behaviour that the gateway must not show, whatever is sent. */
  readonly faults: readonly string[]
}

export type ToAttacker =
  | { readonly type: 'settings', readonly settings: AttackSettings }
  /** Plays sessions from number `from` on until the packets are written or the time is over. */
  | { readonly type: 'attack', readonly from: number, readonly packets: number, readonly timeMs: number }

export type FromAttacker =
  | { readonly type: 'progress', readonly figures: AttackFigures }
  /** All its connections are closed. */
  | { readonly type: 'done', readonly figures: AttackFigures, readonly next: number }
  | { readonly type: 'failed', readonly message: string }
