import { createServer } from 'node:net'

// Accepts connections, reads and discards: measures what an attack costs the machine that it comes from.
const server = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => {})
  socket.resume()
})
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  const address = server.address()
  if (address !== null && typeof address === 'object') process.send?.({ type: 'listening', port: address.port })
})
process.on('disconnect', () => process.exit())
