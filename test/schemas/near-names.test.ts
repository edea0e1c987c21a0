import t from 'tap'
import { toKnownName } from '../../schemas/near-names.ts'

t.test('near misses of vital signs', (t) => {
  for (const [name, known] of [
    ['heart_rate', 'heartRateValue'], ['heartRate', 'heartRateValue'], ['HeartRateValue', 'heartRateValue'], ['hr', 'heartRateValue'],
    ['heart-rate-value', 'heartRateValue'], ['breathRate', 'breathRateValue'], ['breath_value', 'breathRateValue'],
    ['blood_pressure_systolic', 'bloodPressureSystolic'], ['bloodPressureDiastolicValue', 'bloodPressureDiastolic'], ['SpO2', 'spo2Value'],
    ['temperature', 'temperatureValue'], ['pulse', 'pulseRateValue']
  ] as const) t.equal(toKnownName(name), known, name)
  for (const name of ['heartRateValue', 'breathValue', 'bloodPressureSystolic', 'note', 'value', 'Value', '',
    'heartRateVariability', 'device', 'timestamp', 'constructor', `heart${'_'.repeat(100)}rate`]) {
    t.equal(toKnownName(name), null, name)
  }
  t.end()
})
