import { type ChildProcess, spawn } from 'node:child_process'

/** Ends what we started even if we are killed and cannot. */
export type Guard = {
  /** From now on this process ends with us. */
  watch(pid: number): void
  /** It has ended; its number may go to another process. */
  forget(pid: number): void
  /** This folder goes with us. */
  watchFolder(folder: string): void
  /** Everything was put away: the guard goes without doing anything. */
  dismiss(): Promise<void>
}

/**
 * A shell that reads our notes and outlives us: when its input ends without a word of parting, we were killed. It is
 * in a group of its own, so Ctrl-C does not reach it. Children of a killed server may still write for a moment: what
 * they put back into a folder is removed again.
 */
const SCRIPT = `
pids=' '
folders=''
while read -r word value; do
  case "$word" in
    watch) pids="$pids$value " ;;
    forget) pids=$(printf %s "$pids" | sed "s/ $value / /") ;;
    folder) folders="$folders$value
" ;;
    dismissed) exit 0 ;;
  esac
done
for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
printf %s "$folders" | while read -r folder; do
  for try in 1 2 3 4 5 6 7 8 9; do
    rm -rf "$folder"
    [ -e "$folder" ] || break
    sleep 0.3
  done
done
`

export function startGuard(): Guard {
  const shell: ChildProcess = spawn('sh', ['-c', SCRIPT], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
  shell.stdin?.on('error', () => undefined)
  // Neither the shell nor its pipe may keep a finished test alive.
  shell.unref()
  const socket = shell.stdin as unknown as { unref?: () => void } | null
  socket?.unref?.()
  const note = (word: string, value: string | number) => shell.stdin?.write(`${word} ${value}\n`)
  return {
    watch: (pid) => note('watch', pid),
    forget: (pid) => note('forget', pid),
    watchFolder: (folder) => note('folder', folder),
    dismiss: async () => {
      if (shell.exitCode !== null) return
      const gone = new Promise<void>((done) => shell.once('exit', () => done()))
      shell.ref()
      shell.stdin?.end('dismissed now\n')
      await gone
    },
  }
}
