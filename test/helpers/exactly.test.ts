import t from 'tap'
import { exactly } from './exactly.ts'

t.test('a list matches element by element, and only with the same length', (t) => {
  t.match([{ a: 1, b: 2 }, 'text'], exactly({ a: 1 }, /^te/))
  t.match({ found: [] }, { found: exactly() })
  t.notMatch([{ a: 1 }, { a: 2 }], exactly({ a: 1 }))
  t.notMatch([{ a: 2 }], exactly({ a: 1 }))
  t.notMatch([], exactly({ a: 1 }))
  t.notMatch({ found: [1] }, { found: exactly() })
  t.notMatch(undefined, exactly())
  t.end()
})
