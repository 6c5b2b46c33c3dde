// Numbers as people read them.

/** 1,234,567 bytes -> `1.2 MB`. Powers of ten, as files are sold and drivers print them. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let at = 0;
  let left = count;
  while (left >= 999.5 && at < units.length - 1) {
    left /= 1000;
    at += 1;
  }
  return `${at === 0 || left >= 99.5 ? left.toFixed(0) : left.toFixed(1)} ${units[at]}`;
}

/** Milliseconds -> `850 ms`, `3.4 s`, `2 min 05 s`, `1 h 20 min`. */
export function duration(ms: number): string {
  if (ms < 999.5) return `${ms < 9.95 && ms % 1 !== 0 ? ms.toFixed(1) : ms.toFixed(0)} ms`;
  const seconds = ms / 1000;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const two = (n: number) => String(n).padStart(2, '0');
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

/** A guess of what is left: no finer than it deserves. */
export function left(ms: number): string {
  const seconds = Math.max(1, Math.round(ms / 1000));
  return `${seconds < 60 ? `${seconds} s` : duration(seconds * 1000)} left`;
}

/** How long ago that was; the clock of a server may be ahead of ours. */
export function ago(at: number, now: number): string {
  const seconds = Math.max(0, Math.round((now - at) / 1000));
  if (seconds < 5) return 'just now';
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return new Date(at).toISOString().slice(0, 10);
}

/** The hour, to the millisecond, as in a log. */
export function clock(at: number): string {
  const date = new Date(at);
  const two = (n: number, width = 2) => String(n).padStart(width, '0');
  const parts = [date.getHours(), date.getMinutes(), date.getSeconds()].map((n) => two(n));
  return `${parts.join(':')}.${two(date.getMilliseconds(), 3)}`;
}

/** Rates: no more figures than they deserve. */
export function rate(perHour: number): string {
  const text = perHour >= 100 ? perHour.toFixed(0) : perHour.toPrecision(3);
  return Number(text).toLocaleString('en');
}

/** The last part of an upload's key. */
export function nameOf(key: string | null | undefined, id: string): string {
  return key?.split('/').pop() || id.slice(0, 12);
}
