// Where the dashboard begins.
import { render } from 'preact';
import { api, whenLocked } from './api';
import { follow, link, outlook } from './jobs';
import { usual } from './recipe';
import type { Capabilities } from './shapes';
import { able, wanted } from './uploads';
import { applyTheme } from './theme';
import { App } from './views/App';
import './style.css';

const OUTLOOK_MS = 4_000;

async function begin(): Promise<void> {
  const can = await api<Capabilities>('/api/capabilities');
  able.set(can);
  wanted.set(usual(can));
}

applyTheme();
whenLocked(() => link.set({ state: 'locked', why: '' }));
render(<App />, document.getElementById('app')!);
follow();
begin().catch((error: Error) => link.set({ state: 'lost', why: error.message }));
setInterval(() => outlook().catch(() => {}), OUTLOOK_MS);
