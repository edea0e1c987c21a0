import { STORAGE_ERRORS } from '../../db/storage-error.ts'
import { type Section, toMarkdownTable } from './markdown.ts'

/** Every coded error of `db/`. */
export function storageErrorsSections (): Section[] {
  const rows = Object.entries(STORAGE_ERRORS).map(([code, when]) => [`\`${code}\``, when])
  return [{ file: 'db/README.md', name: 'errors', text: toMarkdownTable(['code', 'when'], rows) }]
}
