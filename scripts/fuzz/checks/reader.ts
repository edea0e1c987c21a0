// Well-behaved subscribers beside the attack, in a process of their own: nothing that the gateway accepts from the
// fuzzer may close them or end their deliveries.
import { createReaders } from './readers.ts'

const readers = createReaders(Number(process.argv[2]))

process.on('message', () => {
  readers.check().then((faults) => process.send?.({ faults }), (error: unknown) => process.send?.({ faults: [String(error)] }))
})
process.on('disconnect', () => process.exit())
process.on('SIGINT', () => {})
readers.start().then((faults) => process.send?.({ faults }), (error: unknown) => process.send?.({ faults: [String(error)] }))
