/** The shipped job of Flink, as tests and chaos start it. */
import { execFile, spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

const PASSWORD = 'counting'

/** @param jars - a folder @returns what is missing, and how to get it; `null`: nothing */
export function findFlinkObstacle (jars: string): string | null {
  if (!existsSync(jars) || !readdirSync(jars).some((name) => /^run-sql-/.test(name))) {
    return `${jars} is not a folder of Flink's jars (mvn -q -f scripts/compose/flink/pom.xml package -Djars=FOLDER)`
  }
  return spawnSync('psql', ['--version']).status === 0 ? null : 'psql is not installed (apt-get install postgresql-client)'
}

/** Makes the tables of Flink, and its role, as compose does. @param folder - `scripts/compose/flink` */
export async function prepareFlinkTables (folder: string, connectionString: string): Promise<void> {
  const { hostname, port, username, password, pathname } = new URL(connectionString)
  await promisify(execFile)('sh', [join(folder, 'tables.sh')], {
    env: {
      PATH: process.env['PATH'],
      PGHOST: hostname,
      PGPORT: port,
      PGUSER: username,
      PGPASSWORD: password,
      PGDATABASE: pathname.slice(1),
      POSTGRES_FLINK_PASSWORD: PASSWORD
    }
  })
}

interface FlinkSettings {
  readonly jars: string
  readonly stateDir: string
  readonly connectionString: string
  readonly metricsPort: number
  /** KAFKA_BROKERS. */
  readonly brokers: string
}

/** Variables of its `start.sh`. */
export function toFlinkVariables ({ jars, stateDir, connectionString, metricsPort, brokers }: FlinkSettings) {
  const { host, pathname } = new URL(connectionString)
  return {
    FLINK_JARS: jars,
    FLINK_STATE_DIR: stateDir,
    FLINK_DATABASE_URL: `jdbc:postgresql://${host}${pathname}`,
    FLINK_DATABASE_USER: 'flink',
    FLINK_DATABASE_PASSWORD: PASSWORD,
    FLINK_METRICS_PORT: String(metricsPort),
    FLINK_CHECKPOINT_S: '1',
    FLINK_HEAP_OPTS: '-Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1',
    KAFKA_BROKERS: brokers
  }
}
