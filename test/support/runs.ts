/** How many cases a property gets: so many in every run, a hundred times that in `npm run test:deep`. */
export function runs(usual: number): number {
  return process.env.TALLYLINE_TEST_LENGTHS === 'full' ? usual * 100 : usual
}
