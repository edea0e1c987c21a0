import { createServer } from 'node:net'
import { Aedes } from 'aedes'

// The ceiling: Aedes with its default options, which acknowledges out of memory and stores nothing.
const broker = await Aedes.createBroker()
const server = createServer(broker.handle)
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  const address = server.address()
  if (address !== null && typeof address === 'object') process.send?.({ type: 'listening', port: address.port })
})
process.on('disconnect', () => process.exit())
