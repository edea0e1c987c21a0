import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'

/** Compressed beforehand, by the build: brotli of the largest quality takes a second. */
const ENCODINGS = [['br', '.br'], ['gzip', '.gz']] as const

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml'
}

/** One built file of the page, in memory. */
export interface PageFile {
  /** Relative to the folder, with slashes. */
  readonly name: string
  readonly contentType: string
  readonly etag: string
  readonly bytes: Buffer
  /** By the name of the content coding, the smaller one first. */
  readonly encoded: ReadonlyMap<string, Buffer>
}

/** The folder of the built page, seen from the compiled sources or from TypeScript; `null` where it is not built. */
export function findPageDir (): string | null {
  return [join(import.meta.dirname, '../../../web'), join(import.meta.dirname, '../../../dist/web')]
    .find((path) => existsSync(join(path, 'index.html'))) ?? null
}

/** Reads every file of the built page; none where there is no such folder. */
export function readPageFiles (dir: string | null): PageFile[] {
  if (dir === null || !existsSync(join(dir, 'index.html'))) return []
  return readdirSync(dir, { recursive: true, encoding: 'utf8' }).flatMap((name) => {
    const contentType = CONTENT_TYPES[extname(name)]
    if (contentType === undefined) return []
    const path = join(dir, name)
    const bytes = readFileSync(path)
    const encoded = new Map(ENCODINGS.flatMap(([coding, suffix]) => existsSync(path + suffix)
      ? [[coding as string, readFileSync(path + suffix)] as const]
      : []))
    const etag = `"${createHash('sha256').update(bytes).digest('base64url').slice(0, 22)}"`
    return [{ name: name.replaceAll('\\', '/'), contentType, etag, bytes, encoded }]
  })
}
