/**
 * A rejection by a sink, as a record of the topic `vital.rejections`, which gateways announce. The key is the device.
 * The value is `{"id":"…","device":"…","rejection":{…}}`, with the rejection that subscribers of
 * `vital/{device}/rejected` receive. Records with equal ids are one announcement.
 */
import { Check } from 'typebox/value'
import { isStoredDeviceId } from '../../schemas/device-id.ts'
import { type Announcement, RejectionSchema } from '../../schemas/rejection.ts'
import { type LogRecord, type Members, type OutgoingRecord, type Read, readRecord, REJECTIONS_TOPIC, toOutgoing } from './records.ts'

/** The record of a rejection. */
export function toRejectionRecord ({ id, device, rejection }: Announcement): OutgoingRecord {
  return toOutgoing(REJECTIONS_TOPIC, device, JSON.stringify({ id, device, rejection }), {})
}

/** Reads a record of the topic. */
export function readRejectionRecord (record: LogRecord): Read<Announcement> {
  return readRecord(record, toAnnouncement)
}

function toAnnouncement ({ id, device, rejection }: Members): Announcement | string {
  if (typeof id !== 'string') return '`id` is not a string'
  if (typeof device !== 'string' || !isStoredDeviceId(device)) return '`device` is not a device id'
  return Check(RejectionSchema, rejection) ? { id, device, rejection } : '`rejection` is not a rejection'
}
