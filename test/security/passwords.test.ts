import { existsSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { type Asker, createPasswords, hashPassword, isPasswordHash } from '../../src/security/passwords.ts'
import { verifyIdly } from '../../src/security/idle-verify.ts'
import { SECURITY_LIMITS } from '../../src/security/limits.ts'

/** The result of a check whose matching hash is `h`. */
const RIGHT = { argon2id: 'h' }
const password = (text: string) => Buffer.from(text)
const from = (remoteAddress = '192.0.2.1'): Asker & { isOver: boolean } => ({
  origin: { transport: 'tcp', remoteAddress, certificateNames: [] }, isOver: false
})

t.test('argon2id: right, wrong, and cached once right', async (t) => {
  const hash = await hashPassword('correct horse')
  t.match(hash, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/)
  t.ok(isPasswordHash(hash))
  const passwords = createPasswords()
  t.equal(await passwords.check('ann', [hash], password('wrong horse'), from()), 'wrong')
  t.same(await passwords.check('ann', [hash], password('correct horse'), from()), { argon2id: hash })
  t.same(passwords.check('ann', [hash], password('correct horse'), from()), { argon2id: hash }, 'without a promise')
  t.ok(passwords.check('bob', [hash], password('correct horse'), from()) instanceof Promise, 'cached only for ann')
  t.ok(passwords.check('ann', [hash], password('wrong horse'), from()) instanceof Promise, 'and no wrong password')
  const other = await hashPassword('new horse')
  t.equal(await passwords.check('ann', [other], password('correct horse'), from()), 'wrong', 'a changed password is not cached')
  t.same(await passwords.check('ann', [other, hash], password('correct horse'), from()), { argon2id: hash }, 'the hash that matched')
})

t.test('an unknown id takes as long: one hash with the same parameters is computed, and never matches', async (t) => {
  const checked: string[] = []
  const passwords = createPasswords({
    verify: (hash) => {
      checked.push(hash)
      return Promise.resolve(true)
    }
  })
  t.equal(await passwords.check('nobody', [], password('x'), from()), 'wrong', 'even if it matched')
  t.equal(await passwords.check('nobody', [], password('x'), from()), 'wrong', 'and is not cached')
  t.equal(checked.length, 2)
  t.match(checked[0], /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/)
  t.ok(isPasswordHash(checked[0]!))
})

/** Password checks that the test ends, `right` by default. */
function controlled ({ atOnceMax = 2, isRight = true } = {}) {
  const state = { running: 0, most: 0, checks: 0 }
  const settle: Array<() => void> = []
  const passwords = createPasswords({
    atOnceMax,
    verify: async () => {
      state.checks++
      state.most = Math.max(state.most, ++state.running)
      await new Promise<void>((resolve) => settle.push(resolve))
      state.running--
      return isRight
    }
  })
  const settleAll = () => { for (const next of settle.splice(0)) next() }
  /** Checks of ids that begin with `name`. */
  const ask = (name: string, count: number, asker: Asker) => Array.from({ length: count }, (_, index) =>
    Promise.resolve(passwords.check(`${name}${index}`, ['h'], password('x'), asker)))
  return { state, passwords, settleAll, ask }
}

t.test('few checks run at once, the others wait in bounded queues, and each device has one check', async (t) => {
  const { state, passwords, settleAll, ask } = controlled()
  const half = SECURITY_LIMITS.passwordsWaitingMax / 2
  const all = ask('d', 2 + half, from())
  t.equal(passwords.waiting, half)
  t.equal(passwords.check('late', ['h'], password('x'), from()), 'unavailable', 'never "wrong"')
  all.push(...ask('other', half / 2, from('192.0.2.2')))
  t.equal(passwords.check('late', ['h'], password('x'), from('192.0.2.2')), 'unavailable', 'an address may take half of the free places')
  const again = passwords.check('d7', ['h'], password('x'), from())
  const draining = setInterval(settleAll, 0)
  t.teardown(() => { clearInterval(draining) })
  t.ok((await Promise.all(all)).every((check) => typeof check === 'object'))
  t.equal(state.most, 2)
  t.same(await again, RIGHT)
  t.equal(state.checks, all.length, 'a repeated login joins its pending check')
})

t.test('checks take turns by address', async (t) => {
  const { passwords, settleAll, ask } = controlled({ atOnceMax: 1 })
  const order: string[] = []
  const note = (checks: Array<Promise<unknown>>, name: string) => {
    for (const check of checks) {
      check.then(() => order.push(name),
        t.threw)
    }
  }
  note(ask('flood', 5, from('2001:db8::1')), 'flood')
  note(ask('sister', 2, from('2001:db8::2')), 'flood')
  note(ask('ann', 2, from('192.0.2.1')), 'ann')
  while (order.length < 9) {
    settleAll()
    await new Promise(setImmediate)
  }
  t.strictSame(order, ['flood', 'flood', 'ann', 'flood', 'ann', 'flood', 'flood', 'flood', 'flood'])
  t.equal(passwords.waiting, 0)
})

t.test('a password whose client has left is not checked', async (t) => {
  const { state, passwords, settleAll, ask } = controlled({ atOnceMax: 1 })
  const gone = from()
  const [first, ...left] = ask('d', 3, gone)
  const joined = passwords.check('d2', ['h'], password('x'), from())
  gone.isOver = true
  const last = passwords.check('last', ['h'], password('x'), from())
  const draining = setInterval(settleAll, 0)
  t.teardown(() => { clearInterval(draining) })
  t.strictSame(await Promise.all([first, ...left, joined, last]), [RIGHT, 'unavailable', RIGHT, RIGHT, RIGHT])
  t.equal(state.checks, 3)
})

t.test('guesses of one address are checked one at a time in the idle process, and its right passwords are accepted', async (t) => {
  const { guessRests, guessesWaitingMax, wrongPasswordsOfAddress: { freeMax } } = SECURITY_LIMITS
  const checked = { quickly: 0, aside: 0, running: 0, most: 0 }
  const passwords = createPasswords({
    verify: (_hash, password) => {
      checked.quickly++
      return Promise.resolve(password.toString() === 'right')
    },
    verifyAside: async (_hash, password) => {
      checked.aside++
      checked.most = Math.max(checked.most, ++checked.running)
      await sleep(5)
      checked.running--
      return password.toString() === 'right'
    }
  })
  const ask = (count: number, text: string, asker: Asker) => Promise.all(Array.from({ length: count },
    (_, index) => Promise.resolve(passwords.check(`${text}${index}`, ['h'], password(text), asker))))
  t.strictSame(new Set(await ask(freeMax, 'wrong', from())), new Set(['wrong']))
  t.match(checked, { quickly: freeMax, aside: 0 })
  const startMs = performance.now()
  const aside = ask(4, 'right', from())
  const others = ask(guessesWaitingMax, 'guess', from())
  t.strictSame(await ask(3, 'other', from('192.0.2.2')), ['wrong', 'wrong', 'wrong'], 'others meanwhile')
  t.match(checked, { quickly: freeMax + 3, aside: 1 })
  t.strictSame(await aside, [RIGHT, RIGHT, RIGHT, RIGHT])
  t.ok(performance.now() - startMs >= 3 * 4 * guessRests)
  t.match(checked, { quickly: freeMax + 3, most: 1 })
  const told = await others
  t.strictSame([told.filter((check) => check === 'unavailable').length, told.at(-1), told[0]], [3, 'unavailable', 'wrong'], 'few wait')
})

// The process is src/security/idle-process.ts.
t.test('argon2id in the idle process: right, wrong, and a hash that cannot be read', async (t) => {
  const hash = await hashPassword('correct horse')
  t.equal(await verifyIdly(hash, password('correct horse')), true)
  t.equal(await verifyIdly(hash, password('wrong horse')), false)
  await t.rejects(verifyIdly('no hash', password('x')))
  t.equal(await verifyIdly(hash, password('correct horse')), true, 'and the process goes on')
  const children = `/proc/self/task/${process.pid}/children`
  if (!existsSync(children)) return
  const pending = verifyIdly(hash, password('correct horse'))
  for (const pid of readFileSync(children, 'utf8').trim().split(' ')) {
    if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('idle-process')) process.kill(Number(pid), 'SIGKILL')
  }
  await t.rejects(pending, 'the check fails')
  t.equal(await verifyIdly(hash, password('correct horse')), true, 'another process checks it')
})

