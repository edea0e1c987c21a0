import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

/**
 * A store with scripted answers, named in the environment, ended with the test.
 * @param answers - the status of each PUT in turn; the last one is repeated; empty: no request is answered
 * @returns the conditions of all PUTs
 */
export async function startScriptedStore (t: Test, answers: readonly number[]): Promise<readonly string[]> {
  const puts: string[] = []
  const server = createServer((request, response) => {
    if (answers.length === 0) return
    request.resume().on('end', () => {
      if (request.method === 'PUT') puts.push(String(request.headers['if-none-match'] ?? request.headers['if-match']))
      response.writeHead(request.method === 'PUT' ? answers[Math.min(puts.length, answers.length) - 1]! : 204).end()
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  Object.assign(process.env, {
    AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b', AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}`
  })
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  return puts
}
