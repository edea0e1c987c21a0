import './style.css'
import { render } from 'preact'
import { App } from './app.tsx'
import { start } from './store.ts'

start()
render(<App />, document.getElementById('app')!)
