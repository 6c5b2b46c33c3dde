// Which rows of a long list are in the document. Pure.

export interface Range {
  from: number;
  to: number;
}

/**
 * Rows that a screen of `height` shows when the list begins `top` below its upper edge, with some to spare.
 */
export function visible(top: number, height: number, row: number, count: number, spare = 6): Range {
  const from = Math.floor(-top / row) - spare;
  const to = Math.ceil((height - top) / row) + spare;
  const within = (n: number) => Math.min(Math.max(n, 0), count);
  return { from: within(from), to: within(to) };
}
