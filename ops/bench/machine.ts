import { cpus, totalmem } from 'node:os'

/** On what the figures were taken: they compare with nothing taken elsewhere. */
export type Machine = { cores: number; cpu: string; memoryGb: number; node: string; platform: string }

export function thisMachine(): Machine {
  const processors = cpus()
  return {
    cores: processors.length,
    cpu: processors[0]?.model.trim() ?? 'unknown',
    memoryGb: Math.round(totalmem() / 1024 ** 3),
    node: process.versions.node,
    platform: `${process.platform} ${process.arch}`,
  }
}

export function machineText({ cores, cpu, memoryGb, node, platform }: Machine): string {
  return `${cores} cores (${cpu}), ${memoryGb} GB of memory, Node ${node}, ${platform}`
}
