import { begin } from './process/begin.ts'

await begin(async () => (await import('./serve-export.ts')).serveExport)
