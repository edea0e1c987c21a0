import t from 'tap'
import { type FleetValues, toFleetOptions } from '../../../../scripts/devices/fleet/options.ts'
import { withoutPassword } from '../../../../scripts/devices/fleet/fleet.ts'
import { createSimulateCommand } from '../../../../scripts/devices/patients/options.ts'
import { createPlayCommand } from '../../../../scripts/devices/recordings/options.ts'
import { parseCommand } from '../../../helpers/command-line.ts'
import { exactly } from '../../../helpers/exactly.ts'
import { FIXTURES } from './script.ts'

const LOGIN = { username: undefined, passwordFile: undefined, tokenFile: undefined, credentialsFile: undefined, ca: undefined }
const FLEET = { url: 'mqtt://127.0.0.1:1883', protocolVersion: 4, inFlightMax: 16, patienceMs: 60_000, login: LOGIN }
const VALUES: FleetValues = { url: 'mqtts://127.0.0.1:1', inFlight: 4, patience: 1.5, mqttVersion: '5' }

t.test('the address of the gateway', async (t) => {
  t.strictSame(toFleetOptions(VALUES), { url: VALUES.url, protocolVersion: 5, inFlightMax: 4, patienceMs: 1500, login: LOGIN })
  t.equal(withoutPassword('mqtt://u:secret@127.0.0.1:1'), 'mqtt://127.0.0.1:1')
  for (const url of [
    'mqtt://u:secret@127.0.0.1:1', 'mqtt://u@127.0.0.1:1', '', 'localhost:1883', 'http://localhost', 'mqtt://', 'mqtt://a:b:c'
  ]) {
    t.throws(() => toFleetOptions({ ...VALUES, url }), { code: 'OPERATOR_USAGE' })
  }
})

t.test('credentials of devices', async (t) => {
  t.match(toFleetOptions({
    ...VALUES, username: 'a', passwordFile: 'p', ca: 'c'
  }), { login: { username: 'a', passwordFile: 'p', ca: 'c' } })
  t.throws(() => toFleetOptions({ ...VALUES, username: 'a' }), { code: 'OPERATOR_USAGE', message: /needs --password-file/ })
  t.throws(() => toFleetOptions({ ...VALUES, credentials: 'a', tokenFile: 'b' }), { code: 'OPERATOR_USAGE', message: /give one of/ })
})

t.test('play', async (t) => {
  const parse = (...args: string[]) => parseCommand(createPlayCommand, args)
  const { folder, ...defaults } = await parse() ?? { folder: '' }
  t.equal(folder, FIXTURES)
  t.strictSame(defaults, { ...FLEET, speed: 1, startS: null, devices: null, respZero: 'omit', isLooping: false })
  t.match(await parse('--speed', '60', '--data', 'd', '--start', '0', '--devices', 'bidmc-01, bidmc-02', '--resp-zero', 'send'),
    { speed: 60, folder: 'd', startS: 0, devices: exactly('bidmc-01', 'bidmc-02'), respZero: 'send' })
  t.equal((await parse('--speed', 'max'))?.speed, Infinity)
  t.equal((await parse('--speed=0'))?.speed, Infinity)
  t.equal((await parse('--loop'))?.isLooping, true)
  t.equal(await parse('-h'), null)
  for (const args of [
    ['--speed', 'fast'], ['--speed=-1'], ['--start=-1'], ['--resp-zero', 'maybe'], ['--url', 'x'], ['--fast'], ['file'],
    ['--devices', 'a,,b']
  ]) {
    await t.rejects(parse(...args), { code: 'OPERATOR_USAGE' }, args.join(' '))
  }
})

t.test('simulate', async (t) => {
  const parse = (...args: string[]) => parseCommand(createSimulateCommand, args)
  const { seed, ...defaults } = await parse() ?? { seed: -1 }
  t.ok(Number.isInteger(seed) && seed >= 0, 'a seed is drawn')
  t.strictSame(defaults, { ...FLEET, devices: null, rate: 1, durationS: 60, connectRate: 200 })
  t.match(await parse('--devices', '3', '--rate', '0.5', '--duration', '9', '--seed', '0', '--connect-rate', '1'),
    { devices: 3, rate: 0.5, durationS: 9, seed: 0, connectRate: 1 })
  t.equal(await parse('--help'), null)
  for (const args of [
    '--devices=0', '--devices=1.5', '--rate=0', '--duration=long', '--seed=-1', '--in-flight=0', '--patience=0', '--fast'
  ]) {
    await t.rejects(parse(args), { code: 'OPERATOR_USAGE' }, args)
  }
})
