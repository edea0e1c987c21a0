/**
 * The oldest version that loads both kinds of modules as the dependencies need it; the same as `engines` in
 * package.json.
 */
const OLDEST = { major: 20, minor: 19 }

/**
 * Why this Node.js cannot run the gateway; npm only warns of `engines`.
 * @param version - as `process.versions.node`
 * @returns `null` when it can
 */
export function toNodeRefusal (version: string): string | null {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major > OLDEST.major || (major === OLDEST.major && minor >= OLDEST.minor)) return null
  return `vital-gateway needs Node.js ${OLDEST.major}.${OLDEST.minor} or newer, and this is ${version}. ` +
    'Install a newer one and start again.'
}
