import { insert } from './aggregator/insert.ts'
import { pump } from './aggregator/pump.kafka.ts'
import { answerParent } from './child.ts'
import { edge } from './edge/edge.ts'
import type { Figure, FigureInput, FigureName } from './figure.ts'
import { growth } from './history/growth.ts'
import { usage } from './history/usage.ts'
import { invoicer } from './invoicer/invoicer.ts'
import { onDemand } from './invoicer/on-demand.ts'
import { runGrowth } from './invoicer/run-growth.ts'
import { log } from './log/log.ts'
import { freshness } from './paced/freshness.ts'
import { late } from './paced/late.ts'
import { latency } from './paced/latency.ts'
import { memory } from './paced/memory.ts'
import { opaque } from './paced/opaque.ts'
import { stopKeptWorld } from './paced/world.ts'
import { quota } from './quota/quota.ts'

const RUN: Record<FigureName, Figure> = {
  edge,
  quota,
  log,
  insert,
  pump,
  invoicer,
  'billing-run': runGrowth,
  'on-demand': onDemand,
  latency,
  late,
  opaque,
  freshness,
  memory,
  growth,
  usage,
}

/** Every figure has a process of its own: none inherits another's heap, connections or optimised code. */
answerParent(
  {
    run: (input) => {
      const { figure } = input as FigureInput
      return RUN[figure as FigureName](input as FigureInput)
    },
  },
  stopKeptWorld,
)
