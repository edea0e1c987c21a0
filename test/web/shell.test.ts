import { execFileSync } from 'node:child_process'
import t from 'tap'
import { isDeviceId } from '../../schemas/device-id.ts'
import { quote, toQuotedJson } from '../../src/web/shell.ts'

const IDS = ['ward-3', 'bed 1', 'bett-ü', "`echo ran`'`echo ran`'", '"; echo ran; "', '\\" && echo ran && \\"', 'a!b\\']

const run = (line: string) => execFileSync('sh', ['-c', line], { encoding: 'utf8' })

t.test('a line to paste holds the id of a device as data, whatever the device calls itself', async (t) => {
  for (const id of IDS) {
    t.ok(isDeviceId(id), id)
    t.equal(run(`printf %s ${quote(id)}`), id)
    t.same(JSON.parse(run(`printf %s "{\\"device\\":\\"${toQuotedJson(id)}\\"}"`)), { device: id })
  }
  t.equal(quote('ward-3'), 'ward-3')
  t.equal(toQuotedJson('bed 1-ü'), 'bed 1-ü')
})
