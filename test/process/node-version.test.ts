import t from 'tap'
import packageJson from '../../package.json' with { type: 'json' }
import { toNodeRefusal } from '../../src/process/node-version.ts'

t.test('versions that are too old are refused by name', (t) => {
  for (const version of ['18.20.8', '20.9.0', '20.18.3']) {
    t.match(toNodeRefusal(version),
      new RegExp(`needs Node.js 20.19 or newer.*${version}`))
  }
  for (const version of ['20.19.0', '20.20.2', '21.0.0', '22.12.0', '24.1.0']) t.equal(toNodeRefusal(version), null, version)
  t.equal(packageJson.engines.node, '>=20.19', 'as package.json says')
  t.end()
})
