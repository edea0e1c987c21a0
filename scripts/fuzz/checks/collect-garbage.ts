// Loaded into the gateway before its own code, with --expose-gc: on SIGUSR2 it collects its garbage, so that all that
// the heap holds afterwards is in use. Without it a heap that grows for a minute looks like one that leaks.
process.on('SIGUSR2', () => { globalThis.gc?.() })
