import t from 'tap'
import { createConfig } from '../../src/config/config.ts'
import { ConfigError } from '../../src/config/config-error.ts'

const parse = (limits: unknown) =>
  createConfig({ VITAL_LIMITS: typeof limits === 'string' ? limits : JSON.stringify(limits) }).vitalLimits

t.test('limits are by prefix of the device id, and without configuration there are none', async (t) => {
  t.same(createConfig({}).vitalLimits, {})
  t.same(parse(''), {})
  const limits = { '': { spo2Value: [90, 100] }, 'nicu-': { heartRateValue: [100, 200] }, 'a:b;c,d': { temperatureValue: [35.5, 38] } }
  t.same(parse(limits), limits)
})

t.test('a fault is named with its place', async (t) => {
  for (const [limits, message] of [
    ['ward-3=50..120', /^VITAL_LIMITS must be JSON such as \{"ward-3-":/],
    ['[]', /^VITAL_LIMITS must be an object of prefixes/],
    [{ 'ward-': [50, 120] }, /must have an object of vital signs for "ward-"/],
    [{ 'ward/': {} }, /has the prefix "ward\/", which must be how a device id begins/],
    [{ 'ward-': { heartRate: [50, 120] } }, /has "heartRate" for "ward-"; a vital sign is one of heartRateValue, /],
    [{ 'ward-': { heartRateValue: [120, 50] } }, /lowest and the highest value for heartRateValue of "ward-"/],
    [{ 'ward-': { heartRateValue: [50] } }, /lowest and the highest value/],
    [{ 'ward-': { heartRateValue: ['50', 120] } }, /lowest and the highest value/],
    ['{"ward-":{"heartRateValue":[50,1e999]}}', /lowest and the highest value/]
  ] as const) {
    t.throws(() => parse(limits), { constructor: ConfigError, message })
  }
})
