/** Shows the progress of a transfer on one line of stderr, redrawn in place. */
import { fstatSync } from 'node:fs';

const EVERY = 200;
const WIDTH = 24;

/** Formats a size, for example `12.3 MiB`. */
function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1);
  return `${(bytes / 1024 ** power).toFixed(power ? 1 : 0)} ${units[power]}`;
}

/** Length of the input in bytes; undefined unless the input is a regular file. */
export function inputLength(fd = 0): number | undefined {
  try {
    const stats = fstatSync(fd);
    return stats.isFile() ? stats.size : undefined;
  } catch {
    return undefined;
  }
}

/** @returns a function that draws the line one last time and stops the updates */
export function showProgress(
  read: () => { sent: number; received: number; state: string },
  total: number | undefined,
): () => void {
  const start = performance.now();
  const draw = (end = ''): void => {
    const { sent, received, state } = read();
    const rate = ((sent + received) * 1000) / Math.max(1, performance.now() - start);
    const share = total ? Math.min(1, sent / total) : undefined;
    const bar =
      share === undefined
        ? ''
        : `[${'#'.repeat(Math.round(share * WIDTH)).padEnd(WIDTH, '.')}] ${String(Math.floor(share * 100)).padStart(3)} %  `;
    const parts = [
      sent || !received ? `${size(sent)} sent` : '',
      received ? `${size(received)} received` : '',
      `${size(rate)}/s`,
    ];
    const trouble = state === 'connected' || end ? '' : `  ${state}`;
    process.stderr.write(`\r${bar}${parts.filter(Boolean).join(', ')}${trouble}\u001b[K${end}`);
  };
  const timer = setInterval(draw, EVERY);
  draw();
  return () => {
    clearInterval(timer);
    draw('\n');
  };
}
