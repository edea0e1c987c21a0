import { existsSync } from 'node:fs'
import t from 'tap'
import { parseFleetOptions, parseNumber } from '../../../../scripts/devices/fleet/options.ts'
import { withoutPassword } from '../../../../scripts/devices/fleet/fleet.ts'
import { parseSimulateOptions } from '../../../../scripts/devices/patients/options.ts'
import { parseReplayOptions } from '../../../../scripts/devices/recordings/options.ts'

const LOGIN = { username: undefined, passwordFile: undefined, tokenFile: undefined, credentialsFile: undefined, ca: undefined }
const FLEET = { url: 'mqtt://127.0.0.1:1883', inFlightMax: 16, patienceMs: 60_000, login: LOGIN }

t.test('numbers', async (t) => {
  t.equal(parseNumber('rate', '0.5', { min: 0, max: 1 }), 0.5)
  for (const text of ['', ' ', 'x', '2', '-1', 'NaN', 'Infinity']) {
    t.throws(() => parseNumber('rate', text, { min: 0, max: 1 }), { code: 'FLEET_USAGE', message: /^--rate must be a number from 0 to 1/ })
  }
  t.throws(() => parseNumber('n', '1.5', { min: 0, max: 2, whole: true }), { message: /whole number/ })
})

t.test('the address of the gateway', async (t) => {
  const values = { url: 'mqtts://127.0.0.1:1', 'in-flight': '4', patience: '1.5' }
  t.strictSame(parseFleetOptions(values), { url: values.url, inFlightMax: 4, patienceMs: 1500, login: LOGIN })
  t.equal(withoutPassword('mqtt://u:secret@127.0.0.1:1'), 'mqtt://127.0.0.1:1')
  for (const url of ['mqtt://u:secret@127.0.0.1:1', 'mqtt://u@127.0.0.1:1', '', 'localhost:1883', 'http://localhost', 'mqtt://', 'mqtt://a:b:c']) {
    t.throws(() => parseFleetOptions({ ...values, url }), { code: 'FLEET_USAGE' })
  }
})

t.test('how devices prove who they are', async (t) => {
  const values = { url: 'mqtts://h', 'in-flight': '4', patience: '1' }
  t.match(parseFleetOptions({ ...values, username: 'a', 'password-file': 'p', ca: 'c' }), { login: { username: 'a', passwordFile: 'p', ca: 'c' } })
  t.throws(() => parseFleetOptions({ ...values, username: 'a' }), { code: 'FLEET_USAGE', message: /needs --password-file/ })
  t.throws(() => parseFleetOptions({ ...values, credentials: 'a', 'token-file': 'b' }), { code: 'FLEET_USAGE', message: /give one of/ })
})

t.test('replay', async (t) => {
  const { folder, ...defaults } = parseReplayOptions([]) ?? { folder: '' }
  t.ok(existsSync(folder))
  t.strictSame(defaults, { ...FLEET, speed: 1, startS: null, devices: null, respZero: 'omit' })
  t.match(parseReplayOptions(['--speed', '60', '--data', 'd', '--start', '0', '--devices', 'bidmc-01, bidmc-02', '--resp-zero', 'send']),
    { speed: 60, folder: 'd', startS: 0, devices: ['bidmc-01', 'bidmc-02'], respZero: 'send' })
  t.equal(parseReplayOptions(['--speed', 'max'])?.speed, Infinity)
  t.equal(parseReplayOptions(['--speed=0'])?.speed, Infinity)
  t.equal(parseReplayOptions(['-h']), null)
  for (const args of [['--speed', 'fast'], ['--speed=-1'], ['--start=-1'], ['--resp-zero', 'maybe'], ['--url', 'x'], ['--fast'], ['file']]) {
    t.throws(() => parseReplayOptions(args), { code: 'FLEET_USAGE' }, args.join(' '))
  }
})

t.test('simulate', async (t) => {
  const { seed, ...defaults } = parseSimulateOptions([]) ?? { seed: -1 }
  t.ok(Number.isInteger(seed) && seed >= 0, 'a seed is drawn')
  t.strictSame(defaults, { ...FLEET, devices: null, rate: 1, durationS: 60, connectRate: 200 })
  t.match(parseSimulateOptions(['--devices', '3', '--rate', '0.5', '--duration', '9', '--seed', '0', '--connect-rate', '1']),
    { devices: 3, rate: 0.5, durationS: 9, seed: 0, connectRate: 1 })
  t.equal(parseSimulateOptions(['--help']), null)
  for (const args of ['--devices=0', '--devices=1.5', '--rate=0', '--duration=long', '--seed=-1', '--in-flight=0', '--patience=0', '--fast']) {
    t.throws(() => parseSimulateOptions([args]), { code: 'FLEET_USAGE' }, args)
  }
})
