/**
 * What a sink refused of a device, as a record of the topic `vital.rejections`: gateways announce it. The key is the
 * device, the value `{"id":"…","device":"…","rejection":{…}}` with the rejection as subscribers of
 * `vital/{device}/rejected` get it. Equal ids are one announcement.
 */
import { Check } from 'typebox/value'
import { isStoredDeviceId } from '../../schemas/device-id.ts'
import { type Rejection, RejectionSchema } from '../../schemas/rejection.ts'
import { type LogRecord, type Members, type OutgoingRecord, type Read, readRecord, REJECTIONS_TOPIC, toOutgoing } from './records.ts'

/** A rejection that is to be announced. */
export interface DeviceRejection {
  /** Of its own: no other one has it. */
  readonly id: string
  readonly device: string
  readonly rejection: Rejection
}

/** @returns the record */
export function toRejectionRecord ({ id, device, rejection }: DeviceRejection): OutgoingRecord {
  return toOutgoing(REJECTIONS_TOPIC, device, JSON.stringify({ id, device, rejection }), {})
}

/** Reads a record of the topic. */
export function readRejectionRecord (record: LogRecord): Read<DeviceRejection> {
  return readRecord(record, toDeviceRejection)
}

function toDeviceRejection ({ id, device, rejection }: Members): DeviceRejection | string {
  if (typeof id !== 'string') return '`id` is no text'
  if (typeof device !== 'string' || !isStoredDeviceId(device)) return '`device` is no device id'
  return Check(RejectionSchema, rejection) ? { id, device, rejection } : '`rejection` is none'
}
