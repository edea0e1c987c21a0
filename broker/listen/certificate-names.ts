import type { TLSSocket } from 'node:tls'

/**
 * One entry of Node's `subjectaltname`; a name that holds a comma or a quote is a JSON string. Sticky, and of any kind:
 * a text that looks like an entry within another must not match (CVE-2021-44532).
 */
const ALTERNATIVE_NAME = /(?:^|, )([^:,"]+):("(?:[^"\\]|\\.)*"|[^,"]*)/gy
const KINDS: ReadonlySet<string | undefined> = new Set(['DNS', 'URI', 'email'])

/**
 * The names that a verified client certificate gives its holder: common names, and alternative names of the kinds DNS,
 * URI and email. Empty without a certificate, or with one that the CA did not sign, that has expired, or that is not
 * for clients.
 */
export function toCertificateNames (socket: TLSSocket): readonly string[] {
  if (!socket.authorized) return []
  const certificate = socket.getPeerCertificate()
  // Without a certificate the object is empty, whatever its type says.
  const { subject, subjectaltname = '' } = certificate as Partial<typeof certificate>
  const commonNames: string | string[] = subject?.CN ?? []
  return [...new Set([...[commonNames].flat(), ...parseAlternativeNames(subjectaltname)])]
}

/** Pure, for {@link toCertificateNames}. */
export function parseAlternativeNames (text: string): string[] {
  return [...text.matchAll(ALTERNATIVE_NAME)]
    .filter(([, kind]) => KINDS.has(kind))
    .map(([, , name = '']) => name.startsWith('"') ? JSON.parse(name) as string : name)
}
