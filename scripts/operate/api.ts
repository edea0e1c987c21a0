import { Argument, Command } from 'commander'
import packageJson from '../../package.json' with { type: 'json' }
import { createAsyncApi } from '../../schemas/asyncapi.ts'
import { createOpenApi } from '../../src/http/openapi.ts'
import type { CommandSurroundings } from '../command-line/surroundings.ts'

const NOTES = `
Examples:
  vital-gateway api openapi > openapi.json
  vital-gateway api asyncapi > asyncapi.json
  openapi-python-client generate --path openapi.json --fail-on-warning

Needs neither a gateway nor a database. A running gateway answers the same at /docs/json and /docs/asyncapi.json.
Exit status: 0; 2 for a wrong command line.`

const DOCUMENTS = {
  openapi: createOpenApi,
  asyncapi: async (version: string) => createAsyncApi(version)
}

/** `vital-gateway api`. */
export function createCommand ({ print }: CommandSurroundings): Command {
  return new Command('api')
    .description('Prints the description of the API as JSON: OpenAPI 3.1 of HTTP, or AsyncAPI 3.0 of MQTT.')
    .addArgument(new Argument('<document>').choices(Object.keys(DOCUMENTS)))
    .addHelpText('after', NOTES)
    .action(async (document: keyof typeof DOCUMENTS) => {
      print(JSON.stringify(await DOCUMENTS[document](packageJson.version), null, 2))
    })
}
