import type { ErasureAnswer } from '../../../schemas/erasure.ts'

/** A gateway's answer without the device's name. */
export type Erased = Omit<ErasureAnswer, 'deviceId'>
