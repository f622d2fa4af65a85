type Gzip = (
  text: string,
  options: { level: number },
  done: (error: Error | null, result: Uint8Array<ArrayBuffer>) => void,
) => void

/** Usage events repeat themselves: the fastest level takes nearly as much off as the default, at a third of the cost. */
const LEVEL = 1

/** gzip by Node's zlib, off the main thread; else by the platform's streams; undefined where there is neither. */
export async function zip(text: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
  // Asked for at run time: a bundle for an edge runtime needs no stand-in for zlib.
  const gzip = globalThis.process?.getBuiltinModule?.('node:zlib')?.gzip as Gzip | undefined
  if (gzip) {
    return new Promise((resolve, reject) => {
      gzip(text, { level: LEVEL }, (error, result) => (error ? reject(error) : resolve(result)))
    })
  }
  if (typeof CompressionStream === 'undefined') return undefined
  return new Uint8Array(
    await new Response(new Blob([text]).stream().pipeThrough(new CompressionStream('gzip'))).arrayBuffer(),
  )
}
