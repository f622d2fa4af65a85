import { insert } from './aggregator/insert.ts'
import { pump } from './aggregator/pump.kafka.ts'
import { answerParent } from './child.ts'
import { edge } from './edge/edge.ts'
import type { Figure, FigureInput, FigureName } from './figure.ts'
import { invoicer } from './invoicer/invoicer.ts'
import { log } from './log/log.ts'

const RUN: Record<FigureName, Figure> = { edge, log, insert, pump, invoicer }

/** Every figure has a process of its own: none inherits another's heap, connections or optimised code. */
answerParent({
  run: (input) => {
    const { figure } = input as FigureInput
    return RUN[figure as FigureName](input as FigureInput)
  },
})
