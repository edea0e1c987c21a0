import t from 'tap'
import type { Role } from '../../schemas/principal.ts'
import type { AccessMode } from '../../src/security/access.ts'
import { createIsCurrent } from '../../src/security/current-principals.ts'
import type { Answer } from '../../src/security/directory.ts'

const toKnown = (id: string, role: Role, isRevoked = false): Answer =>
  ({ principal: { id, role }, isRevoked, secrets: [], passwords: [] })

const ANSWERS: Readonly<Record<string, Answer>> = {
  known: toKnown('known', 'device'),
  revoked: toKnown('revoked', 'device', true),
  promoted: toKnown('promoted', 'operator'),
  unavailable: 'unavailable'
}

t.test('whether a principal of another gateway may still be connected', async (t) => {
  const answers = async (mode: AccessMode, hasOtherCredentials: boolean) => {
    const isCurrent = createIsCurrent({ access: { mode }, directory: { find: (id) => ANSWERS[id] }, hasOtherCredentials })
    const ids = ['known', 'revoked', 'promoted', 'unknown', 'unavailable']
    const current = await Promise.all(ids.map((id) => isCurrent({ id, role: 'device' })))
    return [...ids.filter((_, index) => current[index]), ...await isCurrent(null) ? ['anonymous'] : []]
  }
  t.strictSame(await answers('closed', false), ['known', 'unavailable'])
  t.strictSame(await answers('closed', true), ['known', 'unknown', 'unavailable'], 'a token or a certificate needs no row')
  t.strictSame(await answers('exposed', false), ['known', 'unavailable'])
  t.ok((await answers('open', false)).includes('anonymous'))
})
