import t, { type Test } from 'tap'
import { createConfig } from '../../src/config/config.ts'
import { takeAnswer } from '../../src/export/answers.ts'
import { createQuestDb } from '../../src/export/questdb.ts'

const fails = (t: Test, status: number, text: string, expected: { readonly code: string, readonly message?: string }) => {
  t.throws(() => takeAnswer({ status, text }), expected, `${status} ${text}`)
}

t.test('answers to a write are told apart', (t) => {
  t.equal(takeAnswer({ status: 204, text: '' }), 0)
  t.equal(takeAnswer({ status: 400, text: '{"error":"partial write: points beyond retention policy dropped=3"}' }), 3)
  fails(t, 400, '{"error":"partial write: field type conflict: input field \\"a\\" on measurement \\"vital\\" is type string, already ' +
    'exists as type float dropped=1"}', { code: 'VITAL_EXPORT_REFUSED' })
  fails(t, 400, '{"error":"unable to parse \'vital,device=d x\': missing fields"}', {
    code: 'VITAL_EXPORT_REFUSED', message: 'unable to parse a line: missing fields'
  })
  fails(t, 413, 'Request Entity Too Large', { code: 'VITAL_EXPORT_TOO_LARGE' })
  const bound = 'partial write: max-values-per-tag limit exceeded (3/3): measurement="vital" tag="device" value="ann dropped" dropped=1'
  fails(t, 400, JSON.stringify({ error: bound }), {
    code: 'VITAL_EXPORT_AWAY',
    message: 'it takes no more devices: max-values-per-tag limit exceeded (3/3): measurement="vital" tag="device" dropped=1. Raise ' +
      'this bound in ' +
      'its configuration, and restart it'
  })
  for (const status of [301, 400, 401, 403, 404, 422, 429, 500, 503]) {
    fails(t, status, '{"error":"something that nobody knows"}', {
      code: 'VITAL_EXPORT_AWAY', message: `it answers ${status}: something that nobody knows`
    })
  }
  t.end()
})

t.test('an answer of QuestDB that is not JSON, as a proxy may give, is no defect of the export', async (t) => {
  const { timeSeries } = createConfig({ VITAL_EXPORT_URL: 'http://127.0.0.1:9000', VITAL_EXPORT_KIND: 'questdb' })
  const { inspect } = createQuestDb({ ask: async () => ({ status: 200, text: '<html>', headers: {} }), config: timeSeries! })
  await t.rejects(inspect(), { code: 'VITAL_EXPORT_AWAY', message: 'it answers /exec with a text that is not JSON' })
})
