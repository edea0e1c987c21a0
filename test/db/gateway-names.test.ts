import t from 'tap'
import { GATEWAY_NAMES, toGatewayName } from '../../db/gateway-names.ts'

t.test('PostgreSQL keeps the whole application name for every host name, and two starts differ', (t) => {
  for (const host of ['web', 'a'.repeat(64), 'höst name', 'ward.example.org']) {
    const [one, other] = ['0123456789ab', 'ba9876543210'].map((id) => toGatewayName({ host, pid: 4_194_304, id }))
    t.ok(one!.length <= 63 && one!.endsWith('0123456789ab'), String(one))
    t.not(one, other)
    t.match(one, new RegExp(GATEWAY_NAMES))
  }
  t.match('vital-gateway elsewhere:1', new RegExp(GATEWAY_NAMES), 'a name of earlier versions')
  t.notMatch('vital-gateway erase', new RegExp(GATEWAY_NAMES))
  t.end()
})
