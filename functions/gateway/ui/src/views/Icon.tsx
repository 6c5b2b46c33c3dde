// The few signs of the page; lines in the colour of the text around them.
const PATHS = {
  logo: 'M8 1.5 14 4.9v6.2L8 14.5 2 11.1V4.9zM8 8v6.5M8 8 2 4.9M8 8l6-3.1',
  auto: 'M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 0 1 0 12',
  dark: 'M13.5 9.6A5.8 5.8 0 0 1 6.4 2.5a5.8 5.8 0 1 0 7.1 7.1z',
  light:
    'M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM8 1v1.4M8 13.6V15M1 8h1.4M13.6 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1',
  keys: 'M1.5 4.5h13v7h-13zM4 7h.1M6.7 7h.1M9.3 7h.1M12 7h.1M5 9.5h6',
  leave: 'M6 2.5H2.5v11H6M9.5 5l3 3-3 3M12.5 8H6',
  back: 'M9.5 3 4.5 8l5 5',
  up: 'M8 11V3M4.5 6.2 8 2.7l3.5 3.5M2.5 13.5h11',
  down: 'M8 2.5v8M4.5 7.3 8 10.8l3.5-3.5M2.5 13.5h11',
  turn: 'M13 8a5 5 0 1 1-1.6-3.7M13 2v3h-3',
  cross: 'm4 4 8 8M12 4l-8 8',
} as const;

export type Sign = keyof typeof PATHS;

export function Icon({ name }: { name: Sign }) {
  return (
    <svg
      class="sign"
      viewBox="0 0 16 16"
      aria-hidden="true"
      fill="none"
      stroke="currentColor"
      stroke-width="1.4"
      stroke-linecap="round"
      stroke-linejoin="round"
    >
      {name === 'auto' && <path d="M8 2a6 6 0 0 0 0 12z" fill="currentColor" stroke="none" />}
      <path d={PATHS[name]} fill="none" />
    </svg>
  );
}
