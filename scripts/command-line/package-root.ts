import { basename, dirname, join } from 'node:path'

const above = join(import.meta.dirname, '../..')

/** The directory of `package.json`, from the sources and from `dist/` alike. */
export const PACKAGE_ROOT = basename(above) === 'dist' ? dirname(above) : above
