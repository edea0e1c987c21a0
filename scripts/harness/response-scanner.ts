/**
 * Finds whole HTTP/1.1 responses with a `content-length`, however TCP cut them: just enough of HTTP for the servers
 * under test, which both send this field.
 */
export class ResponseScanner {
  #rest = ''

  scan (chunk: Uint8Array, end: number, onResponse: (status: number) => void): void {
    let text = this.#rest + Buffer.from(chunk.buffer, chunk.byteOffset, end).toString('latin1')
    for (;;) {
      const headEnd = text.indexOf('\r\n\r\n')
      if (headEnd === -1) break
      const length = /\r\ncontent-length: *(\d+)/i.exec(text.slice(0, headEnd))?.[1]
      if (length === undefined) throw new Error('a response without content-length')
      const end = headEnd + 4 + Number(length)
      if (text.length < end) break
      onResponse(Number(text.slice(9, 12)))
      text = text.slice(end)
    }
    this.#rest = text
  }
}
