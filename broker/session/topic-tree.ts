interface Node<V> {
  readonly children: Map<string, Node<V>>
  value: V | undefined
}

const createNode = <V>(): Node<V> => ({ children: new Map(), value: undefined })

/**
 * Values by topic level. It holds either topic names, looked up by filter (retained messages), or filters, looked up
 * by topic name (subscriptions of sessions). A lookup visits what it finds, not everything there is: with a flat list a
 * SUBSCRIBE of a thousand filters over 100,000 retained messages held the event loop for minutes.
 */
export class TopicTree<V> {
  readonly #root = createNode<V>()

  get (path: string): V | undefined {
    let node: Node<V> | undefined = this.#root
    for (const level of path.split('/')) {
      node = node.children.get(level)
      if (node === undefined) return undefined
    }
    return node.value
  }

  set (path: string, value: V): void {
    let node = this.#root
    for (const level of path.split('/')) {
      let child = node.children.get(level)
      if (child === undefined) {
        child = createNode()
        node.children.set(level, child)
      }
      node = child
    }
    node.value = value
  }

  delete (path: string): void {
    const levels = path.split('/')
    const nodes = [this.#root]
    for (const level of levels) {
      const child = (nodes.at(-1) as Node<V>).children.get(level)
      if (child === undefined) return
      nodes.push(child)
    }
    (nodes.at(-1) as Node<V>).value = undefined
    for (let depth = levels.length; depth > 0; depth--) {
      const node = nodes[depth] as Node<V>
      if (node.value !== undefined || node.children.size > 0) return
      (nodes[depth - 1] as Node<V>).children.delete(levels[depth - 1] as string)
    }
  }

  /** Values whose topic name matches `filter`, lazily. */
  * matchFilter (filter: string): Generator<V> {
    yield * byFilter(this.#root, filter.split('/'), 0)
  }

  /** Values whose filter matches the topic name `topic`. */
  matchTopic (topic: string): V[] {
    const found: V[] = []
    byTopic(this.#root, topic.split('/'), 0, found)
    return found
  }
}

/** A filter that begins with a wildcard does not match topics that begin with `$` [MQTT-4.7.2-1]. */
const isHidden = (level: string, depth: number) => depth === 0 && level.startsWith('$')

function * byFilter<V> (node: Node<V>, levels: readonly string[], depth: number): Generator<V> {
  const level = levels[depth]
  if (level === undefined) {
    if (node.value !== undefined) yield node.value
  } else if (level === '#') {
    yield * everything(node, depth)
  } else if (level === '+') {
    for (const [name, child] of node.children) {
      if (!isHidden(name, depth)) yield * byFilter(child, levels, depth + 1)
    }
  } else {
    const child = node.children.get(level)
    if (child !== undefined) yield * byFilter(child, levels, depth + 1)
  }
}

/** `#` includes the level above it: `sport/#` matches `sport` (MQTT 3.1.1 §4.7.1.2). */
function * everything<V> (node: Node<V>, depth: number): Generator<V> {
  if (node.value !== undefined) yield node.value
  for (const [name, child] of node.children) {
    if (!isHidden(name, depth)) yield * everything(child, depth + 1)
  }
}

function byTopic<V> (node: Node<V>, levels: readonly string[], depth: number, found: V[]): void {
  const level = levels[depth]
  const wild = level === undefined || !isHidden(level, depth)
  const rest = wild ? node.children.get('#')?.value : undefined
  if (rest !== undefined) found.push(rest)
  if (level === undefined) {
    if (node.value !== undefined) found.push(node.value)
    return
  }
  const exact = node.children.get(level)
  if (exact !== undefined) byTopic(exact, levels, depth + 1, found)
  const any = wild ? node.children.get('+') : undefined
  if (any !== undefined) byTopic(any, levels, depth + 1, found)
}
