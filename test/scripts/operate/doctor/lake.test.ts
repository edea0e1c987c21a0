import t from 'tap'
import { checkLake } from '../../../../scripts/operate/doctor/lake.ts'
import { createConfig } from '../../../../src/config/config.ts'
import { freePort } from '../../../helpers/free-port.ts'
import { NO_STORE, startStore } from '../../../helpers/seaweedfs.ts'
import { startScriptedStore } from '../../../lake/scripted-store.ts'

const check = (url: string, variables: Readonly<Record<string, string>> = { KAFKA_BROKERS: '127.0.0.1:9092' }) =>
  checkLake(createConfig({ VITAL_LAKE_URL: url, ...variables }))

t.test('a correct store passes, and one that refuses the credentials fails', { skip: NO_STORE }, async (t) => {
  t.same(await checkLake(createConfig({})), [])
  const { variables, bucket } = await startStore(t)
  Object.assign(process.env, variables)
  const url = `s3://${bucket}/readings`
  t.match(await check(url), [{
    check: 'lake',
    status: 'ok',
    text: /^the store of VITAL_LAKE_URL takes objects at s3:\/\/vital-lake\/readings\/, and keeps conditions; checked in \d+ ms$/
  }])
  t.match(await check(url, {}), [{ status: 'ok' }, { status: 'warn', advice: 'set KAFKA_BROKERS' }])
  process.env['AWS_SECRET_ACCESS_KEY'] = 'another'
  t.match(await check(url), [{ status: 'FAIL', text: /^the store of VITAL_LAKE_URL: 403 SignatureDoesNotMatch/, advice: /credentials/ }])
})

t.test('a store that keeps no conditions is a FAIL, and so is one that is away', async (t) => {
  await startScriptedStore(t, [200, 200])
  t.match(await check('s3://vital-lake'), [{ status: 'FAIL', text: /does not keep If-None-Match: \*: it answers 200/ }])
  process.env['AWS_ENDPOINT_URL_S3'] = `http://127.0.0.1:${await freePort()}`
  t.match(await check('s3://vital-lake'), [{ status: 'FAIL', text: /^the store of VITAL_LAKE_URL: .*ECONNREFUSED/ }])
})
