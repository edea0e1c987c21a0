import { chmod, mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { chooseAccount, toCommand } from '../../../db/embedded/account.ts'
import { type Binaries, resolveBinaries } from '../../../db/embedded/binaries.ts'
import { openCluster } from '../../../db/embedded/cluster.ts'
import { startServer, stopServer, toConnectionString } from '../../../db/embedded/postmaster.ts'
import { createTestDir } from '../../helpers/postgres.ts'
import { clusterOf, logger, query, whyNoOtherUser } from '../../helpers/embedded.ts'

/** A PATH without unshare, as on a machine without user namespaces. */
async function withoutUnshare (linksDir: string): Promise<Binaries> {
  const binaries = await resolveBinaries({ linksDir })
  return { ...binaries, env: { ...binaries.env, PATH: '/nonexistent' } }
}

t.test('as root where namespaces are refused', { skip: whyNoOtherUser() }, async (t) => {
  t.test('the server runs as another user, which owns the cluster from then on', async (t) => {
    const parent = await createTestDir(t)
    await chmod(parent, 0o755)
    const dataDir = join(parent, 'data')
    await mkdir(dataDir, { mode: 0o700 })
    const binaries = await withoutUnshare(join(dataDir, 'postgres-lib'))
    const options = { binaries, dataDir, clusterDir: clusterOf(dataDir), logger }
    const { account, major } = await chooseAccount(options)
    t.equal(account.kind, 'user')

    const cluster = await openCluster({ dataDir, binaries, account, major })
    const server = await startServer(cluster, {
      binaries, account, startLogPath: join(dataDir, 'start.log'), logger
    }, { mayMovePort: true })
    t.teardown(() => stopServer(server, logger))
    t.same(await query(toConnectionString(server.cluster), 'select 1 as one'), [{ one: 1 }])
    t.equal((await stat(`/proc/${server.pid}`)).uid, (await stat(cluster.dir)).uid)
    t.not((await stat(cluster.dir)).uid, 0)
    t.equal(((await stat(dataDir)).mode & 0o777).toString(8), '711', 'others may enter, not list')

    const withNamespaces = await chooseAccount({ ...options, binaries: await resolveBinaries({ linksDir: join(dataDir, 'postgres-lib') }) })
    t.same(withNamespaces.account, account, 'also where namespaces are allowed later')
  })

  t.test('a directory that no other user can reach is refused, with what to do', async (t) => {
    const parent = await createTestDir(t)
    const dataDir = join(parent, 'data')
    await mkdir(dataDir)
    const binaries = await withoutUnshare(join(dataDir, 'postgres-lib'))
    await t.rejects(chooseAccount({ binaries, dataDir, clusterDir: clusterOf(dataDir), logger }), {
      code: 'VITAL_EMBEDDED_ROOT_REFUSED', message: /ordinary user, or set DATABASE_URL/
    })
  })
})

t.test('a namespace maps to the user and its group', async (t) => {
  t.same(toCommand({ kind: 'namespace', mapped: 1000 }, '/bin/postgres', ['-D', 'x']), {
    file: 'unshare', args: ['--user', '--map-user=1000', '--map-group=1000', '/bin/postgres', '-D', 'x'], options: {}
  })
})
