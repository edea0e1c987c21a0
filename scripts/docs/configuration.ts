import { EnvironmentSchema } from '../../schemas/environment.ts'
import { type Section, toMarkdownTable } from './markdown.ts'

/** Set by compose.yaml itself, or decided by the ports that it publishes. */
const FIXED_BY_COMPOSE = new Set([
  'DATABASE_URL', 'VITAL_DATA_DIR', 'VITAL_HOST', 'VITAL_ALLOW_ANONYMOUS', 'VITAL_MQTT_PORT', 'VITAL_HTTP_PORT',
  'VITAL_MQTT_PLAINTEXT'
])

interface Variable {
  readonly name: string
  /** Empty when it is unset. */
  readonly byDefault: string
  readonly description: string
}

function listVariables (): Variable[] {
  return Object.entries(EnvironmentSchema.properties).map(([name, schema]) => ({
    name,
    byDefault: 'default' in schema ? String(schema.default) : '',
    description: 'description' in schema ? String(schema.description) : ''
  }))
}

/** Every environment variable: the table for people, the example file, and what compose.yaml passes on. */
export function configurationSections (): Section[] {
  const variables = listVariables()
  const rows = variables.map(({ name, byDefault, description }) =>
    [`\`${name}\``, byDefault === '' ? 'unset' : `\`${byDefault}\``, description])
  return [
    { file: 'src/README.md', name: 'configuration', text: toMarkdownTable(['variable', 'default', 'meaning'], rows) },
    {
      file: '.env.example',
      name: 'configuration',
      text: variables.map(({ name, byDefault, description }) => `# ${description}\n#${name}=${byDefault}\n\n`).join('')
    },
    {
      file: 'compose.yaml',
      name: 'configuration',
      text: variables.filter(({ name }) => !FIXED_BY_COMPOSE.has(name))
        .map(({ name }) => `      ${name}: \${${name}:-}\n`).join('')
    }
  ]
}
