import { useEffect, useState } from 'preact/hooks'
import { DeviceView } from './device/device-view.tsx'
import { EmptyGateway } from './fleet/empty-gateway.tsx'
import { FleetView } from './fleet/fleet-view.tsx'
import { GatewayView } from './gateway/gateway-view.tsx'
import { Sentence } from './gateway/sentence.tsx'
import { Login } from './login.tsx'
import { fleet, logOut, state, useChanges } from './store.ts'

type Place = { readonly view: 'fleet' | 'gateway' } | { readonly view: 'device', readonly id: string }

function readPlace (): Place {
  const [, view = '', id = ''] = location.hash.split('?')[0]!.split('/')
  const device = view === 'device' ? toDevice(id) : ''
  if (device !== '') return { view: 'device', id: device }
  return { view: view === 'gateway' ? 'gateway' : 'fleet' }
}

/** @returns empty for what is not well encoded, such as a link that was cut */
function toDevice (encoded: string): string {
  try {
    return decodeURIComponent(encoded)
  } catch {
    return ''
  }
}

export function App () {
  useChanges(250)
  const [place, setPlace] = useState(readPlace)
  useEffect(() => {
    const follow = () => { setPlace(readPlace()) }
    window.addEventListener('hashchange', follow)
    return () => { window.removeEventListener('hashchange', follow) }
  }, [])
  useEffect(() => { document.title = place.view === 'device' ? `${place.id} · vital-gateway` : 'vital-gateway' }, [place])
  const tab = (view: string, href: string, label: string) =>
    <a href={href} aria-current={place.view === view ? 'page' : undefined}>{label}</a>
  return (
    <>
      <header class='top'>
        <div class='bar'>
          <h1>vital-gateway</h1>
          {state.phase === 'open' && (
            <nav aria-label='Views'>
              {tab('fleet', '#/', 'Fleet')}
              {tab('gateway', '#/gateway', 'Gateway')}
            </nav>
          )}
          {state.phase === 'open' && state.config?.principal != null && (
            <button type='button' class='quiet' onClick={() => { logOut() }}>Log out {state.config.principal.id}</button>
          )}
        </div>
        <Sentence />
      </header>
      <main class={place.view}>
        {state.phase === 'login' && <Login />}
        {state.phase === 'open' && <View place={place} />}
      </main>
      <footer>Readings as they are stored. This page is not an alarm system and does not replace a monitor.</footer>
    </>
  )
}

function View ({ place }: { place: Place }) {
  if (place.view === 'device') return <DeviceView key={place.id} id={place.id} />
  if (place.view === 'gateway') return <GatewayView />
  return state.isListed && fleet.devices.size === 0 ? <EmptyGateway /> : <FleetView />
}
