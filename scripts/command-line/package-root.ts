import { basename, dirname, join } from 'node:path'

/** The directory of `scripts/`: that of `package.json`, or `dist/` in it. */
export const CODE_ROOT = join(import.meta.dirname, '../..')

/** The directory of `package.json`, from the sources and from `dist/` alike. */
export const PACKAGE_ROOT = basename(CODE_ROOT) === 'dist' ? dirname(CODE_ROOT) : CODE_ROOT
