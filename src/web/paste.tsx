import { useState } from 'preact/hooks'

/** A line to paste into a shell. */
export function Paste ({ label, children }: { label: string, children: string }) {
  const [isCopied, setCopied] = useState(false)
  const copy = () => {
    navigator.clipboard?.writeText(children).then(() => {
      setCopied(true)
      setTimeout(() => { setCopied(false) }, 2000)
    }, () => {})
  }
  return (
    <figure class='paste'>
      <figcaption>{label}
        {window.isSecureContext && (
          <button type='button' class='quiet' aria-label={`Copy: ${label}`} onClick={copy}>{isCopied ? 'Copied' : 'Copy'}</button>
        )}
      </figcaption>
      <pre tabIndex={0}><code>{children}</code></pre>
    </figure>
  )
}
