import { gatewayNowMs } from '../connection/api.ts'
import { Paste } from '../paste.tsx'
import { toPublishLine, toSubscribeLine } from '../paste-lines.ts'
import { fleet, useChanges } from '../store.ts'
import { toAge, toTime } from '../vital-signs.ts'

export function DeviceView ({ id }: { id: string }) {
  useChanges(500)
  const device = fleet.devices.get(id)
  const nowS = gatewayNowMs() / 1000
  return (
    <>
      <h2>{id}</h2>
      <p class='muted'>{device === undefined || device.timestampS === 0
        ? 'No reading of this device is known.'
        : `Last reading ${toAge(nowS - device.timestampS)} ago, ${toTime(device.timestampS)}`}
      </p>
      <Paste label='Publish as this device'>{toPublishLine(id)}</Paste>
      <Paste label='Subscribe to this device'>{toSubscribeLine(id)}</Paste>
    </>
  )
}
