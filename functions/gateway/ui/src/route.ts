// Where in the page we are: behind the `#`, so that the server knows one page only.
import { Store } from './store';

export type Route =
  { at: 'jobs' } | { at: 'job'; id: string } | { at: 'devices' } | { at: 'performance' } | { at: 'dead' };

export function parse(hash: string): Route {
  const [, place, id] = hash.replace(/^#/, '').split('/');
  if (place === 'jobs' && id && /^[0-9a-f]{32}$/.test(id)) return { at: 'job', id };
  if (place === 'devices' || place === 'performance' || place === 'dead') return { at: place };
  return { at: 'jobs' };
}

export const route = new Store<Route>(parse(location.hash));
window.addEventListener('hashchange', () => {
  route.set(parse(location.hash));
  window.scrollTo(0, 0);
});
export const go = (to: string): void => {
  location.hash = to;
};
