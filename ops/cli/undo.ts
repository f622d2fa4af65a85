import type { Logger } from 'pino'

/** What is undone last to first when the product stops, or when its start fails half-way. */
export type Undo = { add(undo: () => Promise<void> | void): void; run(): Promise<void> }

export function createUndo(logger: Logger): Undo {
  const steps: (() => Promise<void> | void)[] = []
  let running: Promise<void> | undefined
  const runAll = async (): Promise<void> => {
    for (const step of steps.splice(0).reverse()) {
      try {
        await step()
      } catch (error) {
        logger.error({ error }, 'a part did not stop cleanly')
      }
    }
  }
  return {
    add: (step) => steps.push(step),
    run: () => {
      running ??= runAll()
      return running
    },
  }
}