t.test('a failure of the check is not a wrong password, and the queue continues', async (t) => {
  let isBroken = true
  const passwords = createPasswords({ atOnceMax: 1, verify: () => isBroken ? Promise.reject(new Error('broken')) : Promise.resolve(true) })
  await t.rejects(Promise.resolve(passwords.check('a', ['h'], password('x'), from())), { message: 'broken' })
  isBroken = false
  t.same(await passwords.check('a', ['h'], password('x'), from()), RIGHT)
})

t.test('passwords that are too long are refused unchecked; an import takes only hashes of bounded cost', (t) => {
  t.equal(createPasswords().check('a', ['h'], Buffer.alloc(SECURITY_LIMITS.passwordBytesMax + 1), from()), 'wrong')
  const tail = '$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo'
  t.ok(isPasswordHash(`$argon2id$v=19$m=65536,t=3,p=4${tail}`))
  for (const bad of [`$argon2i$v=19$m=65536,t=3,p=4${tail}`, `$argon2id$v=19$m=4194304,t=3,p=4${tail}`,
    `$argon2id$v=19$m=65536,t=100,p=4${tail}`, '$2b$10$abcdefghijklmnopqrstuv', '', `${tail}`]) t.notOk(isPasswordHash(bad), bad)
  t.end()
})
