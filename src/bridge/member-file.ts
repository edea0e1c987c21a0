/**
 * The session of this member of the group at the broker, noted in `bridge-session.json` of the data directory (0600). A
 * client id that changed with each start would leave a session with waiting messages behind. An earlier filter
 * would keep delivering messages unless it is noted here and unsubscribed.
 */
import { randomBytes } from 'node:crypto'
import { open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import Type, { type Static } from 'typebox'
import { Compile } from 'typebox/compile'

const FILE = 'bridge-session.json'

const MemberSchema = Type.Object({
  clientId: Type.String({ minLength: 1 }),
  /** As host:port. */
  broker: Type.String(),
  /** Filter of the shared subscription, with its group. */
  filter: Type.String(),
  /** Whether the broker has had a session of this client id. */
  hasSession: Type.Boolean()
})
const check = Compile(MemberSchema)

/** See the top of this file. */
export type Member = Readonly<Static<typeof MemberSchema>>

interface Wanted {
  readonly dataDir: string
  /** `null`: the noted one, or a new one. */
  readonly clientId: string | null
  readonly broker: string
  readonly filter: string
}

/** The noted session at the start, and a way to note a new one. */
export interface MemberFile {
  readonly clientId: string
  /** Whether the broker has a session of this client id, unless it dropped it. */
  readonly hasSession: boolean
  /** Filter of that session, if it differs from the wanted one; otherwise `null`. */
  readonly oldFilter: string | null
  /** Warning about an earlier session that is not resumed; `null`: there is none. */
  readonly left: string | null
  /** Notes that the session exists, with the wanted filter. Settles once the file is written and fsynced. */
  noteSession (): Promise<void>
}

/** @throws the error of the disk */
export async function openMemberFile ({ dataDir, broker, filter, ...wanted }: Wanted): Promise<MemberFile> {
  const path = join(dataDir, FILE)
  const before = await read(path)
  const clientId = wanted.clientId ?? before?.clientId ?? `vital-bridge-${randomBytes(8).toString('hex')}`
  const isSame = before !== null && before.clientId === clientId && before.broker === broker
  const hasSession = isSame && before.hasSession
  const isLeft = before !== null && before.hasSession && !isSame
  // Before the first CONNECT, so that a crash does not leave a session under a client id that is not noted.
  if (!isSame) await write(path, { clientId, broker, filter, hasSession: false })
  return {
    clientId,
    hasSession,
    oldFilter: hasSession && before.filter !== filter ? before.filter : null,
    left: isLeft
      ? `client id ${before.clientId} has a session at ${before.broker} that is not resumed: messages that wait in it are lost ` +
        'when it expires'
      : null,
    noteSession: () => write(path, { clientId, broker, filter, hasSession: true })
  }
}

async function read (path: string): Promise<Member | null> {
  try {
    const member: unknown = JSON.parse(await readFile(path, 'utf8'))
    return check.Check(member) ? member : null
  } catch (error) {
    // A missing or damaged file counts as none.
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

async function write (path: string, member: Member): Promise<void> {
  const file = await open(`${path}.new`, 'w', 0o600)
  try {
    await file.writeFile(`${JSON.stringify(member)}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(`${path}.new`, path)
}
