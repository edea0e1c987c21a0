import { DEVICE_ID_RULE, isDeviceId } from './device-id.ts'

/** Roles, which decide a principal's rights; src/security/README.md has the table. */
export const ROLES = ['device', 'operator', 'application', 'admin'] as const

export type Role = typeof ROLES[number]

/** The authenticated identity of a client or a request; `null` where no credentials are needed. */
export interface Principal {
  readonly id: string
  readonly role: Role
}

/** The message for a bad principal id. */
export const PRINCIPAL_ID_RULE = DEVICE_ID_RULE

/** Whether `id` may name a principal: the rule of device ids, because a device's principal has the device's id. */
export function isPrincipalId (id: string): boolean {
  return isDeviceId(id)
}

/** Whether `value` is one of {@link ROLES}. */
export function isRole (value: unknown): value is Role {
  return (ROLES as readonly unknown[]).includes(value)
}
