import t from 'tap'
import { isDeviceId } from '../../schemas/device-id.ts'

t.test('valid device ids', async (t) => {
  const good = [
    'a', 'band-17', 'Bett 7', 'ä', '日本', '😀'.repeat(128), 'x'.repeat(128), ' ', '...', '.a', '0', 'hasOwnProperty', 'toString', '<b>',
    '%00'
  ]
  for (const id of good) t.equal(isDeviceId(id), true, JSON.stringify(id))
})

t.test('invalid device ids', async (t) => {
  const bad = ['', '.', '..', 'x'.repeat(129), '😀'.repeat(129), 'a/b', '/', 'a+', '#', '$SYS',
    'a\u0000', 'a\n', '\u001f', '\u007f', '\u0085', '\u009f', '\ud800', 'a\udfffb', '\ufffd', '__proto__', 'constructor', 'prototype']
  for (const id of bad) t.equal(isDeviceId(id), false, JSON.stringify(id))
})
