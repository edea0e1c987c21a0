/**
 * Walks through a JSON text, token by token, for facts that JSON.parse does not report: the position of a fault, names
 * given twice, the digits of a number. It keeps its own stack, because a text may nest deeper than calls can. Only
 * faulty payloads are walked.
 * @see RFC 8259
 */
export interface JsonVisitor {
  /** @param path - names and indexes down to the number */
  readonly onNumber: (token: string, path: ReadonlyArray<string | number>) => void
  /** A name that the same object had before. @param path - ends with the name */
  readonly onSecondName: (path: ReadonlyArray<string | number>) => void
}

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
// eslint-disable-next-line no-control-regex -- a string must not hold them [RFC 8259 §7]
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y
const WORD = /true|false|null/y
const SPACE = /[ \t\n\r]*/y

interface Frame {
  /** Names that an object has had so far; `null`: an array. */
  readonly names: Set<string> | null
}

/** The open arrays and objects at a position of a text, and the steps from one value to the next. */
function createWalker (text: string, { onNumber, onSecondName }: Partial<JsonVisitor>) {
  const frames: Frame[] = []
  const path: Array<string | number> = []
  let at = 0

  /** Takes the token at `at` and moves `at` behind it. @returns `null`: another kind of token, or none, is there */
  function take (pattern: RegExp): string | null {
    pattern.lastIndex = at
    const token = pattern.exec(text)?.[0] ?? null
    if (token !== null) at += token.length
    return token
  }

  function skip (character: string): boolean {
    take(SPACE)
    if (text[at] !== character) return false
    at++
    take(SPACE)
    return true
  }

  /** Takes a name and its colon. */
  function takeName ({ names }: Frame): boolean {
    take(SPACE)
    const token = take(STRING)
    if (token === null) return false
    const name = JSON.parse(token) as string
    path.push(name)
    if (names!.has(name)) onSecondName?.(path)
    names!.add(name)
    return skip(':')
  }

  /**
   * Closes arrays and objects that end here. @returns whether the next value may begin; `null` at the end of the text
   */
  function next (): boolean | null {
    for (;;) {
      const frame = frames.at(-1)
      take(SPACE)
      if (frame === undefined) return at === text.length ? null : false
      const last = path.pop()
      if (skip(',')) {
        if (frame.names !== null) return takeName(frame)
        path.push(Number(last) + 1)
        return true
      }
      if (!skip(frame.names === null ? ']' : '}')) return false
      frames.pop()
    }
  }

  /** Takes a value, and opens an array or object that is not empty. @returns `null`: no value can begin here */
  function takeValue (): 'opened' | 'taken' | null {
    take(SPACE)
    if (text[at] !== '[' && text[at] !== '{') {
      const number = take(NUMBER)
      if (number !== null) onNumber?.(number, path)
      else if (take(STRING) === null && take(WORD) === null) return null
      return 'taken'
    }
    const isArray = text[at] === '['
    at++
    take(SPACE)
    if (text[at] === (isArray ? ']' : '}')) {
      at++
      return 'taken'
    }
    const frame = { names: isArray ? null : new Set<string>() }
    frames.push(frame)
    if (isArray) path.push(0)
    else if (!takeName(frame)) return null
    return 'opened'
  }

  return { takeValue, next, position: () => at }
}

/**
 * @returns the position of the first character that is not JSON; the length of the text if it ends too early; -1 if the
 *   text is JSON
 */
export function walkJson (text: string, visitor: Partial<JsonVisitor> = {}): number {
  const { takeValue, next, position } = createWalker(text, visitor)
  for (;;) {
    const taken = takeValue()
    if (taken === null) return position()
    if (taken === 'opened') continue
    const isGoingOn = next()
    if (isGoingOn === null) return -1
    if (!isGoingOn) return position()
  }
}
