import t from 'tap'
import { createPasswords, hashPassword, isPasswordHash } from '../../src/security/passwords.ts'
import { SECURITY_LIMITS } from '../../src/security/limits.ts'

const password = (text: string) => Buffer.from(text)

t.test('argon2id: right, wrong, and remembered once right', async (t) => {
  const hash = await hashPassword('correct horse')
  t.match(hash, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/)
  t.ok(isPasswordHash(hash))
  const passwords = createPasswords()
  t.equal(await passwords.check('ann', [hash], password('wrong horse')), 'wrong')
  t.equal(await passwords.check('ann', [hash], password('correct horse')), 'right')
  t.equal(passwords.check('ann', [hash], password('correct horse')), 'right', 'without a promise')
  t.ok(passwords.check('bob', [hash], password('correct horse')) instanceof Promise, 'remembered for her alone')
  t.ok(passwords.check('ann', [hash], password('wrong horse')) instanceof Promise, 'and no wrong one')
  const other = await hashPassword('new horse')
  t.equal(await passwords.check('ann', [other], password('correct horse')), 'wrong', 'a changed password is not remembered')
  t.equal(await passwords.check('ann', [other, hash], password('correct horse')), 'right', 'one of several')
})

t.test('who does not exist costs the same: one hash of the same parameters, that nothing matches', async (t) => {
  const checked: string[] = []
  const passwords = createPasswords({
    verify: (hash) => {
      checked.push(hash)
      return Promise.resolve(true)
    }
  })
  t.equal(await passwords.check('nobody', [], password('x')), 'wrong', 'even if it matched')
  t.equal(await passwords.check('nobody', [], password('x')), 'wrong', 'and is not remembered')
  t.equal(checked.length, 2)
  t.match(checked[0], /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/)
  t.ok(isPasswordHash(checked[0]!))
})

t.test('few at once, the rest in a bounded queue, and one check for one device', async (t) => {
  let running = 0
  let most = 0
  let checks = 0
  const settle: Array<() => void> = []
  const passwords = createPasswords({
    atOnceMax: 2,
    verify: async () => {
      checks++
      most = Math.max(most, ++running)
      await new Promise<void>((resolve) => settle.push(resolve))
      running--
      return true
    }
  })
  const all = Array.from({ length: 2 + SECURITY_LIMITS.passwordsWaitingMax }, (_, index) =>
    Promise.resolve(passwords.check(`d${index}`, ['h'], password('x'))))
  t.equal(passwords.waiting, SECURITY_LIMITS.passwordsWaitingMax)
  t.equal(passwords.check('late', ['h'], password('x')), 'unavailable', 'never "wrong"')
  const again = passwords.check('d7', ['h'], password('x'))
  const draining = setInterval(() => { for (const next of settle.splice(0)) next() }, 0)
  t.teardown(() => { clearInterval(draining) })
  t.ok((await Promise.all(all)).every((check) => check === 'right'))
  t.equal(most, 2)
  t.equal(await again, 'right')
  t.equal(checks, all.length, 'who comes again joins its own check')
})

t.test('a failure of the check is no wrong password, and the queue goes on', async (t) => {
  let isBroken = true
  const passwords = createPasswords({ atOnceMax: 1, verify: () => isBroken ? Promise.reject(new Error('broken')) : Promise.resolve(true) })
  await t.rejects(Promise.resolve(passwords.check('a', ['h'], password('x'))), { message: 'broken' })
  isBroken = false
  t.equal(await passwords.check('a', ['h'], password('x')), 'right')
})

t.test('what is too long is refused unseen; an import takes only hashes at a bearable cost', (t) => {
  t.equal(createPasswords().check('a', ['h'], Buffer.alloc(SECURITY_LIMITS.passwordBytesMax + 1)), 'wrong')
  const tail = '$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo'
  t.ok(isPasswordHash(`$argon2id$v=19$m=65536,t=3,p=4${tail}`))
  for (const bad of [`$argon2i$v=19$m=65536,t=3,p=4${tail}`, `$argon2id$v=19$m=4194304,t=3,p=4${tail}`,
    `$argon2id$v=19$m=65536,t=100,p=4${tail}`, '$2b$10$abcdefghijklmnopqrstuv', '', `${tail}`]) t.notOk(isPasswordHash(bad), bad)
  t.end()
})
