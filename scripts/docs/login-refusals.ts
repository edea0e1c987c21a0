import { LOGIN_REFUSALS, type LoginRefusal } from '../../broker/connect/login-refusals.ts'
import { type Section, toMarkdownTable } from './markdown.ts'

const MEANING: Readonly<Record<LoginRefusal, string>> = {
  no_credentials: 'none were sent',
  malformed: 'a header without a secret or a token; a password without a user name; an empty client id without a ' +
    'clean session',
  unknown_id: 'MQTT: no principal has this user name',
  revoked: 'the principal is revoked, or was revoked during the login. Over HTTP only a gateway that has seen the ' +
    'secret since its ' +
    'start can tell this from `wrong_secret`',
  wrong_secret: 'a wrong password or secret; over HTTP also a secret of no principal',
  expired: 'the secret, the password or the token has expired',
  wrong_client_id: 'a device uses a client id other than its own; a certificate names another device; the client ' +
    'id belongs to ' +
    'another principal',
  wrong_user_name: 'the user name is not the subject of the token',
  wrong_issuer: 'the token names another issuer',
  wrong_audience: 'the token names another audience',
  wrong_signature: 'no key of the issuer fits the signature',
  invalid_token: 'the role, subject, times or algorithm of the token are not accepted',
  not_allowed: 'the role does not allow it; a will on a topic that is not the principal\'s',
  unavailable: 'the credential could not be checked; the client is to come back'
}

/** Why logins and requests are refused, as log and metrics name it. */
export function loginRefusalsSections (): Section[] {
  const rows = LOGIN_REFUSALS.map((reason) => [`\`${reason}\``, MEANING[reason]])
  return [{ file: 'src/security/README.md', name: 'refusals', text: toMarkdownTable(['reason', 'when'], rows) }]
}
