import { toMessage } from './answers.ts'
import { ExportError } from './export-error.ts'
import type { HttpClient, Question } from './http-client.ts'

/** @returns the text of an answer of 2xx @throws `ExportError` for any other */
export async function askWell (ask: HttpClient['ask'], question: Question): Promise<string> {
  const { status, text } = await ask(question)
  if (status >= 200 && status < 300) return text
  throw new ExportError(`it answers ${status} to ${question.path}: ${toMessage(text)}`)
}
