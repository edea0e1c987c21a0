import { resolve } from 'node:path'
import t from 'tap'
import { createConfig } from '../../src/config/config.ts'

const URL = { VITAL_BRIDGE_URL: 'mqtt://broker' }

t.test('without VITAL_BRIDGE_URL there is no bridge', (t) => {
  t.equal(createConfig({ VITAL_BRIDGE_TOPIC: 'no template' }).bridge, null)
  t.end()
})

t.test('host, port, TLS and login', (t) => {
  t.match(createConfig(URL).bridge, {
    host: 'broker',
    port: 1883,
    isLoopback: false,
    tls: null,
    group: 'vital-gateway',
    clientId: null,
    login: null,
    topic: { filter: 'vital/+' }
  })
  t.match(createConfig({ VITAL_BRIDGE_URL: 'mqtt://[::1]:1884' }).bridge, { host: '::1', port: 1884, isLoopback: true })
  t.match(createConfig({
    VITAL_BRIDGE_URL: 'mqtts://broker',
    VITAL_BRIDGE_TLS_CA_FILE: 'ca.pem',
    VITAL_BRIDGE_TLS_CERT_FILE: 'own.pem',
    VITAL_BRIDGE_TLS_KEY_FILE: 'own.key',
    VITAL_BRIDGE_USERNAME: 'bridge',
    VITAL_BRIDGE_PASSWORD_FILE: 'password',
    VITAL_BRIDGE_CLIENT_ID: 'bridge-1'
  }).bridge, {
    port: 8883,
    clientId: 'bridge-1',
    tls: { caFile: resolve('ca.pem'), certFile: resolve('own.pem'), keyFile: resolve('own.key') },
    login: { username: 'bridge', passwordFile: resolve('password') }
  })
  t.end()
})

t.test('a contradictory or unusable value stops the start with a message that holds no password', (t) => {
  for (const bad of ['broker:1883', 'http://broker', 'mqtt://', 'mqtt://broker/path', 'mqtt://broker?x=1', 'ws://broker']) {
    t.throws(() => createConfig({ VITAL_BRIDGE_URL: bad }), /^VITAL_BRIDGE_URL must be mqtt:\/\/host:1883, or mqtts:\/\/host:8883/, bad)
  }
  t.throws(() => createConfig({ VITAL_BRIDGE_URL: 'mqtt://bridge:secret@broker' }),
    /^VITAL_BRIDGE_URL must hold no user and password: [^s]*set /)
  t.throws(() => createConfig({ ...URL, VITAL_BRIDGE_PASSWORD_FILE: 'x' }), /VITAL_BRIDGE_PASSWORD_FILE needs VITAL_BRIDGE_USERNAME/)
  t.throws(() => createConfig({ ...URL, VITAL_BRIDGE_TLS_CA_FILE: 'x' }), /VITAL_BRIDGE_TLS_\* need VITAL_BRIDGE_URL=mqtts/)
  t.throws(() => createConfig({ VITAL_BRIDGE_URL: 'mqtts://broker', VITAL_BRIDGE_TLS_CERT_FILE: 'x' }), /must be set together/)
  t.throws(() => createConfig({ ...URL, VITAL_BRIDGE_GROUP: 'a/b' }), /VITAL_BRIDGE_GROUP/)
  t.throws(() => createConfig({ VITAL_BRIDGE_ULR: 'x' }), /did you mean VITAL_BRIDGE_URL/)
  t.end()
})
