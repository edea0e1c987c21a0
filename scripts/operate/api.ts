import { Argument, Command } from 'commander'
import packageJson from '../../package.json' with { type: 'json' }
import { createAsyncApi } from '../../schemas/asyncapi.ts'
import { createOpenApi } from '../../src/http/openapi.ts'
import type { CommandSurroundings } from '../command-line/surroundings.ts'

const NOTES = `
Examples:
  DATABASE_URL=postgres://vital:PASSWORD@db:5432/vital VITAL_HTTP_PORT=3001 vital-gateway api
  DATABASE_READ_URL=postgres://vital:PASSWORD@replica:5432/vital vital-gateway api   (and DATABASE_URL)
  vital-gateway api openapi > openapi.json
  vital-gateway api asyncapi > asyncapi.json
  openapi-python-client generate --path openapi.json --fail-on-warning

Without a document it serves: GET /vital-data and all below it, /dead-letters, /metrics, /health and /docs, with the
credentials of the gateways, from DATABASE_URL and the replicas of DATABASE_READ_URL. It takes no readings, needs no
data directory, and waits for a gateway to make the tables. SIGTERM and SIGINT stop it, SIGHUP reads certificates again.
A document needs neither a gateway nor a database; a running gateway answers the same at /docs/json and
/docs/asyncapi.json.
Exit status: 0 after a stop or a document; 1 after a fault; 2 for a wrong command line.`

const DOCUMENTS = {
  openapi: createOpenApi,
  asyncapi: async (version: string) => createAsyncApi(version)
}

/** `vital-gateway api`. Without an argument the program does not load this command. */
export function createCommand ({ print }: CommandSurroundings): Command {
  return new Command('api')
    .description('Answers reads over HTTP and takes no readings; or prints OpenAPI 3.1 of HTTP or AsyncAPI 3.0 of MQTT as JSON.')
    .addArgument(new Argument('[document]', 'printed instead of serving').choices(Object.keys(DOCUMENTS)))
    .addHelpText('after', NOTES)
    .action(async (document: keyof typeof DOCUMENTS | undefined) => {
      if (document === undefined) await import('../../src/api-main.ts')
      else print(JSON.stringify(await DOCUMENTS[document](packageJson.version), null, 2))
    })
}
