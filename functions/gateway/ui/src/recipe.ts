// What the form of a new job says, as far as it has a meaning. Pure.
import type { Capabilities } from './shapes';

/** Formats that have a size in millimetres. */
const PRINTABLE = ['stl', '3mf', 'ply'];

export interface Wanted {
  engine: string;
  quality: string;
  formats: string[];
  sizeMm: number;
  texturePx: number;
}

export function usual({ options }: Capabilities): Wanted {
  const or = <T>(all: T[], wish: T): T => (all.includes(wish) ? wish : (all[0] ?? wish));
  return {
    engine: options.engine[0] ?? '',
    quality: or(options.quality, 'standard'),
    formats: options.formats.filter((one) => ['glb', 'stl'].includes(one)),
    sizeMm: 100,
    texturePx: or(options['texture-px'], 1024),
  };
}

export const hasSize = (formats: string[]): boolean => formats.some((one) => PRINTABLE.includes(one));

/** Why this recipe cannot be asked for; null when it can. */
export function wrong(wanted: Wanted, { options }: Capabilities): string | null {
  if (wanted.formats.length === 0) return 'Choose at least one format.';
  const { minimum, maximum } = options['size-mm'];
  const { sizeMm } = wanted;
  if (hasSize(wanted.formats) && !(Number.isInteger(sizeMm) && sizeMm >= minimum && sizeMm <= maximum)) {
    return `The size is a whole number from ${minimum} to ${maximum.toLocaleString('en')} mm.`;
  }
  return null;
}

export function query(wanted: Wanted, name: string): URLSearchParams {
  const { engine, quality, formats, sizeMm, texturePx } = wanted;
  const said = new URLSearchParams({ quality, formats: formats.join(','), 'texture-px': String(texturePx) });
  if (engine) said.set('engine', engine);
  if (hasSize(formats)) said.set('size-mm', String(sizeMm));
  if (name) said.set('name', name);
  return said;
}

/** Why a file cannot be sent; null when it can. */
export function unfit(file: { type: string; size: number }, able: Capabilities): string | null {
  if (file.type && !able.input_types.includes(file.type))
    return `${file.type} is not a kind of picture that is taken`;
  if (file.size > able.upload_bytes_max) return `larger than ${(able.upload_bytes_max / 1e6).toFixed(0)} MB`;
  return null;
}
