import { useState } from 'preact/hooks'
import { logIn, state } from './store.ts'

export function Login () {
  const [secret, setSecret] = useState('')
  const [isBusy, setBusy] = useState(false)
  return (
    <form
      class='panel login' onSubmit={(event) => {
        event.preventDefault()
        setBusy(true)
        logIn(secret.trim()).finally(() => { setBusy(false) }).catch(reportError)
      }}
    >
      <h2>Log in</h2>
      <p>Paste the secret, or a token, of an operator or an administrator. It stays in this tab and is gone when you close it.</p>
      <label for='secret'>Secret or token</label>
      <input
        id='secret' type='password' autocomplete='off' spellcheck={false} required value={secret}
        aria-describedby={state.loginError === null ? undefined : 'login-error'}
        onInput={(event) => { setSecret(event.currentTarget.value) }}
      />
      {state.loginError !== null && <p id='login-error' class='error' role='alert'>{state.loginError}</p>}
      <button type='submit' disabled={isBusy || secret.trim() === ''}>Log in</button>
      <p class='muted'>A new one: <code>npx vital-gateway credentials add me --role operator</code></p>
    </form>
  )
}
