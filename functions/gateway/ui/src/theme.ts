// Dark or light: as the system says, unless the switch says otherwise.
export type Theme = 'auto' | 'light' | 'dark';

const KEY = 'meshwright-theme';
const NEXT: Record<Theme, Theme> = { auto: 'dark', dark: 'light', light: 'auto' };

export function theme(): Theme {
  const kept = localStorage.getItem(KEY);
  return kept === 'light' || kept === 'dark' ? kept : 'auto';
}

export function applyTheme(): void {
  const now = theme();
  if (now === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = now;
}

export function switchTheme(): Theme {
  const now = NEXT[theme()];
  if (now === 'auto') localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, now);
  applyTheme();
  return now;
}
