// Where the dashboard begins.
import { render } from 'preact';
import { api, whenLocked } from './api';
import { follow, link, outlook } from './jobs';
import type { Capabilities } from './shapes';
import { able } from './uploads';
import { applyTheme } from './theme';
import { App } from './views/App';
import './style.css';

const OUTLOOK_MS = 4_000;

async function begin(): Promise<void> {
  able.set(await api<Capabilities>('/api/capabilities'));
}

applyTheme();
whenLocked(() => link.set({ state: 'locked', why: '' }));
render(<App />, document.getElementById('app')!);
follow();
begin().catch((error: Error) => link.set({ state: 'lost', why: error.message }));
setInterval(() => outlook().catch(() => {}), OUTLOOK_MS);
