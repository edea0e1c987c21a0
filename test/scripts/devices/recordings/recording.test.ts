import t from 'tap'
import { parseRecording } from '../../../../scripts/devices/recordings/recording.ts'

const HEADER = 'Time [s], HR, PULSE, RESP, SpO2'

t.test('reads values, NaN and a negative zero', async (t) => {
  const samples = parseRecording(`${HEADER}\n-0,77,75,17,97\n1,NaN,NaN,NaN,NaN\n2,76,-0,0,96.5\n`, 'a.csv')
  t.strictSame(samples, [
    { timeS: 0, heartRate: 77, pulseRate: 75, respiratoryRate: 17, spo2: 97 },
    { timeS: 1, heartRate: null, pulseRate: null, respiratoryRate: null, spo2: null },
    { timeS: 2, heartRate: 76, pulseRate: 0, respiratoryRate: 0, spo2: 96.5 }
  ])
  t.ok(Object.is(samples[0]?.timeS, 0), '-0 has become 0')
})

t.test('finds columns by name, in any order, with CRLF and no last newline', async (t) => {
  t.strictSame(parseRecording('SpO2,RESP,extra,HR,Time [s],PULSE\r\n99,16,x,60,-1,61', 'a.csv'), [
    { timeS: -1, heartRate: 60, pulseRate: 61, respiratoryRate: 16, spo2: 99 }
  ])
})

t.test('a recording without samples is empty', async (t) => {
  t.strictSame(parseRecording(`${HEADER}\n`, 'a.csv'), [])
})

t.test('a faulty file is refused with the line', async (t) => {
  const cases: Array<[string, string]> = [
    ['', 'a.csv: the header has no column "Time [s]"'],
    ['Time [s], HR, PULSE, SpO2\n0,1,2,3\n', 'a.csv: the header has no column "RESP"'],
    [`${HEADER}\n0,1,2,3\n`, 'a.csv:2: 4 values under 5 columns'],
    [`${HEADER}\n0,1,2,3,4\n1,1,2,,4\n`, 'a.csv:3: RESP is not a number: ""'],
    [`${HEADER}\n0,1,2,3,4\n1,1e999,2,3,4\n`, 'a.csv:3: HR is not a number: "1e999"'],
    [`${HEADER}\nNaN,1,2,3,4\n`, 'a.csv:2: the time is missing'],
    [`${HEADER}\n0,1,2,3,4\n-0,1,2,3,4\n`, 'a.csv:3: time does not advance']
  ]
  t.throws(() => parseRecording(`${HEADER}\n0,"1,2,3,4\n`, 'a.csv'), { code: 'RECORDING_INVALID', message: /^a\.csv is not CSV: / })
  for (const [text, message] of cases) {
    t.throws(() => parseRecording(text, 'a.csv'), { code: 'RECORDING_INVALID', message })
  }
})
