/**
 * What this member of the group has at the broker, in `bridge-session.json` of the data directory (0600). A client id that changed
 * with each start would leave a session behind, with the messages that wait in it; a subscription that changed would go on
 * delivering.
 */
import { randomBytes } from 'node:crypto'
import { open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import Type, { type Static } from 'typebox'
import { Compile } from 'typebox/compile'

const FILE = 'bridge-session.json'

const MemberSchema = Type.Object({
  clientId: Type.String({ minLength: 1 }),
  /** host:port. */
  broker: Type.String(),
  /** With its group. */
  filter: Type.String(),
  /** The broker has had a session of this client id. */
  hasSession: Type.Boolean()
})
const check = Compile(MemberSchema)

/** See the top of this file. */
export type Member = Readonly<Static<typeof MemberSchema>>

interface Wanted {
  readonly dataDir: string
  /** `null`: the one before, else one that is made. */
  readonly clientId: string | null
  readonly broker: string
  readonly filter: string
}

/** What is there at the start, and how it is kept. */
export interface MemberFile {
  readonly clientId: string
  /** The broker has a session of this client id, unless it dropped it. */
  readonly hasSession: boolean
  /** Of that session, where it is another one than now. */
  readonly oldFilter: string | null
  /** What waits at a broker for a session that nobody comes back to; for a person. */
  readonly left: string | null
  /** The session is there now, with the filter that is wanted. Settles once that is durable. */
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
  // Before the broker hears of it, so that a crash leaves no session of an unknown name.
  if (!isSame) await write(path, { clientId, broker, filter, hasSession: false })
  return {
    clientId,
    hasSession,
    oldFilter: hasSession && before.filter !== filter ? before.filter : null,
    left: isLeft
      ? `client id ${before.clientId} has a session at ${before.broker} that nobody takes over: what waits in it is lost when it expires`
      : null,
    noteSession: () => write(path, { clientId, broker, filter, hasSession: true })
  }
}

async function read (path: string): Promise<Member | null> {
  try {
    const member: unknown = JSON.parse(await readFile(path, 'utf8'))
    return check.Check(member) ? member : null
  } catch (error) {
    // Written whole or not at all; another one is made, and says so to the broker by its name.
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
