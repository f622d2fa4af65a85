import { stackCommand } from '../../../ops/cli/stack.command.ts'

/** The command as a process of its own, to be interrupted and killed. */
const { stdout, stderr } = process
process.exitCode = await stackCommand(process.argv.slice(2), { stdout, stderr })
